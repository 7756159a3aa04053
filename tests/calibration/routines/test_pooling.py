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


def test_what_does_not_differ_beyond_its_noise_is_one_value() -> None:
    sigma = np.full(100, 0.2)
    found = pool(1.0 + 0.2 * np.random.default_rng(1).standard_normal(100), sigma)
    assert found.spread == 0.0
    assert found.estimate == pytest.approx(np.full(100, found.mean))
    assert found.sigma == pytest.approx(np.full(100, found.mean_sigma))
    assert found.mean_sigma == pytest.approx(0.02, rel=0.02)
    assert found.mean == pytest.approx(1.0, abs=0.06)


def test_estimates_are_weighed_by_what_they_know() -> None:
    """Two groups that differ by no more than chance: the mean is that of the inverse variances."""
    sigma = np.repeat([0.01, 0.1], 50)
    estimate = np.repeat([0.105, 0.1], 50)
    found = pool(estimate, sigma)
    weight = sigma**-2.0
    assert found.spread == 0.0
    assert found.mean == pytest.approx((weight * estimate).sum() / weight.sum(), abs=1e-5)


def test_deviations_are_shrunk_by_their_share_of_the_scatter() -> None:
    rng, sigma = np.random.default_rng(2), np.full(4000, 0.3)
    true = 0.8 + 0.4 * rng.standard_normal(4000)
    found = pool(true + sigma * rng.standard_normal(4000), sigma)
    assert found.spread == pytest.approx(0.4, rel=0.06)
    share = found.spread**2 / (found.spread**2 + 0.09)
    assert found.sigma == pytest.approx(np.sqrt(share * 0.09 + (1 - share) ** 2 * found.mean_sigma**2))
    # The stated uncertainty is that of the shrunk estimates: 4000 of them tell it to 1.1 %.
    assert np.std((found.estimate - true) / found.sigma) == pytest.approx(1.0, abs=0.045)


def test_a_few_outliers_are_no_scatter() -> None:
    estimate = 0.02 * stats.norm.ppf((np.arange(100) + 0.5) / 100)
    estimate[-2:] = 50.0
    assert pool(estimate, np.full(100, 0.02)).spread == 0.0


@pytest.mark.parametrize(("times", "spread"), [(1.6, 0.0), (1.8, 1.0)])
def test_scatter_counts_beyond_three_deviations_of_its_own(times: float, spread: float) -> None:
    """A robust variance of a hundred values is uncertain by sqrt(2 / 37) = 0.23: 1.7 times is no longer chance."""
    z = stats.norm.ppf((np.arange(100) + 0.5) / 100)
    z *= np.sqrt(times) * 0.1 / (1.4826 * np.median(np.abs(z)))
    assert (pool(z, np.full(100, 0.1)).spread > 0) == bool(spread)


def test_errors_in_common_leave_the_mean_uncertain() -> None:
    sigma = np.full(100, 0.01)
    estimate = np.where(np.arange(100) % 2, 0.005, -0.005)
    assert pool(estimate, sigma).mean_sigma == pytest.approx(0.001, rel=0.01)
    assert pool(estimate, sigma, mean_sigma=0.05).mean_sigma == pytest.approx(0.05, rel=0.03)
