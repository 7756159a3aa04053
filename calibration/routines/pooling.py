"""Estimates of many converters, shrunk towards each other: empirical Bayes over rows and columns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwloop.typing import FloatArray

COMMON = 0.3
"""LSB: the nonlinearity that converters of a chip have in common is as likely within as beyond this (assumed)."""
POINTS = np.linspace(-8.0, 8.0, 801)
"""Distances from the seen value, in standard deviations, at which a density is evaluated."""


@dataclass(frozen=True)
class Pooled:
    """Estimates shrunk towards their common mean as far as they are no better known than they differ."""

    estimate: FloatArray
    sigma: FloatArray
    mean: float
    mean_sigma: float
    """Standard deviation of the mean, in common to all estimates as far as they are shrunk towards it."""
    spread: float
    """Standard deviation of the true values about their mean."""


def pool(estimate: FloatArray, sigma: FloatArray, mean_sigma: float = 0.0) -> Pooled:
    """Shrink deviations from ideal that come from one normal population towards its mean: empirical Bayes.

    The population's variance is that of the estimates less their own (method of moments; Efron and Morris, J. Am. Stat.
    Assoc. 68, 117, 1973), where a few outliers do not count as scatter. Its mean is one value, from which no prior can
    be learnt: a Cauchy one of half width COMMON leaves what is known better than that as it is, with the interval that
    it has, and shrinks what is not towards zero, because a correction that may as well be wrong does harm.

    Parameters
    ----------
    estimate, sigma
        (n,) estimates and their standard deviations, LSB.
    mean_sigma
        Standard deviation of the mean of all, LSB, where errors in common make it larger than independent ones would.
    """
    # A robust variance of n values is uncertain by sqrt(2 / 0.37 n); what does not stand out of that is no spread.
    by_chance = 3.0 * np.sqrt(2.0 / (0.37 * estimate.size))
    robust = (1.4826 * float(np.median(np.abs(estimate - np.median(estimate))))) ** 2
    scatter = min(robust, float(np.var(estimate)))
    own2 = float(np.median(sigma**2))
    spread2 = scatter - own2 if scatter > own2 * (1.0 + by_chance) else 0.0
    weight = 1.0 / np.maximum(sigma**2 + spread2, 1e-300)
    mean = float((weight * estimate).sum() / weight.sum())
    own = spread2 / np.maximum(spread2 + sigma**2, 1e-300)
    mean, of_mean = _common(mean, math.sqrt(max(1.0 / float(weight.sum()), mean_sigma**2)))
    return Pooled(
        mean + own * (estimate - mean),
        np.sqrt(own * sigma**2 + (1.0 - own) ** 2 * of_mean**2),
        mean,
        of_mean,
        float(np.sqrt(spread2)),
    )


def _common(seen: float, sigma: float) -> tuple[float, float]:
    """Return the posterior mean and standard deviation of a value seen with this standard deviation, LSB."""
    values = seen + POINTS * sigma
    density = np.exp(-(POINTS**2) / 2.0) / (1.0 + (values / COMMON) ** 2)
    density /= density.sum()
    mean = float(density @ values)
    return mean, math.sqrt(float(density @ (values - mean) ** 2))
