"""Normal numbers from a table against the normal distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from hwloop.sim_backend.normals import normals


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    """A million numbers."""
    return normals((1000, 1000), torch.Generator().manual_seed(1)).numpy().astype(float)


@pytest.mark.parametrize("power", [1, 2, 3, 4, 6, 8])
def test_moments_are_those_of_the_normal_distribution(numbers: np.ndarray, power: int) -> None:
    expected, square = scipy.stats.norm.moment(power), scipy.stats.norm.moment(2 * power)
    sampling = math.sqrt((square - expected**2) / numbers.size)
    assert np.mean(numbers**power) == pytest.approx(expected, abs=4 * sampling)


def test_the_distribution_function_is_the_normal_one(numbers: np.ndarray) -> None:
    assert scipy.stats.kstest(numbers.ravel(), "norm").pvalue > 0.01


@pytest.mark.parametrize("sigmas", [2.0, 3.0, 4.0])
def test_far_values_are_as_frequent_as_they_should_be(numbers: np.ndarray, sigmas: float) -> None:
    expected = 2 * scipy.stats.norm.sf(sigmas) * numbers.size
    assert np.count_nonzero(np.abs(numbers) > sigmas) == pytest.approx(expected, abs=4 * math.sqrt(expected))


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 5, 8, 64, 1000])
def test_numbers_do_not_depend_on_each_other(numbers: np.ndarray, lag: int) -> None:
    """Four come from one 64-bit integer; neither they nor their squares may be correlated."""
    flat = numbers.ravel()
    for values in (flat, flat**2 - 1.0):
        correlation = np.corrcoef(values[:-lag], values[lag:])[0, 1]
        assert abs(correlation) < 4 / math.sqrt(flat.size)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (0, 4)])
def test_any_shape_and_the_same_for_the_same_seed(shape: tuple[int, ...]) -> None:
    first, second = (normals(shape, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == shape
    assert first.dtype == torch.float32
    assert torch.equal(first, second)
