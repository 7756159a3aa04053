"""Baked resistive memory: what becomes of a cell's conductance after some time at a high temperature.

Temperature makes time pass faster (Arrhenius): a time t at T counts as

    t_eq = t exp(-E/k (1/T - 1/T_ref))

at the reference temperature, and times at several temperatures add up. A cell that conducts G0 at its first read stays
or moves, as in `hwloop.devices.relaxation`; every number of both kinds (share, shifts, widths, skew) is a function of
G0 and of p, the place of log10 t_eq between the mildest (0) and the hardest bake (1): lines between the values at bakes
that were measured. Beyond the hardest the last of them goes on. A bake that is milder than the mildest measured one
leaves what that one does; it falls to no change at all as the time itself, whatever the temperature, goes to zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwloop.devices.arrays import Array, namespace
from hwloop.devices.relaxation import Mixture, RelaxedConductance
from hwloop.devices.statistics import Statistic
from hwloop.typing import FloatArray
from hwloop.units import BOLTZMANN

BAKE_CURVES = {
    "hazard": ("1", "ln of the hazard to move"),
    "stay_shift": ("uS", "shift of the cells that stayed"),
    "stay_width": ("1", "ln of the width (uS) of the cells that stayed"),
    "move_shift": ("uS", "shift of the cells that moved"),
    "move_width": ("1", "ln of the width (uS) of the cells that moved"),
    "move_skew": ("1", "half the ln of the lower over the upper width of the cells that moved"),
}
"""Function of the first conductance and of the bake -> unit and meaning."""


def log_acceleration(temperature: Array, energy: Array | float, reference: float) -> Array:
    """Return log10 of the seconds at the reference temperature that a second at a temperature (K) counts for."""
    found: Array = (1.0 / reference - 1.0 / temperature) * (energy / (BOLTZMANN * math.log(10.0)))
    return found


def log_equivalent(passed: Array, temperature: Array, energy: Array | float, reference: float) -> Array:
    """Return log10 of the seconds at the reference temperature that stays of a cell, one after the other, add up to.

    Parameters
    ----------
    passed, temperature
        (cells, stays) seconds, and the temperatures (K) of these.
    energy
        Activation energy, eV.
    reference
        K.
    """
    xp = namespace(passed)
    total = (passed * 10.0 ** log_acceleration(temperature, energy, reference)).cumsum(1)
    found: Array = xp.log10(xp.clip(total, 1e-300, None))
    return found


def bake_weights(place: Array, knots: tuple[float, ...]) -> list[Array]:
    """Return the weight of each measured bake at places (any shape): lines between them, the last of which goes on."""
    if len(knots) == 1:
        return [1.0 + 0.0 * place]
    xp, found = namespace(place), [0.0 * place for _ in knots]
    for k in range(len(knots) - 1):
        share = (place - knots[k]) / (knots[k + 1] - knots[k])
        # Steps of the value from knot to knot: the share of each that has been made.
        share = xp.clip(share, 0.0, None) if k == len(knots) - 2 else xp.clip(share, 0.0, 1.0)
        found[k + 1] = found[k + 1] + share
        found[k] = found[k] - share
    found[0] = found[0] + 1.0
    return found


def baked_mixture(
    curves: Mapping[str, Array], begun: Array, freedom: tuple[Array, Array] | tuple[float, float]
) -> Mixture[Array]:
    """Return both kinds of cells for the values of all `BAKE_CURVES`; `begun` is 1 once the mildest bake is reached.

    Before, all changes are smaller by it.
    """
    xp = namespace(begun)
    return Mixture(
        moved=-xp.expm1(-xp.exp(curves["hazard"]) * begun),
        stay_shift=curves["stay_shift"] * begun,
        stay_width=xp.exp(curves["stay_width"]) * begun,
        move_shift=curves["move_shift"] * begun,
        move_width=xp.exp(curves["move_width"]) * begun,
        skew=xp.exp(curves["move_skew"]),
        freedom=freedom,
    )


@dataclass(frozen=True)
class BakeLaw:
    """The law of this module with its numbers."""

    curves: Mapping[str, tuple[Statistic, ...]]
    """Each of `BAKE_CURVES` at each of the bakes, as a function of g = G0 / g_scale."""
    knots: tuple[float, ...]
    """Places of the bakes at which the curves are known, ascending."""
    freedom: tuple[float, float]
    """Degrees of freedom of Student's t: cells that stayed, cells that moved."""
    warp: float
    """uS, w of y = G + w ln G."""
    g_scale: float
    """Conductance (uS) that counts as g = 1."""
    energy: float
    """Activation energy, eV."""
    reference: float
    """Temperature (K) at which equivalent times are stated."""
    measured: tuple[tuple[float, float], ...]
    """Temperatures (K) and times (s) of the bakes that were measured."""

    @property
    def ends(self) -> tuple[float, float]:
        """log10 of the equivalent seconds of the mildest and of the hardest bake, each from a fresh cell on."""
        kelvin, seconds = np.array(self.measured).T
        log_time = np.log10(self.equivalent(seconds, kelvin))
        return float(log_time.min()), float(log_time.max())

    def equivalent(self, time: FloatArray | float, temperature: FloatArray | float) -> FloatArray:
        """Return the seconds at the reference temperature that times (s) at temperatures (K) count for."""
        kelvin = np.asarray(temperature, np.float64)
        return np.asarray(time, np.float64) * 10.0 ** log_acceleration(kelvin, self.energy, self.reference)

    def place(self, equivalent: FloatArray | float) -> FloatArray:
        """Return the place of equivalent times (s at the reference temperature) between the measured bakes."""
        low, high = self.ends
        return np.asarray((np.log10(np.maximum(equivalent, 1e-300)) - low) / max(high - low, 1e-9))

    def begun(self, time: FloatArray | float) -> FloatArray:
        """Return how much of what the mildest bake does has come about after times (s)."""
        share = np.log10(1.0 + 9.0 * np.asarray(time, np.float64) / self.clock)
        return np.asarray(np.clip(share, 1e-6, 1.0))

    @property
    def clock(self) -> float:
        """Seconds of the shortest bake, in which changes come about."""
        return min(seconds for _, seconds in self.measured)

    @property
    def first_age(self) -> float:
        """Age (s) at which cells are as they were programmed."""
        return 0.0

    @property
    def memory(self) -> tuple[float, float]:
        """Correlation of the ranks of a cell's reads, and the decades in which it falls: no fit tells, so for ever."""
        return 1.0, math.inf

    def parts(self, age: Array, first: Array, temperature: float) -> Mixture[Array]:
        """Return both kinds of cells after times (s) at a temperature (K) that cells of `first` (uS) have been kept."""
        xp, (low, high) = namespace(age), self.ends
        faster = (1.0 / self.reference - 1.0 / temperature) * self.energy / (BOLTZMANN * math.log(10.0))
        place = (xp.log10(xp.clip(age, 1e-30, None)) + faster - low) / max(high - low, 1e-9)
        weights = bake_weights(place, self.knots)
        values = {name: [one(first / self.g_scale) for one in own] for name, own in self.curves.items()}
        curves = {
            name: sum((w * value for w, value in zip(weights[1:], own[1:], strict=True)), weights[0] * own[0])
            for name, own in values.items()
        }
        begun = xp.clip(xp.log10(1.0 + 9.0 * age / self.clock), 1e-6, 1.0)
        return baked_mixture(curves, begun, self.freedom)

    def at(
        self, time: FloatArray | float, first: FloatArray | float, temperature: FloatArray | float
    ) -> RelaxedConductance:
        """Return the distribution after times (s) at temperatures (K) of cells whose first read was `first` (uS)."""
        return self.after(self.equivalent(time, temperature), time, first)

    def after(
        self, equivalent: FloatArray | float, time: FloatArray | float, first: FloatArray | float
    ) -> RelaxedConductance:
        """Return the same after equivalent times (s at the reference temperature), which took so many seconds."""
        first, place, begun = np.broadcast_arrays(
            np.asarray(first, np.float64), self.place(equivalent), self.begun(time)
        )
        weights = bake_weights(np.asarray(place), self.knots)
        curves = {
            name: np.sum([w * np.asarray(one(first / self.g_scale)) for w, one in zip(weights, own, strict=True)], 0)
            for name, own in self.curves.items()
        }
        return RelaxedConductance(baked_mixture(curves, begun, self.freedom), first, self.warp)
