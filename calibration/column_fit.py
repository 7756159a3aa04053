"""Periphery calibration: one digital gain and offset per column, fitted to probe MVMs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwloop.calibration.probes import uniform_inputs
from hwloop.chip.region import Region
from hwloop.errors import BadInputError
from hwloop.mapping.columns import ColumnCorrection
from hwloop.typing import FloatArray

HUBER = 1.345
"""Residuals beyond this many standard deviations lose weight: 95 % efficient on Gaussian noise (Huber 1964)."""
ROUNDS = 8


def fit_columns(codes: NDArray[Any], reference: FloatArray, span: tuple[ArrayLike, ArrayLike]) -> ColumnCorrection:
    """Robust affine fit per column of `reference` (batch, columns) on `codes` (batch, columns).

    Iteratively reweighted least squares with Huber weights; codes at or beyond the span
    (lowest, highest; scalars or (columns,)) are saturated and left out. A column whose codes or
    reference do not vary gets the gain that maps it to the reference's mean: zero.
    """
    if codes.shape != reference.shape or codes.shape[0] < 3:
        raise BadInputError(f"column fit: needs three or more vectors, got {codes.shape} codes for {reference.shape}")
    x, usable = codes.astype(np.float64), (codes > span[0]) & (codes < span[1])
    weight = usable.astype(np.float64)
    for _ in range(ROUNDS):
        total = np.maximum(weight.sum(0), 1e-300)
        mean_x, mean_y = (weight * x).sum(0) / total, (weight * reference).sum(0) / total
        dx = x - mean_x
        spread = (weight * dx * dx).sum(0)
        # Codes are whole numbers: those that vary at all differ from their mean by more than its rounding.
        varies = spread > 1e-9 * total
        gain = np.where(varies, (weight * dx * (reference - mean_y)).sum(0) / np.where(varies, spread, 1.0), 0.0)
        residual = np.abs(reference - mean_y - gain * dx)
        scale = 1.4826 * np.median(np.where(usable, residual, 0.0), axis=0) + 1e-300
        weight = usable * np.minimum(1.0, HUBER * scale / np.maximum(residual, 1e-300))
    return ColumnCorrection(gain, mean_y - gain * mean_x)


def calibrate_columns(region: Region, weights: FloatArray, rng: np.random.Generator, vectors: int) -> ColumnCorrection:
    """Measure `vectors` uniform random inputs and fit the columns to X @ weights (rows, columns)."""
    top = region.backend.info.input_max
    x = uniform_inputs(rng, vectors, region.place.rows, top)
    return fit_columns(region.mvm(x), (x / top) @ weights, region.span)
