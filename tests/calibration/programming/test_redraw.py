"""The value of a redraw against a simulation of the stopping problem."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.programming.redraw import RedrawTable, cost_of_pulse, redraw_values

pytestmark = pytest.mark.numerical


def test_values_without_a_price_are_those_of_the_closed_form() -> None:
    expected = [1.0, 0.516, 0.329, 0.232, 0.174, 0.136]
    assert redraw_values(5, np.zeros(1))[:, 0] == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize("price", [0.0, 0.2, 1.0])
def test_stopping_by_the_values_costs_what_they_say(price: float) -> None:
    values = redraw_values(3, np.array([price]))[:, 0]
    rng = np.random.default_rng(1)
    cost, active = np.zeros(200_000), np.ones(200_000, bool)
    for left in (3, 2, 1, 0):
        square = rng.standard_normal(200_000) ** 2
        again = active & (left > 0) & (square > price + values[left - 1])
        cost += active * np.where(again, price, square)
        active = again
    # The standard error of the mean is below sqrt(2 / 200 000) = 0.003.
    assert cost.mean() == pytest.approx(values[3], abs=0.012)


def test_the_table_gives_the_values() -> None:
    table = RedrawTable(10)
    price = np.array([0.0, 0.1, 0.7, 3.0])
    for left in (0, 1, 4, 10, 25):
        found = table(np.full(4, left), price)
        assert found == pytest.approx(redraw_values(min(left, 10), price)[-1], abs=0.01)


def test_the_table_takes_the_nearest_price_in_equal_steps_of_a_share() -> None:
    """Shares p / (1 + p) of 0, 0.2, 0.4, 0.6 and 0.8: prices of 0, 1/4, 2/3, 3/2 and 4."""
    table = RedrawTable(3, prices=5, highest=4.0)
    for price, nearest in ((0.1, 0.0), (0.12, 0.25), (0.42, 0.25), (0.43, 2 / 3), (2.3, 1.5), (2.4, 4.0), (99.0, 4.0)):
        for left in (0, 1, 3):
            expected = redraw_values(left, np.array([nearest]))[-1]
            assert table(np.array([left]), np.array([price])) == pytest.approx(expected)


def test_a_table_has_256_prices_up_to_16() -> None:
    table, left = RedrawTable(10), np.full(100_000, 10)
    assert len(np.unique(table(left, np.linspace(0.0, 1.0, 100_000) / np.linspace(1.0, 1e-9, 100_000)))) == 256
    for price, taken in ((16.0, 16.0), (50.0, 16.0)):
        assert table(left[:1], np.array([price])) == pytest.approx(redraw_values(10, np.array([taken]))[10], abs=1e-6)


def test_small_variances_are_paid_for_like_large_ones() -> None:
    left, v = np.array([4]), redraw_values(4, np.array([0.5]))[4, 0]
    cost = cost_of_pulse(RedrawTable(10), left, np.array([1e-8]), np.zeros(1), price=0.5e-8)
    assert cost == pytest.approx([1e-8 * v], rel=5e-3)


def test_only_what_measurements_show_can_be_won() -> None:
    table, left = RedrawTable(10), np.array([0, 5, 5, 5])
    cost = cost_of_pulse(table, left, np.full(4, 2.0), np.array([0.0, 0.0, 2.0, 1e9]), price=0.0)
    v = redraw_values(5, np.zeros(1))[5, 0]
    # None left; all is seen; half of the variance is seen; nothing is.
    assert cost == pytest.approx([2.0, 2.0 * v, 1.0 + 1.0 * v, 2.0], rel=0.01)


def test_a_pulse_is_paid_for_in_units_of_what_is_seen_of_it() -> None:
    """Of 3 uS^2, 3 * 3 / (3 + 1.5) = 2 uS^2 are seen; a price of 1 uS^2 is half of that."""
    v = redraw_values(4, np.array([0.5]))[4, 0]
    cost = cost_of_pulse(RedrawTable(10), np.array([4]), np.array([3.0]), np.array([1.5]), price=1.0)
    assert cost == pytest.approx([1.0 + 2.0 * v], rel=2e-3)


def test_a_result_without_variance_costs_nothing_and_a_dear_one_is_kept() -> None:
    table = RedrawTable(10)
    assert cost_of_pulse(table, np.array([3]), np.zeros(1), np.ones(1), price=1.0) == pytest.approx([0.0])
    assert cost_of_pulse(table, np.array([3]), np.ones(1), np.zeros(1), price=1e6) == pytest.approx([1.0], rel=1e-3)
    assert cost_of_pulse(table, np.array([-1]), np.ones(1), np.zeros(1), price=0.0) == pytest.approx([1.0])
