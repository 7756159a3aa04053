"""Source meters that take text commands: what they share, so that a model's driver is its commands."""

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


class CommandSourceMeter(Instrument, abc.ABC):
    """A SourceMeter whose commands a subclass spells."""

    RATING: ClassVar[SourceRating]
    AGREEMENT: ClassVar[float] = 0.02
    """Part by which the compliance that is kept may differ from the one that was set: it has steps."""

    def __init__(self, wire: Wire, channel: str, compliance: float, ramp_step: float, nplc: float) -> None:
        """Reset to 0 V with the output off.

        compliance  largest current, A
        ramp_step   largest step of the voltage, V
        nplc        integration time of a reading in power line cycles
        """
        super().__init__(wire, channel)
        self._check_compliance(compliance)
        self._step = ramp_step
        self._level, self._compliance = 0.0, compliance
        self.check_mode()
        wire.do_each(self.setup(compliance, nplc))

    def set_compliance(self, amps: float) -> None:
        """Limit the current, A. Raises LimitError beyond the instrument's rating."""
        self._check_compliance(amps)
        self._wire.do(*self.limit(amps))
        self._compliance = amps

    def on(self) -> None:
        """Connect the output at 0 V, once the instrument says that it keeps to the compliance.

        Raises ChipError for one that keeps to another: some take a limit that is too small for them without a word.
        """
        kept = self._wire.number(self.limit_kept())
        if not abs(kept - self._compliance) <= self.AGREEMENT * self._compliance:
            raise ChipError(
                f"{self._wire.name} keeps to a compliance of {kept:g} A and not to {self._compliance:g} A as it was "
                "told; its output stays off: choose a compliance in the bench file that it can keep"
            )
        self._wire.do(self.level(0.0), self.output(True))
        self._level = 0.0

    def source(self, volts: float) -> None:
        """Ramp to a voltage. Raises LimitError beyond the instrument's rating."""
        if not abs(volts) <= self.RATING.volts:
            raise LimitError(f"{self._wire.name}: {volts:g} V is beyond the {self.RATING.volts:g} V of {self.NAME}")
        self._wire.do(*(self.level(volts) for volts in ramp(self._level, volts, self._step)))
        self._level = volts

    def measure(self) -> float:
        """Measure the current, A. Raises ChipError for an overflow."""
        amps = self._wire.number(self.current())
        if not abs(amps) < OVERFLOW:
            raise ChipError(f"{self._wire.name}: the current reading is out of range ({amps:g})")
        return amps

    def limiting(self) -> bool:
        """Tell whether the source is in compliance. Raises ChipError for an answer that says neither."""
        answer = self._wire.ask(self.tripped()).strip()
        if answer not in TRIPPED:
            raise ChipError(f"{self._wire.name} answered '{self.tripped()}' with {answer[:40]!r}")
        return TRIPPED[answer]

    def off(self) -> None:
        """Ramp down and disconnect."""
        self.source(0.0)
        self._wire.do(self.output(False))

    def idle(self) -> None:
        """Go to 0 V at once, output off: where the level stands is not known after a failure."""
        self._wire.recover(self.level(0.0), self.output(False))
        self._level = 0.0

    def _check_compliance(self, amps: float) -> None:
        if not self.RATING.amps_min <= amps <= self.RATING.amps:
            raise LimitError(
                f"{self._wire.name}: a compliance of {amps:g} A is outside {self.RATING.amps_min:g} to "
                f"{self.RATING.amps:g} A of {self.NAME}"
            )

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
