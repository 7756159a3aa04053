"""The search for a maximum, what it refuses, and the covariance, against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from hwloop.calibration.fitting.likelihood import (
    LogLikelihood,
    NoMaximumError,
    Optimum,
    covariance,
    maximise,
    scores,
    tensor,
    whitening,
)

pytestmark = pytest.mark.numerical

SEEN = np.random.default_rng(1).normal(3.0, 2.0, 400)


def normal(values: np.ndarray) -> LogLikelihood:
    """Mean, and logarithm of the standard deviation, of a normal distribution."""
    seen = tensor(values)

    def each(theta: torch.Tensor) -> torch.Tensor:
        return -0.5 * ((seen - theta[0]) / torch.exp(theta[1])) ** 2 - theta[1] - 0.5 * math.log(2 * math.pi)

    return each


def test_maximum_of_a_normal_likelihood_is_mean_and_standard_deviation() -> None:
    found = maximise(normal(SEEN), np.array([0.0, 0.0]))
    assert found.converged
    assert found.theta == pytest.approx([SEEN.mean(), math.log(SEEN.std())], abs=1e-3)
    closed = -SEEN.size * (math.log(SEEN.std()) + 0.5 + 0.5 * math.log(2 * math.pi))
    assert found.log_likelihood == pytest.approx(closed, rel=1e-8)


def test_held_parameters_stay_where_they_are() -> None:
    found = maximise(normal(SEEN), np.array([0.0, math.log(5.0)]), free=np.array([True, False]))
    assert found.theta[0] == pytest.approx(SEEN.mean(), abs=1e-4)
    assert found.theta[1] == math.log(5.0)


def test_no_parameter_moves_further_than_its_reach() -> None:
    found = maximise(normal(SEEN), np.array([0.0, 0.0]), reach=0.5)
    assert found.theta == pytest.approx([0.5, 0.5])


def test_directions_of_the_search_change_nothing_but_the_way() -> None:
    start = np.array([1.0, 0.5])
    directions = whitening(scores(normal(SEEN), start, np.ones(2, bool)))
    found = maximise(normal(SEEN), start, directions=directions)
    assert found.theta == pytest.approx([SEEN.mean(), math.log(SEEN.std())], abs=1e-3)


def test_a_search_that_may_not_go_on_says_so() -> None:
    assert not maximise(normal(SEEN), np.array([-50.0, 3.0]), max_steps=2).converged


# ---- no maximum -------------------------------------------------------------------------------------------------

UNITS = torch.linspace(0.5, 1.5, 40, dtype=torch.float64)
UNBOUNDED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a straight line": lambda theta: UNITS * theta[0],
    "a parabola that opens upward": lambda theta: UNITS * theta[0] ** 2 + theta[0],
    "an exponential": lambda theta: UNITS * torch.exp(theta[0]),
    "a pole": lambda theta: -UNITS * torch.log((theta[0] - 1.0).abs()),
    "one direction of two": lambda theta: UNITS * (theta[0] + theta[1]) - (theta[0] - theta[1]) ** 2,
    "a slope that overflows": lambda theta: UNITS * torch.exp(torch.exp(theta[0])),
    "a finite value whose slope is not": lambda theta: UNITS * theta[0] + 1e-200 * torch.exp(torch.exp(theta[0] / 4)),
}


@pytest.mark.parametrize("shape", UNBOUNDED)
def test_a_likelihood_without_a_maximum_is_refused(shape: str) -> None:
    with pytest.raises(NoMaximumError, match=r"the likelihood has no maximum .*: nearly all cells are stuck"):
        maximise(UNBOUNDED[shape], np.array([0.3, 0.1]))


def test_where_it_rises_up_to_a_border_of_the_numbers_the_search_says_that_it_stopped() -> None:
    found = maximise(lambda theta: -UNITS * theta[0] - 0.0 * torch.exp(-2 * theta[0]), np.array([0.3, 0.1]))
    assert not found.converged
    assert found.theta[0] < 0.3


@pytest.mark.parametrize("shape", ["a straight line", "an exponential", "one direction of two"])
def test_nor_is_it_along_whitened_directions(shape: str) -> None:
    with pytest.raises(NoMaximumError, match=r"rises without end|to infinity"):
        maximise(UNBOUNDED[shape], np.array([0.3, 0.1]), directions=np.eye(2))


@pytest.mark.parametrize("directions", [None, np.eye(1)])
def test_a_likelihood_that_is_no_number_is_refused(directions: np.ndarray | None) -> None:
    with pytest.raises(NoMaximumError, match="where the search begins"):
        maximise(lambda theta: torch.log(-1.0 - theta[0] ** 2) * UNITS, np.zeros(1), directions=directions)


@pytest.mark.parametrize("directions", [None, np.eye(1)])
def test_so_is_one_whose_slope_overflows_at_the_start(directions: np.ndarray | None) -> None:
    with pytest.raises(NoMaximumError, match="where the search begins"):
        maximise(lambda theta: 0.0 * UNITS - (theta[0] * 1e200) ** 2, np.ones(1), directions=directions)


def test_a_search_turns_back_from_where_there_is_no_likelihood() -> None:
    """log(x) - x has its maximum at 1; the first steps lead to where the logarithm is none."""
    found = maximise(lambda theta: UNITS * (torch.log(theta[0]) - theta[0]), np.array([3.9]))
    assert found.theta[0] == pytest.approx(1.0, abs=1e-4)


def test_a_search_turns_back_from_where_a_matrix_is_not_definite() -> None:
    def each(theta: torch.Tensor) -> torch.Tensor:
        factor = torch.linalg.cholesky(torch.diag(torch.stack([theta[0], theta[0] ** 2 + 1.0])))
        return UNITS * (2 * torch.log(factor[0, 0]) - theta[0])

    assert maximise(each, np.array([3.9])).theta[0] == pytest.approx(1.0, abs=1e-4)


# ---- covariance -------------------------------------------------------------------------------------------------


def test_covariance_is_the_inverse_of_the_known_information() -> None:
    """Of a normal distribution: sigma^2 / n for the mean, 1 / (2 n) for the logarithm of sigma, nothing between."""
    seen = np.random.default_rng(2).normal(0.0, 2.0, 40_000)
    theta = np.array([seen.mean(), math.log(seen.std())])
    expected = np.diag([seen.var() / seen.size, 0.5 / seen.size])
    size = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    for kinks in (False, True):
        found = covariance(normal(seen), theta, kinks=kinks)
        assert (found - expected) / size == pytest.approx(np.zeros((2, 2)), abs=0.05)  # scatter of a fourth moment


def test_few_units_have_the_inverse_curvature_alone() -> None:
    seen = SEEN[:20]
    theta = np.array([seen.mean(), math.log(seen.std())])
    found = covariance(normal(seen), theta)
    assert found == pytest.approx(np.diag([seen.var() / 20, 1 / 40]), rel=1e-6, abs=1e-9)


def test_covariance_of_a_wrong_model_is_that_of_the_scatter() -> None:
    """A mean under a standard deviation that is held at a tenth of the true one has the true one's error."""
    held = np.array([SEEN.mean(), math.log(SEEN.std() / 10)])
    found = covariance(normal(SEEN), held, free=np.array([True, False]))
    spared = SEEN.size / (SEEN.size - 1)
    assert found[0, 0] == pytest.approx(SEEN.var() / SEEN.size * spared, rel=1e-6)
    assert not found[1].any()


def test_scores_are_the_derivatives_of_every_unit() -> None:
    found = scores(normal(SEEN), np.array([2.0, 0.7]), np.ones(2, bool))
    z = (SEEN - 2.0) / math.exp(0.7)
    assert found == pytest.approx(np.stack([z / math.exp(0.7), z**2 - 1], axis=1))


def test_whitened_scores_scatter_by_one() -> None:
    own = np.random.default_rng(3).standard_normal((500, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 2.0, 0.3], [0, 0, 5.0]])
    directions = whitening(own)
    assert directions.T @ own.T @ own @ directions == pytest.approx(np.eye(3), abs=1e-9)


def test_interval_is_1_96_standard_deviations_to_either_side() -> None:
    optimum = Optimum(np.array([1.0, 5.0]), np.diag([4.0, 0.25]), 0.0, True)
    assert optimum.interval(1) == pytest.approx((5.0 - 0.98, 5.0 + 0.98), abs=1e-3)
