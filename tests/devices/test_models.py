"""The statistical device models: closed forms, limits, and the same answer for numpy and torch."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from hwloop.devices.drift import DriftModel
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.devices.splines import LogSpline, Spline, spline_relations
from hwloop.devices.statistics import LogClip, Piecewise, Polynomial, PowerLaw, UpTo

CURVE = ProgrammingCurve(
    g_min=0.05,
    g_max=27.5,
    midpoint=260.0,
    steepness=20.0,
    melt=180.0,
    width=100.0,
    midpoint_spread=8.0,
    height_spread=0.05,
    jitter=2.0,
    noise=0.2,
)
STATISTICS = [
    LogClip(-0.0155, 0.0244, 0.049, 0.1),
    PowerLaw(0.0088, -0.65, 0.2),
    Polynomial((0.0736, -0.0126, -0.0436)),
    Piecewise(0.3, LogClip(-0.012, -0.0023, 0.0124, 0.04), Polynomial((0.0104, 0.0116))),
    UpTo(1.0, Polynomial((0.0736, -0.0126, -0.0436))),
    Spline((-4.0, -2.0, -1.0, 0.0), (0.13, 0.07, 0.06, 0.02)),
]


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda s: type(s).__name__)
def test_numpy_and_torch_agree(statistic):
    g = np.linspace(0, 1.2, 200)
    from_torch = statistic(torch.tensor(g))
    assert isinstance(from_torch, torch.Tensor)
    assert from_torch.numpy() == pytest.approx(statistic(g), rel=1e-12)


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda s: type(s).__name__)
def test_a_device_without_conductance_has_finite_statistics(statistic):
    assert np.all(np.isfinite(statistic(np.array([0.0, 1e-30]))))


def test_log_clip():
    model = LogClip(slope=-2.0, offset=1.0, low=0.5, high=4.0)
    assert model(np.array([1e-9, math.exp(-1), 1.0, 10.0])).tolist() == pytest.approx([4.0, 3.0, 1.0, 0.5])


def test_power_law():
    model = PowerLaw(scale=0.1, exponent=-0.5, cap=0.4)
    assert model(np.array([1e-9, 0.25, 1.0, 4.0])).tolist() == pytest.approx([0.4, 0.2, 0.1, 0.05])


def test_polynomial_has_the_constant_first():
    assert Polynomial((1.0, 2.0, 3.0))(np.array([0.0, 1.0, 2.0])).tolist() == [1.0, 6.0, 17.0]


def test_the_threshold_of_a_piecewise_model_belongs_to_the_upper_branch():
    model = Piecewise(0.5, Polynomial((1.0,)), Polynomial((2.0,)))
    assert model(np.array([0.49, 0.5, 0.51])).tolist() == [1.0, 2.0, 2.0]


def test_a_polynomial_is_held_where_its_measurements_end():
    model = UpTo(1.0, Polynomial((0.0, 0.0, 2.0)))
    assert model(np.array([0.5, 1.0, 1.5])).tolist() == [0.5, 2.0, 2.0]


# ---- programming curve ------------------------------------------------------------------------------------------


AT = (-5.0, -3.2, -2.0, -1.5, -0.3, 0.0)


def test_a_spline_goes_through_its_knots_and_is_flat_outside():
    values = (0.1, 0.3, -0.2, 0.05, 0.4, 0.0)
    assert Spline(AT, values)(np.exp(AT)) == pytest.approx(values, abs=1e-12)
    assert Spline(AT, values)(np.exp([-9.0, 1.0])) == pytest.approx([0.1, 0.0])
    assert Spline((-1.0,), (0.7,))(np.exp([-2.0, 0.5])) == pytest.approx(0.7)
    assert Spline((-1.0, 0.0), (1.0, 2.0))(np.exp([-0.5])) == pytest.approx(1.5)


def test_a_spline_is_that_of_scipy_between_parabolic_ends():
    """Parabolas of given second derivatives at the ends, which scipy takes as boundary conditions."""
    values = np.array([0.1, 0.3, -0.2, 0.05, 0.4, 0.0])
    own = Spline(AT, tuple(values))
    ends = [2 * own.pieces()[k][2][1] / own.pieces()[k][1] ** 2 for k in (0, -1)]
    z = np.linspace(AT[0], AT[-1], 200)
    expected = CubicSpline(AT, values, bc_type=((2, ends[0]), (2, ends[1])))
    assert own(np.exp(z)) == pytest.approx(expected(z), abs=1e-12)
    assert expected(AT[1], 2) == pytest.approx(ends[0])
    assert expected(AT[-2], 2) == pytest.approx(ends[1])


def test_a_spline_follows_parabolas_exactly_and_knows_how_rough_they_are():
    z = np.linspace(AT[0], AT[-1], 50)
    values = np.array([0.3 * at * at - at for at in AT])
    assert Spline(AT, tuple(values))(np.exp(z)) == pytest.approx(0.3 * z * z - z, abs=1e-12)
    slopes, relation, roughness = spline_relations(AT)
    bends = np.linalg.solve(relation, slopes @ values)
    assert bends == pytest.approx(0.6)
    assert bends @ roughness @ bends == pytest.approx(0.6**2 * 5.0)


def test_the_curve_falls_from_g_max_to_g_min_through_the_midpoint():
    amplitude = np.array([-1e9, 260.0, 1e9])
    assert CURVE.conductance(amplitude) == pytest.approx([27.5, (27.5 + 0.05) / 2, 0.05])
    assert np.all(np.diff(CURVE.conductance(np.linspace(150, 400, 100))) < 0)


def test_eighty_per_cent_of_the_fall_takes_four_point_four_steepnesses():
    low, high = CURVE.g_min, CURVE.g_max
    ends = np.array([low + 0.9 * (high - low), low + 0.1 * (high - low)])
    first, last = CURVE.amplitude(ends)
    assert (last - first) / CURVE.steepness == pytest.approx(2 * math.log(9))


@given(st.floats(0.2, 27.3))
def test_amplitude_is_the_inverse_of_conductance(target):
    g = np.array([target])
    assert CURVE.conductance(CURVE.amplitude(g)) == pytest.approx(g, rel=1e-9)


@pytest.mark.parametrize("beyond", [-5.0, 0.0, 27.5, 100.0])
def test_conductances_beyond_the_curve_are_taken_as_its_ends(beyond):
    """Half a per cent from either end: logit(0.995) = 5.29 steepnesses from the midpoint."""
    distance = abs(CURVE.amplitude(np.array([beyond]))[0] - CURVE.midpoint)
    assert distance == pytest.approx(CURVE.steepness * math.log(199))


@given(st.floats(1.0, 26.0))
def test_the_slope_is_the_derivative(target):
    g = np.array([target])
    i, h = CURVE.amplitude(g), 1e-4
    derivative = (CURVE.conductance(i - h) - CURVE.conductance(i + h)) / (2 * h)
    assert CURVE.slope(g) == pytest.approx(derivative, rel=1e-5)


def test_pulse_noise_is_largest_where_the_curve_is_steepest():
    g = np.array([0.05, 13.775, 27.5])
    sigma = CURVE.pulse_sigma(g)
    assert sigma[1] == pytest.approx(math.hypot((27.5 - 0.05) / 4 / 20.0 * 2.0, 0.2))
    assert sigma[0] == pytest.approx(0.2, rel=0.01)
    assert sigma[2] == pytest.approx(0.2, rel=0.01)


def test_the_curve_works_on_tensors():
    g = torch.tensor([1.0, 10.0, 20.0], dtype=torch.float64)
    for method in (CURVE.conductance, CURVE.amplitude, CURVE.slope, CURVE.pulse_sigma):
        assert method(g).numpy() == pytest.approx(method(g.numpy()), rel=1e-12)


# ---- drift and read noise ---------------------------------------------------------------------------------------

DRIFT = DriftModel(t0=20.0, g_scale=25.0, mean=Polynomial((0.05,)), spread=Polynomial((0.01,)))


def test_drift_is_a_power_law_of_the_age():
    g = np.array([5.0, 20.0])
    assert DRIFT.factor(g, 20.0) == pytest.approx([1.0, 1.0])
    assert DRIFT.factor(g, 2000.0) == pytest.approx([100**-0.05] * 2)
    assert DRIFT.factor(g, np.array([20.0, 2000.0])) == pytest.approx([1.0, 100**-0.05])
    assert DRIFT.factor(torch.tensor(g), 2000.0).numpy() == pytest.approx([100**-0.05] * 2)
    assert DRIFT.factor(torch.tensor(g), torch.tensor([20.0, 2000.0])).numpy() == pytest.approx([1.0, 100**-0.05])


def test_read_noise_grows_with_the_root_of_the_log_of_the_age():
    model = ReadNoiseModel(t_read=250e-9, g_scale=25.0, q=PowerLaw(0.0088, -0.65, 0.2))
    g = np.array([5.0])
    q = 0.0088 / (5 / 25) ** 0.65
    for age in (1e-3, 1.0, 86400.0):
        expected = q * math.sqrt(math.log((age + 250e-9) / 500e-9))
        assert model.relative_sigma(g, age) == pytest.approx([expected])


def test_relative_noise_of_pulses_adds_to_their_scatter():
    noisy = dataclasses.replace(CURVE, relative_noise=0.03)
    g = np.array([1.0, 10.0, 20.0])
    assert noisy.pulse_sigma(g) == pytest.approx(np.hypot(CURVE.pulse_sigma(g), 0.03 * g))


def test_a_spline_of_logarithms_goes_through_its_values_and_is_never_below_zero() -> None:
    at, values = (-3.0, -2.0, -1.0, 0.0), (0.05, 1e-4, 0.03, 0.01)
    curve = LogSpline(Spline(at, tuple(np.log(values).tolist())))
    assert curve(np.exp(np.array(at))) == pytest.approx(values)
    fine = np.exp(np.linspace(-4.0, 1.0, 200))
    assert (curve(fine) > 0).all()
    assert Spline(at, values)(fine).min() < 0
