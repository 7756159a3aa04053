"""An instrument that asks for a token: the driver proves that it knows it, and the wire does not tell it."""

from __future__ import annotations

import pytest

import hwloop
from hwloop.errors import BadInputError, LinkError
from hwloop.scpi.blocks import sealed_block
from hwloop.scpi.codes import Code, read_entry
from hwloop.scpi.token import answer
from hwloop.sim_backend.server.instrument import Instrument
from hwloop.sim_backend.server.server import serving
from tests.drivers.conftest import SMALL, resource

TOKEN = b"a token of this laboratory"


@pytest.fixture
def port():
    with hwloop.connect(SMALL) as chip, serving(chip, instrument=Instrument(chip, token=TOKEN)) as at:
        yield at


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "chip.token"
    file.touch(mode=0o600)
    file.write_bytes(TOKEN + b"\n")
    return file


def test_the_driver_proves_the_token_by_file_or_variable(port, token_file, tmp_path, monkeypatch):
    log = tmp_path / "wire.txt"
    with hwloop.connect(f"visa:{resource(port)}?token_file={token_file}&log={log}") as chip:
        assert chip.info.rows == 16
    assert TOKEN.decode() not in log.read_text()
    assert "LINK:AUTH" in log.read_text()
    monkeypatch.setenv("LAB_TOKEN", TOKEN.decode())
    with hwloop.connect(f"visa:{resource(port)}?token_env=LAB_TOKEN") as chip:
        assert chip.info.rows == 16


def test_without_the_token_nothing_is_told_but_who_is_there(port, token_file):
    with pytest.raises(LinkError, match=r"asks for a token; add \?token_file=FILE"):
        hwloop.connect(f"visa:{resource(port)}")
    token_file.write_bytes(b"the token of another instrument")
    with pytest.raises(LinkError, match="does not take this token"):
        hwloop.connect(f"visa:{resource(port)}?token_file={token_file}")


def test_both_ways_at_once_are_refused(token_file):
    with pytest.raises(BadInputError, match="either token_file or token_env"):
        hwloop.connect(f"visa:{resource(1)}?token_file={token_file}&token_env=X")


def test_an_instrument_without_a_token_takes_a_client_that_has_one(serve, token_file):
    with hwloop.connect(f"visa:{resource(serve(SMALL))}?token_file={token_file}") as chip:
        assert chip.info.rows == 16


def test_every_other_command_is_protected_until_the_answer_is_right():
    with hwloop.connect(SMALL) as chip:
        instrument = Instrument(chip, token=TOKEN)
        instrument.connected()
        for message in (b"CHIP:TIME?", b"PULS 0,SET,0,150,100", b"LINK:OPEN? " + sealed_block(b"0123456789abcdef")):
            assert instrument.process(message) == b""
            assert read_entry(instrument.process(b"SYST:ERR?").decode())[0] == Code.COMMAND_PROTECTED
        assert instrument.process(b"*IDN?").startswith(b"hwloop,")
        asked = instrument.process(b"LINK:CHAL?").decode().strip('"')
        right = answer(TOKEN, asked)
        assert instrument.process(f'LINK:AUTH? "{"0" * 64}"'.encode()) == b"0"
        assert instrument.process(f'LINK:AUTH? "{right}"'.encode()) == b"0", "a challenge is good for one try"
        again = answer(TOKEN, instrument.process(b"LINK:CHAL?").decode().strip('"'))
        assert instrument.process(f'LINK:AUTH? "{again}";:CHIP:COUN?'.encode()) == b"1;0,0,0"
        instrument.connected()
        assert instrument.process(b"CHIP:TIME?") == b"", "each connection proves it anew"
        assert instrument.process(f'LINK:AUTH? "{answer(TOKEN, "")}"'.encode()) == b"0", "no challenge, no answer"
