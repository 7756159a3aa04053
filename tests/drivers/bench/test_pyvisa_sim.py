"""Drivers on pyvisa-sim: the same code through another VISA library, with instruments that keep their settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hwloop.drivers.bench.keithley_2600 import Keithley2600
from hwloop.drivers.bench.keysight_81160a import Keysight81160A
from hwloop.drivers.bench.keysight_b2900 import KeysightB2900
from hwloop.drivers.bench.wire import SCPI, TSP, ErrorQueue, Wire
from hwloop.drivers.link import VisaLink, opener
from hwloop.errors import InstrumentError

LIBRARY = f"{Path(__file__).with_name('instruments.yaml')}@sim"

Connect = Callable[[str, ErrorQueue], Wire]


@pytest.fixture
def connect() -> Iterator[Connect]:
    wires: list[Wire] = []

    def open_wire(resource: str, errors: ErrorQueue) -> Wire:
        wires.append(Wire(VisaLink.open(opener(resource, LIBRARY), resource, 2.0), resource, 2.0, errors))
        return wires[-1]

    yield open_wire
    for wire in wires:
        wire.close()


def test_b2900(connect: Connect):
    wire = connect("GPIB0::5::INSTR", SCPI)
    source = KeysightB2900(wire, "1", 1e-4, 0.05, 1.0)
    source.on()
    source.source(0.2)
    assert wire.number(":SOUR1:VOLT?") == 0.2
    assert wire.ask(":OUTP1?") == "ON"
    assert source.measure() == 4.999e-6
    source.idle()
    assert wire.number(":SOUR1:VOLT?") == 0
    assert wire.ask(":OUTP1?") == "OFF"
    with pytest.raises(InstrumentError, match="refused ':NONSENSE': -113"):
        wire.do(":NONSENSE")


def test_2600(connect: Connect):
    wire = connect("GPIB0::7::INSTR", TSP)
    source = Keithley2600(wire, "a", 1e-4, 0.05, 1.0)
    source.on()
    source.source(-0.2)
    assert wire.number("print(smua.source.levelv)") == -0.2
    assert source.measure() == 4.999e-6
    source.off()
    assert wire.number("print(smua.source.levelv)") == 0
    assert wire.ask("print(smua.source.output)") == "smua.OUTPUT_OFF"


def test_81160a(connect: Connect):
    wire = connect("GPIB0::6::INSTR", SCPI)
    pulser = Keysight81160A(wire, "1", 2.5, 20_000.0, 5.0)
    pulser.on()
    pulser.shape(1.3, 100.0)
    assert wire.number(":VOLT1:HIGH?") == 1.3
    pulser.trigger()
    pulser.idle()
    assert wire.ask(":OUTP1?") == "OFF"
