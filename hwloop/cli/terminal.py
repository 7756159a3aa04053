"""The one place where text goes out: what a terminal would obey is shown, and not obeyed.

Names of tensors and files, answers of instruments and texts in files come from anywhere. An escape sequence in one of
them could hide a line, change one, or make the terminal type. So the two streams of a command escape everything that
cannot be printed but newlines, whoever writes to them; `hwloop.errors.printable` is for texts that must not have
newlines either.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

import click

from hwloop.errors import printable

_SAFE = re.compile(r"[\n\t\x20-\x7e]*\Z")


def lines(text: str) -> str:
    """Show a text of several lines."""
    if _SAFE.match(text):
        return text
    return "".join(part if part in ("\n", "\t") else printable(part) for part in re.split(r"([\n\t])", text))


def wrapped(text: str, first: str = "", then: str = "") -> str:
    """Break a text into lines of the terminal's width, 120 letters where there is none.

    Parameters
    ----------
    text
        What to break.
    first
        What the first line begins with.
    then
        What the others begin with.
    """
    return click.wrap_text(text, shutil.get_terminal_size((120, 24)).columns, first, then)


class _Shown:
    """A text stream that passes on what `lines` makes of what is written to it."""

    def __init__(self, stream: TextIO) -> None:
        self.unescaped = stream
        self.encoding, self.errors = stream.encoding, stream.errors

    def write(self, text: str) -> int:
        """Write a text, escaped; what the encoding lacks is escaped, too."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        encoding = self.encoding or "utf-8"
        self.unescaped.write(lines(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        """Write texts, escaped."""
        for text in texts:
            self.write(text)

    def flush(self) -> None:
        """Send on what is buffered."""
        self.unescaped.flush()

    def isatty(self) -> bool:
        """Tell whether a person reads it."""
        return self.unescaped.isatty()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.unescaped.fileno()


@contextmanager
def shown_streams() -> Iterator[None]:
    """Escape what is written to standard output and error meanwhile."""
    with redirect_stdout(_Shown(sys.stdout)), redirect_stderr(_Shown(sys.stderr)):
        yield


def drawing(stream: TextIO) -> TextIO:
    """Return the stream below one of `shown_streams`, for what moves the cursor and has nothing foreign in it."""
    return stream.unescaped if isinstance(stream, _Shown) else stream
