"""Keysight 81160A pulse function arbitrary noise generator, SCPI.

Source: 81150A and 81160A User's Guide, chapter 3 (trigger modes) and the programming reference.
"""

from __future__ import annotations

from hwloop.drivers.bench.instrument import text
from hwloop.drivers.bench.pulse_generator import LONGEST_PULSE, CommandPulseGenerator
from hwloop.drivers.bench.roles import PulseRating
from hwloop.drivers.bench.wire import SCPI

OPEN_CIRCUIT = 1e6
"""Largest load that can be stated, ohm: levels are then those into an open circuit, to 0.005 %."""


class Keysight81160A(CommandPulseGenerator):
    """Triggered mode, armed by hand: one pulse for each trigger command; the period is ignored."""

    NAME, MAKER, MODEL, ERRORS = "Keysight 81160A", "KEYSIGHT|AGILENT", r"81160A", SCPI
    CHANNELS = ("1", "2")
    RATING = PulseRating(
        volts_min=0.1, volts=5.0, width_min=1.5, width_max=LONGEST_PULSE, edge_min=1.0, edge_max=1000.0
    )

    def setup(self, volts_max: float, width_max: float, edge: float) -> list[str]:
        """State levels into an open circuit."""
        c = self._channel
        return [
            "*RST",
            f":OUTP{c} OFF",
            f":OUTP{c}:LOAD {text(OPEN_CIRCUIT)}",
            f":FUNC{c} PULS",
            f":FUNC{c}:PULS:HOLD WIDT",
            f":FUNC{c}:PULS:WIDT 1e-07",
            f":PULS:PER{c} {text(2e-9 * width_max + 1e-7)}",
            f":FUNC{c}:PULS:WIDT {text(1e-9 * width_max)}",
            f":FUNC{c}:PULS:TRAN {text(1e-9 * edge)}",
            f":ARM:SENS{c} EDGE",
            f":ARM:SOUR{c} MAN",
            f":VOLT{c}:HIGH {text(self.RATING.volts_min)}",
            f":VOLT{c}:LOW 0",
            f":VOLT{c}:LIM:LOW 0",
            f":VOLT{c}:LIM:HIGH {text(volts_max)}",
            f":VOLT{c}:LIM:STAT ON",
        ]

    def pulse(self, volts: float, width: float) -> list[str]:
        """Set levels in volts into an open circuit, width in seconds."""
        c = self._channel
        return [f":FUNC{c}:PULS:WIDT {text(1e-9 * width)}", f":VOLT{c}:HIGH {text(volts)}"]

    def fire(self) -> str:
        """Trigger this channel by hand."""
        return f":TRIG{self._channel}"

    def output(self, on: bool) -> str:
        """Switch the output relay."""
        return f":OUTP{self._channel} {'ON' if on else 'OFF'}"
