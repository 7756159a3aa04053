"""A link that expects exactly the lines of a script and answers as it says."""

from __future__ import annotations

from typing import Any

from hwloop.drivers.bench.wire import ErrorQueue, Wire

Script = list[tuple[str, str | None]]
"""Lines that must come, in order, each with its answer or None."""


class ScriptedLink:
    """Stands for a VisaLink."""

    def __init__(self, script: Script) -> None:
        self.left = list(script)
        self.bytes_moved = 0
        self._answers: list[str] = []

    def clear(self) -> None:
        self._answers.clear()

    def write(self, message: bytes, deadline: float) -> None:
        assert self.left, f"nothing more was expected, got {message!r}"
        expected, answer = self.left.pop(0)
        assert message.decode() == expected
        if answer is not None:
            self._answers.append(answer)

    def read_line(self, deadline: float, quiet: float = 0.0) -> bytes:
        assert self._answers, "an answer was expected to a line that has none"
        return self._answers.pop(0).encode()

    def close(self) -> None:
        assert not self.left, f"not asked: {self.left}"


def scripted(script: Script, errors: ErrorQueue) -> tuple[Wire, Any]:
    """A wire on a scripted link, and the link."""
    link: Any = ScriptedLink(script)
    return Wire(link, "bench-1", 1.0, errors), link
