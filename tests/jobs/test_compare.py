"""Comparisons: every method starts from the same chip, repeats and the noise floor count, and every run is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, ChipError, LimitError, MissingCapabilityError
from hwloop.files import hdf5
from hwloop.jobs.compare import floor_of
from hwloop.jobs.inputs import weights_from
from tests.conftest import OpenChip, gaussian
from tests.jobs.conftest import CHIP, FEW_STEPS, WEIGHTS, CtrlC, OpenWithout, failing_mvm

MATRIX = gaussian(24, 32)
METHODS = ("iterative", "gdp", "exact")
BRIEF = (FEW_STEPS, hwloop.ProgramVerify(max_steps=3), "exact")
"""Three methods, of seven steps, a few, and one."""


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> tuple[hwloop.Comparison, Path]:
    """Three methods, three times each; the result and the file."""
    out = tmp_path_factory.mktemp("comparison") / "cmp.h5"
    return hwloop.compare(CHIP, MATRIX, METHODS, repeats=3, out=out), out


def test_each_method_starts_from_the_same_chip(comparison, open_chip: OpenChip) -> None:
    for method in METHODS:
        alone = hwloop.program(open_chip(CHIP), MATRIX, method)
        assert comparison[0].runs[method][0].mvm_error == alone.mvm_error
        assert comparison[0].runs[method][0].to_json()["cores"] == alone.to_json()["cores"]


def test_an_open_chip_starts_each_method_from_the_state_in_which_it_came(open_chip: OpenChip) -> None:
    """On a chip that was used before: in any order, the same numbers, and those of the method alone from there."""
    chip = open_chip(CHIP)
    hwloop.program(chip, MATRIX, FEW_STEPS, seed=9)
    state = chip.export_state()
    there = hwloop.compare(chip, MATRIX, BRIEF)
    for method in BRIEF:
        chip.import_state(state)
        name = method if isinstance(method, str) else method.name
        assert there.runs[name][0].mvm_error == hwloop.program(chip, MATRIX, method).mvm_error
    chip.import_state(state)
    back = hwloop.compare(chip, MATRIX, BRIEF[::-1])
    assert {name: back.mvm_error(name) for name in back.runs} == {name: there.mvm_error(name) for name in there.runs}
    assert list(back.runs) == ["exact", "iterative", "gdp"]
    assert chip.now() > 0  # still open


def test_repeats_differ_and_their_median_counts(comparison) -> None:
    for method, runs in comparison[0].runs.items():
        errors = [run.mvm_error for run in runs]
        assert len(set(errors)) == 3
        assert comparison[0].mvm_error(method) == sorted(errors)[1]
        assert comparison[0].to_json()["methods"][method]["mvm_errors"] == errors


def test_an_even_number_of_repeats_has_a_median_too() -> None:
    found = hwloop.compare(CHIP, WEIGHTS, ["exact"], repeats=2)
    errors = [run.mvm_error for run in found.runs["exact"]]
    assert found.mvm_error("exact") == pytest.approx(sum(errors) / 2)
    assert errors[0] != errors[1]


def test_errors_are_related_to_the_noise_floor(comparison) -> None:
    found, methods = comparison[0], comparison[0].to_json()["methods"]
    assert found.noise_floor == found.mvm_error("exact") == found.to_json()["noise_floor"]
    assert (methods["exact"]["over_floor"], methods["exact"]["excess_over_floor"]) == (1.0, 0.0)
    for name in ("gdp", "iterative"):
        error = found.mvm_error(name)
        assert methods[name]["over_floor"] == pytest.approx(error / found.noise_floor)
        assert methods[name]["excess_over_floor"] == pytest.approx(np.sqrt(error**2 - found.noise_floor**2))
    assert found.mvm_error("gdp") < found.mvm_error("iterative")


def test_without_exact_the_floor_is_unknown() -> None:
    found = hwloop.compare(CHIP, WEIGHTS, [FEW_STEPS])
    assert np.isnan(found.noise_floor)
    assert found.to_json()["noise_floor"] is None
    assert found.to_json()["methods"]["gdp"]["over_floor"] is None


def test_a_comparison_holds_every_run_whole(comparison) -> None:
    with hdf5.open_file(comparison[1], hdf5.COMPARISON_FORMAT) as file:
        assert file.attrs["status"] == "complete"
        for name, method in comparison[0].to_json()["methods"].items():
            runs = [file[name][f"run_{k}"] for k in range(3)]
            assert [run.attrs["mvm_error"] for run in runs] == method["mvm_errors"]
            assert [run.attrs["seed"] for run in runs] == [0, 1, 2]
            assert all(run.attrs["status"] == "complete" and "chip_state" not in run for run in runs)
            assert json.loads(runs[0].attrs["result_json"])["mvm_error"] == method["mvm_errors"][0]


def test_a_comparison_is_read_back(comparison) -> None:
    found = hwloop.load(comparison[1])
    assert isinstance(found, hwloop.Comparison)
    assert found.to_json() == comparison[0].to_json()
    for method, runs in comparison[0].runs.items():
        for run, read in zip(runs, found.runs[method], strict=True):
            assert np.array_equal(run.tiles[0].reached, read.tiles[0].reached)


def test_a_table_has_a_row_for_each_tile_of_each_run(comparison) -> None:
    table = comparison[0].to_dataframe()
    assert list(table.method) == [method for method in METHODS for _ in range(3)]
    assert list(table.repeat) == [0, 1, 2] * 3
    assert table.mvm_error.tolist() == pytest.approx(
        [run.mvm_error for runs in comparison[0].runs.values() for run in runs]
    )


def test_it_shows_itself_in_one_line(comparison) -> None:
    shown = repr(comparison[0])
    assert shown.startswith(f"<Comparison on {CHIP}: MVM errors iterative 0.")
    assert "\n" not in shown


def test_axes_show_every_method_and_the_floor(comparison) -> None:
    labels = comparison[0].plot().get_legend_handles_labels()[1]
    assert {"gdp, measured", "iterative, measured", f"noise floor {comparison[0].noise_floor:.4f}"} <= set(labels)


def test_progress_rises_over_all_methods_and_repeats() -> None:
    """Also over the repeats of a method of one step, which reports nothing but its end."""
    told: list[float] = []
    hwloop.compare(CHIP, WEIGHTS, BRIEF, repeats=2, progress=lambda done, total: told.append(done / total))
    assert told == sorted(set(told))
    assert told[-1] == 1.0
    assert told[6] == pytest.approx(1 / 6, abs=1e-3)


def test_ctrl_c_keeps_what_was_compared_so_far(tmp_path: Path) -> None:
    found = hwloop.compare(CHIP, WEIGHTS, BRIEF, out=tmp_path / "cmp.h5", progress=CtrlC(9))
    assert found.status == "interrupted"
    assert {name: run.status for name, (run,) in found.runs.items()} == {"gdp": "complete", "iterative": "interrupted"}
    assert found.to_json()["methods"]["iterative"]["mvm_error"] is None
    assert found.to_json()["methods"]["iterative"]["mvm_errors"] == [None]
    with hdf5.open_file(tmp_path / "cmp.h5", hdf5.COMPARISON_FORMAT) as file:
        assert file.attrs["status"] == "interrupted"
        assert [file[name]["run_0"].attrs["status"] for name in ("gdp", "iterative")] == ["complete", "interrupted"]
    assert list(hwloop.load(tmp_path / "cmp.h5").runs) == ["gdp", "iterative"]


def test_a_chip_that_fails_in_the_second_method_keeps_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_mvm(monkeypatch, good_calls=6)  # `exact` takes three: calibration, evaluation, map
    with pytest.raises(ChipError, match="check the cable"):
        hwloop.compare(CHIP, WEIGHTS, ["exact", "gdp"], out=tmp_path / "cmp.h5")
    with hdf5.open_file(tmp_path / "cmp.h5", hdf5.COMPARISON_FORMAT) as file:
        assert file.attrs["status"] == "failed"
        assert [file[name]["run_0"].attrs["status"] for name in ("exact", "gdp")] == ["complete", "failed"]


def test_what_the_last_method_cannot_do_is_known_before_the_first_one_runs(
    tmp_path: Path, open_without: OpenWithout
) -> None:
    chip = open_without(CHIP, Capability.EXACT_PLACEMENT)
    with pytest.raises(MissingCapabilityError, match="exact-placement"):
        hwloop.compare(chip, WEIGHTS, ["gdp", "exact"], out=tmp_path / "cmp.h5")
    assert chip.counts.pulses == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("methods", "repeats", "complaint"),
    [
        (["gdp", hwloop.GDP(max_steps=3)], 1, "'gdp,gdp' names a method twice; name each once"),
        ([], 1, "there is no method to compare; known: exact, gdp, iterative, sgd"),
        (["gdpp"], 1, "unknown method 'gdpp'; did you mean 'gdp'"),
        (["gdp"], 0, "repeats=0: expected 1 or more"),
    ],
)
def test_what_cannot_be_compared(tmp_path: Path, methods: list, repeats: int, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        hwloop.compare(CHIP, WEIGHTS, methods, repeats=repeats, out=tmp_path / "cmp.h5")
    assert not list(tmp_path.iterdir())


def test_the_pulse_budget_of_a_device_ends_repeats(tmp_path: Path, open_chip: OpenChip) -> None:
    chip = open_chip(CHIP)
    chip._info = dataclasses.replace(chip.info, limits=dataclasses.replace(chip.info.limits, pulses_per_device=4))
    method = hwloop.GDP(max_steps=6, max_pulses_per_device=1)
    with pytest.raises(LimitError, match="budget of 4 pulses is spent"):
        hwloop.compare(chip, WEIGHTS, [method], repeats=5, out=tmp_path / "cmp.h5")
    with hdf5.open_file(tmp_path / "cmp.h5", hdf5.COMPARISON_FORMAT) as file:
        assert [run.attrs["status"] for run in file["gdp"].values()] == ["complete"] * 4 + ["failed"]


# ---- the noise floor of a single run ---------------------------------------------------------------------------------


def test_the_noise_floor_is_the_error_of_exact_placement(open_chip: OpenChip) -> None:
    run = hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS, seed=2, age=60.0)
    exact = hwloop.program(open_chip(CHIP), WEIGHTS, "exact", seed=2, age=60.0)
    weights = weights_from(WEIGHTS)
    assert floor_of(run, weights, CHIP) == floor_of(exact, weights, CHIP) == exact.mvm_error


def test_a_chip_without_exact_placement_shows_no_floor(
    open_without: OpenWithout, monkeypatch: pytest.MonkeyPatch
) -> None:
    chip = open_without(CHIP, Capability.EXACT_PLACEMENT)
    run = hwloop.program(chip, WEIGHTS, FEW_STEPS)
    monkeypatch.setattr("hwloop.jobs.compare.connect", lambda uri: chip)
    assert floor_of(run, weights_from(WEIGHTS), CHIP) is None


@pytest.mark.parametrize("uri", [True, False])
def test_a_run_of_a_comparison_does_not_multiply_by_what_another_has_left(uri: bool, tmp_path: Path) -> None:
    """The chip holds the last run at most: the one before it must not be computed with that."""
    place = "sim:hermes-core?rows=8&columns=8&seed=1"
    message = r"one of a comparison, .* put its weights on a chip with hwloop\.program\(chip, weights, 'exact'\)"
    with hwloop.connect(place) as chip:
        found = hwloop.compare(place if uri else chip, np.eye(4), ["exact", "iterative"], out=tmp_path / "c.h5")
        for one in (found, hwloop.load(tmp_path / "c.h5")):
            with pytest.raises(hwloop.BadInputError, match=message):
                one.runs["exact"][0].matmul(np.ones(4))
