"""Forms that a statistic of a device takes as its conductance changes: lines, powers, polynomials and knots.

Each works on numpy arrays and on torch tensors alike and returns the kind it was given. g is always G / g_scale,
without a unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from hwloop.devices.arrays import Array, namespace

G_FLOOR = 1e-6
"""Smallest normalised conductance that enters a logarithm or a negative power."""


class Statistic(Protocol):
    """A quantity that depends on the normalised conductance g."""

    def __call__(self, g: Array) -> Array:
        """Return the value at g (any shape)."""


@dataclass(frozen=True)
class LogClip:
    """clip(slope * ln g + offset, low, high)."""

    slope: float
    offset: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"clip({self.slope:g} ln g {self.offset:+g}, {self.low:g}, {self.high:g})"

    def __call__(self, g: Array) -> Array:
        """Return the value at g (any shape)."""
        xp = namespace(g)
        value: Array = xp.clip(self.slope * xp.log(xp.clip(g, G_FLOOR, None)) + self.offset, self.low, self.high)
        return value


@dataclass(frozen=True)
class PowerLaw:
    """min(scale * g^exponent, cap)."""

    scale: float
    exponent: float
    cap: float

    def __str__(self) -> str:
        return f"min({self.scale:g} g^{self.exponent:g}, {self.cap:g})"

    def __call__(self, g: Array) -> Array:
        """Return the value at g (any shape)."""
        xp = namespace(g)
        value: Array = xp.clip(self.scale * xp.clip(g, G_FLOOR, None) ** self.exponent, None, self.cap)
        return value


@dataclass(frozen=True)
class Polynomial:
    """Sum of coefficients[k] * g^k, constant first."""

    coefficients: tuple[float, ...]

    def __str__(self) -> str:
        return " ".join(f"{c:+g} g^{k}" if k else f"{c:g}" for k, c in enumerate(self.coefficients))

    def __call__(self, g: Array) -> Array:
        """Return the value at g (any shape), by Horner's rule."""
        value = 0.0 * g
        for coefficient in reversed(self.coefficients):
            value = value * g + coefficient
        return value


@dataclass(frozen=True)
class Knots:
    """Straight lines in ln g through (at[k], values[k]), flat before the first and after the last: no form assumed."""

    at: tuple[float, ...]
    """ln g of the knots, ascending."""
    values: tuple[float, ...]

    def __str__(self) -> str:
        return "through " + ", ".join(
            f"{v:g} at g = {math.exp(a):.3g}" for a, v in zip(self.at, self.values, strict=True)
        )

    def __call__(self, g: Array) -> Array:
        """Return the value at g (any shape)."""
        xp = namespace(g)
        z = xp.log(xp.clip(g, G_FLOOR, None))
        value: Array = self.values[0] + 0.0 * z
        for k in range(len(self.at) - 1):
            share = xp.clip((z - self.at[k]) / (self.at[k + 1] - self.at[k]), 0.0, 1.0)
            value = value + (self.values[k + 1] - self.values[k]) * share
        return value


@dataclass(frozen=True)
class Piecewise:
    """`below` for g under the threshold, `above` from there on."""

    threshold: float
    below: Statistic
    above: Statistic

    def __str__(self) -> str:
        return f"{self.below} for g < {self.threshold:g}, else {self.above}"

    def __call__(self, g: Array) -> Array:
        """Return the value at g (any shape)."""
        value: Array = namespace(g).where(g < self.threshold, self.below(g), self.above(g))
        return value


@dataclass(frozen=True)
class UpTo:
    """`of` as far as it was characterised, g = limit, and its value there beyond: polynomials run off at once."""

    limit: float
    of: Statistic

    def __str__(self) -> str:
        return f"{self.of}, held from g = {self.limit:g}"

    def __call__(self, g: Array) -> Array:
        """Return the value at g (any shape)."""
        value: Array = self.of(namespace(g).clip(g, None, self.limit))
        return value
