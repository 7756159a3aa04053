"""Ranges and images of weighted samples are those of their copies; tails and batches by their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate

from hwloop.nn.noisy_accuracy import Images
from hwloop.nn.ranges import (
    Converters,
    RangeSettings,
    Tail,
    _percentile,
    best_full_scale,
    best_input_scale,
    vector_scales,
)

RNG = np.random.default_rng(0)
VECTORS = RNG.standard_normal((40, 6))
WEIGHTS = RNG.integers(1, 5, 40).astype(np.float64)
COPIES = np.repeat(VECTORS, WEIGHTS.astype(int), axis=0)
TARGET = RNG.standard_normal((6, 5))
FINE, COARSE = Converters(127, 127), Converters(3, 3)


def by_trial(scales: np.ndarray, error: object) -> float:
    errors = [error(scale) for scale in scales]  # type: ignore[operator]
    return float(scales[int(np.argmin(errors))])


@pytest.mark.parametrize("converters", [FINE, COARSE])
def test_the_input_scale_is_the_one_of_the_least_error(converters: Converters) -> None:
    settings = RangeSettings(candidates=9)
    tail = Tail.of(np.abs(VECTORS))
    top = converters.input_steps

    def error(scale: float) -> float:
        step = scale / top
        rounded = np.clip(np.rint(VECTORS / step), -top, top) * step
        seen = np.square((rounded - VECTORS) @ TARGET).mean()
        return float(seen + np.square(TARGET).sum(0).mean() * tail.unseen(scale))

    scales = np.abs(VECTORS).max() * np.geomspace(0.25, 1.5, 9)
    assert best_input_scale(TARGET, converters, VECTORS, settings) == pytest.approx(by_trial(scales, error))


@pytest.mark.parametrize("converters", [FINE, COARSE, Converters(7, 7, (1.0, 4.0))])
def test_the_converter_range_is_the_one_of_the_least_error(converters: Converters) -> None:
    settings, sums = RangeSettings(candidates=6), VECTORS @ TARGET
    values, tail, top = np.abs(sums), Tail.of(np.abs(sums)), converters.output_steps

    def error(full: float) -> float:
        step = full / top
        return float(np.square(np.clip(np.rint(values / step), 0, top) * step - values).mean() + tail.unseen(full))

    scales = np.clip(values.max() * np.geomspace(0.1, 2.0, 12), *converters.adc_range)
    assert best_full_scale(sums, converters, settings) == pytest.approx(by_trial(np.unique(scales), error))


def test_weights_count_as_copies() -> None:
    settings = RangeSettings(candidates=9)
    for converters in (FINE, COARSE):
        weighted = best_input_scale(TARGET, converters, VECTORS, settings, WEIGHTS)
        assert weighted == pytest.approx(best_input_scale(TARGET, converters, COPIES, settings), rel=0.3)
        sums, copies = VECTORS @ TARGET, COPIES @ TARGET
        full = best_full_scale(sums, converters, settings, WEIGHTS)
        assert full == pytest.approx(best_full_scale(copies, converters, settings), rel=0.25)


@pytest.mark.parametrize("percentile", [50.0, 90.0, 100.0])
def test_a_weighted_percentile_is_near_that_of_its_copies(percentile: float) -> None:
    sizes = np.abs(VECTORS)
    sizes[:5] = 0.0
    assert _percentile(sizes, percentile, np.ones(40)) == pytest.approx(_percentile(sizes, percentile, None))
    copies = np.repeat(sizes, WEIGHTS.astype(int), axis=0)
    assert _percentile(sizes, percentile, WEIGHTS) == pytest.approx(_percentile(copies, percentile, None), rel=0.05)


def test_a_tail_is_the_largest_hundredth() -> None:
    values = np.arange(1.0, 1001.0).reshape(100, 10)
    tail = Tail.of(values)
    assert sorted(tail.values) == list(np.arange(991.0, 1001.0))
    assert (tail.size, tail.weights) == (1000, None)
    assert len(Tail.of(values[:1]).values) == 1
    weighted = Tail.of(values, np.full(100, 2.0))
    assert sorted(weighted.values) == sorted(tail.values)
    assert weighted.size == 2000
    assert weighted.weights is not None
    assert set(weighted.weights) == {2.0}


def test_what_a_tail_has_beyond_a_limit_is_that_of_an_exponential() -> None:
    tail = Tail(np.array([1.0, 2.0, 3.0]), 300)  # excess 1 over the threshold 1

    def expected(limit: float) -> float:
        found, _ = integrate.quad(lambda value: (value - limit) ** 2 * math.exp(-(value - 1.0)), limit, 60.0)
        seen = sum(max(value - limit, 0.0) ** 2 for value in (1.0, 2.0, 3.0))
        return max(3 * found - seen, 0.0) / 300

    for limit in (1.0, 1.5, 2.5, 4.0, 8.0):
        assert tail.unseen(limit) == pytest.approx(expected(limit), abs=1e-9)
    assert tail.unseen(0.9) == 0.0
    assert Tail(np.array([2.0, 2.0]), 200).unseen(5.0) == 0.0
    doubled = Tail(tail.values, 600, np.full(3, 2.0))
    assert doubled.unseen(4.0) == pytest.approx(tail.unseen(4.0))


def test_every_vector_has_its_own_scale() -> None:
    scales = vector_scales(np.array([[1.0, -3.0], [0.0, 0.0]], np.float32))
    assert (scales.dtype, scales.tolist()) == (np.float64, [[3.0], [1.0]])


def images(weights: list[float] | None = None) -> Images:
    return Images(torch.arange(6.0)[:, None], torch.arange(6), None if weights is None else torch.tensor(weights))


def test_images_come_in_batches_and_in_an_order() -> None:
    data = images([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert [len(part) for part in data.batches(4)] == [4, 2]
    order = torch.tensor([5, 3, 1, 0, 2, 4])
    parts = list(data.batches(4, order))
    assert torch.cat([part.labels for part in parts]).tolist() == order.tolist()
    assert parts[0].weights is not None
    assert parts[0].weights.tolist() == [6.0, 4.0, 2.0, 1.0]
    assert data[1:3].labels.tolist() == [1, 2]
    assert images()[1:3].weights is None


def test_shares_of_images_have_a_mean_of_one() -> None:
    assert images([1.0, 1.0, 1.0, 1.0, 1.0, 7.0]).shares.tolist() == [0.5] * 5 + [3.5]
    assert images().shares.tolist() == [1.0] * 6


def test_some_images_are_drawn_once_and_weighted_ones_by_their_weights() -> None:
    data = images()
    assert data.some(6, 0) is data
    some = data.some(4, 0)
    assert len(set(some.labels.tolist())) == 4
    assert some.labels.tolist() == data.some(4, 0).labels.tolist() != data.some(4, 1).labels.tolist()
    drawn = images([1.0, 0.0001, 0.0001, 0.0001, 0.0001, 3.0]).some(4000, 0)
    counts = np.bincount(drawn.labels.numpy(), minlength=6) / 4000
    assert counts[5] == pytest.approx(0.75, abs=4 * math.sqrt(0.75 * 0.25 / 4000))
    assert drawn.weights is None
