"""`hwloop measure` as a user meets it: JSON, one file for many experiments, stops, kills, resumptions, errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwloop.calibration.experiments.base import DeviceExperiment
from hwloop.calibration.experiments.cells import ListedLevels
from hwloop.calibration.experiments.drift import DriftExperiment
from hwloop.calibration.experiments.programming import ProgrammingExperiment
from hwloop.calibration.experiments.programming_curve import ProgrammingCurveExperiment
from hwloop.calibration.experiments.read_noise import ReadNoiseExperiment
from hwloop.errors import BadInputError
from hwloop.files.experiment_writer import ExperimentWriter
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurements import Experiment, Reads
from hwloop.jobs.measure import MeasurementTask
from tests.cli.conftest import ONE_THREAD, Command, examples_in

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"
DRIFT = ("measure", "drift", "--backend", CHIP, "--cells", 200, "--levels", 4, "--until", "1h", "--out", "m.h5")
NOISE = ("measure", "read-noise", "--backend", CHIP, "--cells", 8, "--levels", 2)


def test_drift_says_what_it_spent_and_where_it_is(command: Command) -> None:
    done = command(*DRIFT, "--json")
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["experiment"] == "drift"
    assert result["status"] == "complete"
    assert result["cells"] == 200 == sum(result["marks"].values())
    assert result["reads"] == 200 * 16
    assert result["chip_seconds"] == pytest.approx(3600, abs=5)
    assert "up to 15 of 10000 pulses per device, 3,000 in all" in " ".join(done.stderr.split())
    [found] = read_measurements("m.h5")
    assert len(found.reads) == result["reads"]
    assert found.attributes["backend"] == CHIP
    assert str(found.attributes["serial"]).startswith("simulated-1")
    assert found.attributes["temperature_at_start"] == 300.0
    assert np.all(found.reads.temperature == 300.0)


def test_all_experiments_go_into_one_file(command: Command) -> None:
    assert command(*DRIFT).exit_code == 0
    rest = ("--backend", CHIP, "--cells", 20, "--out", "m.h5")
    assert command("measure", "programming", *rest).exit_code == 0
    assert command("measure", "programming-curve", *rest, "--points", 6).exit_code == 0
    assert command(*NOISE, "--samples", 20, "--out", "m.h5").exit_code == 0
    done = command(*DRIFT)
    assert "hwloop fit m.h5 --out model.json" in done.stdout
    kinds = [found.experiment for found in read_measurements("m.h5")]
    assert kinds == [
        Experiment.DRIFT,
        Experiment.PROGRAMMING,
        Experiment.PROGRAMMING_CURVE,
        Experiment.READ_NOISE,
        Experiment.DRIFT,
    ]
    assert command(*DRIFT, "--force").exit_code == 0
    assert len(read_measurements("m.h5")) == 1


def test_the_same_seed_measures_the_same(command: Command) -> None:
    command(*DRIFT)
    command(*DRIFT)
    command(*DRIFT, "--seed", 1)
    first, second, other = read_measurements("m.h5")
    np.testing.assert_array_equal(first.reads.conductance, second.reads.conductance)
    assert not np.array_equal(first.cells.address, other.cells.address)


KILLED = """
import os, signal, sys
import hwloop
from hwloop.calibration.experiments.cells import Levels
from hwloop.calibration.experiments.read_noise import ReadNoiseExperiment
from hwloop.files.hdf5 import CommitTimer
from hwloop.jobs.measure import MeasurementTask, measure_to_file

def die(done, total):
    if done == total - 4:
        os.kill(os.getpid(), signal.SIGKILL)

CommitTimer.due = lambda timer: True
experiment = ReadNoiseExperiment(cells=8, levels=Levels(2), samples=400)
measure_to_file(MeasurementTask(experiment), hwloop.connect(sys.argv[1]), "m.h5", show=die)
"""
"""A process that is killed, not asked, when 3 of 7 blocks of samples are measured and committed."""


def test_ctrl_c_stops_after_a_step_and_says_how_to_go_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    append = ExperimentWriter.append

    def press(sink: ExperimentWriter, reads: Reads) -> None:
        append(sink, reads)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ExperimentWriter, "append", press)
    done = command(*NOISE, "--samples", 2000, "--out", "long.h5")
    assert done.exit_code == 1
    assert "read-noise: was stopped before its end; what was measured is here." in done.stdout
    assert "hwloop resume long.h5" in done.stdout
    assert "stopping after this step" in done.stderr
    [stopped] = read_measurements("long.h5")
    assert len(stopped.reads) == 64 * 8, "the step in which it was pressed is whole, and the last"
    assert stopped.attributes["status"] == "interrupted"
    again = command(*NOISE, "--samples", 2001, "--out", "long.h5", "--resume")
    assert again.exit_code == 2
    assert "was begun with samples=2000, not 2001" in again.stderr
    assert not list(Path().glob(".*"))


def test_killed_it_goes_on_as_if_nothing_had_happened(command: Command) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, CHIP], check=False, env=os.environ | ONE_THREAD)
    assert killed.returncode == -signal.SIGKILL
    [stopped] = read_measurements("m.h5")
    assert len(stopped.reads) == 3 * 64 * 8
    assert stopped.attributes["status"] == "running"
    words = (*NOISE, "--samples", 400)
    assert command(*words, "--out", "m.h5", "--resume").exit_code == 0
    assert command(*words, "--out", "whole.h5").exit_code == 0
    [parts], [whole] = read_measurements("m.h5"), read_measurements("whole.h5")
    for name, column in whole.reads.columns().items():
        np.testing.assert_array_equal(parts.reads.columns()[name], column, err_msg=name)
    assert not list(Path().glob(".*"))

    short = ("measure", "drift", "--backend", CHIP, "--cells", 20, "--until", "10s", "--out", "m.h5")
    assert command(*short).exit_code == 0
    assert command(*short, "--resume").exit_code == 2, "this drift is complete"
    kinds = [(found.experiment.value, found.attributes["status"]) for found in read_measurements("m.h5")]
    assert kinds == [("read-noise", "complete"), ("drift", "complete")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--until", "10 fortnights"), "duration '10 fortnights'"),
        (("--until", "0.5s"), "ages from 1 s to 0.5 s"),
        (("--cells", "999999"), "core(s) of sim:hermes-core have 4096 devices; ask for fewer"),
        (("--cells", "0"), "cells=0: expected at least 1"),
        (("--temperature", "-5"), "temperature=-5: expected a positive number of kelvin"),
        (("--levels", "0"), "levels=0"),
        (("--levels", "many"), "--levels many: expected how many, or uS with commas between"),
        (("--levels", "1,x"), "--levels 1,x: expected"),
        (("--levels", "1,50"), "level 50 uS: expected 0 to 10.35 uS"),
        (("--levels", "1,2", "--low", "1"), "do not go with a list of levels"),
        (("--high", "50"), "the largest conductance that this chip programs"),
        (("--cores", "7"), "core 7 does not exist"),
        (("--cores", "a"), "--cores a: expected whole numbers"),
        (("--averages", "0"), "averages=0 is outside"),
        (("--max-pulses", "20000"), "needs up to 20000 pulses per device"),
        (("--resume",), "nothing to resume"),
        (("--resume", "--force"), "give one of them"),
        (("--backend", "sim:none"), "unknown simulated chip"),
        (("--out", "nowhere/m.h5"), "the folder nowhere does not exist"),
        (("--out", "w.npy"), "w.npy is not a readable HDF5 file"),
    ],
)
def test_wrong_use_is_one_line_with_the_way_out_and_leaves_no_file(
    command: Command, folder: Path, words: tuple[str, ...], message: str
) -> None:
    done = command(*DRIFT, *words)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert done.stderr.count("error:") == 1
    assert sorted(os.listdir(folder)) == ["w.npy"]


@pytest.mark.parametrize("experiment", ["drift", "programming", "programming-curve", "read-noise"])
def test_help_ends_with_an_example_that_runs(command: Command, experiment: str) -> None:
    text = command("measure", experiment, "--help").stdout
    small = {"20000": "200", "10000": "200", "1024": "10", "sim:hermes-core?seed=3": CHIP}
    assert command(*(small.get(word, word) for word in examples_in(text)[0])).exit_code == 0


def test_a_calibration_tells_which_devices_to_leave_alone(command: Command) -> None:
    chip = "sim:hermes-core?rows=32&columns=32&seed=1&stuck_rate=0.05"
    assert command("calibrate", "devices", "--backend", chip, "--out", "chip.cal.h5").exit_code == 0
    words = ("measure", "drift", "--backend", chip, "--cells", 500, "--until", "10s", "--out", "m.h5")
    assert command(*words).exit_code == 0
    assert command(*words, "--calibration", "chip.cal.h5").exit_code == 0
    blind, told = read_measurements("m.h5")
    stuck = np.isin(told.cells.mark, (1, 2))
    assert 10 < stuck.sum() < 50, "5 % of 500, standard deviation 5"
    assert not np.isin(told.reads.cell, np.flatnonzero(stuck)).any()
    assert np.isin(blind.reads.cell, np.flatnonzero(stuck)).any()
    assert told.attributes["calibration"] == "chip.cal.h5"
    other = command(*words, "--calibration", "chip.cal.h5", "--backend", CHIP)
    assert other.exit_code == 2
    assert "calibrate this chip with hwloop calibrate all" in other.stderr


@pytest.mark.parametrize(
    ("name", "experiment"),
    [
        ("drift", DriftExperiment()),
        ("programming", ProgrammingExperiment()),
        ("read-noise", ReadNoiseExperiment()),
        ("programming-curve", ProgrammingCurveExperiment()),
    ],
)
def test_defaults_of_the_command_are_those_of_the_experiment(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, experiment: DeviceExperiment
) -> None:
    asked: list[MeasurementTask] = []

    def note(job: MeasurementTask, *_: object, **__: object) -> None:
        asked.append(job)
        raise BadInputError("far enough")

    monkeypatch.setattr("hwloop.jobs.measure.measure_to_file", note)
    assert "far enough" in command("measure", name, "--backend", CHIP, "--out", "m.h5").stderr
    assert asked == [MeasurementTask(experiment)]


def test_options_reach_the_experiment(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[MeasurementTask] = []

    def note(job: MeasurementTask, *_: object, **__: object) -> None:
        asked.append(job)
        raise BadInputError("far enough")

    monkeypatch.setattr("hwloop.jobs.measure.measure_to_file", note)
    to = ("--backend", CHIP, "--out", "m.h5", "--cores", "1,0", "--averages", 3, "--seed", 4, "--temperature", 290)
    placed = ("--cells", 5, "--levels", "1,2", "--age", "3s", "--settle", "2s", "--tolerance", 0.2, "--max-pulses", 7)
    known = {"cells": 5, "levels": ListedLevels((1.0, 2.0)), "target_age": 3.0, "settle": 2.0, "tolerance": 0.2}
    known |= {"max_pulses_per_device": 7, "cores": (1, 0), "averages": 3}
    command("measure", "drift", *to, *placed, "--from", "2s", "--until", "1min", "--per-decade", 5)
    command("measure", "programming", *to, *placed, "--ages", "1s,5s")
    more = ("--samples", 9, "--interval", "2ms", "--start", "3s", "--sample-averages", 2)
    command("measure", "read-noise", *to, *placed, *more)
    pulses = ("--low", 200, "--high", 300, "--width", 90, "--set-amplitude", 99, "--set-width", 1000)
    sweep = ("--cells", 5, "--points", 6, "--repeats", 8, "--settle", "4s", "--early", "1s", *pulses)
    command("measure", "programming-curve", *to, *sweep)
    assert [job.experiment for job in asked] == [
        DriftExperiment(**known, first=2.0, until=60.0, per_decade=5),
        ProgrammingExperiment(**known, ages=(1.0, 5.0)),
        ReadNoiseExperiment(**known, samples=9, interval=2e-3, start=3.0, sample_averages=2),
        ProgrammingCurveExperiment(
            cells=5, cores=(1, 0), averages=3, points=6, repeats=8, settle=4.0, early=1.0, low=200.0, high=300.0,
            width=90.0, set_amplitude=99.0, set_width=1000.0,
        ),
    ]  # fmt: skip
    assert {(job.seed, job.temperature) for job in asked} == {(4, 290.0)}
