"""The instruments of a bench file, opened, checked for who they are, and set up idle."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Protocol

from hwloop.drivers.bench.adapters.adapted import Adapted, open_adapted
from hwloop.drivers.bench.adapters.instruments import AdaptedMatrix, AdaptedPulseGenerator, AdaptedSourceMeter
from hwloop.drivers.bench.adapters.maps import AnyMap
from hwloop.drivers.bench.adapters.packages import Place
from hwloop.drivers.bench.catalogue import PULSE_GENERATORS, SOURCE_METERS, SWITCH_MATRICES
from hwloop.drivers.bench.config import BenchFile, Matrix, Pulser, Source
from hwloop.drivers.bench.roles import PulseGenerator, SourceMeter, SwitchMatrix
from hwloop.drivers.bench.wire import ErrorQueue, Wire
from hwloop.drivers.identity import Identity
from hwloop.drivers.link import VisaLink, opener


class Connection(Protocol):
    """What leads to an instrument."""

    name: str
    identity: Identity

    @property
    def bytes_moved(self) -> int:
        """Bytes sent and received, as far as they are known."""

    def close(self) -> None:
        """Release it; safe to call twice."""


@dataclass(frozen=True)
class Instruments:
    """The three instruments of a bench, and what leads to them."""

    source: SourceMeter
    pulser: PulseGenerator
    matrix: SwitchMatrix
    connections: tuple[Connection, ...]


def open_instruments(bench: BenchFile, volts_max: float) -> Instruments:
    """Open all instruments, the matrix first, so that nothing is connected to a device before it is known.

    Parameters
    ----------
    bench
        The file.
    volts_max
        Highest level of a pulse, V into an open circuit.

    Raises
    ------
    LinkError
        For an instrument that does not answer or is another one. Whatever was opened by then is closed; setting up
        switches outputs off before anything else.
    InstrumentError
        For an instrument that refuses its settings.
    BadInputError
        For a class of another package that is not there.
    """
    with contextlib.ExitStack() as made:
        links = _Links(bench, made)
        matrix = links.matrix(bench.matrix)
        source = links.source(bench.source)
        pulser = links.pulser(bench.pulser, volts_max)
        made.pop_all()
    return Instruments(source, pulser, matrix, tuple(links.opened))


class _Links:
    """Opens what leads to the instruments; a stack closes it."""

    def __init__(self, bench: BenchFile, stack: contextlib.ExitStack) -> None:
        self.opened: list[Connection] = []
        self._bench, self._stack = bench, stack

    def matrix(self, matrix: Matrix) -> SwitchMatrix:
        own = SWITCH_MATRICES.get(matrix.driver)
        if own is not None:
            return own(self._wire("matrix", matrix, own.ERRORS))
        given = matrix.model.map
        assert given is not None
        return AdaptedMatrix(self._adapted("matrix", matrix, given, "1"), given)

    def source(self, source: Source) -> SourceMeter:
        settings = source.compliance, source.ramp_step, source.nplc
        own = SOURCE_METERS.get(source.driver)
        if own is not None:
            return own(self._wire("source", source, own.ERRORS), source.channel, *settings)
        given = source.model.map
        assert given is not None
        adapted = self._adapted("source", source, given, source.channel)
        return AdaptedSourceMeter(adapted, source.model.name, given, *settings)

    def pulser(self, pulser: Pulser, volts_max: float) -> PulseGenerator:
        settings = volts_max, self._bench.limits.width_max, pulser.edge
        own = PULSE_GENERATORS.get(pulser.driver)
        if own is not None:
            return own(self._wire("pulser", pulser, own.ERRORS), pulser.channel, *settings)
        given = pulser.model.map
        assert given is not None
        return AdaptedPulseGenerator(self._adapted("pulser", pulser, given, pulser.channel), given, *settings)

    def _wire(self, role: str, part: Source | Pulser | Matrix, errors: ErrorQueue) -> Wire:
        link, timeout, name = self._bench.link, self._bench.link.timeout, f"{role} {part.resource}"
        wire = Wire(VisaLink.open(opener(part.resource, link.visa_library), name, timeout), name, timeout, errors)
        self._keep(wire)
        return wire

    def _adapted(self, role: str, part: Source | Pulser | Matrix, given: AnyMap, channel: str) -> Adapted:
        link = self._bench.link
        place = Place(role, part.resource, link.visa_library, link.timeout, part.options)
        adapted = open_adapted(part.model.place, place, given, channel)
        self._keep(adapted)
        return adapted

    def _keep(self, connection: Connection) -> None:
        self.opened.append(connection)
        self._stack.callback(connection.close)
