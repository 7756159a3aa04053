"""One part of a run that workers are at: tiles on a core, or on a chip of a fleet, on a clock of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.use import region_of
from hwloop.calibration.error_interval import WeightNoise
from hwloop.calibration.evaluation import Outputs
from hwloop.calibration.programming.base import Method, ProgrammingStep
from hwloop.calibration.randomness import Purpose, generator
from hwloop.calibration.steps import rest, run_together
from hwloop.chip.backend import Backend
from hwloop.chip.counts import Counts
from hwloop.chip.driver import Settings
from hwloop.chip.info import Capability
from hwloop.chip.region import Place
from hwloop.chip.registry import connect
from hwloop.files.runs import StepSeries, TileRecord
from hwloop.jobs.program import TileWork, measure_tiles
from hwloop.mapping.activations import Sample
from hwloop.mapping.clip import Clipping
from hwloop.mapping.columns import ColumnCorrection
from hwloop.mapping.split_table import SplitTable
from hwloop.mapping.tile import Tile
from hwloop.typing import State


@dataclass(frozen=True)
class Part:
    """Tiles on one core of a simulated chip, or on one chip of a fleet, with all that programming them takes.

    Parameters
    ----------
    uri, state, session
        The chip; the state in which a simulated one begins, or None; the session of the ledger that it belongs to.
    numbers, tiles, activations
        Numbers of the tiles within the run; the tiles, as they lie on this chip; their sample inputs, or None.
    method, age, seed, calibration
        As for the whole task.
    """

    uri: str
    numbers: tuple[int, ...]
    tiles: tuple[Tile, ...]
    activations: tuple[Sample | None, ...]
    method: Method
    age: float
    seed: int
    calibration: Calibration | None = None
    state: State | None = None
    session: str = ""


@dataclass(frozen=True)
class Done:
    """What came of a part.

    Parameters
    ----------
    tiles, outputs, noise
        Of each of its tiles; outputs are None where they were not measured.
    ended, utc
        End of programming on the part's clock, seconds, and by the calendar; None where it was stopped before.
    state
        Of a simulated chip at that moment, or when it was stopped.
    temperature
        Kelvin, where the chip can tell.
    cost, settings
        What it cost; snapshot of the chip at its end.
    """

    tiles: tuple[TileRecord, ...]
    outputs: tuple[Outputs | None, ...]
    noise: tuple[WeightNoise | None, ...]
    ended: float | None
    utc: datetime | None
    state: State | None
    temperature: float | None
    cost: Counts
    settings: Settings


CLASSES = (
    Done, Counts, TileRecord, StepSeries, Tile, Place, SplitTable, Clipping, ColumnCorrection, Outputs, WeightNoise,
)  # fmt: skip
"""What a `Done` is made of."""
Word: TypeAlias = tuple[int, dict[str, float], int, int]
"""What a part tells of a step: number of the tile, values of `StepSeries`, steps done, and steps in all."""


def carry_out_part(part: Part, tell: Callable[[Word | None], None]) -> Done:
    """Program and measure one part; what was done until a stop is returned."""
    with connect(part.uri) as chip:
        if part.session:
            chip.lifetime.session = part.session
        if part.state is not None:
            chip.import_state(part.state)
        work = _PartWork(part, chip)
        try:
            work.program(tell)
            work.note_end()
            rest(chip, part.age, lambda: tell(None))
            measure_tiles(work.numbered, part.seed, part.age)
        except KeyboardInterrupt:
            work.note_stop()
        return work.done()


class _PartWork:
    """A part while it is worked on, on its open chip."""

    def __init__(self, part: Part, chip: Backend) -> None:
        self._part, self._chip, self._before = part, chip, chip.counts
        self._items = [
            TileWork(tile, region_of(chip, tile, part.calibration), activations)
            for tile, activations in zip(part.tiles, part.activations, strict=True)
        ]
        self._ended: float | None = None
        self._utc: datetime | None = None
        self._state: State | None = None
        self._temperature: float | None = None

    @property
    def numbered(self) -> list[tuple[int, TileWork]]:
        """The tiles with their numbers within the run."""
        return list(zip(self._part.numbers, self._items, strict=True))

    def program(self, tell: Callable[[Word | None], None]) -> None:
        """Program all tiles in lockstep."""
        part, chip, began = self._part, self._chip, self._chip.now()
        works = [
            part.method.steps(item.region, item.tile, part.age, generator(part.seed, number, Purpose.PROGRAM))
            for number, item in self.numbered
        ]

        def watch(index: int, step: ProgrammingStep) -> None:
            values = self._items[index].note(step, chip.now() - began)
            tell((part.numbers[index], values, step.done, step.total))

        run_together(works, chip, watch, lambda: tell(None))

    def note_end(self) -> None:
        """Note the end of programming, from which ages count."""
        self._ended, self._utc = self._chip.now(), datetime.now(UTC)
        if Capability.TEMPERATURE in self._chip.info.capabilities:
            self._temperature = self._chip.temperature()
        self._state = self._exported()

    def note_stop(self) -> None:
        """Note that the part was stopped."""
        if self._state is None:
            self._state = self._exported()

    def done(self) -> Done:
        """Say what came of it."""
        items = self._items
        return Done(
            tuple(item.record(self._ended) for item in items),
            tuple(item.outputs for item in items),
            tuple(item.noise for item in items),
            self._ended,
            self._utc,
            self._state,
            self._temperature,
            self._chip.counts - self._before,
            self._chip.snapshot(),
        )

    def _exported(self) -> State | None:
        return self._chip.export_state() if Capability.STATE in self._chip.info.capabilities else None
