"""Serves an instrument over a TCP socket or over standard input and output.

The socket listens on the loopback interface unless told otherwise. One client at a time: a second one gets one line
that says who holds the instrument, and is disconnected.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from hwloop.chip.backend import Backend
from hwloop.scpi.codes import Code, ScpiError
from hwloop.scpi.lexer import MessageFramer
from hwloop.scpi.wire_log import WireLog
from hwloop.sim_backend.server.bounds import Presence, ServerLimits
from hwloop.sim_backend.server.instrument import Instrument


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
        self._stopping = threading.Event()
        # The chip is not for several threads; one worker keeps the loop free to refuse other clients meanwhile.
        self._worker = ThreadPoolExecutor(1, "instrument")
        self._work = Future[bytes]()
        self._work.set_result(b"")

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, and return the port that was taken (0 chooses a free one). Raises OSError when it cannot."""
        self._server = await asyncio.start_server(
            self._client, host, port, limit=self._limits.read_bytes, backlog=self._limits.clients
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> bool:
        """Stop listening, disconnect all clients, begin no further command.

        Returns False when the command that was being carried out is not done after `ServerLimits.stop_seconds`.
        """
        self._stopping.set()
        if self._server is not None:
            await _stop_listening(self._server)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._limits.stop_seconds)
        self._worker.shutdown(wait=False, cancel_futures=True)
        done = not (await asyncio.to_thread(wait, [self._work], self._limits.stop_seconds)).not_done
        # Clients that were let in at the last moment are turned away by tasks of their own; what these close, the loop
        # closes in its next turn.
        late = asyncio.all_tasks() - {asyncio.current_task()}
        if late:
            await asyncio.wait(late, timeout=self._limits.grace_seconds)
        await asyncio.sleep(0)
        return done

    def wait(self) -> None:
        """Wait for the command that `stop` did not wait for."""
        self._worker.shutdown(wait=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._stopping.is_set() or len(self._tasks) >= self._limits.clients:
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            await self._admit(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the client is gone or the server is: either way this conversation is over
        finally:
            if self._stopping.is_set():
                writer.transport.abort()
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), self._limits.grace_seconds)
            writer.transport.abort()  # a client that reads nothing would keep what was not yet sent
            self._tasks.discard(task)

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pausable = writer.transport
        assert isinstance(pausable, asyncio.Transport)
        pausable.pause_reading()
        try:
            await asyncio.wait_for(self._free.acquire(), self._limits.grace_seconds)
        except TimeoutError:
            pausable.resume_reading()
            await self._refuse(reader, writer)
            return
        try:
            pausable.resume_reading()
            peer = writer.get_extra_info("peername")
            if peer is None:  # it left while it waited
                return
            self._holder = f"{peer[0]}:{peer[1]}"
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
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
        pace = _Pace(self._limits.messages_per_second)
        framer = MessageFramer(self._instrument.sizes.buffer)
        connection = writer.get_extra_info("socket")
        presence = Presence(connection, self._limits.goodbye_seconds, reader.at_eof)

        def unwanted() -> str:
            if self._stopping.is_set():
                return "the instrument is being switched off"
            return "the client has hung up" if presence.gone() else ""

        begun = 0.0
        while data := await self._receive(reader, begun):
            framer.feed(data)
            begun = begun or time.monotonic()
            try:
                while (message := framer.next_message()) is not None:
                    await pace.next()
                    if presence.gone():
                        return
                    self._note("<", message)
                    self._work = self._worker.submit(self._instrument.process, message, unwanted)
                    response = await asyncio.wrap_future(self._work)
                    begun = time.monotonic()  # of the next message, at the latest
                    if response:
                        await self._send(writer, response)
            except ScpiError as error:
                # After an overlong message nothing tells where the next one begins: start over with a new connection.
                self._instrument.reject(error)
                return
            begun = begun if framer.partial else 0.0

    async def _receive(self, reader: asyncio.StreamReader, begun: float) -> bytes:
        """Return what the client sends next; nothing when it is gone or does not end what it began.

        begun: when the message began that is not complete, on the monotonic clock; 0 where there is none.
        """
        left = begun + self._limits.message_seconds - time.monotonic() if begun else None
        try:
            return await asyncio.wait_for(reader.read(self._limits.read_bytes), left)
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


async def _stop_listening(server: asyncio.Server) -> None:
    """Let in nobody else, and close the server once those who were let in have their links.

    A server that is closed earlier fails on a client whom the loop has accepted in its last turn, and asyncio then
    leaves that link open for ever.
    """
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    await asyncio.sleep(0)
    server.close()


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
        if not await server.stop():
            server.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="instrument-server")
    thread.start()
    try:
        if not started.wait(10.0):
            raise TimeoutError("the instrument's server did not start within 10 s")
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10.0)
        _end(loop)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop that runs no more, once the conversations that were left on it have ended and closed their links."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=1.0))
    for _ in range(2):  # a link that is given up is closed in the loop's next turn
        loop.run_until_complete(asyncio.sleep(0))
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
