"""Everything that describes a simulated chip, one field per number, with its unit in the field's metadata."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hwloop.devices.bake import BakeLaw
from hwloop.devices.model import DeviceModel
from hwloop.devices.relaxation import RelaxationLaw
from hwloop.devices.statistics import Polynomial
from hwloop.sim_backend.periphery import Periphery, number


@dataclass(frozen=True)
class SetModel:
    """Conductance added by the p-th SET pulse since the last RESET, at G uS (Nandakumar et al. 2018, form of model).

    mean  = max(0, decay * G + level + first * exp(-p / pulses))
    sigma = sigma_slope * G + sigma_level
    """

    decay: float = number("1", "change of the mean increment with conductance")
    level: float = number("uS", "mean increment at zero conductance after many pulses")
    first: float = number("uS", "extra increment of the first pulses")
    pulses: float = number("1", "pulses over which the extra increment fades")
    sigma_slope: float = number("1", "growth of the increment's spread with conductance")
    sigma_level: float = number("uS", "spread of the increment at zero conductance")
    crystallise: float = number("uA", "amplitude below which a SET pulse changes nothing")
    full_width: float = number("ns", "width from which a SET pulse crystallises the whole device")


@dataclass(frozen=True, kw_only=True)
class ChipParameters(Periphery):
    """A simulated chip of phase-change devices, or of what was fitted in their place."""

    device: DeviceModel = number("", "nominal programming curve, drift and read noise of a device")
    set_model: SetModel = number("", "accumulation by SET pulses")

    pulse_seconds: float = number("s", "one programming pulse slot, addressing included")
    pulses_at_once: int = number("1", "devices pulsed in one slot")

    current_error: float = number(
        "1", "programming currents of this specimen's devices over the nominal ones, less one"
    )
    steepness_spread: float = number("1", "device-to-device relative standard deviation of the curve's steepness")
    stuck_rate: float = number("1", "fraction of stuck devices, half of them SET and half RESET")
    weak_rate: float = number("1", "fraction of weak devices, which reach only half of g_max")
    wire_resistance: float = number("ohm", "wire resistance per cell, along rows and along columns")
    series_resistance: float = number("ohm", "resistance of each row's driver and of each column's sensing input")

    reference_temperature: float = number("K", "temperature at which the device numbers hold")
    conduction_energy: float = number("eV", "thermal activation of the conductance of a fully RESET device")
    relaxation_energy: float = number("eV", "thermal activation of structural relaxation, which drives drift")

    read_noise: float = number("1", "scale of the device read noise, 1 = as published")
    programming_noise: float = number("1", "scale of the pulse-to-pulse programming noise")
    drift: float = number("1", "scale of the drift coefficients")

    relaxation: RelaxationLaw | BakeLaw | None = field(
        default=None, metadata={"unit": "", "meaning": "relaxation of resistive memory in place of drift"}
    )

    @property
    def g_max(self) -> float:
        """Largest conductance to program on one device, uS."""
        return self.device.drift.g_scale

    @property
    def announced(self) -> DeviceModel:
        """Return the nominal device, and, where drift or read noise are switched off, that there is none."""
        device, none = self.device, Polynomial((0.0,))
        if self.drift == 0:
            device = replace(device, drift=replace(device.drift, mean=none, spread=none))
        if self.read_noise == 0:
            device = replace(device, read_noise=replace(device.read_noise, q=none))
        return device
