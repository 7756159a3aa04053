"""Pooling: empirical-Bayes estimates against values that were drawn, and what their intervals cover."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.routines.pooling import COMMON, pool


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_pooled_estimates_are_better_than_their_own_and_as_good_as_they_say(spread: float) -> None:
    rng = np.random.default_rng(0)
    truth = 5.0 + spread * rng.standard_normal(20_000)
    sigma = np.ones(truth.size)
    pooled = pool(truth + sigma * rng.standard_normal(truth.size), sigma)
    error = pooled.estimate - truth
    # The best possible: 1 / (1 / sigma^2 + 1 / spread^2).
    assert np.sqrt(np.mean(error**2)) == pytest.approx(1 / np.sqrt(1 + spread**-2), rel=0.02)
    assert np.mean(np.abs(error) < 1.96 * pooled.sigma) == pytest.approx(0.95, abs=0.02)
    assert pooled.mean == pytest.approx(5.0, abs=5 * np.hypot(1, spread) / np.sqrt(truth.size))
    # A robust variance of n values is good to sqrt(2 / 0.37 n): here to 0.018 of the whole.
    assert pooled.spread**2 == pytest.approx(spread**2, abs=3 * 0.018 * (1 + spread**2))


def test_values_that_do_not_differ_share_nearly_one_estimate() -> None:
    """Nearly: a spread of a fraction of the errors could not be told from none."""
    rng = np.random.default_rng(1)
    pooled = pool(2.0 + 0.5 * rng.standard_normal(1000), np.full(1000, 0.5))
    assert pooled.spread < 0.5 / 5
    assert np.ptp(pooled.estimate) < 0.5 / 5
    assert np.all(np.abs(pooled.estimate - 2.0) < 4 * pooled.sigma)
    assert np.all((0.5 / np.sqrt(1000) < pooled.sigma) & (pooled.sigma < 0.5 / 5))


@pytest.mark.parametrize(
    ("mean", "sigma", "kept"),
    [(0.02, 0.01, (0.99, 1.0)), (0.2, 1.0, (0.0, 0.3)), (0.3, 0.5, (0.2, 0.6)), (3.0, 0.5, (0.9, 1.0))],
)
def test_a_mean_is_shrunk_where_it_is_hardly_known(mean: float, sigma: float, kept: tuple[float, float]) -> None:
    """A hundred estimates whose mean is known to `sigma`, LSB."""
    pooled = pool(np.full(100, mean), np.full(100, 10 * sigma))
    assert kept[0] <= pooled.mean / mean <= kept[1]


@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0])
def test_intervals_of_a_mean_cover_at_least_what_they_say(sigma: float) -> None:
    """Of means such as are assumed; and, where they are known well, of such as are exactly zero.

    More than they say, because two values alone do not tell how far values spread.
    """
    rng = np.random.default_rng(3)
    truth, error = COMMON * rng.standard_cauchy(4000), sigma * rng.standard_normal(4000)

    def covered(truth: np.ndarray) -> float:
        pooled = [pool(np.full(2, seen), np.full(2, sigma), mean_sigma=sigma) for seen in truth + error]
        return float(
            np.mean([abs(one.mean - true) < 1.96 * one.sigma[0] for one, true in zip(pooled, truth, strict=True)])
        )

    assert covered(truth) > 0.95 - 0.015  # four sigma of 4000 trials
    if sigma < COMMON / 10:
        assert covered(np.zeros(4000)) > 0.95 - 0.015


def test_an_outlier_does_not_move_the_spread() -> None:
    rng = np.random.default_rng(2)
    estimate = rng.standard_normal(1000)
    estimate[0] = 1e3
    assert pool(estimate, np.full(1000, 0.1)).spread == pytest.approx(1.0, rel=0.15)
