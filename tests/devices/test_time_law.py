"""Laws of time against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwloop.devices.drift import Aging, DriftModel
from hwloop.devices.statistics import Polynomial
from hwloop.devices.time_law import POWER_LAW, TimeLaw

AGES = np.array([1.0, 20.0, 300.0, 1e5])
T0 = 20.0


def test_an_onset_is_one_plus_t_over_it() -> None:
    """(1 + t / 300)^-0.1 over the same at 20 s."""
    drift = DriftModel(T0, 25.0, Polynomial((0.1,)), Polynomial((0.01,)), TimeLaw(onset=300.0 / T0))
    expected = ((1 + AGES / 300) / (1 + T0 / 300)) ** -0.1
    for age, value in zip(AGES.tolist(), expected.tolist(), strict=True):
        assert drift.factor(np.array([5.0]), age) == pytest.approx(value, rel=1e-12)
    five = np.full(AGES.size, 5.0)
    assert Aging(drift).factor(five, AGES) == pytest.approx(expected, rel=1e-12)
    log_ratio = np.log((1 + 1e5 / 300) / (1 + 1.0 / 300))
    assert Aging(drift).log_spread(five[:1], 1.0, 1e5) == pytest.approx(0.01 * log_ratio)


def test_curvature_and_bend_are_parabolas_in_ln_t() -> None:
    drift = DriftModel(T0, 25.0, Polynomial((0.1,)), Polynomial((0.0,)), TimeLaw(curvature=0.05, bend=0.002))
    x = np.log(AGES / T0)
    expected = np.exp(-0.1 * (x + 0.05 * x**2) - 0.002 * x**2)
    assert Aging(drift).factor(np.full(AGES.size, 5.0), AGES) == pytest.approx(expected, rel=1e-12)


def test_the_power_law_is_ln_t_and_tensors_are_taken_alike() -> None:
    x = np.log(AGES / T0)
    assert POWER_LAW.plain
    assert np.array_equal(POWER_LAW.exponent(x), x)
    law = TimeLaw(2.0, 0.1, 0.01)
    assert law.exponent(torch.tensor(x)).numpy() == pytest.approx(law.exponent(x))
    assert law.exponent(float(x[3])) == pytest.approx(law.exponent(x)[3])


def test_an_onset_before_the_pulse_is_none() -> None:
    with pytest.raises(ValueError, match="begins at or after"):
        TimeLaw(onset=-1.0)
