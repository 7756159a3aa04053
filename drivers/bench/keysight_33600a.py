"""Keysight 33600A series waveform generators (33611A to 33622A), SCPI.

Source: Trueform Series Operating and Service Guide, SCPI programming reference.
"""

from __future__ import annotations

from hwloop.drivers.bench.instrument import text
from hwloop.drivers.bench.pulse_generator import LONGEST_PULSE, CommandPulseGenerator
from hwloop.drivers.bench.roles import PulseRating
from hwloop.drivers.bench.wire import SCPI


class Keysight33600A(CommandPulseGenerator):
    """A burst of one pulse for each *TRG; the voltage limits of the instrument guard the levels as well."""

    NAME, MAKER, MODEL, ERRORS = "Keysight 33600A", "KEYSIGHT|AGILENT", r"336[12][12]A", SCPI
    CHANNELS = ("1", "2")
    RATING = PulseRating(
        volts_min=2e-3, volts=10.0, width_min=5.0, width_max=LONGEST_PULSE, edge_min=2.9, edge_max=1000.0
    )

    def setup(self, volts_max: float, width_max: float, edge: float) -> list[str]:
        """Set a period of twice the longest pulse, so that no width conflicts with it; bursts ignore the rest of it."""
        c = self._channel
        return [
            "*RST",
            f":OUTP{c} OFF",
            f":OUTP{c}:LOAD INF",
            f":SOUR{c}:FUNC PULS",
            f":SOUR{c}:FUNC:PULS:HOLD WIDT",
            f":SOUR{c}:FUNC:PULS:WIDT 1e-07",
            f":SOUR{c}:FUNC:PULS:PER {text(2e-9 * width_max + 1e-7)}",
            f":SOUR{c}:FUNC:PULS:WIDT {text(1e-9 * width_max)}",
            f":SOUR{c}:FUNC:PULS:TRAN:BOTH {text(1e-9 * edge)}",
            f":SOUR{c}:VOLT:HIGH {text(self.RATING.volts_min)}",
            f":SOUR{c}:VOLT:LOW 0",
            f":SOUR{c}:VOLT:LIM:LOW 0",
            f":SOUR{c}:VOLT:LIM:HIGH {text(volts_max)}",
            f":SOUR{c}:VOLT:LIM:STAT ON",
            f":SOUR{c}:BURS:MODE TRIG",
            f":SOUR{c}:BURS:NCYC 1",
            f":TRIG{c}:SOUR BUS",
            f":SOUR{c}:BURS:STAT ON",
        ]

    def pulse(self, volts: float, width: float) -> list[str]:
        """Set levels in volts into an open circuit, width in seconds."""
        c = self._channel
        return [f":SOUR{c}:FUNC:PULS:WIDT {text(1e-9 * width)}", f":SOUR{c}:VOLT:HIGH {text(volts)}"]

    def fire(self) -> str:
        """Trigger by the bus."""
        return "*TRG"

    def output(self, on: bool) -> str:
        """Switch the output relay."""
        return f":OUTP{self._channel} {'ON' if on else 'OFF'}"
