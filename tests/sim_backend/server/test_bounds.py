"""Clients that ask too much, too slowly, or in crowds: the server keeps its time and memory, and stops when told."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import hwloop
from hwloop.scpi.blocks import sealed_block
from hwloop.scpi.codes import Code, read_entry
from hwloop.sim_backend.server.bounds import ServerLimits, Work, WorkLimits
from hwloop.sim_backend.server.instrument import Instrument
from hwloop.sim_backend.server.server import serving

CHIP = "sim:pcm-ideal?rows=8&columns=8"


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5.0)


def ask(client: socket.socket, message: bytes) -> bytes:
    client.sendall(message + b"\n")
    with client.makefile("rb") as file:
        return file.readline().rstrip(b"\n")


def code_of(entry: bytes) -> int:
    return read_entry(entry.decode())[0]


# ---- one message -----------------------------------------------------------------------------------------------


def test_a_message_of_too_many_commands_is_refused_whole():
    with hwloop.connect(CHIP) as chip:
        instrument = Instrument(chip, work=WorkLimits(commands=3))
        assert instrument.process(b"CHIP:WAIT 1;WAIT 1;TIME?") == b"2.0"
        assert instrument.process(b"CHIP:WAIT 1;WAIT 1;WAIT 1;TIME?") == b""
        assert code_of(instrument.process(b"SYST:ERR?")) == Code.TOO_MUCH_DATA
        assert instrument.process(b"CHIP:TIME?") == b"2.0"


def test_no_command_begins_after_the_time_of_its_message_but_the_first_ones():
    with hwloop.connect(CHIP) as chip:
        instrument = Instrument(chip, work=WorkLimits(seconds=0.0, always=2))
        assert instrument.process(b"CHIP:WAIT 1;WAIT 1;WAIT 1") == b""
        entry = instrument.process(b"SYST:ERR?")
        assert code_of(entry) == Code.TIME_OUT
        assert b"after 2 commands" in entry
        assert instrument.process(b"CHIP:TIME?") == b"2.0"


def test_work_that_nobody_wants_ends_with_the_reason():
    asked = iter(["", "", "the client has hung up"])
    with hwloop.connect(CHIP) as chip:
        instrument = Instrument(chip)
        assert instrument.process(b"CHIP:WAIT 1;WAIT 1;WAIT 1", lambda: next(asked)) == b""
        assert b"the client has hung up" in instrument.process(b"SYST:ERR?")
        assert instrument.process(b"CHIP:TIME?") == b"2.0"


def test_what_stands_in_a_call_is_bounded_too():
    with hwloop.connect(CHIP) as chip:
        instrument = Instrument(chip, work=WorkLimits(seconds=0.0, always=2))
        instrument.process(b"LINK:OPEN? " + sealed_block(b"0123456789abcdef"))
        instrument.process(b"LINK:CALL? " + sealed_block(b"1 CHIP:WAIT 1;WAIT 1;WAIT 1"))
        assert instrument.process(b"CHIP:TIME?") == b"1.0"  # the call itself is a command


def test_time_is_counted_from_the_beginning_of_the_work():
    work = Work(WorkLimits(seconds=1e9, always=0))
    for _ in range(100):
        work.check()


# ---- clients ---------------------------------------------------------------------------------------------------


def test_a_byte_now_and_then_does_not_keep_a_message_open():
    limits = ServerLimits(message_seconds=0.4)
    with hwloop.connect(CHIP) as chip, serving(chip, limits) as port, connect(port) as client:
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            for _ in range(40):
                client.sendall(b"*")
                time.sleep(0.1)
        assert time.monotonic() - begun < 2.0
        with connect(port) as again:
            assert code_of(ask(again, b"SYST:ERR?")) == Code.TIME_OUT


def test_messages_that_end_in_time_are_no_slow_message():
    """Every message has its own time, however long the conversation takes."""
    limits = ServerLimits(message_seconds=0.4)
    with hwloop.connect(CHIP) as chip, serving(chip, limits) as port, connect(port) as client:
        for _ in range(6):
            client.sendall(b"*OP")
            time.sleep(0.1)
            assert ask(client, b"C?") == b"1"


def test_the_commands_of_a_client_that_has_gone_are_not_gone_on_with():
    limits = ServerLimits(goodbye_seconds=0.1)
    with hwloop.connect(CHIP) as chip, serving(chip, limits) as port:
        with connect(port) as client:
            client.sendall(b"READ? 0,1,100\n" * 20_000)
        begun = time.monotonic()
        with connect(port) as again:
            assert int(ask(again, b"CHIP:COUN?").split(b",")[1]) < 2_000_000
        assert time.monotonic() - begun < 2.0


def test_a_client_that_only_ends_what_it_sends_is_answered():
    with hwloop.connect(CHIP) as chip, serving(chip) as port, connect(port) as client:
        client.sendall(b"CHIP:WAIT 1;TIME?\nCHIP:TIME?\n")
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as file:
            assert file.read() == b"1.0\n1.0\n"


def test_a_client_that_reads_nothing_does_not_hold_the_server_that_stops():
    with hwloop.connect(CHIP) as chip:
        with serving(chip, ServerLimits(send_seconds=60.0)) as port:
            client = connect(port)
            client.settimeout(1.0)
            with pytest.raises(TimeoutError):  # the answers fill what there is between the two, then the questions do
                client.sendall(b"SYST:HELP:HEAD?\n" * 1_000_000)
            begun = time.monotonic()
        assert time.monotonic() - begun < 3.0
        client.close()


def test_a_client_who_comes_as_the_server_stops_is_disconnected(caplog):
    """Let in by the loop in its last turns, or never: nothing is reported, and no link is left open."""
    with hwloop.connect(CHIP) as chip:
        for _ in range(30):
            with serving(chip) as port:
                late = connect(port)
            with late, contextlib.suppress(ConnectionResetError):
                assert late.recv(1) == b""
    gc.collect()  # a link left open would warn here
    assert not caplog.records


# ---- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def server():
    command = [sys.executable, "-c", "from hwloop.cli.serve import serve; serve()", "--chip", CHIP, "--port", "0"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert started.stdout is not None
    announced = started.stdout.readline().decode()
    yield started, int(announced.split("::")[2])
    started.kill()
    started.communicate(timeout=10)


def resident(pid: int) -> int:
    """Memory of a process, bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_long_message_does_not_keep_the_server_from_stopping(server):
    process, port = server
    with connect(port) as client:
        assert ask(client, b"*OPC?") == b"1"
        client.sendall(b"READ? 0,1;" * 4000 + b"\n" + b"READ? 0,1\n" * 50_000)
        time.sleep(0.3)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 2.0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_two_hundred_connections_leave_the_memory_flat(server):
    process, port = server
    with connect(port) as first:
        assert ask(first, b"*OPC?") == b"1"
        before = resident(process.pid)
        crowd = [connect(port) for _ in range(200)]
        flood = b"*IDN?;" * 20_000

        def send(client: socket.socket) -> None:
            client.settimeout(3.0)
            with contextlib.suppress(OSError):
                client.sendall(flood)

        threads = [threading.Thread(target=send, args=(client,)) for client in crowd]
        for thread in threads:
            thread.start()
        largest = 0
        for _ in range(20):
            largest = max(largest, resident(process.pid))
            time.sleep(0.05)
        assert largest - before < 100 * 2**20
        assert ask(first, b"*OPC?") == b"1"
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 2.0
        for client, thread in zip(crowd, threads, strict=True):
            client.close()
            thread.join()
