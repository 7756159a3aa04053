"""Calls: numbered program messages that are checked, carried out once, and answered.

A call's number is one more than that of the call before it. The instrument keeps the answer to the last call and gives
it again, without carrying anything out, when the same number comes again. So a client that lost the link comes back
with LINK:OPEN?, learns whether its last call was carried out, and may send it again: no pulse is ever applied twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hwloop.scpi.codes import Code, ScpiError


@dataclass(frozen=True)
class Call:
    """A numbered program message."""

    number: int
    message: bytes

    def encode(self) -> bytes:
        """Write the content of the block of LINK:CALL?."""
        return b"%d " % self.number + self.message

    @classmethod
    def decode(cls, content: bytes) -> Call:
        """Read it. Raises ScpiError -161."""
        number, space, message = content.partition(b" ")
        if not space or not number.isdigit() or len(number) > 18:
            raise ScpiError(Code.INVALID_BLOCK, "a call begins with its number and a space")
        return cls(int(number), message)


@dataclass(frozen=True)
class Answer:
    """What the instrument says to a call: errors it queued, the chip's clock afterwards (s), and the response."""

    UNREADABLE: ClassVar[int] = 0
    """Number in the answer to a call that could not be read."""

    number: int
    errors: int
    clock: float
    response: bytes

    def encode(self) -> bytes:
        """Write the content of the answer's block."""
        return f"{self.number} {self.errors} {self.clock!r} ".encode() + self.response

    @classmethod
    def decode(cls, content: bytes) -> Answer:
        """Read it. Raises ValueError."""
        number, errors, clock, response = content.split(b" ", 3)
        return cls(int(number), int(errors), float(clock), response)
