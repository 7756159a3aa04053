"""Scales and ranges against a plain search by brute force, and for inputs that need care."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hwloop
from hwloop.chip.info import ChipInfo
from hwloop.errors import BadInputError
from hwloop.mapping.ranges import SAMPLES, _unseen_clipping, choose_ranges


@pytest.fixture(scope="module")
def info() -> ChipInfo:
    with hwloop.connect("sim:hermes-core") as chip:
        return chip.info


@pytest.fixture(scope="module")
def target() -> np.ndarray:
    return 8.0 * np.random.default_rng(0).standard_normal((128, 32))


def error(target: np.ndarray, x: np.ndarray, scale: float, full_scale: float, info: ChipInfo) -> float:
    """What ideal devices behind converters with these ranges leave, relative."""
    codes = np.clip(np.rint(x / scale * info.input_max), -info.input_max, info.input_max)
    outputs = np.clip(
        np.rint(codes / info.input_max @ target / full_scale * info.code_max), -info.code_max, info.code_max
    )
    seen, ideal = outputs * full_scale / info.code_max * scale, x @ target
    return float(np.linalg.norm(seen - ideal) / np.linalg.norm(ideal))


@pytest.mark.parametrize("kind", ["uniform", "normal", "rectified"])
def test_no_other_choice_is_better(target: np.ndarray, info: ChipInfo, kind: str) -> None:
    rng = np.random.default_rng(1)
    x = {
        "uniform": rng.uniform(-3, 3, (400, 128)),
        "normal": rng.standard_normal((400, 128)),
        "rectified": np.maximum(rng.standard_normal((400, 128)), 0),
    }[kind]
    chosen = choose_ranges(target, info, x)
    assert error(target, x, chosen.input_scale, chosen.full_scale, info) == pytest.approx(chosen.error, rel=1e-6)
    others = [
        error(target, x, scale, full_scale, info)
        for scale in np.abs(x).max() * np.linspace(0.3, 1.2, 10)
        for full_scale in np.linspace(*np.array([0.5, 2]) * chosen.full_scale, 16)
    ]
    assert chosen.error < 1.03 * min(others)


def test_inputs_with_rare_large_values_are_clipped(target: np.ndarray, info: ChipInfo) -> None:
    x = np.random.default_rng(1).standard_normal((400, 128))
    x[::97, ::31] *= 2
    chosen = choose_ranges(target, info, x)
    assert chosen.input_scale < np.abs(x).max()
    assert 0 < chosen.clipped_inputs < 0.01


def test_noise_makes_the_range_smaller(target: np.ndarray, info: ChipInfo) -> None:
    # Noise in LSB weighs less in a small range, and is worth some clipping.
    quiet, noisy = (choose_ranges(target, info, adc_noise=noise) for noise in (0.0, 5.0))
    assert noisy.full_scale < quiet.full_scale
    assert noisy.clipped_outputs > quiet.clipped_outputs


def test_fine_converters_leave_room_for_what_the_samples_did_not_show(target: np.ndarray, info: ChipInfo) -> None:
    fine = choose_ranges(target, replace(info, output_bits=20))
    sums = np.random.default_rng(5).uniform(-1, 1, (20_000, 128)) @ target
    # 2^-20 of the range is some 5e-6 of an output: one of 640 000 that is cut off by 3 % would weigh as much.
    assert np.abs(sums).max() < fine.full_scale


def test_unseen_clipping_is_what_normal_sums_lose_beyond_what_the_samples_lost() -> None:
    rng = np.random.default_rng(0)
    sums = rng.standard_normal((512, 4)) * np.array([1.0, 2.0, 3.0, 4.0])
    many = sums.std(0) * rng.standard_normal((2_000_000, 4))
    for full_scale in (4.0, 6.0, 9.0):
        lost, seen = (np.mean(np.maximum(np.abs(one) - full_scale, 0.0) ** 2) for one in (many, sums))
        # Of the rarest sums, a 40th of a per cent of 2 million: good to 3 per cent.
        assert _unseen_clipping(sums, full_scale) == pytest.approx(max(lost - seen, 0.0), rel=0.1, abs=0.02 * lost)


@pytest.mark.parametrize(("rows", "columns"), [(128, 4), (16, 2)])
def test_ranges_of_fine_converters_suit_inputs_that_were_not_tried(info: ChipInfo, rows: int, columns: int) -> None:
    """The range just above the largest of few sums clips the largest of many: that would cost more than rounding."""
    target = 8.0 * np.random.default_rng(0).standard_normal((rows, columns))
    fine = replace(info, output_bits=12)
    chosen = choose_ranges(target, fine).full_scale
    fresh = np.random.default_rng(7).uniform(-1, 1, (50_000, rows))
    tried = np.random.default_rng(0).uniform(-1, 1, (SAMPLES, rows)) @ target
    at_chosen, just_above = (error(target, fresh, 1.0, one, fine) for one in (chosen, np.abs(tried).max()))
    assert at_chosen < 0.95 * just_above


@pytest.mark.parametrize("bits", [8, 12])
def test_a_range_for_random_inputs_costs_least_of_what_they_show_and_what_they_do_not(
    info: ChipInfo, bits: int
) -> None:
    """Squares add up: of the error, and of what clipping takes of normal sums beyond it, over their power."""
    target, chip = 8.0 * np.random.default_rng(0).standard_normal((128, 4)), replace(info, output_bits=bits)
    x = np.random.default_rng(0).uniform(-1, 1, (SAMPLES, 128))
    ideal = x @ target

    def cost(full_scale: float) -> float:
        return error(target, x, 1.0, full_scale, chip) ** 2 + _unseen_clipping(ideal, full_scale) / np.mean(ideal**2)

    chosen = choose_ranges(target, chip)
    assert chosen.input_scale == 1.0
    costs = [cost(factor * chosen.full_scale) for factor in np.geomspace(0.5, 2.0, 41)]
    assert cost(chosen.full_scale) < 1.05 * min(costs)


def test_the_range_stays_within_what_the_chip_allows(info: ChipInfo) -> None:
    low, high = info.adc_range
    assert choose_ranges(np.full((128, 8), 1e-3), info).full_scale == low
    assert choose_ranges(np.full((128, 8), 1e3), info).full_scale == high


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        (np.ones((5, 127)), r"must have the shape \(vectors, 128\), not \(5, 127\)"),
        (np.ones(128), r"must have the shape \(vectors, 128\), not \(128,\)"),
        (np.ones((0, 128)), r"must have the shape \(vectors, 128\), not \(0, 128\)"),
        (np.full((5, 128), np.nan), "contain NaN or infinity"),
        (np.full((5, 128), np.inf), "contain NaN or infinity"),
        (np.zeros((5, 128)), "all sample inputs are zero; give real activations"),
    ],
)
def test_inputs_that_tell_nothing(target: np.ndarray, info: ChipInfo, inputs: np.ndarray, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        choose_ranges(target, info, inputs)


def test_weights_that_answer_nothing(info: ChipInfo) -> None:
    with pytest.raises(BadInputError, match="answer zero to all sample inputs"):
        choose_ranges(np.zeros((16, 16)), info)


@pytest.mark.parametrize("noise", [np.nan, np.inf, -1.0])
def test_noise_that_is_none(target: np.ndarray, info: ChipInfo, noise: float) -> None:
    with pytest.raises(BadInputError, match="is no standard deviation"):
        choose_ranges(target, info, adc_noise=noise)


def test_conductances_without_a_number(target: np.ndarray, info: ChipInfo) -> None:
    with pytest.raises(BadInputError, match="conductances contain NaN"):
        choose_ranges(np.where(target == target.max(), np.nan, target), info)
