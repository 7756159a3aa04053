"""What reads of devices with parameters of their own show after RESET pulses, and the statistics of these devices."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch

from hwloop.calibration.fitting.forms import sampled
from hwloop.calibration.fitting.layout import Block, Coefficient, Layout, Vector, exp
from hwloop.calibration.fitting.programming_curve.ageing import Aged, Ageing
from hwloop.calibration.fitting.programming_curve.folding import folded
from hwloop.calibration.fitting.programming_curve.table import CurveTable

READS = "reads"
"""Block of the noise that reads add."""
SPECIFICATION = {
    "g_min": ("uS", "fully RESET conductance"),
    "g_max": ("uS", "fully SET conductance"),
    "midpoint": ("uA", "amplitude at half height"),
    "steepness": ("uA", "logistic scale of the fall"),
    "midpoint_spread": ("uA", "device-to-device standard deviation of the midpoint"),
    "height_spread": ("1", "device-to-device relative standard deviation of the height"),
    "steepness_spread": ("1", "device-to-device relative standard deviation of the steepness"),
    "jitter": ("uA", "pulse-to-pulse standard deviation of the effective amplitude"),
    "noise": ("uS", "pulse-to-pulse standard deviation where the curve is flat"),
}
"""Parameter -> unit and meaning; all are positive, and those of `ProgrammingCurve` are called as there."""
READ_ONCE = {
    "read_noise": "standard deviation of what reads and drift add at g_max, over g_max",
    "read_exponent": "power of the conductance with which that grows",
}
"""Parameters of the noise of reads where every pulse was read once."""


class Device(IntEnum):
    """Parameters that every device has of its own."""

    MIDPOINT = 0
    """uA"""
    HEIGHT = 1
    """Fully SET conductance, uS."""
    STEEPNESS = 2
    """uA"""


def curve_layout(knots: tuple[float, ...]) -> Layout:
    """Lay out the fields of `ProgrammingCurve`, and what the twin needs besides.

    Parameters
    ----------
    knots
        ln(G / uS) of the conductances at which the noise of reads is fitted; none where every pulse was read once.
    """
    shape = [Block(name, (Coefficient(name, *what, log=True),)) for name, what in SPECIFICATION.items()]
    reads = [Coefficient(name, "1", what, log=True) for name, what in READ_ONCE.items()]
    if knots:
        reads = [
            Coefficient(f"read_noise.v{k}", "1", f"standard deviation of a read over {g:.3g} uS, at t0", log=True)
            for k, g in enumerate(np.exp(knots))
        ]
    return Layout((*shape, Block(READS, tuple(reads))))


@dataclass(frozen=True)
class Curve:
    """Reads of every pulse at one age or two; what both have in common is taken off the second.

    Arrays (cells, reads) have the reads of a pulse one after the other: the first, and what the second adds to it.
    """

    value: torch.Tensor
    """(cells, pulses, ages) expected."""
    variance: torch.Tensor
    """(cells, reads) from pulse to pulse, of the second read given the first."""
    slopes: torch.Tensor
    """(cells, reads, 3) against the devices' parameters."""
    common: torch.Tensor | None
    """(cells, pulses) by how much the second read follows the first."""

    def residual(self, seen: torch.Tensor) -> torch.Tensor:
        """Return residuals (cells, reads) of reads (cells, pulses, ages)."""
        return _apart(seen - self.value, self.common)


def _apart(values: torch.Tensor, common: torch.Tensor | None) -> torch.Tensor:
    """Return values (cells, pulses, ages, ...) as (cells, reads, ...); of the second what the first does not tell."""
    if common is not None:
        share = common.reshape(common.shape + (1,) * (values.ndim - 3))
        values = torch.stack([values[:, :, 0], values[:, :, 1] - share * values[:, :, 0]], dim=2)
    return values.flatten(1, 2)


@dataclass(frozen=True)
class CurveModel:
    """The curve of one measurement, as a function of its parameters."""

    layout: Layout
    knots: tuple[float, ...]
    """ln(G / uS) at which the noise of reads is fitted."""
    ageing: Ageing | None
    """What drift makes of conductances, where it is known."""

    @classmethod
    def of(cls, table: CurveTable) -> CurveModel:
        """Return that of a table."""
        return cls(curve_layout(table.knots), table.knots, table.ageing)

    def population(self, theta: Vector) -> tuple[Vector, Vector]:
        """Return mean and standard deviation (3,) of the devices' own parameters, in the order of `Device`."""
        values = exp(theta)
        g_max, steepness = self.layout.one(values, "g_max"), self.layout.one(values, "steepness")
        centre = [self.layout.one(values, "midpoint"), g_max, steepness]
        width = [
            self.layout.one(values, "midpoint_spread"),
            self.layout.one(values, "height_spread") * g_max,
            self.layout.one(values, "steepness_spread") * steepness,
        ]
        if isinstance(theta, torch.Tensor):
            return torch.stack(centre), torch.stack(width)
        return np.array(centre), np.array(width)

    def __call__(
        self, theta: torch.Tensor, amplitude: torch.Tensor, devices: torch.Tensor, log_age: torch.Tensor
    ) -> Curve:
        """Return what reads show.

        Parameters
        ----------
        theta
            (p,) parameters.
        amplitude
            (cells, pulses) uA.
        devices
            (cells, 3) parameters of their own, in the order of `Device`.
        log_age
            (cells, pulses, ages) ln(t0 / t) of the reads.
        """
        layout, ageing = self.layout, self.ageing
        values = torch.exp(theta)
        g_min, g_max, jitter, noise = (layout.one(values, name) for name in ("g_min", "g_max", "jitter", "noise"))
        read_noise = layout.part(values, READS)
        steepness = devices[:, Device.STEEPNESS, None].clamp(min=1e-3)
        z = (devices[:, Device.MIDPOINT, None] - amplitude) / steepness
        share = torch.sigmoid(z)
        height = devices[:, Device.HEIGHT, None] - g_min
        slope = height * share * (1.0 - share) / steepness
        curvature = slope * (1.0 - 2.0 * share) / steepness
        nominal = g_min + height * share + 0.5 * curvature * jitter**2
        points, weight = folded(nominal, torch.sqrt((slope * jitter) ** 2 + noise**2))
        fresh = Aged(points[..., None], points[..., None] ** 2, points**2)
        aged = fresh if ageing is None else ageing(points, log_age)

        def average(values: torch.Tensor) -> torch.Tensor:
            return (weight.reshape(weight.shape + (1,) * (values.ndim - 3)) * values).sum(0)

        value = average(aged.value)
        stretch = (aged.value[-1] - aged.value[0]) / (points[-1] - points[0])[..., None]
        slopes = torch.stack([slope, share, -slope * z], dim=-1)[:, :, None] * stretch[..., None]
        if not self.knots or ageing is None:
            reading = (read_noise[0] * (value / g_max).clamp(min=1e-4) ** (read_noise[1] - 1.0)) ** 2
            variance = average(aged.squares) * (1.0 + reading) - value**2
            return Curve(value, variance.flatten(1, 2), slopes.flatten(1, 2), None)
        level = torch.exp(2 * _between(torch.log(points), self.knots, layout.part(theta, READS)))
        growth, shared = ageing.read_variances(log_age)
        variance = average(aged.squares * (1.0 + level[..., None] * growth)) - value**2
        both = average(aged.together * (1.0 + level * shared)) - value[..., 0] * value[..., 1]
        common = both / variance[..., 0]
        variance = torch.stack([variance[..., 0], variance[..., 1] - common * both], dim=-1)
        return Curve(value, variance.flatten(1, 2), _apart(slopes, common), common)


def _between(at: torch.Tensor, places: tuple[float, ...], values: torch.Tensor) -> torch.Tensor:
    """Draw straight lines through values at evenly spaced places, flat beyond."""
    return sampled(values, ((at - places[0]) / (places[1] - places[0])).clamp(0.0, len(places) - 1.001))
