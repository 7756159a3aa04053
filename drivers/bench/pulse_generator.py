"""Pulse generators that take text commands: what they share, so that a model's driver is its commands."""

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


class CommandPulseGenerator(Instrument, abc.ABC):
    """A PulseGenerator whose commands a subclass spells."""

    RATING: ClassVar[PulseRating]

    def __init__(self, wire: Wire, channel: str, volts_max: float, width_max: float, edge: float) -> None:
        """Reset to single pulses from 0 V on command, with the output off.

        volts_max  highest level this bench will ask for, V into an open circuit
        width_max  longest pulse it will ask for, ns
        edge       leading and trailing edge, 10 to 90 %, ns
        """
        super().__init__(wire, channel)
        self._volts_max, self._width_max = volts_max, width_max
        self._check(volts_max, width_max)
        wire.do_each(self.setup(volts_max, width_max, edge))

    def on(self) -> None:
        """Connect the output, which rests at 0 V."""
        self._wire.do(self.output(True))

    def shape(self, volts: float, width: float) -> None:
        """Set height (V into an open circuit) and width (ns) of the next pulse. Raises LimitError, nothing sent."""
        self._check(volts, width)
        self._wire.do(*self.pulse(volts, width))

    def trigger(self) -> None:
        """Make one pulse and wait for *OPC?. Never repeated: a pulse that may have been made is not made again."""
        self._wire.complete(self.fire())

    def off(self) -> None:
        """Disconnect the output."""
        self._wire.do(self.output(False))

    def idle(self) -> None:
        """Switch the output off."""
        self._wire.recover(self.output(False))

    def _check(self, volts: float, width: float) -> None:
        rating = self.RATING
        if not rating.volts_min <= volts <= min(rating.volts, self._volts_max):
            raise LimitError(
                f"{self._wire.name}: a pulse of {volts:g} V is outside {rating.volts_min:g} to "
                f"{min(rating.volts, self._volts_max):g} V; nothing was sent"
            )
        if not rating.width_min <= width <= min(rating.width_max, self._width_max):
            raise LimitError(
                f"{self._wire.name}: a pulse of {width:g} ns is outside {rating.width_min:g} to "
                f"{min(rating.width_max, self._width_max):g} ns; nothing was sent"
            )

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
