"""A chip behind a link has one user at a time, who is named, and whose death frees it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import hwloop
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.errors import LinkError
from hwloop.sim_backend.server.server import serving
from tests.conftest import OpenChip

USE = """
import sys
import numpy as np
import hwloop
from hwloop import PulseKind, Pulses
chip = hwloop.connect(sys.argv[1])
chip.pulse(0, Pulses.make(PulseKind.RESET, np.arange(5), 200.0, 100.0))
print("connected", flush=True)
sys.stdin.read()
"""


def user_of(uri: str) -> subprocess.Popen[str]:
    """Another process that uses a chip."""
    process = subprocess.Popen(
        [sys.executable, "-c", USE, uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "connected\n"
    return process


def test_a_second_user_learns_who_has_the_chip_and_a_dead_one_frees_it(ledger_file: Path, open_chip: OpenChip) -> None:
    served = open_chip("sim:hermes-core?rows=8&columns=8&seed=11")
    with serving(served) as port:
        place = f"TCPIP::127.0.0.1::{port}::SOCKET"
        with user_of(f"visa:{place}") as process:
            # Refused before anything is sent: a device clear would disturb whoever is at work.
            with pytest.raises(LinkError, match=f"^visa:{place} is in use by process {process.pid} on .* use another"):
                hwloop.connect(f"visa:{place}?timeout=2")
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        with hwloop.connect(f"visa:{place}") as chip:
            chip.pulse(0, Pulses.make(PulseKind.RESET, [4, 5], 200.0, 100.0))
            life = hwloop.ledger(chip)
        # What the killed one had sent is in the ledger, as the chip itself counts it.
        own = served.pulse_counts(0)
        assert own.sum() == 7
        assert (life.cores[0] == own).all()
        assert life.chip.identity.endswith(f", at {place}")
        assert [session.ended == "" for session in life.sessions] == [True, True]
        assert hwloop.ledger(f"visa:{place}").sessions[1].ended
    assert not any(name.endswith(".lock") for name in os.listdir(ledger_file.parent / "locks"))


def test_one_process_cannot_have_it_twice_either(ledger_file: Path, open_chip: OpenChip) -> None:
    with serving(open_chip("sim:pcm-ideal?rows=4&columns=4")) as port:
        uri = f"visa:TCPIP::127.0.0.1::{port}::SOCKET"
        with hwloop.connect(uri), pytest.raises(LinkError, match=f"is in use by process {os.getpid()} "):
            hwloop.connect(uri)
        hwloop.connect(uri).close()


def test_a_chip_that_does_not_answer_is_free_again(ledger_file: Path) -> None:
    for _ in range(2):
        with pytest.raises(LinkError, match=r"127\.0\.0\.1") as caught:
            hwloop.connect("visa:TCPIP::127.0.0.1::1::SOCKET?timeout=1")
        assert "is in use" not in str(caught.value)
    assert not os.listdir(ledger_file.parent / "locks")


def test_simulated_chips_are_private(ledger_file: Path, open_chip: OpenChip) -> None:
    one, two = open_chip("sim:pcm-ideal?rows=4&columns=4"), open_chip("sim:pcm-ideal?rows=4&columns=4")
    assert one.now() == two.now() == 0.0
    assert not (ledger_file.parent / "locks").exists()
