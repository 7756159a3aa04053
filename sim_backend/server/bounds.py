"""What a client may ask of the emulated instrument, and how the server notices that nobody waits for an answer."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from hwloop.scpi.codes import Code, ScpiError


@dataclass(frozen=True)
class ServerLimits:
    """What a client may ask of the server; times in seconds."""

    messages_per_second: float = 20_000.0
    """Beyond this rate the server reads more slowly."""
    message_seconds: float = 60.0
    """A message must end within this time after its first byte, or it is discarded and the client disconnected."""
    send_seconds: float = 30.0
    """A client that does not take its response within this time is disconnected."""
    grace_seconds: float = 1.0
    """How long a second client waits for the first to leave before it is refused."""
    goodbye_seconds: float = 5.0
    """How long the commands of a client that has hung up are still carried out."""
    stop_seconds: float = 1.0
    """How long a server that stops waits for the command that is being carried out."""
    clients: int = 256
    """Connections at once; one beyond them is closed without a word."""
    read_bytes: int = 2**18
    """Bytes taken from the link at a time."""


@dataclass(frozen=True)
class WorkLimits:
    """How much one program message may make the instrument do."""

    commands: int = 4096
    """Commands of a message at most."""
    seconds: float = 60.0
    """No further command of a message begins after this time."""
    always: int = 8
    """Commands that are carried out whatever time those before them took: the longest message of the driver."""


class Work:
    """The work on one message, which is asked before every command whether it may go on."""

    def __init__(self, limits: WorkLimits, unwanted: Callable[[], str] | None = None) -> None:
        """Begin now; `unwanted` says why nobody wants the work any more, or nothing."""
        self._limits, self._unwanted = limits, unwanted
        self._begun, self._done = time.monotonic(), 0

    def check(self) -> None:
        """Count a command that is about to begin. Raises ScpiError -365 for one too late, -200 for an unwanted one."""
        if self._unwanted is not None and (reason := self._unwanted()):
            raise ScpiError(Code.EXECUTION_ERROR, f"{reason}; the rest of the message was not carried out")
        if self._done >= self._limits.always and time.monotonic() - self._begun > self._limits.seconds:
            raise ScpiError(
                Code.TIME_OUT, f"the message took over {self._limits.seconds:g} s after {self._done} commands"
            )
        self._done += 1


class _HasDescriptor(Protocol):
    def fileno(self) -> int:
        """Return the descriptor; -1 once it is closed."""


class Presence:
    """Tells whether a client is still there, from any thread.

    A client that has only ended what it sends, as `nc` does at the end of its input, looks the same as one that has
    gone; so its commands are carried out for a while yet.
    """

    def __init__(self, connection: _HasDescriptor, goodbye_seconds: float, ended: Callable[[], bool]) -> None:
        """Watch a socket; `ended` tells whether the link's reader has seen its end."""
        self._connection, self._ended = connection, ended
        self._patience = goodbye_seconds
        self._left_at = 0.0

    def gone(self) -> bool:
        """Tell whether the client hung up longer ago than it is waited for."""
        if not self._left_at and self._hung_up():
            self._left_at = time.monotonic()
        return bool(self._left_at) and time.monotonic() - self._left_at > self._patience

    def _hung_up(self) -> bool:
        if self._ended():
            return True
        told = getattr(select, "POLLRDHUP", 0)  # Linux tells it even while what was sent before is unread
        descriptor = self._connection.fileno()
        if descriptor < 0 or not told:
            return descriptor < 0
        poll = select.poll()
        poll.register(descriptor, told)
        return any(events & (told | select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))
