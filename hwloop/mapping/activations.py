"""Real inputs of a network's layers: ranges and fault correction are fitted to them, results are evaluated on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile

from hwloop.errors import BadInputError
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.tile import Tile
from hwloop.typing import AnyArray, FloatArray

LEAST_VECTORS = 64
"""Fewest sample inputs: one half fits the columns, the other half evaluates them."""


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
    arrays = _loaded(Path(given)) if isinstance(given, str | Path) else given
    if not isinstance(arrays, Mapping):
        if len(matrices) > 1:
            names = ", ".join(matrix.name for matrix in matrices)
            raise BadInputError(f"{source}: one array for several tensors ({names}); use an .npz with their names")
        arrays = {matrices[0].name: np.asarray(arrays)}
    sizes = {matrix.name: matrix.values.shape[0] for matrix in matrices}
    unknown = sorted(set(arrays) - set(sizes))
    if unknown:
        raise BadInputError(f"{source}: no tensor '{unknown[0]}' is programmed; there are {', '.join(sizes)}")
    return {name: _checked(f"{source}: {name}", np.asarray(array), sizes[name]) for name, array in arrays.items()}


def _loaded(path: Path) -> Mapping[str, AnyArray] | AnyArray:
    try:
        loaded = np.load(path, allow_pickle=False)
        return {name: loaded[name] for name in loaded.files} if isinstance(loaded, NpzFile) else np.asarray(loaded)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise BadInputError(f"sample inputs {path}: no readable .npy or .npz file ({reason})") from None


def _checked(where: str, array: AnyArray, inputs: int) -> FloatArray:
    if array.ndim != 2 or array.shape[1] != inputs or len(array) < LEAST_VECTORS:
        raise BadInputError(
            f"{where} has the shape {array.shape}, expected ({LEAST_VECTORS} or more vectors, {inputs})"
        )
    if array.dtype.kind not in "iuf" or not np.all(np.isfinite(array)):
        raise BadInputError(f"{where} has values that are no finite real numbers")
    return array.astype(np.float64)


def of_tile(activations: Mapping[str, FloatArray] | None, tile: Tile) -> FloatArray | None:
    """Return the sample inputs (vectors, rows) of a tile, if there are any."""
    whole = (activations or {}).get(tile.tensor)
    return None if whole is None else whole[:, tile.first_input : tile.first_input + tile.place.rows]
