"""Programming into a file: it grows with the job, and whatever ends the job, the file says what was done."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import hwloop
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, ChipError, MissingCapabilityError
from hwloop.files import hdf5
from hwloop.files.run_reader import read_state
from hwloop.files.run_writer import write_state
from hwloop.mapping.sharing import MappingSettings
from hwloop.sim_backend.chip import SimulatedChip
from tests.conftest import OpenChip
from tests.jobs.conftest import CHIP, FEW_STEPS, LINK_DOWN, WEIGHTS, CtrlC, OpenWithout, failing_mvm, link_down


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    np.save(tmp_path / "w.npy", WEIGHTS)
    return tmp_path / "w.npy"


def test_a_file_changes_no_number(tmp_path: Path, open_chip: OpenChip) -> None:
    asked = {"age": 60.0, "seed": 5, "mapping": MappingSettings(scale="core")}
    filed = hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS, out=tmp_path / "run.h5", **asked)
    in_memory = hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS, **asked)
    assert filed.mvm_error == in_memory.mvm_error
    assert filed.to_json()["cores"] == in_memory.to_json()["cores"]
    assert (filed.age, filed.status) == (60.0, "complete")
    assert hwloop.load(tmp_path / "run.h5").to_json() == filed.to_json()


def test_a_packed_state_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    """Few different numbers, many, and negative zeros among them; and as earlier versions wrote it, unpacked."""
    rng = np.random.default_rng(0)
    state = {
        "clock": np.array(3.5),
        "core0/born": rng.choice([-1e6, -0.0, 0.0, 0.1, 7.25], 5000),
        "core0/many": rng.normal(size=70_000),
        "core0/rare": np.where(np.arange(9000) % 1000 == 501, rng.normal(size=9000), 4.0),
        "core0/g": rng.normal(size=5000).astype(np.float32),
        "ledger/0": rng.integers(0, 9, 5000, np.int32),
    }
    with h5py.File(tmp_path / "state.h5", "w") as file:
        write_state(file.create_group("new"), state)
        for name, array in state.items():
            file[f"old/{name}"] = array
        assert sum(file["new/core0"][name].id.get_storage_size() for name in ("born codes", "born values")) < 4000
        for found in (read_state(file["new"]), read_state(file["old"])):
            assert found.keys() == state.keys()
            for name, array in state.items():
                assert found[name].dtype == array.dtype
                assert found[name].tobytes() == array.tobytes()


def test_a_duration_is_an_age(open_chip: OpenChip) -> None:
    runs = [hwloop.program(open_chip(CHIP), WEIGHTS, "exact", age=age) for age in ("1h", 3600)]
    assert [run.age for run in runs] == [3600.0, 3600.0]
    assert runs[0].mvm_error == runs[1].mvm_error
    for wrong in ("soon", True, [1.0]):
        with pytest.raises(BadInputError, match="duration"):
            hwloop.program(open_chip(CHIP), WEIGHTS, "exact", age=wrong)


def test_the_file_grows_while_the_chip_is_programmed(tmp_path: Path, open_chip: OpenChip) -> None:
    seen = []

    def look(done: int, total: int) -> None:
        with h5py.File(tmp_path / "run.h5") as file:
            steps = file["tiles/0000/steps/mvms"]
            seen.append((file.attrs["status"], 0 < len(steps) <= done, "mvm_error" in file.attrs))

    hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS, out=tmp_path / "run.h5", progress=look)
    assert seen == [("running", True, False)] * 7


@pytest.mark.parametrize("capability", [Capability.DEVICE_READ, Capability.EXACT_PLACEMENT])
def test_a_method_that_the_chip_cannot_do_leaves_no_file(
    tmp_path: Path, open_without: OpenWithout, capability: Capability
) -> None:
    chip = open_without(CHIP, capability)
    method = "iterative" if capability is Capability.DEVICE_READ else "exact"
    with pytest.raises(MissingCapabilityError, match=capability.value):
        hwloop.program(chip, WEIGHTS, method, out=tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())


def test_a_chip_that_fails_before_its_first_pulse_leaves_no_file(
    tmp_path: Path, open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimulatedChip, "_now", link_down)
    (tmp_path / "run.h5").write_text("the run of yesterday")
    with pytest.raises(ChipError, match=LINK_DOWN):
        hwloop.program(open_chip(CHIP), WEIGHTS, "iterative", out=tmp_path / "run.h5", force=True)
    assert (tmp_path / "run.h5").read_text() == "the run of yesterday"


def test_a_chip_that_fails_midway_leaves_the_steps_so_far(
    tmp_path: Path, open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_mvm(monkeypatch, good_calls=3)
    with pytest.raises(ChipError, match="check the cable"):
        hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS, out=tmp_path / "run.h5")
    with hdf5.open_file(tmp_path / "run.h5", hdf5.RUN_FORMAT) as file:
        assert (file.attrs["status"], file.attrs["error"]) == ("failed", LINK_DOWN)
        assert file["tiles/0000/steps/mvms"][:].tolist() == [0, 64, 128, 192]
        assert file["cost"].attrs["pulses"] == file["tiles/0000/pulses"][:].sum() > 0
    with pytest.raises(BadInputError, match=r"did not finish \(status 'failed'\)"):
        hwloop.evaluate(tmp_path / "run.h5")


def test_a_chip_that_fails_in_its_first_pulses_leaves_a_record_of_them(
    tmp_path: Path, open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first step is done: the file says which devices may have been pulsed, and how it ended."""
    monkeypatch.setattr(SimulatedChip, "_pulse", link_down)
    with pytest.raises(ChipError, match="check the cable") as failure:
        hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS, out=tmp_path / "run.h5")
    path = tmp_path / "run.h5"
    assert failure.value.__notes__ == [f"what was done until then is in {path}; hwloop resume {path} goes on"]
    with hdf5.open_file(tmp_path / "run.h5", hdf5.RUN_FORMAT) as file:
        assert (file.attrs["status"], file.attrs["error"]) == ("failed", LINK_DOWN)
        assert "steps" not in file["tiles/0000"]
        assert file["cost"].attrs["pulses"] == file["tiles/0000/pulses"][:].sum() > 0


def test_a_chip_that_fails_after_its_error_was_measured_leaves_the_outcome(
    tmp_path: Path, open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS)
    snapshot, asked = SimulatedChip._snapshot, []

    def once(chip: SimulatedChip) -> dict:
        asked.append(chip)
        return snapshot(chip) if len(asked) == 1 else link_down(chip)

    monkeypatch.setattr(SimulatedChip, "_snapshot", once)
    with pytest.raises(ChipError, match="check the cable"):
        hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS, out=tmp_path / "run.h5")
    with hdf5.open_file(tmp_path / "run.h5", hdf5.RUN_FORMAT) as file:
        assert (file.attrs["status"], file.attrs["error"]) == ("failed", LINK_DOWN)
        assert file.attrs["mvm_error"] == complete.mvm_error
        for name in ("pulses", "reached"):
            assert np.array_equal(file["tiles/0000"][name], getattr(complete.tiles[0], name))
        assert np.array_equal(file["tiles/0000/column_gain"], complete.tiles[0].correction.gain)


def test_a_run_that_was_stopped_in_its_measurement_is_interrupted_and_keeps_its_state(
    tmp_path: Path, open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after programming: nothing is lost, and the state is that at the end of programming."""

    def press_ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hwloop.jobs.program.evaluate_tile", press_ctrl_c)
    run = hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS, out=tmp_path / "run.h5")
    assert run.interrupted
    found = hwloop.load(tmp_path / "run.h5")
    assert (found.status, len(found.tiles[0].steps.mvms), found.record.programmed_at) == (
        "interrupted", 7, run.record.programmed_at,
    )  # fmt: skip
    monkeypatch.undo()
    whole = hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS)
    assert hwloop.evaluate(found).mvm_error == pytest.approx(whole.mvm_error, rel=0.1)


def test_weights_are_never_overwritten(weights_file: Path, open_chip: OpenChip) -> None:
    before = weights_file.read_bytes()
    with pytest.raises(BadInputError, match="holds the weights"):
        hwloop.program(open_chip(CHIP), weights_file, out=weights_file, force=True)
    with pytest.raises(BadInputError, match="holds the weights"):
        hwloop.compare(CHIP, weights_file, ["gdp"], out=weights_file, force=True)
    assert weights_file.read_bytes() == before


def test_a_file_that_exists_is_refused_before_anything_is_sent(tmp_path: Path, open_chip: OpenChip) -> None:
    (tmp_path / "run.h5").write_text("the run of yesterday")
    chip = open_chip(CHIP)
    with pytest.raises(BadInputError, match=r"run\.h5 exists; use --force"):
        hwloop.program(chip, WEIGHTS, FEW_STEPS, out=tmp_path / "run.h5")
    assert chip.counts.pulses == 0
    assert (tmp_path / "run.h5").read_text() == "the run of yesterday"
    assert hwloop.program(chip, WEIGHTS, FEW_STEPS, out=tmp_path / "run.h5", force=True).status == "complete"


def test_a_stopped_run_states_no_error(tmp_path: Path, open_chip: OpenChip) -> None:
    hwloop.program(open_chip(CHIP), WEIGHTS, "gdp", out=tmp_path / "run.h5", progress=CtrlC(3))
    with h5py.File(tmp_path / "run.h5") as file:
        assert file.attrs["status"] == "interrupted"
        assert "mvm_error" not in file.attrs
        assert len(file["tiles/0000/steps/mvms"]) == 3
        assert "reached" not in file["tiles/0000"]
        assert "chip_state" in file
