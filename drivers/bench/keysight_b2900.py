"""Keysight (Agilent) B2901A to B2912A, and their B and C successors, precision source/measure units, SCPI.

Source: B2900 Series SCPI Command Reference (B2910-90030).
"""

from __future__ import annotations

from hwloop.drivers.bench.instrument import text
from hwloop.drivers.bench.roles import SourceRating
from hwloop.drivers.bench.source_meter import CommandSourceMeter
from hwloop.drivers.bench.wire import SCPI


class KeysightB2900(CommandSourceMeter):
    """Channels 1 and 2; the output goes to high impedance when it is off."""

    NAME, MAKER, MODEL, ERRORS = "Keysight B2900", "KEYSIGHT|AGILENT", r"B29[01][1-2](A|B|BL|C|CL)", SCPI
    CHANNELS = ("1", "2")
    RATING = SourceRating(volts=20.0, amps=1.5, amps_min=1e-8)

    def setup(self, compliance: float, nplc: float) -> list[str]:
        """Set up a voltage source on a fixed 20 V range; measuring does not switch the output on by itself."""
        c = self._channel
        return [
            "*RST",
            f":OUTP{c}:ON:AUTO OFF",
            f":OUTP{c}:OFF:MODE HIZ",
            f":SOUR{c}:FUNC:MODE VOLT",
            f":SOUR{c}:VOLT:RANG:AUTO OFF",
            f":SOUR{c}:VOLT:RANG 20",
            f":SOUR{c}:VOLT 0",
            f':SENS{c}:FUNC "CURR"',
            *self.limit(compliance),
            f":SENS{c}:CURR:NPLC {text(nplc)}",
        ]

    def limit(self, amps: float) -> list[str]:
        """Set the compliance, which the measuring range follows."""
        c = self._channel
        return [
            f":SENS{c}:CURR:RANG:AUTO OFF",
            f":SENS{c}:CURR:RANG {text(amps)}",
            f":SENS{c}:CURR:PROT {text(amps)}",
        ]

    def limit_kept(self) -> str:
        """Ask for the compliance, A."""
        return f":SENS{self._channel}:CURR:PROT?"

    def level(self, volts: float) -> str:
        """Set the source level, V."""
        return f":SOUR{self._channel}:VOLT {text(volts)}"

    def output(self, on: bool) -> str:
        """Switch the output relay."""
        return f":OUTP{self._channel} {'ON' if on else 'OFF'}"

    def current(self) -> str:
        """Take one spot measurement, A."""
        return f":MEAS:CURR? (@{self._channel})"

    def tripped(self) -> str:
        """Ask whether the current limit is in control."""
        return f":SENS{self._channel}:CURR:PROT:TRIP?"
