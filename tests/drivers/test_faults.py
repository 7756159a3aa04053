"""The driver behind a link that delays, drops, truncates, corrupts, duplicates, half-closes and stalls."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import hwloop
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.drivers.link import VisaLink, opener
from hwloop.drivers.visa_chip import VisaChip
from hwloop.errors import LinkError
from hwloop.scpi import arrays
from hwloop.sim_backend.server.instrument import Instrument
from hwloop.sim_backend.server.server import ServerLimits, serving
from hwloop.testing.faults import Fault, FaultProxy, Kind
from tests.drivers.conftest import SMALL, resource
from tests.drivers.link_trial import LinkTrial

TIMEOUT = 0.4
"""Seconds: long enough for a busy machine, short enough for runs that wait for it several times."""


@pytest.fixture(scope="module")
def trial() -> LinkTrial:
    return LinkTrial(SMALL, TIMEOUT)


@pytest.mark.parametrize("to_instrument", [True, False], ids=["request", "reply"])
@pytest.mark.parametrize("kind", Kind)
def test_one_fault_in_the_middle_of_a_run_changes_nothing(trial, kind, to_instrument):
    """Each kind is survived: the call is finished on a new connection, and carried out once."""
    position = trial.bytes_moved[to_instrument] // 2
    outcome = trial.run([Fault(kind, to_instrument, position, {Kind.DELAY: 0.05, Kind.DROP: 37}.get(kind, 64))])
    assert outcome.struck == 1
    assert outcome.finished, outcome.error


def test_random_faults_at_random_moments(trial):
    outcomes = [trial.random(seed, faults=2) for seed in range(8)]
    assert sum(outcome.struck for outcome in outcomes) > 8
    assert sum(outcome.finished for outcome in outcomes) > 4
    assert max(outcome.seconds for outcome in outcomes) < trial.longest_seconds


def test_faults_without_end_stop_the_run_with_a_typed_error(trial):
    """Every connection stalls in the first call after the opening: the driver gives up, in bounded time."""
    first_call = arrays.pulse_bytes(1024)
    start = trial.opening_bytes[True] + 500
    outcome = trial.run([Fault(Kind.STALL, True, start + n * (first_call + 150)) for n in range(3)])
    assert outcome.struck == 3
    assert not outcome.finished
    assert "the link failed 3 time(s)" in outcome.error
    assert outcome.seconds < trial.longest_seconds


def test_an_instrument_that_restarted_is_not_trusted(open_visa):
    with hwloop.connect(SMALL) as chip:
        instrument = Instrument(chip)
        with serving(chip, instrument=instrument) as port, FaultProxy(port) as proxy:
            client = open_visa(proxy.port, timeout=0.5)
            client.mvm(0, np.ones((1, 16), int))
            instrument._close_session()  # as a restart would
            client._session._drop()
            pulses = Pulses.make(PulseKind.RESET, [3], 200.0, 100.0)
            with pytest.raises(LinkError, match="restarted or used by someone else"):
                client.pulse(0, pulses)
        assert chip.counts.pulses == 0


def mvms_until_it_fails(chip: VisaChip) -> None:
    for _ in range(100_000):
        chip.mvm(0, np.ones((4, 16), int))


def test_a_server_killed_in_the_middle_of_a_run_is_a_link_error():
    command = [sys.executable, "-c", "from hwloop.cli.serve import serve; serve()", "--chip", SMALL, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            port = int(server.stdout.readline().decode().split("::")[2])
            with VisaChip.open(resource(port), timeout=1.0) as chip:
                threading.Timer(0.3, os.kill, (server.pid, 9)).start()
                begin = time.monotonic()
                with pytest.raises(LinkError, match="the link failed"):
                    mvms_until_it_fails(chip)
                assert time.monotonic() - begin < 5.0
        finally:
            server.kill()


def test_a_client_that_hangs_up_in_the_middle_of_a_message_leaves_the_instrument_usable(serve, open_visa):
    limits = ServerLimits(grace_seconds=1.0)
    port = serve(SMALL, limits)
    with FaultProxy(port, [Fault(Kind.TRUNCATE, True, 30)]) as proxy, pytest.raises(LinkError, match=r"127\.0\.0\.1"):
        open_visa(proxy.port, timeout=0.5)
    assert open_visa(port).counts.pulses == 0


def test_an_instrument_that_takes_no_data_does_not_hold_the_driver(open_visa, serve):
    """Megabytes to a peer that reads nothing: the socket's buffers fill up, and the write must end by its deadline."""
    port = serve("sim:pcm-90nm")
    with FaultProxy(port) as proxy:
        chip = open_visa(proxy.port, timeout=0.1)
        passes = proxy._pass
        proxy._pass = lambda *arguments: (time.sleep(0.3), passes(*arguments))[1]
        count = chip.info.devices_per_core
        pulses = Pulses.make(PulseKind.RESET, np.arange(count), 200.0, 100.0)
        begin = time.monotonic()
        with pytest.raises(LinkError, match="the link failed"):
            chip.pulse(0, pulses)
        assert time.monotonic() - begin < 12.0


@pytest.mark.parametrize("receive_buffer", [4096, 2**17, 2**22])
def test_a_write_to_a_peer_that_reads_nothing_ends_by_its_deadline(receive_buffer):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        name = resource(listener.getsockname()[1])
        for size in (10**5, 10**6, 3 * 10**7):
            link = VisaLink.open(opener(name, "@py"), name, 1.0)
            begin = time.monotonic()
            with contextlib.suppress(LinkError):  # what fits into the buffers is sent without complaint
                link.write(bytes(size), begin + 0.3)
            assert time.monotonic() - begin < 1.5
            link.close()
