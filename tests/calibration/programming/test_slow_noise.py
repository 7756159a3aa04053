"""Slow read noise is told from conductance as well as the best linear estimate of both can."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hwloop.calibration.programming.slow_noise import RULE, SlowNoise

AGE = 200.0
"""Seconds."""
TIME = RULE.time * AGE
DECADE = math.log(10.0)
"""Units of log time."""


def covariance(moments: np.ndarray, others: np.ndarray, flicker: float) -> np.ndarray:
    """Compute the covariance of a relaxation process of one decade that starts from nothing at zero."""
    first, second = np.meshgrid(moments, others, indexing="ij")
    grown = 1.0 - np.exp(-2.0 * np.minimum(first, second) / TIME)
    return flicker * DECADE * np.exp(-np.abs(first - second) / TIME) * grown


def test_it_is_the_best_linear_estimate() -> None:
    """Conductances, noise that lasts and their errors, against the solution of the normal equations of all looks."""
    flicker, spread, own = 0.3, 2.0, 1.5
    moments, later = np.array([4.0, 10.0, 40.0, 41.0, 180.0]), 200.0
    seen = np.random.default_rng(1).normal(size=(5, 4))
    slow, conductance, variance = SlowNoise(AGE, (1, 4)), np.zeros((1, 4)), np.full((1, 4), spread)
    for elapsed, look in zip(np.diff(moments, prepend=0.0), seen, strict=True):
        slow.grow(elapsed, np.full((1, 4), flicker))
        total = slow.spread(variance)
        off = look - conductance - slow.seen
        correction, trust = slow.take_in(off, variance, np.full((1, 4), own))
        conductance, variance = conductance + correction, variance * (1.0 - trust)
        assert (slow.spread(variance) < total).all()
    looks = spread + covariance(moments, moments, flicker) + own * np.eye(5)
    end = moments[-1:]
    for estimate, shared in (
        (conductance, np.full((5, 1), spread)),
        (slow.seen, covariance(moments, end, flicker)),
        (slow.later(later), covariance(moments, end + later, flicker)),
    ):
        assert estimate[0] == pytest.approx((shared.T @ np.linalg.solve(looks, seen))[0])
    both = np.full((5, 1), spread) + covariance(moments, end, flicker)
    left = spread + covariance(end, end, flicker) - both.T @ np.linalg.solve(looks, both)
    assert slow.spread(variance)[0] == pytest.approx(np.full(4, left[0, 0]))


def test_it_starts_from_nothing_and_grows_to_a_decade() -> None:
    slow, nothing = SlowNoise(AGE, (1, 1)), np.zeros((1, 1))
    assert slow.spread(nothing) == 0.0
    slow.grow(-1.0, np.ones((1, 1)))  # clocks of real chips may disagree by as much as a call takes
    assert slow.spread(nothing) == 0.0
    slow.grow(TIME, np.ones((1, 1)))
    assert slow.spread(nothing) == pytest.approx(DECADE * (1.0 - math.exp(-2.0)))
    slow.grow(100 * TIME, np.ones((1, 1)))
    assert slow.spread(nothing) == pytest.approx(DECADE)


def test_pulses_end_their_shares_of_it() -> None:
    slow, some = SlowNoise(AGE, (2, 1)), np.ones((2, 1))
    slow.grow(50.0, some)
    slow.take_in(3.0 * some, some, some)
    before, wide = slow.seen.copy(), slow.spread(np.zeros((2, 1)))
    slow.forget((np.array([1]), np.array([0])), np.array([0.75]))
    assert slow.seen[:, 0] == pytest.approx(before[:, 0] * [1.0, 0.25])
    assert slow.spread(np.zeros((2, 1)))[:, 0] == pytest.approx(wide[:, 0] * [1.0, 0.25])


@pytest.mark.parametrize(("duration", "units"), [(TIME / 10**0.5 / math.e**2, 2.0), (TIME, 0.0)])
def test_what_is_slower_than_a_batch_and_faster_than_this_is_new_each_time(duration: float, units: float) -> None:
    assert SlowNoise(AGE, (1, 1)).between(duration) == pytest.approx(units)
