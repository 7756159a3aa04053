"""Inverses of curvatures over what data see, on matrices of two and three parameters."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.fitting.information import felt, inverted, mirrored


def test_a_curvature_that_sees_everything_is_inverted() -> None:
    curvature = np.array([[2.0, 0.5], [0.5, 1.0]])
    found = inverted(curvature, np.eye(2), 1e-10)
    assert found is not None
    assert found.matrix == pytest.approx(np.linalg.inv(curvature))
    assert found.determined.all()


def test_a_direction_that_is_not_seen_is_left_out_with_the_parameters_that_have_a_part_in_it() -> None:
    """The data see the sum of the first two alone, and the third."""
    together = np.array([1.0, 1.0, 0.0]) / np.sqrt(2.0)
    curvature = 2.0 * np.outer(together, together) + np.diag([0.0, 0.0, 3.0])
    found = inverted(curvature, np.eye(3), 1e-10)
    assert found is not None
    assert found.determined.tolist() == [False, False, True]
    assert found.matrix == pytest.approx(0.5 * np.outer(together, together) + np.diag([0.0, 0.0, 1 / 3]))


@pytest.mark.parametrize(("part", "determined"), [(0.5e-6, True), (2e-6, False)])
def test_a_millionth_of_a_direction_that_is_not_seen_matters(part: float, determined: bool) -> None:
    directions = np.array([[3.0, 3.0 * part], [0.0, 1.0]])
    found = inverted(np.diag([1.0, 0.0]), directions, 1e-10)
    assert found is not None
    assert found.determined.tolist() == [determined, False]


@pytest.mark.parametrize(
    ("value", "slight", "inverts"),
    [(1.0, 0.0, True), (-1e-11, 0.0, True), (-0.2, 0.0, False), (-0.2, 0.3, True), (-0.4, 0.3, False)],
)
def test_a_negative_curvature_has_no_inverse_unless_it_is_slight(value: float, slight: float, inverts: bool) -> None:
    found = inverted(np.diag([1.0, value]), np.eye(2), 1e-10, slight)
    assert (found is not None) == inverts
    if found is not None and abs(value) > 1e-10:
        assert found.matrix == pytest.approx(np.diag([1.0, 1 / value]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_says_nothing(bad: float) -> None:
    assert inverted(np.array([[bad, 0.0], [0.0, 1.0]]), np.eye(2), 1e-10) is None
    assert inverted(np.eye(2), np.array([[1.0, bad], [0.0, 1.0]]), 1e-10) is None


def test_a_parameter_is_felt_when_moving_it_very_far_would_change_anything() -> None:
    """By 1e8 times its own value, or by 1e8."""
    theta = np.array([0.0, 0.0, 100.0, 100.0, -100.0])
    curvature = np.array([1.1e-16, 0.9e-16, 1.1e-20, 0.9e-20, -1.1e-20])
    assert felt(curvature, theta).tolist() == [True, False, True, False, True]


def test_mirrored_parameters_are_those_that_scores_hardly_tell_apart() -> None:
    """Two parameters whose scores are the same but for a hundredth, and one of its own."""
    rng = np.random.default_rng(1)
    base, other, third = rng.standard_normal((3, 4000))
    own = np.stack([base, base + 0.1 * other, third], axis=1)
    values, vectors = np.linalg.eigh(own.T @ own)
    directions = vectors / np.sqrt(values)
    bent = np.zeros((3, 3))
    bent[:2, :2] = [[1.0, -1.0], [-1.0, 1.0]]
    curvature = np.eye(3) - 0.5 * directions.T @ bent @ directions / np.abs(directions.T @ bent @ directions).max() * 4
    assert mirrored(own, directions, curvature).tolist() == [True, True, False]
    # Scores that tell every parameter by itself mirror none.
    alone = rng.standard_normal((4000, 3))
    values, vectors = np.linalg.eigh(alone.T @ alone)
    assert not mirrored(alone, vectors / np.sqrt(values), np.diag([-1.0, 1.0, 1.0])).any()
