"""A crossbar on a probe card as a backend: `bench:bench.toml`.

Devices are reached one at a time through the switch matrix, read by the source meter and pulsed by the generator.
There is no MVM: with one source meter it would be nothing but arithmetic on device reads, which the caller can do.
`docs/bench.md` explains the file and the wiring.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwloop.chip.backend import Backend
from hwloop.chip.driver import Settings
from hwloop.chip.info import Capability, ChipInfo, Parameter
from hwloop.chip.pulses import Pulses
from hwloop.chip.registry import Scheme
from hwloop.drivers.bench.config import BenchFile, load
from hwloop.drivers.bench.opening import Instruments, open_instruments
from hwloop.errors import BadInputError, ChipError, HwloopError, LimitError
from hwloop.typing import FloatArray, IndexArray

LOG = logging.getLogger(__name__)
LIMITED_FROM = 0.9
"""A reading at compliance is at least this part of it."""
NOMINAL_BITS = 8
"""Bits stated for converters that a bench does not have: uniform test inputs are drawn with this resolution."""


class BenchChip(Backend):
    """The backend. Between operations every relay is open, the source at 0 V, the generator's output off."""

    def __init__(self, bench: BenchFile, instruments: Instruments) -> None:
        """Use instruments that are set up and idle; what leads to them is closed with the backend."""
        super().__init__(_describe(bench))
        self._bench, self._connections = bench, instruments.connections
        self._source, self._pulser, self._matrix = instruments.source, instruments.pulser, instruments.matrix
        self._start = time.monotonic()
        self._failure, self._told_unsafe = "", False
        self._limited: set[int] = set()
        self._volts_min = bench.pulser.model.rating.volts_min
        array = bench.array
        self._lines = np.array([array.positive_pins, array.negative_pins])

    @classmethod
    def open(cls, bench: BenchFile) -> BenchChip:
        """Connect to all instruments, check who they are, and set them up idle. Raises as `open_instruments`."""
        made = open_instruments(bench, _volts(bench, bench.limits.amplitude_max))
        return cls(bench, made)

    def _snapshot(self) -> Settings:
        """Return the bench file's settings and the instruments that answered."""
        bench, found = self._bench, {one.name.split()[0]: one.identity for one in self._connections}
        identities = {
            f"{role}.identity": f"{i.maker},{i.model},{i.serial},{i.firmware}" for role, i in sorted(found.items())
        }
        sections = {"source": bench.source, "pulser": bench.pulser, "matrix": bench.matrix, "limits": bench.limits}
        settings = {f"{name}.{key}": value for name, part in sections.items() for key, value in _flat(vars(part))}
        limited = ",".join(map(str, sorted(self._limited)))
        return {"name": bench.name, **settings, **identities, "devices_at_compliance": limited}

    def _parameters(self) -> list[Parameter]:
        """Return what the bench adds to `info`."""
        return _settings(self._bench)

    # ---- the contract's hooks -------------------------------------------------------------------------------

    def _refuse_pulse(self, pulses: Pulses) -> None:
        """Raise LimitError for an amplitude too small for the generator."""
        if _volts(self._bench, float(pulses.amplitude.min())) < self._volts_min:
            raise LimitError(
                f"the pulse generator makes no pulse below {1e6 * self._volts_min / self._bench.pulser.load:.3g} uA "
                f"({self._volts_min:g} V); nothing was sent"
            )

    def _pulse(self, core: int, pulses: Pulses) -> None:
        volts = [_volts(self._bench, amplitude) for amplitude in pulses.amplitude.tolist()]
        with self._guarded():
            self._pulser.on()
            for device, height, width in zip(pulses.devices.tolist(), volts, pulses.width.tolist(), strict=True):
                # A generator may glitch while it changes its level: no device is connected then.
                self._matrix.open_all()
                self._pulser.shape(height, width)
                self._matrix.connect(self._path(device, self._bench.pulser.high, self._bench.pulser.low))
                self._pulser.trigger()
            self._matrix.open_all()
            self._pulser.off()

    def _read(self, core: int, devices: IndexArray, averages: int) -> FloatArray:
        values = np.empty(len(devices))
        if not len(devices):
            return values
        volts = self._bench.source.read_voltage
        with self._guarded():
            self._source.on()
            for number, device in enumerate(devices.tolist()):
                # Relays switch at 0 V alone: hot switching would put a spike on the device.
                self._matrix.connect(self._path(device, self._bench.source.high, self._bench.source.low))
                self._source.source(volts)
                amps = sum(self._source.measure() for _ in range(averages)) / averages
                if self._source.limiting():
                    self._note_limited(device, amps)
                values[number] = 1e6 * amps / volts
                self._source.source(0.0)
            self._matrix.open_all()
            self._source.off()
        return values

    def _note_limited(self, device: int, amps: float) -> None:
        """Note a device that the compliance holds back: it conducts at least what it reads, the full scale.

        Raises ChipError when the current is not at the compliance: then the source holds back for another reason,
        an oscillation or a wrong range, and the reading is none.
        """
        compliance = self._bench.source.compliance
        if abs(amps) < LIMITED_FROM * compliance:
            raise ChipError(
                f"device {device}: the source meter reports that it limits the current, at {amps:.3g} A of the allowed "
                f"{compliance:g} A: look for an oscillation or a bad contact"
            )
        if device not in self._limited:
            LOG.warning(
                "device %d is held at the compliance of %g A: a short, or a compliance too low", device, compliance
            )
            self._limited.add(device)

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def _adc_range(self, core: int) -> float:
        return self.info.adc_range[1]

    def _close(self) -> None:
        problems = self._make_safe()
        for connection in self._connections:
            connection.close()
        if problems and self._told_unsafe:
            raise ChipError("the bench still could not be made safe when it was closed, switch it off by hand")
        if problems:
            raise ChipError(_unsafe(problems))

    def _link_bytes(self) -> int:
        return sum(one.bytes_moved for one in self._connections)

    # ---- safety ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Whatever goes wrong inside, Ctrl-C included, leaves the bench idle; after that it takes no operation."""
        if self._failure:
            raise ChipError(f"the bench was stopped after a failure ({self._failure}); close it and connect again")
        try:
            yield
        except BaseException as error:
            self._failure = str(error) or type(error).__name__
            if problems := self._make_safe():
                self._failure, self._told_unsafe = f"{self._failure}; {_unsafe(problems)}", True
                raise ChipError(self._failure) from error
            raise

    def _make_safe(self) -> list[str]:
        """Switch source and generator off and open all relays, whatever fails; return what failed."""
        problems = []
        steps: tuple[Callable[[], None], ...] = (self._source.idle, self._pulser.idle, self._matrix.idle)
        for step in steps:
            try:
                step()
            except HwloopError as error:
                problems.append(str(error))
        return problems

    def _path(self, device: int, high: str, low: str) -> list[str]:
        """Return the crosspoints that put a device, by flat index, between two matrix rows: its row line at `high`."""
        polarity, k, row, column = np.unravel_index(device, self.info.device_shape)
        return _crosspoints(self._bench.array.row_pins[int(row)], high, str(self._lines[polarity, k, column]), low)


def open_bench(target: str, query: Mapping[str, str]) -> BenchChip:
    """Open `bench:FILE`. Raises BadInputError for a file that cannot be used, or any option."""
    return BenchChip.open(_file(target, query))


def describe_bench(target: str, query: Mapping[str, str]) -> tuple[ChipInfo, list[Parameter]]:
    """Tell what `bench:FILE` would open, and how its first device is reached. Raises BadInputError as `open_bench`."""
    bench = _file(target, query)
    source, pulser, array = bench.source, bench.pulser, bench.array
    first = array.row_pins[0], array.positive_pins[0][0]
    read = _crosspoints(first[0], source.high, first[1], source.low)
    pulse = _crosspoints(first[0], pulser.high, first[1], pulser.low)
    rows = [
        ("source.instrument", f"{source.model.name} at {source.resource}, channel {source.channel}"),
        ("pulser.instrument", f"{pulser.model.name} at {pulser.resource}, channel {pulser.channel}"),
        ("matrix.instrument", f"{bench.matrix.model.name} at {bench.matrix.resource}"),
        ("first device, read", f"closes {' and '.join(read)}"),
        ("first device, pulsed", f"closes {' and '.join(pulse)}"),
        ("link.visa_library", bench.link.visa_library),
    ]
    highest = Parameter("pulser.highest", _volts(bench, bench.limits.amplitude_max), "V, open circuit", BENCH_FILE)
    told = [Parameter(name, value, "", BENCH_FILE) for name, value in rows]
    return _describe(bench), [*told, *_settings(bench), highest]


def _file(target: str, query: Mapping[str, str]) -> BenchFile:
    if query:
        raise BadInputError(f"unknown option '{min(query)}' of bench:; everything is set in the file")
    if not target:
        raise BadInputError("bench: needs a file, such as bench:bench.toml")
    return load(Path(target))


SCHEME = Scheme(
    open_bench,
    "a crossbar behind a source meter, a pulse generator and a switch matrix: bench:bench.toml",
    describe=describe_bench,
)
BENCH_FILE = "bench file"
"""Where the settings of a bench come from."""


def _settings(bench: BenchFile) -> list[Parameter]:
    """List the numbers of a bench file that reads and pulses depend on."""
    source, pulser = bench.source, bench.pulser
    rows = (
        ("source.read_voltage", source.read_voltage, "V"),
        ("source.compliance", source.compliance, "A"),
        ("source.nplc", source.nplc, "power line cycles"),
        ("pulser.load", pulser.load, "ohm"),
        ("pulser.edge", pulser.edge, "ns"),
    )
    return [Parameter(name, value, unit, BENCH_FILE) for name, value, unit in rows]


def _crosspoints(row_pin: str, high: str, line_pin: str, low: str) -> list[str]:
    """Return the crosspoints that put the device between two pins between two matrix rows."""
    return [f"{pin[0]}{matrix_row}{pin[1:]}" for pin, matrix_row in ((row_pin, high), (line_pin, low))]


def _flat(part: Mapping[str, Any]) -> Iterator[tuple[str, str | int | float | bool]]:
    """List the settings of a section, those of its maps and options each by its own name."""
    for key, value in part.items():
        if isinstance(value, Mapping) or dataclasses.is_dataclass(value):
            inner = value if isinstance(value, Mapping) else vars(value)
            yield from ((f"{key}.{name}", one) for name, one in _flat(inner))
        elif isinstance(value, tuple):
            yield key, "; ".join(value)
        elif value is not None:
            yield key, value


def _volts(bench: BenchFile, amplitude: float) -> float:
    """Return the open-circuit volts of a pulse of `amplitude` uA through the load."""
    return 1e-6 * amplitude * bench.pulser.load


def _unsafe(problems: list[str]) -> str:
    return f"the bench could not be made safe, switch it off by hand: {'; '.join(problems)}"


def _describe(bench: BenchFile) -> ChipInfo:
    array, source = bench.array, bench.source
    full_scale = 1e6 * source.compliance / source.read_voltage
    return ChipInfo(
        name="bench",
        serial=bench.name,
        cores=1,
        rows=len(array.row_pins),
        columns=len(array.positive_pins[0]),
        devices_per_polarity=len(array.positive_pins),
        input_bits=NOMINAL_BITS,
        output_bits=NOMINAL_BITS,
        g_max=array.g_max,
        read_voltage=source.read_voltage,
        adc_range=(full_scale, full_scale),
        limits=bench.limits,
        capabilities=frozenset({Capability.DEVICE_READ}),
        device_model=bench.device,
    )
