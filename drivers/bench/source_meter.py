"""Source meters: the checks that all of them pass, and what those share that take text commands."""

from __future__ import annotations

import abc
import math
from typing import ClassVar

from hwloop.drivers.bench.instrument import Instrument
from hwloop.drivers.bench.roles import SourceRating
from hwloop.drivers.bench.wire import Wire
from hwloop.errors import ChipError, LimitError

OVERFLOW = 1e30
"""Instruments answer 9.9e37 when a reading is out of range."""
TRIPPED = {"0": False, "1": True, "+0": False, "+1": True, "false": False, "true": True}
"""Answers to whether the source is in compliance, in SCPI and in TSP."""


def ramp(start: float, end: float, step: float) -> list[float]:
    """Return levels (V) after `start` up to and with `end`, none further than `step` from the one before."""
    count = max(1, math.ceil(abs(end - start) / step - 1e-9))
    return [start + (end - start) * k / count for k in range(1, count)] + [end]


class CheckedSourceMeter(abc.ABC):
    """A SourceMeter that keeps within its rating, ramps, and shows its compliance before its output goes on."""

    AGREEMENT: ClassVar[float] = 0.02
    """How far the compliance that is kept may lie from the one asked for, of it."""

    def __init__(self, name: str, model: str, rating: SourceRating, compliance: float, ramp_step: float) -> None:
        """Take over what was set up to 0 V with the output off.

        name, model  for messages: which instrument of the bench, and what it is
        compliance   largest current, A
        ramp_step    largest step of the voltage, V
        """
        self._name, self._model, self._rating, self._step = name, model, rating, ramp_step
        self._level, self._compliance = 0.0, compliance
        self._check_compliance(compliance)

    def set_compliance(self, amps: float) -> None:
        """Limit the current, A. Raises LimitError beyond the instrument's rating."""
        self._check_compliance(amps)
        self._limit(amps)
        self._compliance = amps

    def on(self) -> None:
        """Connect the output at 0 V, once the instrument says that it keeps to the compliance.

        Raises ChipError for one that keeps to another: some take a limit that is too small for them without a word.
        """
        kept = self._kept()
        if not abs(kept - self._compliance) <= self.AGREEMENT * self._compliance:
            raise ChipError(
                f"{self._name} keeps to a compliance of {kept:g} A and not to {self._compliance:g} A as it was "
                "told; its output stays off: choose a compliance in the bench file that it can keep"
            )
        self._connect()
        self._level = 0.0

    def source(self, volts: float) -> None:
        """Ramp to a voltage. Raises LimitError beyond the instrument's rating."""
        if not abs(volts) <= self._rating.volts:
            raise LimitError(f"{self._name}: {volts:g} V is beyond the {self._rating.volts:g} V of {self._model}")
        self._levels(ramp(self._level, volts, self._step))
        self._level = volts

    def measure(self) -> float:
        """Measure the current, A. Raises ChipError for an overflow."""
        amps = self._current()
        if not abs(amps) < OVERFLOW:
            raise ChipError(f"{self._name}: the current reading is out of range ({amps:g})")
        return amps

    def off(self) -> None:
        """Ramp down and disconnect."""
        self.source(0.0)
        self._disconnect()

    def idle(self) -> None:
        """Go to 0 V at once, output off: where the level stands is not known after a failure."""
        self._recover()
        self._level = 0.0

    def _check_compliance(self, amps: float) -> None:
        rating = self._rating
        if not rating.amps_min <= amps <= rating.amps:
            raise LimitError(
                f"{self._name}: a compliance of {amps:g} A is outside {rating.amps_min:g} to "
                f"{rating.amps:g} A of {self._model}"
            )

    @abc.abstractmethod
    def limiting(self) -> bool:
        """Tell whether the source is in compliance. Raises ChipError for an answer that says neither."""

    @abc.abstractmethod
    def _limit(self, amps: float) -> None:
        """Set the compliance, A."""

    @abc.abstractmethod
    def _kept(self) -> float:
        """Ask for the compliance that is kept, A."""

    @abc.abstractmethod
    def _levels(self, volts: list[float]) -> None:
        """Go through these levels, V."""

    @abc.abstractmethod
    def _connect(self) -> None:
        """Set 0 V, then switch the output on."""

    @abc.abstractmethod
    def _disconnect(self) -> None:
        """Switch the output off."""

    @abc.abstractmethod
    def _current(self) -> float:
        """Measure once, A."""

    @abc.abstractmethod
    def _recover(self) -> None:
        """Set 0 V and switch the output off, whatever happened before."""


class CommandSourceMeter(CheckedSourceMeter, Instrument, abc.ABC):
    """A SourceMeter whose commands a subclass spells."""

    RATING: ClassVar[SourceRating]

    def __init__(self, wire: Wire, channel: str, compliance: float, ramp_step: float, nplc: float) -> None:
        """Reset to 0 V with the output off.

        compliance  largest current, A
        ramp_step   largest step of the voltage, V
        nplc        integration time of a reading in power line cycles
        """
        Instrument.__init__(self, wire, channel)
        CheckedSourceMeter.__init__(self, wire.name, self.NAME, self.RATING, compliance, ramp_step)
        self.check_mode()
        wire.do_each(self.setup(compliance, nplc))

    def limiting(self) -> bool:
        """Tell whether the source is in compliance. Raises ChipError for an answer that says neither."""
        answer = self._wire.ask(self.tripped()).strip()
        if answer not in TRIPPED:
            raise ChipError(f"{self._wire.name} answered '{self.tripped()}' with {answer[:40]!r}")
        return TRIPPED[answer]

    def _limit(self, amps: float) -> None:
        self._wire.do(*self.limit(amps))

    def _kept(self) -> float:
        return self._wire.number(self.limit_kept())

    def _levels(self, volts: list[float]) -> None:
        self._wire.do(*(self.level(one) for one in volts))

    def _connect(self) -> None:
        self._wire.do(self.level(0.0), self.output(True))

    def _disconnect(self) -> None:
        self._wire.do(self.output(False))

    def _current(self) -> float:
        return self._wire.number(self.current())

    def _recover(self) -> None:
        self._wire.recover(self.level(0.0), self.output(False))

    def check_mode(self) -> None:
        """Raise LinkError when the instrument is set to a mode in which the commands mean nothing."""

    @abc.abstractmethod
    def setup(self, compliance: float, nplc: float) -> list[str]:
        """Return commands from any state to: voltage source at 0 V, output off, range that holds `compliance` (A)."""

    @abc.abstractmethod
    def limit(self, amps: float) -> list[str]:
        """Return the commands that set the compliance and the current range that holds it."""

    @abc.abstractmethod
    def limit_kept(self) -> str:
        """Return the query for the compliance that is kept, A."""

    @abc.abstractmethod
    def level(self, volts: float) -> str:
        """Return the command that sets the voltage."""

    @abc.abstractmethod
    def output(self, on: bool) -> str:
        """Return the command that switches the output."""

    @abc.abstractmethod
    def current(self) -> str:
        """Return the query that measures the current once."""

    @abc.abstractmethod
    def tripped(self) -> str:
        """Return the query whether the source is in compliance: 1 or true, 0 or false."""
