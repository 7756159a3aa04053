"""Real inputs of a network's layers, from arrays or from a file: shapes first, values when they are known to fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwloop.errors import BadInputError, said
from hwloop.files.coresets import is_coreset, read_coreset
from hwloop.files.reading import DAMAGE
from hwloop.files.weights.arrays import read_npy, read_npz
from hwloop.files.weights.content import Content, content_of
from hwloop.mapping.activations import Sample
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
    given: Mapping[str, FloatArray | Sample] | FloatArray | Sample | str | Path | None, matrices: Sequence[Matrix]
) -> dict[str, Sample] | None:
    """Take sample inputs by tensor from arrays, from weighted samples, or from a file; None stays None.

    Parameters
    ----------
    given
        (vectors, inputs) arrays or weighted samples by tensor, one for a single matrix, or a .npz or .npy file of them;
        a coreset too.
    matrices
        What is programmed.

    Raises
    ------
    BadInputError
        For a file that cannot be read, arrays of another shape or with what is no number, and unknown tensors.
    """
    return activations_of(given, {matrix.name: matrix.values.shape[0] for matrix in matrices})


def activations_of(
    given: Mapping[str, FloatArray | Sample] | FloatArray | Sample | str | Path | None, sizes: Mapping[str, int]
) -> dict[str, Sample] | None:
    """Take sample inputs as `activations_from` does, for matrices that take so many inputs, by name."""
    if given is None:
        return None
    source = f"sample inputs {given}" if isinstance(given, str | Path) else "sample inputs"
    if isinstance(given, str | Path) and is_coreset(given):
        given = _of_coreset(given, sizes)
    if isinstance(given, Sample):
        given = {next(iter(sizes)) if len(sizes) == 1 else "inputs": given}
    described = _of_file(Path(given), source) if isinstance(given, str | Path) else _of_arrays(given)
    if isinstance(described, Tensor):
        if len(sizes) > 1:
            names = ", ".join(sizes)
            raise BadInputError(f"{source}: one array for several tensors ({names}); use an .npz with their names")
        described = {next(iter(sizes)): described}
    weights = (
        {name: one.weights for name, one in given.items() if isinstance(one, Sample)}
        if isinstance(given, Mapping)
        else {}
    )
    unknown = sorted(set(described) - set(sizes))
    if unknown:
        raise BadInputError(f"{source}: no tensor '{unknown[0]}' is programmed; there are {', '.join(sizes)}")
    return {
        name: Sample(_checked(f"{source}: {name}", one, sizes[name]), weights.get(name))
        for name, one in described.items()
    }


def _of_coreset(path: str | Path, sizes: Mapping[str, int]) -> dict[str, Sample]:
    """Read a coreset; one that was made of a single array belongs to the only matrix."""
    found = read_coreset(path).samples()
    if len(found) == len(sizes) == 1:
        return {next(iter(sizes)): next(iter(found.values()))}
    return found


def _weights_of(given: object) -> dict[str, FloatArray | None]:
    """Give the weights of samples by tensor."""
    found = given.items() if isinstance(given, Mapping) else ()
    return {name: one.weights for name, one in found if isinstance(one, Sample)}


def _of_arrays(given: Mapping[str, FloatArray | Sample] | FloatArray) -> Mapping[str, Tensor] | Tensor:
    if isinstance(given, Mapping):
        plain = {name: one.vectors if isinstance(one, Sample) else one for name, one in given.items()}
        return {name: tensor_of(name, values) for name, values in plain.items()}
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
