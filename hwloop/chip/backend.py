"""The backend contract: what every chip can do, in arrays, and the safety checks above every driver.

A backend is a subclass of `Backend` that fills in the hooks of `Driver`, whose names begin with an underscore. Callers
use the public methods, which check every request against the chip's limits, count its cost, and only then call the
hook: a driver cannot forget a limit, and nothing out of bounds reaches the wire.

Units everywhere: conductance in uS, programming current in uA, pulse width in ns, all other times in seconds,
volts, kelvin. Device arrays have the shape (2, K, rows, columns): polarity (0 adds to the weight, 1 subtracts from
it), device within the polarity, row, column. A flat device index counts through that shape in C order.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypeVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwloop.chip import checks
from hwloop.chip.counts import Counts, PulseLedger
from hwloop.chip.driver import Driver, Settings
from hwloop.chip.info import INSTEAD, Capability, ChipInfo, Parameter
from hwloop.chip.pulses import Pulses
from hwloop.chip.targets import Programmer, Targets
from hwloop.chip.witness import Asked, Witness
from hwloop.errors import BadInputError, ChipError, ClosedError, HwloopError, LimitError, MissingCapabilityError
from hwloop.typing import AnyArray, CodeArray, FloatArray, State

A = TypeVar("A")


class Backend(Driver):
    """A chip, real or simulated. Use it with `with`; `close()` leaves it in its safe idle state.

    Every method raises ClosedError once the backend is closed, and BadInputError for a core that does not exist or is
    no whole number.
    """

    uri: str = ""
    """URI that the chip was opened with; empty for one that was made otherwise."""
    witness: Witness | None = None
    """Sees every request to the chip and its answer, and may answer in its place; None: nobody does."""

    def __init__(self, info: ChipInfo) -> None:
        """Start counting for the chip that `info` describes."""
        self._info = info
        self._counts = Counts()
        self._ledger = PulseLedger(info.devices_per_core)
        self._closed = False

    def __repr__(self) -> str:
        """Say in one line which chip this is, from what is known here: nothing is sent to it."""
        return f"<{type(self).__name__} {self.info.summary}{', closed' if self._closed else ''}>"

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

    @property
    def ledger(self) -> PulseLedger:
        """Pulses that every device has received, for those who go on with a job; `pulse_counts` is for everybody."""
        return self._ledger

    # ---- devices ---------------------------------------------------------------------------------------------

    @final
    def pulse(self, core: int, pulses: Pulses) -> None:
        """Apply a batch of SET or RESET pulses; an empty batch does nothing.

        Parameters
        ----------
        core
            Core of the chip, counted from 0.
        pulses
            Made with `Pulses.make`.

        Raises
        ------
        LimitError
            Before anything reaches the chip, when an amplitude, a width or a device's pulse budget is out of bounds.
        BadInputError
            For device indices that do not exist or occur twice.
        """
        core = self._check_core(core)
        batch = checks.check_pulses(self.info, pulses)
        if not len(batch):
            return
        self._refuse_pulse(batch)
        ledger = self._ledger.of(core)
        spent = ledger[batch.devices] + 1
        if np.any(spent > self.info.limits.pulses_per_device):
            worst = int(batch.devices[np.argmax(spent)])
            raise LimitError(
                f"core {core}, device {worst}: its budget of {self.info.limits.pulses_per_device} pulses is spent; "
                "leave this device out, or raise the limit if its endurance is known to be higher"
            )
        # Counted before the wire: a link that dies halfway must never under-count what a device has suffered.
        ledger[batch.devices] = spent
        self._counts.pulses += len(batch)
        before = self.now()
        self._ask("pulse", self._pulse, core, batch)
        self._counts.chip_seconds += self.now() - before

    @final
    def read(self, core: int, devices: ArrayLike, averages: int = 1) -> FloatArray:
        """Read conductances (n,) in uS of single devices through the chip's own converter, means of `averages` reads.

        Needs Capability.DEVICE_READ. A value may be slightly negative, because converters have noise.

        Raises
        ------
        ChipError
            If the chip answers with NaN or infinity.
        BadInputError
            For devices that do not exist and for averages that are no whole number from 1 to 65536.
        """
        self.require(Capability.DEVICE_READ, "reading single devices")
        core = self._check_core(core)
        index = checks.devices_of_core(self.info, devices, unique=False)
        averages = checks.whole_number(averages, "read: averages", 1, checks.REQUESTS.averages)
        before = self.now()
        values = self._ask("read", self._read, core, index, averages)
        self._counts.device_reads += int(index.size) * averages
        self._counts.chip_seconds += self.now() - before
        if values.shape != index.shape or not np.all(np.isfinite(values)):
            raise ChipError(f"core {core}: the chip answered a device read with missing or non-finite values")
        return values

    @final
    def pulse_counts(self, core: int) -> NDArray[np.int32]:
        """Return the pulses that each device of a core has received, shape (2, K, rows, columns)."""
        return self._ledger.of(self._check_core(core)).reshape(self.info.device_shape).copy()

    def place(self, core: int, devices: ArrayLike, conductance: ArrayLike, age: float) -> None:
        """Put devices (n,) on exact conductances (n,) in uS, reached `age` seconds from now. Needs EXACT_PLACEMENT.

        Stuck and weak devices obey too: this is the reference that measures the noise floor, not a way to program.

        Raises
        ------
        BadInputError
            For devices, conductances or an age that cannot be.
        """
        self.require(Capability.EXACT_PLACEMENT, "exact placement")
        core = self._check_core(core)
        self._ask("place", self._place, core, *checks.placement(self.info, devices, conductance, age))

    @final
    def program_targets(self, targets: Sequence[Targets], age: float, by: Programmer) -> None:
        """Bring rectangles of cells to signed conductances, on a chip that does it by itself. Needs TARGETS.

        Parameters
        ----------
        targets
            Rectangles; where two of them overlap, the later one holds.
        age
            Seconds from now at which the targets shall hold.
        by
            The way of programming; what it leaves is learnt at its first use, which takes some seconds.

        Raises
        ------
        BadInputError
            For targets that are not on the chip or out of reach, and for an age that cannot be.
        """
        self.require(Capability.TARGETS, "programming targets")
        checks.check_targets(self.info, targets)
        seconds = checks.age_in_seconds(age, "program_targets: age")
        if not isinstance(by, Programmer):
            raise BadInputError(f"program_targets: by must be a Programmer, not {reprlib.repr(by)}")
        if targets:
            self._ask("program_targets", self._program_targets, targets, seconds, by)

    # ---- matrix-vector products and converters -----------------------------------------------------------------

    @final
    def mvm(self, core: int, x: ArrayLike) -> CodeArray:
        """Return signed output codes (batch, columns) for signed integer inputs x (batch, rows). Needs Capability.MVM.

        Raises
        ------
        BadInputError
            For inputs of another shape, or that are not integers: nothing is rounded.
        LimitError
            For inputs beyond `info.input_max`.
        """
        self.require(Capability.MVM, "a matrix-vector product")
        core = self._check_core(core)
        inputs = checks.mvm_inputs(self.info, x)
        before = self.now()
        codes = self._ask("mvm", self._mvm, core, inputs)
        self._counts.mvms += inputs.shape[0]
        self._counts.chip_seconds += self.now() - before
        if codes.shape != (inputs.shape[0], self.info.columns):
            raise ChipError(f"core {core}: expected {inputs.shape[0]} x {self.info.columns} codes, got {codes.shape}")
        return codes

    def set_adc_range(self, core: int, full_scale: float) -> None:
        """Set the full scale of a core's converters, uS. Needs Capability.ADC_RANGE.

        Raises
        ------
        LimitError
            Outside `info.adc_range`.
        """
        self.require(Capability.ADC_RANGE, "choosing the converter range")
        core = self._check_core(core)
        value = checks.real_number(full_scale, "converter range")
        low, high = self.info.adc_range
        if not low <= value <= high:
            raise LimitError(f"converter range {value:g} uS is outside {low:g} to {high:g} uS")
        self._ask("set_adc_range", self._set_adc_range, core, value)

    def adc_range(self, core: int) -> float:
        """Return the converters' full scale, uS: a code of `info.code_max` stands for this column sum."""
        return self._ask("adc_range", self._adc_range, self._check_core(core))

    @final
    def set_trims(self, core: int, offset: ArrayLike, gain: ArrayLike) -> None:
        """Write the trims of a core's column converters, rounded to the registers' steps. Needs Capability.TRIMS.

        Parameters
        ----------
        core
            Core of the chip, counted from 0.
        offset
            (columns,) LSB, added to a column's output.
        gain
            (columns,) relative: a column's output is multiplied by 1 + gain, in MVMs and in device reads alike.
            `TrimLimits` says exactly where both act.

        Raises
        ------
        BadInputError
            For arrays of another shape.
        LimitError
            Before anything reaches the chip, for what is not finite or out of the registers' reach.
        """
        self.require(Capability.TRIMS, "writing converter trims")
        core = self._check_core(core)
        self._ask("set_trims", self._set_trims, core, *self._registers(core, offset, gain))

    @final
    def trims(self, core: int) -> tuple[FloatArray, FloatArray]:
        """Return the trims in use, (columns,) each: offsets in LSB and relative gains. Needs Capability.TRIMS."""
        self.require(Capability.TRIMS, "reading converter trims")
        core = self._check_core(core)
        offset, gain = self._ask("trims", self._trims, core)
        if not all(v.shape == (self.info.columns,) and np.all(np.isfinite(v)) for v in (offset, gain)):
            raise ChipError(f"core {core}: the chip answered with missing or non-finite trims")
        return offset, gain

    @final
    def set_read_mode(self, core: int, mode: str) -> None:
        """Choose how a core does its MVMs from now on, by name. Needs Capability.READ_MODE.

        Parameters
        ----------
        core
            Core of the chip, counted from 0.
        mode
            Name of one of `info.read_modes`, which also say what an MVM costs.

        Raises
        ------
        BadInputError
            For a mode that the chip does not have.
        """
        self.require(Capability.READ_MODE, "choosing a read mode")
        core = self._check_core(core)
        self._ask("set_read_mode", self._set_read_mode, core, checks.read_mode(self.info, mode).name)

    @final
    def read_mode(self, core: int) -> str:
        """Return the name of the mode in which a core does its MVMs. Needs Capability.READ_MODE."""
        self.require(Capability.READ_MODE, "asking for the read mode")
        core = self._check_core(core)
        mode = self._ask("read_mode", self._read_mode, core)
        if mode not in [known.name for known in self.info.read_modes]:
            raise ChipError(f"core {core}: the chip is in a read mode '{mode}' that it does not tell of")
        return mode

    # ---- the chip as a whole -----------------------------------------------------------------------------------

    @final
    def wait(self, seconds: float) -> None:
        """Let `seconds` of chip time pass: real time on a bench, virtual time in the simulator.

        Raises
        ------
        BadInputError
            For what is no finite number or negative.
        """
        self._check_open()
        duration = checks.seconds_to_wait(seconds)
        self._ask("wait", self._wait, duration)
        self._counts.chip_seconds += duration

    @final
    def as_one(self, name: str, work: Callable[[], None]) -> None:
        """Do work with the chip that a witness sees as one request, because the clock of the computer steers it."""
        before = self._counts.chip_seconds
        self._counts.chip_seconds = before + self._ask(name, self._unseen, work)

    def _unseen(self, work: Callable[[], None]) -> float:
        """Do work that no witness sees; return the seconds of chip time that it took."""
        witness, self.witness = self.witness, None
        before = self._counts.chip_seconds
        try:
            work()
        finally:
            self.witness = witness
        return self._counts.chip_seconds - before

    @final
    def utc(self) -> datetime:
        """Return the present by the calendar; of a job that is gone on with, what it was then."""
        return datetime.fromisoformat(self._ask("utc", _utc))

    def now(self) -> float:
        """Return the chip's monotonic clock, seconds since it was opened (a simulated chip: since it was made)."""
        self._check_open()
        return self._ask("now", self._now)

    def temperature(self) -> float:
        """Return the chip's temperature in kelvin. Needs Capability.TEMPERATURE."""
        self.require(Capability.TEMPERATURE, "measuring the temperature")
        return self._ask("temperature", self._temperature)

    @final
    def snapshot(self) -> Settings:
        """Return every setting needed to explain a result later, as plain names and values."""
        self._check_open()
        return self._ask("snapshot", self._snapshot)

    @final
    def parameters(self) -> list[Parameter]:
        """Return what is known of the chip beyond `info`, with sources; empty where there is nothing to tell."""
        self._check_open()
        return self._parameters()

    def export_state(self) -> dict[str, AnyArray]:
        """Return what is needed to find a simulated chip as it was left, as named arrays. Needs Capability.STATE."""
        self.require(Capability.STATE, "saving the chip's state")
        ledgers = {f"{checks.LEDGER}{core}": counts.copy() for core, counts in self._ledger.cores.items()}
        return self._ask("export_state", self._export_state) | ledgers

    @final
    def state_parts(self) -> Iterator[tuple[str, AnyArray]]:
        """Yield what `export_state` returns, part by part, each to be used before the chip is asked for more."""
        self.require(Capability.STATE, "saving the chip's state")
        yield from self._state_parts()
        yield from ((f"{checks.LEDGER}{core}", counts) for core, counts in self._ledger.cores.items())

    def import_state(self, state: State) -> None:
        """Put back what `export_state` gave, on a chip opened with the same URI. Needs Capability.STATE.

        Raises
        ------
        BadInputError
            For a state that is not of this chip, which then stays as it was.
        """
        self.require(Capability.STATE, "restoring the chip's state")
        own, ledger = checks.saved_state(self.info, state)
        self._ask("import_state", self._import_state, own)
        self._ledger.cores = ledger

    def require(self, capability: Capability, purpose: str) -> None:
        """Check that the chip is open and has a capability, which `purpose` needs.

        Raises
        ------
        MissingCapabilityError
            Unless it has, with what to do instead.
        """
        self._check_open()
        if not isinstance(capability, Capability):
            raise BadInputError(f"{capability!r} is no Capability; there are {', '.join(map(str, Capability))}")
        if capability not in self.info.capabilities:
            raise MissingCapabilityError(
                f"{self.info.name}: {purpose} needs the capability '{capability.value}', which this chip lacks; "
                f"{INSTEAD[capability]}"
            )

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

    # ---- checks ------------------------------------------------------------------------------------------------

    def _ask(self, name: str, hook: Callable[..., A], *asked: Asked) -> A:
        """Call a hook, or let the witness do so."""
        return hook(*asked) if self.witness is None else self.witness.ask(name, hook, *asked)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self.info.name} was closed; connect again")

    def _check_core(self, core: int) -> int:
        self._check_open()
        return checks.core_number(self.info, core)

    def _registers(self, core: int, offset: ArrayLike, gain: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return trims (columns,) as the registers hold them."""
        if self.info.trims is None:
            raise self._undeclared(Capability.TRIMS)
        return checks.trim_registers(self.info, self.info.trims, core, offset, gain)


def _utc() -> str:
    return datetime.now(UTC).isoformat()
