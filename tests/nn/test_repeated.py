"""Inputs that are repeated by their weights, and examples as pulses of a memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hwloop
from hwloop.errors import BadInputError
from hwloop.nn.activations import repeated
from hwloop.nn.memory.explicit import ExplicitMemory, _cores
from hwloop.nn.memory.settings import MemorySettings

CHIP = "sim:hermes-core?rows=16&columns=4&cores=3&seed=1"


@pytest.mark.parametrize(
    ("weights", "most", "times"),
    [
        ([1.0, 1.0, 1.0], 4, [1, 1, 1]),
        ([1.0, 2.0, 3.0], 4, [2, 3, 4]),
        ([1.0, 3.0], 4, [2, 4]),
        ([1.0, 99.0], 4, [0, 8]),
        ([1.0, 3.0], 2, [1, 3]),
    ],
)
def test_inputs_are_repeated_as_often_as_their_weights_say(weights: list[float], most: int, times: list[int]) -> None:
    inputs = torch.arange(len(weights))[:, None]
    found = repeated(inputs, torch.tensor(weights), most)
    counts = np.bincount(found[:, 0].numpy(), minlength=len(weights))
    share = np.array(weights) / sum(weights) * len(found)
    assert np.abs(counts - share).max() <= 1.0
    assert len(found) == sum(times)
    assert len(found) <= most * len(weights)
    assert found[:, 0].tolist() == sorted(found[:, 0].tolist())


@pytest.fixture
def memory() -> ExplicitMemory:
    with hwloop.connect(CHIP) as chip:
        yield ExplicitMemory(chip, dimension=10, settings=MemorySettings(levels=3, strong=0.9))


def test_strong_elements_get_all_pulses_and_weak_ones_their_share(memory: ExplicitMemory) -> None:
    example = np.array([[0.0, 0.1, -0.2, 0.4, -0.6, 0.7, 0.9, 1.0, -1.0, 5.0]])
    strong = np.quantile(np.abs(example), 0.9)
    levels = memory._levels(example)
    expected = np.sign(example) * np.round(3 * np.minimum(np.abs(example) / strong, 1))
    assert levels.tolist() == expected.astype(int).tolist()
    alone = np.zeros((1, 10))
    alone[0, 3] = -2.0
    assert memory._levels(alone)[0].tolist() == [0, 0, 0, -3, 0, 0, 0, 0, 0, 0]


def test_a_memory_has_a_column_for_each_class_on_as_many_cores_as_fit(memory: ExplicitMemory) -> None:
    chip = memory.chip
    assert memory.capacity == 12
    assert ExplicitMemory(chip, 16).capacity == 12
    assert ExplicitMemory(chip, 17).capacity == 4  # two cores beside each other, and one is left over
    assert ExplicitMemory(chip, 48).capacity == 4
    with pytest.raises(BadInputError, match="examples of 49 elements need 4 cores of 16 rows beside each other; this"):
        ExplicitMemory(chip, 49)
    for dimension in (0, 1.5, True):
        with pytest.raises(BadInputError, match="expected a whole number of elements"):
            ExplicitMemory(chip, dimension)  # type: ignore[arg-type]
    assert ExplicitMemory(chip, 1).dimension == 1
    assert repr(memory) == "<ExplicitMemory of 0 of 12 classes, 10 elements each>"


def test_cores_are_some_of_the_chips_each_once(memory: ExplicitMemory) -> None:
    assert _cores(memory.chip, None) == (0, 1, 2)
    assert _cores(memory.chip, [2, 0]) == (2, 0)
    for cores in ([], [0, 0], [3], [-1]):
        with pytest.raises(BadInputError, match="expected some of 0 to 2, each once"):
            _cores(memory.chip, cores)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (np.ones((2, 9)), r"vectors: expected \(n, 10\), not \(2, 9\)"),
        (np.ones((1, 2, 10)), "expected"),
        (np.ones((0, 10)), "expected"),
        (np.full((1, 10), np.nan), "vectors contain NaN or infinity"),
        (np.vstack([np.ones(10), np.zeros(10)]), "vectors: one of them is all zero, and similar to nothing"),
    ],
)
def test_vectors_that_cannot_be(memory: ExplicitMemory, given: np.ndarray, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        memory._vectors(given, "vectors")
    assert memory._vectors(np.ones(10), "vectors").shape == (1, 10)
