"""Gains of columns and cells, without regard to the errors of single cells."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.programming.cell_gains import (
    cell_sensitivity,
    column_multiples,
    reachable_gain,
    robust_multiple,
)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_best_multiple_is_found_along_an_axis(axis: int) -> None:
    reference = np.random.default_rng(0).normal(size=(30, 40))
    factors = np.linspace(0.5, 2.0, reference.shape[1 - axis])
    factors = factors[None] if axis == 0 else factors[:, None]
    assert robust_multiple(reference, factors * reference, axis) == pytest.approx(factors)


def test_a_few_cells_gone_wrong_hardly_move_it() -> None:
    rng = np.random.default_rng(1)
    reference = rng.normal(size=(200, 5))
    values = 1.2 * reference + 0.01 * rng.normal(size=reference.shape)
    values[:4] += 5.0 * np.sign(reference[:4])
    plain = (reference * values).sum(0) / (reference**2).sum(0)
    assert np.all(plain - 1.2 > 0.03)
    # Huber weights hold each outlier to 1.345 times a standard deviation that the outliers have raised themselves.
    assert robust_multiple(reference, values, axis=0)[0] == pytest.approx(1.2, abs=0.02)


def test_cells_without_a_target_do_not_make_outliers_of_the_others() -> None:
    """Four cells with errors of their own size, among a hundred that are empty and hardly err."""
    reference, values = np.zeros((104, 1)), np.full((104, 1), 1e-3)
    reference[:4, 0], values[:4, 0] = [10.0, 6.0, 4.0, 1.0], [11.5, 6.4, 5.5, 0.8]
    alone = robust_multiple(reference[:4], values[:4], axis=0)
    assert robust_multiple(reference, values, axis=0) == pytest.approx(alone)
    assert column_multiples(reference, values) == pytest.approx(alone[0])


def test_where_nothing_is_expected_the_multiple_is_one() -> None:
    reference = np.array([[0.0, 2.0], [0.0, 3.0]])
    assert robust_multiple(reference, 3.0 * reference + [[1.0, 0.0]], axis=0)[0] == pytest.approx([1.0, 3.0])


def test_sensitivity_is_a_factor_per_column_times_a_parabola_along_the_rows() -> None:
    rng = np.random.default_rng(2)
    expected = rng.normal(size=(64, 32))
    position = np.linspace(-1.0, 1.0, 64)[:, None]
    true = (1.0 - 0.05 * position - 0.1 * position**2) * np.linspace(0.9, 1.1, 32)
    found = cell_sensitivity(true * expected, expected)
    # Columns meet the average of the parabola, weighed by their own cells: a per cent or two.
    assert found == pytest.approx(true, rel=0.03)
    assert np.mean(found / true) == pytest.approx(1.0, abs=0.003)
    shape = (found / found[32]).mean(1)
    assert shape == pytest.approx((true / true[32]).mean(1), abs=0.01)


@pytest.mark.parametrize("rows", [1, 2])
def test_short_columns_have_a_line_or_a_constant(rows: int) -> None:
    expected = np.full((rows, 3), 2.0)
    assert cell_sensitivity(1.1 * expected, expected) == pytest.approx(1.1)


def test_a_gain_is_as_large_as_cells_can_hold_and_never_lowered_below_one() -> None:
    target = np.array([[10.0, -10.0], [1.0, 2.0]])
    assert reachable_gain(target, np.full((2, 2), 11.0), 0.0, 1.05) == 1.05
    # Two cells of 10 uS that end at 10.3: 205 uS^2 allow 0.1 uS^2 out of reach, which is 0.23 uS on both.
    assert reachable_gain(target, np.full((2, 2), 10.3), 0.0, 1.10) == pytest.approx(1.05)
    assert reachable_gain(target, np.full((2, 2), 5.0), 0.0, 1.05) == 1.0
    assert reachable_gain(target, np.full((2, 2), 5.0), 0.0, 0.9) == 0.9
    # All cells alike, which reach 10.5 +- 0.5: half of them do not hold 1.05, and lose 0.125 uS^2 of 100.
    alike = np.full((4, 4), 10.0)
    assert reachable_gain(alike, np.full((4, 4), 10.5), 0.5, 1.05, lost=1.3e-3) == 1.05
    assert 1.0 < reachable_gain(alike, np.full((4, 4), 10.5), 0.5, 1.05) < 1.04
