"""SCPI-99 error codes, and the exception that carries one to the error queue."""

from __future__ import annotations

import enum
from typing import Self

from hwloop.scpi.limits import LIMITS


class Code(enum.IntEnum):
    """The error codes of SCPI-99 that an instrument of this dialect reports, with their standard texts."""

    text: str

    def __new__(cls, value: int, text: str) -> Self:
        """Make a member that is the number and knows its text."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.text = text
        return code

    NO_ERROR = 0, "No error"
    COMMAND_ERROR = -100, "Command error"
    INVALID_CHARACTER = -101, "Invalid character"
    SYNTAX_ERROR = -102, "Syntax error"
    INVALID_SEPARATOR = -103, "Invalid separator"
    DATA_TYPE_ERROR = -104, "Data type error"
    PARAMETER_NOT_ALLOWED = -108, "Parameter not allowed"
    MISSING_PARAMETER = -109, "Missing parameter"
    MNEMONIC_TOO_LONG = -112, "Program mnemonic too long"
    UNDEFINED_HEADER = -113, "Undefined header"
    INVALID_NUMBER = -121, "Invalid character in number"
    EXPONENT_TOO_LARGE = -123, "Exponent too large"
    INVALID_SUFFIX = -131, "Invalid suffix"
    SUFFIX_NOT_ALLOWED = -138, "Suffix not allowed"
    INVALID_WORD = -141, "Invalid character data"
    INVALID_STRING = -151, "Invalid string data"
    INVALID_BLOCK = -161, "Invalid block data"
    EXECUTION_ERROR = -200, "Execution error"
    COMMAND_PROTECTED = -203, "Command protected"
    SETTINGS_CONFLICT = -221, "Settings conflict"
    OUT_OF_RANGE = -222, "Data out of range"
    TOO_MUCH_DATA = -223, "Too much data"
    ILLEGAL_PARAMETER = -224, "Illegal parameter value"
    OUT_OF_MEMORY = -225, "Out of memory"
    HARDWARE_ERROR = -240, "Hardware error"
    HARDWARE_MISSING = -241, "Hardware missing"
    SYSTEM_ERROR = -310, "System error"
    QUEUE_OVERFLOW = -350, "Queue overflow"
    TIME_OUT = -365, "Time out error"


BY_NUMBER = {int(code): code for code in Code}
"""Codes by their numbers."""


class ScpiError(Exception):
    """A command that was not carried out: a standard code and what was wrong in particular."""

    def __init__(self, code: int, detail: str = "") -> None:
        """Append `detail` to the standard text of a `Code`."""
        self.code, self.detail = BY_NUMBER[code], detail
        super().__init__(self.entry)

    @property
    def entry(self) -> str:
        """The error as SYSTem:ERRor? reports it: `-222,"Data out of range;amplitude ..."`."""
        text = self.code.text + (f";{self.detail}" if self.detail else "")
        printable = "".join(c if " " <= c <= "~" else "?" for c in text)[: LIMITS.error_text]
        quoted = printable.replace('"', '""')
        return f'{self.code},"{quoted}"'


def read_entry(text: str) -> tuple[int, str]:
    """Read the code and the text of a reply to SYSTem:ERRor?, whose code may be one of another instrument.

    Raises
    ------
    ValueError
        When it is not one.
    """
    code, comma, quoted = text.partition(",")
    if not comma or len(quoted) < 2 or quoted[0] != '"' or quoted[-1] != '"':
        raise ValueError(f"not an error entry: {text[:80]!r}")
    return int(code), quoted[1:-1].replace('""', '"')
