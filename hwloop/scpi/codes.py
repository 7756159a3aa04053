"""SCPI-99 error codes, and the exception that carries one to the error queue."""

from __future__ import annotations

NO_ERROR = 0
COMMAND_ERROR = -100
INVALID_CHARACTER = -101
SYNTAX_ERROR = -102
INVALID_SEPARATOR = -103
DATA_TYPE_ERROR = -104
PARAMETER_NOT_ALLOWED = -108
MISSING_PARAMETER = -109
MNEMONIC_TOO_LONG = -112
UNDEFINED_HEADER = -113
INVALID_NUMBER = -121
EXPONENT_TOO_LARGE = -123
INVALID_SUFFIX = -131
SUFFIX_NOT_ALLOWED = -138
INVALID_WORD = -141
INVALID_STRING = -151
INVALID_BLOCK = -161
EXECUTION_ERROR = -200
COMMAND_PROTECTED = -203
SETTINGS_CONFLICT = -221
OUT_OF_RANGE = -222
TOO_MUCH_DATA = -223
ILLEGAL_PARAMETER = -224
OUT_OF_MEMORY = -225
HARDWARE_ERROR = -240
HARDWARE_MISSING = -241
SYSTEM_ERROR = -310
QUEUE_OVERFLOW = -350
BUFFER_OVERRUN = -363
TIME_OUT = -365

TEXTS = {
    NO_ERROR: "No error",
    COMMAND_ERROR: "Command error",
    INVALID_CHARACTER: "Invalid character",
    SYNTAX_ERROR: "Syntax error",
    INVALID_SEPARATOR: "Invalid separator",
    DATA_TYPE_ERROR: "Data type error",
    PARAMETER_NOT_ALLOWED: "Parameter not allowed",
    MISSING_PARAMETER: "Missing parameter",
    MNEMONIC_TOO_LONG: "Program mnemonic too long",
    UNDEFINED_HEADER: "Undefined header",
    INVALID_NUMBER: "Invalid character in number",
    EXPONENT_TOO_LARGE: "Exponent too large",
    INVALID_SUFFIX: "Invalid suffix",
    SUFFIX_NOT_ALLOWED: "Suffix not allowed",
    INVALID_WORD: "Invalid character data",
    INVALID_STRING: "Invalid string data",
    INVALID_BLOCK: "Invalid block data",
    EXECUTION_ERROR: "Execution error",
    COMMAND_PROTECTED: "Command protected",
    SETTINGS_CONFLICT: "Settings conflict",
    OUT_OF_RANGE: "Data out of range",
    TOO_MUCH_DATA: "Too much data",
    ILLEGAL_PARAMETER: "Illegal parameter value",
    OUT_OF_MEMORY: "Out of memory",
    HARDWARE_ERROR: "Hardware error",
    HARDWARE_MISSING: "Hardware missing",
    SYSTEM_ERROR: "System error",
    QUEUE_OVERFLOW: "Queue overflow",
    BUFFER_OVERRUN: "Input buffer overrun",
    TIME_OUT: "Time out error",
}

LONGEST_TEXT = 255
"""Characters of an error text, as SCPI-99 limits it."""


class ScpiError(Exception):
    """A command that was not carried out: a standard code and what was wrong in particular."""

    def __init__(self, code: int, detail: str = "") -> None:
        """`code` is one of `TEXTS`; `detail` is appended to the standard text."""
        self.code, self.detail = code, detail
        super().__init__(self.entry)

    @property
    def entry(self) -> str:
        """The error as SYSTem:ERRor? reports it: `-222,"Data out of range;amplitude ..."`."""
        text = TEXTS[self.code] + (f";{self.detail}" if self.detail else "")
        printable = "".join(c if " " <= c <= "~" else "?" for c in text)[:LONGEST_TEXT]
        quoted = printable.replace('"', '""')
        return f'{self.code},"{quoted}"'


def read_entry(text: str) -> tuple[int, str]:
    """Code and text of a reply to SYSTem:ERRor?. Raises ValueError when it is not one."""
    code, comma, quoted = text.partition(",")
    if not comma or len(quoted) < 2 or quoted[0] != '"' or quoted[-1] != '"':
        raise ValueError(f"not an error entry: {text[:80]!r}")
    return int(code), quoted[1:-1].replace('""', '"')
