"""Statistical models of one PCM device: programming curve, drift, read noise.

The simulated chip obeys these models (plus the variation from device to device), and algorithms use them as what is
known about a chip before anything was measured. Each works on numpy arrays and on torch tensors alike and returns
the kind it was given. g is always G / g_scale, without a unit.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwloop.arrays import Array, namespace

FIELD_UNITS = {
    "g_min": "uS",
    "g_max": "uS",
    "g_scale": "uS",
    "noise": "uS",
    "midpoint": "uA",
    "steepness": "uA",
    "melt": "uA",
    "midpoint_spread": "uA",
    "jitter": "uA",
    "amplitude_max": "uA",
    "width": "ns",
    "width_min": "ns",
    "width_max": "ns",
    "t0": "s",
    "t_read": "s",
    "offset_step": "LSB",
    "offset_max": "LSB",
}
"""Units of the fields of the models below, of pulse limits and of trims; a field that is not here is a bare number."""

G_FLOOR = 1e-6
"""Smallest normalised conductance that enters a logarithm or a negative power."""


class Statistic(Protocol):
    """A quantity that depends on the normalised conductance g."""

    def __call__(self, g: Array) -> Array:
        """Value at g (any shape)."""


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
        """Value at g (any shape)."""
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
        """Value at g (any shape)."""
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
        """Value at g (any shape), by Horner's rule."""
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
        """Value at g (any shape)."""
        xp = namespace(g)
        z = xp.log(xp.clip(g, G_FLOOR, None))
        value = self.values[0] + 0.0 * z
        for k in range(len(self.at) - 1):
            share = xp.clip((z - self.at[k]) / (self.at[k + 1] - self.at[k]), 0.0, 1.0)
            value = value + (self.values[k + 1] - self.values[k]) * share
        return value  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Spline:
    """Cubic spline in ln g through (at[k], values[k]), parabolas in the first and the last interval, flat beyond."""

    at: tuple[float, ...]
    """ln g of the knots, ascending."""
    values: tuple[float, ...]

    def __str__(self) -> str:
        return "smoothly " + str(Knots(self.at, self.values))

    def __call__(self, g: Array) -> Array:
        """Value at g (any shape)."""
        xp = namespace(g)
        z = xp.log(xp.clip(g, G_FLOOR, None))
        value = self.values[0] + 0.0 * z
        for start, width, (linear, square, cube) in self.pieces():
            share = xp.clip((z - start) / width, 0.0, 1.0)
            value = value + share * (linear + share * (square + share * cube))
        return value  # type: ignore[no-any-return]

    def pieces(self) -> list[tuple[float, float, tuple[float, float, float]]]:
        """Of every interval its start and width in ln g, and what is added along the share u: a u + b u^2 + c u^3."""
        bends = [sum(w * v for w, v in zip(row, self.values, strict=True)) for row in spline_bends(self.at)]
        found = []
        for k, width in enumerate(b - a for a, b in itertools.pairwise(self.at)):
            rise, left, right = self.values[k + 1] - self.values[k], bends[k], bends[k + 1]
            own = (rise - width**2 * (2 * left + right) / 6, width**2 * left / 2, width**2 * (right - left) / 6)
            found.append((self.at[k], width, own))
        return found


@functools.lru_cache(maxsize=64)
def spline_bends(at: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """Second derivatives of a `Spline` at its knots: rows of weights of the values there."""
    bends = np.zeros((len(at), len(at)))
    if len(at) > 2:
        slopes, relation, _ = spline_relations(at)
        bends[1:-1] = np.linalg.solve(relation, slopes)
        bends[0], bends[-1] = bends[1], bends[-2]
    return tuple(tuple(row) for row in bends.tolist())


def spline_relations(at: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What ties a spline's values (n > 2) to its second derivatives (n - 2) at the inner knots, and how rough it is.

    D (n - 2, n), R and M (n - 2, n - 2): with the second derivatives c of the spline through values v, D v = R c are
    the changes of slope of the straight lines through them, and c' M c is the integral of the squared second
    derivative (Green and Silverman 1994, section 2.1, there for natural splines).
    """
    width = np.diff(at)
    slopes = np.diff(np.eye(len(at)), axis=0) / width[:, None]
    beside = np.diag(width[1:-1], 1) / 6
    relation = np.diag((width[1:] + width[:-1]) / 3) + beside + beside.T
    roughness = relation.copy()
    for end, own in ((0, width[0]), (-1, width[-1])):
        relation[end, end] += own / 6
        roughness[end, end] += own * 2 / 3
    return np.diff(slopes, axis=0), relation, roughness


@dataclass(frozen=True)
class Piecewise:
    """`below` for g under the threshold, `above` from there on."""

    threshold: float
    below: Statistic
    above: Statistic

    def __str__(self) -> str:
        return f"{self.below} for g < {self.threshold:g}, else {self.above}"

    def __call__(self, g: Array) -> Array:
        """Value at g (any shape)."""
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
        """Value at g (any shape)."""
        value: Array = self.of(namespace(g).clip(g, None, self.limit))
        return value


@dataclass(frozen=True)
class ProgrammingCurve:
    """Right flank of the programming curve: conductance after one RESET pulse against its amplitude.

    G(I) = g_min + (g_max - g_min) / (1 + exp((I - midpoint) / steepness)), read at the drift model's reference age.
    """

    g_min: float
    """Fully RESET conductance, uS."""
    g_max: float
    """Fully SET conductance, uS."""
    midpoint: float
    """Amplitude at half height, uA."""
    steepness: float
    """Logistic scale, uA: 80 % of the fall takes 4.4 times this."""
    melt: float
    """Amplitude below which nothing melts and a pulse changes nothing, uA."""
    width: float
    """RESET pulse width the curve was taken at, ns."""
    midpoint_spread: float
    """Device-to-device standard deviation of the midpoint, uA."""
    height_spread: float
    """Device-to-device relative standard deviation of the curve's height at a given distance from its midpoint."""
    jitter: float
    """Pulse-to-pulse standard deviation of the effective amplitude, uA."""
    noise: float
    """Pulse-to-pulse standard deviation of the conductance that remains where the curve is flat, uS."""

    def conductance(self, amplitude: Array) -> Array:
        """Nominal conductance (uS) after a RESET pulse of this amplitude (uA)."""
        xp = namespace(amplitude)
        z = xp.clip((amplitude - self.midpoint) / self.steepness, -60.0, 60.0)
        value: Array = self.g_min + (self.g_max - self.g_min) / (1.0 + xp.exp(z))
        return value

    def amplitude(self, conductance: Array) -> Array:
        """Amplitude (uA) whose nominal result is this conductance (uS), the inverse of `conductance`.

        Conductances within 0.5 % of either end of the curve are taken as that end: beyond, the curve is flat and
        its inverse says nothing.
        """
        xp = namespace(conductance)
        h = xp.clip((conductance - self.g_min) / (self.g_max - self.g_min), 0.005, 0.995)
        value: Array = self.midpoint + self.steepness * xp.log(1.0 / h - 1.0)
        return value

    def slope(self, conductance: Array) -> Array:
        """|dG/dI| in uS/uA where the curve passes this conductance (uS)."""
        xp = namespace(conductance)
        h = xp.clip((conductance - self.g_min) / (self.g_max - self.g_min), 0.005, 0.995)
        value: Array = (self.g_max - self.g_min) * h * (1.0 - h) / self.steepness
        return value

    def pulse_sigma(self, conductance: Array) -> Array:
        """Pulse-to-pulse standard deviation (uS) of a RESET pulse aimed at this conductance (uS)."""
        return ((self.slope(conductance) * self.jitter) ** 2 + self.noise**2) ** 0.5


@dataclass(frozen=True)
class DriftModel:
    """G(t) = G(t0) * (t / t0)^-nu with nu normal per device, its mean and spread functions of g = G(t0) / g_scale."""

    t0: float
    """Reference age, seconds after the last pulse."""
    g_scale: float
    """Conductance that counts as g = 1, uS."""
    mean: Statistic
    spread: Statistic

    def factor(self, conductance: Array, age: Array | float) -> Array:
        """Expected G(age) / G(t0) of devices with G(t0) = conductance (uS) at an age in seconds."""
        xp = namespace(conductance)
        log_age = math.log(age / self.t0) if isinstance(age, float | int) else xp.log(age / self.t0)
        value: Array = xp.exp(-self.mean(conductance / self.g_scale) * log_age)
        return value


@dataclass(frozen=True)
class ReadNoiseModel:
    """1/f read noise: sigma / G = Q(g) * sqrt(ln((t + t_read) / (2 t_read))), g = G / g_scale."""

    t_read: float
    """Duration of one read, seconds."""
    g_scale: float
    """Conductance that counts as g = 1, uS."""
    q: Statistic

    def relative_sigma(self, conductance: Array, age: float) -> Array:
        """Standard deviation over G of one read of devices (uS) that were programmed `age` seconds ago."""
        return self.q(conductance / self.g_scale) * math.sqrt(math.log((age + self.t_read) / (2 * self.t_read)))


@dataclass(frozen=True)
class DeviceModel:
    """All that is known of a device before it is measured."""

    curve: ProgrammingCurve
    drift: DriftModel
    read_noise: ReadNoiseModel


PUBLISHED_DRIFT = DriftModel(
    t0=20.0,
    g_scale=25.0,
    mean=LogClip(-0.0155, 0.0244, 0.049, 0.1),
    spread=LogClip(-0.0125, -0.0059, 0.008, 0.045),
)
"""Drift of a million devices in 90-nm technology: Joshi et al., Nature Communications 11, 2473 (2020)."""
PUBLISHED_READ_NOISE = ReadNoiseModel(t_read=250e-9, g_scale=25.0, q=PowerLaw(0.0088, -0.65, 0.2))
"""Read noise of the same devices, same source."""


def assumed_model(curve: ProgrammingCurve, g_max: float) -> DeviceModel:
    """For unknown devices: a measured curve with the published drift and read noise, scaled to g_max (uS)."""
    return DeviceModel(curve, replace(PUBLISHED_DRIFT, g_scale=g_max), replace(PUBLISHED_READ_NOISE, g_scale=g_max))
