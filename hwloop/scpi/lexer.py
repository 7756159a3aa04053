"""From a stream of bytes to program messages, and from a program message to its commands (IEEE 488.2, chapter 7)."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from hwloop.scpi.codes import Code, ScpiError
from hwloop.scpi.limits import LIMITS

_SPECIAL = re.compile(rb"[\n\"'#]")
_STRING_END = {ord('"'): re.compile(rb'["\n]'), ord("'"): re.compile(rb"['\n]")}
_SPACE = re.compile(rb"[\x00-\x09\x0b-\x20]*")
_HEADER = re.compile(rb"(\*[A-Za-z][A-Za-z0-9_]*|:?[A-Za-z][A-Za-z0-9_]*(?::[A-Za-z][A-Za-z0-9_]*)*)(\??)")
_NUMBER = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SUFFIX = re.compile(rb"[\x00-\x09\x0b-\x20]*([A-Za-z/][A-Za-z0-9/.\-]*)")
_NONDECIMAL = re.compile(rb"#(?:[hH]([0-9a-fA-F]+)|[qQ]([0-7]+)|[bB]([01]+))")
_WORD = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_STRING = re.compile(rb'"((?:[^"\n]|"")*)"|\'((?:[^\'\n]|\'\')*)\'')


class ArgumentKind(enum.Enum):
    """Forms of program data."""

    NUMBER = "number"
    WORD = "character data"
    STRING = "string"
    BLOCK = "block"


@dataclass(frozen=True)
class Argument:
    """One parameter as it was sent: text of a number, word or string; data of a block; suffix of a number."""

    kind: ArgumentKind
    text: str = ""
    data: bytes = b""
    suffix: str = ""


@dataclass(frozen=True)
class Unit:
    """One command of a program message.

    nodes     mnemonics as sent, upper case; a common command is one node with its star
    absolute  the header began with a colon
    query     the header ended with a question mark
    """

    nodes: tuple[str, ...]
    absolute: bool
    query: bool
    arguments: tuple[Argument, ...]

    @property
    def common(self) -> bool:
        """Whether this is an IEEE 488.2 common command."""
        return self.nodes[0].startswith("*")


class MessageFramer:
    """Cuts a stream into program messages at the newlines that are not inside a definite-length block.

    A newline ends a message even inside an open string: one forgotten quote must not swallow the commands after it.
    """

    def __init__(self, limit: int) -> None:
        """Start empty; `limit` is the longest message in bytes, terminator not counted."""
        self._limit = limit
        self._buffer = bytearray()
        self._at = 0

    @property
    def partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take in what the link delivered."""
        self._buffer += data

    def next_message(self) -> bytes | None:
        """Return the next complete message without its terminator, or None.

        Raises ScpiError -223 for a message longer than the limit; the stream cannot be trusted after it.
        """
        end = self._find_end()
        if end is None:
            if max(len(self._buffer), self._at) > self._limit:
                raise self._too_long()
            return None
        if end > self._limit:
            raise self._too_long()
        message = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._at = 0
        return message

    def _too_long(self) -> ScpiError:
        return ScpiError(Code.TOO_MUCH_DATA, f"a message may have {self._limit} bytes")

    def _find_end(self) -> int | None:
        buffer = self._buffer
        while self._at <= len(buffer) and (found := _SPECIAL.search(buffer, self._at)):
            at, byte = found.start(), buffer[found.start()]
            if byte == ord("\n"):
                return at
            after = self._block_end(at) if byte == ord("#") else self._string_end(at)
            if after is None:
                self._at = at
                return None
            self._at = after
        self._at = max(self._at, len(buffer))
        return None

    def _block_end(self, at: int) -> int | None:
        """Return the position after the definite-length block at `at`; None when more bytes are needed to tell."""
        head = self._buffer[at + 1 : at + 11]
        if not head:
            return None
        digits = head[0] - ord("0")
        if not 1 <= digits <= 9:
            return at + 1
        length = bytes(head[1 : 1 + digits])
        if not length.isdigit():
            return at + 1 if length else None
        if len(length) < digits:
            return None
        return at + 2 + digits + int(length)

    def _string_end(self, at: int) -> int | None:
        found = _STRING_END[self._buffer[at]].search(self._buffer, at + 1)
        if found is None:
            return None
        return found.start() + (self._buffer[found.start()] != ord("\n"))


def parse(message: bytes, most: int | None = None) -> list[Unit]:
    """Read the commands of one program message, in order.

    Raises ScpiError -1xx for what cannot be read, -223 for more than `most` commands.
    """
    units: list[Unit] = []
    at = _skip(message, 0)
    while at < len(message):
        if len(units) == most:
            raise ScpiError(Code.TOO_MUCH_DATA, f"a message may have {most} commands")
        unit, at = _unit(message, at)
        units.append(unit)
        if at < len(message):
            if message[at : at + 1] != b";":
                raise ScpiError(Code.INVALID_SEPARATOR, f"at byte {at}")
            at = _skip(message, at + 1)
    return units


def _skip(message: bytes, at: int) -> int:
    found = _SPACE.match(message, at)
    return found.end() if found else at


def _unit(message: bytes, at: int) -> tuple[Unit, int]:
    found = _HEADER.match(message, at)
    if not found:
        code = Code.SYNTAX_ERROR if message[at : at + 1].isascii() else Code.INVALID_CHARACTER
        raise ScpiError(code, f"no command at byte {at}")
    header = found[1].decode()
    nodes = tuple(header.removeprefix(":").upper().split(":"))
    if any(len(node.removeprefix("*")) > LIMITS.mnemonic for node in nodes):
        raise ScpiError(Code.MNEMONIC_TOO_LONG, header)
    end = found.end()
    at = _skip(message, end)
    arguments: list[Argument] = []
    if at < len(message) and message[at : at + 1] != b";":
        if at == end:
            raise ScpiError(Code.INVALID_SEPARATOR, f"after {header}")
        arguments, at = _arguments(message, at)
    return Unit(nodes, header.startswith(":"), bool(found[2]), tuple(arguments)), at


def _arguments(message: bytes, at: int) -> tuple[list[Argument], int]:
    arguments: list[Argument] = []
    more = True
    while more:
        argument, at = _argument(message, at)
        arguments.append(argument)
        at = _skip(message, at)
        more = message[at : at + 1] == b","
        if more:
            at = _skip(message, at + 1)
    return arguments, at


def _argument(message: bytes, at: int) -> tuple[Argument, int]:
    first = message[at : at + 1]
    if first == b"#":
        return _hash(message, at)
    if first in (b'"', b"'"):
        found = _STRING.match(message, at)
        if not found:
            raise ScpiError(Code.INVALID_STRING, f"at byte {at}")
        quote = first.decode()
        inner = (found[1] if first == b'"' else found[2]).decode("latin-1")
        return Argument(ArgumentKind.STRING, inner.replace(2 * quote, quote)), found.end()
    if found := _NUMBER.match(message, at):
        text, at = found[0].decode(), found.end()
        suffix = _SUFFIX.match(message, at)
        if not suffix:
            return Argument(ArgumentKind.NUMBER, text), at
        return Argument(ArgumentKind.NUMBER, text, suffix=suffix[1].decode().upper()), suffix.end()
    if found := _WORD.match(message, at):
        return Argument(ArgumentKind.WORD, found[0].decode().upper()), found.end()
    raise ScpiError(Code.INVALID_NUMBER if first in (b"+", b"-", b".") else Code.SYNTAX_ERROR, f"at byte {at}")


def _hash(message: bytes, at: int) -> tuple[Argument, int]:
    """Read a block, or a number in base 16, 8 or 2."""
    if found := _NONDECIMAL.match(message, at):
        digits, base = next((d, b) for d, b in zip(found.groups(), (16, 8, 2), strict=True) if d is not None)
        if len(digits) > LIMITS.nondecimal:
            raise ScpiError(Code.INVALID_NUMBER, f"more than {LIMITS.nondecimal} digits at byte {at}")
        return Argument(ArgumentKind.NUMBER, str(int(digits, base))), found.end()
    if message[at + 1 : at + 2] == b"0":
        return Argument(ArgumentKind.BLOCK, data=message[at + 2 :]), len(message)
    digit = message[at + 1 : at + 2]
    length = message[at + 2 : at + 2 + int(digit)] if digit.isdigit() else b""
    if not length.isdigit() or len(length) != int(digit):
        raise ScpiError(Code.INVALID_BLOCK, f"no block length at byte {at}")
    begin = at + 2 + len(length)
    end = begin + int(length)
    if end > len(message):
        raise ScpiError(Code.INVALID_BLOCK, f"the block at byte {at} is shorter than its length says")
    return Argument(ArgumentKind.BLOCK, data=message[begin:end]), end
