"""Covariance of the noise of one device's reads at different ages.

1/f noise that is set to zero by a pulse is a sum of relaxation processes, spread evenly in the logarithm of their
correlation time tau. At ages t1 and t2 each has the covariance exp(-|t2 - t1| / tau) - exp(-(t1 + t2) / tau), and all
together, for one unit of variance per e-fold of tau, ln((t1 + t2) / |t2 - t1|). The variance of a read then grows by
one unit per e-fold of age, so that noise of the variance V (1 + b ln(t / t0)) has the covariance
V b ln((t1 + t2) / |t2 - t1|), however much of V is white. Not all growth need be of this kind; the share that is,
between none and all, is taken from the residuals, with b.

A converter's noise is constant in uS, and independent from read to read. Over the conductance it grows as that falls:
for a device that drifts with nu its relative variance is F exp(2 nu x) at x = ln(t / t0). With V' the relative variance
of a read at t0, both kinds together, F / V' is the device's mix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwloop.typing import FloatArray

ALIKE = 0.01
"""Of ln t: devices whose ages differ by less share one matrix of correlations."""
MOST_SHARED = 0.98
"""Two reads at one moment still differ."""
FLICKER_READ = 1e-6
"""Seconds. A hundred times as long, which is averaging, changes the growth by a fourth."""
WORST_CONDITION = 1e12
SMALLEST_VARIANCE = 0.1
"""Of a read, over V: long before t0."""
FEW = 0.02
"""Steps of the share of a mix, and of its nu over two: devices are grouped by them."""


@dataclass(frozen=True)
class Mix:
    """What of the noise of each device does not fall with its conductance."""

    share: FloatArray
    """(devices,) of the variance of a read at t0."""
    nu: FloatArray
    """(devices,) with which the conductance falls."""

    @classmethod
    def of(cls, share: FloatArray, nu: FloatArray) -> Mix:
        """Rounded, so that devices with about the same mix are alike."""
        return cls(np.round(share / FEW) * FEW, np.round(2 * nu / FEW) * FEW / 2)

    def take(self, some: NDArray[np.int64] | NDArray[np.bool_]) -> Mix:
        """Those of some devices."""
        return Mix(self.share[some], self.nu[some])

    def constant(self, x: FloatArray) -> FloatArray:
        """Variance (devices, reads) of what is constant in uS, over the square of the conductance, 1 at t0."""
        return np.asarray(np.exp(np.clip(2 * self.nu[:, None] * x, -50.0, 50.0)))


@dataclass(frozen=True)
class Growth:
    """How the noise of reads grows with age, and what reads at different ages have in common."""

    rate: float = 0.0
    """b: growth of the relative variance per unit of ln(t / t0), over that at t0."""
    share: float = 0.0
    """Of the growth, the part that is 1/f noise."""

    def variance(self, x: FloatArray, mix: Mix | None = None) -> FloatArray:
        """Over V', at x = ln(t / t0)."""
        own = np.maximum(1.0 + self.rate * x, SMALLEST_VARIANCE)
        if mix is None:
            return own
        share = mix.share[:, None]
        return np.asarray((1 - share) * own + share * mix.constant(x))

    def common(self, x: FloatArray, there: NDArray[np.bool_]) -> FloatArray:
        """ln((t1 + t2) / |t2 - t1|) of any two reads (devices, reads, reads), zero on the diagonal."""
        pairs = there[:, :, None] & there[:, None, :] & ~np.eye(x.shape[1], dtype=bool)
        return self._between(x[:, :, None], x[:, None, :], pairs)

    def common_with(self, later: FloatArray, x: FloatArray, there: NDArray[np.bool_]) -> FloatArray:
        """The same of one other read (devices,) with all of them (devices, reads)."""
        return self._between(later[:, None], x, there)

    def _between(self, first: FloatArray, second: FloatArray, pairs: NDArray[np.bool_]) -> FloatArray:
        """The duration that the growth implies for one read, at which its variance begins, keeps it finite."""
        first, second = np.exp(first), np.exp(second)
        read = math.exp(-1.0 / self.rate) if self.rate > 0 else 0.0
        apart = np.abs(first - second) + 2 * read
        pairs = pairs & (apart > 0)
        return np.log(np.where(pairs, (first + second + 2 * read) / np.where(pairs, apart, 1.0), 1.0))

    def correlation(self, x: FloatArray, there: NDArray[np.bool_], mix: Mix | None = None) -> FloatArray:
        """(devices, reads, reads), of reads at x; 1 on the diagonal and 0 beside it for those that are not there."""
        own = 1.0 + self.rate * x
        if self.rate > 0:  # never less than the 1/f noise alone: no matrix of it is then indefinite
            own = np.maximum(own, self.rate * np.log1p(np.exp(x + 1.0 / self.rate)))
        own = np.maximum(own, SMALLEST_VARIANCE)
        shared = self.share * self.rate * self.common(x, there)
        if mix is not None:
            share = mix.share[:, None]
            own, shared = (1 - share) * own + share * mix.constant(x), (1 - share[:, :, None]) * shared
        own = np.sqrt(own)
        return np.asarray(np.eye(x.shape[1]) + shared / (own[:, :, None] * own[:, None, :]))


def flicker(t0: float) -> Growth:
    """Of 1/f noise as reads of FLICKER_READ show it, where a measurement does not tell: ln(t / (2 t_read))."""
    return Growth(1.0 / math.log(t0 / (2 * FLICKER_READ)) if t0 > 20 * FLICKER_READ else 0.0, MOST_SHARED)


class Precision:
    """Inverse of the covariance of the reads of some devices, over V'; applied to values (devices, reads)."""

    def __init__(self, growth: Growth, x: FloatArray, there: NDArray[np.bool_], mix: Mix | None = None) -> None:
        """For reads at x = ln(t / t0)."""
        self._scale = there / np.sqrt(growth.variance(x, mix))
        self._inverse: FloatArray | None = None
        if growth.rate * growth.share > 0:
            first, group = alike(x, there, mix)
            own = None if mix is None else mix.take(first)
            inverse = np.asarray(np.linalg.inv(growth.correlation(x[first], there[first], own)), np.float64)
            self._inverse = inverse[0] if first.size == 1 else inverse[group]

    def __call__(self, values: FloatArray) -> FloatArray:
        """The product with values (devices, reads)."""
        scaled = values * self._scale
        if self._inverse is not None:
            scaled = scaled @ self._inverse if self._inverse.ndim == 2 else (scaled[:, None] @ self._inverse)[:, 0]
        scaled *= self._scale
        return scaled


def drawn(
    growth: Growth, x: FloatArray, there: NDArray[np.bool_], mix: Mix | None, rng: np.random.Generator
) -> FloatArray:
    """Noise (devices, reads) of reads at x, over the square root of V'."""
    first, group = alike(x, there, mix)
    roots = np.linalg.cholesky(growth.correlation(x[first], there[first], None if mix is None else mix.take(first)))
    values = _times(rng.standard_normal(x.shape), np.asarray(roots.transpose(0, 2, 1), np.float64), group)
    return np.asarray(there * np.sqrt(growth.variance(x, mix)) * values)


def alike(
    x: FloatArray, there: NDArray[np.bool_], mix: Mix | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Groups of devices read at the same ages, with the same mix: index of one device of each, and group of each."""
    places = np.where(there, np.round(x / ALIKE), -(2.0**40)).astype(np.int64)
    # One number for all ages of a device: products with random odd numbers, modulo 2^64.
    factors = np.random.default_rng(0).integers(1, 2**62, x.shape[1] + 2) * 2 + 1
    number = places @ factors[2:]
    if mix is not None:
        steps = np.round(np.stack([mix.share, 2 * mix.nu], 1) / FEW).astype(np.int64)
        number += steps @ factors[:2]
    _, first, group = np.unique(number, return_index=True, return_inverse=True)
    return first, group


def growth_of(
    growth: Growth,
    x: FloatArray,
    there: NDArray[np.bool_],
    residual: FloatArray,
    noise: FloatArray,
    mix: Mix | None = None,
) -> Growth:
    """One step of restricted maximum likelihood for rate and share; none where the reads do not tell.

    x         (devices, reads) ln(t / t0)
    residual  (devices, reads) of each device's line, weighted by `growth`, over the line; zero where there is no read
    noise     (devices,) V'
    """
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
    squares = np.array([(weighted * _times(weighted, part, group)).sum() for part in parts])
    left = _left_by_lines(growth, at, seen, own) @ parts
    devices = np.bincount(group)
    information = np.einsum("g,agij,bgji->ab", devices, left, left, optimize=True)
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


def floor_of(
    growth: Growth,
    x: FloatArray,
    there: NDArray[np.bool_],
    residual: FloatArray,
    noise: FloatArray,
    mix: Mix,
    conductance: FloatArray,
) -> tuple[float, float]:
    """What one step of the same adds to the variance (uS^2) of the noise that is constant in uS, and how well it knows.

    conductance  (devices,) uS at t0; the other arguments as for `growth_of`

    Only how the noise changes with age tells: each device may have more or less of it than `noise` says.
    """
    first, group = alike(x, there, mix)
    at, seen, own = x[first], there[first], mix.take(first)
    weighted = Precision(growth, x, there, mix)(residual) / np.sqrt(noise)[:, None]
    left = _left_by_lines(growth, at, seen, own)
    relative = _diagonal(seen * growth.variance(at)) + growth.share * growth.rate * growth.common(at, seen)
    change = _diagonal(seen * own.constant(at)) - relative
    total = relative + own.share[:, None, None] * change
    seen_of = left @ change
    change -= (np.trace(seen_of, axis1=1, axis2=2) / (seen.sum(1) - 2))[:, None, None] * total
    information = np.einsum("gij,gji->g", left @ change, seen_of)[group]
    strength = 1.0 / (conductance**2 * noise)
    score = strength * (weighted * _times(weighted, change, group)).sum(1)
    information *= strength**2
    if not information.sum() > 0:
        return 0.0, np.inf
    step = score.sum() / information.sum()
    return float(step), float(np.sqrt(((score - step * information) ** 2).sum()) / information.sum())


def _diagonal(values: FloatArray) -> FloatArray:
    return np.asarray(values[:, :, None] * np.eye(values.shape[1]))


def _times(values: FloatArray, matrices: FloatArray, group: NDArray[np.int64]) -> FloatArray:
    """Values (devices, reads) times the matrix (groups, reads, reads) of each device's group."""
    return values @ matrices[0] if len(matrices) == 1 else (values[:, None] @ matrices[group])[:, 0]


def _left_by_lines(growth: Growth, x: FloatArray, there: NDArray[np.bool_], mix: Mix | None) -> FloatArray:
    """W - W X (X' W X)^-1 X' W (devices, reads, reads), with W the precision and X = (1, x)."""
    scale = there / np.sqrt(growth.variance(x, mix))
    weight = np.linalg.inv(growth.correlation(x, there, mix)) * scale[:, :, None] * scale[:, None, :]
    line = np.stack([there.astype(float), x * there], -1)
    seen = weight @ line
    return np.asarray(weight - seen @ np.linalg.solve(line.transpose(0, 2, 1) @ seen, seen.transpose(0, 2, 1)))
