"""Statistics, splines, drift and read noise against closed forms that were worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hwloop.devices.drift import PUBLISHED_DRIFT, Aging, DriftModel
from hwloop.devices.model import assumed_model, still_model
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.devices.read_noise import PUBLISHED_READ_NOISE, ReadNoiseModel
from hwloop.devices.splines import Spline
from hwloop.devices.statistics import Knots, LogClip, Piecewise, Polynomial, PowerLaw, UpTo
from hwloop.devices.wires import attenuation, ladder_voltages

CURVE = ProgrammingCurve(0.1, 25.0, 250.0, 20.0, 180.0, 100.0, 8.0, 0.05, 2.0, 0.2)
DRIFT = DriftModel(t0=10.0, g_scale=20.0, mean=Polynomial((0.1, -0.05)), spread=Polynomial((0.01, 0.02)))
AGING = Aging(DRIFT)


def test_the_exponent_follows_the_conductance_at_the_reference_age() -> None:
    """nu = 0.1 - 0.05 g with g = G / 20 uS: 0.0875 at 5 uS and 0.05 at 20 uS."""
    factor = DRIFT.factor(np.array([5.0, 20.0]), 1000.0)
    np.testing.assert_allclose(factor, [100**-0.0875, 100**-0.05], rtol=1e-12)


def test_younger_devices_conduct_more() -> None:
    assert np.all(DRIFT.factor(np.array([5.0, 20.0]), 0.1) > 1)
    np.testing.assert_allclose(AGING.at_age(np.array([20.0]), 0.1), [20.0 * 100**0.05], rtol=1e-12)


def test_correcting_to_the_reference_age_is_the_inverse_of_ageing() -> None:
    """By five fixed-point steps, each of which shrinks the error by d ln(factor) / d ln(G), here 0.35 at most."""
    g = np.array([0.5, 5.0, 12.0, 20.0])
    for age in (0.1, 10.0, 1e4):
        np.testing.assert_allclose(AGING.at_reference(AGING.at_age(g, age), age), g, rtol=2e-3)
    one_step = AGING.at_age(g, 1e4) / AGING.factor(AGING.at_age(g, 1e4), 1e4)
    assert np.abs(one_step / g - 1).max() > 0.02


def test_negative_readings_are_aged_as_devices_without_conductance() -> None:
    np.testing.assert_allclose(AGING.at_age(np.array([-0.2]), 1000.0), [-0.2 * 100**-0.1], rtol=1e-12)
    np.testing.assert_allclose(AGING.at_reference(np.array([-0.2]), 1000.0), [-0.2 / 100**-0.1], rtol=1e-12)


def test_ages_end_at_a_microsecond() -> None:
    np.testing.assert_allclose(AGING.factor(np.array([20.0]), 0.0), [(1e-6 / 10.0) ** -0.05], rtol=1e-12)


def test_what_stays_unknown_grows_with_the_log_of_the_ratio_of_ages() -> None:
    """Spread 0.01 + 0.02 g, times |ln| of the ratio, whichever age comes first."""
    expected = np.array([0.015, 0.03]) * math.log(50)
    for first, second in ((2.0, 100.0), (100.0, 2.0)):
        np.testing.assert_allclose(AGING.log_spread(np.array([5.0, 20.0]), first, second), expected, rtol=1e-12)
    assert AGING.log_spread(np.array([5.0]), 7.0, 7.0) == 0.0


def test_without_a_model_nothing_ages() -> None:
    g = np.array([1.0, 2.0])
    aging = Aging(None)
    assert aging.factor(g, 1e9).tolist() == [1.0, 1.0]
    assert aging.at_age(g, 1e9) is g
    assert aging.at_reference(g, 1e9) is g
    assert aging.log_spread(g, 1.0, 1e9).tolist() == [0.0, 0.0]


def test_published_numbers_are_those_of_the_paper() -> None:
    """Joshi et al. (2020): at g = 0.2 and g = 1, with the clips."""
    g = np.array([0.2, 1.0]) * 25.0
    np.testing.assert_allclose(PUBLISHED_DRIFT.mean(g / 25.0), [0.049346, 0.049], rtol=1e-4)
    np.testing.assert_allclose(PUBLISHED_DRIFT.spread(g / 25.0), [0.014218, 0.008], rtol=1e-4)
    np.testing.assert_allclose(PUBLISHED_READ_NOISE.q(g / 25.0), [0.0088 * 5**0.65, 0.0088], rtol=1e-12)
    assert (PUBLISHED_DRIFT.t0, PUBLISHED_READ_NOISE.t_read) == (20.0, 250e-9)


def test_an_assumed_model_scales_published_statistics_to_the_chip() -> None:
    model = assumed_model(CURVE, 10.0)
    assert (model.drift.g_scale, model.read_noise.g_scale) == (10.0, 10.0)
    np.testing.assert_array_equal(
        model.drift.factor(np.array([4.0]), 1e3), PUBLISHED_DRIFT.factor(np.array([10.0]), 1e3)
    )
    assert model.curve is CURVE
    assert repr(model) == "DeviceModel(0.1 to 25 uS, midpoint 250 uA, drift from 20 s on, reads of 2.5e-07 s)"


def test_read_noise_is_relative_to_the_scale_of_conductance() -> None:
    """Q = 0.1 g^-0.5 at g = 1/4 is 0.2; ln((t + r) / 2 r) at t = 2 r e^4 - r is 4, whose root is 2."""
    noise = ReadNoiseModel(t_read=1e-6, g_scale=40.0, q=PowerLaw(0.1, -0.5, 1.0))
    age = 2e-6 * math.exp(4) - 1e-6
    np.testing.assert_allclose(noise.relative_sigma(np.array([10.0, 40.0]), age), [0.4, 0.2], rtol=1e-12)


def test_knots_are_joined_by_straight_lines_in_ln_g() -> None:
    knots = Knots((math.log(0.1), 0.0, math.log(4.0)), (1.0, 3.0, 2.0))
    g = np.array([0.01, 0.1, math.sqrt(0.1), 1.0, 2.0, 4.0, 9.0])
    np.testing.assert_allclose(knots(g), [1.0, 1.0, 2.0, 3.0, 2.5, 2.0, 2.0], rtol=1e-12)


def test_a_spline_through_three_knots_is_the_parabola_through_them() -> None:
    """Equal intervals: both pieces are halves of one parabola, here z^2 - z + 1 at z = -1, 0, 1."""
    spline = Spline((-1.0, 0.0, 1.0), (3.0, 1.0, 1.0))
    z = np.linspace(-1, 1, 9)
    np.testing.assert_allclose(spline(np.exp(z)), z * z - z + 1, atol=1e-12)


@pytest.mark.parametrize(
    ("statistic", "text"),
    [
        (LogClip(-0.5, 0.25, 0.1, 0.9), "clip(-0.5 ln g +0.25, 0.1, 0.9)"),
        (PowerLaw(0.01, -0.5, 0.2), "min(0.01 g^-0.5, 0.2)"),
        (Polynomial((1.0, -2.0, 3.0)), "1 -2 g^1 +3 g^2"),
        (Knots((0.0,), (2.0,)), "through 2 at g = 1"),
        (Spline((0.0,), (2.0,)), "smoothly through 2 at g = 1"),
        (Piecewise(0.5, Polynomial((1.0,)), Polynomial((2.0,))), "1 for g < 0.5, else 2"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_statistic_reads_as_its_formula(statistic: LogClip, text: str) -> None:
    assert str(statistic) == text


def test_a_polynomial_says_where_its_measurements_end() -> None:
    assert str(UpTo(0.8, Polynomial((1.0,)))).endswith("from g = 0.8")


def test_a_ladder_of_two_is_what_ohm_says() -> None:
    """1 kohm driver, 1 kohm segments, loads of 1 mS: node 1 sees 1 kohm + 1 kohm beyond the segment of node 0."""
    voltages = ladder_voltages(np.array([[1e-3, 1e-3]]), 1e3, series=1e3)
    # Y1 = 1 mS; Y0 = 1 mS + 1/(1k + 1k) = 1.5 mS; V0 = 1/(1 + 2k * 1.5m) = 1/4; V1 = V0 / 2.
    np.testing.assert_allclose(voltages, [[0.25, 0.125]], rtol=1e-12)


def test_wires_lose_most_at_the_far_corner() -> None:
    """Rows are driven at column 0 and columns sensed at the last row: the far corner is row 0, last column."""
    factor = attenuation(np.full((2, 4, 5), 20.0), 100.0)
    assert factor.shape == (2, 4, 5)
    assert np.unravel_index(factor[0].argmin(), (4, 5)) == (0, 4)
    assert np.unravel_index(factor[0].argmax(), (4, 5)) == (3, 0)
    np.testing.assert_array_equal(factor[0], factor[1])


def test_a_still_model_neither_drifts_nor_scatters() -> None:
    model, g = still_model(CURVE, 10.0), np.array([0.1, 5.0, 10.0])
    assert model.curve == CURVE
    assert model.drift.factor(g, 3.15e7).tolist() == [1.0, 1.0, 1.0]
    assert model.drift.spread(g / 10.0).tolist() == [0.0, 0.0, 0.0]
    assert model.read_noise.relative_sigma(g, 1e4).tolist() == [0.0, 0.0, 0.0]
