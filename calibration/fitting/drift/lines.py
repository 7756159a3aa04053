"""Each device reduced to its own G(t0) and nu, all of them at once.

A line through the reads of a device is sufficient where the noise is small. Where it is not, the line only says where
about the device is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace

import numpy as np

from hwloop.calibration.fitting.checks import Rows
from hwloop.calibration.fitting.drift.covariance import Growth, Mix, Precision
from hwloop.calibration.fitting.drift.settings import USUAL, DriftSettings
from hwloop.devices.time_law import POWER_LAW, TimeLaw
from hwloop.typing import BoolArray, FloatArray, IndexArray

CHUNK = 50_000
"""Devices reduced at a time: their reads stay in the processor's cache."""
MOST_ELEMENTS = 8_000_000
"""Elements of matrices of covariances of the reads of each device, at a time."""


@dataclass(frozen=True)
class Devices:
    """The reads of devices, and the age at which their conductance is stated."""

    rows: Rows
    t0: float
    """Seconds."""
    settings: DriftSettings = USUAL
    law: TimeLaw = POWER_LAW
    """How they drift with age; what all lose alike has been taken off the reads."""

    def take(self, some: IndexArray | BoolArray) -> Devices:
        """Return some of the devices."""
        return replace(self, rows=self.rows.take(some))

    def bent(self, law: TimeLaw) -> Devices:
        """Return the same devices, as they are by another law than the power law."""
        raised = self.rows.conductance * np.exp(law.common(self.x)) if law.bend else self.rows.conductance
        return replace(self, rows=replace(self.rows, conductance=raised), law=law)

    @property
    def x(self) -> FloatArray:
        """(devices, reads) ln(t / t0), zero where there is no read."""
        return self.rows.log_time(self.t0)

    @property
    def h(self) -> FloatArray:
        """(devices, reads) what nu is multiplied with: x itself for a power law."""
        return self.law.exponent(self.x)

    @property
    def size(self) -> int:
        """Number of devices."""
        return len(self.rows.there)

    def chunks(self, index: IndexArray) -> list[IndexArray]:
        """Part `index` so that matrices of covariances, if every device has its own, fit into little memory."""
        size = min(CHUNK, max(1, MOST_ELEMENTS // self.rows.time.shape[1] ** 2))
        return [index[begin : begin + size] for begin in range(0, index.size, size)]


@dataclass
class Lines:
    """Best line of every device (devices,), and what it leaves."""

    log_g: FloatArray
    """ln(G(t0) / uS)."""
    nu: FloatArray
    var_g: FloatArray
    """Variance of ln G(t0), over V."""
    covariance: FloatArray
    """Of ln G(t0) and nu, over V."""
    var_nu: FloatArray
    """Variance of nu, over V."""
    squares: FloatArray
    """Weighted squared residuals, sum over the reads."""
    freedom: FloatArray
    """Reads less two."""

    def take(self, some: IndexArray | BoolArray) -> Lines:
        """Return those of some devices."""
        return Lines(**{item.name: getattr(self, item.name)[some] for item in fields(self)})

    @property
    def found(self) -> BoolArray:
        """(devices,) whether a line was found."""
        return np.isfinite(self.log_g + self.nu + self.squares)


@dataclass(frozen=True)
class Noise:
    """What is known of the noise of reads: how it grows, what is constant in uS, and the rest by conductance."""

    growth: Growth = Growth()
    floor: float = 0.0
    """Variance of what is constant, uS^2."""
    floor_error: float = math.inf
    """Standard deviation of how well that is known, uS^2."""
    place: FloatArray = field(default_factory=lambda: np.zeros(1))
    """(bins,) ln(G / uS)."""
    relative: FloatArray = field(default_factory=lambda: np.ones(1))
    """(bins,) variance of what falls with the conductance, over that squared."""
    nu: FloatArray = field(default_factory=lambda: np.zeros(1))
    """(bins,) typical drift coefficient."""
    law: TimeLaw = POWER_LAW
    """How devices drift with age."""

    def variance(self, log_g: FloatArray) -> FloatArray:
        """Return the relative variance (n,) of a read at t0, at ln(G / uS)."""
        relative = np.exp(_beyond(log_g, self.place, np.log(self.relative)))
        return np.asarray(relative + self.floor * np.exp(-2 * log_g))

    def mix(self, log_g: FloatArray) -> Mix | None:
        """Return the mix of devices at ln(G / uS); None where nothing is constant."""
        return self.mixed(log_g) if self.floor else None

    def mixed(self, log_g: FloatArray) -> Mix:
        """Return the mix of devices at ln(G / uS), with shares of zero where nothing is constant."""
        share = self.floor * np.exp(-2 * log_g) / self.variance(log_g)
        return Mix.of(share, np.interp(log_g, self.place, self.nu), self.law)


def reduce(devices: Devices, index: IndexArray, noise: Noise) -> Lines:
    """Fit a line to each of the devices in `index`, weighted by what is known of the noise, chunk by chunk."""
    parts: list[Lines] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for some in devices.chunks(index):
            part = devices.take(some)
            parts.append(fit_lines(part, noise.growth, noise.mix(about(part, noise))))
    names = [item.name for item in fields(Lines)]
    return Lines(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def fit_lines(devices: Devices, growth: Growth, mix: Mix | None = None) -> Lines:
    """Take scoring steps of the quasi-likelihood of noise of a known shape: unbiased in linear conductance.

    Parameters
    ----------
    devices
        Their reads.
    growth, mix
        Of the noise, by which reads are weighted.
    """
    there, x = devices.rows.there, devices.x
    y = devices.rows.conductance * there
    precision = Precision(growth, x, there, mix)
    x = devices.law.exponent(x)
    w = precision(there.astype(float))
    wx = precision(x)
    s0, s1, s2 = w.sum(1), (w * x).sum(1), (wx * x).sum(1)
    determinant = s0 * s2 - s1 * s1
    mean = (w * y).sum(1) / s0
    level = np.log(np.maximum(mean, 1e-9))
    nu = np.zeros_like(level)
    # A start where the logarithm of noisy reads does not enter: slope of the reads themselves.
    for _ in range(12):
        ratio = y * np.exp(nu[:, None] * x - level[:, None]) - 1.0
        r0, r1 = np.einsum("ij,ij->i", w, ratio), np.einsum("ij,ij->i", wx, ratio)
        step_level = (s2 * r0 - s1 * r1) / determinant
        step_nu = (s1 * r0 - s0 * r1) / determinant
        level += np.clip(step_level, -1.0, 1.0)
        nu += np.clip(step_nu, -0.1, 0.1)
        if max(np.abs(step_level).max(initial=0.0), np.abs(step_nu).max(initial=0.0)) < 1e-7:
            break
    ratio = y * np.exp(nu[:, None] * x - level[:, None]) - 1.0
    squares = (precision(ratio) * ratio).sum(1)
    freedom = np.maximum(there.sum(1) - 2.0, 1.0)
    return Lines(level, nu, s2 / determinant, s1 / determinant, s0 / determinant, squares, freedom)


def about(devices: Devices, noise: Noise) -> FloatArray:
    """Return ln(G / uS) of devices (n,) at t0, by the mean of their reads: where about they are, for their mix."""
    if not noise.floor:
        return np.zeros(devices.size)
    there = devices.rows.there
    nu = float(np.median(noise.nu))
    level = (devices.rows.conductance * np.exp(nu * devices.h) * there).sum(1) / there.sum(1)
    return np.asarray(np.log(np.maximum(level, devices.settings.noise.least * math.sqrt(noise.floor))))


def settle(devices: Devices, lines: Lines, noise: Noise) -> BoolArray:
    """Put devices (n,) whose reads have no line of their own where the mean of their reads is; say which they are.

    They are taken to drift as the median device: noise, or something that is no device, and not an outlying nu.
    """
    nu = float(np.median(lines.nu[np.isfinite(lines.nu)])) if np.isfinite(lines.nu).any() else 0.0
    x, settings = devices.x, devices.settings.lines
    weight = devices.rows.there / noise.growth.variance(x, noise.mix(about(devices, noise)))
    straight = devices.rows.conductance * np.exp(nu * devices.h)
    mean = (weight * straight).sum(1) / weight.sum(1)
    smallest = 1e-3 * float(np.median(mean[mean > 0])) if (mean > 0).any() else 1e-9
    level = np.log(np.maximum(mean, smallest))
    with np.errstate(invalid="ignore"):
        fine = (
            (np.abs(lines.nu) < settings.loose_nu)
            & (np.abs(lines.log_g - level) < settings.loose_level)
            & np.isfinite(lines.squares)
        )
    loose: BoolArray = ~fine
    lines.log_g[loose], lines.nu[loose] = level[loose], nu
    lines.squares[loose] = (weight * (straight * np.exp(-level)[:, None] - 1.0) ** 2).sum(1)[loose]
    return loose


def _beyond(at: FloatArray, place: FloatArray, values: FloatArray) -> FloatArray:
    """Interpolate between the places, and go on below the first: noise grows on towards conductances of nothing."""
    result = np.interp(at, place, values)
    if place.size > 1:
        slope = min(float((values[1] - values[0]) / (place[1] - place[0])), 0.0)
        result += slope * np.minimum(at - place[0], 0.0)
    return result
