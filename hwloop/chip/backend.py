"""The backend contract: what every chip can do, in arrays, and the safety checks above every driver.

A backend is a subclass of `Backend` that fills in the hooks whose names begin with an underscore. Callers use the
public methods, which check every request against the chip's limits, count its cost, and only then call the hook: a
driver cannot forget a limit, and nothing out of bounds reaches the wire.

Units everywhere: conductance in uS, programming current in uA, pulse width in ns, all other times in seconds,
volts, kelvin. Device arrays have the shape (2, K, rows, columns): polarity (0 adds to the weight, 1 subtracts from
it), device within the polarity, row, column. A flat device index counts through that shape in C order.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwloop.chip.counts import Counts, PulseLedger
from hwloop.chip.info import INSTEAD, TRIM_ROUNDING, Capability, ChipInfo, Parameter
from hwloop.chip.pulses import Pulses, device_indices
from hwloop.errors import BadInputError, ChipError, ClosedError, HwloopError, LimitError, MissingCapabilityError
from hwloop.typing import CodeArray, FloatArray, IndexArray

LARGEST_PLACED, PLACED_AGES = 2.0, (1e-9, 1e12)
"""Exact placement takes conductances up to this multiple of g_max, and ages between these, in seconds: beyond what any
device does, and short of where the fitted laws of drift and noise overflow."""
MOST_AVERAGES = 2**16
"""Reads of one device that one call may average: a typing error must not keep a chip busy for hours."""


class Backend(abc.ABC):
    """A chip, real or simulated. Use it with `with`; `close()` leaves it in its safe idle state."""

    def __init__(self, info: ChipInfo) -> None:
        """Start counting for the chip that `info` describes."""
        self._info = info
        self._counts = Counts()
        self._ledger = PulseLedger(info.devices_per_core)
        self._closed = False

    # ---- what callers use ------------------------------------------------------------------------------------

    @property
    def info(self) -> ChipInfo:
        """Identity and geometry."""
        return self._info

    @property
    def counts(self) -> Counts:
        """Cost so far, as a copy that will not change."""
        counts = self._counts.copy()
        counts.link_bytes = self._link_bytes()
        return counts

    @final
    def pulse(self, core: int, pulses: Pulses) -> None:
        """Apply a batch of SET or RESET pulses.

        Raises LimitError, before anything reaches the chip, when an amplitude, a width or a device's pulse budget is
        out of bounds; BadInputError for indices that do not exist or occur twice.
        """
        self._check_core(core)
        if not len(pulses):
            return
        self._check_devices(pulses.devices, unique=True)
        self._check_pulse_shape(pulses)
        self._refuse_pulse(pulses)
        ledger = self._ledger.of(core)
        spent = ledger[pulses.devices] + 1
        if np.any(spent > self.info.limits.pulses_per_device):
            worst = int(pulses.devices[np.argmax(spent)])
            raise LimitError(
                f"core {core}, device {worst}: its budget of {self.info.limits.pulses_per_device} pulses is spent; "
                "leave this device out, or raise the limit if its endurance is known to be higher"
            )
        # Counted before the wire: a link that dies halfway must never under-count what a device has suffered.
        ledger[pulses.devices] = spent
        self._counts.pulses += len(pulses)
        before = self.now()
        self._pulse(core, pulses)
        self._counts.chip_seconds += self.now() - before

    @final
    def read(self, core: int, devices: ArrayLike, averages: int = 1) -> FloatArray:
        """Conductances (n,) in uS of single devices, through the chip's own converter, mean of `averages` reads.

        Needs Capability.DEVICE_READ. A value may be slightly negative, because converters have noise.
        Raises ChipError if the chip answers with NaN or infinity.
        """
        self.require(Capability.DEVICE_READ, "reading single devices")
        self._check_core(core)
        index = device_indices(devices)
        self._check_devices(index, unique=False)
        if not isinstance(averages, int | np.integer) or not 1 <= averages <= MOST_AVERAGES:
            raise BadInputError(f"read: averages must be a whole number from 1 to {MOST_AVERAGES}, not {averages}")
        before = self.now()
        values = self._read(core, index, averages)
        self._counts.device_reads += int(index.size) * averages
        self._counts.chip_seconds += self.now() - before
        if values.shape != index.shape or not np.all(np.isfinite(values)):
            raise ChipError(f"core {core}: the chip answered a device read with missing or non-finite values")
        return values

    @final
    def mvm(self, core: int, x: ArrayLike) -> CodeArray:
        """Signed output codes (batch, columns) for signed integer inputs x (batch, rows). Needs Capability.MVM."""
        self.require(Capability.MVM, "a matrix-vector product")
        self._check_core(core)
        inputs = np.asarray(x)
        if inputs.ndim != 2 or inputs.shape[1] != self.info.rows or not inputs.shape[0]:
            raise BadInputError(f"mvm: inputs must have the shape (batch, {self.info.rows}), not {inputs.shape}")
        if not np.issubdtype(inputs.dtype, np.integer):
            raise BadInputError(f"mvm: inputs must be integers, not {inputs.dtype}; round them yourself")
        top = self.info.input_max
        if inputs.max() > top or inputs.min() < -top:
            raise LimitError(f"mvm: inputs must lie in [-{top}, {top}] for {self.info.input_bits}-bit DACs")
        before = self.now()
        codes = self._mvm(core, inputs.astype(np.int32, copy=False))
        self._counts.mvms += inputs.shape[0]
        self._counts.chip_seconds += self.now() - before
        if codes.shape != (inputs.shape[0], self.info.columns):
            raise ChipError(f"core {core}: expected {inputs.shape[0]} x {self.info.columns} codes, got {codes.shape}")
        return codes

    @final
    def wait(self, seconds: float) -> None:
        """Let `seconds` of chip time pass: real time on a bench, virtual time in the simulator."""
        self._check_open()
        if not (math.isfinite(seconds) and seconds >= 0):
            raise BadInputError(f"wait: seconds must be finite and not negative, not {seconds}")
        self._wait(seconds)
        self._counts.chip_seconds += seconds

    def now(self) -> float:
        """The chip's monotonic clock, seconds since it was opened (a simulated chip: since it was made)."""
        self._check_open()
        return self._now()

    def temperature(self) -> float:
        """Chip temperature in kelvin. Needs Capability.TEMPERATURE."""
        self.require(Capability.TEMPERATURE, "measuring the temperature")
        return self._temperature()

    def set_adc_range(self, core: int, full_scale: float) -> None:
        """Set the full scale of a core's converters, uS. Needs Capability.ADC_RANGE."""
        self.require(Capability.ADC_RANGE, "choosing the converter range")
        self._check_core(core)
        low, high = self.info.adc_range
        if not low <= full_scale <= high:
            raise LimitError(f"converter range {full_scale:g} uS is outside {low:g} to {high:g} uS")
        self._set_adc_range(core, full_scale)

    def adc_range(self, core: int) -> float:
        """The converters' full scale, uS: a code of `info.code_max` stands for this column sum."""
        self._check_core(core)
        return self._adc_range(core)

    @final
    def set_trims(self, core: int, offset: ArrayLike, gain: ArrayLike) -> None:
        """Write the trims of a core's column converters, rounded to the registers' steps. Needs Capability.TRIMS.

        offset  (columns,) LSB, added to a column's output
        gain    (columns,) relative: a column's output is multiplied by 1 + gain, in MVMs and in device reads alike

        `TrimLimits` says exactly where they act. Raises BadInputError for arrays of another shape, LimitError, before
        anything reaches the chip, for what is not finite or out of the registers' reach.
        """
        self.require(Capability.TRIMS, "writing converter trims")
        self._check_core(core)
        self._set_trims(core, *self._registers(core, offset, gain))

    @final
    def trims(self, core: int) -> tuple[FloatArray, FloatArray]:
        """Trims in use, (columns,) each: offsets in LSB and relative gains. Needs Capability.TRIMS."""
        self.require(Capability.TRIMS, "reading converter trims")
        self._check_core(core)
        offset, gain = self._trims(core)
        if not all(v.shape == (self.info.columns,) and np.all(np.isfinite(v)) for v in (offset, gain)):
            raise ChipError(f"core {core}: the chip answered with missing or non-finite trims")
        return offset, gain

    def place(self, core: int, devices: ArrayLike, conductance: ArrayLike, age: float) -> None:
        """Put devices on exact conductances (uS), reached `age` seconds from now. Needs EXACT_PLACEMENT.

        Stuck and weak devices obey too: this is the reference that measures the noise floor, not a way to program.
        """
        self.require(Capability.EXACT_PLACEMENT, "exact placement")
        self._check_core(core)
        index, target = device_indices(devices), np.asarray(conductance, np.float64)
        self._check_devices(index, unique=True)
        largest = LARGEST_PLACED * self.info.g_max
        if target.shape != index.shape or not np.all((target >= 0) & (target <= largest)):
            raise BadInputError(
                f"place: conductances must be finite, not negative, at most {largest:g} uS, and one per device"
            )
        if not PLACED_AGES[0] <= age <= PLACED_AGES[1]:
            low, high = PLACED_AGES
            raise BadInputError(f"place: age must be positive seconds, from {low:g} to {high:g}, not {age}")
        self._place(core, index, target, age)

    def export_state(self) -> dict[str, NDArray[Any]]:
        """Everything needed to find a simulated chip as it was left, as named arrays. Needs Capability.STATE."""
        self.require(Capability.STATE, "saving the chip's state")
        return self._export_state() | {f"ledger/{core}": counts.copy() for core, counts in self._ledger.cores.items()}

    def import_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `export_state` gave, on a chip opened with the same URI. Needs Capability.STATE."""
        self.require(Capability.STATE, "restoring the chip's state")
        own = {name: array for name, array in state.items() if not name.startswith("ledger/")}
        ledgers = {f"ledger/{core}": core for core in range(self.info.cores)}
        ledger = {}
        for name in sorted(state.keys() - own.keys()):
            counts = np.asarray(state[name])
            fits = name in ledgers and counts.shape == (self.info.devices_per_core,)
            # A negative count would be a budget larger than the chip's.
            if not fits or counts.dtype.kind not in "iu" or counts.min() < 0 or counts.max() > 2**31 - 1:
                raise BadInputError(
                    f"{self.info.name}: the saved pulse counts '{name}' are not those of a chip with "
                    f"{self.info.cores} core(s) of {self.info.devices_per_core} devices"
                )
            ledger[ledgers[name]] = counts.astype(np.int32)
        self._import_state(own)
        self._ledger.cores = ledger

    @final
    def pulse_counts(self, core: int) -> NDArray[np.int32]:
        """Pulses each device of a core has received, shape (2, K, rows, columns)."""
        self._check_core(core)
        return self._ledger.of(core).reshape(self.info.device_shape).copy()

    def require(self, capability: Capability, purpose: str) -> None:
        """Raise MissingCapabilityError, with what to do instead, unless the chip has the capability."""
        self._check_open()
        if capability not in self.info.capabilities:
            raise MissingCapabilityError(
                f"{self.info.name}: {purpose} needs the capability '{capability.value}', which this chip lacks; "
                f"{INSTEAD[capability]}"
            )

    @abc.abstractmethod
    def snapshot(self) -> dict[str, str | int | float | bool]:
        """Every setting needed to explain a result later, as plain names and values."""

    def parameters(self) -> list[Parameter]:
        """What is known of the chip beyond `info`, with sources; empty unless a backend has something to tell."""
        return []

    @final
    def close(self) -> None:
        """Leave the chip in its safe idle state and release it; safe to call twice."""
        if not self._closed:
            self._closed = True
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except HwloopError as failure:
            if error is None:
                raise
            error.add_note(str(failure))  # what went wrong first is what must be reported

    # ---- what a backend fills in -----------------------------------------------------------------------------

    @abc.abstractmethod
    def _pulse(self, core: int, pulses: Pulses) -> None: ...

    def _refuse_pulse(self, pulses: Pulses) -> None:  # noqa: B027  most chips have nothing to add to their limits
        """Raise LimitError for a pulse that this chip cannot make though its limits allow it; before it is counted."""

    @abc.abstractmethod
    def _now(self) -> float: ...

    @abc.abstractmethod
    def _wait(self, seconds: float) -> None: ...

    @abc.abstractmethod
    def _adc_range(self, core: int) -> float: ...

    @abc.abstractmethod
    def _close(self) -> None: ...

    def _mvm(self, core: int, x: CodeArray) -> CodeArray:
        raise self._undeclared(Capability.MVM)

    def _read(self, core: int, devices: IndexArray, averages: int) -> FloatArray:
        raise self._undeclared(Capability.DEVICE_READ)

    def _temperature(self) -> float:
        raise self._undeclared(Capability.TEMPERATURE)

    def _set_adc_range(self, core: int, full_scale: float) -> None:
        raise self._undeclared(Capability.ADC_RANGE)

    def _set_trims(self, core: int, offset: FloatArray, gain: FloatArray) -> None:
        raise self._undeclared(Capability.TRIMS)

    def _trims(self, core: int) -> tuple[FloatArray, FloatArray]:
        raise self._undeclared(Capability.TRIMS)

    def _place(self, core: int, devices: IndexArray, conductance: FloatArray, age: float) -> None:
        raise self._undeclared(Capability.EXACT_PLACEMENT)

    def _export_state(self) -> dict[str, NDArray[Any]]:
        raise self._undeclared(Capability.STATE)

    def _import_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        raise self._undeclared(Capability.STATE)

    def _link_bytes(self) -> int:
        return 0

    # ---- checks ----------------------------------------------------------------------------------------------

    def _undeclared(self, capability: Capability) -> ChipError:
        return ChipError(f"{type(self).__name__} declares '{capability.value}' but does not implement it")

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self.info.name} was closed; connect again")

    def _check_core(self, core: int) -> None:
        self._check_open()
        if not 0 <= core < self.info.cores:
            raise BadInputError(f"core {core} does not exist; {self.info.name} has cores 0 to {self.info.cores - 1}")

    def _check_devices(self, devices: IndexArray, *, unique: bool) -> None:
        size = self.info.devices_per_core
        if devices.ndim != 1:
            raise BadInputError(f"device indices must be one-dimensional, not {devices.shape}")
        if devices.size and (devices.min() < 0 or devices.max() >= size):
            raise BadInputError(f"device indices must lie in 0 to {size - 1}, got {devices.min()} to {devices.max()}")
        if unique and np.any(np.bincount(devices, minlength=1) > 1):
            twice = int(np.argmax(np.bincount(devices) > 1))
            raise BadInputError(f"device {twice} occurs twice in one batch; send its pulses one after the other")

    def _registers(self, core: int, offset: ArrayLike, gain: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Trims (columns,) as the registers hold them."""
        limits = self.info.trims
        if limits is None:
            raise self._undeclared(Capability.TRIMS)
        return (
            self._register(core, "offset", offset, limits.offset_step, limits.offset_max, " LSB"),
            self._register(core, "gain", gain, limits.gain_step, limits.gain_max, ""),
        )

    def _register(self, core: int, name: str, trims: ArrayLike, step: float, reach: float, unit: str) -> FloatArray:
        try:
            values = np.asarray(trims, np.float64)
        except (TypeError, ValueError) as error:
            raise BadInputError(f"core {core}: {name} trims must be numbers: {error}") from error
        if values.shape != (self.info.columns,):
            raise BadInputError(
                f"core {core}: {name} trims must have the shape ({self.info.columns},), one per column, "
                f"not {values.shape}"
            )
        bad = ~(np.abs(values) <= reach + TRIM_ROUNDING * step)  # NaN is bad too
        if np.any(bad):
            at = int(np.argmax(bad))
            raise LimitError(
                f"core {core}, column {at}: {name} trim {values[at]:g}{unit} is outside -{reach:g} to "
                f"{reach:g}{unit}; nothing was written"
            )
        rounded: FloatArray = np.rint(values / step) * step + 0.0  # no negative zero
        return rounded

    def _check_pulse_shape(self, pulses: Pulses) -> None:
        limits = self.info.limits
        amplitude, width = pulses.amplitude, pulses.width
        bad = ~(np.isfinite(amplitude) & (amplitude > 0) & (amplitude <= limits.amplitude_max))
        if np.any(bad):
            at = int(np.argmax(bad))
            raise LimitError(
                f"device {pulses.devices[at]}: pulse amplitude {amplitude[at]:g} uA is outside "
                f"0 to {limits.amplitude_max:g} uA; nothing was sent"
            )
        bad = ~(np.isfinite(width) & (width >= limits.width_min) & (width <= limits.width_max))
        if np.any(bad):
            at = int(np.argmax(bad))
            raise LimitError(
                f"device {pulses.devices[at]}: pulse width {width[at]:g} ns is outside "
                f"{limits.width_min:g} to {limits.width_max:g} ns; nothing was sent"
            )
