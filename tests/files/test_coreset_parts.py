"""Parts of coresets: the grid of values, weights in equal ratios, bits that are counted, and rows that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwloop.files.coresets import (
    LAYOUT,
    CoresetPart,
    Grid,
    StoredCoreset,
    _part,
    _together,
    label_bits,
    packed,
    unpacked,
    weight_codes,
)
from hwloop.mapping.activations import Sample


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_a_grid_keeps_zero_and_both_ends_and_is_half_a_step_off_elsewhere(bits: int) -> None:
    grid = Grid(-1.0, 3.0, bits)
    values = np.random.default_rng(0).uniform(-1.0, 3.0, (40, 25))
    values[0, :3] = [0.0, -1.0, 3.0]
    codes = grid.encode(values)
    assert codes[0, :3].tolist() == [0, 1, 2**bits - 1]
    assert (codes.min(), codes.max()) == (0, 2**bits - 1)
    found = grid.decode(codes)
    assert found[0, :3].tolist() == [0.0, -1.0, 3.0]
    step = 4.0 / grid.steps
    assert grid.steps == 2**bits - 3
    assert np.abs(found - values).max() <= step
    inner = (values >= -1.0 + step / 2) & (values <= 3.0 - step / 2)
    assert np.abs(found - values)[inner].max(initial=0.0) <= step / 2 * (1 + 1e-9)


def test_errors_are_uniform_whatever_the_value_is() -> None:
    grid = Grid(0.0, 1.0, 4)
    for value in (0.4, 0.437, 0.5):
        error = (grid.decode(grid.encode(np.full((100, 100), value))) - value) * grid.steps
        assert error.mean() == pytest.approx(0.0, abs=1e-3)
        assert error.var() == pytest.approx(1 / 12, rel=0.01)


def test_a_grid_of_one_value_gives_it_back() -> None:
    grid = Grid(2.0, 2.0, 3)
    assert grid.decode(grid.encode(np.array([[2.0, 0.0]]))).tolist() == [[2.0, 0.0]]


@pytest.mark.parametrize(("classes", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (10, 4), (16, 4), (17, 5)])
def test_labels_take_the_bits_of_the_largest(classes: int, bits: int) -> None:
    assert label_bits(classes) == bits


def part(**more: Any) -> CoresetPart:
    made: dict[str, Any] = {
        "name": "a", "source": "s", "grid": Grid(0.0, 1.0, 4), "codes": np.arange(6).reshape(2, 3), "total": 12.0,
        "weight_ends": (1.0, 8.0), "weight_bits": 2, "weight_codes": np.array([0, 3]),
    }  # fmt: skip
    return CoresetPart(**made | more)


def test_bits_are_those_of_values_weights_labels_and_constants() -> None:
    assert part().bits == 2 * (3 * 4 + 2) + LAYOUT.constants
    labelled = part(labels=np.array([1, 2]), classes=5)
    assert (labelled.label_bits, part().label_bits) == (3, 0)
    assert labelled.bits == 2 * (3 * 4 + 2 + 3) + LAYOUT.constants


def test_weights_stand_in_equal_ratios_and_add_up_to_the_total() -> None:
    assert part().weights() == pytest.approx([12 / 9, 96 / 9])
    ratios = part(codes=np.zeros((4, 3), int), weight_codes=np.arange(4)).weights()
    assert ratios[1:] / ratios[:-1] == pytest.approx([2.0] * 3)
    assert ratios.sum() == pytest.approx(12.0)
    alike = part(weight_bits=0, weight_codes=np.zeros(2, int), weight_ends=(3.0, 3.0))
    assert alike.weights().tolist() == [6.0, 6.0]


def test_weights_are_rounded_to_the_next_ratio() -> None:
    ends, bits, codes = weight_codes(np.array([1.0, 2.0, 2.9, 8.0]), 2)
    assert (ends, bits, codes.tolist()) == ((1.0, 8.0), 2, [0, 1, 2, 3])
    assert weight_codes(np.array([3.0, 3.0]), 2)[:2] == ((3.0, 3.0), 0)
    assert weight_codes(np.array([3.0, 3.0001]), 2)[1] == 2


def test_every_stretch_of_samples_that_are_put_together_is_like_the_whole() -> None:
    one, other = Sample(np.zeros((4, 1)), np.full(4, 2.0)), Sample(np.ones((2, 1)))
    both = _together([one, other])
    assert both.vectors[:, 0].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0, 1.0] or both.vectors[:3].sum() == 1
    assert both.weights is not None
    assert both.weights.tolist() == [1.0 if value else 2.0 for value in both.vectors[:, 0]]
    assert _together([one]) is one


def test_parts_of_one_tensor_are_one_sample() -> None:
    stored = StoredCoreset((part(), part(name="b"), part(source="t")))
    assert {name: len(one) for name, one in stored.samples().items()} == {"a": 4, "b": 2}


def test_bits_are_packed_from_the_highest_on() -> None:
    assert packed(np.array([5, 2, 7]), 3).tolist() == [0b10101011, 0b10000000]
    assert unpacked(np.array([0b10101011, 0b10000000], np.uint8), 3, (3,)).tolist() == [5, 2, 7]
    for content in (np.zeros(2), np.zeros((1, 2), np.uint8), np.zeros(1, np.uint8), np.zeros(3, np.uint8)):
        with pytest.raises(ValueError, match="3 numbers of 3 bits do not take"):
            unpacked(content, 3, (3,))


ROW: dict[str, Any] = {
    "name": "a", "source": "s", "low": 0.0, "high": 1.0, "bits": 4, "points": 2, "inputs": 3, "total": 12.0,
    "weight_ends": [1.0, 8.0], "weight_bits": 2, "shape": [], "classes": 0,
}  # fmt: skip


def read(last: int = 2, **more: Any) -> CoresetPart:
    """Read a row whose labels are 1 and the last one."""
    row = ROW | more
    labels = packed(np.array([1, last]), label_bits(int(row["classes"] or 1)))
    codes = packed(np.arange(row["points"] * row["inputs"]), row["bits"] if isinstance(row["bits"], int) else 4)
    arrays = {"codes-0": codes, "weights-0": packed(np.array([0, 3]), 2), "labels-0": labels}
    return _part(row, 0, arrays)


def test_a_row_is_read() -> None:
    found = read()
    assert (found.codes.tolist(), found.weight_codes.tolist(), found.labels) == ([[0, 1, 2], [3, 4, 5]], [0, 3], None)
    assert (found.grid, found.total, found.weight_ends) == (Grid(0.0, 1.0, 4), 12.0, (1.0, 8.0))
    assert read(shape=[3, 1]).shape == (3, 1)
    assert read(weight_bits=0).weight_codes.tolist() == [0, 0]
    labelled = read(classes=3)
    assert labelled.labels is not None
    assert (labelled.labels.tolist(), labelled.classes) == ([1, 2], 3)
    assert read(low=1.0).grid.low == 1.0
    assert read(weight_ends=[8.0, 8.0]).weight_ends == (8.0, 8.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"points": 0}, {"inputs": 0}, {"bits": 1}, {"bits": 17}, {"weight_bits": -1}, {"weight_bits": 17},
        {"weight_ends": [1.0]}, {"weight_ends": [0.0, 1.0]}, {"weight_ends": [2.0, 1.0]}, {"low": 1.5}, {"total": 0.0},
        {"shape": [2, 2]}, {"classes": -1}, {"points": 2**14, "inputs": 2**14 + 1},
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    arrays = {"codes-0": np.zeros(1, np.uint8), "weights-0": np.zeros(1, np.uint8), "labels-0": np.zeros(1, np.uint8)}
    with pytest.raises(ValueError, match="its sizes do not fit together"):
        _part(ROW | wrong, 0, arrays)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"low": "0"}, "low is no number"), ({"high": float("nan")}, "high is no number"),
        ({"weight_ends": 3}, "weight_ends is no list of numbers"), ({"shape": ["3"]}, "shape is no list of numbers"),
        ({"weight_ends": [1.0, float("inf")]}, "weight_ends is no list of numbers"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _part(ROW | wrong, 0, {})


def test_a_label_beyond_its_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="a label is beyond its classes"):
        read(last=3, classes=3)
