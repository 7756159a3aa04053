"""Ranges against a search by brute force, and what lies beyond the sample."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import hwloop
from hwloop.chip.info import Capability, ChipInfo
from hwloop.errors import BadInputError
from hwloop.nn.ranges import RangeSettings, Tail, choose, vector_scales

RNG = np.random.default_rng(0)
TARGET = 8.0 * RNG.standard_normal((64, 16))
ERROR, DYNAMIC = RangeSettings(), RangeSettings(inputs="dynamic")


@pytest.fixture(scope="module")
def info() -> ChipInfo:
    with hwloop.connect("sim:hermes-core") as chip:
        return chip.info


def loss(x: np.ndarray, scale: float, full_scale: float, info: ChipInfo) -> float:
    """Relative error that ideal devices leave behind converters with these ranges."""
    codes = np.clip(np.rint(x / scale * info.input_max), -info.input_max, info.input_max)
    sums = codes / info.input_max @ TARGET
    seen = np.clip(np.rint(sums / full_scale * info.code_max), -info.code_max, info.code_max) * full_scale
    return float(np.linalg.norm(seen / info.code_max * scale - x @ TARGET) / np.linalg.norm(x @ TARGET))


@pytest.mark.parametrize("kind", ["uniform", "normal", "rectified", "sparse"])
def test_no_other_choice_is_much_better_on_fresh_inputs(info: ChipInfo, kind: str) -> None:
    rng = np.random.default_rng(1)
    draw = {
        "uniform": lambda n: rng.uniform(-3, 3, (n, 64)),
        "normal": lambda n: rng.standard_normal((n, 64)),
        "rectified": lambda n: np.maximum(rng.standard_normal((n, 64)), 0),
        "sparse": lambda n: rng.exponential(1.0, (n, 64)) * (rng.random((n, 64)) < 0.1),
    }[kind]
    sample, fresh = draw(1024), draw(8192)
    chosen = choose(TARGET, info, 100.0, sample, ERROR)
    assert chosen is not None
    best = min(
        loss(fresh, scale, full_scale, info)
        for scale in np.abs(sample).max() * np.linspace(0.2, 1.2, 11)
        for full_scale in chosen.full_scale * chosen.input_scale / scale * np.linspace(0.5, 2, 13)
    )
    assert loss(fresh, chosen.input_scale, chosen.full_scale, info) < 1.05 * best


def test_fine_converters_leave_room_for_what_the_sample_did_not_show(info: ChipInfo) -> None:
    fine = dataclasses.replace(info, input_bits=16, output_bits=16)
    rng = np.random.default_rng(2)
    sample, fresh = rng.standard_normal((500, 64)), rng.standard_normal((50_000, 64))
    chosen = choose(TARGET, fine, 100.0, sample, ERROR)
    assert chosen is not None
    assert loss(fresh, chosen.input_scale, chosen.full_scale, fine) < 5e-4
    largest = np.abs(sample).max()
    assert loss(fresh, largest, np.abs(sample / largest @ TARGET).max(), fine) > 1e-3


@pytest.mark.parametrize("large", range(4))
def test_every_column_counts_for_the_converter_range(info: ChipInfo, large: int) -> None:
    """Every fourth column is ten times as large as the others, so that a range for the others alone clips it."""
    target = 20.0 * RNG.standard_normal((64, 64))
    target[:, large::4] *= 10.0
    x = RNG.standard_normal((4096, 64))
    chosen = choose(target, info, 100.0, x, ERROR)
    assert chosen is not None
    sums = np.abs(x / chosen.input_scale @ target)
    assert np.mean(sums[:, large::4] > chosen.full_scale) < 0.01


def test_a_percentile_is_one(info: ChipInfo) -> None:
    x = RNG.standard_normal((1000, 64))
    chosen = choose(TARGET, info, 100.0, x, RangeSettings(inputs="percentile", percentile=99.0))
    assert chosen is not None
    assert np.mean(np.abs(x) > chosen.input_scale) == pytest.approx(0.01, abs=1e-4)


def test_a_dynamic_range_serves_vectors_of_any_size(info: ChipInfo) -> None:
    x = RNG.standard_normal((1000, 64)) * np.exp(RNG.standard_normal((1000, 1)))
    chosen = choose(TARGET, info, 100.0, x, DYNAMIC)
    assert chosen is not None
    assert chosen.input_scale == 1.0
    scale = vector_scales(x)
    small = x[np.abs(x).max(1) < np.median(scale)][:, :]
    static = choose(TARGET, info, 100.0, x, ERROR)
    assert static is not None
    dynamic_loss = loss(small / vector_scales(small), 1.0, chosen.full_scale, info)
    assert dynamic_loss < 0.5 * loss(small, static.input_scale, static.full_scale, info)


def test_a_range_that_cannot_be_set_stays(info: ChipInfo) -> None:
    fixed = dataclasses.replace(info, capabilities=info.capabilities - {Capability.ADC_RANGE})
    chosen = choose(TARGET, fixed, 123.0, RNG.standard_normal((200, 64)), ERROR)
    assert chosen is not None
    assert chosen.full_scale == 123.0


def test_nothing_is_chosen_where_nothing_comes_out(info: ChipInfo) -> None:
    assert choose(TARGET, info, 100.0, np.zeros((100, 64)), ERROR) is None
    assert choose(0 * TARGET, info, 100.0, np.ones((100, 64)), ERROR) is None
    assert vector_scales(np.array([[0.0, 0.0], [-2.0, 1.0]])).tolist() == [[1.0], [2.0]]


def test_the_tail_is_that_of_exponential_values() -> None:
    values = np.random.default_rng(3).exponential(2.0, 100_000)
    many = np.random.default_rng(4).exponential(2.0, 4_000_000)
    for limit in (12.0, 18.0):
        lost, seen = (np.mean(np.maximum(one - limit, 0) ** 2) for one in (many, values))
        # Excesses above a limit are exponential: their square has the relative variance 5, and few of them are there.
        noise = np.sqrt(5.0 / (values.size * np.exp(-limit / 2)))
        assert Tail.of(values).unseen(limit) == pytest.approx(max(lost - seen, 0.0), abs=3 * noise * lost)
    assert Tail.of(values).unseen(1.0) == 0.0
    assert Tail.of(np.ones(1000)).unseen(1.0) == 0.0


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"inputs": "auto"}, "inputs='auto' is unknown; known: error, percentile, dynamic"),
        ({"percentile": 101.0}, "outside 50 to 100"),
        ({"bound_management": -1}, "outside 0 to 20"),
        ({"vectors": 3}, "outside 64"),
    ],
)
def test_settings_that_are_none(setting: dict, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        RangeSettings(**setting)
