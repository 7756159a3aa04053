"""Calibrate the periphery of a tile: one digital gain and offset per column, fitted robustly to probe MVMs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from hwloop.calibration.probes import uniform_inputs
from hwloop.chip.region import Region
from hwloop.errors import BadInputError
from hwloop.mapping.columns import ColumnCorrection
from hwloop.typing import AnyArray, FloatArray

HUBER = 1.345
"""Standard deviations beyond which a residual loses weight: 95 % efficient on Gaussian noise (Huber 1964)."""


def huber_weights(residual: FloatArray, sigma: FloatArray) -> FloatArray:
    """Return Huber's weights in [0, 1] of residuals, positive numbers, whose standard deviation is sigma."""
    weights: FloatArray = np.minimum(1.0, HUBER * sigma / np.maximum(residual, 1e-300))
    return weights


def fit_columns(
    codes: AnyArray,
    reference: FloatArray,
    span: tuple[ArrayLike, ArrayLike],
    rounds: int = 8,
    shares: FloatArray | None = None,
) -> ColumnCorrection:
    """Fit `reference` as an affine function of `codes`, column by column and without regard to outliers.

    Iteratively reweighted least squares with Huber weights. A column whose codes or reference do not vary gets a gain
    of zero and the mean of the reference as its offset.

    Parameters
    ----------
    codes
        (batch, columns) output codes.
    reference
        (batch, columns) what the outputs should be, in units of X W.
    span
        Lowest and highest code, scalars or (columns,): codes at or beyond them are saturated and left out.
    rounds
        Fits in turn, each with the weights that the one before gives.
    shares
        (batch,) weights of the vectors, whose mean is 1: the fit is one of weighted least squares; None: all the same.

    Raises
    ------
    BadInputError
        For fewer than three vectors, or shapes that differ.
    """
    if codes.shape != reference.shape or codes.shape[0] < 3:
        raise BadInputError(f"column fit: needs three or more vectors, got {codes.shape} codes for {reference.shape}")
    x, usable = codes.astype(np.float64), (codes > span[0]) & (codes < span[1])
    counted = usable.astype(np.float64) if shares is None else usable * shares[:, None]
    weight = counted
    for _ in range(rounds):
        total = np.maximum(weight.sum(0), 1e-300)
        mean_x, mean_y = (weight * x).sum(0) / total, (weight * reference).sum(0) / total
        dx = x - mean_x
        spread = (weight * dx * dx).sum(0)
        # Codes are whole numbers: those that vary at all differ from their mean by more than its rounding.
        varies = spread > 1e-9 * total
        gain = np.where(varies, (weight * dx * (reference - mean_y)).sum(0) / np.where(varies, spread, 1.0), 0.0)
        residual = np.abs(reference - mean_y - gain * dx)
        # 1.4826: from the median of absolute values to the standard deviation, for Gaussian residuals.
        sigma = 1.4826 * _median(np.where(usable, residual, 0.0), shares)
        # Outputs may be zero, without an error, for most inputs: the others are no outliers for that.
        sigma = np.where(sigma > 0, sigma, np.sqrt((counted * residual**2).sum(0) / total)) + 1e-300
        weight = counted * huber_weights(residual, sigma)
    return ColumnCorrection(gain, mean_y - gain * mean_x)


def _median(values: FloatArray, shares: FloatArray | None) -> FloatArray:
    """Find the median of each column of values (batch, columns), whose rows may have weights (batch,)."""
    if shares is None or np.ptp(shares) == 0:
        return np.asarray(np.median(values, axis=0))
    order = np.argsort(values, axis=0)
    middle = (np.cumsum(shares[order], axis=0) >= shares.sum() / 2.0).argmax(0)
    return np.asarray(np.take_along_axis(values, np.take_along_axis(order, middle[None], 0), 0)[0])


def calibrate_columns(region: Region, weights: FloatArray, rng: np.random.Generator, vectors: int) -> ColumnCorrection:
    """Measure `vectors` uniform random inputs and fit the columns to X @ weights, weights (rows, columns)."""
    top = region.backend.info.input_max
    x = uniform_inputs(rng, vectors, region.place.rows, top)
    return fit_columns(region.mvm(x), (x / top) @ weights, region.span)
