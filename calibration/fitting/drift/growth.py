"""How the noise of reads grows with age, and what of it is constant in uS: from what the devices' lines leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.calibration.fitting.drift.covariance import MOST_SHARED, Growth, Mix, Precision, alike, times
from hwloop.devices.time_law import POWER_LAW, TimeLaw
from hwloop.typing import BoolArray, FloatArray

WORST_CONDITION = 1e12
"""Condition of the information about growth from which on the reads do not tell it."""


@dataclass(frozen=True)
class Residuals:
    """Residuals of reads (devices, reads) about the line of each device, over the line and weighted as the line was."""

    there: BoolArray
    x: FloatArray
    """ln(t / t0)."""
    residual: FloatArray
    """Zero where there is no read."""
    log_g: FloatArray
    """(devices,) ln(G / uS)."""
    variance: FloatArray
    """(devices,) of a read at t0, relative: V'."""
    mix: Mix | None
    law: TimeLaw = POWER_LAW
    """Of the lines."""

    @property
    def products(self) -> float:
        """Reads, less two per device for its line."""
        return float(self.there.sum() - 2 * len(self.there))


def growth_of(growth: Growth, left: Residuals) -> Growth:
    """Take one step of restricted maximum likelihood for rate and share; none where the reads do not tell.

    Parameters
    ----------
    growth
        As known so far, with which the residuals were weighted.
    left
        What the lines of the devices leave.

    Returns
    -------
    Growth
        The next estimate.
    """
    x, there, residual, noise, mix = left.x, left.there, left.residual, left.variance, left.mix
    weighted = Precision(growth, x, there, mix)(residual) / np.sqrt(noise)[:, None]
    first, group = alike(x, there, mix)
    at, seen = x[first], there[first]
    own = None if mix is None else mix.take(first)
    # Covariance is linear in V, V b and V b share: products of residuals show them, less what the lines have taken.
    common = growth.common(at, seen)
    parts = np.stack([_diagonal(seen.astype(float)), _diagonal(at * seen), common])
    if own is not None:
        parts *= (1 - own.share)[:, None, None]
        parts[0] += _diagonal(seen * own.share[:, None] * own.constant(at))
    squares = np.array([(weighted * times(weighted, part, group)).sum() for part in parts])
    beside = _left_by_lines(growth, at, seen, own, left.law) @ parts
    devices = np.bincount(group)
    information = np.einsum("g,agij,bgji->ab", devices, beside, beside, optimize=True)
    if np.linalg.cond(information) > WORST_CONDITION:
        return Growth()
    level, rate, together = np.linalg.solve(information, squares)
    if not 0 <= together <= rate:  # at one of the ends: nothing is shared, or all growth is
        merged = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, float(together > 0)]])
        level, rate = np.linalg.solve(merged.T @ information @ merged, merged.T @ squares)
        together = rate * merged[2, 1]
    if not (level > 0 and rate > 0):
        return Growth()
    return Growth(float(rate / level), min(float(together / rate), MOST_SHARED))


def floor_of(growth: Growth, left: Residuals, mix: Mix) -> tuple[float, float]:
    """Take one step of restricted maximum likelihood for the noise that is constant in uS.

    Only how the noise changes with age tells: each device may have more or less of it than its neighbours show.

    Parameters
    ----------
    growth
        Of the noise that falls with the conductance.
    left
        What the lines of the devices leave.
    mix
        Of each device, with shares of zero where nothing is constant so far.

    Returns
    -------
    tuple
        What to add to the variance (uS^2), and the standard deviation of that.
    """
    x, there, residual, noise = left.x, left.there, left.residual, left.variance
    conductance = np.exp(left.log_g)
    first, group = alike(x, there, mix)
    at, seen, own = x[first], there[first], mix.take(first)
    weighted = Precision(growth, x, there, mix)(residual) / np.sqrt(noise)[:, None]
    beside = _left_by_lines(growth, at, seen, own, left.law)
    relative = _diagonal(seen * growth.variance(at)) + growth.share * growth.rate * growth.common(at, seen)
    change = _diagonal(seen * own.constant(at)) - relative
    total = relative + own.share[:, None, None] * change
    seen_of = beside @ change
    change -= (np.trace(seen_of, axis1=1, axis2=2) / (seen.sum(1) - 2))[:, None, None] * total
    information = np.einsum("gij,gji->g", beside @ change, seen_of)[group]
    strength = 1.0 / (conductance**2 * noise)
    score = strength * (weighted * times(weighted, change, group)).sum(1)
    information *= strength**2
    if not information.sum() > 0:
        return 0.0, np.inf
    step = score.sum() / information.sum()
    return float(step), float(np.sqrt(((score - step * information) ** 2).sum()) / information.sum())


def _diagonal(values: FloatArray) -> FloatArray:
    return np.asarray(values[:, :, None] * np.eye(values.shape[1]))


def _left_by_lines(growth: Growth, x: FloatArray, there: BoolArray, mix: Mix | None, law: TimeLaw) -> FloatArray:
    """Return W - W X (X' W X)^-1 X' W (devices, reads, reads), with W the precision and X = (1, h(x))."""
    scale = there / np.sqrt(growth.variance(x, mix))
    weight = np.linalg.inv(growth.correlation(x, there, mix)) * scale[:, :, None] * scale[:, None, :]
    line = np.stack([there.astype(float), law.exponent(x) * there], -1)
    seen = weight @ line
    return np.asarray(weight - seen @ np.linalg.solve(line.transpose(0, 2, 1) @ seen, seen.transpose(0, 2, 1)))
