"""Who answers at a resource: the reply to *IDN? read and checked."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from hwloop.drivers.link import VisaLink
from hwloop.errors import LinkError, printable
from hwloop.scpi import dialect

MAKER = "hwloop"

_PROMPT = re.compile(r"\s*([^,]{0,40}[>$#])\s+[^,]*,")
_FOR_PROGRAMS = "it is a port for people: switch greeting and prompt off, or take its port for programs (often 5025)"
_FIRMWARE = re.compile(r"dialect (\d+)\.(\d+)/(.+)")
_ERROR_ENTRY = re.compile(r'-\d+,"(.*)"')


@dataclass(frozen=True)
class IdentityLimits:
    """What an answer to *IDN? must be."""

    fields: int = 3
    """Fields at least: maker, model and firmware of an instrument without a serial number."""
    quiet: float = 2.0
    """Seconds of silence within a line after which it is taken to have no end."""


LIMITS = IdentityLimits()
"""What every answer to *IDN? must be."""


@dataclass(frozen=True)
class Identity:
    """The four fields of *IDN?."""

    maker: str
    model: str
    serial: str
    firmware: str

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version of the dialect; zeros for another kind of instrument."""
        found = _FIRMWARE.fullmatch(self.firmware)
        return (int(found[1]), int(found[2])) if found else (0, 0)


def identify(link: VisaLink, name: str, timeout: float) -> Identity:
    """Ask who is there. Raises LinkError when nobody answers in time, or the instrument is busy with another client."""
    deadline = time.monotonic() + timeout
    try:
        link.write(dialect.IDN_Q.write(), deadline)
        reply = link.read_line(deadline, LIMITS.quiet).decode("latin-1").strip("\0 \r")
        if reply.count(",") < LIMITS.fields - 1 and not _ERROR_ENTRY.fullmatch(reply):
            _refuse_banner(link, reply, deadline)
    except LinkError as error:
        raise LinkError(f"{name} does not say who it is (*IDN?): {error}") from error
    if refusal := _ERROR_ENTRY.fullmatch(reply):
        raise LinkError(f"{name} refused the connection: {refusal[1].partition(';')[2] or refusal[1]}")
    return read_identity(reply, name)


def _refuse_banner(link: VisaLink, first: str, deadline: float) -> None:
    """Raise LinkError where another line follows that is an identity: the first one was a greeting."""
    try:
        reply = link.read_line(min(deadline, time.monotonic() + LIMITS.quiet), LIMITS.quiet).decode("latin-1")
    except LinkError:
        return
    if reply.count(",") >= LIMITS.fields - 1:
        raise LinkError(f"it greets with {first[:60]!r} before it answers; {_FOR_PROGRAMS}")


def read_identity(reply: str, name: str) -> Identity:
    """Read the fields of a reply to *IDN?. Raises LinkError when it is none.

    There should be four. Some instruments have no serial number, and some makers a comma in their name.
    """
    fields = [printable(field.strip("\0 \r\n\t")) for field in reply.split(",")]
    if len(fields) < LIMITS.fields:
        raise LinkError(f"{name} answers *IDN? with {reply[:80]!r}: not an instrument of IEEE 488.2")
    if found := _PROMPT.match(reply):
        raise LinkError(f"{name} puts a prompt ({found[1]!r}) before its answer; {_FOR_PROGRAMS}")
    if len(fields) == LIMITS.fields:
        fields.insert(2, "")
    *maker, model, serial, firmware = fields
    return Identity(", ".join(maker), model, serial, firmware)


def check_chip(identity: Identity, name: str) -> tuple[int, int]:
    """Return the version of the dialect that a chip speaks. Raises LinkError for anything else, or another version."""
    firmware = _FIRMWARE.fullmatch(identity.firmware)
    if identity.maker != MAKER or not firmware:
        raise LinkError(
            f"{name} is '{identity.model}' by '{identity.maker}', not a chip behind the hwloop SCPI dialect; "
            "check the address"
        )
    major, minor = int(firmware[1]), int(firmware[2])
    if major != dialect.VERSION[0]:
        raise LinkError(
            f"{name} speaks version {major}.{minor} of the hwloop dialect and this driver version "
            f"{dialect.VERSION[0]}.{dialect.VERSION[1]}; update the firmware or hwloop"
        )
    return major, minor
