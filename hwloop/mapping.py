"""From weight matrices to conductance targets on the cells of a chip.

A matrix larger than a core is cut into tiles; several small tiles share a core. Row-wise neighbours of a tile add up
digitally. The rule for one cell: weight = scale of its column * (positive minus negative conductance).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from hwloop.contract import ChipInfo, FloatArray, IndexArray
from hwloop.errors import BadInputError
from hwloop.knowledge import Devices
from hwloop.region import Place
from hwloop.weights import Matrix

SCALES = ("column", "core")
SPLITS = ("fill", "even")
MISSED = 0.01
"""A cell counts as out of reach when bad devices keep it this share of g_max from its target."""
RIDGE = 1e-3
"""Variance added to every input, over the mean one: sample activations do not show all that a network will see."""
RANGE_SIGMAS = 4.0
"""Converter range over the standard deviation of the widest column's sum under uniform random inputs."""


@dataclass(frozen=True)
class MappingSettings:
    """How weights become conductances."""

    scale: str = "column"
    """'column': every column uses the full conductance range; 'core': one scale for the whole tile."""
    split: str = "fill"
    """Two devices per polarity: 'fill' loads the first before the second, 'even' shares equally."""

    def __post_init__(self) -> None:
        for name, known in (("scale", SCALES), ("split", SPLITS)):
            if getattr(self, name) not in known:
                raise BadInputError(f"mapping {name} '{getattr(self, name)}' is unknown; known: {', '.join(known)}")


@dataclass(frozen=True)
class Tile:
    """A part of one matrix and where it lies.

    tensor        name of the matrix
    place         rectangle of cells on the chip
    first_input   first row of the matrix in this tile
    first_output  first column of the matrix in this tile
    target        (rows, columns) signed conductances, uS, to be reached at the target age
    scale         (columns,) weight per uS
    full_scale    converter range for this tile, uS
    split         how the devices of a polarity share a cell's target, 'fill' or 'even'
    order         (columns,) output of the tile that each of its columns computes; None: in their own order
    lean          (rows, columns) uS by which targets differ from the weights, to make up for cells out of reach
    """

    tensor: str
    place: Place
    first_input: int
    first_output: int
    target: FloatArray
    scale: FloatArray
    full_scale: float
    split: str = "fill"
    order: IndexArray | None = None
    lean: FloatArray | None = None

    def in_output_order(self, values: FloatArray) -> FloatArray:
        """Values (..., columns) as the columns give them, in the order of the matrix's outputs."""
        return values if self.order is None else values[..., np.argsort(self.order)]

    def device_targets(self, info: ChipInfo, devices: Devices | None = None) -> FloatArray:
        """Targets of the devices, (2, K, rows, columns) in uS.

        Where devices are known to be bad, the others of their cell make up for them as far as they reach.
        """
        if devices is None:
            shape = (2, info.devices_per_polarity, *self.target.shape)
            return split_devices(self.target, np.full(shape, info.g_max), self.split)
        stays = devices.held.sum(1)
        return split_devices(self.target - (stays[0] - stays[1]), devices.capacity(info), self.split)

    @property
    def weights(self) -> FloatArray:
        """The weights this tile stands for, (rows, columns)."""
        return (self.target if self.lean is None else self.target - self.lean) * self.scale


def map_weights(matrices: Sequence[Matrix], info: ChipInfo, settings: MappingSettings | None = None) -> list[Tile]:
    """Tiles for all matrices. Raises BadInputError when they need more cores than the chip has."""
    settings = settings or MappingSettings()
    pieces = [piece for matrix in matrices for piece in _cut(matrix, info)]
    places = pack([piece.values.shape for piece in pieces], info)
    return [_tile(piece, place, info, settings) for piece, place in zip(pieces, places, strict=True)]


def spare_bad_devices(tile: Tile, devices: Devices, info: ChipInfo) -> Tile:
    """The tile with its columns dealt out so that bad devices put the least of the weights out of reach.

    A bad device costs a weight nothing as long as the others of its cell reach the target. Which output a column
    computes is free, so the assignment of least summed squared loss is taken (Kuhn 1955, by scipy).
    """
    if devices.usable.all():
        return tile
    capacity, stays = devices.capacity(info).sum(1), devices.held.sum(1)
    high = stays[0] - stays[1] + capacity[0]
    low = stays[0] - stays[1] - capacity[1]
    bad = np.any(~devices.usable, axis=(0, 1))
    loss = np.zeros((tile.place.columns, tile.place.columns))
    for column in np.flatnonzero(bad.any(0)):
        rows = bad[:, column]
        target = tile.target[rows]
        beyond = np.maximum(target - high[rows, column, None], 0.0) + np.maximum(low[rows, column, None] - target, 0.0)
        loss[:, column] = np.square(beyond).sum(0)
    # Of columns that lose nothing, a small reward keeps every output where it was.
    outputs, columns = linear_sum_assignment(loss - 1e-9 * info.g_max**2 * np.eye(len(loss)))
    order = outputs[np.argsort(columns)]
    return replace(tile, target=tile.target[:, order], scale=tile.scale[order], order=order)


def lean_on_neighbours(tile: Tile, devices: Devices, info: ChipInfo, inputs: FloatArray) -> Tile:
    """The tile with targets changed so that cells near one out of reach make up for it, as far as inputs go together.

    inputs: (vectors, rows) sample activations. With their second moments C, the outputs' mean squared error is e^T C e
    for errors e of a column's cells. Where bad devices fix e on some cells F, it is least for e = P[:, F] P[F, F]^-1
    e[F] with P = C^-1. Inputs that have nothing to do with each other leave nothing to lean on, and change nothing.
    """
    capacity, stays = devices.capacity(info).sum(1), devices.held.sum(1)
    high, low = stays[0] - stays[1] + capacity[0], stays[0] - stays[1] - capacity[1]
    reached = np.clip(tile.target, low, high)
    missed = reached - tile.target
    moments = inputs.T @ inputs / len(inputs)
    ridge = RIDGE * float(np.trace(moments)) / len(moments)
    precision = np.linalg.inv(moments + ridge * np.eye(len(moments)))
    target = tile.target.copy()
    for column in np.flatnonzero(np.any(np.abs(missed) > MISSED * info.g_max, axis=0)):
        out = np.flatnonzero(np.abs(missed[:, column]) > MISSED * info.g_max)
        error = precision[:, out] @ np.linalg.solve(precision[np.ix_(out, out)], missed[out, column])
        error[out] = 0.0  # what is out of reach is still aimed at, as near as it goes
        moved = np.clip(tile.target[:, column] + error, low[:, column], high[:, column]) - tile.target[:, column]
        moved[out] = missed[out, column]
        before, after = missed[:, column], moved
        if after @ moments @ after < before @ moments @ before:
            target[:, column] += np.where(np.isin(np.arange(len(moved)), out), 0.0, moved)
    return replace(tile, target=target, lean=target - tile.target)


def split_devices(target: FloatArray, capacity: FloatArray, split: str = "fill") -> FloatArray:
    """Device targets (2, K, rows, columns) in uS for signed cell targets (rows, columns) in uS.

    capacity: largest target of each device, (2, K, rows, columns) in uS. 'fill' loads device 0 up to its capacity
    before device 1 gets the rest; 'even' loads all to the same share of their capacities.
    """
    polarities = np.stack([np.maximum(target, 0.0), np.maximum(-target, 0.0)])[:, None]
    if split == "even":
        total = capacity.sum(1, keepdims=True)
        return capacity * np.minimum(polarities / np.where(total > 0, total, 1.0), 1.0)
    full_below = np.cumsum(capacity, axis=1) - capacity
    filled: FloatArray = np.clip(polarities - full_below, 0.0, capacity)
    return filled


def pack(sizes: Iterable[tuple[int, ...]], info: ChipInfo) -> list[Place]:
    """Places for rectangles of cells (rows, columns), none larger than a core: shelves, tallest first.

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
