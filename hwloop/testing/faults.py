"""A TCP proxy that spoils what passes through it: delays, drops, truncates, corrupts, duplicates, half-closes, stalls.

For tests of drivers: put it between a driver and the emulated instrument and let the faults fall where they may.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self

import numpy as np


class Kind(enum.Enum):
    """What happens to the bytes."""

    DELAY = "delay"
    """They come late, all of them."""
    DROP = "drop"
    """Some never come, the ones after them do."""
    TRUNCATE = "truncate"
    """They never come, and the connection is closed."""
    CORRUPT = "corrupt"
    """One of them is another."""
    DUPLICATE = "duplicate"
    """They come twice."""
    HALF_CLOSE = "half-close"
    """They never come, and this direction of the connection is closed while the other stays open."""
    STALL = "stall"
    """They and all after them on this connection never come; nothing is closed."""


@dataclass(frozen=True)
class Fault:
    """One fault: it strikes at the byte number `position` of the client's or the instrument's stream.

    to_instrument  the direction
    position       bytes that pass in that direction before it, over all connections
    amount         seconds for DELAY, a number of bytes for DROP, the value a byte is XORed with for CORRUPT
    """

    kind: Kind
    to_instrument: bool
    position: int
    amount: float = 1.0


def random_faults(rng: np.random.Generator, count: int, sent: int, received: int, delay: float) -> list[Fault]:
    """Draw faults of random kinds at random moments of a run that moves that many bytes in each direction.

    delay: longest DELAY in seconds.
    """
    faults = []
    for _ in range(count):
        kind = list(Kind)[rng.integers(len(Kind))]
        to_instrument = bool(rng.integers(2))
        position = int(rng.integers(sent if to_instrument else received))
        amount = rng.uniform(0, delay) if kind is Kind.DELAY else float(rng.integers(1, 256))
        faults.append(Fault(kind, to_instrument, position, amount))
    return faults


class FaultProxy:
    """Listens on a port of 127.0.0.1 and passes connections on to another; use it with `with`."""

    PIECE: ClassVar[int] = 2**16
    """Bytes passed on at a time."""
    POLL_SECONDS: ClassVar[float] = 0.05
    """Seconds after which a waiting thread looks whether the proxy is closed."""

    def __init__(self, target: int, faults: Sequence[Fault] = ()) -> None:
        """Listen for `target`, the port of the instrument on 127.0.0.1."""
        self._target = target
        self._pending = {
            direction: sorted((f for f in faults if f.to_instrument is direction), key=lambda f: f.position)
            for direction in (True, False)
        }
        self.passed = {True: 0, False: 0}
        """Bytes taken in so far, to the instrument and from it."""
        self.struck: list[Fault] = []
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(self.POLL_SECONDS)
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(5.0)
        self._listener.close()

    def cut(self) -> None:
        """Pull the cable: nothing passes any more, on this connection or a new one."""
        self._over.set()

    def _start(self, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                self._start(functools.partial(self._connection, client))

    def _connection(self, client: socket.socket) -> None:
        try:
            instrument = socket.create_connection(("127.0.0.1", self._target), 5.0)
        except OSError:
            client.close()
            return
        with client, instrument:
            for end in (client, instrument):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            broken = threading.Event()
            pumps = [
                self._start(functools.partial(self._pump, client, instrument, True, broken)),
                self._start(functools.partial(self._pump, instrument, client, False, broken)),
            ]
            for pump in pumps:
                pump.join()

    def _pump(self, source: socket.socket, sink: socket.socket, to_instrument: bool, broken: threading.Event) -> None:
        """Pass one direction on until either end is gone."""
        stalled = False
        try:
            while not self._over.is_set() and not broken.is_set():
                if not select.select([source], [], [], self.POLL_SECONDS)[0]:
                    continue
                data = source.recv(self.PIECE)
                if not data or self._over.is_set():
                    break
                stalled = self._pass(data, sink, to_instrument, stalled)
        except OSError:
            pass  # either end closed the connection, or a fault did
        finally:
            broken.set()
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _pass(self, data: bytes, sink: socket.socket, to_instrument: bool, stalled: bool) -> bool:
        """Send data on with the faults that fall into it; whether the direction is stalled from now on."""
        pending = self._pending[to_instrument]
        start = self.passed[to_instrument]
        self.passed[to_instrument] += len(data)
        while pending and pending[0].position < start + len(data):
            fault = pending.pop(0)
            at = max(0, fault.position - start)
            self.struck.append(fault)
            if not stalled:
                sink.sendall(data[:at])
            rest = data[at:]
            start += at
            match fault.kind:
                case Kind.DELAY:
                    time.sleep(fault.amount)
                case Kind.DROP:
                    start += min(len(rest), int(fault.amount))
                    rest = rest[int(fault.amount) :]
                case Kind.TRUNCATE:
                    raise ConnectionAbortedError
                case Kind.CORRUPT if rest:  # what it should strike may have been dropped
                    rest = bytes([rest[0] ^ int(fault.amount)]) + rest[1:]
                case Kind.DUPLICATE:
                    if not stalled:
                        sink.sendall(rest)
                case Kind.HALF_CLOSE:
                    sink.shutdown(socket.SHUT_WR)
                    stalled = True
                case Kind.STALL:
                    stalled = True
            data = rest
        if data and not stalled:
            sink.sendall(data)
        return stalled
