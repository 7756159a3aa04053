"""Serves an instrument over a TCP socket or over standard input and output.

The socket listens on the loopback interface unless told otherwise, because the dialect has no passwords. One client
at a time: a second one gets one line that says who holds the instrument, and is disconnected.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hwloop.chip.backend import Backend
from hwloop.scpi.codes import Code, ScpiError
from hwloop.scpi.lexer import MessageFramer
from hwloop.scpi.wire_log import WireLog
from hwloop.sim_backend.server.instrument import Instrument


@dataclass(frozen=True)
class ServerLimits:
    """What a client may ask of the server; times in seconds."""

    messages_per_second: float = 20_000.0
    """Beyond this rate the server reads more slowly."""
    message_seconds: float = 60.0
    """A message begun must end within this time, or it is discarded."""
    send_seconds: float = 30.0
    """A client that does not take its response within this time is disconnected."""
    grace_seconds: float = 1.0
    """How long a second client waits for the first to leave before it is refused."""
    read_bytes: int = 2**18
    """Bytes taken from the link at a time."""


class _Pace:
    """Delays messages beyond a rate, averaged over a second."""

    def __init__(self, per_second: float) -> None:
        self._step = 1.0 / per_second
        self._due = time.monotonic()

    async def next(self) -> None:
        now = time.monotonic()
        self._due = max(self._due + self._step, now - 1.0)
        if self._due > now:
            await asyncio.sleep(self._due - now)


class InstrumentServer:
    """Serves one instrument to one client at a time."""

    def __init__(self, instrument: Instrument, limits: ServerLimits | None = None, log: WireLog | None = None) -> None:
        """Serve an instrument, whose chip stays the caller's to close."""
        self._instrument = instrument
        self._limits = limits or ServerLimits()
        self._log = log
        self._holder = ""
        self._free = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        # The chip is not for several threads; one worker keeps the loop free to refuse other clients meanwhile.
        self._worker = ThreadPoolExecutor(1, "instrument")

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, and return the port that was taken (0 chooses a free one). Raises OSError when it cannot."""
        self._server = await asyncio.start_server(self._client, host, port, limit=4 * self._limits.read_bytes)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening, disconnect the client, let a running operation of the chip end."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._worker.shutdown(wait=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._admit(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the client is gone or the server is: either way this conversation is over
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._tasks.discard(task)

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.wait_for(self._free.acquire(), self._limits.grace_seconds)
        except TimeoutError:
            await self._refuse(reader, writer)
            return
        try:
            host, port = writer.get_extra_info("peername")[:2]
            self._holder = f"{host}:{port}"
            self._instrument.connected()
            await self._converse(reader, writer)
        finally:
            self._free.release()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = ScpiError(Code.SETTINGS_CONFLICT, f"busy: in use by {self._holder}").entry
        await self._send(writer, line.encode())
        writer.write_eof()
        # What the client still sends must be read, or the refusal would be lost in a reset of the connection.
        deadline = time.monotonic() + self._limits.grace_seconds
        while (left := deadline - time.monotonic()) > 0:
            if not await asyncio.wait_for(reader.read(self._limits.read_bytes), left):
                return

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop, pace = asyncio.get_running_loop(), _Pace(self._limits.messages_per_second)
        framer = MessageFramer(self._instrument.sizes.buffer)
        while data := await self._receive(reader, framer.partial):
            framer.feed(data)
            try:
                while (message := framer.next_message()) is not None:
                    await pace.next()
                    self._note("<", message)
                    response = await loop.run_in_executor(self._worker, self._instrument.process, message)
                    if response:
                        await self._send(writer, response)
            except ScpiError as error:
                # After an overlong message nothing tells where the next one begins: start over with a new connection.
                self._instrument.reject(error)
                return

    async def _receive(self, reader: asyncio.StreamReader, partial: bool) -> bytes:
        """Return what the client sends next; nothing when it is gone or does not end what it began."""
        try:
            return await asyncio.wait_for(
                reader.read(self._limits.read_bytes), self._limits.message_seconds if partial else None
            )
        except TimeoutError:
            self._instrument.reject(ScpiError(Code.TIME_OUT, "a message was begun and not ended"))
            return b""

    async def _send(self, writer: asyncio.StreamWriter, response: bytes) -> None:
        self._note(">", response)
        writer.write(response + b"\n")
        await asyncio.wait_for(writer.drain(), self._limits.send_seconds)

    def _note(self, direction: str, message: bytes) -> None:
        if self._log is not None:
            self._log.note(direction, message)


@contextlib.contextmanager
def serving(chip: Backend, limits: ServerLimits | None = None, instrument: Instrument | None = None) -> Iterator[int]:
    """Serve a chip from a thread of this process; yields the port on 127.0.0.1. For tests and notebooks."""
    started = threading.Event()
    ports: list[int] = []
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        server = InstrumentServer(instrument or Instrument(chip), limits)
        ports.append(await server.start())
        started.set()
        await over.wait()
        await server.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="instrument-server")
    thread.start()
    try:
        if not started.wait(10.0):
            raise TimeoutError("the instrument's server did not start within 10 s")
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10.0)
        loop.close()


def serve_streams(instrument: Instrument, source: int, sink: int, log: WireLog | None = None) -> None:
    """Serve over two file descriptors, as standard input and output, until the input ends."""
    framer = MessageFramer(instrument.sizes.buffer)
    instrument.connected()
    while data := os.read(source, ServerLimits().read_bytes):
        framer.feed(data)
        try:
            while (message := framer.next_message()) is not None:
                if log is not None:
                    log.note("<", message)
                response = instrument.process(message)
                if response:
                    if log is not None:
                        log.note(">", response)
                    _write_all(sink, response + b"\n")
        except ScpiError as error:
            instrument.reject(error)
            framer = MessageFramer(instrument.sizes.buffer)


def _write_all(sink: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sink, view) :]
