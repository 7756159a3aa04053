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
    # A column's values side by side: everything below goes along columns.
    x, y = (np.ascontiguousarray(values.T, np.float64) for values in (codes, reference))
    usable = np.ascontiguousarray(((codes > span[0]) & (codes < span[1])).T)
    counted = usable.astype(np.float64) if shares is None else usable * shares
    weight = counted
    for _ in range(rounds):
        total = np.maximum(weight.sum(1), 1e-300)
        mean_x, mean_y = _sums(weight, x) / total, _sums(weight, y) / total
        dx, dy = x - mean_x[:, None], y - mean_y[:, None]
        weighted = weight * dx
        spread = _sums(weighted, dx)
        # Codes are whole numbers: those that vary at all differ from their mean by more than its rounding.
        varies = spread > 1e-9 * total
        gain = np.where(varies, _sums(weighted, dy) / np.where(varies, spread, 1.0), 0.0)
        residual = np.abs(dy - gain[:, None] * dx)
        # 1.4826: from the median of absolute values to the standard deviation, for Gaussian residuals.
        sigma = 1.4826 * _median(residual * usable, shares)
        # Outputs may be zero, without an error, for most inputs: the others are no outliers for that.
        sigma = np.where(sigma > 0, sigma, np.sqrt(_sums(counted, residual**2) / total)) + 1e-300
        weight = counted * huber_weights(residual, sigma[:, None])
    return ColumnCorrection(gain, mean_y - gain * mean_x)


def _sums(a: FloatArray, b: FloatArray) -> FloatArray:
    """Add up the products of two arrays (columns, batch) along each column."""
    sums: FloatArray = np.einsum("cv,cv->c", a, b)
    return sums


def _median(values: FloatArray, shares: FloatArray | None) -> FloatArray:
    """Find the median of each row of values (columns, batch), whose entries may have weights (batch,).

    To seven digits, which is all that a scale of residuals needs: numbers half as long are sorted several times faster.
    """
    short = values.astype(np.float32)
    if shares is None or np.ptp(shares) == 0:
        short.sort(axis=1)
        half = short.shape[1] // 2
        return np.asarray(short[:, half - 1 + short.shape[1] % 2 : half + 1].mean(1, dtype=np.float64))
    order = np.argsort(short, axis=1)
    middle = (np.cumsum(shares[order], axis=1) >= shares.sum() / 2.0).argmax(1)
    return np.take_along_axis(values, np.take_along_axis(order, middle[:, None], 1), 1)[:, 0]


def calibrate_columns(region: Region, weights: FloatArray, rng: np.random.Generator, vectors: int) -> ColumnCorrection:
    """Measure `vectors` uniform random inputs and fit the columns to X @ weights, weights (rows, columns)."""
    top = region.backend.info.input_max
    x = uniform_inputs(rng, vectors, region.place.rows, top)
    return fit_columns(region.mvm(x), (x / top) @ weights, region.span)
