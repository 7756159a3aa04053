"""From weight matrices to conductance targets on the cells of a chip.

A matrix larger than a core is cut into tiles; several small tiles share a core. The outputs of tiles that share
columns of a matrix are added digitally. The rule for one cell: weight = scale of its column * (positive minus negative
conductance).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwloop.chip.info import ChipInfo
from hwloop.chip.region import Place
from hwloop.errors import BadInputError
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.split import SPLITS
from hwloop.mapping.tile import Tile

SCALES = ("column", "core")
RANGE_SIGMAS = 4.0
"""Converter range over the standard deviation of the widest column's sum under uniform random inputs."""


@dataclass(frozen=True)
class MappingSettings:
    """How weights become conductances."""

    scale: str = "column"
    """'column': every column uses the full conductance range; 'core': one scale for the whole tile."""
    split: str = "fill"
    """How several devices of a polarity share: 'fill' loads the first before the second, 'even' shares equally."""

    def __post_init__(self) -> None:
        for name, known in (("scale", SCALES), ("split", SPLITS)):
            if getattr(self, name) not in known:
                raise BadInputError(f"mapping {name} '{getattr(self, name)}' is unknown; known: {', '.join(known)}")


def map_weights(matrices: Sequence[Matrix], info: ChipInfo, settings: MappingSettings | None = None) -> list[Tile]:
    """Make the tiles of all matrices. Raises BadInputError when they need more cores than the chip has."""
    settings = settings or MappingSettings()
    pieces = [piece for matrix in matrices for piece in _cut(matrix, info)]
    places = pack([piece.values.shape for piece in pieces], info)
    return [_tile(piece, place, info, settings) for piece, place in zip(pieces, places, strict=True)]


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


def _tile(piece: _Piece, place: Place, info: ChipInfo, settings: MappingSettings) -> Tile:
    largest = np.abs(piece.values).max(axis=0 if settings.scale == "column" else None, keepdims=True)
    # A weight may be so small that its share per uS is no longer a number: such a column counts as empty.
    smallest = np.finfo(np.float64).tiny * info.g_max * info.devices_per_polarity
    largest = np.broadcast_to(np.where(largest > smallest, largest, 1.0), (1, place.columns))[0]
    scale = largest / (info.g_max * info.devices_per_polarity)
    target = piece.values / scale
    # The standard deviation of a uniform input in [-1, 1] is 1 / sqrt(3).
    widest = float(np.sqrt((target**2).sum(0).max() / 3.0))
    low, high = info.adc_range
    full_scale = min(max(RANGE_SIGMAS * widest, low), high)
    return Tile(piece.tensor, place, piece.first_input, piece.first_output, target, scale, full_scale, settings.split)
