"""What another pulse is worth when its result can be measured and drawn again: a problem of optimal stopping.

A pulse draws a conductance from a normal distribution about its aim. What comes out is measured, and may be kept or
drawn again at the price of a pulse, as often as rounds are left. With x a standard normal number and a price p, both
in units of the variance of a pulse, the expected cost of doing the best is
    V_0 = 1,  V_n = E[min(x^2, p + V_(n-1))].
"""

from __future__ import annotations

import numpy as np
from scipy import special

from hwloop.calibration.programming.pulse_kernels import Redraws
from hwloop.devices.normal import normal_density
from hwloop.typing import AnyArray, FloatArray


def expected_minimum(bound: FloatArray) -> FloatArray:
    """Return E[min(x^2, bound)] of a standard normal x for bounds (any shape) of zero or more."""
    c = np.sqrt(bound)
    inside = 2.0 * special.ndtr(c) - 1.0
    # The second moment within +-c is the probability there, less what integration by parts leaves at the two ends.
    value: FloatArray = inside - 2.0 * c * normal_density(c) + (1.0 - inside) * bound
    return value


def redraw_values(rounds: int, price: FloatArray) -> FloatArray:
    """Compute the expected cost after up to `rounds` redraws, V_0 to V_rounds.

    Parameters
    ----------
    rounds
        Redraws at most.
    price
        (n,) price of a pulse over the variance of its result.

    Returns
    -------
    ndarray
        (rounds + 1, n), in units of the variance of a pulse.
    """
    values = [np.ones_like(price)]
    for _ in range(rounds):
        values.append(expected_minimum(price + values[-1]))
    return np.array(values)


class RedrawTable:
    """The value of a redraw, tabulated over the price of a pulse and the redraws left."""

    def __init__(self, most: int, prices: int = 256, highest: float = 16.0) -> None:
        """Tabulate.

        Parameters
        ----------
        most
            Redraws that are thought ahead at most.
        prices
            Prices at which the value is tabulated, evenly in p / (1 + p), where it changes evenly.
        highest
            Highest price over the variance of a pulse: beyond, hardly any result is worth drawing again.
        """
        self._most, self._prices, self._end = most, prices, highest / (1.0 + highest)
        place = np.linspace(0.0, self._end, prices)
        self._values = redraw_values(most, place / (1.0 - place))

    def after(self, rounds: int, pulses: int, price: float) -> Redraws:
        """Return the table for compiled loops.

        Parameters
        ----------
        rounds
            Rounds that follow.
        pulses
            Pulses that a device may receive.
        price
            Expected squared error that a pulse must win, uS^2.
        """
        return Redraws(self._values, self._end, rounds, pulses, price)

    def __call__(self, left: AnyArray, price: FloatArray) -> FloatArray:
        """Return V of so many redraws left (any shape) at prices over the variance of a pulse (the same shape)."""
        place = price / (1.0 + price)
        place *= (self._prices - 1) / self._end
        place += 0.5
        column = np.minimum(place, self._prices - 1, out=place).astype(np.intp)
        column += np.clip(left, 0, self._most) * self._prices
        value: FloatArray = self._values.reshape(-1).take(column)
        return value


def cost_of_pulse(
    table: RedrawTable, left: AnyArray, drawn: FloatArray, seen_with: FloatArray, price: float
) -> FloatArray:
    """Compute the expected squared error that a pulse leaves once redraws have made the best of it.

    Only what measurements show of a result can be chosen; what they cannot resolve stays as it is.

    Parameters
    ----------
    table
        Value of redraws.
    left
        Redraws left, of the shape of `drawn` or one that is broadcast to it.
    drawn
        Variance of a pulse's result, uS^2.
    seen_with
        Variance with which the measurements to come will show it, uS^2.
    price
        Expected squared error that a pulse must win, uS^2.

    Returns
    -------
    ndarray
        uS^2, of the shape of `drawn`.
    """
    drawn = np.maximum(drawn, 1e-300)
    shown = drawn * drawn
    shown /= drawn + seen_with
    prices = np.maximum(shown, 1e-30)
    cost: FloatArray = table(left, np.divide(price, prices, out=prices))
    cost *= shown
    cost += drawn - shown
    return cost
