"""The common error of the currents: what was put into made-up devices comes out, within its stated uncertainty."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from hwloop.calibration.programming import current_error_of_devices
from hwloop.calibration.programming.current_error_of_devices import (
    DeviceCurrentError,
    DeviceCurrentFit,
    _log_likelihood,
    fit_device_currents,
    scaled_currents,
)
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.typing import FloatArray

CURVE = ProgrammingCurve(
    g_min=0.05, g_max=27.5, midpoint=260.0, steepness=20.0, melt=180.0, width=100.0,
    midpoint_spread=8.0, height_spread=0.05, jitter=1.9, noise=0.15,
)  # fmt: skip


def pulsed(error: float, devices: int, seed: int, stuck: float = 0.0) -> tuple[FloatArray, FloatArray]:
    """Make up amplitudes (uA) aimed at half-normal targets by CURVE, and what devices off by `error` make of them."""
    rng = np.random.default_rng(seed)
    target = np.minimum(np.abs(rng.normal(0.0, 8.0, devices)) + 0.05, 24.0)
    amplitude, curve = np.asarray(CURVE.amplitude(target)), scaled_currents(CURVE, error)
    shift = rng.normal(0.0, math.hypot(CURVE.midpoint_spread, CURVE.jitter), devices)
    height = 1.0 + CURVE.height_spread * rng.standard_normal(devices)
    left = curve.g_min + height * (np.asarray(curve.conductance(amplitude - shift)) - curve.g_min)
    left = np.abs(left + CURVE.noise * rng.standard_normal(devices))
    left = np.where(amplitude < curve.melt, 0.02, left)  # not melted: as it came from the factory
    broken = rng.random(devices) < stuck
    return amplitude, np.where(broken, rng.choice([0.05, 27.0], devices), left)


@pytest.mark.parametrize("error", [-0.2, -0.05, 0.0, 0.08, 0.2])
def test_finds_the_error_that_was_put_in_within_its_sigma(error: float) -> None:
    found = [fit_device_currents(*pulsed(error, 4000, seed), CURVE) for seed in range(6)]
    pulls = np.array([(one.value - error) / one.sigma for one in found])
    assert max(one.sigma for one in found) < 0.003
    # Chi-square of 6 pulls is below 22.5 in 999 of 1000 cases.
    assert np.sum(pulls**2) < 22.5


@pytest.mark.parametrize("stuck", [0.02, 0.1])
@pytest.mark.parametrize("error", [-0.15, 0.0, 0.15])
def test_stuck_devices_hardly_move_it_and_are_counted(error: float, stuck: float) -> None:
    found = fit_device_currents(*pulsed(error, 8000, 3, stuck), CURVE)
    assert abs(found.value - error) < 0.005
    assert 0.2 * stuck < found.outliers < 1.5 * stuck + 0.02


def test_a_nominal_chip_has_no_significant_error() -> None:
    sizes = {10: 20, 100: 20, 1000: 10, 8000: 4}
    found = [
        fit_device_currents(*pulsed(0.0, size, seed, 0.02), CURVE)
        for size, count in sizes.items()
        for seed in range(count)
    ]
    assert not any(one.significant() for one in found)


@pytest.mark.parametrize("error", [-0.2, 0.2])
def test_a_few_dozen_devices_are_enough_for_a_large_error(error: float) -> None:
    assert fit_device_currents(*pulsed(error, 60, 4), CURVE).significant()


def test_one_stuck_device_is_not_taken_for_wrong_currents() -> None:
    assert not fit_device_currents(np.array([260.0]), np.array([0.02]), CURVE).significant()


def test_without_devices_nothing_is_known() -> None:
    assert fit_device_currents(np.empty(0), np.empty(0), CURVE) == DeviceCurrentError(0.0, math.inf, 0.0, 0.0)


def test_any_shape_gives_the_same() -> None:
    amplitude, conductance = pulsed(0.1, 600, 5)
    flat = fit_device_currents(amplitude, conductance, CURVE)
    assert fit_device_currents(amplitude.reshape(2, 1, 20, 15), conductance.reshape(2, 1, 20, 15), CURVE) == flat


def test_what_else_scatters_widens_the_uncertainty_of_a_model_that_knows_it() -> None:
    amplitude, conductance = pulsed(0.1, 2000, 6)
    noisy = conductance * (1.0 + 0.15 * np.random.default_rng(0).standard_normal(2000))
    found = fit_device_currents(amplitude, noisy, CURVE, relative_sigma=0.15)
    assert found.value == pytest.approx(0.1, abs=0.006)
    assert found.sigma > fit_device_currents(amplitude, conductance, CURVE).sigma


@pytest.mark.parametrize(
    ("value", "sigma", "evidence", "significant"),
    [
        (0.1, 0.01, 100.0, True),
        (-0.1, 0.01, 100.0, True),
        (0.1, 0.03, 100.0, False),
        (0.1, 0.01, 20.0, False),
        (0.015, 0.001, 100.0, False),
    ],
)
def test_significance_needs_size_certainty_and_likelihood(
    value: float, sigma: float, evidence: float, significant: bool
) -> None:
    assert DeviceCurrentError(value, sigma, evidence, 0.0).significant(DeviceCurrentFit()) is significant


def test_currents_are_scaled_together_and_spreads_are_not() -> None:
    curve = scaled_currents(CURVE, 0.1)
    assert (curve.midpoint, curve.steepness, curve.melt) == pytest.approx((286.0, 22.0, 198.0))
    assert (curve.midpoint_spread, curve.jitter, curve.g_max) == (8.0, 1.9, 27.5)


# ---- figure by figure --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amplitude", [185.0, 240.0, 262.0, 300.0])
@pytest.mark.parametrize("relative", [0.0, 0.1])
def test_the_likelihood_is_that_of_the_curve_or_an_outlier(amplitude: float, relative: float) -> None:
    """Against a fine sum over the unknown shift, of a noise that folds over at zero."""
    seen = np.array([0.02, 3.0, 12.0, 26.0])
    found = _log_likelihood(np.full(4, amplitude), seen, CURVE, relative, DeviceCurrentFit(outliers=0.03))
    z = np.linspace(-4, 4, 4001)
    share = stats.norm.pdf(z) / stats.norm.pdf(z).sum()
    mean = np.asarray(CURVE.conductance(amplitude + np.hypot(8.0, 1.9) * z))
    sigma = np.sqrt(0.15**2 + (0.05**2 + relative**2) * mean**2)
    folded = stats.norm.pdf(seen[:, None], mean, sigma) + stats.norm.pdf(-seen[:, None], mean, sigma)
    expected = np.log(0.97 * folded @ share + 0.03 / (27.5 * 1.15))
    assert found == pytest.approx(expected, abs=0.02)


def test_what_was_not_melted_may_be_anything() -> None:
    seen = np.array([0.02, 20.0])
    found = _log_likelihood(np.array([179.0, 179.0]), seen, CURVE, 0.0, DeviceCurrentFit(outliers=0.03))
    assert found == pytest.approx(np.log(0.03 / (27.5 * 1.15)))


def test_evidence_is_twice_the_gain_in_likelihood_and_outliers_are_counted() -> None:
    amplitude, conductance = pulsed(0.06, 500, 7)
    conductance[:25] = 26.0
    found, fit = fit_device_currents(amplitude, conductance, CURVE), DeviceCurrentFit()
    errors = np.linspace(found.value - 0.002, found.value + 0.002, 21)
    likelihood = [
        _log_likelihood(amplitude, conductance, scaled_currents(CURVE, error), 0.0, fit).sum() for error in errors
    ]
    nominal = _log_likelihood(amplitude, conductance, CURVE, 0.0, fit).sum()
    assert found.evidence == pytest.approx(2 * (max(likelihood) - nominal), abs=0.05)
    assert errors[int(np.argmax(likelihood))] == pytest.approx(found.value, abs=0.0003)
    # 25 of 500, of which one in 25 may have been meant to be there.
    assert 0.044 <= found.outliers <= 0.058


def test_only_so_many_devices_are_looked_at_evenly() -> None:
    amplitude, conductance = pulsed(0.1, 5000, 8)
    few = fit_device_currents(amplitude, conductance, CURVE, settings=DeviceCurrentFit(devices=500))
    chosen = np.linspace(0, 4999, 500).astype(int)
    assert few == fit_device_currents(amplitude[chosen], conductance[chosen], CURVE)


@pytest.mark.parametrize(("error", "found"), [(0.35, 0.35), (0.5, 0.4), (-0.6, -0.4)])
def test_errors_are_looked_for_up_to_the_largest(error: float, found: float) -> None:
    amplitude, conductance = pulsed(error, 600, 9)
    assert fit_device_currents(amplitude, conductance, CURVE).value == pytest.approx(found, abs=0.01)


def test_devices_that_no_current_moves_say_nothing() -> None:
    flat = fit_device_currents(np.full(50, 100.0), np.full(50, 5.0), CURVE)
    assert flat.sigma == math.inf
    assert not flat.significant()


def test_errors_are_tried_evenly_and_then_ever_closer_to_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices whose likelihoods are normal, each about an error of its own: the mean, its spread, and the evidence."""
    own, width, tried = np.array([0.0512, 0.0934, 0.0747]), 0.03, list[float]()

    def normal(amplitude: FloatArray, conductance: FloatArray, curve: ProgrammingCurve, *_: object) -> FloatArray:
        tried.append(curve.midpoint / CURVE.midpoint - 1.0)
        return -((tried[-1] - own) ** 2) / (2.0 * width**2) - 5.0 * (own == own.max())

    monkeypatch.setattr(current_error_of_devices, "_log_likelihood", normal)
    found = fit_device_currents(np.full(3, 260.0), np.full(3, 10.0), CURVE)
    # Every 0.02 from -0.4 to 0.4, then six steps of a fifth to either side of the best, three times over.
    expected, best = [*(0.02 * np.arange(-20, 21))], 0.08
    for step in (4e-3, 8e-4, 1.6e-4):
        expected += [*(best + step * np.arange(-6, 7))]
        best += step * round((own.mean() - best) / step)
    assert tried == pytest.approx([*expected, *(best + step * np.array([-1, 0, 1])), 0.0], abs=1e-9)
    assert found.value == pytest.approx(own.mean(), abs=1e-9)
    assert found.sigma == pytest.approx(np.sqrt(((own - best) ** 2).sum()) / 3, rel=1e-6)
    assert found.evidence == pytest.approx((own**2 - (own - best) ** 2).sum() / width**2)
    # One of three is less likely than twice that it is an outlier: 0.04 in 27.5 * 1.15 uS, whose logarithm is -6.7.
    assert found.outliers == 0.0
    monkeypatch.setattr(
        current_error_of_devices, "_log_likelihood", lambda *what: normal(*what) - 2.0 * (own == own.max())
    )
    assert fit_device_currents(np.full(3, 260.0), np.full(3, 10.0), CURVE).outliers == pytest.approx(1 / 3)


def test_errors_beyond_the_largest_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = list[float]()

    def rising(amplitude: FloatArray, conductance: FloatArray, curve: ProgrammingCurve, *_: object) -> FloatArray:
        tried.append(curve.midpoint / CURVE.midpoint - 1.0)
        return np.full(2, 10.0 * tried[-1] - tried[-1] ** 2)

    monkeypatch.setattr(current_error_of_devices, "_log_likelihood", rising)
    found = fit_device_currents(np.full(2, 260.0), np.full(2, 10.0), CURVE, settings=DeviceCurrentFit(largest=0.3))
    step = 0.02 / 5**3
    assert max(tried[:-4]) == pytest.approx(0.3)
    assert found.value == pytest.approx(0.3 + step)  # not further than the last step from what was tried
    monkeypatch.setattr(current_error_of_devices, "_log_likelihood", lambda *what: -rising(*what))
    assert fit_device_currents(np.full(2, 260.0), np.full(2, 10.0), CURVE).sigma == math.inf  # a valley has no top
