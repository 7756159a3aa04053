"""Tell from reads of devices after one pulse each whether the chip needs other currents than its curve says.

A chip whose currents are all off by the same factor follows the programming curve with midpoint, steepness and melting
point scaled by it. Devices scatter around it, some are stuck, and a pulse that melts nothing leaves what was there: the
factor is the one under which the pairs of amplitude and conductance are likeliest, where every pair may also be an
outlier, equally likely at any conductance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from hwloop.calibration.settings import Settings
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class DeviceCurrentFit(Settings):
    """How a common error of the currents is looked for in reads of devices."""

    largest: float = 0.4
    """Largest relative error that is tried, of either sign."""
    step: float = 0.02
    """Distance of the errors that are tried first."""
    refinements: int = 3
    """Finer grids around the best error so far, each with a fifth of the distance of the one before."""
    devices: int = 4096
    """Devices that are looked at, at most."""
    outliers: float = 0.02
    """Share of devices that may lie anywhere."""
    smallest: float = 0.02
    """Smallest relative error that is worth a correction: devices differ by more among each other."""
    significance: float = 5.0
    """Standard deviations that an error must be from zero, by its own uncertainty and by its likelihood."""
    nodes: int = 33
    """Points of the quadrature over a device's unknown shift, evenly from -4 to 4 standard deviations."""

    def __post_init__(self) -> None:
        self._require("largest", 0.01, 0.9)
        self._require("step", 1e-4, 0.1)
        self._require("refinements", 1, 10)
        self._require("devices", 1, 1e9)
        self._require("outliers", 1e-6, 0.9)
        self._require("smallest", 0, 1)
        self._require("significance", 0, 1000)
        self._require("nodes", 9, 1000)


STANDARD = DeviceCurrentFit()
"""The fit that program-and-verify makes."""


@dataclass(frozen=True)
class DeviceCurrentError:
    """A common relative error of the programming currents, as reads of devices show it."""

    value: float
    """Current that devices need over the one that the curve says, less 1."""
    sigma: float
    """Its standard deviation, infinite where the devices say nothing."""
    evidence: float
    """Twice the logarithm of the likelihood ratio against no error."""
    outliers: float
    """Share of the devices that are likelier to be outliers than on the curve with this error."""

    def significant(self, settings: DeviceCurrentFit = STANDARD) -> bool:
        """Tell whether the error is certain, and large enough to be corrected."""
        far = max(settings.smallest, settings.significance * self.sigma)
        return abs(self.value) > far and self.evidence > settings.significance**2


def scaled_currents(curve: ProgrammingCurve, error: float) -> ProgrammingCurve:
    """Return the curve of devices that need (1 + error) times the currents."""
    factor = 1.0 + error
    return replace(
        curve, midpoint=factor * curve.midpoint, steepness=factor * curve.steepness, melt=factor * curve.melt
    )


def fit_device_currents(
    amplitude: FloatArray,
    conductance: FloatArray,
    curve: ProgrammingCurve,
    relative_sigma: float = 0.0,
    settings: DeviceCurrentFit = STANDARD,
) -> DeviceCurrentError:
    """Fit the common error of the currents that explains what one RESET pulse left in each device.

    Parameters
    ----------
    amplitude
        Of each device's last pulse, less what is known of the device's own shift, uA; any shape.
    conductance
        What the pulse left, at the reference age and over what is known of the device's own height, uS; same shape.
    curve
        The curve that devices are thought to follow, with the spreads that are not known device by device.
    relative_sigma
        Relative standard deviation of the conductances beside the curve's own spread: reads, and drift.
    settings
        How to look.

    Returns
    -------
    DeviceCurrentError
        No error and an infinite sigma where there is no device, or none that depends on the current.
    """
    amplitude, conductance = np.ravel(amplitude), np.ravel(conductance)
    if amplitude.size > settings.devices:
        chosen = np.linspace(0, amplitude.size - 1, settings.devices).astype(int)
        amplitude, conductance = amplitude[chosen], conductance[chosen]
    if not amplitude.size:
        return DeviceCurrentError(0.0, math.inf, 0.0, 0.0)

    def fits(errors: Iterable[float]) -> FloatArray:
        curves = (scaled_currents(curve, float(error)) for error in errors)
        return np.stack([_log_likelihood(amplitude, conductance, one, relative_sigma, settings) for one in curves])

    step = settings.step
    steps = round(settings.largest / step)
    grid = step * np.arange(-steps, steps + 1)
    best = float(grid[np.argmax(fits(grid).sum(1))])
    for _ in range(settings.refinements):
        step /= 5.0
        near = np.clip(best + step * np.arange(-6, 7), -settings.largest, settings.largest)
        best = float(near[np.argmax(fits(near).sum(1))])
    low, at, high = fits(best + step * np.array([-1.0, 0.0, 1.0]))
    slope, bend = (high - low) / (2.0 * step), -float((low - 2.0 * at + high).sum()) / step**2
    nominal = float(fits(np.zeros(1)).sum())
    outliers = float(np.mean(at < math.log(2.0 * settings.outliers / _span(curve))))
    if not bend > 0:
        return DeviceCurrentError(0.0, math.inf, 0.0, outliers)
    # The sandwich of Huber (1967): right also where devices scatter by more or less than the curve says.
    sigma = math.sqrt(float((slope**2).sum())) / bend
    value = best + float(np.clip(slope.sum() / bend, -step, step))
    return DeviceCurrentError(value, sigma, 2.0 * (float(at.sum()) - nominal), outliers)


def _span(curve: ProgrammingCurve) -> float:
    """Return the width, uS, of the range in which an outlier may lie: what is SET fully, and a little."""
    return curve.g_max * (1.0 + 3.0 * curve.height_spread)


def _log_likelihood(
    amplitude: FloatArray,
    conductance: FloatArray,
    curve: ProgrammingCurve,
    relative_sigma: float,
    settings: DeviceCurrentFit,
) -> FloatArray:
    """Compute the log likelihood (n,) of conductances (n,) under a curve, each by the curve or as an outlier.

    The unknown shift of a device and the jitter of its pulse are integrated over; noise folds over at zero, because
    a conductance is never negative.
    """
    deviation = np.linspace(-4.0, 4.0, settings.nodes)
    share = np.exp(-(deviation**2) / 2.0)
    shifted = amplitude[:, None] + math.hypot(curve.midpoint_spread, curve.jitter) * deviation
    mean = np.asarray(curve.conductance(shifted), np.float64)
    variance = curve.flat_variance(mean) + (math.hypot(curve.height_spread, relative_sigma) * mean) ** 2
    density = _normal(conductance[:, None] - mean, variance) + _normal(conductance[:, None] + mean, variance)
    # A pulse that melts nothing leaves what was there.
    on_curve = np.where(amplitude < curve.melt, 0.0, density @ (share / share.sum()))
    return np.asarray(np.log((1.0 - settings.outliers) * on_curve + settings.outliers / _span(curve)), np.float64)


def _normal(residual: FloatArray, variance: FloatArray) -> FloatArray:
    """Return the density of a normal deviate."""
    density: FloatArray = np.exp(-(residual**2) / (2.0 * variance)) / np.sqrt(2.0 * math.pi * variance)
    return density
