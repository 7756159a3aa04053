"""`hwloop measure` as a user meets it: JSON, one file for many experiments, stops, kills, resumptions, errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from hwloop.files.measurement_reader import open_measurements, read_measurements
from hwloop.files.measurements import Experiment
from tests.cli.conftest import ONE_THREAD, Command, arguments

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
    assert "up to 15 of 10000 pulses per device, 3,000 in all" in done.stderr
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
    assert "It is 0004_drift in m.h5." in done.stdout
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


class Running:
    """A long read-noise measurement in a process of its own."""

    def __init__(self, path: str, *more: object) -> None:
        self.path = Path(path)
        words = [*NOISE, "--samples", 20_000, "--out", path, *more]
        self.process = subprocess.Popen(
            arguments(*[str(word) for word in words]),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )

    def wait_for_reads(self, count: int) -> int:
        """Read the file from here, while it is written, until it has so many reads."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.process.communicate()
            if self.path.exists():
                with open_measurements(self.path) as [stored]:
                    if stored.read_count >= count:
                        return stored.read_count
            time.sleep(0.02)
        raise AssertionError(f"no {count} reads within 30 s")

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_or_killed_it_goes_on_and_ends_as_if_nothing_had_happened(
    command: Command, number: signal.Signals
) -> None:
    running = Running("long.h5")
    seen = running.wait_for_reads(1000)
    code, out, err = running.end(number)
    [stopped] = read_measurements("long.h5")
    assert len(stopped.reads) >= seen
    assert stopped.attributes["status"] == ("interrupted" if number == signal.SIGINT else "running")
    if number == signal.SIGINT:
        assert code == 1
        assert "Give --resume to go on" in out
        assert "stopping after this step" in err
    again = command(*NOISE, "--samples", 20_001, "--out", "long.h5", "--resume")
    assert again.exit_code == 2
    assert "was begun with samples=20000, not 20001" in again.stderr

    short = Running("long.h5", "--resume")
    later = short.wait_for_reads(len(stopped.reads) + 500)
    assert short.end(signal.SIGINT)[0] == 1
    assert command(*NOISE, "--samples", 2000, "--out", "whole.h5").exit_code == 0
    [parts], [whole] = read_measurements("long.h5"), read_measurements("whole.h5")
    count = min(len(parts.reads), len(whole.reads))
    assert count >= min(later, len(whole.reads))
    np.testing.assert_array_equal(parts.reads.conductance[:count], whole.reads.conductance[:count])
    np.testing.assert_array_equal(parts.reads.time[:count], whole.reads.time[:count])
    assert not list(Path().glob(".*"))


def test_what_was_stopped_can_be_finished(command: Command) -> None:
    running = Running("m.h5")
    running.wait_for_reads(1)
    running.end(signal.SIGKILL)
    short = ("measure", "drift", "--backend", CHIP, "--cells", 20, "--until", "10s", "--out", "m.h5")
    assert command(*short).exit_code == 0
    assert command(*short, "--resume").exit_code == 2, "this drift is complete"
    kinds = [(found.experiment.value, found.attributes["status"]) for found in read_measurements("m.h5")]
    assert kinds == [("read-noise", "running"), ("drift", "complete")]


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
    [example] = [line.strip() for line in text.splitlines() if line.strip().startswith("hwloop measure")]
    small = example.replace('"sim:hermes-core?seed=3"', CHIP).replace("--cells 20000", "--cells 200")
    small = small.replace("--cells 10000", "--cells 200").replace("--samples 1024", "--samples 10")
    assert command(*small.split()[1:]).exit_code == 0


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
