"""Weight matrices as a crossbar sees them, made of the tensors of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwloop.errors import BadInputError
from hwloop.registry import suggest

LAYOUTS = ("outputs-first", "inputs-first")
SMALLEST = 1e-100
"""Matrices whose largest weight is below this, or above its inverse, leave no room for squares in float64."""


@dataclass(frozen=True)
class Matrix:
    """One weight matrix as a crossbar sees it: inputs drive rows, outputs are columns."""

    name: str
    """Name of the tensor in its file."""
    values: NDArray[np.float64]
    """(inputs, outputs) weights."""


def matrices(
    tensors: Mapping[str, ArrayLike], source: str = "weights", tensor: str | None = None, layout: str = "outputs-first"
) -> list[Matrix]:
    """Make weight matrices of arrays by name, with the rules of `load_weights`.

    Parameters
    ----------
    tensors
        (outputs, inputs) arrays; more dimensions are those of a convolution kernel, one dimension is passed over.
    source
        What errors call them.
    tensor
        Name of the only one to take; None for all.
    layout
        Order of the dimensions, one of `LAYOUTS`.

    Raises
    ------
    BadInputError
        For anything that cannot be programmed, with the name of its tensor.
    """
    if layout not in LAYOUTS:
        raise BadInputError(f"unknown layout '{layout}'; {suggest(layout, list(LAYOUTS))}")
    if not tensors:
        raise BadInputError(f"{source}: holds no tensors")
    if tensor is not None:
        if tensor not in tensors:
            raise BadInputError(f"{source}: no tensor '{tensor}'; it holds {', '.join(tensors)}")
        return [_matrix(tensor, tensors[tensor], source, layout)]
    chosen = {name: values for name, values in tensors.items() if np.ndim(values) >= 2} or dict(tensors)
    return [_matrix(name, values, source, layout) for name, values in chosen.items()]


def _matrix(name: str, values: ArrayLike, source: str, layout: str) -> Matrix:
    array, where = np.asarray(values), f"{source}: tensor '{name}'"
    if array.dtype == bool or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise BadInputError(f"{where} holds {array.dtype} values; expected real numbers")
    if array.ndim < 2:
        raise BadInputError(f"{where} has the shape {array.shape}; a weight matrix needs two dimensions or more")
    if not array.size:
        raise BadInputError(f"{where} is empty (shape {array.shape})")
    array = array.reshape(array.shape[0], -1).astype(np.float64)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise BadInputError(f"{where} has {len(bad)} NaN or infinite values, the first at {tuple(map(int, bad[0]))}")
    largest = float(np.abs(array).max())
    if not largest:
        raise BadInputError(f"{where} is all zero; there is nothing to program")
    if not SMALLEST < largest < 1 / SMALLEST:
        raise BadInputError(f"{where} has a largest value of {largest:.3g}, too extreme to compute with; rescale it")
    return Matrix(name, np.ascontiguousarray(array if layout == "inputs-first" else array.T))
