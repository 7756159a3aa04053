"""Drift of conductance with time, and the correction of conductances from one age to another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hwloop.devices.arrays import Array, namespace
from hwloop.devices.statistics import LogClip, Statistic
from hwloop.devices.time_law import POWER_LAW, TimeLaw
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class DriftModel:
    """G(t) = G(t0) * (t / t0)^-nu with nu normal per device, its mean and spread functions of g = G(t0) / g_scale.

    With another law, ln G falls by nu times what it says, and by what all devices lose alike.
    """

    t0: float
    """Reference age, seconds after the last pulse."""
    g_scale: float
    """Conductance that counts as g = 1, uS."""
    mean: Statistic
    spread: Statistic
    law: TimeLaw = POWER_LAW
    """How drift goes on with age."""

    def factor(self, conductance: Array, age: Array | float) -> Array:
        """Return the expected G(age) / G(t0) of devices with G(t0) = conductance (uS) at an age in seconds."""
        xp = namespace(conductance)
        log_age: Any = math.log(age / self.t0) if isinstance(age, float | int) else xp.log(age / self.t0)
        loss = self.mean(conductance / self.g_scale) * self.law.exponent(log_age)
        value: Array = xp.exp(-loss if not self.law.bend else -loss - self.law.common(log_age))
        return value


PUBLISHED_DRIFT = DriftModel(
    t0=20.0,
    g_scale=25.0,
    mean=LogClip(-0.0155, 0.0244, 0.049, 0.1),
    spread=LogClip(-0.0125, -0.0059, 0.008, 0.045),
)
"""Drift of a million devices in 90-nm technology: Joshi et al., Nature Communications 11, 2473 (2020)."""
INVERSIONS = 5
"""Fixed-point steps from a conductance at some age to that at the reference age."""


@dataclass(frozen=True)
class Aging:
    """Expected conductance at other ages than the reference age, where the drift of the devices is known."""

    drift: DriftModel | None
    youngest: ClassVar[float] = 1e-6
    """Seconds: what is younger counts as so old."""

    def factor(self, conductance: FloatArray, age: FloatArray | float) -> FloatArray:
        """Return G(age) / G(t0) of devices that have `conductance` (uS) at the reference age t0; 1 without a model."""
        if self.drift is None:
            return np.ones_like(conductance)
        if np.ndim(age) == 0:
            return np.asarray(self.drift.factor(conductance, float(np.maximum(age, self.youngest))), np.float64)
        # As `DriftModel.factor`, without an array for every step: this is done for all devices of a tile many times.
        exponent, common = self.exponents(np.asarray(age, np.float64))
        value = -exponent * self.drift.mean(conductance / self.drift.g_scale)
        if common is not None:
            value -= common
        return np.exp(value, out=value)

    def exponents(self, age: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Return what ln G falls by at ages (any shape, seconds): per unit of nu, and for all alike; None for nothing.

        Call it with a drift model only.
        """
        assert self.drift is not None
        law = self.drift.law
        x = np.asarray(np.maximum(age, self.youngest))
        x /= self.drift.t0
        np.log(x, out=x)
        return x if law.plain else law.exponent(x), law.common(x) if law.bend else None

    def apart(self, age: FloatArray | float, other: FloatArray | float) -> FloatArray:
        """Return by how much ln G changes, per unit of nu, from one age to another (seconds, any shape).

        Call it with a drift model only.
        """
        assert self.drift is not None
        if self.drift.law.plain:
            return np.asarray(np.log(np.maximum(other, self.youngest) / np.maximum(age, self.youngest)))
        ends = [self.exponents(np.asarray(one, np.float64))[0] for one in (age, other)]
        return np.asarray(ends[1] - ends[0])

    def at_age(self, conductance: FloatArray, age: FloatArray | float) -> FloatArray:
        """Return the conductance (uS) at an age in seconds of devices that have `conductance` at the reference age."""
        if self.drift is None:
            return conductance
        return conductance * self.factor(np.maximum(conductance, 0.0), age)

    def at_reference(self, conductance: FloatArray, age: FloatArray | float) -> FloatArray:
        """Return the conductance (uS) at the reference age of devices seen with `conductance` at an age in seconds.

        The inverse of `at_age` by fixed point: the factor changes slowly with G.
        """
        if self.drift is None:
            return conductance
        found = conductance
        for _ in range(INVERSIONS):
            found = conductance / self.factor(np.maximum(found, 0.0), age)
        return found

    def log_spread(self, conductance: FloatArray, age: FloatArray | float, other: FloatArray | float) -> FloatArray:
        """Return the relative standard deviation of G(other) when G(age) is known: spread(nu) * |ln(other/age)|.

        With a law other than the power law, its exponents stand for ln(age).
        """
        if self.drift is None:
            return np.zeros_like(conductance)
        apart = self.apart(age, other)
        return np.asarray(self.drift.spread(conductance / self.drift.g_scale) * np.abs(apart), np.float64)
