"""Which matrices a converted network puts on a chip, under which names, and whether they fit."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import block_diag

from hwloop.chip.info import ChipInfo
from hwloop.errors import BadInputError
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.partition import pack
from hwloop.nn.convert import Converted, MatrixOf, matrices_of
from hwloop.registry import suggest
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Block:
    """A part of a matrix that goes on the chip as one tensor: all of it, or some of its groups on a diagonal.

    Parameters
    ----------
    name
        Of the tensor.
    first, groups
        First of its groups, and how many.
    """

    name: str
    first: int
    groups: int

    def slices(self, shape: Sequence[int]) -> tuple[slice, slice]:
        """Give its inputs and outputs within the layer's; `shape` is (groups, inputs, outputs) of the matrix."""
        _, inputs, outputs = shape
        last = self.first + self.groups
        return slice(self.first * inputs, last * inputs), slice(self.first * outputs, last * outputs)

    def values(self, matrix: torch.Tensor) -> FloatArray:
        """Cut it out of a matrix (groups, inputs, outputs), as (groups * inputs, groups * outputs)."""
        parts = matrix[self.first : self.first + self.groups].to(torch.float64).numpy(force=True)
        whole: FloatArray = block_diag(*parts)
        return whole


@dataclass(frozen=True)
class PlacedMatrix:
    """One matrix of the network and the tensors that hold it on the chip.

    Parameters
    ----------
    sharing
        The layers that multiply by it; the first names it.
    shape
        (groups, inputs, outputs).
    replicas
        Its blocks, once for each copy of it.
    """

    sharing: tuple[MatrixOf, ...]
    shape: tuple[int, ...]
    replicas: tuple[tuple[Block, ...], ...]

    @property
    def name(self) -> str:
        """Name of the matrix."""
        return self.sharing[0].name

    def tensors(self) -> list[Matrix]:
        """Give the tensors to program. Raises BadInputError for weights that are not finite."""
        values = self.sharing[0].values()
        if not bool(torch.isfinite(values).all()):
            raise BadInputError(f"{self.name} has weights that are NaN or infinite; look at the file, or at training")
        made = [Matrix(block.name, np.ascontiguousarray(block.values(values))) for block in self.replicas[0]]
        copies = [
            dataclasses.replace(matrix, name=block.name)
            for blocks in self.replicas[1:]
            for matrix, block in zip(made, blocks, strict=True)
        ]
        return made + copies


def place(converted: Converted, info: ChipInfo, replicas: Mapping[str, int] | None = None) -> list[PlacedMatrix]:
    """Decide which tensors hold the matrices of a network on a chip, from their shapes alone.

    Whether they fit is what `check_fit` says.

    Parameters
    ----------
    converted
        The network; its weights are not looked at.
    info
        The chip.
    replicas
        How many copies of the matrices of a layer there shall be, by its path or a pattern; 1 where none fits.

    Raises
    ------
    BadInputError
        For replicas of nothing, and more of them than the chip has cells for.
    """
    wanted = _replicas(converted, replicas or {})
    placed = []
    for sharing in matrices_of(converted):
        shape = tuple(sharing[0].layer.matrices()[sharing[0].own_name].shape)
        users = {one.layer for one in sharing}
        copies = max(wanted[path] for path, layer in converted.layers.items() if layer in users)
        if copies > 1 and copies * math.prod(shape) > info.cores * info.rows * info.columns:
            raise BadInputError(
                f"replicas: {copies} copies of {sharing[0].name} take {copies * math.prod(shape)} cells at least, and "
                f"{info.name} has {info.cores * info.rows * info.columns}"
            )
        blocks = _blocks(sharing[0].name, shape, info)
        every = [
            tuple(dataclasses.replace(block, name=block.name + (f"@{copy + 1}" if copy else "")) for block in blocks)
            for copy in range(copies)
        ]
        placed.append(PlacedMatrix(sharing, shape, tuple(every)))
    return placed


def _replicas(converted: Converted, replicas: Mapping[str, int]) -> dict[str, int]:
    wanted = dict.fromkeys(converted.layers, 1)
    for pattern, count in replicas.items():
        named = fnmatch.filter(wanted, pattern)
        if not named:
            raise BadInputError(f"replicas: there is no analog layer '{pattern}'; {suggest(pattern, list(wanted))}")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise BadInputError(f"replicas of '{pattern}' must be a whole number from 1, not {count!r}")
        wanted.update(dict.fromkeys(named, count))
    return wanted


def _blocks(name: str, shape: Sequence[int], info: ChipInfo) -> list[Block]:
    """Cut a matrix into the tensors that hold it: groups go on a diagonal, as many as a core has room for."""
    groups, inputs, outputs = shape
    if groups == 1:
        return [Block(name, 0, 1)]
    together = max(1, min(info.rows // inputs, info.columns // outputs))
    return [
        Block(f"{name}[{first}:{min(first + together, groups)}]", first, min(together, groups - first))
        for first in range(0, groups, together)
    ]


def cores_needed(placed: Sequence[PlacedMatrix], info: ChipInfo) -> int:
    """Count the cores that matrices take on a chip with as many as they want."""
    sizes = [size for matrix in placed for size in _tile_sizes(matrix, info)]
    return 1 + max(where.core for where in pack(sizes, dataclasses.replace(info, cores=len(sizes))))


def check_fit(placed: Sequence[PlacedMatrix], info: ChipInfo) -> None:
    """Raise BadInputError for matrices that need more cores than there are, from their sizes alone."""
    needed = cores_needed(placed, info)
    if needed > info.cores:
        sizes = [size for matrix in placed for size in _tile_sizes(matrix, info)]
        cells = sum(math.prod(size) for size in sizes)
        largest = max(placed, key=lambda matrix: math.prod(matrix.shape) * len(matrix.replicas))
        streamed = all(cores_needed([matrix], info) <= info.cores for matrix in placed)
        other = ", or keep layers digital (exclude)"
        if streamed:
            other = ", keep layers digital (exclude), or stream it through the chip in passes (passes=True, --passes)"
        raise BadInputError(
            f"the network needs {needed} cores of {info.rows} x {info.columns} cells ({cells} cells in {len(sizes)} "
            f"tiles) and {info.name} has {info.cores}; its largest matrix is {largest.name}; use a chip with more cores"
            f"{f' (sim:...?cores={needed})' if info.name.startswith('sim:') else ''}{other}"
        )


def _tile_sizes(matrix: PlacedMatrix, info: ChipInfo) -> list[tuple[int, int]]:
    sizes = []
    for blocks in matrix.replicas:
        for block in blocks:
            inputs, outputs = (part.stop - part.start for part in block.slices(matrix.shape))
            sizes += [
                (min(info.rows, inputs - row), min(info.columns, outputs - column))
                for row in range(0, inputs, info.rows)
                for column in range(0, outputs, info.columns)
            ]
    return sizes
