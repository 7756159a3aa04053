"""Pooling: empirical-Bayes estimates against values that were drawn, and what their intervals cover."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.routines.routine import pool


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


def test_values_that_do_not_differ_share_one_estimate() -> None:
    rng = np.random.default_rng(1)
    pooled = pool(2.0 + 0.5 * rng.standard_normal(1000), np.full(1000, 0.5))
    assert pooled.spread == 0
    assert np.ptp(pooled.estimate) == 0
    assert abs(pooled.estimate[0] - 2.0) < 4 * pooled.sigma[0]
    assert pooled.sigma[0] == pytest.approx(0.5 / np.sqrt(1000))


def test_a_mean_that_does_not_stand_out_is_drawn_to_zero() -> None:
    sigma = np.full(100, 1.0)
    for mean in (0.3, 1.0, 3.0):
        # All estimates share one error of standard deviation 0.5.
        pooled = pool(mean + np.linspace(-0.1, 0.1, 100), sigma, mean_sigma=0.5)
        assert pooled.mean == pytest.approx(mean * max(0.0, 1 - (0.5 / mean) ** 2))
        assert np.all(pooled.sigma >= 0.5)


def test_a_wild_value_does_not_move_the_spread() -> None:
    rng = np.random.default_rng(2)
    estimate = rng.standard_normal(1000)
    estimate[0] = 1e3
    assert pool(estimate, np.full(1000, 0.1)).spread == pytest.approx(1.0, rel=0.15)
