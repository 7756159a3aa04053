"""Normal numbers and Student's t in formulas: scipy's own classes take half a second to import, for which all wait."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from hwloop.typing import FloatArray


def normal_density(x: FloatArray | float) -> FloatArray:
    """Return the probability density of standard normal numbers at x."""
    return np.asarray(np.exp(-np.square(x) / 2.0) / math.sqrt(2.0 * math.pi))


def t_density(x: FloatArray, freedom: float) -> FloatArray:
    """Return the probability density of Student's t at x; with infinite degrees of freedom it is the normal one."""
    if not np.isfinite(freedom):
        return normal_density(x)
    scale = math.log(special.poch(0.5 * freedom, 0.5)) - 0.5 * math.log(freedom * math.pi)
    return np.asarray(np.exp(scale - 0.5 * (freedom + 1.0) * np.log1p(np.square(x) / freedom)))


def t_below(x: FloatArray, freedom: float) -> FloatArray:
    """Return the probability that Student's t is below x; with infinite degrees of freedom the normal one."""
    return np.asarray(special.stdtr(freedom, x) if np.isfinite(freedom) else special.ndtr(x))


def folded_moments(x: FloatArray | float) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard deviation of magnitudes of normal numbers with the variance 1 about x of 0 or more."""
    mean = 2.0 * normal_density(x) + x * special.erf(np.divide(x, math.sqrt(2.0)))
    return np.asarray(mean), np.asarray(np.sqrt(np.square(x) + 1.0 - mean * mean))
