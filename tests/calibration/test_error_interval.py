"""The 95 % interval of an MVM error holds what another evaluation of the unchanged chip finds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import hwloop
from hwloop.calibration.error_interval import WeightNoise, error_interval, weight_noise
from hwloop.calibration.evaluation import Evaluation, Outputs, evaluate_tile, overall_error
from hwloop.chip.region import Place, Region
from hwloop.mapping.tile import Tile
from tests.conftest import OpenChip, gaussian

QUIET = WeightNoise()
"""A tile of 4 x 3 weights without read noise."""


def tile_at(first_input: int = 0, first_output: int = 0, tensor: str = "w", rows: int = 4, columns: int = 3) -> Tile:
    """A tile of ones, one weight unit per uS."""
    place = Place(0, 0, 0, rows, columns)
    return Tile(tensor, place, first_input, first_output, np.ones((rows, columns)), np.ones(columns), 100.0)


def outputs_of(rng: np.random.Generator, vectors: int, error: float = 0.1, scale: float = 1.0) -> Outputs:
    """Outputs of three columns whose relative error is `error` in the long run."""
    reference = scale * rng.standard_normal((vectors, 3))
    return Outputs(reference + scale * error * rng.standard_normal((vectors, 3)), reference)


def test_another_set_of_inputs_falls_into_it_in_95_of_100_cases() -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(1000):
        first, second = outputs_of(rng, 200), outputs_of(rng, 200)
        low, high = error_interval([(tile_at(), first)], [QUIET])
        hits += low <= second.mvm_error <= high
    assert 925 <= hits <= 973  # 950 +- 3.3 * 6.9


def test_tensors_count_by_their_outputs_and_row_tiles_add_up_before() -> None:
    rng, hits = np.random.default_rng(2), 0

    def parts() -> list[tuple[Tile, Outputs]]:
        return [
            (tile_at(0, 0, "a"), outputs_of(rng, 150, 0.1)),
            (tile_at(4, 0, "a"), outputs_of(rng, 150, 0.3)),
            (tile_at(0, 3, "a"), outputs_of(rng, 150, 0.2)),
            (tile_at(0, 0, "b"), outputs_of(rng, 150, 0.2, scale=50.0)),
        ]

    for _ in range(600):
        first, second = parts(), parts()
        low, high = error_interval(first, [QUIET] * 4)
        assert low < overall_error(first) < high
        hits += low <= overall_error(second) <= high
    assert 552 <= hits <= 588  # 570 +- 3.3 * 5.3


def test_noise_that_is_renewed_widens_it_as_the_sum_of_squares_of_the_weights_errors_scatters() -> None:
    """Errors P stand still, N is another one in each evaluation; outputs are what inputs make of both."""
    rng, hits = np.random.default_rng(3), 0
    tile = tile_at(rows=30, columns=20)
    tile = replace(tile, target=rng.standard_normal((30, 20)))
    still, sigma = 0.1 * rng.standard_normal((30, 20)), 0.08
    noise = WeightNoise(renewed=600 * sigma**2, squares=600 * sigma**4)

    def evaluated() -> Outputs:
        x = rng.uniform(-1, 1, (400, 30))
        return Outputs(x @ (tile.weights + still + sigma * rng.standard_normal((30, 20))), x @ tile.weights)

    for _ in range(400):
        low, high = error_interval([(tile, evaluated())], [noise])
        hits += low <= evaluated().mvm_error <= high
    assert 366 <= hits <= 394  # 380 +- 3.3 * 4.4


def test_nothing_is_known_without_tiles_or_vectors_or_weights() -> None:
    one = Outputs(np.ones((1, 3)), np.ones((1, 3)))
    zero = Outputs(np.ones((5, 3)), np.zeros((5, 3)))
    for parts in ([], [(tile_at(), one)], [(tile_at(), zero)]):
        low, high = error_interval(parts, [QUIET] * len(parts))
        assert math.isnan(low)
        assert math.isnan(high)


def test_a_perfect_result_has_no_width() -> None:
    same = Outputs(np.eye(3), np.eye(3))
    assert error_interval([(tile_at(), same)], [QUIET]) == (0.0, 0.0)


def test_slow_noise_grows_with_the_time_to_the_next_evaluation_up_to_the_age(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?rows=4&columns=3")
    tile = tile_at()
    region = Region(chip, tile.place)
    t_read = chip.info.device_model.read_noise.t_read
    settings = [Evaluation(vectors=1000, soon=soon) for soon in (0.1, 10.0, 1e9)]
    renewed = [weight_noise(region, tile, 100.0, one).renewed for one in settings]
    logs = [math.log(seconds / (1000 * t_read)) for seconds in (0.1, 10.0, 100.0)]
    assert np.array(renewed) / renewed[0] == pytest.approx(np.array(logs) / logs[0])
    assert weight_noise(region, tile, 100.0, settings[0]).fast / renewed[0] == pytest.approx(
        math.log(1001 / 2) / logs[0]
    )


def test_a_model_without_read_noise_gives_none(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?rows=4&columns=3&read_noise=0")
    assert weight_noise(Region(chip, tile_at().place), tile_at(), 100.0) == WeightNoise()


@pytest.mark.parametrize("method", ["exact", "iterative"])
def test_a_chip_measured_again_a_second_later_falls_into_the_interval_of_its_run(
    open_chip: OpenChip, method: str
) -> None:
    """The quick version of what docs/methods.md reports: 60 pairs, each with other inputs and other read noise."""
    chip = open_chip("sim:hermes-core?seed=1&rows=48&columns=32")
    run = hwloop.program(chip, gaussian(32, 48), method)
    tile, region, hits = run.tiles[0].tile, Region(chip, run.tiles[0].tile.place, run.tiles[0].tile.full_scale), 0
    for pair in range(60):
        first = [(tile, evaluate_tile(region, tile, 10 + 2 * pair, 0)[1])]
        low, high = error_interval(first, [weight_noise(region, tile, run.age)])
        chip.wait(1.0)
        hits += low <= evaluate_tile(region, tile, 11 + 2 * pair, 0)[1].mvm_error <= high
        chip.wait(1.0)
    assert 51 <= hits <= 60  # 57 +- 3.3 * 1.7
