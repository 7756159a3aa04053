"""Compensations against injected truth, forecasts against closed forms and sampling, the monitor against what comes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.calibration.drift.base import (
    Compensation,
    CompensationWarning,
    ProgrammedTile,
    Pulsed,
    Strategy,
    chain,
    uncompensated,
)
from hwloop.calibration.drift.digital import ColumnAffine, GlobalFactor, Uncompensated
from hwloop.calibration.drift.forecast import Forecast
from hwloop.calibration.drift.monitor import learn_growth, predict_crossing
from hwloop.calibration.drift.predictive import Predicted
from hwloop.calibration.drift.refresh import Refresh, RefreshSettings
from hwloop.calibration.evaluation import relative_error
from hwloop.calibration.probes import uniform_inputs
from hwloop.chip.info import Capability
from hwloop.devices.drift import DriftModel
from hwloop.devices.model import DeviceModel
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.devices.statistics import Polynomial
from hwloop.errors import BadInputError, MissingCapabilityError
from hwloop.files import hdf5
from hwloop.jobs.program import Run, program
from hwloop.mapping.columns import ColumnCorrection
from tests.conftest import OpenChip, gaussian

IDEAL = "sim:pcm-ideal?rows=32&columns=16&adc_bits=20"
NOISY = "sim:hermes-core?rows=64&columns=64"
YEAR = 3.156e7


def programmed(chip: hwloop.Backend, method: str = "gdp", seed: int = 0) -> Run:
    rows, columns = chip.info.rows, chip.info.columns
    return program(chip, hwloop.matrices({"w": gaussian(columns, rows, seed)}), method, seed=seed)


def held_of(
    run: Run, *, probes: int = 256, seed: int = 1, correction: ColumnCorrection | None = None
) -> ProgrammedTile:
    """The one tile of a run, as `hwloop drift` holds it."""
    (item,) = run.tiles
    region, info = item.region, item.region.backend.info
    age = (run.programmed_at - region.last_pulse).reshape(region.shape)
    devices = item.tile.device_targets(info).reshape(-1, *item.tile.target.shape)
    born = -np.nan_to_num(age).reshape(devices.shape)
    forecast = Forecast(devices, born, run.age, item.tile.scale, info.device_model, run.mvm_error)
    pulsed = Pulsed(age, region.last_amplitude.reshape(region.shape).copy(), item.reached)
    known = correction or item.correction
    return ProgrammedTile(region, item.tile, known, run.programmed_at, run.age, (seed, 0, 4), forecast, pulsed, probes)


def error_of(held: ProgrammedTile, made: Compensation, seed: int = 99) -> float:
    top = held.region.backend.info.input_max
    x = uniform_inputs(np.random.default_rng(seed), 1024, held.tile.place.rows, top)
    return relative_error(made.apply(held.outputs(x)), (x / top) @ held.tile.weights)


def error_at(held: ProgrammedTile, age: float) -> float:
    """MVM error at an age, with the columns compensated then."""
    held.region.backend.wait(age - held.age)
    return error_of(held, ColumnAffine().make(held, uncompensated(held)), seed=int(age))


def model_of(nu: float, spread: float = 0.0, q: float = 0.0) -> DeviceModel:
    """Devices that all drift with the same statistics, whatever their conductance."""
    drift = DriftModel(20.0, 25.0, Polynomial((nu,)), Polynomial((spread,)))
    noise = ReadNoiseModel(250e-9, 25.0, Polynomial((q,)))
    curve = hwloop.connect("sim:pcm-90nm").info.device_model.curve
    return DeviceModel(curve, drift, noise)


def forecast_of(model: DeviceModel, error: float = 0.0, calibrated: float = 20.0) -> Forecast:
    """A 60 x 20 tile with one device per polarity, pulsed at the end of programming."""
    target = gaussian(20, 60).T * 5.0
    devices = np.stack([np.maximum(target, 0), np.maximum(-target, 0)])
    return Forecast(devices, np.zeros(devices.shape), calibrated, np.ones(20), model, error)


# ---- injected truth ----------------------------------------------------------------------------------------------


def test_a_factor_on_all_outputs_is_found(open_chip: OpenChip) -> None:
    run = programmed(open_chip(IDEAL), "exact")
    true = run.tiles[0].correction
    held = held_of(run, correction=ColumnCorrection(true.gain / 0.8, true.offset / 0.8))
    made = GlobalFactor().make(held, uncompensated(held))
    # 20-bit converters and 8-bit inputs that are known exactly leave nothing but rounding.
    assert made.gain == pytest.approx(np.full(16, 0.8), rel=1e-5)
    assert not made.offset.any()


def test_gain_and_offset_of_every_column_are_found(open_chip: OpenChip) -> None:
    run = programmed(open_chip(IDEAL), "exact")
    true, rng = run.tiles[0].correction, np.random.default_rng(3)
    gain, offset = 1.0 + 0.05 * rng.standard_normal(16), 0.3 * rng.standard_normal(16)
    # outputs = (truth - offset) / gain, so that the compensation must be (gain, offset) again
    held = held_of(run, correction=ColumnCorrection(true.gain / gain, (true.offset - offset) / gain))
    made = ColumnAffine().make(held, uncompensated(held))
    assert made.gain == pytest.approx(gain, rel=1e-4)
    assert made.offset == pytest.approx(offset, abs=1e-3)


def test_few_probes_do_not_make_columns_worse_than_the_global_factor(open_chip: OpenChip) -> None:
    chip = open_chip(NOISY + "&seed=2")
    run = programmed(chip)
    chip.wait(86400.0)
    columns, raw = [], []
    for seed in range(12):
        held = held_of(run, probes=8, seed=seed)
        common = GlobalFactor().make(held, uncompensated(held))
        made = ColumnAffine().make(held, uncompensated(held))
        now, then = held.probe()
        # The plain fit of each column, which eight vectors cannot support.
        gain, offset = np.array([np.polyfit(now[:, j], then[:, j], 1) for j in range(64)]).T
        alone = dataclasses.replace(made, gain=gain, offset=offset)
        columns.append(error_of(held, made) / error_of(held, common))
        raw.append(error_of(held, alone) / error_of(held, common))
    # The mean of twelve trials, each scattering by some 0.5 %: 3 sigma are 0.4 %.
    assert np.mean(columns) < 1.004
    assert np.mean(raw) > 1.05


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("preset", ["hermes-core", "pcm-90nm"])
def test_the_order_of_compensations_at_every_age(open_chip: OpenChip, preset: str, seed: int) -> None:
    chip = open_chip(f"sim:{preset}?rows=64&columns=64&seed={seed}")
    run = programmed(chip, seed=seed)
    for wait in (3600.0, 86400.0, YEAR):
        chip.wait(wait)
        held = held_of(run)
        none = uncompensated(held)
        error = {s.name: error_of(held, s.make(held, none)) for s in (GlobalFactor(), ColumnAffine(), Predicted())}
        # All see other read noise of the same outputs: 1/sqrt(2 * 1024 * 64) = 0.3 % each, 3 sigma of a ratio 1.2 %.
        assert error["global"] < error_of(held, none)
        assert error["column"] <= error["global"] * 1.012
        assert error["predictive"] <= error["global"] * 1.10


# ---- forecasts ---------------------------------------------------------------------------------------------------


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
    model, age, calibrated = model_of(nu=0.05, spread=0.02, q=0.01), 1e6, 20.0
    forecast = forecast_of(model)
    rng, errors, samples = np.random.default_rng(0), [], []
    target = forecast.devices[0] - forecast.devices[1]
    sigma = 0.01 * np.sqrt(np.log((age + 250e-9) / 500e-9))
    for _ in range(40):
        nu = 0.05 + 0.02 * rng.standard_normal(forecast.devices.shape)
        now = forecast.devices * (age / calibrated) ** -nu * (1 + sigma * rng.standard_normal(nu.shape))
        cells = now[0] - now[1]
        errors.append(relative_error(cells, target))
        samples.append(cells)
    gain = (np.array(samples) * target).sum((0, 1)) / (np.array(samples) ** 2).sum((0, 1))
    fitted = [relative_error(gain * cells, target) for cells in samples]
    # 1200 cells each: the means of 40 samples scatter by 0.4 %. The forecast's gain starts from the calibration, whose
    # own read noise it includes.
    assert forecast.mvm_error(age, 1.0 / forecast._best_at_calibration) == pytest.approx(np.mean(errors), rel=0.02)
    assert forecast.mvm_error(age) == pytest.approx(np.mean(fitted), rel=0.02)


def test_a_compensation_holds_until_its_error_is_a_tenth_larger() -> None:
    forecast = forecast_of(model_of(nu=0.05, spread=0.01, q=0.01), error=0.06)
    gain = forecast.gain(3600.0)
    until = forecast.holds_until(3600.0, gain, 0.10)
    assert until > 3600.0
    assert forecast.mvm_error(until, gain) == pytest.approx(1.1 * forecast.mvm_error(3600.0, gain), rel=0.01)


def test_a_refreshed_tile_holds_as_long_as_a_new_one() -> None:
    """What matters is how old the cells are, not when the chip was programmed first."""
    new = forecast_of(model_of(nu=0.05, spread=0.01), error=0.05)
    refreshed = dataclasses.replace(new, born=new.born + YEAR, calibrated=YEAR + 20.0)
    until = refreshed.holds_until(YEAR + 20.0, 1.0, 0.1) - YEAR
    assert until == pytest.approx(new.holds_until(20.0, 1.0, 0.1), rel=1e-3)


def test_what_does_not_drift_holds_for_ever() -> None:
    assert forecast_of(model_of(nu=0.0), error=0.05).holds_until(100.0, 1.0, 0.1) == np.inf


def test_nothing_is_foretold_before_programming() -> None:
    with pytest.raises(BadInputError, match="before the end of programming"):
        forecast_of(model_of(nu=0.05)).gain(0.0)


# ---- refresh -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["hermes-core", "pcm-90nm"])
def test_a_refresh_after_a_year_is_as_good_as_programming_with_a_third_of_the_pulses(
    open_chip: OpenChip, preset: str
) -> None:
    ratios, shares = [], []
    for seed in (1, 2):
        chip = open_chip(f"sim:{preset}?rows=128&columns=64&seed={seed}")
        run = programmed(chip, seed=seed)
        chip.wait(YEAR)
        aged = chip.export_state()
        held = held_of(run)
        made = Refresh().make(held, uncompensated(held))
        refreshed = error_of(held, made)
        chip.import_state(aged)
        again = programmed(chip, seed=seed)
        ratios.append(refreshed / again.mvm_error)
        shares.append(made.pulses / held.region.size / again.tiles[0].pulses.mean())
    # An error of 8192 cells scatters by 0.8 %, the mean of two ratios by 0.8 %: 3 sigma.
    assert np.mean(ratios) < 1.024
    assert max(shares) < 1 / 3


def test_a_refresh_never_reads_a_device_and_keeps_its_budget(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?rows=64&columns=32&seed=3")
    run = programmed(chip)
    chip.wait(YEAR)
    held, before = held_of(run), chip.counts
    made = Refresh(RefreshSettings(pulses_per_device=0.1)).make(held, uncompensated(held))
    spent = chip.counts - before
    assert spent.device_reads == 0
    assert (made.pulses, made.mvms) == (spent.pulses, spent.mvms)
    assert 0 < made.pulses <= 0.1 * held.region.size


def test_a_fresh_tile_is_not_pulsed(open_chip: OpenChip) -> None:
    chip = open_chip(NOISY + "&seed=1")
    held = held_of(programmed(chip))
    before = chip.counts
    made = Refresh().make(held, uncompensated(held))
    assert made.pulses == (chip.counts - before).pulses == 0


def test_a_refresh_needs_a_record_of_programming(open_chip: OpenChip) -> None:
    held = held_of(programmed(open_chip(NOISY)))
    held.pulsed = None
    with pytest.raises(BadInputError, match="no record of them"):
        Refresh().check(held)


# ---- the monitor -------------------------------------------------------------------------------------------------


class Ageing:
    """A GDP-programmed core of 128 x 64 cells and its MVM error, compensated anew at every age."""

    def __init__(self, chip: hwloop.Backend, strategy: Strategy, seed: int) -> None:
        self.run, self._chip, self._strategy = programmed(chip, seed=seed), chip, strategy

    def error(self, age: float) -> float:
        held = held_of(self.run)
        self._chip.wait(age - held.age)
        return error_of(held, self._strategy.make(held, uncompensated(held)), seed=int(age))

    def expected(self, age: float) -> float:
        gain = 1.0 if self._strategy.name == "none" else None
        return held_of(self.run).forecast.mvm_error(age, gain)


@pytest.mark.parametrize("with_model", [True, False])
@pytest.mark.parametrize("strategy", [Uncompensated(), GlobalFactor()])
def test_the_monitor_finds_the_age_at_which_the_limit_is_passed(
    open_chip: OpenChip, strategy: Strategy, with_model: bool
) -> None:
    inside, ratios = 0, []
    for seed in range(5):
        core = Ageing(open_chip(f"sim:hermes-core?rows=128&columns=64&seed={seed}"), strategy, seed)
        ages = [400.0, 900.0, 2000.0, 5000.0]
        errors = [core.error(age) for age in ages]
        limit = 1.35 * errors[-1]
        found = predict_crossing(limit, ages, errors, core.run.age, core.expected if with_model else None)
        passed = next(age for age in np.geomspace(6000.0, 3e8, 49) if core.error(float(age)) > limit)
        # The actual age is known to within the 25 % between two looks.
        inside += found.earliest / 1.25 < passed < found.latest * 1.25
        ratios.append(np.log(found.age / passed))
    # At least four of five 95 % intervals: 97.7 %.
    assert inside >= 4
    assert abs(np.mean(ratios)) < np.log(2.0)


def test_the_monitor_goes_on_after_a_refresh(open_chip: OpenChip) -> None:
    """What was measured before the refresh narrows the interval, which is counted from the last pulses."""
    inside, widths = 0, []
    for seed in range(3):
        core = Ageing(open_chip(f"sim:hermes-core?rows=128&columns=64&seed={seed}"), ColumnAffine(), seed)
        month = 30 * 86400.0
        before = [core.run.age, month], [core.run.mvm_error, core.error(month)], core.run.age
        held = held_of(core.run)
        known = learn_growth(*before, held.forecast.mvm_error).after_refresh()
        Refresh().make(held, uncompensated(held))
        refreshed = held.age

        first = error_at(held, refreshed)
        limit = 1.6 * first
        arguments = (limit, [refreshed], [first], refreshed, held.forecast.mvm_error)
        found = predict_crossing(*arguments, since=held.since, growth=known)
        alone = predict_crossing(*arguments, since=held.since)
        widths.append((found.latest - held.since) / (found.earliest - held.since))
        assert widths[-1] < 0.2 * (alone.latest - held.since) / (alone.earliest - held.since)
        looks = refreshed + np.geomspace(1e3, 1e8, 30)
        passed = next(float(age) for age in looks if error_at(held, float(age)) > limit)
        # The actual age is known to within the 49 % between two looks.
        inside += found.earliest < passed < held.since + 1.49 * (found.latest - held.since)
    assert inside >= 2  # of three 95 % intervals: 99.3 %
    assert max(widths) < 30


def test_probes_of_a_refreshed_chip_age_as_fast_as_its_cells(open_chip: OpenChip) -> None:
    """Minutes are nothing to a chip that is a year old, but much to cells that were pulsed minutes ago."""
    chip = open_chip(NOISY + "&seed=1")
    held = held_of(programmed(chip))
    chip.wait(YEAR)
    Refresh().make(held, uncompensated(held))
    before = held.probe()[0]
    chip.wait(held.calibrated)
    assert not np.array_equal(held.probe()[0], before)


def test_exact_growth_is_continued_exactly() -> None:
    floor, growth, limit = 0.05, 4e-4, 0.15
    ages = np.array([100.0, 1e3, 1e4, 1e5])
    errors = np.sqrt(floor**2 + growth * np.log(ages / 20.0) ** 2)
    found = predict_crossing(limit, ages, errors, 20.0)
    assert found.age == pytest.approx(20.0 * np.exp(np.sqrt((limit**2 - floor**2) / growth)), rel=0.1)
    assert found.earliest < found.age < found.latest


def test_more_measurements_narrow_the_interval() -> None:
    forecast = forecast_of(model_of(nu=0.05, spread=0.01), error=0.05)

    def width(ages: list[float]) -> float:
        errors = [forecast.mvm_error(age) for age in ages]
        found = predict_crossing(0.1, ages, errors, 20.0, forecast.mvm_error)
        return float(np.log(found.latest / found.earliest))

    assert width([20.0, 1e3, 1e4, 1e5]) < 0.5 * width([20.0])


def test_the_monitor_needs_two_ages_or_a_model() -> None:
    with pytest.raises(BadInputError, match="two ages beyond 20 s, or a drift model, and has 1"):
        predict_crossing(0.1, [1.0, 30.0], [0.05, 0.06], 20.0)
    with pytest.raises(BadInputError, match="limit -1"):
        predict_crossing(-1.0, [30.0, 40.0], [0.05, 0.06], 20.0)


# ---- objects -----------------------------------------------------------------------------------------------------


def test_a_compensation_knows_its_circumstances(open_chip: OpenChip) -> None:
    chip = open_chip(NOISY + "&temperature=310")
    run = programmed(chip, "exact")
    chip.wait(3600.0)
    held = held_of(run, probes=64, seed=5)
    made = GlobalFactor().make(held, uncompensated(held))
    assert made.made.temperature == 310.0
    assert made.made.chip_clock == chip.now()
    assert made.made.age == pytest.approx(chip.now() - run.programmed_at)
    assert (made.made.inputs, made.made.vectors, made.made.seed) == ("uniform integers", 64, (5, 0, 4))
    assert (made.mvms, made.pulses) == (64, 0)
    assert made.made.age < made.holds_until
    assert "10%" in made.because


def test_probes_are_measured_once_for_all(open_chip: OpenChip) -> None:
    chip = open_chip(NOISY)
    held = held_of(programmed(chip, "exact"))
    before = chip.counts.mvms
    for strategy in (GlobalFactor(), ColumnAffine(), chain([GlobalFactor(), ColumnAffine()])):
        strategy.make(held, uncompensated(held))
    assert chip.counts.mvms - before == held.probes


def test_chains_build_on_what_came_before(open_chip: OpenChip) -> None:
    chip = open_chip(NOISY)
    run = programmed(chip)
    chip.wait(YEAR)
    held = held_of(run)
    none = uncompensated(held)
    made = chain([Predicted(), ColumnAffine()]).make(held, none)
    assert made.name == "predictive+column"
    assert error_of(held, made) < error_of(held, Predicted().make(held, none)) * 1.01


def test_what_changes_the_chip_comes_first() -> None:
    with pytest.raises(BadInputError, match=r"write 'refresh\+column'"):
        chain([ColumnAffine(), Refresh()])
    assert chain([Refresh(), ColumnAffine()]).changes_chip


def test_what_a_chip_lacks_is_said(open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = open_chip(NOISY)
    held = held_of(programmed(chip, "exact"))
    held.forecast = None
    with pytest.raises(BadInputError, match="needs a drift model"):
        Predicted().check(held)
    assert GlobalFactor().make(held, uncompensated(held)).holds_until == np.inf
    monkeypatch.setattr(
        chip, "_info", dataclasses.replace(chip.info, capabilities=chip.info.capabilities - {Capability.MVM})
    )
    with pytest.raises(MissingCapabilityError, match="mvm"):
        GlobalFactor().check(held)


def test_another_temperature_warns_and_other_columns_are_refused(open_chip: OpenChip) -> None:
    held = held_of(programmed(open_chip(NOISY), "exact"))
    made = GlobalFactor().make(held, uncompensated(held))
    outputs = np.ones((2, 64))
    assert made.apply(outputs, temperature=303.0) == pytest.approx(made.gain * outputs)
    with pytest.warns(CompensationWarning, match="made at 300 K and the chip is at 330 K"):
        made.apply(outputs, temperature=330.0)
    with pytest.raises(BadInputError, match="64 columns"):
        made.apply(np.ones((2, 63)))


def test_a_compensation_is_read_back_as_it_was(open_chip: OpenChip, tmp_path: Path) -> None:
    held = held_of(programmed(open_chip(NOISY), "exact"))
    made = ColumnAffine().make(held, uncompensated(held))
    with hdf5.WholeFileWriter(tmp_path / "c.h5", hdf5.DRIFT_FORMAT) as writer:
        made.save(writer.file.create_group("one"))
        writer.file.create_group("none")
        writer.commit()
    with hdf5.open_file(tmp_path / "c.h5", hdf5.DRIFT_FORMAT) as file:
        read = Compensation.load(file["one"])
        with pytest.raises(BadInputError, match="/none is no compensation"):
            Compensation.load(file["none"])
    assert np.array_equal(read.gain, made.gain)
    assert np.array_equal(read.offset, made.offset)
    assert dataclasses.replace(read, gain=0, offset=0) == dataclasses.replace(made, gain=0, offset=0)
