"""Everything that describes a simulated chip, one field per number, with its unit in the field's metadata."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hwloop.chip.info import PulseLimits, TrimLimits
from hwloop.devices.model import DeviceModel
from hwloop.devices.relaxation import RelaxationLaw

ASSUMED = "assumed"


def _number(unit: str, meaning: str) -> Any:
    return field(metadata={"unit": unit, "meaning": meaning})


@dataclass(frozen=True)
class SetModel:
    """Conductance added by the p-th SET pulse since the last RESET, at G uS (Nandakumar et al. 2018, form of model).

    mean  = max(0, decay * G + level + first * exp(-p / pulses))
    sigma = sigma_slope * G + sigma_level
    """

    decay: float = _number("1", "change of the mean increment with conductance")
    level: float = _number("uS", "mean increment at zero conductance after many pulses")
    first: float = _number("uS", "extra increment of the first pulses")
    pulses: float = _number("1", "pulses over which the extra increment fades")
    sigma_slope: float = _number("1", "growth of the increment's spread with conductance")
    sigma_level: float = _number("uS", "spread of the increment at zero conductance")
    crystallise: float = _number("uA", "amplitude below which a SET pulse changes nothing")
    full_width: float = _number("ns", "width from which a SET pulse crystallises the whole device")


@dataclass(frozen=True)
class ReadModeModel:
    """A way in which the cores do an MVM: what it costs, and how coarse the column converters are in it."""

    name: str = _number("", "read mode")
    seconds: float = _number("s", "one input vector through a core")
    joules: float = _number("J", "one MVM of a whole core of the published size")
    rows: int = _number("1", "rows of the core that the energy was published for")
    columns: int = _number("1", "columns of that core")
    coarseness: float = _number("1", "step and noise of the column converters over those that the chip states")


@dataclass(frozen=True)
class ChipParameters:
    """A simulated chip. `sources` names where each number comes from; what it does not name is assumed."""

    name: str = _number("", "preset")
    cores: int = _number("1", "crossbar cores")
    rows: int = _number("1", "rows of a core (inputs)")
    columns: int = _number("1", "columns of a core (outputs)")
    devices_per_polarity: int = _number("1", "devices per polarity of a unit cell")
    device: DeviceModel = _number("", "nominal programming curve, drift and read noise of a device")
    set_model: SetModel = _number("", "accumulation by SET pulses")
    limits: PulseLimits = _number("", "what a pulse may be")

    adc_range: tuple[float, float, float] = _number("uS", "converter full scale: smallest, default, largest")
    read_voltage: float = _number("V", "voltage across a device in reads and MVMs")
    mvm_seconds: float = _number("s", "one input vector through a core")
    pulse_seconds: float = _number("s", "one programming pulse slot, addressing included")
    pulses_at_once: int = _number("1", "devices pulsed in one slot")

    dac_bits: int = _number("1", "bits of the signed inputs")
    adc_bits: int = _number("1", "bits of the signed output codes")
    dac_nonlinearity: float = _number("LSB", "peak third-order deviation of the inputs")
    adc_nonlinearity: float = _number("LSB", "peak third-order deviation of the output codes")
    adc_gain_spread: float = _number("1", "column-to-column standard deviation of the converter gain")
    adc_offset_spread: float = _number("LSB", "column-to-column standard deviation of the converter offset")
    adc_noise: float = _number("LSB", "converter noise per output, standard deviation")
    trims: TrimLimits = _number("", "trim registers of each column's converter")

    current_error: float = _number(
        "1", "programming currents of this specimen's devices over the nominal ones, less one"
    )
    steepness_spread: float = _number("1", "device-to-device relative standard deviation of the curve's steepness")
    stuck_rate: float = _number("1", "fraction of stuck devices, half of them SET and half RESET")
    weak_rate: float = _number("1", "fraction of weak devices, which reach only half of g_max")
    wire_resistance: float = _number("ohm", "wire resistance per cell, along rows and along columns")
    series_resistance: float = _number("ohm", "resistance of each row's driver and of each column's sensing input")

    temperature: float = _number("K", "chip temperature")
    reference_temperature: float = _number("K", "temperature at which the device numbers hold")
    conduction_energy: float = _number("eV", "thermal activation of the conductance of a fully RESET device")
    relaxation_energy: float = _number("eV", "thermal activation of structural relaxation, which drives drift")

    read_noise: float = _number("1", "scale of the device read noise, 1 = as published")
    programming_noise: float = _number("1", "scale of the pulse-to-pulse programming noise")
    drift: float = _number("1", "scale of the drift coefficients")

    read_modes: tuple[ReadModeModel, ...] = field(
        default=(), metadata={"unit": "", "meaning": "ways of an MVM; the first one is in use from the start"}
    )
    relaxation: RelaxationLaw | None = field(
        default=None, metadata={"unit": "", "meaning": "relaxation of resistive memory in place of drift"}
    )
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def device_shape(self) -> tuple[int, int, int, int]:
        """(2, K, rows, columns)."""
        return (2, self.devices_per_polarity, self.rows, self.columns)

    def in_mode(self, name: str) -> ChipParameters:
        """Return the chip with another read mode in use from the start. Raises KeyError for one it does not have."""
        modes = {mode.name: mode for mode in self.read_modes}
        first = modes.pop(name)
        return replace(self, mvm_seconds=first.seconds, read_modes=(first, *modes.values()))

    def source(self, name: str) -> str:
        """Say where a number, given by its dotted name, comes from: its own source, else that of what it belongs to."""
        while name not in self.sources and "." in name:
            name = name.rpartition(".")[0]
        return self.sources.get(name, ASSUMED)
