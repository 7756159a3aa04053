"""Real inputs of a network's layers: to fit ranges and fault correction to, and to judge the result by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwloop.errors import BadInputError
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray

LEAST_VECTORS = 64
"""Half of them fit the columns, the other half judge."""


def load_activations(path: str | Path, matrices: Sequence[Matrix]) -> dict[str, FloatArray]:
    """Sample inputs (vectors, inputs) by tensor: .npz with an array for each, or .npy for the one tensor programmed.

    Raises BadInputError for a file that is none, arrays of another shape or without a number, and unknown tensors.
    """
    path = Path(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {name: loaded[name] for name in loaded.files} if hasattr(loaded, "files") else None
    except (OSError, ValueError, EOFError) as error:
        raise BadInputError(f"--inputs {path}: no readable .npy or .npz file ({str(error).splitlines()[0]})") from None
    if arrays is None:
        if len(matrices) > 1:
            names = ", ".join(matrix.name for matrix in matrices)
            raise BadInputError(
                f"--inputs {path}: one array for several tensors ({names}); use an .npz with their names"
            )
        arrays = {matrices[0].name: loaded}
    sizes = {matrix.name: matrix.values.shape[0] for matrix in matrices}
    unknown = sorted(set(arrays) - set(sizes))
    if unknown:
        raise BadInputError(f"--inputs {path}: no tensor '{unknown[0]}' is programmed; there are {', '.join(sizes)}")
    return {name: _checked(f"--inputs {path}: {name}", array, sizes[name]) for name, array in arrays.items()}


def _checked(where: str, array: NDArray[np.generic], inputs: int) -> FloatArray:
    if array.ndim != 2 or array.shape[1] != inputs or len(array) < LEAST_VECTORS:
        raise BadInputError(
            f"{where} has the shape {array.shape}, expected ({LEAST_VECTORS} or more vectors, {inputs})"
        )
    if array.dtype.kind not in "iuf" or not np.all(np.isfinite(array)):
        raise BadInputError(f"{where} has values that are no finite real numbers")
    return array.astype(np.float64)


def of_tile(activations: Mapping[str, FloatArray] | None, tile: Tile) -> FloatArray | None:
    """Sample inputs (vectors, rows) of a tile, if there are any."""
    whole = (activations or {}).get(tile.tensor)
    return None if whole is None else whole[:, tile.first_input : tile.first_input + tile.place.rows]
