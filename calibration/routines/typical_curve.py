"""The typical programming curve: a logistic curve through the medians over devices at each amplitude."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import curve_fit

from hwloop.calibration.routines.robust import robust_variance
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.errors import ChipError
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class TypicalCurve:
    """The typical curve and the standard uncertainties of its parameters."""

    curve: ProgrammingCurve
    g_max_sigma: float
    """uS."""
    midpoint_sigma: float
    """uA."""
    steepness_sigma: float
    """uA."""


def fit_typical_curve(rough: ProgrammingCurve, amplitude: FloatArray, seen: FloatArray) -> TypicalCurve:
    """Fit a logistic curve to the medians at each amplitude.

    Parameters
    ----------
    rough
        Where to start; its melting amplitude and width are kept.
    amplitude, seen
        (2, devices) uA and uS; NaN in `seen` where a device was not pulsed.

    Raises
    ------
    ChipError
        When what pulses leave does not fall in an S-shape.
    """
    levels, medians, errors = _medians(amplitude, seen)
    # The end of the curve lies anywhere between nothing and what the hardest RESET pulse left, noise included.
    end = max(rough.g_min, 1e-9) / 2
    levels, medians, errors = np.append(levels, 1e3 * levels[-1]), np.append(medians, end), np.append(errors, end)
    errors = np.maximum(errors, 1e-9)
    start = (rough.g_max, rough.midpoint, rough.steepness, end)
    try:
        best, covariance = curve_fit(
            _logistic, levels, medians, p0=start, sigma=errors, absolute_sigma=True, maxfev=10_000
        )
    except RuntimeError:
        raise ChipError(
            "programming curve: what pulses leave does not fall in an S-shape "
            f"({medians[0]:.2f} to {medians[-2]:.2f} uS between {levels[0]:.0f} and {levels[-2]:.0f} uA)"
        ) from None
    g_max, midpoint, steepness, g_min = (float(x) for x in best)
    # Where the curve misses medians by more than their scatter, it is no better known than that.
    misfit = float(np.mean(np.square((medians - _logistic(levels, *best)) / errors)))
    sigma = np.sqrt(np.diag(covariance) * max(misfit * len(levels) / max(len(levels) - 4, 1), 1.0))
    curve = replace(rough, g_min=max(g_min, 0.0), g_max=g_max, midpoint=midpoint, steepness=steepness)
    return TypicalCurve(curve, float(sigma[0]), float(sigma[1]), float(sigma[2]))


def fit_mean_curve(
    spread: ProgrammingCurve, rough: ProgrammingCurve, levels: FloatArray, mean: FloatArray, sigma: FloatArray
) -> TypicalCurve:
    """Fit a logistic curve, whose midpoint differs from device to device and pulse to pulse, to means over devices.

    Parameters
    ----------
    spread
        How midpoints of devices spread, and how pulses jitter.
    rough
        Where to start; its melting amplitude and width are kept.
    levels, mean, sigma
        (levels,) uA, uS and uS: amplitudes, what the mean device conducts, and its standard uncertainty. The first
        level empties a device; what it leaves is taken as known.

    Raises
    ------
    ChipError
        When the means do not fall in an S-shape.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    off, weights = math.hypot(spread.midpoint_spread, spread.jitter) * nodes, weights / weights.sum()
    end = float(mean[0])

    def blurred(at: FloatArray, g_max: float, midpoint: float, steepness: float) -> FloatArray:
        return np.asarray(_logistic(at[:, None] + off, g_max, midpoint, steepness, end) @ weights, np.float64)

    start, errors = (rough.g_max, rough.midpoint, rough.steepness), np.maximum(sigma[1:], 1e-9)
    try:
        best, covariance = curve_fit(blurred, levels[1:], mean[1:], p0=start, sigma=errors, absolute_sigma=True)
    except RuntimeError:
        raise ChipError(
            "programming curve: what pulses leave does not fall in an S-shape "
            f"({mean[1:].max():.2f} to {mean[1:].min():.2f} uS between {levels[1:].min():.0f} and "
            f"{levels[1:].max():.0f} uA)"
        ) from None
    misfit = float(np.mean(np.square((mean[1:] - blurred(levels[1:], *best)) / errors)))
    deviations = np.sqrt(np.diag(covariance) * max(misfit * len(errors) / max(len(errors) - 3, 1), 1.0))
    g_max, midpoint, steepness = (float(x) for x in best)
    curve = replace(rough, g_min=max(end, 0.0), g_max=g_max, midpoint=midpoint, steepness=steepness)
    return TypicalCurve(curve, *(float(x) for x in deviations))


def _medians(amplitude: FloatArray, seen: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the amplitudes that occur, the median of what was seen at each, and its standard uncertainty."""
    known = np.isfinite(seen)
    levels, index = np.unique(amplitude[known], return_inverse=True)
    values = seen[known]
    order = np.argsort(index, kind="stable")
    groups = np.split(values[order], np.cumsum(np.bincount(index))[:-1])
    medians = np.array([np.median(group) for group in groups])
    # The median of n normal values has 1.2533 times the uncertainty of their mean.
    errors = np.array([1.2533 * np.sqrt(robust_variance(group) / len(group)) for group in groups])
    return levels, medians, errors


def _logistic(at: FloatArray, g_max: float, midpoint: float, steepness: float, g_min: float) -> FloatArray:
    z = np.clip((at - midpoint) / steepness, -60.0, 60.0)
    return np.asarray(g_min + (g_max - g_min) / (1.0 + np.exp(z)))
