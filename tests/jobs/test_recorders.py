"""What a run file says: everything needed to explain a run, readable without hwloop, and read back whole."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

import hwloop
from hwloop.calibration.programming.registry import make_method
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.runs import read_run
from hwloop.jobs.program import Progress, Run, program
from hwloop.jobs.recorders import LIBRARIES, Job, RunRecorder
from hwloop.jobs.tasks import program_to_file
from hwloop.mapping.partition import MappingSettings
from tests.conftest import OpenChip, gaussian
from tests.jobs.conftest import CHIP, FOUR_CORES, CtrlC

WEIGHTS = gaussian(12, 40)
"""Needs two tiles of a 32 x 32 core."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, list[Progress]]:
    """A run file, the result that was reported, and every step that was seen."""
    folder = tmp_path_factory.mktemp("recorded")
    np.save(folder / "w.npy", WEIGHTS)
    task = hwloop.jobs.tasks.Task(str(folder / "w.npy"), FOUR_CORES, seed=3)
    seen: list[Progress] = []
    result = program_to_file(
        task, "iterative", folder / "run.h5", settings={"max_steps": "4", "gain": "0.8"}, observer=seen.append
    )
    return folder / "run.h5", result, seen


def test_attributes_tell_what_was_asked_and_what_came_of_it(recorded) -> None:
    path, result, _ = recorded
    with h5py.File(path) as file:
        attributes = dict(file.attrs)
    assert attributes["format"] == "hwloop-run"
    assert (attributes["method"], attributes["backend"], attributes["seed"]) == ("iterative", FOUR_CORES, 3)
    assert (attributes["age"], attributes["age_units"]) == (200.0, "s")
    assert attributes["weights"] == result["weights"]
    assert attributes["status"] == result["status"] == "complete"
    assert attributes["mvm_error"] == result["mvm_error"]
    assert json.loads(attributes["result_json"])["cores"] == result["cores"]
    assert attributes["hwloop_version"] == result["hwloop_version"]
    assert attributes["created"].endswith("+00:00")


def test_provenance_is_enough_to_do_it_again(recorded) -> None:
    path, result, _ = recorded
    with h5py.File(path) as file:
        provenance = file["provenance"]
        digest = hashlib.sha256(Path(result["weights"]).read_bytes()).hexdigest()
        assert provenance.attrs["weights_sha256"] == digest
        settings = {"max_steps": 4, "gain": 0.8}
        again = make_method("iterative", {name: str(provenance["settings"].attrs[name]) for name in settings})
        assert {name: getattr(again.settings, name) for name in settings} == settings
        assert dict(provenance["settings"].attrs) == dataclasses.asdict(again.settings)
        assert dict(provenance["mapping"].attrs) == dataclasses.asdict(MappingSettings())
        assert set(provenance["versions"].attrs) == {*LIBRARIES, "python"}
        before, after = (dict(provenance[f"chip_at_{moment}"].attrs) for moment in ("start", "end"))
    assert (before["seed"], before["now"]) == (1, 0.0)
    assert after["now"] > 200.0
    assert after["device.curve.midpoint"] == before["device.curve.midpoint"]


def test_every_dataset_says_its_units(recorded) -> None:
    without = []

    def look(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and not item.attrs.get("units"):
            without.append(name)

    with h5py.File(recorded[0]) as file:
        file.visititems(look)
        assert file["tiles/0000/reached"].attrs["units"] == "uS"
        assert file["tiles/0000/steps/chip_time"].attrs["units"] == "s"
    assert not without


def test_targets_times_scale_are_the_weights(recorded) -> None:
    restored = np.zeros(WEIGHTS.T.shape)
    with h5py.File(recorded[0]) as file:
        for tile in file["tiles"].values():
            rows, columns = tile["target"].shape
            first = tile.attrs["first_input"], tile.attrs["first_output"]
            part = np.s_[first[0] : first[0] + rows, first[1] : first[1] + columns]
            restored[part] = tile["target"][:] * tile["scale"][:]
    assert restored == pytest.approx(WEIGHTS.T)


def test_every_step_of_every_tile_is_there(recorded) -> None:
    path, result, seen = recorded
    with h5py.File(path) as file:
        for number, core in enumerate(result["cores"]):
            steps = file[f"tiles/{number:04d}/steps"]
            told = [progress for progress in seen if progress.tile == number]
            assert steps["mvm_error"][:].tolist() == pytest.approx([p.step.mvm_error for p in told], nan_ok=True)
            assert steps["pulses"][:].tolist() == [p.step.pulses for p in told]
            assert steps["device_reads"][:].tolist() == [p.cost.device_reads for p in told]
            assert steps["mvms"][-1] == core["mvms"]
            assert steps["chip_time"][-1] == pytest.approx(core["chip_seconds"])
            assert steps["pulses"][:].sum() == pytest.approx(core["pulses_per_device"] * core["devices"])


def test_the_outcome_of_every_tile_is_there(recorded) -> None:
    path, result, _ = recorded
    with h5py.File(path) as file:
        for tile, core in zip(file["tiles"].values(), result["cores"], strict=True):
            assert tile.attrs["mvm_error"] == core["mvm_error"]
            assert tile["pulses"].shape == (2, 2, core["rows"], core["columns"])
            assert tile["pulses"][:].max() == core["max_pulses_on_a_device"]
            assert tile["unconverged"][:].sum() == core["unconverged_cells"]
            assert tile["stuck"][:].sum() == core["stuck_cells"]
            assert tile["column_gain"].shape == tile["column_offset"].shape == (core["columns"],)
            target, reached = tile["target"][:], tile["reached"][:]
            assert np.corrcoef(target.ravel(), reached.ravel())[0, 1] > 0.98


def test_tiles_and_state_are_read_back(tmp_path: Path, open_chip: OpenChip) -> None:
    chip = open_chip(FOUR_CORES)
    run = program(chip, hwloop.matrices({"w": WEIGHTS}), "exact")
    job = Job(FOUR_CORES, "w.npy", "", "exact", {}, MappingSettings(), 0)
    with hdf5.WholeFileWriter(tmp_path / "run.h5", hdf5.RUN_FORMAT) as writer:
        RunRecorder(writer.file, job, run, chip).finish({})
        writer.commit()
    found = read_run(tmp_path / "run.h5")
    for read, item in zip((record.tile for record in found.tiles), run.tiles, strict=True):
        assert dataclasses.replace(read, target=0, scale=0) == dataclasses.replace(item.tile, target=0, scale=0)
        assert np.array_equal(read.weights, item.tile.weights)
    state, exported = found.chip_state(), chip.export_state()
    assert state.keys() == exported.keys()
    assert all(np.array_equal(state[name], exported[name]) for name in state)


def test_an_unfinished_run_says_so(tmp_path: Path, open_chip: OpenChip) -> None:
    chip = open_chip(CHIP)

    def begin(run: Run) -> None:
        with hdf5.WholeFileWriter(tmp_path / "run.h5", hdf5.RUN_FORMAT) as writer:
            RunRecorder(writer.file, Job(CHIP, "w.npy", "", "gdp", {}, MappingSettings(), 0), run, chip)
            writer.commit()

    program(chip, hwloop.matrices({"w": gaussian(12, 16)}), "exact", on_start=begin)
    found = read_run(tmp_path / "run.h5")
    assert found.status == "running"
    assert len(found.tiles) == 1
    with pytest.raises(BadInputError, match=r"no chip state, because the run did not finish \(status 'running'\)"):
        found.chip_state()


def test_a_stopped_run_states_no_error(make_task, tmp_path: Path) -> None:
    program_to_file(make_task(), "gdp", tmp_path / "run.h5", observer=CtrlC(3))
    with h5py.File(tmp_path / "run.h5") as file:
        assert file.attrs["status"] == "interrupted"
        assert "mvm_error" not in file.attrs
        assert len(file["tiles/0000/steps/mvms"]) == 3
        assert "reached" not in file["tiles/0000"]
        assert "chip_state" in file


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump is not installed")
def test_h5dump_reads_it(recorded) -> None:
    shown = subprocess.run(["h5dump", "-A", recorded[0]], capture_output=True, text=True, check=True).stdout
    assert "hwloop-run" in shown
