"""Programming in Python: program, watch, stop, and an error that means what it says."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.use import region_of
from hwloop.calibration.evaluation import Outputs, evaluate_tile, overall_error
from hwloop.calibration.probes import uniform_inputs
from hwloop.calibration.programming.base import AGES
from hwloop.calibration.programming.registry import method_from
from hwloop.chip.region import Place
from hwloop.errors import BadInputError, CalibrationWarning
from hwloop.jobs.inputs import weights_from
from hwloop.jobs.program import Programming, Task
from hwloop.jobs.progress import silent
from hwloop.mapping.tile import Tile
from hwloop.units import finite
from tests.conftest import OpenChip, gaussian
from tests.jobs.conftest import CHIP, FOUR_CORES, CtrlC

SIX_STEPS = hwloop.GDP(max_steps=6)
WIDE = gaussian(40, 40)
"""Needs four tiles of a 32 x 32 core."""


# ---- programming -------------------------------------------------------------------------------------------------


def test_ten_lines_of_python(open_chip: OpenChip) -> None:
    run = hwloop.program(open_chip(CHIP), {"fc1": gaussian(12, 16), "fc2": gaussian(10, 12)})
    assert [tile.tile.tensor for tile in run.tiles] == ["fc1", "fc2"]
    assert 0.01 < run.mvm_error < 0.12
    assert run.mvm_error < run.tiles[0].mvm_error_before
    assert run.age == 200.0
    assert (run.method, run.status, run.interrupted) == ("gdp", "complete", False)


def test_the_same_seeds_give_the_same_run(open_chip: OpenChip) -> None:
    first, second, other_inputs, other_chip = (
        hwloop.program(open_chip(uri), gaussian(12, 16), SIX_STEPS, seed=seed)
        for uri, seed in ((CHIP, 0), (CHIP, 0), (CHIP, 1), (CHIP.replace("seed=1", "seed=2"), 0))
    )
    assert first.mvm_error == second.mvm_error
    assert np.array_equal(first.tiles[0].reached, second.tiles[0].reached)
    assert np.array_equal(first.tiles[0].pulses, second.tiles[0].pulses)
    assert first.tiles[0].to_json() == second.tiles[0].to_json()
    assert len({first.mvm_error, other_inputs.mvm_error, other_chip.mvm_error}) == 3


def test_progress_tells_of_every_step_of_every_tile(open_chip: OpenChip) -> None:
    told: list[tuple[int, int]] = []
    hwloop.program(open_chip(FOUR_CORES), WIDE, SIX_STEPS, progress=lambda done, total: told.append((done, total)))
    assert told == [(number, 4 * 7) for number in range(1, 4 * 7 + 1)]


def test_tiles_are_programmed_in_lockstep(open_chip: OpenChip) -> None:
    """No tile takes a step before all others have taken the one before."""
    run = hwloop.program(open_chip(FOUR_CORES), WIDE, SIX_STEPS)
    moments = np.array([tile.steps.chip_time for tile in run.tiles])
    assert moments.shape == (4, 7)
    assert np.all(np.diff(moments, axis=0) >= 0)
    assert np.all(moments[:, :-1].max(0) < moments[:, 1:].min(0))
    vectors = run.tiles[2].steps.mvms.tolist()
    assert vectors == [64 * step for step in range(7)]
    assert vectors[-1] == run.tiles[2].to_json()["mvms"]


def test_a_run_is_mapped_before_anything_is_sent(open_chip: OpenChip) -> None:
    chip = open_chip(CHIP)
    work = Programming(Task(weights_from(gaussian(12, 16)), SIX_STEPS), chip)
    assert (len(work.tiles), chip.counts.pulses, chip.now()) == (1, 0, 0.0)
    assert work.record().status == "running"


def test_ctrl_c_ends_between_steps_with_what_was_done(open_chip: OpenChip) -> None:
    chip = open_chip(FOUR_CORES)
    run = hwloop.program(chip, WIDE, SIX_STEPS, progress=CtrlC(6))
    assert run.interrupted
    assert [len(tile.steps.mvms) for tile in run.tiles] == [2, 2, 1, 1]
    assert np.isnan(run.mvm_error)
    assert run.to_json()["mvm_error"] is None
    assert run.tiles[0].to_json()["mvm_error"] is None
    assert run.tiles[0].pulses.min() == 1
    # The chip is in a defined state: the same cells can be programmed again.
    again = hwloop.program(chip, WIDE, SIX_STEPS)
    assert again.mvm_error < 0.15


def test_an_error_of_some_tiles_alone_is_none(open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C when two of four tiles were measured: their errors are told, and none over all."""
    measured: list[int] = []

    def two_of_four(region, tile, seed, number):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(number)
        return evaluate_tile(region, tile, seed, number)

    monkeypatch.setattr("hwloop.jobs.program.evaluate_tile", two_of_four)
    run = hwloop.program(open_chip(FOUR_CORES), WIDE, "exact")
    assert run.interrupted
    assert np.isnan(run.mvm_error)
    assert [bool(np.isfinite(tile.mvm_error)) for tile in run.tiles] == [True, True, False, False]


# ---- what it cost ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gdp", "iterative", "sgd", "exact"])
def test_costs_add_up_to_what_the_chip_counted(open_chip: OpenChip, method: str) -> None:
    chip, counts = open_chip(FOUR_CORES), []
    chosen = method_from(method, {} if method in ("exact", "sgd") else {"max_steps": "3"})
    run = hwloop.program(chip, WIDE, chosen, progress=lambda done, total: counts.append(chip.counts))
    cores = [tile.to_json() for tile in run.tiles]
    assert sum(core["mvms"] for core in cores) == counts[-1].mvms
    assert sum(core["device_reads"] for core in cores) == counts[-1].device_reads
    assert sum(core["pulses_per_device"] * core["devices"] for core in cores) == pytest.approx(counts[-1].pulses)
    assert max(core["chip_seconds"] for core in cores) == pytest.approx(counts[-1].chip_seconds, abs=1e-9)
    assert [core["max_pulses_on_a_device"] for core in cores] == [int(tile.pulses.max()) for tile in run.tiles]
    assert (counts[-1].device_reads > 0) == (method == "iterative")


def test_tiles_that_share_a_core_are_counted_apart(open_chip: OpenChip) -> None:
    run = hwloop.program(open_chip(CHIP), {"a": gaussian(8, 16), "b": gaussian(20, 10)}, SIX_STEPS)
    cores = [tile.to_json() for tile in run.tiles]
    assert [core["core"] for core in cores] == [0, 0]
    assert [core["devices"] for core in cores] == [4 * 8 * 16, 4 * 20 * 10]
    assert [core["mvms"] for core in cores] == [6 * 64, 6 * 64]
    assert all(1.0 <= core["pulses_per_device"] < 3.0 for core in cores)


def test_stuck_devices_are_reported(open_chip: OpenChip) -> None:
    core, healthy = (
        hwloop.program(open_chip(f"{CHIP}&stuck_rate={rate}"), gaussian(32, 32), "iterative").tiles[0].to_json()
        for rate in (0.05, 0)
    )
    assert core["stuck_cells"] > 10 > healthy["stuck_cells"]
    assert core["unconverged_cells"] > healthy["unconverged_cells"]


# ---- the error ---------------------------------------------------------------------------------------------------


def error_by_hand(chip: hwloop.Backend, run: hwloop.Run, weights: np.ndarray, vectors: int = 4096) -> float:
    """Relative error of the whole product of one tensor (outputs, inputs), tiles added up where rows continue."""
    x = uniform_inputs(np.random.default_rng(99), vectors, weights.shape[1], chip.info.input_max)
    y = np.zeros((vectors, weights.shape[0]))
    for item in run.tiles:
        first, place = item.tile, item.tile.place
        rows = slice(first.first_input, first.first_input + place.rows)
        columns = slice(first.first_output, first.first_output + place.columns)
        y[:, columns] += item.correction.apply(region_of(chip, item.tile).mvm(x[:, rows]))
    ideal = x / chip.info.input_max @ weights.T
    return float(np.linalg.norm(y - ideal) / np.linalg.norm(ideal))


@pytest.mark.parametrize("method", ["exact", "gdp"])
def test_a_matrix_larger_than_a_core_adds_up_digitally(open_chip: OpenChip, method: str) -> None:
    chip, weights = open_chip(CHIP + "&cores=8"), gaussian(40, 70)
    run = hwloop.program(chip, weights, method)
    covered = Counter((item.tile.first_input, item.tile.first_output) for item in run.tiles)
    assert covered == dict.fromkeys([(i, o) for i in (0, 32, 64) for o in (0, 32)], 1)
    assert run.mvm_error == pytest.approx(error_by_hand(chip, run, weights), rel=0.05)


def test_without_noise_every_cell_is_where_it_should_be(open_chip: OpenChip) -> None:
    chip = open_chip("sim:pcm-ideal?rows=32&columns=32&cores=8")
    run = hwloop.program(chip, gaussian(40, 70), "exact")
    assert run.mvm_error < 1e-5
    assert run.tiles[0].reached == pytest.approx(run.tiles[0].tile.target, abs=0.002 * chip.info.g_max)


def test_more_noise_is_more_error(open_chip: OpenChip) -> None:
    errors = [
        hwloop.program(open_chip(f"{CHIP}&read_noise={scale}"), gaussian(32, 32), "exact").mvm_error
        for scale in (0.5, 1, 2)
    ]
    assert errors == sorted(errors)
    assert errors[2] > 1.5 * errors[1]


def test_every_seed_and_every_tile_is_evaluated_by_inputs_of_its_own(open_chip: OpenChip) -> None:
    work = Programming(Task(weights_from(gaussian(12, 16)), hwloop.Exact()), open_chip(CHIP))
    work.run(silent)
    item = work.tiles[0]
    references = [
        evaluate_tile(item.region, item.tile, seed, number)[1].reference for seed, number in ((0, 0), (1, 0), (0, 1))
    ]
    assert np.array_equal(references[0], item.outputs.reference)
    assert not any(np.array_equal(references[0], other) for other in references[1:])


def tile(tensor: str, first_output: int) -> Tile:
    return Tile(tensor, Place(0, 0, 0, 1, 1), 0, first_output, np.ones((1, 1)), np.ones(1), 1.0)


def outputs(measured: list[float], reference: list[float]) -> Outputs:
    return Outputs(np.array(measured)[:, None], np.array(reference)[:, None])


def test_row_wise_tiles_add_up_before_they_are_evaluated() -> None:
    above, below = outputs([1.5, 2.0], [1.0, 2.0]), outputs([2.5, 4.0], [3.0, 4.0])
    assert overall_error([(tile("w", 0), above), (tile("w", 0), below)]) == 0.0
    assert overall_error([(tile("w", 0), above)]) == pytest.approx(0.5 / np.sqrt(5))


def test_tensors_count_by_their_outputs_and_not_by_their_scale() -> None:
    exact, off = outputs([1000.0, 2000.0], [1000.0, 2000.0]), outputs([0.0, 0.0], [0.1, 0.2])
    parts = [(tile("big", 0), exact), (tile("big", 1), exact), (tile("big", 2), exact), (tile("small", 0), off)]
    assert overall_error(parts) == pytest.approx(np.sqrt(1 / 4))


def test_no_measurement_is_no_error() -> None:
    assert np.isnan(overall_error([]))
    assert [finite(value) for value in (None, float("nan"), float("inf"), 0.25)] == [None, None, None, 0.25]


# ---- methods and ages --------------------------------------------------------------------------------------------


def test_methods_take_settings_as_text() -> None:
    assert method_from("gdp", {"max_steps": "7"}) == hwloop.GDP(max_steps=7)
    with pytest.raises(BadInputError, match="unknown method 'magic'; known: exact, gdp, iterative, sgd"):
        method_from("magic")
    with pytest.raises(BadInputError, match="method gdp: unknown setting 'tolerance'; known: max_vectors"):
        method_from("gdp", {"tolerance": "1"})


def test_the_settings_of_a_method_are_kept_with_the_run(open_chip: OpenChip) -> None:
    run = hwloop.program(open_chip(CHIP), gaussian(12, 16), hwloop.ProgramVerify(max_steps=2, gain=0.7), seed=3)
    asked = run.record.provenance
    assert (asked.method, asked.seed, asked.backend) == ("iterative", 3, CHIP)
    assert (asked.settings["max_steps"], asked.settings["gain"]) == (2, 0.7)


def test_the_target_age_is_the_chips_own_unless_given(open_chip: OpenChip) -> None:
    chip, weights = open_chip(CHIP), weights_from(gaussian(12, 16))
    assert Task(weights, SIX_STEPS).target_age(chip) == chip.info.device_model.drift.t0
    assert Task(weights, SIX_STEPS, age=3600.0).target_age(chip) == 3600.0


@pytest.mark.parametrize("age", [0.0, -1.0, float("nan"), float("inf"), AGES[0] / 2, AGES[1] * 2])
def test_impossible_ages_are_refused(open_chip: OpenChip, age: float) -> None:
    chip = open_chip(CHIP)
    with pytest.raises(BadInputError, match=r"age \S+ s is outside 0.001 to 1e\+10 s"):
        hwloop.program(chip, gaussian(12, 16), age=age)
    assert chip.counts.pulses == 0


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("method", ["gdp", "iterative", "exact"])
def test_the_extreme_ages_work(open_chip: OpenChip, method: str, age: float) -> None:
    run = hwloop.program(open_chip(CHIP), gaussian(12, 16), method, age=age)
    assert 0 < run.mvm_error < 1


# ---- how devices share -------------------------------------------------------------------------------------------


def without_model(open_chip: OpenChip) -> hwloop.Backend:
    """Open a chip of whose devices nothing is known."""
    chip = open_chip("sim:hermes-core?rows=16&columns=12&seed=1")
    chip._info = dataclasses.replace(chip.info, device_model=None)
    return chip


def test_the_split_of_least_expected_error_has_a_lower_floor_than_the_others(open_chip: OpenChip) -> None:
    weights = {"w": gaussian(128, 128)}
    floor = {
        split: hwloop.program(
            open_chip("sim:hermes-core?seed=6"), weights, "exact", mapping=hwloop.MappingSettings(split=split)
        ).mvm_error
        for split in (None, "auto", "fill", "even")
    }
    assert floor[None] == floor["auto"]
    # Fresh seeds: 0.88 +- 0.01 of fill; even is within a few per cent.
    assert floor["auto"] < 0.93 * floor["fill"]
    assert floor["auto"] < 1.01 * floor["even"]


def test_without_a_model_the_default_fills_and_says_so(open_chip: OpenChip) -> None:
    with pytest.warns(CalibrationWarning, match=r"targets are shared by --split fill; measure the devices with hwloop"):
        run = hwloop.program(without_model(open_chip), {"w": gaussian(12, 16)}, "exact")
    assert run.tiles[0].tile.split == run.record.provenance.mapping.split == "fill"
    asked = hwloop.MappingSettings(split="fill")
    assert hwloop.program(without_model(open_chip), {"w": gaussian(12, 16)}, "exact", mapping=asked).tiles


@pytest.mark.parametrize("asked", ["split", "clip"])
def test_without_a_model_what_needs_one_says_what_to_measure(open_chip: OpenChip, asked: str) -> None:
    mapping = hwloop.MappingSettings(**{asked: "auto"})
    with pytest.raises(BadInputError, match=f"--{asked} auto needs a model of the devices.*hwloop calibrate all"):
        hwloop.program(without_model(open_chip), {"w": gaussian(12, 16)}, "exact", mapping=mapping)


def test_with_one_device_per_polarity_every_split_is_the_same(open_chip: OpenChip) -> None:
    weights, uri = {"w": gaussian(16, 16)}, "sim:pcm-90nm?rows=16&columns=16&seed=1"
    errors = {
        hwloop.program(
            open_chip(uri), weights, hwloop.GDP(max_steps=3), mapping=hwloop.MappingSettings(split=split)
        ).mvm_error
        for split in (None, "auto", "fill")
    }
    assert len(errors) == 1


@pytest.mark.parametrize("method", ["iterative", "gdp"])
def test_the_error_is_against_the_weights_that_were_given(open_chip: OpenChip, method: str) -> None:
    weights = gaussian(8, 256)
    chip = open_chip("sim:hermes-core?rows=256&columns=8&seed=1")
    run = hwloop.program(chip, {"w": weights}, method, mapping=hwloop.MappingSettings(clip="auto"))
    x = np.random.default_rng(1).uniform(-1, 1, (500, 256))
    reference = x @ weights.T
    measured = run.matmul(x)
    assert np.linalg.norm(measured - reference) / np.linalg.norm(reference) == pytest.approx(run.mvm_error, rel=0.1)
