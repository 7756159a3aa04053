"""Keithley series 2600 System SourceMeter (2600, 2600A, 2600B) in TSP, its Lua dialect.

Source: Series 2600B Reference Manual, TSP command reference.
"""

from __future__ import annotations

from hwloop.drivers.bench.instrument import text
from hwloop.drivers.bench.roles import SourceRating
from hwloop.drivers.bench.source_meter import CommandSourceMeter
from hwloop.drivers.bench.wire import TSP


class Keithley2600(CommandSourceMeter):
    """Channels a and b; the output goes to high impedance when it is off."""

    NAME, MAKER, MODEL, ERRORS = "Keithley 2600 series", "KEITHLEY", r"MODEL 26[013][1-6][AB]?", TSP
    CHANNELS = ("a", "b")
    RATING = SourceRating(volts=20.0, amps=1.0, amps_min=1e-8)

    @property
    def _smu(self) -> str:
        return f"smu{self._channel}"

    def setup(self, compliance: float, nplc: float) -> list[str]:
        """Set up a voltage source on a fixed 20 V range; the other channel is left alone."""
        smu = self._smu
        return [
            f"{smu}.reset()",
            f"{smu}.source.output = {smu}.OUTPUT_OFF",
            f"{smu}.source.func = {smu}.OUTPUT_DCVOLTS",
            f"{smu}.source.rangev = 20",
            f"{smu}.source.levelv = 0",
            *self.limit(compliance),
            f"{smu}.measure.nplc = {text(nplc)}",
            f"{smu}.source.offmode = {smu}.OUTPUT_HIGH_Z",
        ]

    def limit(self, amps: float) -> list[str]:
        """Set the compliance, which the measuring range follows."""
        return [f"{self._smu}.source.limiti = {text(amps)}", f"{self._smu}.measure.rangei = {text(amps)}"]

    def limit_kept(self) -> str:
        """Ask for the compliance, A."""
        return f"print({self._smu}.source.limiti)"

    def level(self, volts: float) -> str:
        """Set the source level, V."""
        return f"{self._smu}.source.levelv = {text(volts)}"

    def output(self, on: bool) -> str:
        """Switch the output relay."""
        return f"{self._smu}.source.output = {self._smu}.OUTPUT_{'ON' if on else 'OFF'}"

    def current(self) -> str:
        """Take one reading, A."""
        return f"print({self._smu}.measure.i())"

    def tripped(self) -> str:
        """Ask whether the current limit is in control."""
        return f"print({self._smu}.source.compliance)"
