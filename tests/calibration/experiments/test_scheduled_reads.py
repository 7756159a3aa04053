"""Reads at planned ages: true ages, levels reached, bad cells marked, and a way back after an interruption."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.cells import Levels
from hwloop.calibration.experiments.drift import DriftExperiment
from hwloop.calibration.experiments.programming import ProgrammingExperiment
from hwloop.calibration.experiments.scheduled_reads import log_ages
from hwloop.calibration.steps import Step, rest
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, ChipError, LimitError, MissingCapabilityError
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurement_writer import MeasurementWriter
from hwloop.files.measurements import Mark
from hwloop.typing import AnyArray
from tests.calibration.experiments.conftest import MODEL, NU, Measure, SlowChip, follow
from tests.conftest import OpenChip

FEW = DriftExperiment(cells=40, levels=Levels(5), averages=4, first=1.0, until=100.0, per_decade=1)


def test_ages_are_evenly_spaced_in_log_time() -> None:
    np.testing.assert_allclose(log_ages(1.0, 1000.0, 2), 10 ** np.arange(0, 3.1, 0.5))
    assert log_ages(1.0, 86_400.0, 4)[-1] == pytest.approx(86_400.0)
    for first, last in ((0.0, 1.0), (10.0, 1.0), (1.0, float("inf"))):
        with pytest.raises(BadInputError, match="the first must be positive"):
            log_ages(first, last, 4)


@pytest.mark.parametrize("pace", [1e-4, 0.01])
def test_ages_are_true_on_a_chip_that_takes_its_devices_one_by_one(measure: Measure, pace: float) -> None:
    chip = SlowChip(pace)
    found = measure(dataclasses.replace(FEW, until=1000.0, per_decade=4), chip)
    # The chip drifts by an exact law from each device's own pulse on: what it conducted tells when it was read.
    g = chip.g[found.cells.core, found.cells.address][found.reads.cell]
    age = MODEL.drift.t0 * (found.reads.conductance / g) ** (-1 / NU)
    # Pulses and reads are each known to a share of an age, or to half a device's turn on a chip too slow for it.
    allowed = FEW.age_resolution * (found.reads.nominal + 0.1) + pace
    assert np.all(np.abs(found.reads.time - age) <= allowed)


def test_devices_reach_their_levels_and_are_left_alone(measure: Measure) -> None:
    chip = SlowChip(1e-5)
    found = measure(FEW, chip)
    assert found.cells.mark.tolist() == [Mark.GOOD] * 40
    np.testing.assert_allclose(found.cells.verify, found.cells.target, atol=0.025 * 20)
    assert np.bincount(found.cells.level).tolist() == [8] * 5
    assert len(found.reads) == 3 * 40
    spent = chip.pulse_counts(0).reshape(-1)[found.cells.address]
    assert np.all(spent <= FEW.max_pulses_per_device)
    others = np.setdiff1d(np.arange(128), found.cells.address)
    assert not np.any(chip.pulse_counts(0).reshape(-1)[others])


def test_the_last_pulse_of_a_drift_measurement_is_one_that_nobody_has_looked_at(measure: Measure) -> None:
    # Without noise the first pulse is accepted; what is left alone is the same pulse again.
    chip = SlowChip(1e-6)
    found = measure(FEW, chip)
    assert np.all(chip.pulse_counts(0).reshape(-1)[found.cells.address] == 2)
    chip = SlowChip(1e-6)
    found = measure(ProgrammingExperiment(cells=40, levels=Levels(5), ages=(1.0,)), chip)
    assert np.all(chip.pulse_counts(0).reshape(-1)[found.cells.address] == 1)


def test_drift_is_not_selected_by_verification(open_chip: OpenChip, measure: Measure) -> None:
    chip = open_chip("sim:hermes-core?seed=5&read_noise=0&adc_bits=14&rows=64&columns=64&adc_gain_spread=0")
    experiment = dataclasses.replace(FEW, cells=4000, levels=Levels(1, 0, 5.0), tolerance=0.05)
    found = measure(experiment, chip)
    assert np.all(found.cells.mark == Mark.GOOD), "no target was to be met"
    devices = chip._core(0).devices
    g, nu = (part.numpy()[found.cells.address] for part in (devices.g, devices.nu))
    drift = chip.info.device_model.drift
    z = (nu - drift.mean(g / drift.g_scale)) / drift.spread(g / drift.g_scale)
    # A normal sample of 4 000: standard deviation of its own deviation 1.1 %; a verified one has 0.6.
    assert z.std() == pytest.approx(1.0, abs=0.05)
    assert abs(z.mean()) < 4 / np.sqrt(4000)


def test_programming_reads_again_when_the_targets_hold(measure: Measure) -> None:
    levels, ages = Levels(5, 1.0, 15.0), (2.0, 20.0, 200.0)
    experiment = ProgrammingExperiment(cells=40, levels=levels, averages=1, ages=ages, settle=0.5, tolerance=0.1)
    found = measure(experiment, SlowChip(1e-6))
    at = found.reads.nominal == 20.0
    # Without noise, and with the true drift model, what is read at t0 is the target, to the tolerance.
    np.testing.assert_allclose(found.reads.conductance[at], found.cells.target[found.reads.cell[at]], atol=0.11)
    early = found.reads.nominal == 2.0
    assert np.all(found.reads.conductance[early] > found.reads.conductance[at])


def test_drift_of_the_simulated_array_comes_out(open_chip: OpenChip, measure: Measure) -> None:
    chip = open_chip("sim:pcm-90nm?seed=5&adc_bits=14&read_noise=0&rows=64&columns=64")
    found = measure(dataclasses.replace(FEW, cells=4000, levels=Levels(4, 2.0, 23.0)), chip)
    good = found.cells.mark == Mark.GOOD
    log_g = np.log(found.reads.conductance.reshape(3, -1))
    log_t = np.log(found.reads.time.reshape(3, -1))
    nu = -(log_g[2] - log_g[0]) / (log_t[2] - log_t[0])
    drift = chip.info.device_model.drift
    for level in range(4):
        here = good & (found.cells.level == level)
        at_t0 = np.exp(log_g[1] - nu * np.log(20.0 / np.exp(log_t[1])))[here] / drift.g_scale
        expected, spread = drift.mean(at_t0).mean(), drift.spread(at_t0).mean()
        error = spread / np.sqrt(here.sum())
        assert abs(nu[here].mean() - expected) < 4 * error + 0.001


def test_stuck_devices_are_marked_and_left_alone(open_chip: OpenChip, measure: Measure) -> None:
    chip = open_chip("sim:hermes-core?seed=2&rows=64&columns=64&stuck_rate=0.05")
    experiment = dataclasses.replace(FEW, cells=2000, levels=Levels(4, 2.0, 8.0), averages=16)
    found = measure(experiment, chip)
    stuck = chip._core(0).devices.stuck.numpy()[found.cells.address]
    marked = np.isin(found.cells.mark, (Mark.STUCK_SET, Mark.STUCK_RESET))
    g = chip._core(0).devices.g.numpy()[found.cells.address]
    far = stuck & (np.abs(g - found.cells.target) > 2)
    assert far.sum() > 50
    assert np.mean(marked[far]) > 0.9, "a stuck device far from its target is found"
    assert np.mean(found.cells.mark[stuck] != Mark.GOOD) > 0.9
    assert np.mean(stuck[marked]) > 0.95, "and what is called stuck is"
    assert np.all((found.cells.mark == Mark.STUCK_SET)[marked] == (g > found.cells.target)[marked])
    assert np.all(np.isnan(found.cells.verify[marked]))
    pulses = chip.pulse_counts(0).reshape(-1)[found.cells.address]
    assert pulses[far & marked].mean() < pulses.max(), "it is not hit until its budget is gone"


def test_a_spent_device_gets_no_pulse_and_no_read(measure: Measure) -> None:
    chip = SlowChip(1e-6, budget=15)
    measure(FEW, chip, seed=0)
    before = chip.pulse_counts(0).copy()
    again = measure(FEW, chip, seed=1)
    spent = again.cells.mark == Mark.SPENT
    had = before.reshape(-1)[again.cells.address]
    np.testing.assert_array_equal(spent, had > 15 - FEW.max_pulses_per_device)
    assert 0 < spent.sum() < 40
    assert not np.isin(again.reads.cell, np.flatnonzero(spent)).any()
    np.testing.assert_array_equal(chip.pulse_counts(0).reshape(-1)[again.cells.address][spent], had[spent])


def test_what_the_chip_cannot_do_is_refused_before_anything_is_sent() -> None:
    blind = SlowChip(capabilities=frozenset({Capability.MVM}))
    with pytest.raises(MissingCapabilityError, match=r"measuring drift needs the capability 'device-read'"):
        FEW.begin(Bench(blind), 0)
    with pytest.raises(LimitError, match="up to 15 pulses per device, and slow allows 10"):
        FEW.begin(Bench(SlowChip(budget=10)), 0)
    assert blind.counts.pulses == 0


@pytest.mark.parametrize("ages", [(), (0.0, 1.0), (2.0, 1.0), (1.0, 1.0), (1.0, float("nan"))])
def test_ages_must_rise(ages: tuple[float, ...]) -> None:
    with pytest.raises(BadInputError, match="ages"):
        ProgrammingExperiment(ages=ages)


def test_a_reading_that_is_no_number_stops_everything(measure: Measure) -> None:
    chip = SlowChip(1e-6)
    chip.reading = lambda values: np.where(np.arange(values.size) == 3, np.nan, values)
    with pytest.raises(ChipError, match="non-finite"):
        measure(FEW, chip)
    assert chip.counts.pulses == 40, "the open-loop pulses, and none after the reading"


@pytest.mark.parametrize("stop_after", [1, 3, 6, 8])
def test_an_interrupted_measurement_goes_on_bit_for_bit(tmp_path: Path, stop_after: int) -> None:
    uri = "sim:hermes-core?seed=4&rows=32&columns=32&cores=2"
    experiment = dataclasses.replace(FEW, cells=300, cores=(0, 1), max_pulses_per_device=6)

    def measured(name: str, stops: tuple[int, ...]) -> Path:
        path = tmp_path / name
        for stop in (*stops, None):
            with hwloop.connect(uri) as chip, MeasurementWriter(path, "a") as writer:
                running = experiment.begin(Bench(chip), 1)
                if path.exists():
                    sink = writer.experiments()[0]
                    follow(running, sink, stop, sink.state())
                else:
                    sink = writer.begin(experiment.kind, running.cells())
                    follow(running, sink, stop)
                sink.keep_state(running.state())
                writer.finish()
        return path

    [whole], [parts] = read_measurements(measured("a.h5", ())), read_measurements(measured("b.h5", (stop_after,)))
    for table in ("cells", "reads"):
        for name, column in getattr(whole, table).columns().items():
            np.testing.assert_array_equal(getattr(getattr(parts, table), name), column, err_msg=name)


def begun(path: Path, until_reads: int = 1) -> tuple[SlowChip, dict[str, AnyArray], Step]:
    """A drift measurement on a slow chip up to its first reads: the chip, the state and the step it stopped at."""
    chip = SlowChip(1e-6)
    running = FEW.begin(Bench(chip), 0)
    with MeasurementWriter(path, "w") as writer:
        sink = writer.begin(FEW.kind, running.cells())
        for step in running.work(sink):
            if sink.read_count >= until_reads:
                break
            rest(chip, step.rest)
        writer.finish()
    return chip, dict(running.state()), step


def test_the_first_step_after_an_interruption_waits_for_the_moment_that_was_planned(tmp_path: Path) -> None:
    chip, state, stopped = begun(tmp_path / "m.h5")
    assert stopped.rest == pytest.approx(9.0, abs=0.01), "read at 1 s, next at 10 s"
    chip.clock += 4.0  # somebody waited, and stopped
    running = FEW.begin(Bench(chip), 0)
    state["clock/now"] = state["clock/now"] + 4.0
    with MeasurementWriter(tmp_path / "m.h5", "a") as writer:
        first = next(running.work(writer.experiments()[0], state))
    assert (first.done, first.total) == (stopped.done, stopped.total)
    assert first.rest == pytest.approx(5.0, abs=0.05), "UTC too has gone on by the time this test takes"


@pytest.mark.parametrize("name", ["until", "clock/now", "placing/0/value", "placed"])
def test_a_state_with_a_number_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    chip, state, _ = begun(tmp_path / "m.h5")
    sent = chip.counts.pulses
    state[name] = np.full(state[name].shape, np.nan)
    with (
        MeasurementWriter(tmp_path / "m.h5", "a") as writer,
        pytest.raises(BadInputError, match=f"'{name}' is not finite"),
    ):
        next(FEW.begin(Bench(chip), 0).work(writer.experiments()[0], state))
    assert chip.counts.pulses == sent


def test_a_state_that_lacks_something_is_refused(tmp_path: Path) -> None:
    chip, state, _ = begun(tmp_path / "m.h5")
    del state["placed"]
    with MeasurementWriter(tmp_path / "m.h5", "a") as writer, pytest.raises(BadInputError, match="lacks 'placed'"):
        next(FEW.begin(Bench(chip), 0).work(writer.experiments()[0], state))


def test_on_a_real_chip_the_time_of_the_interruption_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utc = 1e9
    monkeypatch.setattr("hwloop.calibration.experiments.clock.time.time", lambda: utc)
    chip, state, _ = begun(tmp_path / "m.h5")
    chip.clock += 50.0  # what the chip lives through while nobody looks
    utc += 50.0
    offset = chip.clock
    chip._now = lambda: chip.clock - offset  # type: ignore[method-assign]  # connected again, its clock begins anew
    with MeasurementWriter(tmp_path / "m.h5", "a") as writer:
        follow(FEW.begin(Bench(chip), 0), writer.experiments()[0], state=state)
        writer.finish()
    [found] = read_measurements(tmp_path / "m.h5")
    g = chip.g[found.cells.core, found.cells.address][found.reads.cell]
    age = MODEL.drift.t0 * (found.reads.conductance / g) ** (-1 / NU)
    np.testing.assert_allclose(found.reads.time, age, rtol=0.005)
    assert np.all(found.reads.time[found.reads.nominal == 10.0] > 50)

    utc -= 1000.0
    with (
        MeasurementWriter(tmp_path / "m.h5", "a") as writer,
        pytest.raises(ChipError, match="clock is 950 s behind"),
    ):
        next(FEW.begin(Bench(chip), 0).work(writer.experiments()[0], state))


def test_what_a_file_keeps_of_the_settings_has_the_names_it_always_had() -> None:
    stored = dataclasses.replace(FEW, target_age=3.0).stored()
    assert stored["age"] == 3.0
    assert stored["ages"] == pytest.approx([1.0, 10.0, 100.0])
    assert stored["levels"] == {"count": 5, "low": 0.0, "high": 0.0}
    assert not {"target_age", "first", "until", "per_decade"} & set(stored)
