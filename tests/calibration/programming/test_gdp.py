"""GDP: no device read, close to the noise floor on every kind of matrix, and an honest account of what it did."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file

import hwloop
from hwloop.calibration.programming.gdp import GDP
from hwloop.errors import BadInputError, ProgrammingWarning
from hwloop.jobs.program import program
from hwloop.jobs.run import Run
from tests.conftest import OpenChip, gaussian


def programmed(open_chip: OpenChip, uri: str, weights: np.ndarray, method: str | GDP = "gdp", seed: int = 0) -> Run:
    return program(open_chip(uri), hwloop.matrices({"w": weights}), method, seed=seed)


def random_matrix(kind: str) -> np.ndarray:
    rng = np.random.default_rng(5)
    return {
        "gaussian": lambda: gaussian(128, 128),
        "uniform": lambda: rng.uniform(-1, 1, (96, 96)),
        "sparse": lambda: rng.standard_normal((96, 96)) * (rng.random((96, 96)) < 0.1),
        "heavy-tailed": lambda: rng.standard_t(3, (96, 96)),
        "all positive": lambda: np.abs(rng.standard_normal((64, 64))),
        "tall": lambda: rng.standard_normal((30, 200)),
        "wide": lambda: rng.standard_normal((250, 10)),
        "tiny": lambda: rng.standard_normal((8, 8)),
        "one cell": lambda: np.ones((1, 1)),
        "network layer": lambda: load_file("data/digits_mlp.safetensors")["fc2.weight"],
    }[kind]()


KINDS = ["gaussian", "uniform", "sparse", "heavy-tailed", "all positive", "tall", "wide", "tiny", "network layer"]


@pytest.mark.parametrize("kind", KINDS)
def test_default_settings_come_close_to_the_noise_floor_on_every_kind_of_matrix(open_chip: OpenChip, kind: str) -> None:
    weights = random_matrix(kind)
    floor = programmed(open_chip, "sim:hermes-core?seed=3", weights, "exact").mvm_error

    run = programmed(open_chip, "sim:hermes-core?seed=3", weights)

    # 1.15 for a dense core, 1.32 for heavy tails, whose norm is that of a few cells.
    assert run.mvm_error < 1.36 * floor
    core = run.tiles[0].to_json()
    assert core["device_reads"] == 0
    assert core["mvms"] <= 20_000
    assert core["pulses_per_device"] < 2.6


def test_one_device_per_polarity_has_no_trimmer_and_still_beats_the_open_loop(open_chip: OpenChip) -> None:
    weights = gaussian(96, 96)
    floor = programmed(open_chip, "sim:pcm-90nm?seed=2", weights, "exact").mvm_error

    run = programmed(open_chip, "sim:pcm-90nm?seed=2", weights)

    assert run.mvm_error < 1.5 * floor
    assert run.tiles[0].mvm_error_before is not None
    assert run.mvm_error < 0.6 * run.tiles[0].mvm_error_before


def test_beats_program_and_verify_and_plain_sgd(open_chip: OpenChip) -> None:
    weights = gaussian(128, 128)
    error = {
        name: programmed(open_chip, "sim:hermes-core?seed=1", weights, name).mvm_error
        for name in ("exact", "gdp", "iterative", "sgd")
    }
    excess = {name: np.sqrt(error[name] ** 2 - error["exact"] ** 2) for name in ("gdp", "iterative", "sgd")}
    assert excess["gdp"] < 0.65 * excess["iterative"]
    assert excess["gdp"] < 0.85 * excess["sgd"]


def test_corrects_what_wires_take_away(open_chip: OpenChip) -> None:
    # Four ohm per cell lower far cells; a column gain cannot undo it, because it differs from row to row.
    weights = gaussian(192, 192)
    uri = "sim:hermes-core?seed=1&wire_resistance=4"
    placed = programmed(open_chip, uri, weights, "exact").mvm_error
    assert programmed(open_chip, uri, weights).mvm_error < 0.9 * placed


def test_sharing_evenly_lowers_the_noise_floor_and_can_be_programmed_too(open_chip: OpenChip) -> None:
    def error(split: str, method: str) -> float:
        chip = open_chip("sim:hermes-core?seed=1&rows=96&columns=96")
        return program(chip, weights, method, mapping=hwloop.MappingSettings(split=split)).mvm_error

    weights = hwloop.matrices({"w": gaussian(96, 96)})
    # Two devices of half the conductance have independent noise: the floor falls, by less than a square root of two.
    assert 0.72 < error("even", "exact") / error("fill", "exact") < 0.97
    for method in ("gdp", "iterative"):
        assert error("even", method) < 1.15 * error("fill", method)


def test_stuck_devices_are_named_and_left_alone_after_a_few_pulses(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?seed=4&stuck_rate=0.02&rows=64&columns=64")
    run = program(chip, hwloop.matrices({"w": gaussian(64, 64)}), "gdp")
    core = run.tiles[0].to_json()
    assert core["stuck_cells"] > 0
    # Chips have no way to say so, but the simulator has: healthy devices are not given up.
    truly = chip._cores[0].devices.stuck.numpy().reshape(run.tiles[0].pulses.shape)
    assert run.tiles[0].stuck is not None
    assert run.tiles[0].stuck[~truly.any((0, 1))].sum() <= 1
    assert core["stuck_cells"] > 0.5 * truly.any((0, 1)).sum()
    # Of devices that carry a tenth of the range or more 97 % are named: 95 %, and three standard deviations of chance.
    loaded = truly & (run.tiles[0].tile.device_targets(chip.info) > 0.1 * chip.info.g_max)
    assert run.tiles[0].stuck_devices is not None
    assert run.tiles[0].stuck_devices[loaded].mean() > 0.95 - 3 * (0.95 * 0.05 / loaded.sum()) ** 0.5
    assert core["max_pulses_on_a_device"] <= GDP().max_pulses_per_device
    # Cells whose stuck device carries weight come out wrong by that weight at most: far better than one in fifty lost.
    assert run.mvm_error < 0.2


def test_same_seed_same_result_and_another_seed_another(open_chip: OpenChip) -> None:
    def reached(seed: int) -> np.ndarray:
        run = programmed(open_chip, "sim:hermes-core?seed=1&rows=32&columns=32", gaussian(32, 32), seed=seed)
        assert run.tiles[0].reached is not None
        return run.tiles[0].reached

    assert np.array_equal(reached(3), reached(3))
    assert not np.array_equal(reached(3), reached(4))


def test_works_without_noise_and_reaches_the_target_itself(open_chip: OpenChip) -> None:
    run = programmed(open_chip, "sim:pcm-ideal", gaussian(32, 32))
    # What is left is the worth of a pulse: min_gain per cent of g_max per cell, over a rms of a third of g_max.
    assert run.mvm_error < 0.05


def test_spends_no_more_than_its_budgets(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?rows=64&columns=64")
    method = GDP(max_vectors=640, max_pulses_per_device=2)
    run = program(chip, hwloop.matrices({"w": gaussian(64, 64)}), method)
    core = run.tiles[0].to_json()
    assert core["mvms"] <= 640
    assert core["max_pulses_on_a_device"] <= 2


def test_can_be_stopped_after_any_step(open_chip: OpenChip) -> None:
    chip, told = open_chip("sim:hermes-core?rows=32&columns=32"), []

    def stop_at_the_third(done: int, total: int) -> None:
        told.append(done)
        if done == 3:
            raise KeyboardInterrupt("enough")

    run = program(chip, {"w": gaussian(32, 32)}, GDP(), progress=stop_at_the_third)
    assert (run.status, told) == ("interrupted", [1, 2, 3])
    assert run.tiles[0].steps.pulses[0] == run.tiles[0].pulses.size
    assert run.tiles[0].steps.pulses.sum() == run.tiles[0].pulses.sum()
    chip.mvm(0, np.zeros((1, 32), np.int32))  # the chip answers as before


@pytest.mark.parametrize(
    ("name", "value"), [("max_vectors", 3), ("max_steps", 0), ("settle", -1.0), ("min_gain", float("nan"))]
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(BadInputError, match=name):
        GDP(**{name: value})


def test_steps_count_up_rest_before_each_measurement_and_end_without_a_rest(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?seed=1&rows=32&columns=32")
    run = program(chip, hwloop.matrices({"w": gaussian(32, 32)}), GDP(max_steps=4, settle=0.05), age=100.0)
    steps = run.tiles[0].steps
    assert np.diff(steps.chip_time) == pytest.approx([5.0] * 4, abs=0.01)
    assert np.isnan(steps.mvm_error[0])
    assert run.tiles[0].to_json()["mvms"] == 4 * 64
    # What the filter expects of the target age is what is found there, but for the last round of pulses.
    assert steps.mvm_error[-1] == pytest.approx(run.mvm_error, rel=0.3)


def test_short_columns_repeat_their_design_up_to_the_least_number_of_vectors(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?seed=1&rows=32&columns=32")
    weights = hwloop.matrices({"w": gaussian(10, 20)})  # twenty rows: designs of 32 vectors
    for least, vectors in ((64, 64), (65, 96), (1, 32)):
        run = program(chip, weights, GDP(max_steps=2, min_vectors=least))
        assert run.tiles[0].to_json()["mvms"] == 2 * vectors
    run = program(chip, weights, GDP(max_vectors=200))  # three measurements of 64, and eight vectors left over
    assert run.tiles[0].to_json()["mvms"] == 192


@pytest.mark.parametrize("error", [-0.2, 0.1])
def test_wrong_nominal_currents_are_found_corrected_and_named(open_chip: OpenChip, error: float) -> None:
    def programmed_with(error: float) -> Run:
        uri = f"sim:pcm-90nm?seed=1&rows=64&columns=64&current_error={error}"
        return programmed(open_chip, uri, gaussian(64, 64))

    with pytest.warns(ProgrammingWarning, match=f"{'less' if error < 0 else 'more'} current.*programming-curve"):
        run = programmed_with(error)

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none on a chip whose model is right
        nominal = programmed_with(0.0)
    assert run.mvm_error < 1.1 * nominal.mvm_error
    assert run.tiles[0].to_json()["pulses_per_device"] < 3.5
    assert run.tiles[0].to_json()["stuck_cells"] <= 1


def test_noise_beyond_the_model_is_not_chased(open_chip: OpenChip) -> None:
    uri, weights = "sim:hermes-core?seed=1&rows=64&columns=64&adc_noise=4", gaussian(64, 64)
    run = programmed(open_chip, uri, weights)
    assert run.mvm_error < 1.12 * programmed(open_chip, uri, weights, "exact").mvm_error
    assert run.tiles[0].to_json()["pulses_per_device"] < 3.0


def test_long_after_programming_weak_devices_are_not_asked_for_more_than_they_have(open_chip: OpenChip) -> None:
    chip = open_chip("sim:pcm-90nm?seed=1&rows=64&columns=64")
    weights = hwloop.matrices({"w": np.random.default_rng(5).uniform(-1, 1, (64, 64))})
    error = {name: program(chip, weights, name, age=3600.0).mvm_error for name in ("exact", "gdp")}
    assert error["gdp"] < 1.5 * error["exact"]  # 1.9 when gains are kept at what they were when devices were young


def test_a_budget_of_chip_seconds_is_spread_over_the_rounds(open_chip: OpenChip) -> None:
    chip, weights = open_chip("sim:hermes-core?seed=1&rows=32&columns=32"), hwloop.matrices({"w": gaussian(32, 32)})
    given = (
        program(chip, weights, GDP(max_steps=4, chip_seconds=60.0)),
        program(chip, weights, GDP(max_steps=4), chip_seconds=60.0),
    )
    for run in given:
        assert np.diff(run.tiles[0].steps.chip_time) == pytest.approx([15.0] * 4, abs=0.01)
    with pytest.raises(BadInputError, match=r"3 chip seconds allow no round, which rests 4 s"):
        program(chip, weights, GDP(chip_seconds=3.0))


def test_a_budget_that_allows_no_measurement_is_refused(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?seed=1")
    with pytest.raises(BadInputError, match=r"max_vectors=100 .* takes 256 vectors"):
        program(chip, hwloop.matrices({"w": gaussian(10, 200)}), GDP(max_vectors=100))
