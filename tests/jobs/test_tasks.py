"""Jobs: a result equals that of the Python API, methods are compared fairly, and a chip is found as it was left."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import hwloop
from hwloop.calibration.programming.registry import make_method
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, ChipError, LimitError, MissingCapabilityError
from hwloop.files import hdf5
from hwloop.files.weights import load_weights
from hwloop.jobs.program import Progress
from hwloop.jobs.tasks import compare_to_file, evaluate_file, noise_floor, program_to_file
from hwloop.mapping.partition import MappingSettings
from hwloop.sim_backend.chip import SimulatedChip
from tests.conftest import OpenChip, gaussian
from tests.jobs.conftest import CHIP, FEW_STEPS, FOUR_CORES, CtrlC


def failing_mvm(monkeypatch: pytest.MonkeyPatch, good_calls: int) -> None:
    """Every simulated chip loses its link after this many MVMs."""
    mvm, calls = SimulatedChip._mvm, []

    def break_down(chip: SimulatedChip, core: int, x: np.ndarray) -> np.ndarray:
        calls.append(core)
        if len(calls) > good_calls:
            raise ChipError("the link is down; check the cable")
        return mvm(chip, core, x)

    monkeypatch.setattr(SimulatedChip, "_mvm", break_down)


# ---- program -----------------------------------------------------------------------------------------------------


def test_a_job_gives_what_the_python_api_gives(tmp_path: Path, make_task, open_chip: OpenChip) -> None:
    task = make_task(seed=5, age=60.0, mapping=MappingSettings(scale="core"))
    result = program_to_file(task, "gdp", tmp_path / "run.h5", settings=FEW_STEPS)
    run = hwloop.program(
        open_chip(CHIP),
        load_weights(task.weights),
        make_method("gdp", FEW_STEPS),
        mapping=MappingSettings(scale="core"),
        age=60.0,
        seed=5,
    )
    assert result["mvm_error"] == run.mvm_error
    assert result["cores"] == [item.as_json() for item in run.tiles]
    assert result["seconds_after_programming"] == 60.0
    assert result["status"] == "complete"


def test_the_file_grows_while_the_chip_is_programmed(tmp_path: Path, make_task) -> None:
    seen = []

    def look(progress: Progress) -> None:
        with h5py.File(tmp_path / "run.h5") as file:
            steps = file["tiles/0000/steps/mvms"]
            seen.append((file.attrs["status"], len(steps) <= progress.step.index + 1, "mvm_error" in file.attrs))

    program_to_file(make_task(), "gdp", tmp_path / "run.h5", settings=FEW_STEPS, observer=look)
    assert seen == [("running", True, False)] * 7


@pytest.mark.parametrize("capability", [Capability.DEVICE_READ, Capability.EXACT_PLACEMENT])
def test_a_method_that_the_chip_cannot_do_leaves_no_file(tmp_path: Path, make_task, without, capability) -> None:
    without(capability)
    method = "iterative" if capability is Capability.DEVICE_READ else "exact"
    with pytest.raises(MissingCapabilityError, match=capability.value):
        program_to_file(make_task(), method, tmp_path / "run.h5")
    assert not (tmp_path / "run.h5").exists()


def link_down(*_: object) -> None:
    raise ChipError("the link is down; check the cable")


def test_a_chip_that_fails_before_its_first_pulse_leaves_no_file(
    tmp_path: Path, make_task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimulatedChip, "_now", link_down)
    (tmp_path / "run.h5").write_text("the run of yesterday")
    with pytest.raises(ChipError):
        program_to_file(make_task(), "iterative", tmp_path / "run.h5", force=True)
    assert (tmp_path / "run.h5").read_text() == "the run of yesterday"


def test_a_chip_that_fails_midway_leaves_the_steps_so_far(
    tmp_path: Path, make_task, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_mvm(monkeypatch, good_calls=3)
    with pytest.raises(ChipError, match="check the cable"):
        program_to_file(make_task(), "gdp", tmp_path / "run.h5", settings=FEW_STEPS)
    with hdf5.open_file(tmp_path / "run.h5", hdf5.RUN_FORMAT) as file:
        assert file.attrs["status"] == "failed"
        assert file.attrs["error"] == "the link is down; check the cable"
        assert file["tiles/0000/steps/mvms"][:].tolist() == [0, 64, 128, 192]
    with pytest.raises(BadInputError, match=r"did not finish \(status 'failed'\)"):
        evaluate_file(tmp_path / "run.h5")


def test_a_chip_that_fails_in_its_first_pulses_leaves_a_record_of_them(
    tmp_path: Path, make_task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first step is done: the file says which devices may have been pulsed, and how it ended."""
    monkeypatch.setattr(SimulatedChip, "_pulse", link_down)
    with pytest.raises(ChipError):
        program_to_file(make_task(), "gdp", tmp_path / "run.h5", settings=FEW_STEPS)
    with hdf5.open_file(tmp_path / "run.h5", hdf5.RUN_FORMAT) as file:
        assert (file.attrs["status"], file.attrs["error"]) == ("failed", "the link is down; check the cable")
        assert "steps" not in file["tiles/0000"]
        assert file["cost"].attrs["pulses"] == file["tiles/0000/pulses"][:].sum() > 0


def test_a_chip_that_fails_after_its_error_was_measured_leaves_the_outcome(
    tmp_path: Path, make_task, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = program_to_file(make_task(), "gdp", tmp_path / "complete.h5", settings=FEW_STEPS)
    snapshot, asked = SimulatedChip.snapshot, []

    def once(chip: SimulatedChip) -> dict:
        asked.append(chip)
        return snapshot(chip) if len(asked) == 1 else link_down(chip)

    monkeypatch.setattr(SimulatedChip, "snapshot", once)
    with pytest.raises(ChipError):
        program_to_file(make_task(), "gdp", tmp_path / "run.h5", settings=FEW_STEPS)
    with hdf5.open_file(tmp_path / "run.h5", hdf5.RUN_FORMAT) as file, h5py.File(tmp_path / "complete.h5") as other:
        assert (file.attrs["status"], file.attrs["error"]) == ("failed", "the link is down; check the cable")
        assert file.attrs["mvm_error"] == complete["mvm_error"]
        for name in ("pulses", "reached", "column_gain"):
            assert np.array_equal(file["tiles/0000"][name], other["tiles/0000"][name])


def test_weights_are_never_overwritten(tmp_path: Path, make_task) -> None:
    task = make_task()
    before = Path(task.weights).read_bytes()
    with pytest.raises(BadInputError, match="holds the weights"):
        program_to_file(task, "gdp", task.weights, force=True)
    with pytest.raises(BadInputError, match="holds the weights"):
        compare_to_file(task, ["gdp"], task.weights, force=True)
    assert Path(task.weights).read_bytes() == before


# ---- compare -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    """Three methods, three times each; the result and the file."""
    folder = tmp_path_factory.mktemp("comparison")
    np.save(folder / "w.npy", gaussian(24, 32))
    task = hwloop.jobs.tasks.Task(str(folder / "w.npy"), CHIP)
    return compare_to_file(task, ["iterative", "gdp", "exact"], folder / "cmp.h5", repeats=3), folder / "cmp.h5"


def test_each_method_starts_from_the_same_chip(comparison, make_task, tmp_path: Path) -> None:
    task = make_task(gaussian(24, 32))
    for method in ("iterative", "gdp", "exact"):
        alone = program_to_file(task, method, tmp_path / f"{method}.h5")
        assert comparison[0]["methods"][method]["mvm_errors"][0] == alone["mvm_error"]
        assert comparison[0]["methods"][method]["cores"] == alone["cores"]


def test_repeats_differ_and_their_median_counts(comparison) -> None:
    for method in comparison[0]["methods"].values():
        assert len(set(method["mvm_errors"])) == 3
        assert method["mvm_error"] == sorted(method["mvm_errors"])[1]


def test_an_even_number_of_repeats_has_a_median_too(tmp_path: Path, make_task) -> None:
    result = compare_to_file(make_task(), ["exact"], tmp_path / "cmp.h5", repeats=2)["methods"]["exact"]
    assert result["mvm_error"] == pytest.approx(sum(result["mvm_errors"]) / 2)


def test_errors_are_related_to_the_noise_floor(comparison) -> None:
    floor, methods = comparison[0]["noise_floor"], comparison[0]["methods"]
    assert floor == methods["exact"]["mvm_error"]
    assert (methods["exact"]["over_floor"], methods["exact"]["excess_over_floor"]) == (1.0, 0.0)
    for name in ("gdp", "iterative"):
        error = methods[name]["mvm_error"]
        assert methods[name]["over_floor"] == pytest.approx(error / floor)
        assert methods[name]["excess_over_floor"] == pytest.approx(np.sqrt(error**2 - floor**2))
    assert methods["gdp"]["mvm_error"] < methods["iterative"]["mvm_error"]


def test_without_exact_the_floor_is_unknown(tmp_path: Path, make_task) -> None:
    result = compare_to_file(make_task(), ["gdp"], tmp_path / "cmp.h5", settings={"gdp": FEW_STEPS})
    assert result["noise_floor"] is None
    assert result["methods"]["gdp"]["over_floor"] is None


def test_a_comparison_holds_every_run_whole(comparison) -> None:
    with hdf5.open_file(comparison[1], hdf5.COMPARISON_FORMAT) as file:
        assert file.attrs["status"] == "complete"
        for name, method in comparison[0]["methods"].items():
            runs = [file[name][f"run_{k}"] for k in range(3)]
            assert [run.attrs["mvm_error"] for run in runs] == method["mvm_errors"]
            assert [run.attrs["seed"] for run in runs] == [0, 1, 2]
            assert all(run.attrs["status"] == "complete" and "chip_state" not in run for run in runs)
            assert json.loads(runs[0].attrs["result_json"])["mvm_error"] == method["mvm_errors"][0]


def test_ctrl_c_keeps_what_was_compared_so_far(tmp_path: Path, make_task) -> None:
    settings = {"gdp": FEW_STEPS, "iterative": {"max_steps": "3"}}
    result = compare_to_file(
        make_task(), ["gdp", "iterative", "exact"], tmp_path / "cmp.h5", settings=settings, observer=CtrlC(9)
    )
    assert result["status"] == "interrupted"
    assert list(result["methods"]) == ["gdp", "iterative"]
    assert [method["status"] for method in result["methods"].values()] == ["complete", "interrupted"]
    assert result["methods"]["iterative"]["mvm_error"] is None
    with hdf5.open_file(tmp_path / "cmp.h5", hdf5.COMPARISON_FORMAT) as file:
        assert file.attrs["status"] == "interrupted"
        assert [file[name]["run_0"].attrs["status"] for name in ("gdp", "iterative")] == ["complete", "interrupted"]


def test_a_chip_that_fails_in_the_second_method_keeps_the_first(
    tmp_path: Path, make_task, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_mvm(monkeypatch, good_calls=6)  # `exact` takes three: calibration, evaluation, map
    with pytest.raises(ChipError):
        compare_to_file(make_task(), ["exact", "gdp"], tmp_path / "cmp.h5")
    with hdf5.open_file(tmp_path / "cmp.h5", hdf5.COMPARISON_FORMAT) as file:
        assert file.attrs["status"] == "failed"
        assert [file[name]["run_0"].attrs["status"] for name in ("exact", "gdp")] == ["complete", "failed"]


def test_a_method_is_named_once(tmp_path: Path, make_task) -> None:
    with pytest.raises(BadInputError, match="'gdp,gdp' names a method twice; name each once"):
        compare_to_file(make_task(), ["gdp", "gdp"], tmp_path / "cmp.h5")


def test_the_pulse_budget_of_a_device_ends_repeats(tmp_path: Path, make_task, monkeypatch: pytest.MonkeyPatch) -> None:
    open_chip = hwloop.connect

    def frail(uri: str) -> hwloop.Backend:
        chip = open_chip(uri)
        chip._info = dataclasses.replace(chip.info, limits=dataclasses.replace(chip.info.limits, pulses_per_device=4))
        return chip

    monkeypatch.setattr("hwloop.jobs.tasks.connect", frail)
    settings = {"gdp": FEW_STEPS | {"max_pulses_per_device": "1"}}
    with pytest.raises(LimitError, match="budget of 4 pulses is spent"):
        compare_to_file(make_task(), ["gdp"], tmp_path / "cmp.h5", settings=settings, repeats=5)
    with hdf5.open_file(tmp_path / "cmp.h5", hdf5.COMPARISON_FORMAT) as file:
        assert [run.attrs["status"] for run in file["gdp"].values()] == ["complete"] * 4 + ["failed"]


# ---- noise floor and evaluate ------------------------------------------------------------------------------------


def test_the_noise_floor_is_the_error_of_exact_placement(tmp_path: Path, make_task, without) -> None:
    task = make_task()
    assert noise_floor(task) == program_to_file(task, "exact", tmp_path / "exact.h5")["mvm_error"]
    without(Capability.EXACT_PLACEMENT)
    assert noise_floor(task) is None


@pytest.mark.parametrize("method", ["gdp", "iterative", "exact"])
def test_a_chip_is_found_as_it_was_left(tmp_path: Path, make_task, method: str) -> None:
    task = make_task(gaussian(40, 60), FOUR_CORES)
    result = program_to_file(task, method, tmp_path / "run.h5")
    found = evaluate_file(tmp_path / "run.h5")
    assert found["mvm_error"] == pytest.approx(result["mvm_error"], rel=0.05)
    assert found["mvm_error"] != result["mvm_error"]  # other inputs, other noise
    assert found["mvm_error_in_run"] == result["mvm_error"]
    assert [core["core"] for core in found["cores"]] == [core["core"] for core in result["cores"]]
    assert found["chip_clock_seconds"] > result["seconds_after_programming"]


def test_evaluating_changes_nothing(tmp_path: Path, make_task) -> None:
    program_to_file(make_task(), "gdp", tmp_path / "run.h5", settings=FEW_STEPS)
    before = (tmp_path / "run.h5").read_bytes()
    assert evaluate_file(tmp_path / "run.h5") == evaluate_file(tmp_path / "run.h5")
    assert evaluate_file(tmp_path / "run.h5", seed=2)["mvm_error"] != evaluate_file(tmp_path / "run.h5")["mvm_error"]
    assert (tmp_path / "run.h5").read_bytes() == before


def test_a_stopped_run_can_be_evaluated(tmp_path: Path, make_task) -> None:
    result = program_to_file(make_task(), "gdp", tmp_path / "run.h5", settings=FEW_STEPS, observer=CtrlC(4))
    assert (result["status"], result["mvm_error"]) == ("interrupted", None)
    found = evaluate_file(tmp_path / "run.h5")
    assert 0.05 < found["mvm_error"] < 0.5
    assert found["mvm_error_in_run"] is None


def test_a_real_chip_is_measured_as_it_is(tmp_path: Path, make_task, without) -> None:
    without(Capability.STATE)
    program_to_file(make_task(), "gdp", tmp_path / "run.h5", settings=FEW_STEPS)
    with h5py.File(tmp_path / "run.h5") as file:
        assert "chip_state" not in file
    # This chip forgets: it comes back new, and evaluate must see that nothing of the weights is on it.
    assert evaluate_file(tmp_path / "run.h5", CHIP)["mvm_error"] == pytest.approx(1.0, abs=0.1)


def test_a_state_fits_no_other_chip(tmp_path: Path, make_task) -> None:
    program_to_file(make_task(), "exact", tmp_path / "run.h5")
    with pytest.raises(BadInputError, match=r"programmed on .*seed=1; .* not .*seed=2: leave --backend out"):
        evaluate_file(tmp_path / "run.h5", CHIP.replace("seed=1", "seed=2"))
    same = evaluate_file(tmp_path / "run.h5", "sim:hermes-core?seed=1&columns=32&rows=32")
    assert same["mvm_error"] == evaluate_file(tmp_path / "run.h5")["mvm_error"]


@pytest.mark.parametrize("missing", ["tiles", "tiles/0000/target", "chip_state", "backend"])
def test_a_run_that_lacks_a_part_is_refused(tmp_path: Path, make_task, missing: str) -> None:
    program_to_file(make_task(), "exact", tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5", "a") as file:
        del (file.attrs if missing in file.attrs else file)[missing]
    with pytest.raises(BadInputError, match=r"run\.h5"):
        evaluate_file(tmp_path / "run.h5")


def test_a_tile_of_zeros_has_no_error_of_its_own(tmp_path: Path, make_task) -> None:
    weights = gaussian(12, 40)
    weights[:, :32] = 0.0
    result = program_to_file(make_task(weights, FOUR_CORES), "exact", tmp_path / "run.h5")
    assert [core["mvm_error"] is None for core in result["cores"]] == [True, False]
    assert result["mvm_error"] < 0.2
    assert [core["mvm_error"] is None for core in evaluate_file(tmp_path / "run.h5")["cores"]] == [True, False]
