"""Relaxation of resistive memory: what becomes of a cell's conductance after its first read.

A cell that conducts G0 at its first read stays, or it moves. In y = G + w ln G, a scale in which no conductance is
below zero and small ones are skewed as measured ones are, both kinds change by Student's t; that of cells that moved is
wider, and its two sides differ. Time counts in decades since the first read, x = log10((t + c) / (t1 + c)), with c the
age at which cells were first read again:

    share that moved    1 - exp(-H),  H = hazard (1 + growth x)^q      at most all cells, however long one waits
    width               start (1 + growth x)^q                           q = 1, or 1/2 where growth slows down
    shift               start + growth x

Barriers that are spread evenly in energy are crossed by equally many cells in every decade of time, until none is left:
hence the hazard, which grows with log time, and the share, which ends at one. Every start and growth is a function of
G0. Reads of one cell have ranks among what is predicted that are correlated, the less the more decades lie between
(a Student's t copula: cells that moved far stay far).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic

import numpy as np
from scipy import special

from hwloop.devices.arrays import Array, Floating, namespace
from hwloop.devices.predicted import Conditioned, Predicted, t_score
from hwloop.devices.statistics import Statistic
from hwloop.typing import FloatArray

CURVES = {
    "hazard": ("1", "ln of the hazard to move right after the first read"),
    "hazard_growth": ("1", "ln of the growth of the hazard in a decade, over its start"),
    "stay_shift": ("uS", "shift of the cells that stayed, at the start"),
    "stay_shift_growth": ("uS", "change of that shift in a decade"),
    "stay_width": ("1", "ln of the width (uS) of the cells that stayed, at the start"),
    "stay_width_growth": ("1", "ln of the growth of that width in a decade, over its start"),
    "move_shift": ("uS", "shift of the cells that moved, at the start"),
    "move_shift_growth": ("uS", "change of that shift in a decade"),
    "move_width": ("1", "ln of the width (uS) of the cells that moved, at the start"),
    "move_width_growth": ("1", "ln of the growth of that width in a decade, over its start"),
    "move_skew": ("1", "half the ln of the lower over the upper width of the cells that moved"),
}
"""Function of the first conductance -> unit and meaning."""


@dataclass(frozen=True)
class Mixture(Generic[Array]):
    """Both kinds of cells at every read (any shape)."""

    moved: Array
    """Share that moved."""
    stay_shift: Array
    """uS of y."""
    stay_width: Array
    """uS of y."""
    move_shift: Array
    """uS of y."""
    move_width: Array
    """uS of y; that of the lower side is this times the skew, that of the upper side this over the skew."""
    skew: Array
    """Root of the lower over the upper width."""
    freedom: tuple[Array, Array] | tuple[float, float]
    """Degrees of freedom of Student's t: cells that stayed, cells that moved."""


def mixture(
    curves: Mapping[str, Array], decades: Array, exponent: float, freedom: tuple[Array, Array] | tuple[float, float]
) -> Mixture[Array]:
    """Return both kinds of cells for the values of all `CURVES` and decades since the first read, which broadcast."""
    xp = namespace(decades)

    def grown(name: str) -> Array:
        growth = 1.0 + xp.exp(curves[f"{name}_growth"]) * decades
        value: Array = xp.exp(curves[name]) * (growth if exponent == 1.0 else growth**exponent)
        return value

    def shifted(name: str) -> Array:
        return curves[name] + curves[f"{name}_growth"] * decades

    return Mixture(
        moved=-xp.expm1(-grown("hazard")),
        stay_shift=shifted("stay_shift"),
        stay_width=grown("stay_width"),
        move_shift=shifted("move_shift"),
        move_width=grown("move_width"),
        skew=xp.exp(curves["move_skew"]) + 0.0 * decades,
        freedom=freedom,
    )


def log_density(parts: Mixture[Array], first: Array, conductance: Array, warp: Array | float) -> Array:
    """Return the log density per uS of conductances (uS) of cells whose first read was `first` (uS)."""
    xp = namespace(conductance)
    y = conductance - first + warp * xp.log(conductance / first)
    stay = _log_t((y - parts.stay_shift) / parts.stay_width, parts.freedom[0]) - xp.log(parts.stay_width)
    z = (y - parts.move_shift) / parts.move_width
    side = xp.where(z < 0, parts.skew, 1.0 / parts.skew)
    both = xp.log(0.5 * (parts.skew + 1.0 / parts.skew) * parts.move_width)
    move = _log_t(z / side, parts.freedom[1]) - both
    moved = xp.clip(parts.moved, 1e-300, 1.0 - 1e-12)
    found: Array = xp.logaddexp(xp.log1p(-moved) + stay, xp.log(moved) + move) + xp.log1p(warp / conductance)
    return found


def _log_t(z: Array, freedom: Array | float) -> Array:
    """Return the log density of Student's t at z; the degrees of freedom are a scalar."""
    xp = namespace(z)
    lgamma, log = (special.gammaln, np.log) if xp is np else (xp.lgamma, xp.log)
    normal = lgamma(0.5 * (freedom + 1)) - lgamma(0.5 * freedom) - 0.5 * log(freedom * math.pi)
    density: Array = normal - 0.5 * (freedom + 1) * xp.log1p(z * z / freedom)
    return density


def probability(parts: Mixture[Floating], first: FloatArray, conductance: FloatArray, warp: float) -> FloatArray:
    """Return the probability that cells whose first read was `first` (uS) are at or below conductances (uS)."""
    there = conductance > 0
    own = np.where(there, conductance, first)
    y = own - first + warp * np.log(own / first)
    stay = special.stdtr(parts.freedom[0], (y - parts.stay_shift) / parts.stay_width)
    z, skew = (y - parts.move_shift) / parts.move_width, parts.skew
    share = skew / (skew + 1.0 / skew)
    tails = special.stdtr(parts.freedom[1], -np.abs(z) / np.where(z < 0, skew, 1.0 / skew))
    move = np.where(z < 0, 2.0 * share * tails, 1.0 - 2.0 * (1.0 - share) * tails)
    found: FloatArray = np.where(there, (1.0 - parts.moved) * stay + parts.moved * move, 0.0)
    return found


def unwarped(y: Array, warp: float, steps: int = 12) -> Array:
    """Return G (uS) of y = G + warp ln G, by steps of Newton's method for ln G, from where it does not overshoot."""
    xp = namespace(y)
    log_g = xp.where(y > 1.0, xp.log(xp.clip(y, 1.0, None)), xp.clip(y / warp, None, 0.0))
    for _ in range(steps):
        g = xp.exp(log_g)
        log_g = log_g - (g + warp * log_g - y) / (g + warp)
    found: Array = xp.exp(log_g)
    return found


@dataclass(frozen=True)
class RelaxationLaw:
    """The law of this module with its numbers."""

    curves: Mapping[str, Statistic]
    """Each of `CURVES` as a function of g = G0 / g_scale."""
    freedom: tuple[float, float]
    """Degrees of freedom of Student's t: cells that stayed, cells that moved."""
    warp: float
    """uS, w of y = G + w ln G."""
    exponent: float
    """q, of the growth of widths and hazard."""
    g_scale: float
    """Conductance (uS) that counts as g = 1."""
    first_age: float
    """Age (s) at which cells were first read, t1."""
    clock: float
    """Age (s) at which they were first read again, c."""
    memory: tuple[float, float]
    """Correlation of the scores of reads that follow each other at once, and decades in which it falls to 1/e."""
    memory_freedom: float
    """Degrees of freedom of these scores, which are Student's t."""

    def decades(self, age: FloatArray | float) -> FloatArray:
        """Return the decades of time since the first read at ages (s)."""
        return np.asarray(np.log10((np.maximum(age, self.first_age) + self.clock) / (self.first_age + self.clock)))

    def parts(self, age: Array, first: Array, temperature: float) -> Mixture[Array]:
        """Return both kinds of cells at ages (s) after first reads (uS); the temperature (K) is that of the fit."""
        xp = namespace(age)
        decades = xp.log10((xp.clip(age, self.first_age, None) + self.clock) / (self.first_age + self.clock))
        curves = {name: curve(first / self.g_scale) for name, curve in self.curves.items() if name in CURVES}
        return mixture(curves, decades, self.exponent, self.freedom)

    def at(self, age: FloatArray | float, first: FloatArray | float) -> RelaxedConductance:
        """Return the distribution at an age (s) of the conductance of cells whose first read was `first` (uS)."""
        first, decades = np.broadcast_arrays(np.asarray(first, np.float64), self.decades(age))
        curves = {name: np.asarray(curve(first / self.g_scale)) for name, curve in self.curves.items()}
        return RelaxedConductance(mixture(curves, decades, self.exponent, self.freedom), first, self.warp)

    def correlation(self, age: FloatArray | float, later: FloatArray | float) -> FloatArray:
        """Return the correlation of the scores of two reads of a cell at these ages (s)."""
        share, length = self.memory
        return np.asarray(share * np.exp(-np.abs(self.decades(later) - self.decades(age)) / length))

    def given(
        self, later: FloatArray | float, first: FloatArray | float, age: FloatArray | float, read: FloatArray | float
    ) -> Conditioned:
        """Return the distribution at a later age (s) of cells that read `read` (uS) at `age` (s) after `first` (uS)."""
        score = t_score(self.at(age, first).cdf(read), self.memory_freedom)
        return Conditioned(self.at(later, first), score, self.correlation(age, later), self.memory_freedom)


class RelaxedConductance(Predicted):
    """Conductance of cells some time after their first read."""

    def __init__(self, parts: Mixture[Floating], first: FloatArray, warp: float) -> None:
        """Take the mixture of each cell, and its first read (uS)."""
        self.parts, self.first, self.warp = parts, first, warp
        self.shape, self.scale = first.shape, float(np.max(first, initial=1e-9))

    def density(self, conductance: FloatArray | float) -> FloatArray:
        """Return the probability density (1/uS) at conductances (uS)."""
        g = np.asarray(conductance, np.float64)
        own = np.where(g > 0, g, self.first)
        return np.where(g > 0, np.exp(log_density(self.parts, np.asarray(self.first), own, self.warp)), 0.0)

    def sample(self, rng: np.random.Generator, count: int = 1) -> FloatArray:
        """Draw conductances (count, *shape) in uS."""
        parts, shape = self.parts, (count, *self.shape)
        stays = parts.stay_shift + parts.stay_width * rng.standard_t(parts.freedom[0], shape)
        lower = rng.random(shape) < parts.skew / (parts.skew + 1.0 / parts.skew)
        side = np.where(lower, -parts.skew, 1.0 / parts.skew)
        moves = parts.move_shift + parts.move_width * side * np.abs(rng.standard_t(parts.freedom[1], shape))
        change = np.where(rng.random(shape) < parts.moved, moves, stays)
        return np.asarray(unwarped(self.first + self.warp * np.log(self.first) + change, self.warp), np.float64)

    def cdf(self, conductance: FloatArray | float) -> FloatArray:
        """Return the probability to be at or below conductances (uS)."""
        return probability(self.parts, self.first, np.asarray(conductance, np.float64), self.warp)
