"""Every error hwloop raises on purpose, and the exit code each one means on the command line.

An error message names the offending thing and the way out; the command line prints it as one line and exits with
the class's `exit_code`: 2 for wrong use or bad input, 3 for a chip or link that failed. Texts from elsewhere that a
message repeats (names, answers, what other errors say) are `printable`.
"""

from __future__ import annotations


class HwloopError(Exception):
    """Base of all errors that hwloop raises on purpose."""

    exit_code = 3


class BadInputError(HwloopError, ValueError):
    """A file, option, setting or array that cannot be used as given."""

    exit_code = 2


class MissingCapabilityError(HwloopError):
    """The backend cannot do what the caller needs; the message says what to do instead."""

    exit_code = 2


class LimitError(HwloopError):
    """A pulse, input or wait outside the chip's limits. Nothing was sent to the chip."""

    exit_code = 2


class ChipError(HwloopError):
    """The chip or the link to it failed, or gave an answer that cannot be right."""

    exit_code = 3


class ClosedError(ChipError):
    """The backend was used after `close()`."""


class LinkError(ChipError):
    """The instrument cannot be reached, is busy, is not the one expected, or stopped answering."""


class LedgerError(HwloopError):
    """The ledger of lifetime pulses cannot be read or written. Nothing was sent to the chip."""


class InstrumentError(ChipError):
    """The instrument refused a command and said why in its error queue."""

    def __init__(self, code: int, message: str, command: str) -> None:
        """SCPI error code, the instrument's own text, and the command that caused it."""
        self.code, self.message, self.command = code, message, command
        super().__init__(f"the instrument refused '{command}': {code}, {message}")


class CalibrationWarning(UserWarning):
    """A calibration is used that is out of date, or was made at another temperature."""


class ProgrammingWarning(UserWarning):
    """Something that programming found out about the chip and worked around."""


class OutputWarning(UserWarning):
    """Something is kept elsewhere than it was asked for, or not at all."""


class WeightsNote(UserWarning):
    """What was passed over in a file of weights, and what was read in another way than the usual one."""


class NeedsNote(UserWarning):
    """What a job will take, where that is much, before it starts."""


def printable(text: str) -> str:
    """Escape what a terminal would obey or show out of order: control characters and marks of direction."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def said(error: BaseException) -> str:
    """Return what an exception says, on one line; the name of its class where it says nothing."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return printable(" ".join(text.split())) or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, as libraries write many; the name of its class for none."""
    lines = str(error).splitlines()
    return printable(lines[0]) if lines else type(error).__name__
