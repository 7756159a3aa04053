"""Methods on a chip that programs targets by itself: it gets the targets, and draws what the method would leave."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hwloop.calibration.programming.base import Method
from hwloop.calibration.randomness import Purpose, generator
from hwloop.calibration.steps import Step, run
from hwloop.chip.backend import Backend
from hwloop.chip.info import ChipInfo
from hwloop.chip.region import Place, Region
from hwloop.chip.targets import Programmer, Targets
from hwloop.mapping.partition import converter_range
from hwloop.mapping.split_table import SplitTable
from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray


def unwatched(step: Step) -> None:
    """Watch nothing of a rehearsal."""


def programmer(method: Method, tile: Tile, watch: Callable[[Step], None] = unwatched) -> Programmer:
    """Return a method as a chip that programs targets by itself can rehearse it.

    Parameters
    ----------
    method
        With its settings.
    tile
        Whose way of sharing targets among devices it works with.
    watch
        Called with each step of a rehearsal. An exception that it raises, such as KeyboardInterrupt, stops it.
    """

    def program(chip: Backend, targets: FloatArray, age: float) -> None:
        rehearsed = rehearsal_tile(tile, targets, chip.info)
        region = Region(chip, rehearsed.place, rehearsed.full_scale)
        method.check(region, rehearsed, age)
        steps = method.steps(region, rehearsed, age, generator(0, 0, Purpose.PROGRAM))
        run(steps, chip, lambda number, step: watch(step))

    return Programmer((method, tile.split, _digest(tile.table)), program)


def rehearsal_tile(tile: Tile, targets: FloatArray, info: ChipInfo) -> Tile:
    """Return a tile of a whole core with other targets (rows, columns) in uS, shared among devices as in `tile`."""
    rows, columns = targets.shape
    return replace(
        tile,
        place=Place(0, 0, 0, rows, columns),
        first_input=0,
        first_output=0,
        target=targets,
        scale=np.ones(columns),
        full_scale=converter_range(targets, info),
        order=None,
        lean=None,
        clipping=None,
    )


def hand_over(
    chip: Backend, method: Method, places: Sequence[tuple[Region, Tile]], age: float, watch: Callable[[Step], None]
) -> None:
    """Have a chip program the targets of tiles by itself, as a method would leave them.

    Parameters
    ----------
    chip
        The chip, which has Capability.TARGETS.
    method, age
        What to imitate, and the age in seconds at which the targets shall hold.
    places
        Regions and what to program there.
    watch
        Called with each step of a rehearsal, where one is needed.
    """
    asked: dict[Programmer, list[Targets]] = {}
    by_key: dict[object, Programmer] = {}
    for region, tile in places:
        by = programmer(method, tile, watch)
        by = by_key.setdefault(by.key, by)
        place = region.place
        asked.setdefault(by, []).append(Targets(place.core, place.row, place.column, tile.target))
    for by, targets in asked.items():
        chip.program_targets(targets, age, by)


def _digest(table: SplitTable | None) -> str:
    if table is None:
        return ""
    return hashlib.sha256(table.target.tobytes() + table.devices.tobytes()).hexdigest()
