"""Comparisons, fits and runs that workers are at: what is killed or stopped ends as if nothing had happened."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.errors import BadInputError, ChipError
from hwloop.files.resume_folder import folder_of
from hwloop.fleet.chips import Fleet
from hwloop.fleet.executors import InProcess
from hwloop.fleet.team import Team
from hwloop.jobs.inputs import weights_from
from hwloop.jobs.parallel import Plan, program_parts
from hwloop.jobs.program import Task
from hwloop.sim_backend.chip import SimulatedChip
from tests.conftest import OpenChip, gaussian
from tests.jobs.conftest import CHIP, FOUR_CORES, CtrlC, failing_mvm, link_down
from tests.jobs.test_resume import Kill, assert_same, programmed
from tests.killing import killed_after

METHODS = (hwloop.GDP(max_steps=5), hwloop.ProgramVerify(max_steps=3), "exact")


# ---- comparisons -------------------------------------------------------------------------------------------------


def compared(out: Path, **more: object) -> hwloop.Comparison:
    return hwloop.compare(CHIP, gaussian(12, 16), METHODS, repeats=2, out=out, **more)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that was never stopped."""
    path = tmp_path_factory.mktemp("whole") / "cmp.h5"
    compared(path)
    return path


def assert_same_runs(one: Path, other: Path) -> None:
    first, second = hwloop.load(one), hwloop.load(other)
    assert list(first.runs) == list(second.runs)
    for method, runs in first.runs.items():
        for mine, its in zip(runs, second.runs[method], strict=True):
            assert mine.mvm_error == its.mvm_error
            for tile, same in zip(mine.tiles, its.tiles, strict=True):
                np.testing.assert_array_equal(tile.pulses, same.pulses)
                np.testing.assert_array_equal(tile.reached, same.reached)


@pytest.mark.parametrize("steps", [3, 12, 17])
def test_a_killed_comparison_ends_as_if_it_had_not_been(comparison: Path, tmp_path: Path, steps: int) -> None:
    out = tmp_path / "cmp.h5"
    assert killed_after(60, lambda: compared(out, progress=Kill(steps)))
    assert hwloop.resume(out).status == "complete"
    assert_same_runs(out, comparison)
    assert not folder_of(out).exists()


def test_a_stopped_comparison_goes_on(comparison: Path, tmp_path: Path) -> None:
    out = tmp_path / "cmp.h5"
    assert compared(out, progress=CtrlC(9)).status == "interrupted"
    assert hwloop.resume(out, progress=CtrlC(14)).status == "interrupted"
    hwloop.resume(out)
    assert_same_runs(out, comparison)


def test_a_comparison_of_another_job_is_not_replaced(comparison: Path, tmp_path: Path) -> None:
    out = tmp_path / "cmp.h5"
    compared(out, progress=CtrlC(9))
    out.write_bytes(comparison.read_bytes())
    with pytest.raises(BadInputError, match="is not of the job"):
        hwloop.resume(out)


# ---- stopped in the middle of a request --------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [5, 11])
def test_a_second_ctrl_c_in_the_middle_of_a_request_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """The chip has drawn its noise then, and nobody has its answer."""
    programmed(tmp_path / "whole.h5")
    out, done, mvm = tmp_path / "run.h5", [], SimulatedChip._mvm

    def stop_midway(chip: SimulatedChip, core: int, x: np.ndarray) -> np.ndarray:
        codes = mvm(chip, core, x)
        done.append(core)
        if len(done) == calls:
            raise KeyboardInterrupt
        return codes

    with monkeypatch.context() as patched:
        patched.setattr(SimulatedChip, "_mvm", stop_midway)
        assert programmed(out).interrupted
    hwloop.resume(out)
    assert_same(out, tmp_path / "whole.h5")


# ---- fits --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two experiments on a small chip."""
    path = tmp_path_factory.mktemp("measured") / "meas.h5"
    with hwloop.connect(CHIP) as chip:
        hwloop.measure(chip, "read-noise", out=path, cells=40, levels=4, samples=50)
        hwloop.measure(chip, "programming", out=path, cells=120, levels=4)
    return path


def without_date(path: Path) -> dict[str, object]:
    told = json.loads(path.read_text())
    return {name: value for name, value in told.items() if name not in ("created", "checksum")}


def test_a_killed_fit_ends_as_if_it_had_not_been(measured: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.json"
    hwloop.fit(measured, out=tmp_path / "whole.json")
    killed_after(60, lambda: hwloop.fit(measured, out=out, progress=Kill(4)))
    assert folder_of(out).exists()
    assert hwloop.resume(out).status == "complete"
    assert without_date(out) == without_date(tmp_path / "whole.json")
    with pytest.raises(BadInputError, match="is complete"):
        hwloop.resume(out)


def test_a_fit_whose_measurements_have_changed_is_not_gone_on_with(measured: Path, tmp_path: Path) -> None:
    copy = tmp_path / "meas.h5"
    copy.write_bytes(measured.read_bytes())
    killed_after(60, lambda: hwloop.fit(copy, out=tmp_path / "model.json", progress=Kill(2)))
    copy.write_bytes(measured.read_bytes() + b" ")
    with pytest.raises(BadInputError, match="has changed; begin the job anew"):
        hwloop.resume(tmp_path / "model.json")
    copy.unlink()
    with pytest.raises(BadInputError, match="is gone; put it back"):
        hwloop.resume(tmp_path / "model.json")


# ---- workers -----------------------------------------------------------------------------------------------------

TASK = Task(weights_from(gaussian(32, 48)), hwloop.GDP(max_steps=5), seed=1)


def in_parts(out: Path, report: object = lambda done, total: None) -> hwloop.Run:
    with hwloop.connect(FOUR_CORES) as chip:
        return program_parts(Plan.of_cores(TASK, chip), TASK, InProcess(), out, report=report)


@pytest.mark.parametrize("steps", [4, 9])
def test_a_killed_run_of_workers_ends_as_if_it_had_not_been(tmp_path: Path, steps: int) -> None:
    in_parts(tmp_path / "whole.h5")
    out = tmp_path / "run.h5"
    assert killed_after(60, lambda: in_parts(out, Kill(steps)))
    assert hwloop.resume(out).status == "complete"
    assert_same(out, tmp_path / "whole.h5")
    assert not folder_of(out).exists()


def test_parts_that_are_done_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_parts(tmp_path / "whole.h5")
    out, asked = tmp_path / "run.h5", set()
    assert in_parts(out, CtrlC(9)).interrupted
    mvm = SimulatedChip._mvm
    monkeypatch.setattr(SimulatedChip, "_mvm", lambda chip, core, x: (asked.add(core), mvm(chip, core, x))[1])
    hwloop.resume(out)
    assert asked == {1}
    assert_same(out, tmp_path / "whole.h5")


def test_a_part_that_fails_leaves_the_others_on_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_parts(tmp_path / "whole.h5")
    out = tmp_path / "run.h5"
    with monkeypatch.context() as broken:
        failing_mvm(broken, 12)
        with pytest.raises(ChipError) as caught:
            in_parts(out)
    assert "hwloop resume" in "".join(caught.value.__notes__)
    assert hwloop.load(out).tiles[0].pulses.sum() > 0
    hwloop.resume(out)
    assert_same(out, tmp_path / "whole.h5")


def test_what_is_refused_before_the_first_pulse_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwloop.jobs.parts.connect", link_down)
    with pytest.raises(ChipError):
        in_parts(tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())


def test_a_fleet_is_named_unless_its_chips_are_simulated(tmp_path: Path, open_chip: OpenChip) -> None:
    (tmp_path / "fleet.toml").write_text(f'[[chip]]\nbackend = "{CHIP}"\n[[chip]]\nbackend = "{CHIP}&adc_noise=1"\n')
    fleet, out = Fleet.read(tmp_path / "fleet.toml"), tmp_path / "run.h5"
    executor = InProcess()
    for path, report in ((tmp_path / "whole.h5", lambda done, total: None), (out, CtrlC(9))):
        program_parts(Plan.of_fleet(TASK, fleet, executor), TASK, executor, path, report=report)
    told = json.loads((folder_of(out) / "job.json").read_text())
    (folder_of(out) / "job.json").write_text(json.dumps(told | {"fleet": ["visa:evil", CHIP]}))
    with pytest.raises(BadInputError, match="name the fleet with --fleet"):
        hwloop.resume(out)
    with pytest.raises(BadInputError, match="lists other chips"):
        hwloop.resume(out, team=Team(fleet=fleet))
    (folder_of(out) / "job.json").write_text(json.dumps(told))
    found = hwloop.resume(out, team=Team(fleet=fleet))
    assert found.mvm_error == hwloop.load(tmp_path / "whole.h5").mvm_error
