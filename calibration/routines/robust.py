"""Variances that a few outliers do not move."""

from __future__ import annotations

import math

import numpy as np

from hwloop.devices.normal import folded_moments
from hwloop.typing import BoolArray, FloatArray


def robust_variance(values: FloatArray) -> float:
    """Compute the variance by the median absolute deviation, which a few outliers do not move; never quite zero."""
    deviation = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    return max(deviation, 1e-6) ** 2


def outlying(values: FloatArray, sigmas: float, least_spread: float) -> BoolArray:
    """Tell which values lie more than so many robust standard deviations, `least_spread` or more, from the median."""
    far: BoolArray = np.abs(values - np.median(values)) > sigmas * max(np.sqrt(robust_variance(values)), least_spread)
    return far


def folded_variance(values: FloatArray, sigmas: float) -> float:
    """Compute the variance of normal noise of which values show the magnitude: no conductance is negative.

    Mean and scatter of |x + noise| both depend on x and the noise; their ratio tells how much was folded over. Moments,
    since values that converters have rounded coarsely have no fine quantiles; without what lies more than so many
    robust standard deviations from the median.
    """
    near = np.abs(values - np.median(values)) < sigmas * math.sqrt(robust_variance(values))
    scatter, mean = float(np.std(values[near])), float(np.mean(values[near]))
    x = np.linspace(0.0, 6.0, 121)
    folded_mean, folded_scatter = folded_moments(x)
    share = float(np.interp(-scatter / max(mean, 1e-300), -folded_scatter / folded_mean, folded_scatter))
    return (scatter / share) ** 2
