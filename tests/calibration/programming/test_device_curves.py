"""What devices teach about their own programming curves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.programming.device_curves import DeviceCurves
from hwloop.chip.cell_calibration import Devices
from hwloop.devices.programming_curve import ProgrammingCurve
from tests.calibration.programming.scripted import device_model

SHAPE = (2, 1, 1)
FIRST = (np.array([0]), np.array([0]), np.array([0]))


def curves(height: float = 1.0, shift: float = 0.0, **spreads: float) -> tuple[DeviceCurves, ProgrammingCurve]:
    curve = replace(device_model(noise=0.5, g_min=1.0).curve, **spreads)
    known = Devices.nominal(replace(device_model(), curve=curve), (2, 1, 1, 1))
    known.height[:], known.shift[:] = height, shift
    return DeviceCurves(known, SHAPE), curve


def test_a_shifted_device_needs_so_much_more_current() -> None:
    one, curve = curves(shift=7.0)
    assert one.amplitude(np.array([10.0]), FIRST) == pytest.approx(curve.amplitude(np.array([10.0])) + 7.0)
    assert one.conductance(np.array([107.0]), FIRST) == pytest.approx(curve.conductance(np.array([100.0])))


def test_a_device_of_less_height_reaches_less_above_the_smallest_conductance() -> None:
    one, _ = curves(height=0.8)
    assert one.conductance(np.array([100.0]), FIRST) == pytest.approx(1.0 + 0.8 * 9.5)
    assert one.amplitude(np.array([1.0 + 0.8 * 9.5]), FIRST) == pytest.approx(100.0)


def test_the_variance_of_a_pulse_has_three_parts() -> None:
    one, _ = curves(midpoint_spread=2.0, height_spread=0.05, jitter=1.5)
    aim, before = np.full(SHAPE, 10.5), np.full(SHAPE, 4.5)  # half height: the slope is 19 / 4 / 10 uS/uA
    slope = 19.0 / 4 / 10.0
    expected = 0.5**2 + (slope * 1.5) ** 2 + (slope * 2.0) ** 2 + (0.05 * 6.0) ** 2
    assert one.pulse_variance(aim, before) == pytest.approx(expected)


def test_an_answer_moves_the_shift_by_the_share_of_the_variances() -> None:
    # A device that conducts what the curve has at 100 uA after a pulse of 110 uA is shifted by 10 uA, if it is
    # believed: 4 uA^2 of spread against jitter of 1 and (0.25 + 0.2) / slope^2 uA^2.
    one, _ = curves(midpoint_spread=2.0, jitter=1.0)
    half, slope = 10.5, 19.0 / 4 / 10.0
    one.learn(FIRST, np.array([110.0]), np.array([half]), np.array([0.2]))
    trust = 4.0 / (4.0 + 1.0 + 0.45 / slope**2)
    assert one.shift[:, 0, 0] == pytest.approx([trust * 10.0, 0.0])
    assert one.shift_variance[:, 0, 0] == pytest.approx([(1 - trust) * 4.0, 4.0])


def test_answers_to_many_pulses_agree_on_the_shift() -> None:
    one, curve = curves(midpoint_spread=5.0, jitter=1.0)
    rng = np.random.default_rng(0)
    for amplitude in rng.uniform(90.0, 110.0, 200):
        g = curve.conductance(np.array([amplitude + rng.normal() - 6.0]))
        one.learn(FIRST, np.array([amplitude]), g, np.array([0.0]))
    assert one.shift[0, 0, 0] == pytest.approx(6.0, abs=4 * one.shift_variance[0, 0, 0] ** 0.5)
    assert one.shift_variance[0, 0, 0] < 0.02


def test_the_variance_of_some_devices_is_that_among_all() -> None:
    one, _ = curves(jitter=2.0)
    rng = np.random.default_rng(0)
    one.shift_variance[:], one.height_variance[:] = rng.uniform(0, 9, SHAPE), rng.uniform(0, 0.01, SHAPE)
    aim, before = rng.uniform(2, 20, (2, *SHAPE))
    everywhere, at = one.pulse_variance(aim, before).reshape(-1), np.array([1])
    assert np.array_equal(one.pulse_variance(aim.reshape(-1)[at], before.reshape(-1)[at], at), everywhere[at])


def test_on_the_flat_top_an_answer_says_how_high_a_device_reaches() -> None:
    one, curve = curves(midpoint_spread=1.0, jitter=0.5, height_spread=0.05)
    assert one.reach()[0, 0, 0] == pytest.approx(20.0, rel=1e-3)  # the curve is flat where it begins to melt
    rng = np.random.default_rng(2)
    for amplitude in rng.uniform(40.0, 60.0, 30):
        g = 1.0 + 0.9 * (curve.conductance(np.array([amplitude])) - 1.0) + 0.5 * rng.standard_normal(1)
        one.learn(FIRST, np.array([amplitude]), g, np.array([0.0]))
    assert one.height[0, 0, 0] == pytest.approx(0.9, abs=4 * one.height_variance[0, 0, 0] ** 0.5)
    assert one.height_variance[0, 0, 0] < 0.01**2
    assert one.reach()[:, 0, 0] == pytest.approx([1.0 + 0.9 * 19.0, 20.0], abs=0.4)
