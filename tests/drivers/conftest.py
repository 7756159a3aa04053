"""Emulated instruments on real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hwloop
from hwloop.chip.backend import Backend
from hwloop.drivers.visa_chip import VisaChip
from hwloop.sim_backend.server.instrument import Instrument, Sizes
from hwloop.sim_backend.server.server import ServerLimits, serving

SMALL = "sim:hermes-core?seed=3&rows=16&columns=16"

Serve = Callable[..., int]


def resource(port: int) -> str:
    return f"TCPIP::127.0.0.1::{port}::SOCKET"


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve a chip (URI or Backend) until the test ends; returns the port."""
    with contextlib.ExitStack() as stack:

        def start(chip: str | Backend, limits: ServerLimits | None = None, sizes: Sizes | None = None) -> int:
            backend = stack.enter_context(hwloop.connect(chip) if isinstance(chip, str) else chip)
            return stack.enter_context(serving(backend, limits, Instrument(backend, sizes=sizes)))

        yield start


@pytest.fixture
def open_visa() -> Iterator[Callable[..., VisaChip]]:
    """Open the driver on a port; closed when the test ends."""
    with contextlib.ExitStack() as stack:

        def connect(port: int, timeout: float = 5.0, log: Path | None = None) -> VisaChip:
            return stack.enter_context(VisaChip.open(resource(port), timeout=timeout, log=log))

        yield connect


@pytest.fixture
def scripted() -> Iterator[Callable[[dict[bytes, bytes]], int]]:
    """A socket server that answers lines from a table and is silent to all others; returns the port."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def start(answers: dict[bytes, bytes]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0.05)

        def run() -> None:
            with listener:
                while not over.is_set():
                    with contextlib.suppress(TimeoutError, ConnectionError):
                        connection, _ = listener.accept()
                        with connection:
                            converse(connection)

        def converse(connection: socket.socket) -> None:
            connection.settimeout(0.05)
            buffer = b""
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    data = connection.recv(4096)
                    if not data:
                        return
                    buffer += data
                    while b"\n" in buffer:
                        line, _, buffer = buffer.partition(b"\n")
                        if line in answers:
                            connection.sendall(answers[line])

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    over.set()
    for thread in threads:
        thread.join(5)


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
