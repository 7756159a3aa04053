"""What a pulse must be worth: by the size of the targets, and by what measurements can tell."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.programming.filter_settings import FilterSettings, PulsePrice

SETTINGS = FilterSettings(min_gain=2.0, patience=3.0, usual_targets=0.5, least_gain=0.1, chased=0.25)
"""2 % of 20 uS: 0.4 uS, for targets of 20 uS and more where two devices reach 40 uS."""


@pytest.mark.parametrize(
    ("rms", "price"), [(30.0, 0.4**2), (20.0, 0.4**2), (10.0, 0.2**2), (-10.0, 0.2**2), (1.0, 0.04**2), (0.0, 0.04**2)]
)
def test_the_price_of_a_pulse_falls_with_the_targets(rms: float, price: float) -> None:
    found = PulsePrice.of(SETTINGS, np.full((3, 4), rms), g_max=20.0, devices=2)
    assert found(np.zeros((3, 4)), left=0.0) == pytest.approx(price)


@pytest.mark.parametrize(("unresolved", "price"), [(0.1, 0.2**2), (0.4, 0.1), (10.0, 0.4**2)])
def test_but_not_below_what_noise_hides(unresolved: float, price: float) -> None:
    """A quarter of what is left unresolved on average, up to what the price is for large targets."""
    found = PulsePrice.of(SETTINGS, np.full((3, 4), 10.0), g_max=20.0, devices=2)
    noise = np.zeros((3, 4))
    noise[:, ::2] = 2 * unresolved
    assert found(noise, left=0.0) == pytest.approx(price)


@pytest.mark.parametrize(("left", "times"), [(1.0, 4.0), (0.5, 2.5), (0.0, 1.0)])
def test_the_price_falls_from_round_to_round_to_what_it_is_in_the_last_one(left: float, times: float) -> None:
    quiet, loud = np.zeros((3, 4)), np.full((3, 4), 1e3)
    small, large = (PulsePrice.of(SETTINGS, np.full((3, 4), rms), g_max=20.0, devices=2) for rms in (10.0, 20.0))
    assert small(quiet, left) == pytest.approx((0.2 * times) ** 2)
    assert small(loud, left) == large(quiet, left) == pytest.approx((0.4 * times) ** 2)
