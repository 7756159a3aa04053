"""Keithley 2450 SourceMeter in its SCPI command set.

Source: Model 2450 Reference Manual, SCPI command reference. The instrument must be set to SCPI
(MENU, System, Settings, Command Set), its *RST default; *LANG? is checked.
"""

from __future__ import annotations

from hwloop.drivers.bench.instrument import text
from hwloop.drivers.bench.roles import SourceRating
from hwloop.drivers.bench.source_meter import CommandSourceMeter
from hwloop.drivers.bench.wire import SCPI
from hwloop.errors import LinkError


class Keithley2450(CommandSourceMeter):
    """One channel; the output goes to high impedance when it is off."""

    NAME, MAKER, MODEL, ERRORS = "Keithley 2450", "KEITHLEY", r"MODEL 2450", SCPI
    RATING = SourceRating(volts=20.0, amps=1.0, amps_min=1e-9)

    def check_mode(self) -> None:
        """Raise LinkError when another command set is selected on the instrument."""
        language = self._wire.ask("*LANG?").strip()
        if language != "SCPI":
            raise LinkError(f"{self._wire.name} is set to the command set {language}; choose SCPI on its front panel")

    def setup(self, compliance: float, nplc: float) -> list[str]:
        """Set up a voltage source on a fixed 20 V range."""
        return [
            "*RST",
            ":SOUR:FUNC VOLT",
            ":SOUR:VOLT:RANG 20",
            ":SOUR:VOLT 0",
            ':SENS:FUNC "CURR"',
            *self.limit(compliance),
            f":SENS:CURR:NPLC {text(nplc)}",
            ":OUTP:VOLT:SMOD HIMP",
        ]

    def limit(self, amps: float) -> list[str]:
        """Set the compliance, which the measuring range follows."""
        return [f":SENS:CURR:RANG {text(amps)}", f":SOUR:VOLT:ILIM {text(amps)}"]

    def limit_kept(self) -> str:
        """Ask for the compliance, A."""
        return ":SOUR:VOLT:ILIM?"

    def level(self, volts: float) -> str:
        """Set the source level, V."""
        return f":SOUR:VOLT {text(volts)}"

    def output(self, on: bool) -> str:
        """Switch the output relay."""
        return f":OUTP {'ON' if on else 'OFF'}"

    def current(self) -> str:
        """Take one reading, A."""
        return ":MEAS:CURR?"

    def tripped(self) -> str:
        """Ask whether the current limit is in control."""
        return ":SOUR:VOLT:ILIM:TRIP?"
