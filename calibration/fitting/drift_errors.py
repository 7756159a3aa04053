"""Covariance of the noise of one device's reads at different ages.

1/f noise that is set to zero by a pulse is a sum of relaxation processes, spread evenly in the logarithm of their
correlation time tau. At ages t1 and t2 each has the covariance exp(-|t2 - t1| / tau) - exp(-(t1 + t2) / tau), and all
together, for one unit of variance per e-fold of tau, ln((t1 + t2) / |t2 - t1|). The variance of a read then grows by
one unit per e-fold of age, so that noise of the variance V (1 + b ln(t / t0)) has the covariance
V b ln((t1 + t2) / |t2 - t1|), however much of V is white. Not all growth need be of this kind; the share that is,
between none and all, is taken from the residuals, with b.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwloop.contract import FloatArray

ALIKE = 0.01
"""Of ln t: devices whose ages differ by less share one matrix of correlations."""
MOST_SHARED = 0.98
"""Two reads at one moment still differ."""
FLICKER_READ = 1e-6
"""Seconds. A hundred times as long, which is averaging, changes the growth by a fourth."""
WORST_CONDITION = 1e12
SMALLEST_VARIANCE = 0.1
"""Of a read, over V: long before t0."""


@dataclass(frozen=True)
class Growth:
    """How the noise of reads grows with age, and what reads at different ages have in common."""

    rate: float = 0.0
    """b: growth of the relative variance per unit of ln(t / t0), over that at t0."""
    share: float = 0.0
    """Of the growth, the part that is 1/f noise."""

    def variance(self, x: FloatArray) -> FloatArray:
        """Over V, at x = ln(t / t0)."""
        return np.maximum(1.0 + self.rate * x, SMALLEST_VARIANCE)

    def common(self, x: FloatArray, there: NDArray[np.bool_]) -> FloatArray:
        """ln((t1 + t2) / |t2 - t1|) of any two reads (devices, reads, reads), zero on the diagonal.

        The duration that the growth implies for one read, at which its variance begins, keeps it finite.
        """
        age = np.exp(x)
        read = math.exp(-1.0 / self.rate) if self.rate > 0 else 0.0
        first, second = age[:, :, None], age[:, None, :]
        apart = np.abs(first - second) + 2 * read
        pairs = there[:, :, None] & there[:, None, :] & ~np.eye(x.shape[1], dtype=bool) & (apart > 0)
        return np.log(np.where(pairs, (first + second + 2 * read) / np.where(pairs, apart, 1.0), 1.0))

    def correlation(self, x: FloatArray, there: NDArray[np.bool_]) -> FloatArray:
        """(devices, reads, reads), of reads at x; 1 on the diagonal and 0 beside it for those that are not there."""
        own = 1.0 + self.rate * x
        if self.rate > 0:  # never less than the 1/f noise alone: no matrix of it is then indefinite
            own = np.maximum(own, self.rate * np.log1p(np.exp(x + 1.0 / self.rate)))
        own = np.sqrt(np.maximum(own, SMALLEST_VARIANCE))
        shared = self.share * self.rate * self.common(x, there) / (own[:, :, None] * own[:, None, :])
        return np.asarray(np.eye(x.shape[1]) + shared)


def flicker(t0: float) -> Growth:
    """Of 1/f noise as reads of FLICKER_READ show it, where a measurement does not tell: ln(t / (2 t_read))."""
    return Growth(1.0 / math.log(t0 / (2 * FLICKER_READ)) if t0 > 20 * FLICKER_READ else 0.0, MOST_SHARED)


class Precision:
    """Inverse of the covariance of the reads of some devices, over V; applied to values (devices, reads)."""

    def __init__(self, growth: Growth, x: FloatArray, there: NDArray[np.bool_]) -> None:
        """For reads at x = ln(t / t0)."""
        self._scale = there / np.sqrt(growth.variance(x))
        self._inverse: FloatArray | None = None
        if growth.rate * growth.share > 0:
            first, group = alike(x, there)
            inverse = np.asarray(np.linalg.inv(growth.correlation(x[first], there[first])), np.float64)
            self._inverse = inverse[0] if first.size == 1 else inverse[group]

    def __call__(self, values: FloatArray) -> FloatArray:
        """The product with values (devices, reads)."""
        scaled = values * self._scale
        if self._inverse is not None:
            scaled = scaled @ self._inverse if self._inverse.ndim == 2 else (scaled[:, None] @ self._inverse)[:, 0]
        scaled *= self._scale
        return scaled


def alike(x: FloatArray, there: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Groups of devices read at the same ages: index of one device of each, and the group of each device."""
    places = np.where(there, np.round(x / ALIKE), -(2.0**40)).astype(np.int64)
    # One number for all ages of a device: products with random odd numbers, modulo 2^64.
    factors = np.random.default_rng(0).integers(1, 2**62, x.shape[1]) * 2 + 1
    _, first, group = np.unique(places @ factors, return_index=True, return_inverse=True)
    return first, group


def growth_of(
    growth: Growth, x: FloatArray, there: NDArray[np.bool_], residual: FloatArray, noise: FloatArray
) -> Growth:
    """One step of restricted maximum likelihood for rate and share; none where the reads do not tell.

    x         (devices, reads) ln(t / t0)
    residual  (devices, reads) of each device's line, weighted by `growth`, over the line; zero where there is no read
    noise     (devices,) V
    """
    weighted = Precision(growth, x, there)(residual) / np.sqrt(noise)[:, None]
    first, group = alike(x, there)
    at, seen = x[first], there[first]
    # Covariance is linear in V, V b and V b share: products of residuals show them, less what the lines have taken.
    common = growth.common(at, seen)
    parts = np.stack([_diagonal(seen.astype(float)), _diagonal(at * seen), common])
    shared = weighted @ common[0] if first.size == 1 else (weighted[:, None] @ common[group])[:, 0]
    squares = np.array([(weighted**2).sum(), (weighted**2 * x).sum(), (weighted * shared).sum()])
    left = _left_by_lines(growth, at, seen) @ parts
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


def _diagonal(values: FloatArray) -> FloatArray:
    return np.asarray(values[:, :, None] * np.eye(values.shape[1]))


def _left_by_lines(growth: Growth, x: FloatArray, there: NDArray[np.bool_]) -> FloatArray:
    """W - W X (X' W X)^-1 X' W (devices, reads, reads), with W the precision and X = (1, x)."""
    scale = there / np.sqrt(growth.variance(x))
    weight = np.linalg.inv(growth.correlation(x, there)) * scale[:, :, None] * scale[:, None, :]
    line = np.stack([there.astype(float), x * there], -1)
    seen = weight @ line
    return np.asarray(weight - seen @ np.linalg.solve(line.transpose(0, 2, 1) @ seen, seen.transpose(0, 2, 1)))
