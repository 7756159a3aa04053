"""The Python API: program, watch, stop, and an error that means what it says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import hwloop
from hwloop.calibration.evaluation import Outputs, evaluate_tile, finite, overall_error
from hwloop.calibration.probes import uniform_inputs
from hwloop.calibration.programming.base import AGES
from hwloop.calibration.programming.gdp import GDP, GDPSettings
from hwloop.calibration.programming.registry import make_method
from hwloop.chip.region import Place
from hwloop.errors import BadInputError
from hwloop.jobs.program import Progress, Run, target_age
from hwloop.mapping.tile import Tile
from tests.conftest import OpenChip, gaussian
from tests.jobs.conftest import CHIP, FOUR_CORES, CtrlC

SIX_STEPS = GDP(GDPSettings(max_steps=6))


# ---- programming -------------------------------------------------------------------------------------------------


def test_ten_lines_of_python(open_chip: OpenChip) -> None:
    weights = hwloop.matrices({"fc1": gaussian(12, 16), "fc2": gaussian(10, 12)})
    run = hwloop.program(open_chip(CHIP), weights, "gdp")
    assert [item.tile.tensor for item in run.tiles] == ["fc1", "fc2"]
    assert 0.01 < run.mvm_error < 0.12
    assert run.mvm_error < run.tiles[0].mvm_error_before
    assert run.age == 200.0
    assert not run.interrupted


def test_the_same_seeds_give_the_same_run(open_chip: OpenChip) -> None:
    first, second, other_inputs, other_chip = (
        hwloop.program(open_chip(uri), hwloop.matrices({"w": gaussian(12, 16)}), SIX_STEPS, seed=seed)
        for uri, seed in ((CHIP, 0), (CHIP, 0), (CHIP, 1), (CHIP.replace("seed=1", "seed=2"), 0))
    )
    assert first.mvm_error == second.mvm_error
    assert np.array_equal(first.tiles[0].reached, second.tiles[0].reached)
    assert np.array_equal(first.tiles[0].pulses, second.tiles[0].pulses)
    assert first.tiles[0].as_json() == second.tiles[0].as_json()
    assert len({first.mvm_error, other_inputs.mvm_error, other_chip.mvm_error}) == 3


def test_an_observer_sees_every_step_of_every_tile_in_lockstep(open_chip: OpenChip) -> None:
    seen: list[Progress] = []
    run = hwloop.program(
        open_chip(FOUR_CORES), hwloop.matrices({"w": gaussian(40, 40)}), SIX_STEPS, observer=seen.append
    )
    assert [(p.step.index, p.tile) for p in seen] == [(step, tile) for step in range(7) for tile in range(4)]
    assert {(p.tiles, p.rounds) for p in seen} == {(4, 6)}
    vectors = [p.cost.mvms for p in seen if p.tile == 2]
    assert vectors == [64 * step for step in range(7)]
    assert vectors[-1] == run.tiles[2].as_json()["mvms"]


def test_a_run_is_mapped_before_anything_is_sent(open_chip: OpenChip) -> None:
    chip, started = open_chip(CHIP), []

    def look(run: Run) -> None:
        started.append((len(run.tiles), chip.counts.pulses, chip.now()))

    hwloop.program(chip, hwloop.matrices({"w": gaussian(12, 16)}), SIX_STEPS, on_start=look)
    assert started == [(1, 0, 0.0)]


def test_ctrl_c_ends_between_steps_with_what_was_done(open_chip: OpenChip) -> None:
    chip = open_chip(FOUR_CORES)
    run = hwloop.program(chip, hwloop.matrices({"w": gaussian(40, 40)}), SIX_STEPS, observer=CtrlC(6))
    assert run.interrupted
    assert [len(item.steps) for item in run.tiles] == [2, 2, 1, 1]
    assert np.isnan(run.mvm_error)
    assert run.tiles[0].as_json()["mvm_error"] is None
    assert run.tiles[0].pulses.min() == 1
    # The chip is in a defined state: the same cells can be programmed again.
    again = hwloop.program(chip, hwloop.matrices({"w": gaussian(40, 40)}), SIX_STEPS)
    assert again.mvm_error < 0.15


# ---- what it cost ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gdp", "iterative", "sgd", "exact"])
def test_costs_add_up_to_what_the_chip_counted(open_chip: OpenChip, method: str) -> None:
    chip, counts = open_chip(FOUR_CORES), []
    run = hwloop.program(
        chip,
        hwloop.matrices({"w": gaussian(40, 40)}),
        make_method(method, {} if method in ("exact", "sgd") else {"max_steps": "3"}),
        observer=lambda progress: counts.append(chip.counts),
    )
    cores = [item.as_json() for item in run.tiles]
    assert sum(core["mvms"] for core in cores) == counts[-1].mvms
    assert sum(core["device_reads"] for core in cores) == counts[-1].device_reads
    assert sum(core["pulses_per_device"] * core["devices"] for core in cores) == pytest.approx(counts[-1].pulses)
    assert max(core["chip_seconds"] for core in cores) == pytest.approx(counts[-1].chip_seconds, abs=1e-9)
    assert [core["max_pulses_on_a_device"] for core in cores] == [int(item.pulses.max()) for item in run.tiles]
    assert (counts[-1].device_reads > 0) == (method == "iterative")


def test_tiles_that_share_a_core_are_counted_apart(open_chip: OpenChip) -> None:
    run = hwloop.program(open_chip(CHIP), hwloop.matrices({"a": gaussian(8, 16), "b": gaussian(20, 10)}), SIX_STEPS)
    cores = [item.as_json() for item in run.tiles]
    assert [core["core"] for core in cores] == [0, 0]
    assert [core["devices"] for core in cores] == [4 * 8 * 16, 4 * 20 * 10]
    assert [core["mvms"] for core in cores] == [6 * 64, 6 * 64]
    assert all(1.0 <= core["pulses_per_device"] < 3.0 for core in cores)


def test_stuck_devices_are_reported(open_chip: OpenChip) -> None:
    weights = hwloop.matrices({"w": gaussian(32, 32)})
    core = hwloop.program(open_chip(CHIP + "&stuck_rate=0.05"), weights, "iterative").tiles[0].as_json()
    healthy = hwloop.program(open_chip(CHIP + "&stuck_rate=0"), weights, "iterative").tiles[0].as_json()
    assert core["stuck_cells"] > 10 > healthy["stuck_cells"]
    assert core["unconverged_cells"] > healthy["unconverged_cells"]


# ---- the error ---------------------------------------------------------------------------------------------------


def error_by_hand(chip: hwloop.Backend, run: Run, weights: np.ndarray, vectors: int = 4096) -> float:
    """Relative error of the whole product of one tensor (outputs, inputs), tiles added up where rows continue."""
    x = uniform_inputs(np.random.default_rng(99), vectors, weights.shape[1], chip.info.input_max)
    y = np.zeros((vectors, weights.shape[0]))
    for item in run.tiles:
        first, place = item.tile, item.tile.place
        rows = slice(first.first_input, first.first_input + place.rows)
        columns = slice(first.first_output, first.first_output + place.columns)
        y[:, columns] += item.correction.apply(item.region.mvm(x[:, rows]))
    ideal = x / chip.info.input_max @ weights.T
    return float(np.linalg.norm(y - ideal) / np.linalg.norm(ideal))


@pytest.mark.parametrize("method", ["exact", "gdp"])
def test_a_matrix_larger_than_a_core_adds_up_digitally(open_chip: OpenChip, method: str) -> None:
    chip, weights = open_chip(CHIP + "&cores=8"), gaussian(40, 70)
    run = hwloop.program(chip, hwloop.matrices({"w": weights}), method)
    covered = Counter((item.tile.first_input, item.tile.first_output) for item in run.tiles)
    assert covered == dict.fromkeys([(i, o) for i in (0, 32, 64) for o in (0, 32)], 1)
    assert run.mvm_error == pytest.approx(error_by_hand(chip, run, weights), rel=0.05)


def test_without_noise_every_cell_is_where_it_should_be(open_chip: OpenChip) -> None:
    chip, weights = open_chip("sim:pcm-ideal?rows=32&columns=32&cores=8"), gaussian(40, 70)
    run = hwloop.program(chip, hwloop.matrices({"w": weights}), "exact")
    assert run.mvm_error < 1e-5
    assert run.tiles[0].reached == pytest.approx(run.tiles[0].tile.target, abs=0.002 * chip.info.g_max)


def test_more_noise_is_more_error(open_chip: OpenChip) -> None:
    weights = hwloop.matrices({"w": gaussian(32, 32)})
    errors = [
        hwloop.program(open_chip(f"{CHIP}&read_noise={scale}"), weights, "exact").mvm_error for scale in (0.5, 1, 2)
    ]
    assert errors == sorted(errors)
    assert errors[2] > 1.5 * errors[1]


def test_every_seed_and_every_tile_is_judged_by_inputs_of_its_own(open_chip: OpenChip) -> None:
    item = hwloop.program(open_chip(CHIP), hwloop.matrices({"w": gaussian(12, 16)}), "exact").tiles[0]
    references = [
        evaluate_tile(item.region, item.tile, seed, number)[1].reference for seed, number in ((0, 0), (1, 0), (0, 1))
    ]
    assert np.array_equal(references[0], item.outputs.reference)
    assert not any(np.array_equal(references[0], other) for other in references[1:])


def tile(tensor: str, first_output: int) -> Tile:
    return Tile(tensor, Place(0, 0, 0, 1, 1), 0, first_output, np.ones((1, 1)), np.ones(1), 1.0)


def outputs(measured: list[float], reference: list[float]) -> Outputs:
    return Outputs(np.array(measured)[:, None], np.array(reference)[:, None])


def test_row_wise_tiles_add_up_before_they_are_judged() -> None:
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
    assert make_method("gdp", {"max_steps": "7"}).settings == GDPSettings(max_steps=7)
    with pytest.raises(BadInputError, match="unknown method 'magic'; known: gdp, iterative, exact, sgd"):
        make_method("magic")
    with pytest.raises(BadInputError, match="method gdp: unknown setting 'tolerance'; known: max_vectors"):
        make_method("gdp", {"tolerance": "1"})


def test_the_target_age_is_the_chips_own_unless_given(open_chip: OpenChip) -> None:
    chip = open_chip(CHIP)
    assert target_age(chip, None) == chip.info.device_model.drift.t0
    assert target_age(chip, 3600.0) == 3600.0


@pytest.mark.parametrize("age", [0.0, -1.0, float("nan"), float("inf"), AGES[0] / 2, AGES[1] * 2])
def test_impossible_ages_are_refused(open_chip: OpenChip, age: float) -> None:
    with pytest.raises(BadInputError, match=r"age \S+ s is outside 0.001 to 1e\+10 s"):
        target_age(open_chip(CHIP), age)


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("method", ["gdp", "iterative", "exact"])
def test_the_extreme_ages_work(open_chip: OpenChip, method: str, age: float) -> None:
    run = hwloop.program(open_chip(CHIP), hwloop.matrices({"w": gaussian(12, 16)}), method, age=age)
    assert 0 < run.mvm_error < 1
