"""Pulse generators: the checks that all of them pass, and what those share that take text commands."""

from __future__ import annotations

import abc
from typing import ClassVar

from hwloop.drivers.bench.instrument import Instrument
from hwloop.drivers.bench.roles import PulseRating
from hwloop.drivers.bench.wire import Wire
from hwloop.errors import LimitError

LONGEST_PULSE = 1e6
"""Pulse width, ns, that any of these drivers makes at most. The relays open when *OPC? has been answered; should a
generator answer it when the pulse begins, the exchange and the relays themselves still take longer than this."""


class CheckedPulseGenerator(abc.ABC):
    """A PulseGenerator that makes no pulse beyond its rating and what the bench may ask of it."""

    def __init__(self, name: str, rating: PulseRating, volts_max: float, width_max: float) -> None:
        """Take over what makes single pulses from 0 V on command, its output off.

        name       for messages
        volts_max  highest level this bench will ask for, V into an open circuit
        width_max  longest pulse it will ask for, ns
        """
        self._name, self._rating = name, rating
        self._volts_max, self._width_max = volts_max, width_max
        self._check(volts_max, width_max)

    def shape(self, volts: float, width: float) -> None:
        """Set height (V into an open circuit) and width (ns) of the next pulse. Raises LimitError, nothing sent."""
        self._check(volts, width)
        self._shape(volts, width)

    def _check(self, volts: float, width: float) -> None:
        rating = self._rating
        if not rating.volts_min <= volts <= min(rating.volts, self._volts_max):
            raise LimitError(
                f"{self._name}: a pulse of {volts:g} V is outside {rating.volts_min:g} to "
                f"{min(rating.volts, self._volts_max):g} V; nothing was sent"
            )
        if not rating.width_min <= width <= min(rating.width_max, self._width_max):
            raise LimitError(
                f"{self._name}: a pulse of {width:g} ns is outside {rating.width_min:g} to "
                f"{min(rating.width_max, self._width_max):g} ns; nothing was sent"
            )

    @abc.abstractmethod
    def on(self) -> None:
        """Connect the output, which rests at 0 V."""

    @abc.abstractmethod
    def trigger(self) -> None:
        """Make one pulse; returns when it is over. Never repeated."""

    @abc.abstractmethod
    def off(self) -> None:
        """Disconnect the output."""

    @abc.abstractmethod
    def idle(self) -> None:
        """Switch the output off, whatever happened before."""

    @abc.abstractmethod
    def _shape(self, volts: float, width: float) -> None:
        """Set height (V into an open circuit) and width (ns)."""


class CommandPulseGenerator(CheckedPulseGenerator, Instrument, abc.ABC):
    """A PulseGenerator whose commands a subclass spells."""

    RATING: ClassVar[PulseRating]

    def __init__(self, wire: Wire, channel: str, volts_max: float, width_max: float, edge: float) -> None:
        """Reset to single pulses from 0 V on command, with the output off.

        volts_max  highest level this bench will ask for, V into an open circuit
        width_max  longest pulse it will ask for, ns
        edge       leading and trailing edge, 10 to 90 %, ns
        """
        Instrument.__init__(self, wire, channel)
        CheckedPulseGenerator.__init__(self, wire.name, self.RATING, volts_max, width_max)
        wire.do_each(self.setup(volts_max, width_max, edge))

    def on(self) -> None:
        """Connect the output, which rests at 0 V."""
        self._wire.do(self.output(True))

    def trigger(self) -> None:
        """Make one pulse and wait for *OPC?. Never repeated: a pulse that may have been made is not made again."""
        self._wire.complete(self.fire())

    def off(self) -> None:
        """Disconnect the output."""
        self._wire.do(self.output(False))

    def idle(self) -> None:
        """Switch the output off."""
        self._wire.recover(self.output(False))

    def _shape(self, volts: float, width: float) -> None:
        self._wire.do(*self.pulse(volts, width))

    @abc.abstractmethod
    def setup(self, volts_max: float, width_max: float, edge: float) -> list[str]:
        """Return commands from any state to: one pulse from 0 V per trigger command, open-circuit volts, output off."""

    @abc.abstractmethod
    def pulse(self, volts: float, width: float) -> list[str]:
        """Return the commands that set the height (V) and the width (ns)."""

    @abc.abstractmethod
    def fire(self) -> str:
        """Return the command that triggers one pulse."""

    @abc.abstractmethod
    def output(self, on: bool) -> str:
        """Return the command that switches the output."""
