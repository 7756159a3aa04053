"""Commands to one bench instrument: every exchange bounded, every operation followed by its error queue."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hwloop.drivers.identity import Identity, identify, read_identity
from hwloop.drivers.link import VisaLink
from hwloop.errors import ChipError, InstrumentError, LinkError, printable

_SCPI_ENTRY = re.compile(r'([+-]?\d+)\s*,\s*"(.*)"')


@dataclass(frozen=True)
class WireLimits:
    """How long an instrument is waited for that has not answered in time."""

    seconds: float = 10.0
    """Time until its late answers must have come, if it is longer than the link's timeout."""
    answers: int = 16
    """Late answers that are thrown away at most."""


LIMITS = WireLimits()
"""The limits of every wire."""

Entry = tuple[int, str]
"""Code and text of an entry in an error queue; code 0 says that it is empty."""


@dataclass(frozen=True)
class ErrorQueue:
    """How an instrument is asked for its oldest error, and how its answer reads."""

    query: str
    parse: Callable[[str], Entry]
    clear: str
    longest: int = 64
    """Entries that are read at most; what is left then is cleared with the next `clear`."""


def parse_scpi(reply: str) -> Entry:
    """Read `-222,"Data out of range"`. Raises ValueError for anything else."""
    entry = _SCPI_ENTRY.fullmatch(reply.strip())
    if not entry:
        raise ValueError(reply)
    return int(entry[1]), entry[2]


def parse_tsp(reply: str) -> Entry:
    """Read code, text, severity and node, separated by tabs: `-2.85000e+02<TAB>TSP Syntax error<TAB>...`."""
    code, text, *_ = reply.strip().split("\t")
    return int(float(code)), text.strip('"')


SCPI = ErrorQueue(":SYST:ERR?", parse_scpi, "*CLS")
TSP = ErrorQueue("print(errorqueue.next())", parse_tsp, "errorqueue.clear()")


class Wire:
    """Text commands over a link to one instrument."""

    def __init__(self, link: VisaLink, name: str, timeout: float, errors: ErrorQueue) -> None:
        """Take over a link, and close it in the end: `name` for messages, `timeout` (s) for each exchange."""
        self.name = name
        self._link = link
        self._timeout = timeout
        self._errors = errors
        self.identity = Identity("", "", "", "")
        """Who answered; empty before `identify`."""
        self._out_of_step = False
        """Whether an answer may still be on its way, which must not be taken for that to the next question."""

    @property
    def bytes_moved(self) -> int:
        """Bytes sent and received."""
        return self._link.bytes_moved

    def identify(self) -> Identity:
        """Clear the link and ask who is there, nothing else."""
        self._link.clear()
        self.identity = identify(self._link, self.name, self._timeout)
        return self.identity

    def forget_errors(self) -> None:
        """Empty the error queue of what others left in it."""
        self._send(self._errors.clear)

    def do(self, *commands: str) -> None:
        """Send commands, then read the error queue. Raises InstrumentError with the commands that caused an entry."""
        for command in commands:
            self._send(command)
        self._check("; ".join(commands))

    def do_each(self, commands: Iterable[str]) -> None:
        """Do the same as `do`, one command after the other, so that an error names the one that caused it."""
        for command in commands:
            self.do(command)

    def ask(self, query: str) -> str:
        """Send a query and read its answer, then the error queue."""
        answer = self._question(query)
        self._check(query)
        return answer

    def number(self, query: str) -> float:
        """Ask for a number. Raises ChipError when the answer is none."""
        answer = self.ask(query)
        try:
            return float(answer)
        except ValueError:
            self._out_of_step = True
            raise ChipError(f"{self.name} answered '{query}' with {answer[:40]!r}, not a number") from None

    def complete(self, *commands: str) -> None:
        """Send commands and wait, within the timeout, until *OPC? says that they are complete."""
        for command in commands:
            self._send(command)
        answer = self._question("*OPC?")
        self._check("; ".join(commands))
        if answer.strip() not in ("1", "+1"):
            raise ChipError(f"{self.name} answered *OPC? with {answer[:40]!r}")

    def recover(self, *commands: str) -> None:
        """Recover from anything: forget what is on its way, clear the error queue, then `do` the commands.

        Where an answer has not come, the commands are sent at once, and again when the instrument is in step.
        """
        self._link.clear()
        if self._out_of_step:
            for command in commands:
                self._send(command)
            self._get_in_step()
        self.forget_errors()
        self.do(*commands)

    def close(self) -> None:
        """Release the link; safe to call twice."""
        self._link.close()

    def _get_in_step(self) -> None:
        """Throw away late answers, up to that to *IDN?, which is known. Raises LinkError when it does not come."""
        self._send("*IDN?")
        until = time.monotonic() + max(LIMITS.seconds, self._timeout)
        for _ in range(LIMITS.answers):
            try:
                reply = self._link.read_line(until).decode("latin-1")
                if read_identity(reply, self.name) == self.identity:
                    self._out_of_step = False
                    return
            except LinkError as error:
                if time.monotonic() >= until:
                    raise LinkError(f"{self.name} does not answer any more: {error}") from error
        raise LinkError(f"{self.name} answers, but not to what it is asked")

    def _question(self, query: str) -> str:
        """Send a query and read its answer."""
        self._out_of_step = True
        self._send(query)
        answer = self._receive()
        self._out_of_step = False
        return answer

    def _send(self, command: str) -> None:
        try:
            self._link.write(command.encode("ascii"), time.monotonic() + self._timeout)
        except LinkError as error:
            raise LinkError(f"{self.name}: '{command}': {error}") from error

    def _receive(self) -> str:
        try:
            return self._link.read_line(time.monotonic() + self._timeout).decode("ascii", "replace")
        except LinkError as error:
            raise LinkError(f"{self.name}: {error}") from error

    def _check(self, commands: str) -> None:
        """Empty the error queue; raise its first entry."""
        first: Entry | None = None
        for _ in range(self._errors.longest):
            reply = self._question(self._errors.query)
            try:
                code, text = self._errors.parse(reply)
            except ValueError:
                self._out_of_step = True
                raise ChipError(f"{self.name} answered '{self._errors.query}' with {reply[:80]!r}") from None
            if code == 0:
                break
            first = first or (code, printable(text))
        if first is not None:
            raise InstrumentError(first[0], f"{first[1]} ({self.name})", commands)
