"""Variances against those that values were drawn with, outliers among them."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.routines.robust import folded_variance, outlying, robust_variance


def test_outliers_do_not_count() -> None:
    values = 3.0 * np.random.default_rng(0).standard_normal(20_000) + 50.0
    values[:200] = 1e6
    assert robust_variance(values) == pytest.approx(9.0, rel=0.06)
    assert robust_variance(np.full(5, 2.0)) == pytest.approx(1e-12)


def test_a_value_is_far_by_its_distance_from_the_median_either_way() -> None:
    values = np.append(np.linspace(-1, 1, 101), [10.0, -10.0])
    assert np.flatnonzero(outlying(values, 4.0, 1e-3)).tolist() == [101, 102]
    assert not outlying(values, 4.0, 3.0).any()
    assert not outlying(values, 20.0, 1e-3).any()


@pytest.mark.parametrize("mean", [0.0, 0.5, 1.0, 3.0])
def test_noise_is_known_whatever_of_it_was_folded(mean: float) -> None:
    """Magnitudes of noise of 0.2 about means of 0 to 0.6."""
    values = np.abs(0.2 * (mean + np.random.default_rng(1).standard_normal(100_000)))
    assert np.sqrt(folded_variance(values, 6.0)) == pytest.approx(0.2, rel=0.03)
