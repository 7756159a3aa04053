"""Weight matrices as a crossbar sees them, made of the tensors of a network."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwloop.chip.info import ChipInfo
from hwloop.errors import BadInputError, WeightsNote
from hwloop.mapping.choice import Choice, Chosen, LayoutLike, Notes, TensorLike, choose
from hwloop.mapping.folding import fold, merge_adapters
from hwloop.mapping.layouts import LAYOUTS as LAYOUTS
from hwloop.mapping.layouts import matrix_of
from hwloop.mapping.tensors import Tensor, numbers, tensor_of

SMALLEST = 1e-100
"""Matrices whose largest weight is below this, or above its inverse, leave no room for squares in float64."""


@dataclass(frozen=True)
class MatrixLimits:
    """What is too large to be meant."""

    values: int = 10**9
    """Most values of one tensor: 8 GB, and a thousand times what a chip of many cores holds."""


@dataclass(frozen=True)
class Room:
    """What the chip can hold for which matrices are made: what is larger is refused before its values are read."""

    chip: str
    """What errors call it."""
    cells: int
    """Cells of all its cores."""

    @classmethod
    def of(cls, info: ChipInfo) -> Room:
        """Describe a chip."""
        cores = f"{info.name}, which has {info.cores} core(s) of {info.rows} x {info.columns} cells"
        return cls(cores, info.cores * info.rows * info.columns)


@dataclass(frozen=True)
class Matrix:
    """One weight matrix as a crossbar sees it: inputs drive rows, outputs are columns."""

    name: str
    """Name of the tensor in its file."""
    values: NDArray[np.float64]
    """(inputs, outputs) weights."""


def matrices(
    tensors: Mapping[str, ArrayLike],
    source: str = "weights",
    tensor: TensorLike = None,
    layout: LayoutLike = None,
    merge_lora: float | None = None,
) -> list[Matrix]:
    """Make weight matrices of arrays by name, with the rules of `load_weights`.

    Parameters
    ----------
    tensors
        (outputs, inputs) arrays; more dimensions are those of a convolution kernel, one dimension is passed over.
    source
        What errors call them.
    tensor
        Name or pattern of those to take, or several; None for all weights.
    layout
        Order of the dimensions of all, one of `LAYOUTS`, or by name or pattern; None: as names, shapes and biases tell,
        outputs first where they do not.
    merge_lora
        Factor before B A, with which low-rank adapters are added to their weights; None leaves them apart.

    Raises
    ------
    BadInputError
        For anything that cannot be programmed, with the name of its tensor.
    """
    described = [tensor_of(str(name), values) for name, values in tensors.items()]
    return matrices_of(described, source, Choice.of(tensor, layout), merge_lora, strict=False)


def matrices_of(
    tensors: Sequence[Tensor],
    source: str,
    choice: Choice,
    merge_lora: float | None = None,
    *,
    strict: bool = True,
    room: Room | None = None,
) -> list[Matrix]:
    """Make weight matrices of tensors that are read one by one; what is passed over is told by one `WeightsNote`.

    Parameters
    ----------
    tensors
        All tensors of a network, in order.
    source
        What errors call them.
    choice
        Which to take, and their layouts.
    merge_lora
        As for `matrices`.
    strict
        Whether only what is called like a weight is one, where anything is; for files.
    room
        What the chip can hold, where it is known.

    Raises
    ------
    BadInputError
        For anything that cannot be programmed, with the name of its tensor.
    """
    if not tensors:
        raise BadInputError(f"{source}: holds no tensors")
    whole = fold(tensors)
    if merge_lora is not None:
        whole = merge_adapters(whole, merge_lora, source)
    chosen, notes = choose(whole, choice, source, strict=strict)
    if not chosen:
        raise _nothing(whole, notes, source)
    made = _made(chosen, notes, source, room, strict=strict)
    for sentence in notes.sentences():
        warnings.warn(f"{source}: {sentence}", WeightsNote, stacklevel=3)
    return made


def _nothing(tensors: Sequence[Tensor], notes: Notes, source: str) -> BadInputError:
    """Say why there is no weight matrix: of a single tensor what is wrong with it, else what was passed over."""
    numeric = [tensor for tensor in tensors if not tensor.aside]
    if len(numeric) == 1:
        try:
            _checked(numeric[0], source)
        except BadInputError as error:
            return error
    if notes.passed:
        return BadInputError(f"{source}: holds no weight matrix; {notes.sentences()[0]}")
    shapes = ", ".join(f"'{tensor.name}' has the shape {tensor.shape}" for tensor in tensors[: notes.listed])
    return BadInputError(f"{source}: tensor {shapes}; a weight matrix needs two dimensions or more")


def _made(chosen: Sequence[Chosen], notes: Notes, source: str, room: Room | None, *, strict: bool) -> list[Matrix]:
    """Read what is chosen, each once; what is all zero is passed over unless it is named or alone."""
    made: list[Matrix] = []
    known: dict[Hashable, str] = {}
    empty: list[Chosen] = []
    for one in chosen:
        tensor = one.tensor
        if tensor.storage is not None and tensor.storage in known:
            notes.passed.setdefault(f"the same as {known[tensor.storage]}", []).append(tensor.name)
            continue
        _check_room(tensor, sum(matrix.values.size for matrix in made), source, room)
        array = _checked(tensor, source)
        if not array.any():
            empty.append(one)
            if one.named:
                break
            continue
        key: Hashable = tensor.storage or (_digest(array) if strict and one.known else None)
        if key is not None and key in known:
            notes.passed.setdefault(f"the same as {known[key]}", []).append(tensor.name)
            continue
        known[key] = tensor.name
        if one.reading.why:
            notes.read.setdefault(f"{one.reading.layout}, {one.reading.why}", []).append(tensor.name)
        made.append(_matrix(one, array, source))
    if empty and (not made or empty[-1].named):
        raise BadInputError(f"{source}: tensor '{empty[-1].tensor.name}' is all zero; there is nothing to program")
    if empty:
        notes.passed["all zero"] = [one.tensor.name for one in empty]
    return made


def _check_room(tensor: Tensor, taken: int, source: str, room: Room | None) -> None:
    """Refuse a tensor for which there is no room beside `taken` cells, by its shape. Raises BadInputError."""
    if room is None or taken + tensor.size <= room.cells:
        return
    raise BadInputError(
        f"{source}: the weights do not fit on {room.chip}: with tensor '{tensor.name}' "
        f"({' x '.join(map(str, tensor.shape))}) they take {taken + tensor.size} cells; use a chip with more cores "
        "(sim:hermes-64) or program one tensor at a time (--tensor NAME)"
    )


def _digest(array: NDArray[np.generic]) -> Hashable:
    return array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()


def _checked(tensor: Tensor, source: str, limits: MatrixLimits | None = None) -> NDArray[np.generic]:
    """Read the values of a tensor, if they can be those of a weight."""
    where, most = f"{source}: tensor '{tensor.name}'", (limits or MatrixLimits()).values
    if tensor.trouble:
        raise BadInputError(f"{where} {tensor.trouble}")
    if tensor.number == "other":
        raise BadInputError(f"{where} holds {tensor.dtype.removeprefix('torch.')} values; expected real numbers")
    if tensor.ndim < 2:
        raise BadInputError(f"{where} has the shape {tensor.shape}; a weight matrix needs two dimensions or more")
    if not tensor.size:
        raise BadInputError(f"{where} is empty (shape {tensor.shape})")
    if tensor.size > most:
        sizes = " x ".join(map(str, tensor.shape))
        raise BadInputError(f"{where} has {sizes} values, more than the {most} that are read as one matrix")
    return numbers(tensor)


def _matrix(one: Chosen, given: NDArray[np.generic], source: str) -> Matrix:
    where, array = f"{source}: tensor '{one.tensor.name}'", given.astype(np.float64)
    flat = array.reshape(array.shape[0], -1)
    bad = np.argwhere(~np.isfinite(flat))
    if len(bad):
        raise BadInputError(f"{where} has {len(bad)} NaN or infinite values, the first at {tuple(map(int, bad[0]))}")
    largest = float(np.abs(flat).max())
    if not SMALLEST < largest < 1 / SMALLEST:
        raise BadInputError(f"{where} has a largest value of {largest:.3g}, too extreme to compute with; rescale it")
    return Matrix(one.tensor.name, np.ascontiguousarray(matrix_of(array, one.reading)))
