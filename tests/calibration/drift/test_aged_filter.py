"""The conductance filter of an aged tile: what it recalls, and what it finds worth a pulse, against sums by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hwloop.calibration.drift.aged_filter import AgedConductanceFilter, PulseLimits, known_then
from hwloop.calibration.drift.digital import ColumnAffine
from hwloop.calibration.drift.programmed_tile import ProgrammedTile
from hwloop.calibration.drift.strategy import uncompensated
from hwloop.chip.cell_calibration import Devices
from hwloop.devices.model import DeviceModel
from tests.calibration.drift.specimen import model_of, programmed, programmed_tile
from tests.conftest import OpenChip

pytestmark = pytest.mark.numerical

AGE = 20.0
"""Target age of pcm-90nm, seconds."""
CELL = (3, 2)
"""The cell whose error is made up."""


@pytest.fixture
def tile(open_chip: OpenChip) -> ProgrammedTile:
    """A GDP-programmed tile of 16 x 8 cells with one device per polarity."""
    return programmed_tile(programmed(open_chip("sim:pcm-90nm?rows=16&columns=8&seed=1")))


def filter_of(tile: ProgrammedTile, model: DeviceModel | None = None, pulses: int = 1000) -> AgedConductanceFilter:
    region = tile.region
    known = Devices.nominal(model or region.backend.info.device_model, region.shape)
    return AgedConductanceFilter(tile, known, PulseLimits(pulses, 8, min_gain=0.5))


# ---- what is recalled --------------------------------------------------------------------------------------------


def test_what_cells_held_lies_between_target_and_map_by_their_variances() -> None:
    target = np.zeros((3, 3))
    reached = np.array([[0.1, -0.2, 0.3], [-0.4, 0.5, -0.6], [0.7, -0.8, 0.9]])
    noise = np.full((3, 3), 0.2)
    missed = 0.25 / 0.4549 - 0.2  # the median square over that of a normal number, less the noise
    known, variance = known_then(target, reached, noise)
    assert known == pytest.approx(reached * missed / (missed + 0.2), rel=1e-9)
    assert variance == pytest.approx(np.full((3, 3), 0.2 * missed / (missed + 0.2)), rel=1e-9)
    # Without read noise the map is the truth; with more than the deviations, the target nearly is.
    assert known_then(target, reached, 0 * noise)[0] == pytest.approx(reached)
    assert known_then(target, reached, 10 * noise)[0] == pytest.approx(reached * 1e-4 / (2.0 + 1e-4), rel=1e-9)


def test_devices_are_as_old_as_their_last_pulse(tile: ProgrammedTile) -> None:
    pulsed = tile.region.last_pulse.reshape(2, 16, 8)
    known = np.isfinite(pulsed)
    tile.region.backend.wait(1e5)
    cells = filter_of(tile)
    assert cells._born[known] == pytest.approx(pulsed[known], abs=1e-6)
    assert cells._seen == pytest.approx(tile.origin.end + AGE)
    assert np.all(cells._amplitude[known] == tile.region.last_amplitude.reshape(2, 16, 8)[known])


def test_a_device_without_a_known_amplitude_counts_as_empty(tile: ProgrammedTile) -> None:
    amplitude = tile.pulses.amplitude.copy()
    amplitude[0, 0, 3, 2] = np.nan
    tile.pulses = dataclasses.replace(tile.pulses, amplitude=amplitude)
    cells = filter_of(tile)
    curve = cells._model.curve
    assert cells._amplitude[0, 3, 2] == pytest.approx(curve.midpoint + 8.0 * curve.steepness)


def test_the_cells_are_recalled_better_than_by_pulses_or_the_map_alone(open_chip: OpenChip) -> None:
    tile = programmed_tile(programmed(open_chip("sim:pcm-90nm?rows=128&columns=64&seed=1")))
    cells = filter_of(tile)
    state = np.array(tile.region.backend.export_state()["core0/g"]).reshape(2, 128, 64)  # at 20 s, the target age
    true = state[0] - state[1]

    def missed(seen: np.ndarray) -> float:
        return float(np.std(seen - true * (seen * true).sum() / (true**2).sum()))

    recalled = missed(cells._weights_at(tile.origin.end + AGE)[0])
    by_pulses = missed((cells._sign * np.asarray(cells._model.curve.conductance(cells._amplitude))).sum(0))
    # The figures of 8192 cells are good to 0.8 %.
    assert recalled < 0.3 * by_pulses
    assert recalled < 0.9 * missed(tile.pulses.reached)
    assert recalled < 1.05 * missed(tile.tile.target)
    # Devices alone, empty ones among them, are known by their pulses, whose noise is some 3 % of 25 uS.
    assert np.sqrt(np.mean((cells.g - state) ** 2)) < 0.75
    assert np.all(cells.variance > 0)
    assert np.all(cells._device_variance.sum(0) >= cells.variance - 1e-12)


def test_slow_noise_has_been_there_since_programming(tile: ProgrammedTile) -> None:
    """A process that is 1.5 target ages slow has had one to grow when the cells were seen."""
    cells = filter_of(tile)
    flicker = cells._statistics.flicker(cells.g, cells._weights_at(cells._seen)[1])
    grown = cells._noise.slow.spread(np.zeros(flicker.shape))
    assert grown == pytest.approx(np.log(10) * (1 - np.exp(-2 / 1.5)) * flicker, rel=0.02)


def test_a_correction_is_shared_as_the_variance_is_and_has_the_sign_of_its_polarity(tile: ProgrammedTile) -> None:
    cells = filter_of(tile)
    cells.g = np.full((2, 16, 8), 10.0)
    cells._device_variance = np.stack([np.full((16, 8), 3.0), np.full((16, 8), 1.0)])
    cells.variance = np.full((16, 8), 4.0)
    trust = np.full((16, 8), 0.5)
    cells._take_in(np.full((16, 8), 2.0), trust, np.ones((2, 16, 8)))
    assert np.all(cells.g[0] == 11.5)  # three quarters of 2 up
    assert np.all(cells.g[1] == 9.5)  # a quarter of 2 down, on the negative side
    assert np.all(cells.variance == 2.0)
    assert np.all(cells._device_variance[0] == 3.0 * (1 - 0.5 * 0.75))
    assert np.all(cells._device_variance[1] == 1.0 * (1 - 0.5 * 0.25))


# ---- what is worth a pulse ---------------------------------------------------------------------------------------


def weighed(cells: AgedConductanceFilter, error: float, *, old: float = 0.0, remaining: float = 0.0):
    """Weigh a pulse to each device of CELL when it is off by `error` uS and all devices have 10 uS and one age."""
    cells.g = np.full((2, 16, 8), 10.0)
    cells._left = cells.g.copy()
    cells._device_variance = np.full((2, 16, 8), 0.25)
    now = cells._region.backend.now()
    cells._born = np.full((2, 16, 8), now - old)
    errors = np.zeros((16, 8))
    errors[CELL] = error
    return cells._weigh(errors, np.ones((2, 16, 8)), now + remaining + AGE, remaining)


@pytest.mark.parametrize("error", [3.0, -3.0])
def test_a_pulse_is_worth_the_squared_error_less_its_own_noise(tile: ProgrammedTile, error: float) -> None:
    cells = filter_of(tile, model_of(nu=0.0))
    pulse = weighed(cells, error)
    # A cell that is too high is brought down on its positive side, or up on its negative one.
    assert pulse.aim[0][CELL] == pytest.approx(10.0 - error)
    assert pulse.aim[1][CELL] == pytest.approx(10.0 + error)
    assert np.abs(pulse.left).max() == pytest.approx(0.0, abs=1e-12)
    for polarity in (0, 1):
        variance = cells._pulse_variance(pulse.aim)[polarity][CELL]
        assert pulse.variance[polarity][CELL] == pytest.approx(variance)
        assert pulse.worth[polarity][CELL] == pytest.approx(error**2 - variance - 0.25)


def test_an_aim_out_of_reach_leaves_an_error(tile: ProgrammedTile) -> None:
    cells = filter_of(tile, model_of(nu=0.0))
    pulse = weighed(cells, 12.0)  # the positive device cannot go below zero
    g_min = cells._model.curve.g_min
    assert pulse.aim[0][CELL] == pytest.approx(g_min)
    assert pulse.left[0][CELL] == pytest.approx(g_min + 2.0)
    expected = 12.0**2 - (g_min + 2.0) ** 2 - cells._pulse_variance(pulse.aim)[0][CELL] - 0.25
    assert pulse.worth[0][CELL] == pytest.approx(expected)


def test_devices_that_have_had_their_pulses_are_left_alone(tile: ProgrammedTile) -> None:
    cells = filter_of(tile, model_of(nu=0.0))
    cells._spent[0][CELL] = 8
    worth = weighed(cells, 3.0).worth
    assert worth[0][CELL] == -np.inf
    assert worth[1][CELL] > 0


def test_a_pulse_sets_the_read_noise_of_an_old_device_back(tile: ProgrammedTile) -> None:
    cells, old, q = filter_of(tile, model_of(nu=0.0, q=0.03)), 1e6, 0.03
    pulse = weighed(cells, 3.0, old=old, remaining=5.0)
    loud, quiet = (q**2 * np.log((age + 250e-9) / 500e-9) for age in (old + 5.0 + AGE, 5.0 + AGE))
    variance = cells._pulse_variance(pulse.aim)[0][CELL]
    expected = 9.0 - variance - 0.25 + loud * 10.0**2 - quiet * 7.0**2
    assert pulse.read_noise[0][CELL] == pytest.approx(loud * 100.0)
    assert pulse.worth[0][CELL] == pytest.approx(expected)


def test_a_pulsed_device_drifts_anew(tile: ProgrammedTile) -> None:
    """100 s and the target age after its pulse it must be where it is wanted, and its own nu is not known before."""
    cells = filter_of(tile, model_of(nu=0.05, spread=0.02))
    pulse = weighed(cells, 3.0, remaining=100.0)
    young = ((100.0 + AGE) / 20.0) ** -0.05
    assert pulse.young[0][CELL] == pytest.approx(young)
    assert pulse.aim[0][CELL] == pytest.approx(7.0 / young)
    drift = 7.0 * 0.02 * np.log((100.0 + AGE) / 100.0)
    variance = cells._pulse_variance(pulse.aim)[0][CELL] * young**2
    assert pulse.worth[0][CELL] == pytest.approx(9.0 - variance - 0.25 - drift**2)


def test_pulses_go_where_they_are_worth_most_until_the_budget_is_spent(tile: ProgrammedTile) -> None:
    errors = np.zeros((16, 8))
    off = [(0, 0), (5, 3), (9, 7), (15, 1)]
    for k, cell in enumerate(off):
        errors[cell] = (k + 3) * (-1) ** k
    cells = filter_of(tile, model_of(nu=0.0), pulses=2)
    cells.g = np.maximum(cells._sign * (tile.tile.target + errors), 0.0) + 2.0
    cells._device_variance[:] = 0.01
    cells.variance[:] = 0.02
    plan = cells.plan(1.0, 0.0)
    assert {(int(row), int(column)) for row, column in zip(*plan.at[1:], strict=True)} == {(9, 7), (15, 1)}
    now = (cells._sign * cells.g).sum(0)
    gain = (now - plan.error)[tile.tile.target != 0] / tile.tile.target[tile.tile.target != 0]
    assert gain == pytest.approx(np.ones(gain.size), abs=0.2)
    # What the pulses take away of the expected squared error is what they are worth.
    assert plan.expected_error < plan.expected_without
    power = float((tile.tile.target**2).sum())
    assert plan.expected_without == pytest.approx(np.sqrt(((plan.error**2).sum() + 0.02 * 128) / power), rel=1e-9)

    sent, spent = cells.refresh(1.0, 0.0), tile.region.cost.pulses
    assert sent == 2
    for k, cell in enumerate(zip(*plan.at[1:], strict=True)):
        assert cells.variance[cell] == pytest.approx(0.02 + 0.01 + plan.pulse_variance[k])
        assert cells._device_variance[plan.at[0][k]][cell] == pytest.approx(plan.pulse_variance[k])
        assert cells._error[cell] == pytest.approx(plan.left[k])
        assert cells.g[plan.at[0][k]][cell] == pytest.approx(plan.aim[k])
    assert cells.refresh(1.0, 0.0) == 0
    assert tile.region.cost.pulses == spent


def test_the_scale_of_a_plan_moves_all_targets(tile: ProgrammedTile) -> None:
    cells = filter_of(tile, model_of(nu=0.0))
    cells.g = np.maximum(cells._sign * tile.tile.target, 0.0)
    low, high = cells.plan(0.8, 0.0), cells.plan(1.0, 0.0)
    # Cells that hold their targets are too high for four fifths of them.
    assert low.error == pytest.approx(0.2 * tile.tile.target, abs=1e-9)
    assert high.error == pytest.approx(0 * tile.tile.target, abs=1e-9)
    assert low.expected_without > high.expected_without


def test_the_forecast_goes_on_from_the_devices_as_they_are(tile: ProgrammedTile) -> None:
    backend = tile.region.backend
    backend.wait(1e5)
    cells = filter_of(tile, model_of(nu=0.05))
    made = ColumnAffine().make(tile, uncompensated(tile))
    forecast = cells.forecast(tile, made)
    assert forecast.born == pytest.approx(cells._born - tile.origin.end)
    assert forecast.target_age == tile.age
    assert forecast.devices == pytest.approx(cells.g * ((backend.now() - cells._born) / 20.0) ** -0.05)
    assert forecast.error == tile.probe_error(made, 256)
