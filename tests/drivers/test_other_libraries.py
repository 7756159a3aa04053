"""VISA libraries other than pyvisa-py: pyvisa-sim stands for them, on resources that are no raw sockets."""

from __future__ import annotations

import time

import numpy as np
import pytest

import hwloop
from hwloop.drivers.discover import discover
from hwloop.drivers.link import _SocketGuard
from hwloop.drivers.selftest import self_test
from hwloop.errors import LinkError
from tests.drivers.conftest import SMALL

INSTRUMENTS = """
spec: "1.1"
devices:
  chip:
    eom:
      {name}:
        q: "\\n"
        r: "\\n"
    error: ERROR
    dialogues:
      - q: "*IDN?"
        r: "{identity}"
resources:
  {name_of_resource}:
    device: chip
"""


@pytest.fixture
def library(tmp_path):
    def write(name: str, identity: str) -> str:
        kind = f"{name.split('::')[0].rstrip('0')} {name.split('::')[-1]}"
        path = tmp_path / "instruments.yaml"
        path.write_text(INSTRUMENTS.format(name=kind, identity=identity, name_of_resource=name))
        return f"{path}@sim"

    return write


@pytest.mark.parametrize(
    "name", ["TCPIP0::10.0.0.1::inst0::INSTR", "GPIB0::8::INSTR", "USB0::0x1AB1::0x04CE::1::INSTR"]
)
def test_discovery_asks_message_based_resources_of_every_kind(library, name):
    (found,) = discover(library(name, "hwloop,chip of the lab,7,dialect 1.3/2.0"), timeout=1.0)
    assert found.chip
    assert found.identity == "hwloop,chip of the lab,7,dialect 1.3/2.0"


def test_another_instrument_is_named(library):
    used = library("GPIB0::8::INSTR", "KEITHLEY INSTRUMENTS INC.,MODEL 2611,1398687,1.4.2")
    with pytest.raises(LinkError, match=r"'MODEL 2611' by 'KEITHLEY INSTRUMENTS INC\.'"):
        hwloop.connect(f"visa:GPIB0::8::INSTR?visa_library={used}&timeout=1")


def test_a_library_with_timeouts_of_its_own_is_used_as_it_is(serve, open_visa, monkeypatch):
    """The driver without its look at the socket: reads and writes by VISA's own rules alone."""
    monkeypatch.setattr(_SocketGuard, "of", lambda resource: None)
    direct, chip = hwloop.connect(SMALL), open_visa(serve(SMALL))
    x = np.random.default_rng(0).integers(-127, 128, (500, 16))
    np.testing.assert_array_equal(chip.mvm(0, x), direct.mvm(0, x))
    assert all(check.passed for check in self_test(chip))


def test_such_a_library_times_out_too(scripted, open_visa, monkeypatch):
    monkeypatch.setattr(_SocketGuard, "of", lambda resource: None)
    port = scripted({b"*IDN?": b"hwloop,sim:x,1,dialect 1.0/1\n"})
    begin = time.monotonic()
    with pytest.raises(LinkError, match=r"no reply: .*Timeout"):
        open_visa(port, timeout=0.3)
    assert time.monotonic() - begin < 2.0
