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

from hwloop.devices.time_law import POWER_LAW, TimeLaw
from hwloop.typing import BoolArray, FloatArray, IndexArray

ALIKE = 0.01
"""Steps of ln t: devices whose ages differ by less share one matrix of correlations."""
MOST_SHARED = 0.98
"""Share of the growth that is 1/f noise, at most: two reads at one moment still differ."""
FLICKER_READ = 1e-6
"""Duration of a read, seconds, that is assumed. A hundred times as long, which is averaging, changes the growth by a
fourth."""
SMALLEST_VARIANCE = 0.1
"""Variance of a read over V, at least: long before t0."""
MIX_STEP = 0.02
"""Steps of the share of a mix, and of its nu over two: devices are grouped by them."""


@dataclass(frozen=True)
class Mix:
    """What of the noise of each device does not fall with its conductance."""

    share: FloatArray
    """(devices,) of the variance of a read at t0."""
    nu: FloatArray
    """(devices,) with which the conductance falls."""
    law: TimeLaw = POWER_LAW
    """By which it falls."""

    @classmethod
    def of(cls, share: FloatArray, nu: FloatArray, law: TimeLaw = POWER_LAW) -> Mix:
        """Round shares and nu, so that devices with about the same mix are alike."""
        return cls(np.round(share / MIX_STEP) * MIX_STEP, np.round(2 * nu / MIX_STEP) * MIX_STEP / 2, law)

    def take(self, some: IndexArray | BoolArray) -> Mix:
        """Return those of some devices."""
        return Mix(self.share[some], self.nu[some], self.law)

    def constant(self, x: FloatArray) -> FloatArray:
        """Return the variance (devices, reads) of what is constant in uS, over the conductance squared; 1 at t0."""
        return np.asarray(np.exp(np.clip(2 * self.nu[:, None] * self.law.exponent(x), -50.0, 50.0)))


@dataclass(frozen=True)
class Growth:
    """How the noise of reads grows with age, and what reads at different ages have in common."""

    rate: float = 0.0
    """b: growth of the relative variance per unit of ln(t / t0), over that at t0."""
    share: float = 0.0
    """Of the growth, the part that is 1/f noise."""

    def variance(self, x: FloatArray, mix: Mix | None = None) -> FloatArray:
        """Return the variance (devices, reads) of reads at x = ln(t / t0), over V'."""
        own = np.maximum(1.0 + self.rate * x, SMALLEST_VARIANCE)
        if mix is None:
            return own
        share = mix.share[:, None]
        return np.asarray((1 - share) * own + share * mix.constant(x))

    def common(self, x: FloatArray, there: BoolArray) -> FloatArray:
        """Return ln((t1 + t2) / |t2 - t1|) of any two reads (devices, reads, reads), zero on the diagonal."""
        pairs = there[:, :, None] & there[:, None, :] & ~np.eye(x.shape[1], dtype=bool)
        return self._between(x[:, :, None], x[:, None, :], pairs)

    def common_with(self, later: FloatArray, x: FloatArray, there: BoolArray) -> FloatArray:
        """Return ln((t1 + t2) / |t2 - t1|) of one other read (devices,) with all of them (devices, reads)."""
        return self._between(later[:, None], x, there)

    def _between(self, first: FloatArray, second: FloatArray, pairs: BoolArray) -> FloatArray:
        """Return the same of pairs; the duration of a read that the growth implies keeps it finite."""
        first, second = np.exp(first), np.exp(second)
        read = math.exp(-1.0 / self.rate) if self.rate > 0 else 0.0
        apart = np.abs(first - second) + 2 * read
        pairs = pairs & (apart > 0)
        return np.log(np.where(pairs, (first + second + 2 * read) / np.where(pairs, apart, 1.0), 1.0))

    def correlation(self, x: FloatArray, there: BoolArray, mix: Mix | None = None) -> FloatArray:
        """Return the correlation (devices, reads, reads) of reads at x; 1 and 0 for those that are not there."""
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
    """Return the growth of 1/f noise, as ln(t / (2 FLICKER_READ)), where a measurement does not tell."""
    return Growth(1.0 / math.log(t0 / (2 * FLICKER_READ)) if t0 > 20 * FLICKER_READ else 0.0, MOST_SHARED)


class Precision:
    """Inverse of the covariance of the reads of some devices, over V'; applied to values (devices, reads)."""

    def __init__(self, growth: Growth, x: FloatArray, there: BoolArray, mix: Mix | None = None) -> None:
        """Invert the covariance of reads at x (devices, reads) = ln(t / t0)."""
        self._scale = there / np.sqrt(growth.variance(x, mix))
        self._inverse: FloatArray | None = None
        if growth.rate * growth.share > 0:
            first, group = alike(x, there, mix)
            own = None if mix is None else mix.take(first)
            inverse = np.asarray(np.linalg.inv(growth.correlation(x[first], there[first], own)), np.float64)
            self._inverse = inverse[0] if first.size == 1 else inverse[group]

    def __call__(self, values: FloatArray) -> FloatArray:
        """Return the product with values (devices, reads)."""
        scaled = values * self._scale
        if self._inverse is not None:
            scaled = scaled @ self._inverse if self._inverse.ndim == 2 else (scaled[:, None] @ self._inverse)[:, 0]
        scaled *= self._scale
        return scaled


def drawn(growth: Growth, x: FloatArray, there: BoolArray, mix: Mix | None, rng: np.random.Generator) -> FloatArray:
    """Draw noise (devices, reads) of reads at x, over the square root of V'."""
    first, group = alike(x, there, mix)
    roots = np.linalg.cholesky(growth.correlation(x[first], there[first], None if mix is None else mix.take(first)))
    values = times(rng.standard_normal(x.shape), np.asarray(roots.transpose(0, 2, 1), np.float64), group)
    return np.asarray(there * np.sqrt(growth.variance(x, mix)) * values)


def alike(x: FloatArray, there: BoolArray, mix: Mix | None = None) -> tuple[IndexArray, IndexArray]:
    """Group devices read at the same ages, with the same mix: index of one device of each group, and group of each."""
    places = np.where(there, np.round(x / ALIKE), -(2.0**40)).astype(np.int64)
    # One number for all ages of a device: products with random odd numbers, modulo 2^64.
    factors = np.random.default_rng(0).integers(1, 2**62, x.shape[1] + 2) * 2 + 1
    number = places @ factors[2:]
    if mix is not None:
        steps = np.round(np.stack([mix.share, 2 * mix.nu], 1) / MIX_STEP).astype(np.int64)
        number += steps @ factors[:2]
    _, first, group = np.unique(number, return_index=True, return_inverse=True)
    return first, group


def times(values: FloatArray, matrices: FloatArray, group: IndexArray) -> FloatArray:
    """Return values (devices, reads) times the matrix (groups, reads, reads) of each device's group."""
    return values @ matrices[0] if len(matrices) == 1 else (values[:, None] @ matrices[group])[:, 0]
