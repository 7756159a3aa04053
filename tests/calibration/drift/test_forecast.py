"""Forecasts against closed forms and sampling."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hwloop.calibration.drift.forecast import Forecast
from hwloop.calibration.evaluation import relative_error
from hwloop.devices.drift import DriftModel
from hwloop.devices.model import DeviceModel
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.devices.statistics import Polynomial
from hwloop.devices.time_law import TimeLaw
from hwloop.errors import BadInputError
from tests.calibration.drift.specimen import (
    YEAR,
    forecast_of,
    model_of,
)


@pytest.mark.parametrize("age", [1.0, 20.0, 3600.0, YEAR])
def test_devices_without_spread_drift_by_one_power_law(age: float) -> None:
    forecast = forecast_of(model_of(nu=0.06))
    assert forecast.gain(age) == pytest.approx(np.full(20, (age / 20.0) ** 0.06), rel=1e-9)
    assert forecast.mvm_error(age, 1.0) == pytest.approx(abs(1 - (age / 20.0) ** -0.06), abs=1e-9)
    assert forecast.mvm_error(age) == pytest.approx(0.0, abs=1e-7)


def test_devices_of_unlike_ages_drift_unlike() -> None:
    forecast = forecast_of(model_of(nu=0.05))
    older = dataclasses.replace(forecast, born=np.full(forecast.devices.shape, -180.0))
    assert older.gain(1.0) == pytest.approx(np.full(20, (181.0 / 200.0) ** 0.05))


def test_the_expected_error_is_that_of_sampled_devices() -> None:
    model, age, target_age = model_of(nu=0.05, spread=0.02, q=0.01), 1e6, 20.0
    forecast = forecast_of(model)
    rng, errors, samples = np.random.default_rng(0), [], []
    target = forecast.devices[0] - forecast.devices[1]
    sigma = 0.01 * np.sqrt(np.log((age + 250e-9) / 500e-9))
    for _ in range(40):
        nu = 0.05 + 0.02 * rng.standard_normal(forecast.devices.shape)
        now = forecast.devices * (age / target_age) ** -nu * (1 + sigma * rng.standard_normal(nu.shape))
        cells = now[0] - now[1]
        errors.append(relative_error(cells, target))
        samples.append(cells)
    gain = (np.array(samples) * target).sum((0, 1)) / (np.array(samples) ** 2).sum((0, 1))
    fitted = [relative_error(gain * cells, target) for cells in samples]
    # 1200 cells each: the means of 40 samples scatter by 0.4 %. The forecast's gain starts from the calibration, whose
    # own read noise it includes.
    assert forecast.mvm_error(age, 1.0 / forecast._best_at_calibration) == pytest.approx(np.mean(errors), rel=0.02)
    assert forecast.mvm_error(age) == pytest.approx(np.mean(fitted), rel=0.02)


def test_a_compensation_valid_until_its_error_is_a_tenth_larger() -> None:
    forecast = forecast_of(model_of(nu=0.05, spread=0.01, q=0.01), error=0.06)
    gain = forecast.gain(3600.0)
    until = forecast.valid_until(3600.0, gain, 0.10)
    assert until > 3600.0
    assert forecast.mvm_error(until, gain) == pytest.approx(1.1 * forecast.mvm_error(3600.0, gain), rel=0.01)


def test_a_refreshed_tile_holds_as_long_as_a_new_one() -> None:
    """What matters is how old the cells are, not when the chip was programmed first."""
    new = forecast_of(model_of(nu=0.05, spread=0.01), error=0.05)
    refreshed = dataclasses.replace(new, born=new.born + YEAR, target_age=YEAR + 20.0)
    until = refreshed.valid_until(YEAR + 20.0, 1.0, 0.1) - YEAR
    assert until == pytest.approx(new.valid_until(20.0, 1.0, 0.1), rel=1e-3)


def test_what_does_not_drift_holds_for_ever() -> None:
    assert forecast_of(model_of(nu=0.0), error=0.05).valid_until(100.0, 1.0, 0.1) == np.inf


def test_nothing_is_predicted_before_programming() -> None:
    with pytest.raises(BadInputError, match="before the end of programming"):
        forecast_of(model_of(nu=0.05)).gain(0.0)


# ---- closed forms of one cell ------------------------------------------------------------------------------------


def one_cell(model: DeviceModel, error: float = 0.0, devices: tuple[float, ...] = (10.0, 0.0)) -> Forecast:
    """Forecast a single cell, pulsed at the end of programming and known at 20 s."""
    array = np.array(devices).reshape(-1, 1, 1)
    return Forecast(array, np.zeros(array.shape), 20.0, np.ones(1), model, error)


def test_at_the_target_age_the_gain_is_one_whatever_is_uncertain() -> None:
    forecast = forecast_of(model_of(nu=0.05, spread=0.02, q=0.02), error=0.08)
    assert forecast.gain(20.0) == pytest.approx(np.ones(20), rel=1e-12)
    assert np.all(forecast._best_at_calibration < 0.999)  # so that this says something


@pytest.mark.parametrize("age", [1.0, 3600.0, YEAR])
def test_spread_makes_the_factor_of_a_device_log_normal(age: float) -> None:
    """(t / t0)^-nu of a normal nu: mean exp(v / 2 - m), variance mean^2 (exp(v) - 1), v = (spread ln t / t0)^2."""
    forecast = one_cell(model_of(nu=0.06, spread=0.02))
    log_time = np.log(age / 20.0)
    v, mean = (0.02 * log_time) ** 2, np.exp((0.02 * log_time) ** 2 / 2 - 0.06 * log_time)
    assert forecast.mvm_error(age, 1.0) == pytest.approx(np.sqrt((mean - 1) ** 2 + mean**2 * np.expm1(v)), rel=1e-9)
    assert forecast.gain(age) == pytest.approx([1 / (mean * np.exp(v))], rel=1e-9)
    assert forecast.mvm_error(age) == pytest.approx(np.sqrt(-np.expm1(-v)), rel=1e-6)


def test_read_noise_grows_with_the_logarithm_of_age() -> None:
    forecast, age = one_cell(model_of(nu=0.0, q=0.02)), 1e5
    then, now = (0.02**2 * np.log((t + 250e-9) / 500e-9) for t in (20.0, age))
    assert forecast.gain(age) == pytest.approx([(1 + then) / (1 + now)], rel=1e-9)
    assert forecast.mvm_error(age) == pytest.approx(np.sqrt(now / (1 + now)), rel=1e-9)


def test_what_the_model_does_not_explain_of_the_measured_error_drifts_along() -> None:
    forecast = one_cell(model_of(nu=0.06), error=0.1)
    for age in (20.0, YEAR):
        assert forecast.mvm_error(age) == pytest.approx(np.sqrt(0.01 / 1.01), rel=1e-9)
    assert forecast.gain(YEAR) == pytest.approx([(YEAR / 20.0) ** 0.06], rel=1e-9)
    # Read noise explains a part of the error; what is left is the rest, and none where noise explains more.
    noise = 0.02**2 * np.log((20.0 + 250e-9) / 500e-9)
    explained = one_cell(model_of(nu=0.0, q=0.02), error=0.1)
    assert explained._deviations == pytest.approx(100.0 * (0.01 - noise), rel=1e-9)
    assert one_cell(model_of(nu=0.0, q=0.05), error=0.1)._deviations == 0.0


def test_of_an_error_that_was_not_measured_drift_and_read_noise_alone_are_known() -> None:
    model = model_of(nu=0.05, spread=0.02, q=0.01)
    unknown, explained = one_cell(model, error=float("nan")), one_cell(model, error=0.0)
    for age in (20.0, 1e4, 1e6):
        assert unknown.mvm_error(age) == explained.mvm_error(age) > 0
        assert unknown.gain(age) == pytest.approx(explained.gain(age))
    assert unknown.valid_until(100.0, 1.0, 0.1) == explained.valid_until(100.0, 1.0, 0.1) < 1e9


def test_statistics_are_those_at_the_conductance_of_a_device() -> None:
    """10 of 25 uS: nu 0.02 + 0.1 g = 0.06 and Q 0.01 + 0.025 g = 0.02; spread 0.05 g = 0.02."""
    drift = DriftModel(20.0, 25.0, Polynomial((0.02, 0.1)), Polynomial((0.0, 0.05)))
    noise = ReadNoiseModel(250e-9, 25.0, Polynomial((0.01, 0.025)))
    found = one_cell(dataclasses.replace(model_of(0.0), drift=drift, read_noise=noise))
    known = one_cell(model_of(nu=0.06, spread=0.02, q=0.02))
    assert found.gain(1e5) == pytest.approx(known.gain(1e5), rel=1e-9)
    assert found.mvm_error(1e5) == pytest.approx(known.mvm_error(1e5), rel=1e-9)


def test_devices_of_a_cell_add_up_by_polarity() -> None:
    """8 - 2 of which each drifts alike: 6, with the squared noise of 8 and of 2."""
    forecast, noise = one_cell(model_of(nu=0.0, q=0.02), devices=(8.0, 2.0)), 0.02**2 * np.log((20 + 250e-9) / 500e-9)
    assert forecast.mvm_error(20.0, 1.0 / forecast._best_at_calibration) == pytest.approx(
        np.sqrt((8**2 + 2**2) * noise) / 6, rel=1e-9
    )


def test_columns_count_by_their_weights() -> None:
    """Only the second column, of three times the weight per uS, drifts away from its targets."""
    devices = np.array([[[10.0, 10.0]], [[0.0, 0.0]]])
    forecast = Forecast(devices, np.zeros(devices.shape), 20.0, np.array([1.0, 3.0]), model_of(nu=0.1), 0.0)
    left = 1 - (1e4 / 20.0) ** -0.1
    found = forecast.mvm_error(1e4, np.array([(1e4 / 20.0) ** 0.1, 1.0]))
    assert found == pytest.approx(np.sqrt(9 / 10) * left, rel=1e-9)


@pytest.mark.parametrize("age", [3600.0, YEAR])
def test_inputs_with_a_mean_see_what_drift_takes_off_as_an_offset(age: float) -> None:
    """Small conductances drift more, so the outputs for the mean input move, and columns are brought back to it."""
    drift = DriftModel(20.0, 25.0, Polynomial((0.08, -0.06)), Polynomial((0.0,)))
    forecast = forecast_of(dataclasses.replace(model_of(0.0), drift=drift))
    inputs = 0.5 + 0.2 * np.random.default_rng(3).standard_normal((400, 60))
    now = forecast.devices * (age / 20.0) ** -(0.08 - 0.06 * forecast.devices / 25.0)
    wanted, found = (inputs @ (cells[0] - cells[1]) for cells in (forecast.devices, now))
    gain, offset = forecast.correction(age, inputs)
    best = [np.polyfit(found[:, k], wanted[:, k], 1) for k in range(20)]
    assert np.stack([gain, offset], 1) == pytest.approx(np.array(best), rel=1e-6, abs=1e-6)
    alone = np.linalg.norm(found * forecast.gain(age) - wanted)
    assert np.linalg.norm(found * gain + offset - wanted) < 0.5 * alone


def test_inputs_without_a_mean_need_no_offset() -> None:
    forecast = forecast_of(model_of(nu=0.05, spread=0.01, q=0.01), error=0.05)
    gain, offset = forecast.correction(YEAR, np.concatenate([np.eye(60), -np.eye(60)]))
    assert gain == pytest.approx(forecast.gain(YEAR), rel=1e-9)
    assert offset == pytest.approx(np.zeros(20), abs=1e-9)


@pytest.mark.parametrize("refreshed", [0.0, YEAR])
@pytest.mark.parametrize("age", [20.0, 500.0, 3e4])
def test_the_end_of_validity_is_found_between_the_steps_of_its_grid(age: float, refreshed: float) -> None:
    known = forecast_of(model_of(nu=0.05, spread=0.01, q=0.005), error=0.05)
    forecast = dataclasses.replace(known, born=known.born + refreshed, target_age=refreshed + 20.0)
    gain = forecast.gain(refreshed + age)
    found = forecast.valid_until(refreshed + age, gain, 0.1) - refreshed
    fine = dataclasses.replace(forecast, grid=20_000).valid_until(refreshed + age, gain, 0.1) - refreshed
    assert forecast.mvm_error(refreshed + fine, gain) == pytest.approx(
        1.1 * forecast.mvm_error(refreshed + age, gain), rel=1e-5
    )
    # A step of the grid is a factor of two; the error's bend within it is worth some per cent of time.
    assert found == pytest.approx(fine, rel=0.08)
    assert found > age


def test_there_is_no_read_noise_before_a_read_is_over() -> None:
    """Below t_read the logarithm would be negative."""
    forecast = one_cell(model_of(nu=0.0, q=0.02))
    assert forecast.mvm_error(1.5e-6, 1.0 / forecast._best_at_calibration) > 0
    assert forecast.mvm_error(2.4e-7, 1.0 / forecast._best_at_calibration) > 0  # devices are a microsecond old at least
    slow = dataclasses.replace(forecast.model.read_noise, t_read=1.0)
    forecast = dataclasses.replace(forecast, model=dataclasses.replace(forecast.model, read_noise=slow))
    assert forecast.mvm_error(0.5, 1.0 / forecast._best_at_calibration) == 0.0


def test_devices_count_as_a_microsecond_old_at_least() -> None:
    known = one_cell(model_of(nu=0.05))
    later = dataclasses.replace(known, born=known.born + 10.0)
    assert later.gain(5.0) == pytest.approx([(1e-6 / 10.0) ** 0.05])


def test_a_tile_without_weights_needs_no_gain_and_has_no_error() -> None:
    empty = one_cell(model_of(nu=0.05), devices=(0.0, 0.0))
    assert empty.gain(1e5).tolist() == [1.0]
    assert np.isnan(empty.mvm_error(1e5))
    assert dataclasses.replace(empty, error=0.1, scale=np.zeros(1))._deviations == 0.0


@pytest.mark.parametrize("age", [3.0, 500.0, 1e5])
def test_drift_may_have_an_onset_and_bend(age: float) -> None:
    """ln G falls by nu (y + 0.05 y^2) + 0.003 y^2 with y = ln((t / t0 + 2) / 3), from where it was at 20 s."""
    law = TimeLaw(onset=2.0, curvature=0.05, bend=0.003)
    drift = DriftModel(1.0, 25.0, Polynomial((0.06,)), Polynomial((0.0,)), law=law)
    forecast = one_cell(dataclasses.replace(model_of(0.0), drift=drift))
    now, then = (np.log((t + 2.0) / 3.0) for t in (age, 20.0))
    lost = 0.06 * (now - then + 0.05 * (now**2 - then**2)) + 0.003 * (now**2 - then**2)
    assert forecast.gain(age) == pytest.approx([np.exp(lost)])
    assert forecast.mvm_error(age, 1.0) == pytest.approx(abs(1.0 - np.exp(-lost)))


def test_small_weights_and_small_inputs_are_as_good_as_large_ones() -> None:
    small = dataclasses.replace(one_cell(model_of(nu=0.06), devices=(0.2, 0.0)), scale=np.array([1e-3]))
    assert small.mvm_error(1e5, 1.0) == pytest.approx(1 - (1e5 / 20.0) ** -0.06)
    forecast, inputs = forecast_of(model_of(nu=0.05, spread=0.01)), np.random.default_rng(1).random((200, 60))
    gain, offset = forecast.correction(YEAR, inputs)
    fainter = forecast.correction(YEAR, 1e-4 * inputs)
    assert fainter[0] == pytest.approx(gain)
    assert fainter[1] == pytest.approx(1e-4 * offset)


def test_a_column_without_weights_needs_no_correction() -> None:
    devices = np.array([[[10.0, 0.0], [4.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    forecast = Forecast(devices, np.zeros(devices.shape), 20.0, np.ones(2), model_of(nu=0.05), 0.0)
    gain, offset = forecast.correction(1e5, np.random.default_rng(1).random((50, 2)))
    assert gain == pytest.approx([(1e5 / 20.0) ** 0.05, 1.0])
    assert offset == pytest.approx([0.0, 0.0], abs=1e-12)


def test_a_column_that_has_turned_round_is_not_turned_back() -> None:
    """10 - 9 uS of which the larger one falls faster: what is left has the other sign, and no factor mends that."""
    drift = DriftModel(20.0, 25.0, Polynomial((-0.4, 1.2)), Polynomial((0.0,)))  # 0.08 and 0.032
    forecast = one_cell(dataclasses.replace(model_of(0.0), drift=drift), devices=(10.0, 9.0))
    forecast = dataclasses.replace(forecast, scale=np.array([3.0]))
    left = 10 * (1e5 / 20.0) ** -0.08 - 9 * (1e5 / 20.0) ** -0.032
    assert left < -1
    inputs = np.array([[0.2], [0.8]])
    gain, offset = forecast.correction(1e5, inputs)
    assert gain == pytest.approx([1.0])
    assert offset == pytest.approx([3.0 * 0.5 * (1.0 - left)])


def test_what_is_not_explained_is_shared_among_cells_by_their_weights() -> None:
    """Squared error of a hundredth of 10^2 + (3 * 2)^2, over weights of 1 and 9 of one row."""
    devices = np.array([[[10.0, 2.0]], [[0.0, 0.0]]])
    forecast = Forecast(devices, np.zeros(devices.shape), 20.0, np.array([1.0, 3.0]), model_of(nu=0.05), 0.1)
    assert forecast._deviations == pytest.approx(0.01 * (100.0 + 36.0) / 10.0)


def test_the_youngest_devices_set_the_pace_of_the_search() -> None:
    """Of a tile a year old half is a minute old: its validity ends soon, and is found as closely as on a new tile."""
    known = forecast_of(model_of(nu=0.05, spread=0.01), error=0.05)
    born = known.born.copy()
    born[:, ::2] += YEAR
    forecast = dataclasses.replace(known, born=born, target_age=YEAR + 20.0)
    found = forecast.valid_until(YEAR + 20.0, 1.0, 0.1) - YEAR
    fine = dataclasses.replace(forecast, grid=20_000).valid_until(YEAR + 20.0, 1.0, 0.1) - YEAR
    assert 20.0 < fine < 86400.0
    assert found == pytest.approx(fine, rel=0.08)


def test_small_conductances_drift_like_large_ones() -> None:
    assert one_cell(model_of(nu=0.06), devices=(0.2, 0.0)).gain(1e5) == pytest.approx([(1e5 / 20.0) ** 0.06])
