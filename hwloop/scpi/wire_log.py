"""Log of the wire: what driver and instrument say to each other, a line a message."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from hwloop.errors import BadInputError
from hwloop.scpi.limits import LIMITS

HEADER = "# hwloop wire log: seconds, direction, bytes, beginning of the message\n"


def shown(message: bytes) -> str:
    """Write how a message begins, in letters that can be printed."""
    text = message[: LIMITS.shown].decode("latin-1").encode("unicode_escape").decode("ascii")
    return f"{text}..." if len(message) > LIMITS.shown else text


class WireLog:
    """A text file with one line per message: seconds, direction, size, and how the message begins."""

    def __init__(self, path: Path) -> None:
        """Make the file, or go on with one that is a wire log already: nothing that stands in a file is ever lost.

        Raises BadInputError when it cannot be written, or is a file of another kind.
        """
        try:
            known = path.exists() and _begins_as_log(path)
            self._file = path.open("a" if known else "x", encoding="ascii", buffering=1)
        except OSError as error:
            raise BadInputError(f"log {path} cannot be written ({error.strerror}); give another place") from None
        if not known:
            self._file.write(HEADER)
        self._start = time.monotonic()

    def note(self, direction: str, message: bytes) -> None:
        """Write one line; '>' is sent, '<' received, '!' a remark."""
        passed = time.monotonic() - self._start
        self._file.write(f"{passed:12.6f} {direction} {len(message):9d} {shown(message)}\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _begins_as_log(path: Path) -> bool:
    """Return True for a wire log, so that it can be gone on with. Raises BadInputError for a file of another kind."""
    if path.is_file():
        with path.open("rb") as stream:
            if stream.read(len(HEADER)) == HEADER.encode():
                return True
    raise BadInputError(f"log {path} is another kind of file, to which nothing is added; give another name")
