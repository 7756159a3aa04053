"""The compiled loops of the conductance filter give what the plain expressions of numpy give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.programming import filter_kernels
from hwloop.calibration.programming.device_statistics import DeviceStatistics, best_of_cells
from hwloop.calibration.programming.filter_kernels import Lookup, entry
from hwloop.calibration.programming.tables import Table, tabulated_drift
from hwloop.devices.drift import Aging
from hwloop.devices.model import DeviceModel
from hwloop.devices.time_law import POWER_LAW, TimeLaw
from hwloop.sim_backend.presets import PRESETS

pytestmark = pytest.mark.numerical

SHAPE = (4, 7, 5)
SIGN = np.array([1.0, 1.0, -1.0, -1.0])
SIDES = SIGN[:, None, None]


def model(law: TimeLaw = POWER_LAW) -> DeviceModel:
    device = PRESETS["hermes-core"]().device
    return replace(device, drift=replace(device.drift, law=law))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(8)


def drawn(rng: np.random.Generator, *shapes: tuple[int, ...], low: float = 0.1, high: float = 3.0) -> list[np.ndarray]:
    return [rng.uniform(low, high, shape) for shape in shapes]


@pytest.mark.parametrize("g", [-3.0, 0.0, 0.124, 0.126, 1.9, 100.0, np.inf])
def test_the_nearest_entry_of_a_table_is_taken_and_its_ends_beyond(g: float) -> None:
    values = np.linspace(5.0, 9.0, 17)
    place = int(np.clip(np.floor(g * 4.0 + 0.5), 0, 16))
    assert entry(Lookup(values, 4.0), g) == values[place]


def test_what_is_no_number_finds_an_entry_too() -> None:
    assert entry(Lookup(np.array([1.0, 2.0]), 1.0), float("nan")) == 2.0


def test_a_table_is_looked_up_by_conductance() -> None:
    table, g = Table.of(lambda g: 1.0 / (0.5 + g)), np.linspace(0.0, 80.0, 1000)
    found = [entry(table.lookup(20.0), one) for one in g]
    assert found == pytest.approx(table(g / 20.0), rel=1e-3)


LAWS = [POWER_LAW, TimeLaw(onset=0.5), TimeLaw(curvature=0.01), TimeLaw(bend=0.002)]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_weights_are_those_of_aged_devices_as_cells_show_them(law: TimeLaw, rng: np.random.Generator) -> None:
    device = model(law)
    g, age = rng.uniform(0.0, 20.0, SHAPE), 10.0 ** rng.uniform(-8.0, 6.0, SHAPE)
    drifts, sensitivity = rng.random(SHAPE) < 0.8, rng.uniform(0.5, 1.2, SHAPE[1:])
    weights, effect = DeviceStatistics(device, SIGN).weights(g, age, drifts, sensitivity)
    expected = np.where(drifts, Aging(tabulated_drift(device.drift)).factor(g, age), 1.0) * sensitivity
    assert effect == pytest.approx(expected, rel=1e-12)
    assert weights == pytest.approx((SIDES * g * expected).sum(0), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_unknown_drift_adds_the_squares_of_its_spreads(law: TimeLaw, rng: np.random.Generator) -> None:
    device = model(law)
    g, effect = drawn(rng, SHAPE, SHAPE, high=9.0)
    earlier, usable = rng.uniform(-5.0, 50.0, SHAPE), rng.random(SHAPE) < 0.8
    earlier[0, 0] = [1e-6, 1e-7, 0.0, -1.0, 2e-6]
    later = earlier + rng.uniform(6.0, 30.0, SHAPE)
    found = DeviceStatistics(device, SIGN).drift_variance(g, effect, (earlier, later), usable)
    spread = Aging(tabulated_drift(device.drift)).log_spread(g, earlier, later)
    expected = np.where(usable & (earlier > 1e-6), g * effect * spread, 0.0)
    assert found == pytest.approx((expected**2).sum(0), rel=1e-12)


def test_read_noise_adds_up_over_the_devices_of_a_cell(rng: np.random.Generator) -> None:
    device = model()
    g, effect = drawn(rng, SHAPE, SHAPE, high=9.0)
    statistics, q = DeviceStatistics(device, SIGN), Table.of(device.read_noise.q)
    own = g * q(g / device.read_noise.g_scale)
    assert statistics.flicker(g, effect) == pytest.approx(np.square(own * effect).sum(0), rel=1e-12)
    assert statistics.read_noise_power(g) == pytest.approx(own**2, rel=1e-12)


def test_a_correction_is_shared_as_variance_is(rng: np.random.Generator) -> None:
    g, variance, effect, top = drawn(rng, *(SHAPE,) * 4)
    variance[:, 0, 0] = 0.0  # nothing is unknown: nothing moves
    correction, trust = rng.normal(0.0, 4.0, SHAPE[1:]), rng.uniform(0.0, 1.0, SHAPE[1:])
    share = variance * effect**2 / np.maximum((variance * effect**2).sum(0), 1e-300)
    moved = np.clip(g + SIDES * share * correction / effect, 0.0, 2.0 * top)
    assert (moved == 0.0).any()
    assert (moved == 2.0 * top).any()
    narrowed = variance * (1.0 - trust * share)
    DeviceStatistics(model(), SIGN).move((g, variance), effect, top, correction, trust)
    assert g == pytest.approx(moved, rel=1e-12, abs=1e-12)
    assert variance == pytest.approx(narrowed, rel=1e-12)


def test_a_pulse_is_worth_the_error_it_takes_away_and_the_noise(rng: np.random.Generator) -> None:
    device = model()
    g, effect, top = drawn(rng, *(SHAPE,) * 3, high=9.0)
    error, closed, lowest, noise = rng.normal(0.0, 5.0, SHAPE[1:]), rng.random(SHAPE) < 0.3, 0.4, 12.0
    statistics = DeviceStatistics(device, SIGN)
    aim, won = statistics.prospects(g, effect, error, (lowest, top, closed), noise)
    wanted = g - SIDES * error / effect
    expected = np.clip(wanted, lowest, top)
    assert aim == pytest.approx(expected, rel=1e-12)
    quieter = noise * (statistics.read_noise_power(g) - statistics.read_noise_power(expected))
    left = (expected - wanted) * effect
    assert won[~closed] == pytest.approx((error**2 - left**2 + quieter * effect**2)[~closed], rel=1e-9, abs=1e-9)
    assert np.all(won[closed] == -np.inf)


def test_the_best_device_of_a_cell_is_the_first_of_those_worth_most(rng: np.random.Generator) -> None:
    worth = np.round(rng.uniform(0.0, 4.0, SHAPE), 1)  # some are alike
    worth[:, 0, 0] = np.nan
    every = np.where(np.isnan(worth), -np.inf, worth)
    expected = np.where(every.max(0) > 3.0, every.argmax(0), -1)
    devices = np.flatnonzero(rng.permutation(worth.size) >= 0)
    found = best_of_cells(devices, worth.reshape(-1), 3.0, SHAPE[1:])
    assert found.tolist() == expected.tolist()
    assert best_of_cells(devices[:0], np.zeros(0), 3.0, (2, 3)).tolist() == [[-1] * 3] * 2


def test_what_is_computed_is_the_same_without_a_compiler(rng: np.random.Generator) -> None:
    g, effect = drawn(rng, (4, 35), (4, 35))
    table, plain, made = Lookup(np.linspace(1.0, 2.0, 100), 30.0), np.empty(35), np.empty(35)
    kernel = filter_kernels.noise_powers
    kernel(g, effect, table, made)
    getattr(kernel, "py_func", kernel)(g, effect, table, plain)
    assert made == pytest.approx(plain, rel=1e-14)
