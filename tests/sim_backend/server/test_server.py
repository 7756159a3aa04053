"""The emulated instrument: what it answers, and how its server treats clients, over real sockets."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwloop
from hwloop.scpi import dialect
from hwloop.scpi.blocks import read_definite, sealed_block, unseal
from hwloop.scpi.calls import Answer, Call
from hwloop.scpi.codes import Code, read_entry
from hwloop.scpi.dialect import DIALECT
from hwloop.sim_backend.server.instrument import Instrument, Sizes
from hwloop.sim_backend.server.server import ServerLimits, serving

CHIP = "sim:pcm-ideal?rows=8&columns=8"


@pytest.fixture
def instrument():
    with hwloop.connect(CHIP) as chip:
        yield Instrument(chip)


def errors(instrument: Instrument) -> list[int]:
    found = []
    while code := read_entry(instrument.process(b"SYST:ERR?").decode())[0]:
        found.append(code)
    return found


def test_every_row_of_the_dialect_is_carried_out(instrument):
    assert set(instrument._handlers) == set(DIALECT.commands)


def test_identity_status_and_version(instrument):
    maker, model, serial, firmware = instrument.process(b"*idn?").decode().split(",")
    assert (maker, model) == ("hwloop", "sim:pcm-ideal")
    assert serial.startswith("simulated-0-")  # a chip made with options is another specimen than one without
    assert firmware.startswith(f"dialect {dialect.VERSION[0]}.{dialect.VERSION[1]}/")
    assert instrument.process(b"SYSTEM:VERSION?;:SYST:ERR:COUN?;*TST?;*OPC?") == b"1999.0;0;0;1"
    assert instrument.process(b"*ESR?") == b"128"


def test_an_error_shows_in_the_status_byte_until_it_is_read(instrument):
    instrument.process(b"*CLS;*ESE 32;*SRE 36")
    instrument.process(b"NONSENSE")
    assert int(instrument.process(b"*STB?")) == 0x04 | 0x20 | 0x40
    assert errors(instrument) == [Code.UNDEFINED_HEADER]
    assert instrument.process(b"*ESR?;*STB?") == b"32;16"
    instrument.process(b"*OPC")
    assert instrument.process(b"*ESR?") == b"1"


def test_the_first_error_ends_a_message_and_a_syntax_error_prevents_it(instrument):
    assert instrument.process(b"CHIP:WAIT 1;WAIT -1;WAIT 5;TIME?") == b""
    assert instrument.process(b"CHIP:TIME?") == b"1.0"
    assert instrument.process(b"CHIP:WAIT 1;)") == b""
    assert instrument.process(b"CHIP:TIME?") == b"1.0"
    assert errors(instrument) == [Code.OUT_OF_RANGE, Code.SYNTAX_ERROR]


def test_reset_keeps_devices_and_gives_back_the_converter_range(instrument):
    before = instrument.process(b"CONV:RANG? 0")
    instrument.process(b"PULS 0,RES,3,200,100;:CONV:RANG 0,33USIE;:DATA:APP " + sealed_block(b"x"))
    assert instrument.process(b"CONV:RANG? 0;:DATA:SIZE?") == b"33.0;1"
    instrument.process(b"*RST")
    assert instrument.process(b"CONV:RANG? 0;:DATA:SIZE?;:CHIP:COUN?") == before + b";0;1,0,0"


def test_trims_by_column_and_by_core(instrument):
    """Rounded to a quarter of an LSB and 0.4 %, as this chip's registers are."""
    assert instrument.process(b"CONV:TRIM 0,3,-1.2,0.0121;TRIM? 0,3;:CONV:TRIM:COL? 0,2") == b"-1.25,0.012;0.0,0.0"
    trims = np.zeros((2, 8))
    trims[:, 5] = 2.5, -0.04
    instrument.process(b"DATA:CLE;APP " + sealed_block(trims.tobytes()) + b";:CONV:TRIM:LOAD 0")
    assert instrument.process(b"CONV:TRIM? 0,3;:CONV:TRIM? 0,5;:DATA:SIZE?") == b"0.0,0.0;2.5,-0.04;0"
    saved = unseal(read_definite(instrument.process(b"CONV:TRIM:SAVE 0;:DATA? 0,128")))
    assert np.frombuffer(saved).reshape(2, 8) == pytest.approx(trims, abs=1e-15)
    assert not errors(instrument)


def test_reset_gives_back_the_read_mode_of_power_on():
    with hwloop.connect("sim:hermes-core?rows=8&columns=8&read_mode=one-phase") as chip:
        instrument = Instrument(chip)
        answers = instrument.process(b'MVM:MODE? 0;:MVM:MODE 0,"four-phase";MODE? 0;*RST;:MVM:MODE? 0')
        assert answers == b'"one-phase";"four-phase";"one-phase"'
        instrument.process(b'MVM:MODE 0,"two-phase"')
        assert errors(instrument) == [Code.ILLEGAL_PARAMETER]


def test_a_chip_without_read_modes_says_so(instrument):
    assert instrument.process(b"MVM:MODE? 0") == b""
    instrument.process(b'MVM:MODE 0,"four-phase"')
    assert errors(instrument) == [Code.HARDWARE_MISSING] * 2


def test_reset_gives_back_the_trims_of_power_on():
    with hwloop.connect(CHIP) as chip:
        chip.set_trims(0, np.full(8, 1.5), np.full(8, 0.008))
        instrument = Instrument(chip)
        instrument.process(b"CONV:TRIM 0,3,-4,0;TRIM 0,4,2,0.1;*RST")
        offset, gain = chip.trims(0)
    assert offset.tolist() == [1.5] * 8
    assert gain.tolist() == [0.008] * 8


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"CONV:TRIM 0,3,8.1,0", Code.OUT_OF_RANGE),
        (b"CONV:TRIM 0,3,0,-0.13", Code.OUT_OF_RANGE),
        (b"CONV:TRIM 0,8,0,0", Code.OUT_OF_RANGE),
        (b"CONV:TRIM? 0,8", Code.OUT_OF_RANGE),
        (b"CONV:TRIM? 1,0", Code.ILLEGAL_PARAMETER),
        (b"CONV:TRIM 0,3,1LSB,0", Code.SUFFIX_NOT_ALLOWED),
        (b"CONV:TRIM:LOAD 0", Code.SETTINGS_CONFLICT),
        (b"PULS 0,RES,3,501,100", Code.OUT_OF_RANGE),
        (b"PULS 0,RES,3,0,100", Code.OUT_OF_RANGE),
        (b"PULS 0,RES,3,200,19.9", Code.OUT_OF_RANGE),
        (b"PULS 0,SET,3,200,1S", Code.OUT_OF_RANGE),
        (b"PULS 0,RES,128,200,100", Code.ILLEGAL_PARAMETER),
        (b"PULS 1,RES,3,200,100", Code.ILLEGAL_PARAMETER),
        (b"PULS:FIRE 0,RES,1", Code.SETTINGS_CONFLICT),
        (b"MVM:ROW? 0,0,128", Code.OUT_OF_RANGE),
        (b"CONV:RANG 0,1e9", Code.OUT_OF_RANGE),
        (b"DATA? 0,1", Code.OUT_OF_RANGE),
        (b"MEM:STAT:LOAD", Code.ILLEGAL_PARAMETER),
        (b"LINK:CALL? " + sealed_block(b"1 *CLS"), Code.SETTINGS_CONFLICT),
    ],
)
def test_what_must_not_happen_does_not(instrument, message, code):
    instrument.process(message)
    assert errors(instrument) == [code]
    assert instrument.process(b"CHIP:COUN?;TIME?") == b"0,0,0;0.0"


# ---- sessions --------------------------------------------------------------------------------------------------

KEY = b"0123456789abcdef"


def enter(instrument: Instrument, key: bytes = KEY) -> int:
    instrument.connected()
    content = unseal(read_definite(instrument.process(b"LINK:OPEN? " + sealed_block(key))))
    assert content.startswith(key)
    return int(content.split()[1])


def call(instrument: Instrument, number: int, message: bytes) -> Answer:
    reply = instrument.process(b"LINK:CALL? " + sealed_block(Call(number, message).encode()))
    return Answer.decode(unseal(read_definite(reply)))


def test_a_call_is_carried_out_once(instrument):
    assert enter(instrument) == 0
    first = call(instrument, 1, b"PULS 0,RES,3,200,100;:CHIP:COUN?")
    assert first.response == b"1,0,0"
    assert call(instrument, 1, b"PULS 0,RES,3,200,100;:CHIP:COUN?") == first
    assert enter(instrument) == 1
    assert call(instrument, 1, b"anything") == first
    assert instrument.process(b"CHIP:COUN?") == b"1,0,0"


@pytest.mark.parametrize("number", [0, 2, 17])
def test_a_call_out_of_order_is_refused(instrument, number):
    enter(instrument)
    reply = instrument.process(b"LINK:CALL? " + sealed_block(Call(number, b"CHIP:WAIT 1").encode()))
    assert reply == b""
    assert errors(instrument) == [Code.SETTINGS_CONFLICT]
    assert instrument.process(b"CHIP:TIME?") == b"0.0"


def test_a_damaged_call_is_answered_and_not_carried_out(instrument):
    enter(instrument)
    message = bytearray(b"LINK:CALL? " + sealed_block(b"1 CHIP:WAIT 1"))
    message[-6] ^= 1
    assert Answer.decode(unseal(read_definite(instrument.process(bytes(message))))).number == 0
    assert instrument.process(b"CHIP:TIME?") == b"0.0"


def test_in_a_session_changes_come_in_calls_only(instrument):
    enter(instrument)
    instrument.process(b"CHIP:WAIT 1")
    assert errors(instrument) == [Code.COMMAND_PROTECTED]
    assert call(instrument, 1, b"CHIP:WAIT 1;TIME?").response == b"1.0"
    assert call(instrument, 2, b"LINK:CLOS").errors == 1


def test_another_client_ends_the_session(instrument):
    enter(instrument)
    call(instrument, 1, b"CHIP:WAIT 1")
    instrument.connected()
    instrument.process(b"CHIP:WAIT 1")
    assert enter(instrument) == 0


def test_the_transfer_memory_is_bounded():
    with hwloop.connect(CHIP) as chip:
        small = Instrument(chip, sizes=Sizes(memory=10))
        small.process(b"DATA:APP " + sealed_block(b"12345678"))
        small.process(b"DATA:APP " + sealed_block(b"123"))
        assert errors(small) == [Code.OUT_OF_MEMORY]
        assert small.process(b"DATA:SIZE?") == b"8"


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Program messages of real headers with parameters that are often right, sometimes damaged."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        command = draw(st.sampled_from(DIALECT.commands))
        values = []
        for parameter in command.parameters:
            good = {
                "integer": st.integers(-1, 300).map(lambda v: b"%d" % v),
                "number": st.floats(allow_nan=True, allow_infinity=True).map(lambda v: repr(v).encode()),
                "word": st.sampled_from([b"SET", b"RES", b"reset", b"FOO"]),
                "block": st.binary(max_size=40).map(sealed_block),
                "string": st.just(b'"x"'),
            }[parameter.form]
            values.append(draw(st.one_of(good, st.binary(max_size=6))))
        parts.append(command.write() + (b" " + b",".join(values) if values else b""))
    message = bytearray(b";".join(parts))
    for _ in range(draw(st.integers(0, 2))):
        message[draw(st.integers(0, len(message) - 1))] = draw(st.integers(0, 255))
    return bytes(message)


@given(st.lists(messages(), max_size=6))
@settings(max_examples=150)
def test_no_message_breaks_the_instrument_or_its_limits(batch):
    with hwloop.connect(CHIP) as chip:
        instrument = Instrument(chip)
        for message in batch:
            instrument.process(message)
        assert Code.SYSTEM_ERROR not in errors(instrument)
        assert instrument.process(b"*OPC?") == b"1"


# ---- the server ------------------------------------------------------------------------------------------------


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5.0)


def ask(client: socket.socket, message: bytes) -> bytes:
    client.sendall(message + b"\n")
    return line(client)


def line(client: socket.socket) -> bytes:
    with client.makefile("rb") as file:
        return file.readline().rstrip(b"\n")


def test_commands_may_arrive_in_any_pieces():
    with hwloop.connect(CHIP) as chip, serving(chip) as port, connect(port) as client:
        for byte in b"*IDN?;SYST:VERS?\nDATA:APP #15":
            client.sendall(bytes([byte]))
        assert line(client).endswith(b";1999.0")
        client.sendall(sealed_block(b"\n")[3:] + b"\nDATA:SIZE?\n")
        assert line(client) == b"1"


def test_a_second_client_is_told_who_is_there_and_the_first_goes_on():
    limits = ServerLimits(grace_seconds=0.1)
    with hwloop.connect(CHIP) as chip, serving(chip, limits) as port, connect(port) as first:
        assert ask(first, b"*OPC?") == b"1"
        with connect(port) as second:
            code, text = read_entry(ask(second, b"*IDN?").decode())
            assert code == Code.SETTINGS_CONFLICT
            assert text.endswith(f"busy: in use by 127.0.0.1:{first.getsockname()[1]}")
            assert second.recv(1) == b""
        assert ask(first, b"*OPC?") == b"1"


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_leaves_before_it_is_refused_is_no_event(caplog, reset):
    """Hung up or reset while it waits: the server has nothing to report, and goes on."""
    limits = ServerLimits(grace_seconds=0.2)
    with hwloop.connect(CHIP) as chip, serving(chip, limits) as port, connect(port) as first:
        assert ask(first, b"*OPC?") == b"1"
        with connect(port) as second:
            second.sendall(b"*IDN?\n")
            if reset:
                second.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        time.sleep(0.5)
        assert ask(first, b"*OPC?") == b"1"
    assert not caplog.records


def test_the_next_client_finds_the_instrument_free():
    with hwloop.connect(CHIP) as chip, serving(chip) as port:
        for _ in range(5):
            with connect(port) as client:
                assert ask(client, b"*OPC?") == b"1"


def test_a_message_too_long_ends_the_connection_and_is_in_the_queue():
    with (
        hwloop.connect(CHIP) as chip,
        serving(chip, instrument=Instrument(chip, sizes=Sizes(buffer=1000))) as port,
        connect(port) as client,
    ):
        client.sendall(b"DATA:APP #45000")
        assert client.recv(1) == b""
        with connect(port) as again:
            assert read_entry(ask(again, b"SYST:ERR?").decode())[0] == Code.TOO_MUCH_DATA


def test_a_message_begun_and_not_ended_is_given_up():
    limits = ServerLimits(message_seconds=0.1)
    with hwloop.connect(CHIP) as chip, serving(chip, limits) as port, connect(port) as client:
        client.sendall(b"DATA:APP #15ab")
        assert client.recv(1) == b""
        with connect(port) as again:
            assert read_entry(ask(again, b"SYST:ERR?").decode())[0] == Code.TIME_OUT


def test_the_rate_of_messages_is_bounded():
    limits = ServerLimits(messages_per_second=100)
    with hwloop.connect(CHIP) as chip, serving(chip, limits) as port, connect(port) as client:
        begin = time.monotonic()
        client.sendall(b"*WAI\n" * 150 + b"*OPC?\n")
        assert line(client) == b"1"
        assert time.monotonic() - begin > 0.4


@pytest.fixture
def process():
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "from hwloop.cli.serve import serve; serve()", "--chip", CHIP, *arguments]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate(timeout=10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_server_cleanly(process, tmp_path, number):
    log = tmp_path / "wire.txt"
    server = process("--port", "0", "--log", str(log))
    announced = server.stdout.readline().decode()
    port = int(announced.split("::")[2])
    with connect(port) as client:
        assert ask(client, b"*OPC?") == b"1"
        os.kill(server.pid, number)
        assert client.recv(1) == b""
    assert server.wait(10) == 0
    assert server.stderr.read() == b""
    assert [text.split()[1:] for text in log.read_text().splitlines()[1:]] == [["<", "5", "*OPC?"], [">", "1", "1"]]


def test_a_port_in_use_is_one_clear_line(process):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = process("--port", str(taken.getsockname()[1]))
        assert server.wait(20) == 3
        assert server.stderr.read().decode().startswith("error: cannot listen on 127.0.0.1:")


def test_standard_input_and_output(process):
    server = process("--stdio")
    out, err = server.communicate(b"*OPC?\nCHIP:GEOM?\nFOO\nSYST:ERR?\n", timeout=20)
    assert out == b'1\n1,8,8,1\n-113,"Undefined header;FOO"\n'
    assert err == b""


def test_the_mvm_of_one_row_reads_that_row(instrument):
    instrument.process(b"PULS 0,SET,0,150,20us")
    row = np.array(instrument.process(b"MVM:ROW? 0,0,127").decode().split(","), int)
    assert row.argmax() == 0
    assert np.ptp(row[1:]) == 0
