"""Emulated bench instruments on real sockets, around a crossbar whose devices are a simulated chip's.

Each speaks the commands its driver may send and puts every other line into its error queue. What no instrument would
notice but a device would, such as a relay that switches under voltage, is kept in `Crossbar.violations`.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import hwloop
from hwloop.chip.backend import Backend
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.drivers.bench.config import BenchFile, load

NUMBER = r"([-+.\de]+)"
LOAD = 5000.0
DUT = "sim:pcm-90nm?rows=4&columns=4&seed=2&adc_bits=12&adc_gain_spread=0&adc_offset_spread=0&adc_noise=0"

BENCH = """
name = "emulated"

[source]
driver = "keithley-2450"
resource = "{source}"
high = "A"
low = "B"
read_voltage = 0.2
compliance = 1e-4

[pulser]
driver = "keysight-33600a"
resource = "{pulser}"
high = "C"
low = "D"
load = 5000.0

[matrix]
driver = "keithley-707b"
resource = "{matrix}"

[array]
row_pins = ["101", "102", "103", "104"]
positive_pins = [["105", "106", "107", "108"]]
negative_pins = [["201", "202", "203", "204"]]
g_max = 25.0

[limits]
amplitude_max = 500.0
width_min = 20.0
width_max = 20000.0
pulses_per_device = 10000

[link]
timeout = {timeout}

[device.curve]
g_min = 0.05
g_max = 27.5
midpoint = 260.0
steepness = 20.0
melt = 180.0
width = 100.0
midpoint_spread = 8.0
height_spread = 0.05
jitter = 1.9
noise = 0.15

[device.drift]
t0 = 20.0
g_scale = 25.0
mean = {{ form = "log-clip", slope = -0.0155, offset = 0.0244, low = 0.049, high = 0.1 }}
spread = {{ form = "log-clip", slope = -0.0125, offset = -0.0059, low = 0.008, high = 0.045 }}

[device.read_noise]
t_read = 250e-9
g_scale = 25.0
q = {{ form = "power-law", scale = 0.0088, exponent = -0.65, cap = 0.2 }}
"""


def bench_text(
    source: str = "TCPIP::127.0.0.1::1::SOCKET",
    pulser: str = "TCPIP::127.0.0.1::2::SOCKET",
    matrix: str = "TCPIP::127.0.0.1::3::SOCKET",
    timeout: float = 5.0,
) -> str:
    return BENCH.format(source=source, pulser=pulser, matrix=matrix, timeout=timeout)


class Crossbar:
    """The probe card: which device lies between which instruments, and what they do to it."""

    def __init__(self, chip: Backend, bench: BenchFile) -> None:
        self.chip, self.bench = chip, bench
        self.closed: set[str] = set()
        self.source_volts, self.source_on = 0.0, False
        self.pulser_on = False
        self.violations: list[str] = []
        self._start = time.monotonic()
        array, info = bench.array, chip.info
        self._device: dict[tuple[str, str], int] = {}
        index = 0
        for lists in (array.positive_pins, array.negative_pins):
            for pins in lists:
                for row in array.row_pins:
                    for pin in pins:
                        self._device[row, pin] = index
                        index += 1
        assert index == info.devices_per_core

    def switch(self, closed: set[str]) -> None:
        if self.source_on and self.source_volts:
            self.violations.append(f"relays switched at {self.source_volts} V")
        self.closed = closed

    def between(self, high: str, low: str) -> int | None:
        """The one device between two matrix rows, if there is a way through it."""
        ends = [[name[0] + name[2:] for name in self.closed if name[1] == row] for row in (high, low)]
        if any(len(end) > 1 for end in ends):
            self.violations.append(f"several lines at once: {sorted(self.closed)}")
        return self._device.get((ends[0][0], ends[1][0])) if all(ends) else None

    def current(self) -> float:
        device = self.between(self.bench.source.high, self.bench.source.low)
        if device is None or not self.source_on:
            return 0.0
        self._let_time_pass()
        return float(self.chip.read(0, [device])[0]) * 1e-6 * self.source_volts

    def pulse(self, volts: float, width: float) -> None:
        device = self.between(self.bench.pulser.high, self.bench.pulser.low)
        if device is None or not self.pulser_on:
            self.violations.append("a pulse into nothing")
            return
        self._let_time_pass()
        amplitude = round(1e6 * volts / LOAD, 6)
        model = self.chip.info.device_model
        assert model is not None
        kind = PulseKind.RESET if amplitude >= model.curve.melt else PulseKind.SET
        self.chip.pulse(0, Pulses.make(kind, [device], amplitude, round(1e9 * width, 6)))

    def _let_time_pass(self) -> None:
        behind = time.monotonic() - self._start - self.chip.now()
        if behind > 0:
            self.chip.wait(behind)


class EmulatedInstrument:
    """Lines in, lines out, by a table of patterns; everything that came in is kept in `heard`."""

    def __init__(self, rules: dict[str, Callable[..., str | None]], refusal: str, silence: str, query: str) -> None:
        self._rules = [(re.compile(pattern), action) for pattern, action in rules.items()]
        self._refusal, self._silence, self._query = refusal, silence, query
        self.errors: deque[str] = deque(maxlen=16)
        self.heard: list[str] = []
        self.mute_after: int | None = None
        """Stop answering after this many lines."""

    def handle(self, line: str) -> str | None:
        self.heard.append(line)
        if self.mute_after is not None and len(self.heard) > self.mute_after:
            return None
        if line == self._query:
            return self.errors.popleft() if self.errors else self._silence
        for pattern, action in self._rules:
            if match := pattern.fullmatch(line):
                return action(*match.groups())
        self.errors.append(self._refusal)
        return None


class ScpiInstrument(EmulatedInstrument):
    def __init__(self, identity: str, rules: dict[str, Callable[..., str | None]]) -> None:
        common: dict[str, Callable[..., str | None]] = {
            r"\*IDN\?": lambda: identity,
            r"\*OPC\?": lambda: "1",
            r"\*CLS": self._clear,
        }
        super().__init__(common | rules, '-113,"Undefined header"', '+0,"No error"', ":SYST:ERR?")

    def _clear(self) -> None:
        self.errors.clear()


class TspInstrument(EmulatedInstrument):
    def __init__(self, identity: str, rules: dict[str, Callable[..., str | None]]) -> None:
        common: dict[str, Callable[..., str | None]] = {
            r"\*IDN\?": lambda: identity,
            r"\*OPC\?": lambda: "1",
            r"errorqueue\.clear\(\)": self._clear,
        }
        refusal = "-2.85000e+02\tTSP Syntax error at line 1\t2.00000e+01\t1.00000e+00"
        silence = "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00"
        super().__init__(common | rules, refusal, silence, "print(errorqueue.next())")

    def _clear(self) -> None:
        self.errors.clear()


def nothing(*_: str) -> None:
    """A setting that the emulated crossbar does not feel."""


class Emulated2450(ScpiInstrument):
    def __init__(self, crossbar: Crossbar) -> None:
        self.crossbar = crossbar
        self.compliance = 1e-4
        self.limiting = False
        """Whether the last reading was held back."""
        rules: dict[str, Callable[..., str | None]] = {
            r"\*RST": lambda: self._output("OFF"),
            r"\*LANG\?": lambda: "SCPI",
            r":SOUR:FUNC VOLT|:SOUR:VOLT:RANG 20|:SENS:FUNC \"CURR\"|:OUTP:VOLT:SMOD HIMP": nothing,
            rf":SENS:CURR:(?:RANG|NPLC) {NUMBER}": nothing,
            rf":SOUR:VOLT:ILIM {NUMBER}": self._limit,
            rf":SOUR:VOLT {NUMBER}": self._level,
            r":SOUR:VOLT:ILIM\?": lambda: f"{self.compliance:.6E}",
            r":OUTP (ON|OFF)": self._output,
            r":MEAS:CURR\?": self._measure,
            r":SOUR:VOLT:ILIM:TRIP\?": lambda: str(int(self.limiting)),
        }
        super().__init__("KEITHLEY INSTRUMENTS,MODEL 2450,01234567,1.7.0d", rules)

    def _limit(self, amps: str) -> None:
        self.compliance = float(amps)

    def _level(self, volts: str) -> None:
        self.crossbar.source_volts = float(volts)

    def _output(self, state: str) -> None:
        if state == "OFF" and self.crossbar.source_on and self.crossbar.source_volts:
            self.crossbar.violations.append("output switched off under voltage")
        self.crossbar.source_on = state == "ON"

    def _measure(self) -> str:
        amps = self.crossbar.current()
        self.limiting = abs(amps) >= self.compliance
        return f"{max(-self.compliance, min(amps, self.compliance)):.6E}"


class Emulated33600A(ScpiInstrument):
    def __init__(self, crossbar: Crossbar) -> None:
        self.crossbar = crossbar
        self.high, self.width, self.limit = 0.1, 1e-4, 10.0
        self.pulses: list[tuple[float, float]] = []
        settings = r":OUTP1:LOAD INF|:SOUR1:FUNC PULS|:SOUR1:FUNC:PULS:HOLD WIDT|:SOUR1:VOLT:LOW 0"
        settings += r"|:SOUR1:VOLT:LIM:LOW 0|:SOUR1:VOLT:LIM:STAT ON|:SOUR1:BURS:MODE TRIG|:SOUR1:BURS:NCYC 1"
        settings += r"|:TRIG1:SOUR BUS|:SOUR1:BURS:STAT ON|\*RST"
        rules: dict[str, Callable[..., str | None]] = {
            settings: nothing,
            rf":SOUR1:FUNC:PULS:(?:PER|TRAN:BOTH) {NUMBER}": nothing,
            rf":SOUR1:FUNC:PULS:WIDT {NUMBER}": self._width,
            rf":SOUR1:VOLT:LIM:HIGH {NUMBER}": self._limit,
            rf":SOUR1:VOLT:HIGH {NUMBER}": self._high,
            r":OUTP1 (ON|OFF)": self._output,
            r"\*TRG": self._trigger,
        }
        super().__init__("Keysight Technologies,33611A,MY50000001,A.02.03-3.15-03-64-02", rules)

    def _width(self, seconds: str) -> None:
        self.width = float(seconds)

    def _limit(self, volts: str) -> None:
        self.limit = float(volts)

    def _high(self, volts: str) -> None:
        if self.crossbar.closed:
            self.crossbar.violations.append("the pulse level changed with a device connected")
        if float(volts) > self.limit:
            self.errors.append('-222,"Data out of range; value clipped to upper limit"')
            return
        self.high = float(volts)

    def _output(self, state: str) -> None:
        self.crossbar.pulser_on = state == "ON"

    def _trigger(self) -> None:
        self.pulses.append((self.high, self.width))
        self.crossbar.pulse(self.high, self.width)


class Emulated707B(TspInstrument):
    def __init__(self, crossbar: Crossbar) -> None:
        self.crossbar = crossbar
        self.stuck_open = False
        rules: dict[str, Callable[..., str | None]] = {
            r'channel\.open\("allslots"\)': lambda: crossbar.switch(set()),
            r"channel\.connectrule = channel\.BREAK_BEFORE_MAKE": nothing,
            r'channel\.exclusiveclose\("([1-6A-H0-9,]+)"\)': self._close,
            r'print\(channel\.getclose\("allslots"\)\)': lambda: ";".join(sorted(crossbar.closed)) or "nil",
        }
        super().__init__("Keithley Instruments Inc., Model 707B, 1234567, 1.30", rules)

    def _close(self, names: str) -> None:
        self.crossbar.switch(set() if self.stuck_open else set(names.split(",")))


class Rig:
    """The three instruments, served, and the bench file that finds them."""

    def __init__(self, crossbar: Crossbar) -> None:
        self.crossbar = crossbar
        self.source = Emulated2450(crossbar)
        self.pulser = Emulated33600A(crossbar)
        self.matrix = Emulated707B(crossbar)
        self.file = Path()

    @property
    def idle(self) -> bool:
        """Nothing is on and every relay is open."""
        here = self.crossbar
        return not (here.source_on or here.pulser_on or here.closed) and here.source_volts == 0


@contextlib.contextmanager
def rig(folder: Path, timeout: float = 5.0, dut: str = DUT) -> Iterator[Rig]:
    """Serve a bench from threads of this process until the `with` ends."""
    file = folder / "bench.toml"
    file.write_text(bench_text())
    with hwloop.connect(dut) as chip, contextlib.ExitStack() as stack:
        made = Rig(Crossbar(chip, load(file)))
        ports = {
            name: f"TCPIP::127.0.0.1::{stack.enter_context(serving(instrument))}::SOCKET"
            for name, instrument in (("source", made.source), ("pulser", made.pulser), ("matrix", made.matrix))
        }
        file.write_text(bench_text(**ports, timeout=timeout))
        made.file = file
        yield made


@contextlib.contextmanager
def serving(instrument: EmulatedInstrument) -> Iterator[int]:
    """Answer lines on a free port of 127.0.0.1, one client after the other."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.02)

        def run() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError, ConnectionError):
                    client, _ = listener.accept()
                    with client:
                        client.settimeout(0.02)
                        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        _converse(client, instrument, over)

        thread = threading.Thread(target=run, name=type(instrument).__name__)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            thread.join(5)


def _converse(client: socket.socket, instrument: EmulatedInstrument, over: threading.Event) -> None:
    buffer = b""
    while not over.is_set():
        with contextlib.suppress(TimeoutError):
            data = client.recv(4096)
            if not data:
                return
            buffer += data
        while b"\n" in buffer:
            line, _, buffer = buffer.partition(b"\n")
            if (answer := instrument.handle(line.decode())) is not None:
                client.sendall(answer.encode() + b"\n")
