"""A folder with weights, and the command line run in it: in this process, or as a real one."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from hwloop.calibration.fitting.synthetic import programmed
from hwloop.cli import main
from hwloop.devices.statistics import Polynomial
from hwloop.files.measurement_writer import MeasurementWriter
from tests.conftest import gaussian

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"
BRIEF = ("--backend", CHIP, "--set", "max_steps=6")
"""Options for a run of a tenth of a second."""
ENDLESS = ("--backend", CHIP, "--set", "max_steps=10000", "--set", "max_vectors=1000000000")
"""Options for a run of a minute, to be stopped."""

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Environment of processes, for the reason that tests/conftest.py gives."""

Command = Callable[..., Result]


def programmed_cells(path: str | Path) -> None:
    """A measurement file of 400 programmed cells with the published residual."""
    rng = np.random.default_rng(0)
    sigma, target = Polynomial((0.26348, 1.9650, -1.1731)), rng.uniform(2.0, 25.0, 400)
    measurement = programmed(Polynomial((0.0, 0.1)), sigma, 25.0, target, 25.0, rng)
    attributes = {"chip": "sim:pcm-90nm", **measurement.attributes}
    with MeasurementWriter(path) as writer:
        experiment = writer.begin(measurement.experiment, measurement.cells, attributes)
        experiment.append(measurement.reads)
        writer.commit()
        writer.finish()


def examples_in(text: str) -> list[list[str]]:
    """The words of each example of a help, without the first of them, which is hwloop."""
    block = re.split(r"\n  Examples?:\n", text)[1].split("\n\n")[0].replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    return [words[1:] for words in lines if words[:1] == ["hwloop"]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with w.npy in it: 12 outputs, 16 inputs; and the width of what is shown."""
    monkeypatch.setenv("COLUMNS", "120")  # as wide as a pipe, whatever terminal the tests run in
    np.save(tmp_path / "w.npy", gaussian(12, 16))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command() -> Command:
    """`command("program", "w.npy", ...)` runs hwloop in this process."""
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words], prog_name="hwloop")


def arguments(*words: str) -> list[str]:
    """The command line of a process of its own."""
    return [sys.executable, "-m", "hwloop", *words]


def run_process(*words: str) -> subprocess.CompletedProcess[str]:
    """Run hwloop as a user does."""
    environment = os.environ | ONE_THREAD
    return subprocess.run(arguments(*words), capture_output=True, text=True, timeout=60, check=False, env=environment)


class Endless:
    """`hwloop program` in a process of its own that would take a minute."""

    def __init__(self, run: str) -> None:
        self.run = Path(run)
        self._process = subprocess.Popen(
            arguments("program", "w.npy", *ENDLESS, "--out", run, "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for_steps(self, count: int) -> int:
        """Read the file from here until it has so many steps; returns how many it has."""
        deadline = time.monotonic() + 60  # commits are half a minute apart at most
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._process.stderr.read()
            if self.run.exists():
                with h5py.File(self.run) as file:
                    found = len(file["tiles/0000/steps/mvms"])
                if found >= count:
                    return found
            time.sleep(0.02)
        raise AssertionError(f"no {count} steps within 30 s")

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        """Send a signal; returns exit code, stdout and stderr."""
        self._process.send_signal(number)
        out, err = self._process.communicate(timeout=30)
        return self._process.returncode, out, err

    def close(self) -> None:
        """End the process if it still runs."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def endless() -> Iterator[Endless]:
    """A long run into long.h5."""
    process = Endless("long.h5")
    yield process
    process.close()
