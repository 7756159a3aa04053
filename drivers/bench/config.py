"""The bench file: one TOML file that says which instruments there are, how they are wired, and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hwloop.chip.info import PulseLimits
from hwloop.chip.toml_files import read_toml
from hwloop.devices.model import DeviceModel
from hwloop.drivers.bench.adapters.maps import MatrixMap, PulserMap, SourceMap, check_map
from hwloop.drivers.bench.adapters.steps import Value
from hwloop.drivers.bench.catalogue import Found, pulse_generator, source_meter, switch_matrix
from hwloop.drivers.bench.roles import MatrixRating, PulseRating, SourceRating
from hwloop.drivers.bench.tables import build
from hwloop.errors import BadInputError

COMPLIANCE_MARGIN = 1.1
"""The compliance must let a device at g_max through with this margin."""
EDGE_OVER_WIDTH = 0.625
"""Edges longer than this part of the shortest pulse would leave no flat top."""


@dataclass(frozen=True)
class Source:
    """The source meter, and what it may do to a device."""

    driver: str
    resource: str
    high: str
    """Matrix row of its HI terminal."""
    low: str
    """Matrix row of its LO terminal."""
    read_voltage: float
    """Volts across a device while it is read."""
    compliance: float
    """Largest current, A."""
    channel: str = "1"
    ramp_step: float = 0.05
    """Largest step of the voltage, V."""
    nplc: float = 1.0
    """Integration time of one reading, power line cycles."""
    map: SourceMap | None = None
    """How a class of another package plays the source meter."""
    options: dict[str, Value] = field(default_factory=dict)
    """Further keyword arguments of that class."""

    @property
    def model(self) -> Found[SourceRating, SourceMap]:
        """What is known of the instrument."""
        return source_meter(self.driver, self.map)


@dataclass(frozen=True)
class Pulser:
    """The pulse generator, and how its volts become a device's current."""

    driver: str
    resource: str
    high: str
    """Matrix row of its output."""
    low: str
    """Matrix row of its shield."""
    load: float
    """Ohm between the generator's open-circuit voltage and ground during a pulse: its 50 ohm, the series resistor,
    the wires and the molten device. amplitude (A) = open-circuit voltage / load."""
    channel: str = "1"
    edge: float = 5.0
    """Leading and trailing edge, 10 to 90 %, ns."""
    map: PulserMap | None = None
    """How a class of another package plays the pulse generator."""
    options: dict[str, Value] = field(default_factory=dict)
    """Further keyword arguments of that class."""

    @property
    def model(self) -> Found[PulseRating, PulserMap]:
        """What is known of the instrument."""
        return pulse_generator(self.driver, self.map)


@dataclass(frozen=True)
class Matrix:
    """The switch matrix."""

    driver: str
    resource: str
    map: MatrixMap | None = None
    """How a class of another package plays the switch matrix."""
    options: dict[str, Value] = field(default_factory=dict)
    """Further keyword arguments of that class."""

    @property
    def model(self) -> Found[MatrixRating, MatrixMap]:
        """What is known of the instrument."""
        return switch_matrix(self.driver, self.map)


@dataclass(frozen=True)
class Array:
    """Which pins of the matrix (slot and two-digit column, such as 105) reach which lines of the crossbar."""

    row_pins: tuple[str, ...]
    """One for each row."""
    positive_pins: tuple[tuple[str, ...], ...]
    """For each device of the positive polarity, one pin for each column."""
    negative_pins: tuple[tuple[str, ...], ...]
    """The same for the negative polarity."""
    g_max: float
    """Largest conductance to program on one device, uS."""


@dataclass(frozen=True)
class Link:
    """How instruments are reached."""

    visa_library: str = "@py"
    timeout: float = 5.0
    """Seconds for each exchange."""


@dataclass(frozen=True)
class BenchFile:
    """The whole file."""

    name: str
    """What tells this array from another."""
    source: Source
    pulser: Pulser
    matrix: Matrix
    array: Array
    limits: PulseLimits
    device: DeviceModel | None = None
    link: Link = Link()


def load(path: Path) -> BenchFile:
    """Read and check a bench file; nothing is opened.

    Raises BadInputError, one line that names the file and the key, for a file that cannot be read, a key that is
    unknown or missing, a pin or row used twice, and a limit that the instruments cannot keep.
    """
    table = read_toml(path)
    try:
        bench = build(BenchFile, table, "bench file")
        _check(bench)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None
    return bench


def _check(bench: BenchFile) -> None:
    _check_instruments(bench)
    _check_pins(bench)
    _check_source(bench)
    _check_pulses(bench)
    _within("link, timeout", bench.link.timeout, 0.01, 3600.0, "s", "hwloop")


def _check_instruments(bench: BenchFile) -> None:
    source, pulser, matrix = bench.source, bench.pulser, bench.matrix
    _unique("resource", (source.resource, pulser.resource, matrix.resource))
    source.model.check_channel(source.channel)
    pulser.model.check_channel(pulser.channel)
    for role, part, channel in (
        ("source", source, source.channel),
        ("pulser", pulser, pulser.channel),
        ("matrix", matrix, "1"),
    ):
        if part.map is not None:
            check_map(part.map, channel, f"{role}, map")
        if part.options and not part.model.place[0]:
            raise BadInputError(f"{role}, options: hwloop's own drivers take none")


def _check_pins(bench: BenchFile) -> None:
    rating, array = bench.matrix.model.rating, bench.array
    columns = {len(pins) for pins in (*array.positive_pins, *array.negative_pins)}
    if not array.row_pins or columns in (set(), {0}) or len(columns) > 1:
        raise BadInputError("array: every list of pins needs as many entries as there are columns, and at least one")
    if len(array.positive_pins) != len(array.negative_pins):
        raise BadInputError("array: positive_pins and negative_pins need the same number of devices")
    pins = [*array.row_pins, *(pin for lists in (array.positive_pins, array.negative_pins) for p in lists for pin in p)]
    for pin in pins:
        match = re.fullmatch(r"(\d)(\d\d)", pin)
        if not match or not 1 <= int(match[1]) <= rating.slots or not 1 <= int(match[2]) <= rating.columns:
            raise BadInputError(
                f"array: '{pin}' is not a pin; expected slot 1 to {rating.slots} and column 01 to {rating.columns}"
            )
    _unique("array: pin", pins)
    rows = {
        "source, high": bench.source.high,
        "source, low": bench.source.low,
        "pulser, high": bench.pulser.high,
        "pulser, low": bench.pulser.low,
    }
    for key, row in rows.items():
        if len(row) != 1 or row not in rating.rows:
            raise BadInputError(f"{key}: '{row}' is not a matrix row; known: {', '.join(rating.rows)}")
    # The two LO terminals may share a row: both are at ground. A HI terminal never shares one.
    _unique("matrix row", [bench.source.high, bench.pulser.high, *{bench.source.low, bench.pulser.low}])


def _check_source(bench: BenchFile) -> None:
    source, model = bench.source, bench.source.model
    rating = model.rating
    _within("array, g_max", bench.array.g_max, 1e-6, 1e6, "uS", "hwloop")
    _within("source, read_voltage", source.read_voltage, 1e-3, rating.volts, "V", model.name)
    _within("source, compliance", source.compliance, rating.amps_min, rating.amps, "A", model.name)
    _within("source, ramp_step", source.ramp_step, 1e-3, rating.volts, "V", model.name)
    _within("source, nplc", source.nplc, 0.01, 10.0, "power line cycles", model.name)
    needed = COMPLIANCE_MARGIN * bench.array.g_max * 1e-6 * source.read_voltage
    if source.compliance < needed:
        raise BadInputError(
            f"source, compliance: {source.compliance:g} A would cut off a device at g_max; at least {needed:.3g} A"
        )


def _check_pulses(bench: BenchFile) -> None:
    pulser, limits, model = bench.pulser, bench.limits, bench.pulser.model
    rating = model.rating
    _within("pulser, load", pulser.load, 50.0, 1e9, "ohm", "hwloop")
    _within("pulser, edge", pulser.edge, rating.edge_min, rating.edge_max, "ns", model.name)
    _within("limits, width_min", limits.width_min, rating.width_min, rating.width_max, "ns", model.name)
    _within("limits, width_max", limits.width_max, limits.width_min, rating.width_max, "ns", model.name)
    _within("limits, pulses_per_device", limits.pulses_per_device, 1, 2**31 - 1, "pulses", "hwloop")
    lowest, highest = (1e6 * volts / pulser.load for volts in (rating.volts_min, rating.volts))
    where = f"{model.name} behind {pulser.load:g} ohm"
    _within("limits, amplitude_max", limits.amplitude_max, lowest, highest, "uA", where)
    if pulser.edge > EDGE_OVER_WIDTH * limits.width_min:
        raise BadInputError(
            f"pulser, edge: {pulser.edge:g} ns is more than {EDGE_OVER_WIDTH:g} of the shortest pulse, "
            f"{limits.width_min:g} ns"
        )


def _within(key: str, value: float, low: float, high: float, unit: str, whose: str) -> None:
    if not low <= value <= high:
        raise BadInputError(f"{key}: {value:g} {unit} is outside {low:g} to {high:g} {unit} ({whose})")


def _unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadInputError(f"{what} '{name}' is used twice")
        seen.add(name)
