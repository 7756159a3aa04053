"""The compiled loops over pulses give what the plain expressions of numpy give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.programming.cell_gains import column_medians, column_multiples, robust_multiple
from hwloop.calibration.programming.device_curves import SMALLEST, DeviceCurves, DeviceIndex, indices
from hwloop.calibration.programming.device_statistics import DeviceStatistics
from hwloop.calibration.programming.pulse_kernels import Known
from hwloop.calibration.programming.redraw import RedrawTable, cost_of_pulse
from hwloop.calibration.programming.tables import tabulated_drift
from hwloop.chip.cell_calibration import Devices
from hwloop.devices.drift import Aging
from hwloop.sim_backend.presets import PRESETS

pytestmark = pytest.mark.numerical

SHAPE = (4, 6, 5)
DEVICE = PRESETS["hermes-core"]().device
DEVICE = replace(DEVICE, curve=replace(DEVICE.curve, relative_noise=0.05))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def curves(rng: np.random.Generator) -> DeviceCurves:
    """Return curves of which some are known well and others hardly."""
    made = DeviceCurves(Devices.nominal(DEVICE, (2, 2, *SHAPE[1:])), SHAPE)
    made.shift[:], made.shift_variance[:] = rng.normal(0.0, 5.0, SHAPE), rng.uniform(0.0, 30.0, SHAPE)
    made.height[:], made.height_variance[:] = rng.normal(1.0, 0.1, SHAPE), rng.uniform(0.0, 0.01, SHAPE)
    return made


def plainly(one: DeviceCurves, at: DeviceIndex, amplitude: np.ndarray, g: np.ndarray, variance: np.ndarray) -> tuple:
    """Compute shifts, heights and their variances as Kalman filters, one after the other."""
    curve, height = one.nominal, one.height[at]
    prior, tall = one.shift_variance[at], one.height_variance[at]
    seen = amplitude - curve.amplitude(curve.g_min + (g - curve.g_min) / height)
    own = curve.flat_variance(g) + variance
    spread = curve.jitter**2 + (own + tall * (g - curve.g_min) ** 2) / curve.slope(g) ** 2
    trust = prior / np.maximum(prior + spread, 1e-300)
    shift, left = one.shift[at] + trust * (seen - one.shift[at]), (1.0 - trust) * prior
    above = curve.conductance(amplitude - shift) - curve.g_min
    unknown = own + curve.slope(above + curve.g_min) ** 2 * (curve.jitter**2 + left)
    trust = tall * above / np.maximum(tall * above**2 + unknown, 1e-300)
    grown = np.maximum(height + trust * (g - curve.g_min - height * above), SMALLEST)
    return shift, left, grown, (1.0 - trust * above) * tall


def test_curves_are_learnt_as_by_numpy(rng: np.random.Generator) -> None:
    one = curves(rng)
    at = indices(rng.random(SHAPE) < 0.7)
    n = len(at[0])
    amplitude = rng.uniform(one.nominal.melt, 2.0 * one.nominal.midpoint, n)
    g, variance = rng.uniform(0.0, 1.1 * one.nominal.g_max, n), rng.uniform(0.0, 4.0, n)
    one.height[at[0][0], at[1][0], at[2][0]] = 1e-3  # learns to be no smaller than the smallest
    g[0] = 0.0
    names = ("shift", "shift_variance", "height", "height_variance")
    before = [getattr(one, name).copy() for name in names]
    expected = plainly(one, at, amplitude, g, variance)
    one.learn(at, amplitude, g, variance)
    others = np.ones(SHAPE, bool)
    others[at] = False
    for name, was, becomes in zip(names, before, expected, strict=True):
        found = getattr(one, name)
        assert found[at] == pytest.approx(becomes, rel=1e-9, abs=1e-12)
        assert np.array_equal(found[others], was[others])


@pytest.mark.parametrize(("remaining", "rounds"), [(30.0, 4), (0.0, 0), (500.0, 30)])
def test_what_pulses_cost_is_computed_as_by_numpy(remaining: float, rounds: int, rng: np.random.Generator) -> None:
    one, price, most, age = curves(rng), 0.3, 8, 60.0
    g, aim, effect, own = (rng.uniform(0.1, 9.0, SHAPE) for _ in range(4))
    unresolved, spent = rng.uniform(0.01, 2.0, SHAPE[1:]), rng.integers(0, most + 1, SHAPE).astype(np.int32)
    own[0, 0, 0] = unresolved[0, 0] = 0.0
    at = np.flatnonzero(rng.random(SHAPE) < 0.8)
    table, ages = RedrawTable(10), (max(remaining, 0.01 * age), remaining + age)
    flat = (of.reshape(-1) for of in (g, own, one.height_variance, one.shift_variance, unresolved, spent))
    noise, lost = DeviceStatistics(DEVICE, np.array([1.0, 1.0, -1.0, -1.0])).costs(
        (at, aim.reshape(-1), effect.reshape(-1)), Known(*flat), one.nominal, ages, table.after(rounds, most, price)
    )
    shows = effect.flat[at] ** 2
    expected = one.pulse_variance(aim, g).flat[at] * shows
    assert noise == pytest.approx(expected, rel=1e-12)
    drift = aim.flat[at] * effect.flat[at] * Aging(tabulated_drift(DEVICE.drift)).log_spread(aim.flat[at], *ages)
    seen_with = np.broadcast_to(unresolved / (rounds + 1), SHAPE).flat[at]
    left = np.minimum(rounds, most - 1 - spent.flat[at])
    cost = cost_of_pulse(table, left, expected + own.flat[at] * shows, seen_with, price)
    assert lost == pytest.approx(drift**2 + cost, rel=1e-12)


def test_multiples_of_columns_are_those_of_the_robust_fit(rng: np.random.Generator) -> None:
    reference = rng.normal(size=(64, 9))
    values = reference * np.linspace(0.5, 1.5, 9) + 0.1 * rng.standard_t(2, size=reference.shape)
    reference[:, 3] = 0.0
    found = column_multiples(reference, values)
    assert found == pytest.approx(robust_multiple(reference, values, axis=0)[0], rel=1e-12)
    assert found[3] == 1.0
    assert column_multiples(reference.T[:9], values.T[:9]).shape == (64,)


@pytest.mark.parametrize("vectors", [1, 2, 7, 64])
def test_medians_of_columns_are_those_of_numpy(vectors: int, rng: np.random.Generator) -> None:
    values = rng.normal(size=(vectors, 12))
    assert np.array_equal(column_medians(values), np.median(values, axis=0))
