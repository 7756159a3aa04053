"""The backend contract: what every chip can do, in arrays, and the safety checks above every driver.

A backend is a subclass of `Backend` that fills in the hooks of `Driver`, whose names begin with an underscore. Callers
use the public methods, which check every request against the chip's limits, count its cost, and only then call the
hook: a driver cannot forget a limit, and nothing out of bounds reaches the wire.

Units everywhere: conductance in uS, programming current in uA, pulse width in ns, all other times in seconds,
volts, kelvin. Device arrays have the shape (2, K, rows, columns): polarity (0 adds to the weight, 1 subtracts from
it), device within the polarity, row, column. A flat device index counts through that shape in C order.
"""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwloop.chip import checks
from hwloop.chip.callers import one_caller
from hwloop.chip.counts import Counts, PulseLedger
from hwloop.chip.driver import Settings
from hwloop.chip.info import Capability, ChipInfo, Parameter
from hwloop.chip.products import Products
from hwloop.chip.pulses import Pulses
from hwloop.chip.targets import Programmer, Targets
from hwloop.chip.update_checks import at_devices, check_budget_of_trains, reached_by, updates, within_budget
from hwloop.chip.updates import PulseTrains
from hwloop.custody.lock import Lock
from hwloop.errors import BadInputError, ChipError, HwloopError
from hwloop.notebook.card import Cell, card
from hwloop.typing import AnyArray, FloatArray, State

LOG = logging.getLogger(__name__)


class Backend(Products):
    """A chip, real or simulated. Use it with `with`; `close()` leaves it in its safe idle state.

    Every method raises ClosedError once the backend is closed, and BadInputError for a core that does not exist or is
    no whole number.
    """

    uri: str = ""
    """URI that the chip was opened with; empty for one that was made otherwise."""
    locks: tuple[Lock, ...] = ()
    """What keeps others from it while it is open."""

    def __init__(self, info: ChipInfo) -> None:
        """Start counting for the chip that `info` describes."""
        super().__init__(info)
        self._ledger = PulseLedger(info.devices_per_core)

    def __repr__(self) -> str:
        """Say in one line which chip this is, from what is known here: nothing is sent to it."""
        return f"<{type(self).__name__} {self.info.summary}{', closed' if self._closed else ''}>"

    def _repr_html_(self) -> str:
        info = self.info
        facts: dict[str, Cell] = {
            "cores": f"{info.cores} of {info.rows} x {info.columns} cells, {info.devices_per_polarity} per polarity",
            "converters": f"{info.input_bits} bits in, {info.output_bits} bits out",
            "highest conductance": f"{info.g_max:g} uS",
            "can": ", ".join(sorted(one.value for one in info.capabilities)),
        }
        return card(f"{info.name} {info.serial}".rstrip(), "closed" if self._closed else self.uri, facts)

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
    @one_caller
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
        checks.check_budget(self.info, core, batch.devices, spent, self.lifetime.before(core))
        # Counted before the wire: a link that dies halfway must never under-count what a device has suffered.
        ledger[batch.devices] = spent
        self._counts.pulses += len(batch)
        before = self._clock_now()
        self._ask("pulse", self._counted_pulse, core, batch)
        self._counts.chip_seconds += self._clock_now() - before

    @final
    @one_caller
    def update(self, core: int, x: ArrayLike, d: ArrayLike, trains: PulseTrains | None = None) -> None:
        """Step the devices of a core where pulse trains on rows and columns meet. Needs Capability.UPDATE.

        `hwloop.chip.updates` says exactly what a device receives. The pulses that it may receive at most are within
        its budget, or nothing is sent; those that it did receive are counted.

        Parameters
        ----------
        core
            Core of the chip, counted from 0.
        x
            (updates, rows) signed integers, at most `info.stepping.levels` in size; may be no update at all.
        d
            (updates, columns) signed integers, as many updates, applied in order.
        trains
            Length and probabilities of the trains; None for 31 slots and the full probabilities.

        Raises
        ------
        BadInputError
            For arrays of other shapes, or that are not integers, and for trains that are none.
        LimitError
            For integers, lengths, probabilities or a device's pulse budget out of bounds; nothing is sent.
        """
        self.require(Capability.UPDATE, "a pulsed update")
        core = self._check_core(core)
        devices = self.info.stepping
        if devices is None:
            raise self._undeclared(Capability.UPDATE)
        batch = updates(self.info, devices, x, d, PulseTrains() if trains is None else trains)
        if not len(batch):
            return
        ledger, earlier = self._ledger.of(core), self.lifetime.before(core)
        spent = reached_by(self.info, batch, ledger)
        if self.in_process and earlier is None and within_budget(self.info, spent, batch):
            most = None
        else:
            most = at_devices(self.info, devices, batch.most_pulses())
            check_budget_of_trains(self.info, core, ledger, most, earlier)
            # Counted before the wire, as if every slot were a coincidence: a link that dies must never under-count.
            spent += reached_by(self.info, batch, most)
        before = self._clock_now()
        received = reached_by(self.info, batch, self._ask("update", self._counted_update, core, batch, most))
        self._counts.chip_seconds += self._clock_now() - before
        spent += received if most is None else received - reached_by(self.info, batch, most)
        self._counts.pulses += int(received.sum())
        self._counts.updates += len(batch)

    @final
    @one_caller
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
        before = self._clock_now()
        values = self._ask("read", self._read, core, index, averages)
        self._counts.device_reads += int(index.size) * averages
        self._counts.chip_seconds += self._clock_now() - before
        if values.shape != index.shape or not np.all(np.isfinite(values)):
            raise ChipError(f"core {core}: the chip answered a device read with missing or non-finite values")
        return values

    @final
    @one_caller
    def pulse_counts(self, core: int) -> NDArray[np.int32]:
        """Return the pulses that each device of a core has received, shape (2, K, rows, columns)."""
        return self._ledger.of(self._check_core(core)).reshape(self.info.device_shape).copy()

    @one_caller
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
    @one_caller
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

    # ---- the chip as a whole -----------------------------------------------------------------------------------

    @final
    @one_caller
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

    @one_caller
    def temperature(self) -> float:
        """Return the chip's temperature in kelvin. Needs Capability.TEMPERATURE."""
        self.require(Capability.TEMPERATURE, "measuring the temperature")
        return self._ask("temperature", self._temperature)

    @final
    @one_caller
    def snapshot(self) -> Settings:
        """Return every setting needed to explain a result later, as plain names and values."""
        self._check_open()
        return self._ask("snapshot", self._snapshot)

    @final
    @one_caller
    def parameters(self) -> list[Parameter]:
        """Return what is known of the chip beyond `info`, with sources; empty where there is nothing to tell."""
        self._check_open()
        return self._parameters()

    @one_caller
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

    @one_caller
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

    def alone(self, purpose: str) -> AbstractContextManager[None]:
        """Use the chip for a job, `with`; calls of other threads raise ChipError meanwhile, which names the purpose."""
        return self._callers.alone(purpose)

    @final
    @one_caller
    def close(self) -> None:
        """Leave the chip in its safe idle state and release it; safe to call twice."""
        if not self._closed:
            self._closed = True
            LOG.info("closed %s after %s", self.info.name, self._counts)
            try:
                self._close()
            finally:
                self.lifetime.settle()
                for lock in self.locks:
                    lock.release()

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
