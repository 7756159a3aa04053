"""Evaluation: a chip is found as it was left, and a run that cannot be measured again says why."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.session import calibrate
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError
from hwloop.sim_backend.chip import SimulatedChip
from tests.conftest import OpenChip, gaussian
from tests.jobs.conftest import CHIP, FEW_STEPS, FOUR_CORES, WEIGHTS, CtrlC, OpenWithout


@pytest.fixture(scope="module")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps; tests only read it."""
    out = tmp_path_factory.mktemp("run") / "run.h5"
    with hwloop.connect(CHIP) as chip:
        hwloop.program(chip, WEIGHTS, FEW_STEPS, out=out)
    return out


@pytest.mark.parametrize("method", ["gdp", "iterative", "exact"])
def test_a_chip_is_found_as_it_was_left(tmp_path: Path, open_chip: OpenChip, method: str) -> None:
    run = hwloop.program(open_chip(FOUR_CORES), gaussian(40, 60), method, out=tmp_path / "run.h5")
    found = hwloop.evaluate(tmp_path / "run.h5")
    assert found.mvm_error == pytest.approx(run.mvm_error, rel=0.05)
    assert found.mvm_error != run.mvm_error  # other inputs, other noise
    assert found.mvm_error_in_run == run.mvm_error
    assert [tile.core for tile in found.tiles] == [tile.tile.place.core for tile in run.tiles]
    assert found.chip_clock > run.age


def test_a_fresh_run_is_measured_on_the_chip_that_holds_it(open_chip: OpenChip) -> None:
    """No state is put back: the clock goes on, and what happened to the chip since is seen."""
    chip = open_chip(CHIP)
    run = hwloop.program(chip, WEIGHTS, "exact")
    before = chip.now()
    first = hwloop.evaluate(run)
    assert first.mvm_error == pytest.approx(run.mvm_error, rel=0.1)
    chip.wait(1e7)
    later = hwloop.evaluate(run, chip)
    assert later.chip_clock > before + 1e7
    assert later.mvm_error > 1.2 * first.mvm_error


def test_evaluating_changes_nothing(run_file: Path) -> None:
    before = run_file.read_bytes()
    assert hwloop.evaluate(run_file) == hwloop.evaluate(run_file)
    assert hwloop.evaluate(run_file, seed=2).mvm_error != hwloop.evaluate(run_file).mvm_error
    assert run_file.read_bytes() == before


def test_it_shows_itself_in_one_line(run_file: Path) -> None:
    found = hwloop.evaluate(run_file)
    assert repr(found) == (f"<Evaluation on {CHIP}: MVM error {found.mvm_error:.4f}, was {found.mvm_error_in_run:.4f}>")


def test_a_stopped_run_can_be_evaluated(tmp_path: Path, open_chip: OpenChip) -> None:
    run = hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS, out=tmp_path / "run.h5", progress=CtrlC(4))
    assert run.interrupted
    assert np.isnan(run.mvm_error)
    found = hwloop.evaluate(tmp_path / "run.h5")
    assert 0.05 < found.mvm_error < 0.5
    assert np.isnan(found.mvm_error_in_run)
    assert found.to_json()["mvm_error_in_run"] is None


def test_a_real_chip_is_measured_as_it_is(tmp_path: Path, open_without: OpenWithout) -> None:
    hwloop.program(open_without(CHIP, Capability.STATE), WEIGHTS, FEW_STEPS, out=tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5") as file:
        assert "chip_state" not in file
    # This chip forgets: it comes back new, and evaluate must see that nothing of the weights is on it.
    found = hwloop.evaluate(tmp_path / "run.h5", open_without(CHIP, Capability.STATE))
    assert found.mvm_error == pytest.approx(1.0, abs=0.1)


@pytest.mark.filterwarnings("ignore:the MVM error is 1")  # the chip is opened anew and holds no weights
def test_evaluating_writes_the_trims_of_the_runs_calibration_first(
    tmp_path: Path, open_chip: OpenChip, open_without: OpenWithout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real chip may have been switched off since: whatever is in its registers, outputs are read under the trims."""
    uri = f"{CHIP}&adc_offset_spread=3"
    known = calibrate(open_chip(uri), Plan(("adc",)))
    known.save(tmp_path / "c.h5")
    hwloop.program(open_chip(uri), WEIGHTS, "exact", calibration=tmp_path / "c.h5", out=tmp_path / "run.h5")
    seen, mvm = list[np.ndarray](), SimulatedChip._mvm

    def watched(chip: SimulatedChip, core: int, x: np.ndarray) -> np.ndarray:
        seen.append(chip.trims(core)[0])
        return mvm(chip, core, x)

    monkeypatch.setattr(SimulatedChip, "_mvm", watched)
    found = hwloop.evaluate(tmp_path / "run.h5", open_without(uri, Capability.STATE))
    assert found.calibration == str(tmp_path / "c.h5")
    assert np.abs(known.cores[0].trims.offset).max() > 3
    assert seen
    assert all(np.array_equal(offset, known.cores[0].trims.offset) for offset in seen)


def test_a_state_fits_no_other_chip(run_file: Path, open_chip: OpenChip) -> None:
    with pytest.raises(BadInputError, match=r"programmed on .*seed=1; .* not .*seed=2: leave --backend out"):
        hwloop.evaluate(run_file, open_chip(CHIP.replace("seed=1", "seed=2")))
    same = hwloop.evaluate(run_file, open_chip("sim:hermes-core?seed=1&columns=32&rows=32"))
    assert same.mvm_error == hwloop.evaluate(run_file).mvm_error


@pytest.mark.parametrize("missing", ["tiles", "tiles/0000/target", "chip_state", "backend"])
def test_a_run_that_lacks_a_part_is_refused(tmp_path: Path, open_chip: OpenChip, missing: str) -> None:
    hwloop.program(open_chip(CHIP), WEIGHTS, "exact", out=tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5", "a") as file:
        del (file.attrs if missing in file.attrs else file)[missing]
    with pytest.raises(BadInputError, match=r"run\.h5"):
        hwloop.evaluate(tmp_path / "run.h5")


def test_what_is_no_run() -> None:
    with pytest.raises(BadInputError, match=r"ndarray is no run; give what hwloop\.program returns, or a run file"):
        hwloop.evaluate(WEIGHTS)


def test_a_tile_of_zeros_has_no_error_of_its_own(tmp_path: Path, open_chip: OpenChip) -> None:
    weights = gaussian(12, 40)
    weights[:, :32] = 0.0
    run = hwloop.program(open_chip(FOUR_CORES), weights, "exact", out=tmp_path / "run.h5")
    assert [core["mvm_error"] is None for core in run.to_json()["cores"]] == [True, False]
    assert run.mvm_error < 0.2
    found = hwloop.evaluate(tmp_path / "run.h5")
    assert [core["mvm_error"] is None for core in found.to_json()["cores"]] == [True, False]


def test_an_unchanged_chip_has_not_moved_and_one_that_drifted_has(open_chip: OpenChip) -> None:
    chip = open_chip(CHIP)
    run = hwloop.program(chip, WEIGHTS, "exact")
    low, high = run.mvm_error_interval
    assert 0 < low < run.mvm_error < high < 1.2 * run.mvm_error
    found = hwloop.evaluate(run)
    assert found.moved is False
    assert found.mvm_error_interval_in_run == (low, high)
    assert found.mvm_error_interval[0] < found.mvm_error < found.mvm_error_interval[1]
    chip.wait(1e7)
    assert hwloop.evaluate(run).moved is True


def test_a_file_without_an_interval_says_nothing_of_having_moved(run_file: Path, tmp_path: Path) -> None:
    older = tmp_path / "older.h5"
    older.write_bytes(run_file.read_bytes())
    assert hwloop.evaluate(older).moved is not None
    with h5py.File(older, "r+") as file:
        for end in ("low", "high"):
            del file.attrs[f"mvm_error_{end}"]
    found = hwloop.evaluate(older)
    assert found.moved is None
    assert found.to_json()["mvm_error_interval_in_run"] is None
    assert found.to_json()["mvm_error_interval"] == list(found.mvm_error_interval)
