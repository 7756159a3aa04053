"""Shrinking many estimates: against Bayes' theorem by numerical integration, and the truth of made-up populations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from hwloop.calibration.routines.pooling import _common, pool


@pytest.mark.parametrize(("seen", "sigma"), [(0.1, 0.02), (0.5, 0.3), (-2.0, 1.0), (0.0, 0.1)])
def test_a_common_value_is_seen_through_a_cauchy_prior(seen: float, sigma: float) -> None:
    def density(x: float) -> float:
        return float(stats.norm.pdf(x, seen, sigma) * stats.cauchy.pdf(x, 0.0, 0.3))

    ends = (seen - 10 * sigma, seen + 10 * sigma)
    total = integrate.quad(density, *ends)[0]
    mean = integrate.quad(lambda x: x * density(x), *ends)[0] / total
    variance = integrate.quad(lambda x: (x - mean) ** 2 * density(x), *ends)[0] / total
    assert _common(seen, sigma) == pytest.approx((mean, np.sqrt(variance)), rel=1e-4, abs=1e-9)


def test_an_estimate_is_shrunk_as_bayes_theorem_says() -> None:
    """By numerical integration over the spread, with a half Cauchy prior as wide as the median uncertainty."""
    estimate, sigma = np.array([100.0, 100.2, 100.5]), np.array([0.1, 0.15, 0.2])

    def weigh(spread: float) -> tuple[float, float]:
        """Probability of a spread, up to a constant, and what the first estimate becomes under it."""
        variance = spread**2 + sigma**2
        mean = np.sum(estimate / variance) / np.sum(1 / variance)
        likelihood = np.prod(stats.norm.pdf(estimate, mean, np.sqrt(variance))) / np.sqrt(np.sum(1 / variance))
        shrunk = mean + spread**2 / variance[0] * (estimate[0] - mean)
        return float(likelihood * stats.halfcauchy.pdf(spread, scale=0.15)), float(shrunk)

    total = integrate.quad(lambda spread: weigh(spread)[0], 0, 20, limit=200)[0]
    mean = integrate.quad(lambda spread: np.prod(weigh(spread)), 0, 20, limit=200)[0] / total
    # Spreads and the mean are taken as independent of each other, which shifts it by little.
    assert pool(estimate, sigma).estimate[0] == pytest.approx(mean, abs=0.01)


def test_what_does_not_differ_beyond_its_noise_is_nearly_one_value() -> None:
    sigma = np.full(100, 0.2)
    found = pool(1.0 + 0.2 * np.random.default_rng(1).standard_normal(100), sigma)
    assert found.mean_sigma == pytest.approx(0.02, rel=0.1)
    assert found.mean == pytest.approx(1.0, abs=0.06)
    # Of the noise a quarter is left at most, and what is stated says that there may be a small spread.
    assert np.std(found.estimate) < 0.05
    assert np.all(np.abs(found.estimate - 1.0) < 2.5 * found.sigma)
    assert np.all((found.mean_sigma <= found.sigma) & (found.sigma < 0.1))


def test_estimates_are_weighed_by_what_they_know() -> None:
    """Two groups that differ by no more than chance: the mean is that of the inverse variances."""
    sigma = np.repeat([0.01, 0.1], 50)
    estimate = np.repeat([0.105, 0.1], 50)
    found = pool(estimate, sigma)
    weight = sigma**-2.0
    assert found.mean == pytest.approx((weight * estimate).sum() / weight.sum(), abs=1e-4)


def test_deviations_are_shrunk_by_their_share_of_the_scatter() -> None:
    rng, sigma = np.random.default_rng(2), np.full(4000, 0.3)
    true = 0.8 + 0.4 * rng.standard_normal(4000)
    found = pool(true + sigma * rng.standard_normal(4000), sigma)
    assert found.spread == pytest.approx(0.4, rel=0.06)
    share = found.spread**2 / (found.spread**2 + 0.09)
    assert found.sigma == pytest.approx(np.sqrt(share * 0.09 + (1 - share) ** 2 * found.mean_sigma**2), rel=0.005)
    # The stated uncertainty is that of the shrunk estimates: 4000 of them tell it to 1.1 %.
    assert np.std((found.estimate - true) / found.sigma) == pytest.approx(1.0, abs=0.045)


def test_a_few_outliers_are_no_scatter() -> None:
    estimate = 0.02 * stats.norm.ppf((np.arange(100) + 0.5) / 100)
    without = pool(estimate, np.full(100, 0.02))
    estimate[-2:] = 50.0
    found = pool(estimate, np.full(100, 0.02))
    assert found.spread < without.spread + 0.005
    assert found.estimate[:-2] == pytest.approx(without.estimate[:-2], abs=0.005)


@pytest.mark.parametrize("spread", [0.6, 1.0, 1.5])
def test_intervals_hold_the_truth_where_the_spread_is_hardly_seen(spread: float) -> None:
    """64 converters each, whose true values differ about as much as they are uncertain.

    Estimates that are shrunk to one value, as if there were no spread, with the uncertainty of that value, would be
    many standard deviations away from the truth on one set of ten or so.
    """
    rng, sigma = np.random.default_rng(3), np.full(64, 0.3)
    inside, far = [], []
    for _ in range(100):
        true = 2.0 + spread * 0.3 * rng.standard_normal(64)
        found = pool(true + sigma * rng.standard_normal(64), sigma)
        away = np.abs(found.estimate - true) / found.sigma
        inside.append(np.mean(away < 1.96))
        far.append(int((away > 4.0).sum() > 1))
    assert 0.88 < np.mean(inside) < 0.98
    assert sum(far) <= 12 if spread < 1.0 else sum(far) <= 2


def test_errors_in_common_leave_the_mean_uncertain() -> None:
    sigma = np.full(100, 0.01)
    estimate = np.where(np.arange(100) % 2, 0.005, -0.005)
    assert pool(estimate, sigma).mean_sigma == pytest.approx(0.001, rel=0.1)
    assert pool(estimate, sigma, mean_sigma=0.05).mean_sigma == pytest.approx(0.05, rel=0.03)
