"""Real inputs of a network's layers, from arrays or from a file: shapes first, values when they are known to fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwloop.errors import BadInputError, said
from hwloop.files.reading import DAMAGE
from hwloop.files.weights.arrays import read_npy, read_npz
from hwloop.files.weights.content import Content, content_of
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.tensors import Tensor, tensor_of
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class InputLimits:
    """What sample inputs may be."""

    vectors: int = 64
    """Vectors at least: one half fits the columns, the other half evaluates them."""
    size: int = 2**31
    """Bytes in memory at most, as float64."""


LIMITS = InputLimits()
"""The limits of all sample inputs."""


def activations_from(
    given: Mapping[str, FloatArray] | FloatArray | str | Path | None, matrices: Sequence[Matrix]
) -> dict[str, FloatArray] | None:
    """Take sample inputs by tensor from arrays or from a file; None stays None.

    Parameters
    ----------
    given
        (vectors, inputs) arrays by tensor, one array for a single matrix, or a .npz or .npy file of them.
    matrices
        What is programmed.

    Raises
    ------
    BadInputError
        For a file that cannot be read, arrays of another shape or with what is no number, and unknown tensors.
    """
    if given is None:
        return None
    source = f"sample inputs {given}" if isinstance(given, str | Path) else "sample inputs"
    described = _of_file(Path(given), source) if isinstance(given, str | Path) else _of_arrays(given)
    if isinstance(described, Tensor):
        if len(matrices) > 1:
            names = ", ".join(matrix.name for matrix in matrices)
            raise BadInputError(f"{source}: one array for several tensors ({names}); use an .npz with their names")
        described = {matrices[0].name: described}
    sizes = {matrix.name: matrix.values.shape[0] for matrix in matrices}
    unknown = sorted(set(described) - set(sizes))
    if unknown:
        raise BadInputError(f"{source}: no tensor '{unknown[0]}' is programmed; there are {', '.join(sizes)}")
    return {name: _checked(f"{source}: {name}", one, sizes[name]) for name, one in described.items()}


def _of_arrays(given: Mapping[str, FloatArray] | FloatArray) -> Mapping[str, Tensor] | Tensor:
    if isinstance(given, Mapping):
        return {name: tensor_of(name, values) for name, values in given.items()}
    return tensor_of("inputs", given)


def _of_file(path: Path, source: str) -> Mapping[str, Tensor] | Tensor:
    """Describe the arrays of a file by their headers."""
    try:
        content = content_of(path)
        if content is Content.NPY:
            return read_npy(path)[0]
        if content is Content.NPZ:
            return {tensor.key: tensor for tensor in read_npz(path)}
    except BadInputError as error:
        raise BadInputError(f"{source}: no readable .npy or .npz file ({error})") from None
    raise BadInputError(f"{source}: no readable .npy or .npz file (it is {content.value})")


def _checked(where: str, tensor: Tensor, inputs: int) -> FloatArray:
    if tensor.ndim != 2 or tensor.shape[1] != inputs or tensor.shape[0] < LIMITS.vectors:
        raise BadInputError(
            f"{where} has the shape {tensor.shape}, expected ({LIMITS.vectors} or more vectors, {inputs})"
        )
    if tensor.size * np.dtype(np.float64).itemsize > LIMITS.size:
        raise BadInputError(f"{where} has {tensor.shape[0]} vectors, which take over {LIMITS.size} bytes; give fewer")
    if tensor.trouble:
        raise BadInputError(f"{where} {tensor.trouble}")
    try:
        array = np.asarray(tensor.load())
    except BadInputError:
        raise
    except DAMAGE as error:
        raise BadInputError(f"{where} cannot be read ({said(error)}); save it again") from None
    if array.dtype.kind not in "iuf" or not np.all(np.isfinite(array)):
        raise BadInputError(f"{where} has values that are no finite real numbers")
    return array.astype(np.float64)
