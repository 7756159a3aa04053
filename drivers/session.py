"""A session with an instrument: numbered calls that are carried out once, whatever the link does.

See `hwloop.scpi.calls`. A call is sent again only after the instrument has said, on a new connection, whether it was
carried out, and only under its own number, which the instrument never carries out twice.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hwloop.drivers.link import VisaLink
from hwloop.errors import BadInputError, InstrumentError, LimitError, LinkError, MissingCapabilityError
from hwloop.scpi import dialect
from hwloop.scpi.blocks import unseal
from hwloop.scpi.calls import Answer, Call
from hwloop.scpi.codes import Code, ScpiError, read_entry
from hwloop.scpi.limits import LIMITS

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SessionLimits:
    """How much a session tries and expects."""

    attempts: int = 3
    """Connections over which one call may go, the first included."""
    stale_answers: int = 8
    """Answers to earlier calls, repeated by the link, that are passed over while one waits for the present one."""
    answer_overhead: int = 4096
    """Bytes that an answer may be longer than the instrument's buffer."""
    first_buffer: int = 2**20
    """Bytes of an answer to expect before the instrument has told its buffer's size."""
    shown: int = 60
    """Bytes of a call that an error message shows."""


SESSION_LIMITS = SessionLimits()
"""The limits of every session."""


class _Disowned(LinkError):
    """The instrument no longer knows the session: its state is not known any more, so nothing may be tried again."""


class Session:
    """Calls over a link that is made again when it fails."""

    def __init__(self, connect: Callable[[], VisaLink], timeout: float, *, reconnect: bool = True) -> None:
        """Connect and open a session. `timeout` (s) bounds each exchange; `reconnect`: a failed link is made again.

        Raises LinkError.
        """
        self._connect = connect
        self._timeout = timeout
        self._attempts = SESSION_LIMITS.attempts if reconnect else 1
        self._key = secrets.token_hex(8).encode()
        self._number = 0
        self._link: VisaLink | None = None
        self._bytes_before = 0
        self.buffer = SESSION_LIMITS.first_buffer
        self.clock = 0.0
        """The chip's clock after the last call, seconds."""
        self._ready_link()

    @property
    def bytes_moved(self) -> int:
        """Bytes sent and received over all connections."""
        return self._bytes_before + (self._link.bytes_moved if self._link else 0)

    def call(self, commands: Sequence[bytes], allowance: float = 0.0) -> bytes:
        """Carry out commands as one message and return its response.

        It takes at most `SessionLimits.attempts` x (2 timeout + allowance) seconds.

        Parameters
        ----------
        commands
            Commands without terminators, the last of which may be a query.
        allowance
            Seconds it may take beyond the timeout.

        Raises
        ------
        LimitError
            When the instrument found a value out of range.
        InstrumentError
            For any other entry of its error queue.
        LinkError
            When the link failed.
        """
        self._number += 1
        answer = self._reliably(Call(self._number, b";".join(commands)), allowance)
        self.clock = answer.clock
        if answer.errors:
            raise self._refusal(commands, answer.errors)
        return answer.response

    def close(self, farewell: Sequence[bytes]) -> None:
        """Carry out last commands if the link still works, end the session, release the link."""
        link = self._link
        if link is None:
            return
        try:
            self._number += 1
            self._exchange(link, Call(self._number, b";".join(farewell)), 0.0)
            link.write(dialect.LINK_CLOSE.write(), time.monotonic() + self._timeout)
        except LinkError as error:
            link.remark(f"the instrument could not be told to idle: {error}")
        finally:
            self._drop()

    def _reliably(self, call: Call, allowance: float) -> Answer:
        """Return the answer to a call, over as many connections as it takes and may take."""
        failure: LinkError | None = None
        for _ in range(self._attempts):
            try:
                return self._exchange(self._ready_link(), call, allowance)
            except _Disowned:
                self._drop()
                raise
            except LinkError as error:
                LOG.warning("call %d: %s; connects anew and asks what was carried out", call.number, error)
                failure = failure or error
                self._drop()
        raise LinkError(
            f"the link failed {self._attempts} time(s) in '{_shown([call.message])}', first: {failure}; "
            "whether the instrument carried it out is not known"
        ) from failure

    def _ready_link(self) -> VisaLink:
        """Return the link, connected anew and back in the session if need be."""
        if self._link is None:
            link = self._connect()
            try:
                last = self._enter(link)
            except LinkError:
                link.close()
                raise
            self._link = link
            if last not in (self._number, max(0, self._number - 1)):
                raise _Disowned(
                    "the instrument was restarted or used by someone else meanwhile: the state of the chip is not known"
                )
        return self._link

    def _enter(self, link: VisaLink) -> int:
        """Open the session or come back to it, and return the number of the last call that was carried out."""
        deadline = time.monotonic() + self._timeout
        link.write(dialect.LINK_OPEN_Q.write(self._key), deadline)
        key, _, last = _content(link, SESSION_LIMITS.answer_overhead, deadline).partition(b" ")
        if key != self._key or not last.isdigit():
            raise LinkError("the instrument answered with another session's key")
        return int(last)

    def _exchange(self, link: VisaLink, call: Call, allowance: float) -> Answer:
        deadline = time.monotonic() + self._timeout + allowance
        link.write(dialect.LINK_CALL_Q.write(call.encode()), deadline)
        for _ in range(SESSION_LIMITS.stale_answers):
            try:
                answer = Answer.decode(_content(link, self.buffer + SESSION_LIMITS.answer_overhead, deadline))
            except ValueError as error:
                raise LinkError(f"an answer that is none: {error}") from error
            if answer.number == call.number:
                return answer
            if answer.number == Answer.UNREADABLE:
                raise LinkError("a call was damaged on its way")
        raise LinkError("only answers to other calls came")

    def _drop(self) -> None:
        if self._link is not None:
            self._bytes_before += self._link.bytes_moved
            self._link.close()
            self._link = None

    def _refusal(self, commands: Sequence[bytes], count: int) -> Exception:
        """Empty the error queue and return the first entry of these commands as an exception.

        They caused its last `count` entries; entries before them are of messages that the link had damaged.
        """
        entries: list[tuple[int, str]] = []
        for _ in range(LIMITS.error_queue + 1):
            self._number += 1
            answer = self._reliably(Call(self._number, dialect.ERROR_Q.write()), 0.0)
            try:
                code, text = read_entry(answer.response.decode("ascii"))
            except ValueError as error:
                raise LinkError(f"the error queue cannot be read: {error}") from error
            if code == Code.NO_ERROR:
                break
            entries.append((code, text))
        own = entries[-count:] or [(Code.SYSTEM_ERROR, "an error was counted but is not in the queue")]
        code, text = own[0]
        return _typed(code, text, _shown(commands))


def _typed(code: int, text: str, command: str) -> Exception:
    _, _, detail = text.partition(";")
    if code == Code.OUT_OF_RANGE:
        return LimitError(f"the instrument refused '{command}': {detail or text}")
    if code == Code.ILLEGAL_PARAMETER:
        return BadInputError(f"the instrument refused '{command}': {detail or text}")
    if code == Code.HARDWARE_MISSING:
        return MissingCapabilityError(detail or text)
    return InstrumentError(code, text, command)


def _content(link: VisaLink, longest: int, deadline: float) -> bytes:
    try:
        return unseal(link.read_block(longest, deadline))
    except ScpiError as error:
        raise LinkError(f"a reply was damaged on its way: {error.detail}") from error


def _shown(commands: Sequence[bytes]) -> str:
    """Show commands in a message, their blocks cut short."""
    texts = [command.split(b"#", 1)[0] + (b"#..." if b"#" in command else b"") for command in commands]
    return b";".join(texts)[-SESSION_LIMITS.shown :].decode("ascii", "replace")
