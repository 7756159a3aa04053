"""Bytes to and from one VISA resource, every wait bounded by a deadline.

Deadlines are values of `time.monotonic()`. Everything that can go wrong on the way raises LinkError; a link that raised
one is not to be used again, because half a message may be on its way.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import pyvisa
from pyvisa import constants
from pyvisa.resources import MessageBasedResource

from hwloop.errors import BadInputError, LinkError, said
from hwloop.scpi.wire_log import WireLog, shown

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ
else:
    ioctl = None


@dataclass(frozen=True)
class LinkSizes:
    """How many bytes go over a link at a time."""

    piece: int = 2**16
    """Bytes handed to the VISA library at a time."""
    socket_piece: int = 4096
    """Bytes that pyvisa-py sends to a socket at a time, which it does at once when the socket is writable; given more,
    it waits between the pieces without limit."""
    line: int = 1024
    """Bytes of the longest text reply before the session, where only *IDN? is asked."""
    drained: int = 1024
    """Pieces that are thrown away, at most, when a socket is cleared."""


SIZES = LinkSizes()
"""The sizes of every link."""

Opener = Callable[[float], MessageBasedResource]
"""Opens the resource within a number of seconds."""


def opener(resource: str, visa_library: str) -> Opener:
    """Return what opens a VISA resource by name. Raises BadInputError for a name or library that cannot be used."""
    try:
        pyvisa.rname.ResourceName.from_string(resource)
    except ValueError as error:
        raise BadInputError(
            f"'{resource}' is not a VISA resource name, such as TCPIP::127.0.0.1::5025::SOCKET: {error}"
        ) from error
    try:
        manager = pyvisa.ResourceManager(visa_library)
    except (ValueError, OSError) as error:
        raise BadInputError(
            f"the VISA library '{visa_library}' cannot be used ({error}); the default @py needs no vendor's library"
        ) from error

    def open_resource(seconds: float) -> MessageBasedResource:
        opened = manager.open_resource(resource, open_timeout=max(1, round(1000 * seconds)))
        if not isinstance(opened, MessageBasedResource):
            opened.close()
            raise BadInputError(f"{resource} is not message based: it cannot take SCPI commands")
        return opened

    return open_resource


LOG = logging.getLogger(__name__)
WIRE = logging.getLogger("hwloop.scpi.wire_log")
"""What goes over links, message by message; only for who asks for it."""


class VisaLink:
    """One open resource."""

    name = "link"
    """What the log calls it."""

    def __init__(self, resource: MessageBasedResource, *, owned: bool, log: WireLog | None = None) -> None:
        """Take over an open resource: clear it, set no terminations. `owned`: close it with the link."""
        self._resource = resource
        self._owned = owned
        self._log = log
        self._buffer = bytearray()
        self._socket = _SocketGuard.of(resource)
        self.bytes_moved = 0

    @classmethod
    def open(cls, open_resource: Opener, name: str, seconds: float, log: WireLog | None = None) -> Self:
        """Open a resource within `seconds`. Raises LinkError when nothing answers there."""
        try:
            resource = open_resource(seconds)
        except BadInputError:
            raise
        except Exception as error:  # pyvisa-py raises plain Exception for a connection that does not come about
            raise LinkError(f"{name} cannot be opened: {_reason(error)}") from error
        link = cls(resource, owned=True, log=log)
        link.name = name
        if link._socket is not None:
            try:
                link._socket.prepare()
            except OSError as error:
                link.close()
                raise LinkError(f"{name} cannot be opened: {_reason(error)}") from error
        return link

    def clear(self) -> None:
        """Send a device clear, where the link has one: the instrument and the library forget what was not yet read."""
        self._buffer.clear()
        try:
            if self._socket is not None:
                self._socket.drain()  # a raw socket has no device clear
            else:
                self._resource.clear()
        except NotImplementedError:
            self.remark("this VISA library has no device clear")
        except (pyvisa.errors.Error, OSError) as error:
            if getattr(error, "error_code", None) != constants.StatusCode.error_nonsupported_operation:
                raise LinkError(f"device clear failed: {_reason(error)}") from error
            self.remark("this link has no device clear")

    def write(self, message: bytes, deadline: float) -> None:
        """Send a message and its newline."""
        self._note(">", message)
        try:
            if self._socket is None:
                self._write(message + b"\n", deadline)
            else:
                with self._socket.corked():
                    self._write(message + b"\n", deadline)
        except (pyvisa.errors.Error, OSError) as error:
            raise LinkError(f"sending failed: {_reason(error)}") from error

    def read_line(self, deadline: float, quiet: float = math.inf) -> bytes:
        """Read a text reply and return it without its newline.

        quiet: seconds without a byte, once one has come, after which it is taken to have no end.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > SIZES.line:
                raise LinkError(f"no newline in the first {SIZES.line} bytes of a reply")
            until = min(deadline, time.monotonic() + quiet) if self._buffer else deadline
            try:
                self._buffer += self._receive(SIZES.piece, until, line=True)
            except LinkError as error:
                raise self._unended(error) from error
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._note("<", line)
        return line.removesuffix(b"\r")

    def read_block(self, longest: int, deadline: float) -> bytes:
        """Read the data of a definite-length block that is a whole reply. Raises LinkError for anything else."""
        head = self._exactly(2, deadline)
        if head[:1] != b"#" or not b"1" <= head[1:] <= b"9":
            raise LinkError(f"expected a block, got {bytes(head)!r}")
        digits = self._exactly(int(head[1:]), deadline)
        if not digits.isdigit() or int(digits) > longest:
            raise LinkError(f"a block announces {bytes(digits)!r} bytes where at most {longest} can be")
        data = self._exactly(int(digits), deadline)
        try:
            after = self._exactly(1, deadline)
        except LinkError as error:
            raise LinkError(f"a block came whole, and no newline after it ({error})") from error
        if after != b"\n":
            raise LinkError("a block is longer than it announced")
        self._note("<", head + digits + data)
        return data

    def _unended(self, error: LinkError) -> LinkError:
        """Tell of a line that has begun and does not end; the error itself where nothing has come."""
        came = bytes(self._buffer)
        if not came.strip(b"\0"):
            return error
        how = "it ends lines with CR" if came.endswith(b"\r") else "does it end lines with CR, or not at all?"
        return LinkError(f"bytes came ({came[:60]!r}), no newline: {how}; set its terminator to LF ({error})")

    def remark(self, text: str) -> None:
        """Leave a line in the wire log."""
        self._note("!", text.encode())

    def close(self) -> None:
        """Release the resource if it is the link's own; safe to call twice."""
        if self._owned:
            self._owned = False
            try:
                self._resource.close()
            except (pyvisa.errors.Error, OSError) as error:
                self._note("!", f"closing failed: {_reason(error)}".encode())

    def _write(self, message: bytes, deadline: float) -> None:
        data = memoryview(message)
        while data:
            if self._socket is not None:
                size = self._socket.wait_writable(deadline)
            else:
                size = SIZES.piece
                self._resource.timeout = _milliseconds(deadline)
            piece, data = bytes(data[:size]), data[size:]
            sent = self._resource.write_raw(piece)
            self.bytes_moved += sent
            if sent != len(piece):
                raise LinkError("the link took only a part of a message")

    def _exactly(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            self._buffer += self._receive(count - len(self._buffer), deadline, line=False)
        data = bytes(memoryview(self._buffer)[:count])
        del self._buffer[:count]
        return data

    def _receive(self, wanted: int, deadline: float, *, line: bool) -> bytes:
        """Read between one and `wanted` bytes; up to a newline at most if `line`."""
        try:
            if self._socket is not None:
                wanted = self._socket.wait_readable(wanted, deadline)
            else:
                wanted = min(wanted, SIZES.piece)
                self._resource.timeout = _milliseconds(deadline)
                self._resource.set_visa_attribute(constants.ResourceAttribute.termchar_enabled, line)
            data = self._resource.read_bytes(wanted, chunk_size=wanted, break_on_termchar=line)
        except (pyvisa.errors.Error, OSError) as error:
            raise LinkError(f"no reply: {_reason(error)}") from error
        self.bytes_moved += len(data)
        return data

    def _note(self, direction: str, message: bytes) -> None:
        if WIRE.isEnabledFor(logging.DEBUG):
            WIRE.debug("%s %s %d bytes: %s", self.name, direction, len(message), shown(message))
        if direction == "!":
            LOG.warning("%s: %s", self.name, message.decode("ascii", "backslashreplace"))
        if self._log is not None:
            self._log.note(direction, message)


class _SocketGuard:
    """Bounded waits that the TCPIP SOCKET sessions of pyvisa-py lack.

    Their write waits without limit for a peer that no longer reads; their read does not notice that the peer hung up
    before its timeout is over; and opening them succeeds when the connection was refused. So the guard looks at the
    socket first, and the library is only asked for what it can do at once.
    """

    def __init__(self, interface: socket.socket, session: Any) -> None:
        self._interface = interface
        self._session = session
        self._piece = SIZES.socket_piece

    @classmethod
    def of(cls, resource: MessageBasedResource) -> _SocketGuard | None:
        """Return the guard of a resource, or None where the library is another one and keeps its own timeouts."""
        sessions = getattr(resource.visalib, "sessions", None)
        session = sessions.get(resource.session) if isinstance(sessions, dict) else None
        interface = getattr(session, "interface", None)
        return cls(interface, session) if isinstance(interface, socket.socket) else None

    def prepare(self) -> None:
        """Raise OSError if the connection was not made; let the library read larger pieces."""
        failed = self._interface.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, os.strerror(failed))
        self._interface.getpeername()
        self._interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(self._session, "max_recv_size"):
            self._session.max_recv_size = self._piece = SIZES.piece

    def drain(self) -> None:
        """Throw away what has come in, at most `SIZES.drained` pieces of it."""
        pending = getattr(self._session, "_pending_buffer", None)
        if isinstance(pending, bytearray):
            pending.clear()
        for _ in range(SIZES.drained):
            readable, _, _ = select.select([self._interface], [], [], 0.0)
            if not readable or not self._interface.recv(SIZES.piece):
                return

    @contextlib.contextmanager
    def corked(self) -> Iterator[None]:
        """Let the pieces of one message leave in full packets, where the system can hold them back until then."""
        cork = getattr(socket, "TCP_CORK", None)
        if cork is None:
            yield
            return
        self._interface.setsockopt(socket.IPPROTO_TCP, cork, 1)
        try:
            yield
        finally:
            self._interface.setsockopt(socket.IPPROTO_TCP, cork, 0)

    def wait_writable(self, deadline: float) -> int:
        """Return how many bytes can be sent without waiting, once any can.

        The system calls a socket writable until two thirds of its buffer are taken, so a piece more is safe while
        little is queued; elsewhere only what the library sends at a time.
        """
        _, writable, _ = select.select([], [self._interface], [], _left(deadline))
        if not writable:
            raise LinkError("the instrument takes no more data (timeout)")
        if ioctl is None:
            return SIZES.socket_piece
        (queued,) = struct.unpack("i", ioctl(self._interface, TIOCOUTQ, bytes(4)))
        room = self._interface.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        return SIZES.piece if 4 * (queued + SIZES.piece) <= room else SIZES.socket_piece

    def wait_readable(self, wanted: int, deadline: float) -> int:
        """Return how many of the wanted bytes can be read at once, at least one."""
        readable, _, _ = select.select([self._interface], [], [], _left(deadline))
        if not readable:
            raise LinkError("no reply in time")
        there = len(self._interface.recv(min(wanted, self._piece), socket.MSG_PEEK))
        if not there:
            raise LinkError("the instrument hung up")
        return there


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _milliseconds(deadline: float) -> int:
    return max(1, round(1000 * _left(deadline)))


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return said(error)
