"""All that is known of a device before it is measured: its programming curve, drift and read noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwloop.devices.drift import PUBLISHED_DRIFT, DriftModel
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.devices.read_noise import PUBLISHED_READ_NOISE, ReadNoiseModel
from hwloop.devices.statistics import Polynomial

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


@dataclass(frozen=True)
class DeviceModel:
    """All that is known of a device before it is measured."""

    curve: ProgrammingCurve
    drift: DriftModel
    read_noise: ReadNoiseModel

    def __repr__(self) -> str:
        curve = self.curve
        return (
            f"DeviceModel({curve.g_min:g} to {curve.g_max:g} uS, midpoint {curve.midpoint:g} uA, "
            f"drift from {self.drift.t0:g} s on, reads of {self.read_noise.t_read:g} s)"
        )


def assumed_model(curve: ProgrammingCurve, g_max: float) -> DeviceModel:
    """Return a model of unknown devices: a measured curve, published drift and read noise scaled to g_max (uS)."""
    return DeviceModel(curve, replace(PUBLISHED_DRIFT, g_scale=g_max), replace(PUBLISHED_READ_NOISE, g_scale=g_max))


def still_model(curve: ProgrammingCurve, g_max: float) -> DeviceModel:
    """Return a model of devices that stay where a pulse leaves them: a measured curve up to g_max (uS), and no more."""
    nothing = Polynomial((0.0,))
    return DeviceModel(
        curve,
        replace(PUBLISHED_DRIFT, g_scale=g_max, mean=nothing, spread=nothing),
        replace(PUBLISHED_READ_NOISE, g_scale=g_max, q=nothing),
    )
