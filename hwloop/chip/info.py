"""What a chip says of itself: identity, geometry, limits and capabilities."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field

from hwloop.chip.updates import SteppingDevices
from hwloop.devices.model import DeviceModel
from hwloop.errors import BadInputError

AGE_OF_UNKNOWN_DRIFT = 20.0
"""Seconds after programming at which targets hold on a chip of unknown drift: early, and past the first fast fall."""
TRIM_ROUNDING = 1e-6
"""Share of a step by which a trim may miss the end of its register: arithmetic, not intent."""


class Capability(enum.Enum):
    """What a chip may or may not be able to do; the value is the name used in messages and on the wire."""

    MVM = "mvm"
    DEVICE_READ = "device-read"
    TEMPERATURE = "temperature"
    ADC_RANGE = "adc-range"
    TRIMS = "converter-trims"
    READ_MODE = "read-mode"
    EXACT_PLACEMENT = "exact-placement"
    STATE = "state"
    TARGETS = "targets"
    """It programs conductance targets by itself, and refuses pulses."""
    TRANSPOSED_MVM = "transposed-mvm"
    """Rows and columns change places in a product: the backward pass."""
    UPDATE = "update"
    """Pulse trains on rows and columns step the devices where they meet."""


INSTEAD = {
    Capability.MVM: "use the method iterative, which needs device reads alone",
    Capability.DEVICE_READ: "use the method gdp, which never reads a device",
    Capability.TEMPERATURE: "pass the temperature that your bench thermometer shows",
    Capability.ADC_RANGE: "set the converter range on the instrument itself",
    Capability.TRIMS: "hwloop calibrate adc finds offsets and gains, and the correction is made digitally instead",
    Capability.READ_MODE: "this chip does an MVM in one way alone; leave the read mode out",
    Capability.EXACT_PLACEMENT: "only a simulated chip (sim:...) can place a conductance exactly",
    Capability.STATE: "a real chip keeps its own state: connect to it again instead",
    Capability.TARGETS: "program it by pulses with a method, as hwloop.program does",
    Capability.TRANSPOSED_MVM: "use a chip whose columns can be driven and rows read, such as sim:rpu-baseline",
    Capability.UPDATE: "train on a chip of devices that step up and down, such as sim:reram-sb or sim:rpu-baseline",
}


@dataclass(frozen=True)
class Parameter:
    """A number or text that describes a chip, with its unit and where it comes from."""

    name: str
    value: str | int | float | bool
    unit: str
    source: str
    meaning: str = field(default="", compare=False)
    """What it is, in a few words; empty where the name says it, and of chips behind a link, which do not tell."""


@dataclass(frozen=True)
class PulseLimits:
    """What a device survives. Requests outside are refused whole, never clamped."""

    amplitude_max: float
    """Largest peak current, uA."""
    width_min: float
    """Shortest pulse the generator makes, ns."""
    width_max: float
    """Longest pulse, ns."""
    pulses_per_device: int
    """Endurance budget: pulses one device may receive, over all sessions where the chip is known to the ledger."""


@dataclass(frozen=True)
class TrimLimits:
    """Registers in front of each column's ADC: how fine they are, and how far they reach to both sides of zero.

    A converter of gain a and offset c (LSB) that would make a S + c of the ideal code S makes a (1 + g) S + c + o of
    it, with o and g in its registers; nonlinearity, rounding and saturation come after them. Raises BadInputError for a
    reach that is not a whole number of steps.
    """

    offset_step: float
    """LSB."""
    offset_max: float
    """LSB."""
    gain_step: float
    """Relative."""
    gain_max: float
    """Relative; below 1."""

    def __post_init__(self) -> None:
        """Check that the limits describe registers."""
        for name, step, reach, most in (
            ("offset", self.offset_step, self.offset_max, math.inf),
            ("gain", self.gain_step, self.gain_max, 1.0),
        ):
            # Not `step <= 0`: NaN must not pass.
            if not (0 < step <= reach < most) or abs(reach / step - round(reach / step)) > TRIM_ROUNDING:
                raise BadInputError(
                    f"{name} trims: steps of {step:g} up to {reach:g} are no register; the reach must be a whole "
                    f"number of steps{', and below 1' if most == 1 else ''}"
                )


@dataclass(frozen=True)
class ReadMode:
    """One way in which a core does an MVM, and what that costs. Raises BadInputError for costs that nothing has."""

    name: str
    """Such as 'one-phase'."""
    seconds: float
    """From one input vector to the next through the same core."""
    joules: float | None = None
    """Energy of one MVM of a whole core; None where none is known."""
    source: str = ""
    """Where both figures come from."""

    def __post_init__(self) -> None:
        """Check that the figures can be."""
        for what, value in (("seconds", self.seconds), ("joules", self.joules)):
            # Not `value <= 0`: NaN must not pass.
            if value is not None and not 0 < value < math.inf:
                raise BadInputError(f"read mode '{self.name}': {value:g} {what} for an MVM cannot be")
        if not self.name:
            raise BadInputError("a read mode must have a name")


@dataclass(frozen=True)
class ChipInfo:
    """Identity and geometry of a chip."""

    name: str
    """Model or preset."""
    serial: str
    """What tells this chip from another of the same model."""
    cores: int
    rows: int
    columns: int
    devices_per_polarity: int
    """K: a unit cell has 2 K devices."""
    input_bits: int
    """Bits of the signed DAC input; inputs run from -(2^(bits-1) - 1) to +(2^(bits-1) - 1)."""
    output_bits: int
    """Bits of the signed ADC output code."""
    g_max: float
    """Largest conductance to program on one device, uS."""
    read_voltage: float
    """Volts across a device during reads and MVMs."""
    adc_range: tuple[float, float]
    """Smallest and largest full scale of the column converters, uS (a column sum at full-scale input)."""
    limits: PulseLimits
    capabilities: frozenset[Capability]
    device_model: DeviceModel | None = None
    """Nominal behaviour of the devices, where it is known; algorithms start from it."""
    trims: TrimLimits | None = None
    """Trim registers of the column converters, where the chip has them (Capability.TRIMS)."""
    read_modes: tuple[ReadMode, ...] = ()
    """Ways of an MVM whose cost is known; a core can be told which only with Capability.READ_MODE."""
    stepping: SteppingDevices | None = None
    """Devices that updates step, where the chip has them (Capability.UPDATE)."""

    def __repr__(self) -> str:
        return f"ChipInfo({self.summary})"

    @property
    def summary(self) -> str:
        """Which chip this is: `sim:hermes-core, serial 7, 1 core of 256 x 256 cells, 4 devices each`."""
        cores = f"{self.cores} core{'s' if self.cores > 1 else ''} of {self.rows} x {self.columns} cells"
        return f"{self.name}, serial {self.serial}, {cores}, {2 * self.devices_per_polarity} devices each"

    @property
    def device_shape(self) -> tuple[int, int, int, int]:
        """(2, K, rows, columns)."""
        return (2, self.devices_per_polarity, self.rows, self.columns)

    @property
    def devices_per_core(self) -> int:
        """2 x K x rows x columns."""
        return math.prod(self.device_shape)

    @property
    def reference_age(self) -> float:
        """Age in seconds at which targets hold unless told otherwise: that of the drift model, where there is one."""
        return self.device_model.drift.t0 if self.device_model is not None else AGE_OF_UNKNOWN_DRIFT

    @property
    def input_max(self) -> int:
        """Largest input magnitude, which stands for 1.0."""
        return int(2 ** (self.input_bits - 1) - 1)

    @property
    def code_max(self) -> int:
        """Largest output code magnitude, which stands for the converter's full scale."""
        return int(2 ** (self.output_bits - 1) - 1)
