"""What every simulated chip has around its devices, one field per number, with its unit in the field's metadata."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

from hwloop.chip.info import PulseLimits, TrimLimits
from hwloop.chip.updates import SteppingDevices
from hwloop.devices.model import DeviceModel

ASSUMED = "assumed"


def number(unit: str, meaning: str) -> Any:
    """Return a field of parameters with its unit and what it means."""
    return field(metadata={"unit": unit, "meaning": meaning})


@dataclass(frozen=True)
class ReadModeModel:
    """A way in which the cores do an MVM: what it costs, and how coarse the column converters are in it."""

    name: str = number("", "read mode")
    seconds: float = number("s", "one input vector through a core")
    joules: float = number("J", "one MVM of a whole core of the published size")
    rows: int = number("1", "rows of the core that the energy was published for")
    columns: int = number("1", "columns of that core")
    coarseness: float = number("1", "step and noise of the column converters over those that the chip states")


@dataclass(frozen=True, kw_only=True)
class Periphery:
    """A simulated chip less its devices. `sources` names where numbers come from; what it does not name is assumed."""

    name: str = number("", "preset")
    cores: int = number("1", "crossbar cores")
    rows: int = number("1", "rows of a core (inputs)")
    columns: int = number("1", "columns of a core (outputs)")
    devices_per_polarity: int = number("1", "devices per polarity of a unit cell")
    limits: PulseLimits = number("", "what a pulse may be")

    adc_range: tuple[float, float, float] = number("uS", "converter full scale: smallest, default, largest")
    read_voltage: float = number("V", "voltage across a device in reads and MVMs")
    mvm_seconds: float = number("s", "one input vector through a core")

    dac_bits: int = number("1", "bits of the signed inputs")
    adc_bits: int = number("1", "bits of the signed output codes")
    dac_nonlinearity: float = number("LSB", "peak third-order deviation of the inputs")
    adc_nonlinearity: float = number("LSB", "peak third-order deviation of the output codes")
    adc_gain_spread: float = number("1", "column-to-column standard deviation of the converter gain")
    adc_offset_spread: float = number("LSB", "column-to-column standard deviation of the converter offset")
    adc_noise: float = number("LSB", "converter noise per output, standard deviation")
    trims: TrimLimits = number("", "trim registers of each column's converter")

    temperature: float = number("K", "chip temperature")
    read_modes: tuple[ReadModeModel, ...] = field(
        default=(), metadata={"unit": "", "meaning": "ways of an MVM; the first one is in use from the start"}
    )
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def device_shape(self) -> tuple[int, int, int, int]:
        """(2, K, rows, columns)."""
        return (2, self.devices_per_polarity, self.rows, self.columns)

    @property
    def g_max(self) -> float:
        """Largest conductance to program on one device, uS."""
        raise NotImplementedError

    @property
    def announced(self) -> DeviceModel | None:
        """The nominal device, as the chip tells of it."""
        return None

    @property
    def stepping(self) -> SteppingDevices | None:
        """What the chip tells of devices that updates step."""
        return None

    def in_mode(self, name: str) -> Self:
        """Return the chip with another read mode in use from the start. Raises KeyError for one it does not have."""
        modes = {mode.name: mode for mode in self.read_modes}
        first = modes.pop(name)
        return replace(self, mvm_seconds=first.seconds, read_modes=(first, *modes.values()))

    def source(self, name: str) -> str:
        """Say where a number, given by its dotted name, comes from: its own source, else that of what it belongs to."""
        while name not in self.sources and "." in name:
            name = name.rpartition(".")[0]
        return self.sources.get(name, ASSUMED)
