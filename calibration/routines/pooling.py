"""Estimates of many converters, shrunk towards each other, rows and columns each among themselves."""

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
class SpreadPrior:
    """What is assumed of the spread of true values, in standard deviations of an estimate."""

    narrowest: float = 0.02
    """Smallest spread that is thought possible; it makes no difference to a smaller one."""
    widest: float = 50.0
    """Largest spread: estimates then are left as they are."""
    count: int = 200
    """Spreads that are tried between the two, evenly in their logarithm."""
    outlying: float = 4.0
    """Robust standard deviations beyond which an estimate is an outlier, and says no more of the spread."""

    def spreads(self) -> FloatArray:
        """Return the spreads (count,) that are tried."""
        return np.geomspace(self.narrowest, self.widest, self.count)


PRIOR = SpreadPrior()
"""The prior of all pools."""


@dataclass(frozen=True)
class Pooled:
    """Estimates shrunk towards their common mean as far as they are no better known than they differ."""

    estimate: FloatArray
    sigma: FloatArray
    mean: float
    mean_sigma: float
    """Standard deviation of the mean, in common to all estimates as far as they are shrunk towards it."""
    spread: float
    """Standard deviation of the true values about their mean, as far as it is known."""


def pool(estimate: FloatArray, sigma: FloatArray, mean_sigma: float = 0.0) -> Pooled:
    """Shrink deviations from ideal that come from one normal population towards its mean.

    The population's spread is not known: of each spread that there may be, given the estimates, the shrinkage that
    would be best is taken with its chance, and the stated uncertainties contain that the spread may be another one
    (Gelman, Bayesian Analysis 1, 515, 2006). Taking the likeliest spread for the true one, or none where none stands
    out, would state much too small ones now and then. Outliers do not count as scatter. The mean is one value, from
    which no prior can be learnt: a Cauchy one of half width COMMON leaves what is known better than that as it is, with
    the interval that it has, and shrinks what is not towards zero, because a correction that may as well be wrong does
    harm.

    Parameters
    ----------
    estimate, sigma
        (n,) estimates and their standard deviations, LSB.
    mean_sigma
        Standard deviation of the mean of all, LSB, where errors in common make it larger than independent ones would.
    """
    middle = float(np.median(estimate))
    most = PRIOR.outlying * 1.4826 * float(np.median(np.abs(estimate - middle)))
    spreads = _spreads(np.clip(estimate, middle - most, middle + most), sigma)
    mean, of_mean = _common(spreads.mean, max(spreads.mean_sigma, mean_sigma))
    own = spreads.chance @ spreads.own
    off = estimate - mean
    error2 = ((spreads.own - own) * off) ** 2 + spreads.own * sigma**2 + (1.0 - spreads.own) ** 2 * of_mean**2
    return Pooled(mean + own * off, np.sqrt(spreads.chance @ error2), mean, of_mean, spreads.likely)


@dataclass(frozen=True)
class _Spreads:
    """Spreads (m,) that the true values of a population may have, and what follows from each."""

    chance: FloatArray
    """(m,) of each."""
    own: FloatArray
    """(m, n) share of an estimate's deviation from the mean that is its own."""
    mean: float
    """Mean of the population, LSB."""
    mean_sigma: float
    """Its standard deviation, LSB."""
    likely: float
    """Root of the mean squared spread, LSB."""


def _spreads(estimate: FloatArray, sigma: FloatArray) -> _Spreads:
    """Weigh spreads by how well they explain estimates (n,) of standard deviations sigma (n,), both LSB.

    Beforehand, a spread follows a half Cauchy distribution as wide as the estimates are uncertain.
    """
    width = max(float(np.median(sigma)), 1e-12)
    ratio = PRIOR.spreads()
    prior = np.gradient(2.0 / math.pi * np.arctan(ratio))
    spread2 = (ratio[:, None] * width) ** 2
    weight = 1.0 / np.maximum(spread2 + sigma**2, 1e-24)
    total = weight.sum(1)
    mean = (weight * estimate).sum(1) / total
    fit = np.log(weight).sum(1) - np.log(total) - (weight * (estimate - mean[:, None]) ** 2).sum(1)
    chance = prior * np.exp((fit - fit.max()) / 2)
    chance /= chance.sum()
    best = float(chance @ mean)
    return _Spreads(
        chance,
        spread2 * weight,
        best,
        math.sqrt(float(chance @ (1.0 / total + (mean - best) ** 2))),
        math.sqrt(float(chance @ spread2[:, 0])),
    )


def _common(seen: float, sigma: float) -> tuple[float, float]:
    """Return the posterior mean and standard deviation of a value seen with this standard deviation, LSB."""
    values = seen + POINTS * sigma
    density = np.exp(-(POINTS**2) / 2.0) / (1.0 + (values / COMMON) ** 2)
    density /= density.sum()
    mean = float(density @ values)
    return mean, math.sqrt(float(density @ (values - mean) ** 2))
