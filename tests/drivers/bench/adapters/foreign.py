"""The emulated bench as classes of pymeasure and QCoDeS speak to it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import hwloop
from hwloop.drivers.bench.config import load
from tests.drivers.bench.emulated import (
    DUT,
    NUMBER,
    Crossbar,
    Emulated707B,
    Emulated2450,
    Emulated33600A,
    EmulatedInstrument,
    Rig,
    bench_text,
    nothing,
    serving,
)

Rules = dict[str, Callable[..., str | None]]

LAB_MAP = """
[matrix.map]
setup = ["write('channel.connectrule = channel.BREAK_BEFORE_MAKE')"]
close = ["close_only(names)"]
open_all = ["open_everything()"]
closed = "closed"
rating = { rows = "ABCDEFGH", columns = 12, slots = 6 }
model = "MODEL 707B"
"""


def understands(instrument: EmulatedInstrument, rules: Rules) -> None:
    """Let an instrument take further commands, in any case."""
    instrument._rules += [(re.compile(f"(?i){pattern}"), action) for pattern, action in rules.items()]


class Chained:
    """Takes several commands in one line, as SCPI allows, and `SYST:ERR?` however it is spelled."""

    def handle(self, line: str) -> str | None:
        answers = []
        for part in filter(None, line.split(";")):
            asked = ":SYST:ERR?" if re.fullmatch(r":?SYST(em)?:ERR(or)?\?", part, re.I) else part
            answers.append(super().handle(asked))  # type: ignore[misc]
        return next((answer for answer in answers if answer is not None), None)


class Chained2450(Chained, Emulated2450):
    def __init__(self, crossbar: Crossbar) -> None:
        super().__init__(crossbar)
        rules: Rules = {
            r":\*CLS|:stat:pres|:SOUR:FUNC (VOLT|CURR)|:SOUR:VOLT(AGE)?:RANGE? 20|:SOUR:VOLT:RANG:AUTO 0": nothing,
            r""":SENS:FUNC ('CURR'|"CURR:DC")|:OUTP:VOLT:SMOD HIMP|:SENS:CURR:RANG:AUTO 0""": nothing,
            rf":SENSe?:CURR(ENT)?:(RANGe?|NPLC|NPLCycles) {NUMBER}": nothing,
            r":SENS:FUNC\?": lambda: '"CURR:DC"',
            r":SOUR:FUNC\?": lambda: "VOLT",
            r":OUTP\?": lambda: str(int(crossbar.source_on)),
            rf":?SOUR:VOLT(?:AGE)?:ILIM {NUMBER}": self._limit,
            r":?SOUR:VOLT(AGE)?:ILIM\?": lambda *_: f"{self.compliance:.6E}",
            rf":?SOUR:VOLT(?:AGE)?(?::LEV)? {NUMBER}": self._level,
            r":?SOUR:VOLT(AGE)?\?": lambda *_: f"{crossbar.source_volts:.6E}",
            r":?OUTP(?:UT)? (ON|OFF|1|0)": lambda state: self._output({"1": "ON", "0": "OFF"}.get(state, state)),
            r":READ\?|:MEASure\? 'defbuffer1'": self._measure,
        }
        understands(self, rules)


class Chained33611A(Chained, Emulated33600A):
    """Keeps what it is told, so that it can be asked for it."""

    def __init__(self, crossbar: Crossbar) -> None:
        super().__init__(crossbar)
        self.amplitude, self.offset = 0.1, 0.0
        self.kept: dict[str, str] = {}
        rules: Rules = {
            r"\*WAI|:stat:pres|:\*CLS|:?OUTP1:LOAD INF|:?SOUR(?:ce)?1:FUNC(?:tion)? PULS": nothing,
            r":?SOUR1:FUNC:PULS:HOLD WIDT|:?SOUR1:VOLT:LOW 0(\.0*)?|TRIG(?:ger)?1:SOUR(?:ce)? BUS": nothing,
            r":?SOUR(?:ce)?1:BURS[t]?:(?:MODE TRIG|NCYC(?:les)? 1|STAT[e]? 1)": nothing,
            rf":?SOUR(?:ce)?1:FUNC(?:tion)?:PULS[E]?:(?:PER|TRAN:BOTH) {NUMBER}": nothing,
            rf":?SOUR(?:ce)?1:FUNC(?:tion)?:PULSE?:WIDT[h]? {NUMBER}": self._width,
            r":?SOUR(ce)?1:FUNC(tion)?:PULSE?:WIDT[h]?\?": lambda *_: f"{self.width:.6E}",
            rf":?SOUR1:VOLT:HIGH {NUMBER}": self._high,
            r":?SOUR1:VOLT:HIGH\?": lambda: f"{self.high:.6E}",
            rf"SOURce1:VOLTage {NUMBER}": self._amplitude,
            rf"SOURce1:VOLTage:OFFSet {NUMBER}": self._offset,
            r"SOURce1:VOLTage\?": lambda: f"{self.amplitude:.6E}",
            r"SOURce1:VOLTage:OFFSet\?": lambda: f"{self.offset:.6E}",
            r":?OUTP(?:ut)?1 (1|0)": lambda state: self._output("ON" if state == "1" else "OFF"),
        }
        understands(self, rules)

    def _amplitude(self, volts: str) -> None:
        self.amplitude = float(volts)
        self._high(str(self.offset + self.amplitude / 2))

    def _offset(self, volts: str) -> None:
        self.offset = float(volts)
        self._high(str(self.offset + self.amplitude / 2))


def foreign_text(source: str, pulser: str, matrix: str, drivers: tuple[str, str, str], timeout: float = 5.0) -> str:
    """A bench file whose instruments are classes of other packages."""
    text = bench_text(source, pulser, matrix, timeout).replace("load = 5000.0", "load = 5000.0\nedge = 8.4")
    text = text.replace("compliance = 1e-4", "compliance = 1e-4\nramp_step = 0.2")
    for own, other in zip(("keithley-2450", "keysight-33600a", "keithley-707b"), drivers, strict=True):
        text = text.replace(f'"{own}"', f'"{other}"')
    return text + LAB_MAP if "LabMatrix" in drivers[2] else text


@contextlib.contextmanager
def foreign_rig(folder: Path, drivers: tuple[str, str, str], timeout: float = 5.0, dut: str = DUT) -> Iterator[Rig]:
    """Serve the emulated bench and write a file that reaches it through these classes."""
    file = folder / "bench.toml"
    file.write_text(bench_text())
    with hwloop.connect(dut) as chip, contextlib.ExitStack() as stack:
        crossbar = Crossbar(chip, load(file))
        made = Rig(crossbar)
        made.source, made.pulser, made.matrix = Chained2450(crossbar), Chained33611A(crossbar), Emulated707B(crossbar)
        ports = [
            f"TCPIP::127.0.0.1::{stack.enter_context(serving(instrument))}::SOCKET"
            for instrument in (made.source, made.pulser, made.matrix)
        ]
        file.write_text(foreign_text(*ports, drivers, timeout))
        made.file = file
        yield made
