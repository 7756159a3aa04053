"""Clip the largest weights of a column where that lowers the expected total error.

All noise of a column scales with its largest weight, because that one is given the largest conductance. A few large
weights may cost all the others more than clipping them would: clipping error is known exactly from the weights, noise
is expected from the table of the device model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.mapping.split_table import SplitTable
from hwloop.typing import FloatArray

CLIPS = ("none", "auto")


@dataclass(frozen=True)
class ClipSearch:
    """Which levels are tried."""

    levels: int = 64
    """Number of levels, evenly in their logarithm."""
    lowest: float = 0.1
    """Lowest level over the largest weight of a column."""


STANDARD = ClipSearch()
"""The search behind `--clip auto`."""


@dataclass(frozen=True)
class Clipping:
    """What clipping costs.

    Parameters
    ----------
    share
        Share of the weights that were clipped.
    error
        Relative error of the outputs that clipping alone makes, for independent inputs of equal power.
    """

    share: float
    error: float

    def __str__(self) -> str:
        return f"{self.share:.2%} of the weights clipped, which alone is an error of {self.error:.4f} in the MVM error"

    @classmethod
    def of(cls, weights: FloatArray, level: FloatArray) -> Clipping:
        """Compute the cost for weights (rows, columns) clipped at levels that broadcast to them."""
        size = np.abs(weights)
        power = float(np.sum(weights**2))
        beyond = np.maximum(size - level, 0.0)
        return cls(float(np.mean(size > level)), float(np.sqrt(np.sum(beyond**2) / power)) if power else 0.0)


def clip_levels(
    weights: FloatArray, largest: FloatArray, table: SplitTable, search: ClipSearch = STANDARD
) -> FloatArray:
    """Find the level of least expected squared error for each group of weights that shares a scale.

    Parameters
    ----------
    weights
        (rows, columns).
    largest
        (1, columns) or (1, 1) largest magnitude in each group, above zero: a column, or all columns together.
    table
        Expected squared errors over conductances of the cells that the weights go to.
    search
        Which levels are tried.

    Returns
    -------
    ndarray
        Of the shape of `largest`: levels in the units of the weights; `largest` itself where clipping gains nothing.
    """
    size, top = np.abs(weights), table.target[-1]
    axis = 0 if largest.shape[1] == weights.shape[1] else None
    best, least = largest, np.full(largest.shape, np.inf)
    # From no clipping down, so that of equal errors the one that clips less wins.
    for share in np.geomspace(1.0, search.lowest, search.levels):
        level = share * largest
        kept = np.minimum(size, level)
        noise = table.expected_variance(kept * (top / level)) * (level / top) ** 2
        error = np.sum((size - kept) ** 2 + noise, axis=axis, keepdims=True)
        best, least = np.where(error < least, level, best), np.minimum(error, least)
    return best
