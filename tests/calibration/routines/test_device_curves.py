"""Heights, shifts and spreads of devices that were made up, without a chip."""

from __future__ import annotations

import numpy as np
import pytest

import hwloop
from hwloop.calibration.routines.device_curves import DeviceCurveFit, Pulsed, seen_variance
from hwloop.calibration.routines.flank import Ends, FlankSearch, _rough_curve
from hwloop.calibration.routines.typical_curve import _logistic, fit_typical_curve
from hwloop.devices.drift import Aging
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.errors import ChipError

CURVE = ProgrammingCurve(0.1, 10.0, 240.0, 18.0, 120.0, 100.0, 0.0, 0.0, 0.0, 0.0)
DEVICES = 20_000


def conductance(amplitude: np.ndarray, height: np.ndarray | float = 1.0, shift: np.ndarray | float = 0.0) -> np.ndarray:
    return CURVE.g_min + height * (CURVE.conductance(amplitude - shift) - CURVE.g_min)


def made(jitter: float, spread: float, heights: float, seed: int = 0) -> tuple[Pulsed, np.ndarray, np.ndarray]:
    """Devices that got two pulses each, with their shifts and heights."""
    rng = np.random.default_rng(seed)
    shift, height = spread * rng.standard_normal(DEVICES), 1 + heights * rng.standard_normal(DEVICES)
    amplitude = rng.choice(np.linspace(200, 280, 24), (2, DEVICES))
    seen = conductance(amplitude + jitter * rng.standard_normal(amplitude.shape), height, shift)
    return Pulsed(amplitude, seen, height, np.ones(DEVICES, bool), 10.0), shift, height


def test_what_is_of_the_device_and_what_of_the_pulse() -> None:
    pulsed, shift, height = made(jitter=2.0, spread=7.0, heights=0.04)
    found = DeviceCurveFit().fit_devices(CURVE, pulsed, None)
    assert found.midpoint_spread == pytest.approx(7.0, rel=0.05)
    assert found.jitter == pytest.approx(2.0, rel=0.1)
    assert found.height_spread == pytest.approx(0.04, rel=0.1)
    assert np.abs(found.height - height).max() < 0.01
    # Two pulses and a prior: 1 / sqrt(2 / 2^2 + 1 / 7^2) uA.
    error = found.shift - shift
    assert np.std(error) == pytest.approx(1 / np.sqrt(2 / 4 + 1 / 49), rel=0.05)
    assert np.median(found.shift_sigma) == pytest.approx(np.std(error), rel=0.1)
    assert abs(error.mean()) < 0.05


def test_a_device_that_was_pulsed_once_is_known_less_well_and_one_that_was_not_as_the_typical_one() -> None:
    pulsed, _, _ = made(jitter=2.0, spread=7.0, heights=0.0)
    pulsed.seen[0, :1000] = np.nan
    pulsed.seen[:, :500] = np.nan
    found = DeviceCurveFit().fit_devices(CURVE, pulsed, None)
    assert not found.shift[:500].any()
    assert found.shift_sigma[:500] == pytest.approx(found.midpoint_spread)
    once = 1 / np.sqrt(1 / 4 + 1 / 49)
    assert np.median(found.shift_sigma[500:1000]) == pytest.approx(once, rel=0.1)


def test_a_weak_device_keeps_what_was_seen_and_an_unusable_one_is_taken_as_typical() -> None:
    pulsed, _, _ = made(jitter=1.0, spread=5.0, heights=0.03)
    pulsed.of_set[3], pulsed.usable[4] = 0.4, False
    found = DeviceCurveFit().fit_devices(CURVE, pulsed, None)
    assert found.height[3] == 0.4
    assert (found.height[4], found.height_sigma[4], found.shift[4]) == (1.0, 0.0, 0.0)


def test_without_a_model_a_look_is_taken_as_exact() -> None:
    assert not seen_variance(None, np.ones(3), 10.0).any()


def test_the_typical_curve_is_that_of_the_medians() -> None:
    pulsed, _, _ = made(jitter=2.0, spread=7.0, heights=0.04)
    rough = ProgrammingCurve(0.1, 8.0, 225.0, 25.0, 120.0, 100.0, 0.0, 0.0, 0.0, 0.0)
    found = fit_typical_curve(rough, pulsed.amplitude, pulsed.seen)
    assert found.curve.midpoint == pytest.approx(240.0, abs=4 * found.midpoint_sigma)
    assert found.curve.steepness == pytest.approx(18.0, abs=4 * found.steepness_sigma)
    assert found.curve.g_max == pytest.approx(10.0, abs=4 * found.g_max_sigma)
    assert 0 < found.midpoint_sigma < 0.5
    assert (found.curve.melt, found.curve.width) == (rough.melt, rough.width)


def test_the_rough_curve_comes_from_area_and_slope() -> None:
    levels = np.linspace(76.8, 384, 48)
    typical = np.where(levels < 120, 0.1, CURVE.conductance(levels))
    jumped = typical > 5.0
    rough = _rough_curve(levels, typical, jumped, Ends(0.1, 10.0, 100.0))
    assert rough.midpoint == pytest.approx(240.0, abs=1.0)
    assert rough.steepness == pytest.approx(18.0, rel=0.03)
    assert rough.melt == levels[levels >= 120][0]
    assert (rough.g_min, rough.g_max, rough.width) == (0.1, 10.0, 100.0)


def test_scouts_are_half_of_the_candidates_and_no_more_than_asked_for() -> None:
    rng, search = np.random.default_rng(0), FlankSearch()
    candidates = np.arange(100, 1100)
    scouts = search.choose_scouts(candidates, rng, 0)
    assert len(scouts) == 500
    assert np.all(np.diff(scouts) > 0)
    assert set(scouts) <= set(candidates)
    assert len(FlankSearch(scout_devices=200).choose_scouts(candidates, rng, 0)) == 200
    assert len(search.choose_scouts(np.arange(192), rng, 0)) == 96  # two for each of 48 levels
    with pytest.raises(ChipError, match="core 5: only 191 devices answer to pulses; too few for a programming curve"):
        search.choose_scouts(np.arange(191), rng, 5)


def test_only_pairs_of_central_and_pairs_of_edge_pulses_are_compared() -> None:
    """Five crowds of devices; in all but the first and the last results differ by far more than jitter."""
    rng, n, steepness = np.random.default_rng(0), 20_000, 10.0
    places = [(5.0, -5.0), (5.0, 20.0), (-20.0, 5.0), (11.0, 12.0), (20.0, -20.0)]
    jitter = [1.0, 50.0, 50.0, 50.0, np.sqrt(1.0 + 0.01 * (20.0**2 - 5.0**2))]
    distance = np.concatenate([np.repeat([[a], [b]], n, axis=1) for a, b in places], axis=1)
    sigma, extra2 = np.repeat(jitter, n), np.full(distance.shape, 0.5)
    shift = 6.0 * rng.standard_normal(5 * n) + np.hypot(sigma, np.sqrt(0.5)) * rng.standard_normal(distance.shape)
    on_flank = np.ones(distance.shape, bool)
    shift[0, :100], on_flank[0, :100] = 1e6, False
    shift[1, 100:200], on_flank[1, 100:200] = -1e6, False
    found = DeviceCurveFit()._spreads(distance, shift, extra2, on_flank, steepness)
    assert found.jitter2 == pytest.approx(1.0, rel=0.1)
    assert found.tilt2 == pytest.approx(0.01, rel=0.1)
    assert found.midpoint == pytest.approx(6.0, rel=0.03)


def test_a_look_is_uncertain_by_read_noise_and_drift() -> None:
    with hwloop.connect("sim:hermes-core") as chip:
        model = chip.info.device_model
    g = np.array([1.0, 5.0, 10.0])
    noise = model.read_noise.relative_sigma(g, 10.0)
    drift = Aging(model.drift).log_spread(g, 10.0, model.drift.t0)
    assert (noise > 0).all()
    assert (drift > 0).all()
    assert seen_variance(model, g, 10.0) == pytest.approx(g**2 * (noise**2 + drift**2))
    top = model.drift.g_scale
    assert seen_variance(model, np.array([2 * top]), 10.0) == pytest.approx(seen_variance(model, np.array([top]), 10.0))
    assert (seen_variance(model, np.array([np.nan, -1.0, 0.0]), 0.0) > 0).all()


def test_the_logistic_curve_goes_from_g_max_through_the_middle_to_g_min() -> None:
    assert _logistic(np.array([-1e6, 240.0, 1e6]), 10.0, 240.0, 18.0, 2.0) == pytest.approx([10.0, 6.0, 2.0])
