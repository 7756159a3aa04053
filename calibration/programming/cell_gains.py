"""Gains of columns and cells, estimated from maps of conductances without regard to the errors of single cells."""

from __future__ import annotations

import numpy as np

from hwloop.calibration.column_fit import HUBER, huber_weights
from hwloop.calibration.programming.filter_kernels import multiples_of_columns
from hwloop.mapping.split_table import beyond
from hwloop.typing import FloatArray

SMALLEST_SENSITIVITY = 0.01
"""Sensitivity below which a cell is taken for one that shows nothing."""


def robust_multiple(reference: FloatArray, values: FloatArray, axis: int, rounds: int = 3) -> FloatArray:
    """Fit factors along an axis that bring `reference` closest to `values`, with Huber weights.

    Parameters
    ----------
    reference, values
        Arrays of one shape.
    axis
        Axis over which a factor is shared.
    rounds
        Fits in turn, each with the weights that the one before gives.

    Returns
    -------
    ndarray
        The factors, with the axis kept at length 1; 1 where the reference is zero.
    """
    weight, tells = np.ones_like(reference), reference != 0
    telling = np.maximum(tells.sum(axis, keepdims=True), 1)
    for _ in range(rounds):
        power = (weight * reference**2).sum(axis, keepdims=True)
        factor = (weight * reference * values).sum(axis, keepdims=True) / np.where(power > 0, power, 1.0)
        factor = np.where(power > 0, factor, 1.0)
        error = np.abs(values - factor * reference)
        # 1.2533: from the mean of absolute values to the standard deviation, for Gaussian errors. Where the reference
        # is zero errors are small: with them, those of the few others would all be outliers.
        sigma = 1.2533 * (weight * error * tells).sum(axis, keepdims=True) / telling + 1e-12
        weight = huber_weights(error, sigma)
    return np.asarray(factor, np.float64)


def column_multiples(reference: FloatArray, values: FloatArray, rounds: int = 3) -> FloatArray:
    """Return the factors (columns,) that `robust_multiple` finds along the rows of arrays (rows, columns), sooner."""
    factor = np.empty(reference.shape[1])
    multiples_of_columns(np.ascontiguousarray(reference), np.ascontiguousarray(values), rounds, HUBER, factor)
    return factor


def cell_sensitivity(seen: FloatArray, expected: FloatArray) -> FloatArray:
    """Estimate what a cell's conductance contributes to its column's output, over the ideal.

    Wires attenuate far cells and converters have gains: a factor per column, times a parabola along the rows, which a
    robust fit over whole columns and rows tells apart from the errors of single cells.

    Parameters
    ----------
    seen
        (rows, columns) conductances as outputs show them, uS.
    expected
        (rows, columns) conductances as they should be, uS.

    Returns
    -------
    ndarray
        (rows, columns) factors.
    """
    columns = np.broadcast_to(robust_multiple(expected, seen, axis=0), seen.shape)
    rows = robust_multiple(expected * columns, seen, axis=1)[:, 0]
    position = np.linspace(-1.0, 1.0, len(rows))
    degree = min(2, len(rows) - 1)
    profile = np.polyval(np.polyfit(position, rows, degree, w=np.sqrt((expected**2).sum(1)) + 1e-12), position)
    return columns * profile[:, None]


def reachable_gain(target: FloatArray, reach: FloatArray, sigma: float, most: float, lost: float = 5e-4) -> float:
    """Choose the gain at which cells shall hold their targets: as large as hardly any cell is out of reach.

    Parameters
    ----------
    target, reach
        (rows, columns) conductances wanted, and the most that a cell's devices can hold, uS.
    sigma
        Standard deviation by which cells hold more or less than that, uS.
    most
        Gain to choose where all cells can hold it.
    lost
        Squared error that may be expected to be out of reach, over the sum of the squared targets.
    """
    size, allowed = np.abs(target), lost * float((target**2).sum())
    for gain in np.linspace(most, 1.0, 11) if most > 1.0 else ():
        room = reach - gain * size
        if float((beyond(room, sigma) if sigma else np.minimum(room, 0.0) ** 2).sum()) <= allowed:
            return float(gain)
    return min(most, 1.0)


def column_medians(values: FloatArray) -> FloatArray:
    """Return the medians (columns,) of an array (vectors, columns): faster than numpy's own."""
    ordered, size = np.sort(np.ascontiguousarray(values.T), axis=1), len(values)
    return np.asarray(0.5 * (ordered[:, (size - 1) // 2] + ordered[:, size // 2]))
