"""From weight matrices to conductance targets on the cells of a chip.

A matrix larger than a core is cut into tiles; several small tiles share a core. The outputs of tiles that share
columns of a matrix are added digitally. The rule for one cell: weight = scale of its column * (positive minus negative
conductance).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwloop.chip.info import ChipInfo
from hwloop.chip.region import Place
from hwloop.devices.model import DeviceModel
from hwloop.errors import BadInputError
from hwloop.mapping.clip import Clipping, clip_levels
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.sharing import MappingSettings, Sharing, sharing_of
from hwloop.mapping.tile import Tile

RANGE_SIGMAS = 4.0
"""Converter range over the standard deviation of the widest column's sum under uniform random inputs."""


def map_weights(
    matrices: Sequence[Matrix],
    info: ChipInfo,
    settings: MappingSettings | None = None,
    age: float | None = None,
    model_of: Callable[[Place], DeviceModel | None] | None = None,
) -> list[Tile]:
    """Cut matrices into tiles, place them, and turn weights into conductances.

    Parameters
    ----------
    matrices, info, settings
        What to map, on which chip, and how.
    age
        Seconds after programming at which the weights are used; None: the chip's reference age.
    model_of
        Tells what model is known of the devices of a place; None: the chip's nominal one everywhere.

    Raises
    ------
    BadInputError
        When the matrices need more cores than the chip has, or settings a device model that is not known.
    """
    settings, age = settings or MappingSettings(), info.reference_age if age is None else age
    pieces = [piece for matrix in matrices for piece in _cut(matrix, info)]
    places = pack([piece.values.shape for piece in pieces], info)
    models = {place.core: info.device_model if model_of is None else model_of(place) for place in places}
    tables = _sharings(models, info, settings, age)
    return [
        _tile(piece, place, info, settings, tables[place.core]) for piece, place in zip(pieces, places, strict=True)
    ]


def _sharings(
    models: Mapping[int, DeviceModel | None], info: ChipInfo, settings: MappingSettings, age: float
) -> dict[int, Sharing]:
    """Choose how the devices of each core share targets, once for all cores with the same model."""
    chosen: list[tuple[DeviceModel | None, Sharing]] = []
    sharings = {}
    for core, model in models.items():
        found = next((sharing for other, sharing in chosen if other is model), None)
        if found is None:
            found = sharing_of(settings, info, model, age)
            chosen.append((model, found))
        sharings[core] = found
    return sharings


def pack(sizes: Iterable[tuple[int, ...]], info: ChipInfo) -> list[Place]:
    """Find places for rectangles of cells (rows, columns), none larger than a core: shelves, tallest first.

    A shelf is a band of rows of one core, filled from the left; the next rectangle goes on the first shelf with room,
    else on a new shelf of the first core with room, else on a new core.
    """
    wanted = list(sizes)
    shelves: list[Place] = []  # columns = what is still free, from `column` on
    free_row = [0] * info.cores
    places: dict[int, Place] = {}
    for k in sorted(range(len(wanted)), key=lambda k: -wanted[k][0]):
        rows, columns = wanted[k]
        found = next((s for s, shelf in enumerate(shelves) if shelf.rows >= rows and shelf.columns >= columns), None)
        if found is None:
            core = next((c for c in range(info.cores) if free_row[c] + rows <= info.rows), None)
            if core is None:
                cells = sum(math.prod(size) for size in wanted)
                raise BadInputError(
                    f"the weights ({cells} cells in {len(wanted)} tiles) do not fit on {info.name}, which has "
                    f"{info.cores} core(s) of {info.rows} x {info.columns} cells; use a chip with more cores "
                    "(sim:hermes-64) or program one tensor at a time (--tensor NAME)"
                )
            shelves.append(Place(core, free_row[core], 0, rows, info.columns))
            free_row[core] += rows
            found = len(shelves) - 1
        shelf = shelves[found]
        places[k] = Place(shelf.core, shelf.row, shelf.column, rows, columns)
        shelves[found] = Place(shelf.core, shelf.row, shelf.column + columns, shelf.rows, shelf.columns - columns)
    return [places[k] for k in range(len(wanted))]


@dataclass(frozen=True)
class _Piece:
    tensor: str
    first_input: int
    first_output: int
    values: NDArray[np.float64]


def _cut(matrix: Matrix, info: ChipInfo) -> list[_Piece]:
    inputs, outputs = matrix.values.shape
    return [
        _Piece(matrix.name, i, o, matrix.values[i : i + info.rows, o : o + info.columns])
        for i in range(0, inputs, info.rows)
        for o in range(0, outputs, info.columns)
    ]


def _tile(piece: _Piece, place: Place, info: ChipInfo, settings: MappingSettings, sharing: Sharing) -> Tile:
    values = piece.values
    largest = np.abs(values).max(axis=0 if settings.scale == "column" else None, keepdims=True)
    # A weight may be so small that its share per uS is no longer a number: such a column counts as empty.
    smallest = np.finfo(np.float64).tiny * info.g_max * info.devices_per_polarity
    level = np.where(largest > smallest, largest, 1.0)
    clipping = None
    if settings.clip == "auto" and sharing.table is not None:
        level = clip_levels(values, level, sharing.table)
        clipping = Clipping.of(values, level)
    scale = np.broadcast_to(level, (1, place.columns))[0] / (info.g_max * info.devices_per_polarity)
    wanted = values / scale
    target = wanted if clipping is None else np.clip(values, -level, level) / scale
    return Tile(
        tensor=piece.tensor,
        place=place,
        first_input=piece.first_input,
        first_output=piece.first_output,
        target=target,
        scale=scale,
        full_scale=converter_range(target, info),
        split=sharing.split,
        table=sharing.table if sharing.split == "auto" else None,
        lean=None if clipping is None else target - wanted,
        clipping=clipping,
    )


def converter_range(target: NDArray[np.float64], info: ChipInfo) -> float:
    """Return the converter range in uS for signed targets (rows, columns) in uS and uniform random inputs."""
    # The standard deviation of a uniform input in [-1, 1] is 1 / sqrt(3).
    widest = float(np.sqrt((target**2).sum(0).max() / 3.0))
    low, high = info.adc_range
    return min(max(RANGE_SIGMAS * widest, low), high)
