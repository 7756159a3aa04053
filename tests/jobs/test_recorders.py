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
from hwloop.calibration.programming.registry import method_from
from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.files.run_reader import read_run
from hwloop.files.run_writer import LIBRARIES
from hwloop.files.runs import StepSeries
from hwloop.jobs.inputs import weights_from
from hwloop.jobs.program import Programming, Task
from hwloop.jobs.recorders import Recorder
from hwloop.mapping.sharing import MappingSettings
from tests.conftest import OpenChip, gaussian
from tests.jobs.conftest import CHIP, FOUR_CORES

WEIGHTS = gaussian(12, 40)
"""Needs two tiles of a 32 x 32 core."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, hwloop.Run]:
    """A run file, the result that was reported, and the run itself."""
    folder = tmp_path_factory.mktemp("recorded")
    np.save(folder / "w.npy", WEIGHTS)
    method = hwloop.ProgramVerify(max_steps=4, gain=0.8)
    with hwloop.connect(FOUR_CORES) as chip:
        run = hwloop.program(chip, folder / "w.npy", method, seed=3, out=folder / "run.h5")
    return folder / "run.h5", run.to_json(), run


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
        again = method_from("iterative", {name: str(provenance["settings"].attrs[name]) for name in settings})
        assert {name: getattr(again, name) for name in settings} == settings
        assert dict(provenance["settings"].attrs) == dataclasses.asdict(again)
        assert dict(provenance["mapping"].attrs) == dataclasses.asdict(MappingSettings(split="auto"))
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
    path, result, run = recorded
    with h5py.File(path) as file:
        for number, core in enumerate(result["cores"]):
            steps = file[f"tiles/{number:04d}/steps"]
            assert len(steps["mvms"]) > 1
            for field in dataclasses.fields(StepSeries):
                told = getattr(run.tiles[number].steps, field.name)
                assert np.array_equal(steps[field.name][:], told, equal_nan=True), field.name
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
    """The state is that at the end of programming: before the age passed at which the error is measured."""
    chip, states = open_chip(FOUR_CORES), []

    class Watched(type(chip)):
        """Exports its state when it begins to wait for the target age."""

        def _wait(self, seconds: float) -> None:
            if seconds == 200.0:
                states.append(self.export_state())
            super()._wait(seconds)

    chip.__class__ = Watched
    run = hwloop.program(chip, {"w": WEIGHTS}, "exact", out=tmp_path / "run.h5")
    found = read_run(tmp_path / "run.h5")
    for read, item in zip(found.tiles, run.tiles, strict=True):
        plain = {"target": 0, "scale": 0, "table": None}
        assert dataclasses.replace(read.tile, **plain) == dataclasses.replace(item.tile, **plain)
        assert np.array_equal(read.tile.weights, item.tile.weights)
        assert np.array_equal(read.tile.device_targets(chip.info), item.tile.device_targets(chip.info))
    state, (exported,) = found.chip_state(), states
    assert state.keys() == exported.keys()
    assert all(np.array_equal(state[name], exported[name]) for name in state)


def test_split_and_clipping_are_on_file(tmp_path: Path, open_chip: OpenChip) -> None:
    chip, weights = open_chip("sim:hermes-core?rows=256&columns=4&seed=1"), gaussian(4, 256)
    asked = MappingSettings(clip="auto")
    run = hwloop.program(chip, {"w": weights}, "exact", mapping=asked, out=tmp_path / "run.h5")
    found = read_run(tmp_path / "run.h5")
    (tile,), (core,) = found.tiles, run.to_json()["cores"]
    assert found.provenance.mapping == MappingSettings(split="auto", clip="auto")
    assert tile.tile.clipping == run.tiles[0].tile.clipping
    assert (core["split"], core["clipped_weights"]) == ("auto", tile.tile.clipping.share)
    assert 0 < core["clipped_weights"] < 0.05
    assert 0 < core["clipping_error"] < core["mvm_error"]
    assert tile.tile.weights == pytest.approx(weights.T, abs=1e-12)


def test_files_from_before_there_was_another_split_filled_devices(tmp_path: Path, open_chip: OpenChip) -> None:
    chip, path = open_chip(CHIP), tmp_path / "run.h5"
    hwloop.program(chip, {"w": gaussian(12, 16)}, "exact", mapping=MappingSettings(split="fill"), out=path)
    with h5py.File(path, "a") as file:
        assert "split_table" not in file["tiles/0000"]
        del file["provenance/mapping"]
    found = read_run(path)
    assert found.provenance.mapping == MappingSettings(split="fill")
    assert found.tiles[0].tile.split == "fill"
    assert found.tiles[0].tile.table is None
    assert found.tiles[0].to_json()["clipped_weights"] == 0.0


def test_an_unfinished_run_says_so(tmp_path: Path, open_chip: OpenChip) -> None:
    chip = open_chip(CHIP)
    work = Programming(Task(weights_from({"w": gaussian(12, 16)}), hwloop.Exact()), chip)
    with hdf5.WholeFileWriter(tmp_path / "run.h5", hdf5.RUN_FORMAT) as writer:
        Recorder(writer, writer.file).begin(work.record(), chip.snapshot())
        writer.commit()
    found = read_run(tmp_path / "run.h5")
    assert found.status == "killed"  # nobody writes it
    assert len(found.tiles) == 1
    with pytest.raises(BadInputError, match=r"no chip state, because the run did not finish \(status 'killed'\)"):
        found.chip_state()
    with pytest.raises(BadInputError, match=r"does not say when programming ended \(status 'killed'\)"):
        found.end()


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump is not installed")
def test_h5dump_reads_it(recorded) -> None:
    shown = subprocess.run(["h5dump", "-A", recorded[0]], capture_output=True, text=True, check=True).stdout
    assert "hwloop-run" in shown
