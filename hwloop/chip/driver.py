"""The hooks of a chip: what the author of a driver fills in.

`Backend` calls them, and nobody else does. Whenever a hook is called, the chip is open, the core exists, and the
request has passed every check of `hwloop.chip.checks`: a driver repeats none of them. What a hook cannot do it says
with a subclass of ChipError; an answer of another shape than stated here becomes one.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import ClassVar

from hwloop.chip.info import Capability, Parameter
from hwloop.chip.pulses import Pulses
from hwloop.chip.targets import Programmer, Targets
from hwloop.chip.updates import Updates
from hwloop.errors import ChipError
from hwloop.typing import AnyArray, CodeArray, FloatArray, IndexArray, State

Settings = dict[str, str | int | float | bool]
"""Settings of a chip as plain names and values, such as a file or JSON can hold."""


class Driver(abc.ABC):
    """What every chip must do, and, below, what it does if it declares the capability."""

    in_process: ClassVar[bool] = False
    """Whether the chip is computed here: it goes with the process, and Capability.STATE brings it back as it was."""

    # ---- every chip ------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _pulse(self, core: int, pulses: Pulses) -> None:
        """Apply a batch of pulses and return when the last one is over.

        The batch is not empty, no device occurs twice, every amplitude (uA) and width (ns) is within
        `info.limits`, `_refuse_pulse` had nothing against them, and no device exceeds its budget. The pulses are
        counted already, so that a link that dies halfway never under-counts what a device has suffered.
        """

    def _refuse_pulse(self, pulses: Pulses) -> None:  # noqa: B027  most chips have nothing to add to their limits
        """Raise LimitError for pulses that this chip cannot make though `info.limits` allow them; send nothing.

        It is called before the pulses are counted. The default refuses nothing.
        """

    @abc.abstractmethod
    def _now(self) -> float:
        """Return the chip's clock in seconds, which never goes back."""

    @abc.abstractmethod
    def _wait(self, seconds: float) -> None:
        """Let a finite, non-negative time pass: return when the clock has moved on by at least `seconds`."""

    @abc.abstractmethod
    def _adc_range(self, core: int) -> float:
        """Return the full scale of a core's converters, uS, within `info.adc_range`."""

    @abc.abstractmethod
    def _snapshot(self) -> Settings:
        """Return every setting needed to explain a result later: finite numbers, texts and truth values by name."""

    @abc.abstractmethod
    def _close(self) -> None:
        """Leave the chip in its safe idle state and release it; called once, after which no hook is called."""

    def _parameters(self) -> list[Parameter]:
        """Return what is known of the chip beyond `info`, each name once; nothing by default."""
        return []

    def _link_bytes(self) -> int:
        """Return the bytes moved over the link so far, both directions; zero without a link. Also once closed."""
        return 0

    # ---- chips that declare the capability -------------------------------------------------------------------

    def _mvm(self, core: int, x: CodeArray) -> CodeArray:
        """Return int32 codes (batch, columns) for int32 inputs x (batch, rows), batch >= 1, |x| <= `info.input_max`.

        Capability.MVM. x may be the caller's own array: do not change it.
        """
        raise self._undeclared(Capability.MVM)

    def _mvm_columns(self, core: int, x: CodeArray, columns: slice) -> CodeArray:
        """Return the codes (batch, wanted) of neighbouring columns alone, else as `_mvm`, which it calls by default.

        Both ends of the slice are given. The clock goes on and noise is drawn as for all columns, or statistically so.
        """
        return self._mvm(core, x)[:, columns]

    def _mvm_transposed(self, core: int, x: CodeArray, rows: slice) -> CodeArray:
        """Return int32 codes (batch, wanted) of neighbouring rows for inputs x (batch, columns), else as `_mvm`.

        Capability.TRANSPOSED_MVM. Columns are driven and rows are read. Both ends of the slice are given.
        """
        raise self._undeclared(Capability.TRANSPOSED_MVM)

    def _update(self, core: int, updates: Updates) -> CodeArray:
        """Apply a batch of pulsed updates in order, and return the steps (devices_per_core,) that each device made.

        Capability.UPDATE. There is one update or more. The most steps that devices can make are counted already and
        within their budgets; what is returned takes the place of that. A chip that does not count coincidences itself
        returns `updates.most_pulses()` at the places of its devices, which `hwloop.chip.update_checks.at_devices` puts
        it to.
        """
        raise self._undeclared(Capability.UPDATE)

    def _read(self, core: int, devices: IndexArray, averages: int) -> FloatArray:
        """Return conductances (n,) in uS, float64 and finite, each the mean of `averages` reads.

        Capability.DEVICE_READ. Devices exist, may occur twice, and may be none at all; `averages` is 1 or more.
        """
        raise self._undeclared(Capability.DEVICE_READ)

    def _temperature(self) -> float:
        """Return the chip's temperature in kelvin. Capability.TEMPERATURE."""
        raise self._undeclared(Capability.TEMPERATURE)

    def _set_adc_range(self, core: int, full_scale: float) -> None:
        """Set the full scale (uS, within `info.adc_range`) of a core's converters. Capability.ADC_RANGE."""
        raise self._undeclared(Capability.ADC_RANGE)

    def _set_trims(self, core: int, offset: FloatArray, gain: FloatArray) -> None:
        """Write offsets (columns,) in LSB and relative gains (columns,). Capability.TRIMS.

        They are within `info.trims` and rounded to the steps of the registers.
        """
        raise self._undeclared(Capability.TRIMS)

    def _trims(self, core: int) -> tuple[FloatArray, FloatArray]:
        """Return what is in the registers: offsets (columns,) in LSB, relative gains (columns,). Capability.TRIMS."""
        raise self._undeclared(Capability.TRIMS)

    def _read_mode(self, core: int) -> str:
        """Return the name of the read mode in use, one of `info.read_modes`. Capability.READ_MODE."""
        raise self._undeclared(Capability.READ_MODE)

    def _set_read_mode(self, core: int, mode: str) -> None:
        """Let MVMs of a core be done in a mode, one of `info.read_modes`. Capability.READ_MODE."""
        raise self._undeclared(Capability.READ_MODE)

    def _place(self, core: int, devices: IndexArray, conductance: FloatArray, age: float) -> None:
        """Put devices (n,) on conductances (n,) in uS, reached `age` seconds from now. Capability.EXACT_PLACEMENT.

        Devices occur once and may be none at all; conductances and ages are within `checks.REQUESTS`.
        """
        raise self._undeclared(Capability.EXACT_PLACEMENT)

    def _program_targets(self, targets: Sequence[Targets], age: float, by: Programmer) -> None:
        """Bring cells to their targets, as `by` would leave them on a chip that takes pulses. Capability.TARGETS.

        There is one rectangle or more, each of them on the chip, and their targets are finite and within reach. They
        hold `age` seconds from now. A chip that declares this refuses all pulses in `_refuse_pulse`.
        """
        raise self._undeclared(Capability.TARGETS)

    def _export_state(self) -> dict[str, AnyArray]:
        """Return copies of all arrays of numbers that make the chip what it is, by name. Capability.STATE.

        No name begins with `ledger/`: the pulse counts are the contract's own.
        """
        raise self._undeclared(Capability.STATE)

    def _state_parts(self) -> Iterator[tuple[str, AnyArray]]:
        """Yield what `_export_state` returns, part by part and not copied where that saves memory."""
        yield from self._export_state().items()

    def _import_state(self, state: State) -> None:
        """Put back what `_export_state` gave, as a whole or not at all. Capability.STATE.

        The values are arrays of numbers and the pulse counts are taken out; all else is for this hook to check.
        Raise BadInputError for a state of another chip.
        """
        raise self._undeclared(Capability.STATE)

    def _undeclared(self, capability: Capability) -> ChipError:
        """Return the error of a driver that promises what it does not do."""
        return ChipError(f"{type(self).__name__} declares '{capability.value}' but does not implement it")
