"""What a run takes is said before it starts, and holds."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import hwloop
from hwloop.calibration.programming.base import Outlook
from hwloop.chip.info import Capability
from hwloop.cli import main
from hwloop.errors import BadInputError, NeedsNote
from hwloop.files.resume_folder import folder_of
from hwloop.jobs.inputs import weights_from
from hwloop.jobs.needs import SETTINGS, Needs
from hwloop.jobs.program import Programming, Task
from tests.conftest import OpenChip, gaussian
from tests.jobs.conftest import CHIP, FOUR_CORES, OpenWithout

METHODS = {"gdp": hwloop.GDP(max_steps=6), "iterative": hwloop.ProgramVerify(max_steps=3), "sgd": hwloop.SGD()}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_takes_no_more_than_was_said(method: str, open_chip: OpenChip, tmp_path: Path) -> None:
    chip, out, beside = open_chip(CHIP), tmp_path / "run.h5", [0]
    task = Task(weights_from(gaussian(32, 32)), METHODS[method])
    needs = Programming(task, chip).needs

    def look(done: int, total: int) -> None:
        there = [path for path in folder_of(out).iterdir() if path.name != "spare"]
        beside[0] = max(beside[0], sum(path.stat().st_size for path in there if path.exists()))

    run = hwloop.program(chip, task.weights, task.method, out=out, progress=look)
    steps = run.tiles[0].steps
    assert 0.5 * needs.chip_seconds < steps.chip_time[-1] + run.age <= 1.05 * needs.chip_seconds
    assert run.tiles[0].pulses.max() <= needs.pulses
    assert out.stat().st_size <= needs.file
    assert 0 < beside[0] <= needs.beside
    assert list(tmp_path.iterdir()) == [out]


def test_room_is_held_while_it_goes_on(open_chip: OpenChip, tmp_path: Path) -> None:
    held: list[int] = []
    out = tmp_path / "run.h5"
    hwloop.program(
        open_chip(CHIP), gaussian(32, 32), METHODS["gdp"], out=out,
        progress=lambda done, total: held.append((folder_of(out) / "spare").stat().st_size),
    )  # fmt: skip
    assert min(held) > 50_000


def test_too_little_room_is_told_before_the_first_pulse(
    open_chip: OpenChip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwloop.files.space.shutil.disk_usage", lambda path: type("Usage", (), {"free": 20_000}))
    chip = open_chip(CHIP)
    with pytest.raises(BadInputError, match=r"run.h5: the job will need up to .* there, and 20 kB are free; make room"):
        hwloop.program(chip, gaussian(32, 32), METHODS["gdp"], out=tmp_path / "run.h5")
    assert not chip.pulse_counts(0).any()
    assert not list(tmp_path.iterdir())


def test_a_long_run_on_a_real_chip_is_announced(open_without: OpenWithout, tmp_path: Path) -> None:
    chip = open_without(FOUR_CORES, Capability.STATE)
    method = hwloop.GDP(max_steps=2, chip_seconds=1000.0)
    with pytest.warns(NeedsNote, match=r"this will take up to 20min of chip time, 8 pulses a device"):
        hwloop.program(chip, gaussian(8, 8), method, out=tmp_path / "run.h5")


def test_the_command_says_it_and_sends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("w.npy", gaussian(16, 16))
    words = ["program", "w.npy", "--backend", CHIP, "--out", "run.h5", "--dry-run"]
    done = CliRunner().invoke(main, words)
    assert done.stdout.startswith("This takes up to 380s of chip time, 8 pulses a device, ")
    told = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert told["pulses_per_device"] == 8
    assert [path.name for path in tmp_path.iterdir()] == ["w.npy"]


def test_needs_follow_from_sizes_alone() -> None:
    """Two tiles on two cores of 32 x 16 cells with four devices each, by a method that says what it takes."""
    place = [SimpleNamespace(rows=30, columns=10, core=core) for core in (0, 2)]
    outlook = Outlook(chip_seconds=50.0, pulses=9, reads=3, vectors=1000)
    method = SimpleNamespace(outlook=lambda rows, age, info: outlook)
    can = frozenset({Capability.STATE})
    info = SimpleNamespace(devices_per_polarity=2, capabilities=can, rows=32, columns=16, output_bits=10)
    needs = Needs.of([SimpleNamespace(place=one) for one in place], method, 20.0, info)  # type: ignore[arg-type]
    cells, devices, kept = 600, 2400, 4 * 2 * 32 * 16
    answers = (1000 + 4000) * 20 * 2 + 8 * 3 * devices  # codes of two bytes; reads of eight
    of_state = SETTINGS.per_device_of_state + SETTINGS.per_device_read
    assert (needs.chip_seconds, needs.pulses, needs.real) == (70.0, 9, False)
    assert needs.memory == 350_000_000 + SETTINGS.per_device_in_memory * devices
    assert needs.file == 200_000 + 30_000 * 2 + SETTINGS.per_device * devices + of_state * kept
    assert needs.beside == 200_000 + answers + 3 * (of_state + 32) * kept + 8 * cells
    unknown = Outlook(chip_seconds=math.nan, pulses=math.nan, reads=0, vectors=math.inf)
    method.outlook, info.capabilities = lambda rows, age, info: unknown, frozenset()
    needs = Needs.of([SimpleNamespace(place=place[0])], method, 20.0, info)  # type: ignore[arg-type]
    assert needs.real
    assert needs.beside == 200_000 + 4000 * 10 * 2 + 8 * 300
    assert needs.to_json()["chip_seconds"] is needs.to_json()["pulses_per_device"] is None
    assert str(needs).startswith("up to 350 MB of memory, a file of ")


@pytest.mark.parametrize(
    ("seconds", "file", "beside", "real", "great"),
    [
        (599.0, 6e7, 3e7, True, False), (600.0, 0, 0, True, True), (600.0, 0, 0, False, False),
        (1.0, 6e7, 4e7, True, True), (1.0, 6e7, 4e7, False, True),
    ],
)  # fmt: skip
def test_long_runs_of_real_chips_and_large_files_are_worth_a_word(
    seconds: float, file: float, beside: float, real: bool, great: bool
) -> None:
    assert Needs(seconds, 1.0, 0, int(file), int(beside), real).great == great
