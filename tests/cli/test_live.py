"""The live display: how far, what, how long; above it what is said; and at its end how the job has ended."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import pytest
from rich.console import Console

from hwloop.cli import common, live
from hwloop.cli.live import Display
from hwloop.errors import ChipError
from hwloop.jobs.progress import TileProgress


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    found = Terminal()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    return found


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of displays, whose first line comes at once."""
    clock = [100.0]
    monkeypatch.setattr(live, "monotonic", lambda: clock[0])
    monkeypatch.setattr(live, "Timer", At)
    return clock


class At:
    """A timer that has run out."""

    daemon = False

    def __init__(self, seconds: float, do: Callable[[], None]) -> None:
        self.start = do

    def cancel(self) -> None:
        """Nothing is left to cancel."""


def drawn(display: Display) -> list[str]:
    content = io.StringIO()
    Console(file=content, width=80).print(display._draw())
    return [line.rstrip() for line in content.getvalue().splitlines()]


def test_the_display_tells_how_far_what_and_how_long(terminal: Terminal, now: list[float]) -> None:
    display = Display("fit", terminal)
    display.phase("drift: the spread")
    now[0] += 10.0
    display(1, 4)
    assert drawn(display) == ["fit  [######------------------]  25%  10s  about 30s left", "  drift: the spread"]
    display(0, 4)  # never back
    now[0] += 5.0
    assert drawn(display)[0].endswith(" 25%  15s  about 25s left")
    display.end("done")


def test_the_tiles_with_the_largest_errors_are_listed_in_long_jobs(terminal: Terminal, now: list[float]) -> None:
    display = Display("gdp", terminal)
    for number in range(12):
        error = math.nan if number == 3 else 0.05 + number / 100
        display.tile(number, TileProgress(number, f"layers.{number}.weight", 2, 9, error, 1.5))
    assert len(drawn(display)) == 1
    now[0] += 60.0
    lines = drawn(display)
    assert len(lines) == 1 + 1 + 8 + 1
    assert lines[2].split() == ["11", "layers.11.weight", "2", "of", "9", "0.1600", "1.50"]
    assert lines[-1] == "  and 4 more tiles, not shown"
    display.end("done")


@pytest.mark.usefixtures("now")
@pytest.mark.parametrize(
    ("end", "shown"),
    [(None, "100%  0s  done"), (KeyboardInterrupt, "50%  0s  stopped"), (ChipError, "50%  0s  failed")],
)
def test_a_job_ends_full_or_where_it_was(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, end: type[BaseException] | None, shown: str
) -> None:
    monkeypatch.setattr("sys.stderr", terminal)  # here, as pytest sets it anew before each test

    def work() -> None:
        with common.watched("job") as report:
            report(1, 2)
            common.say("warning: \x1b[2Jit is late")
            if end is not None:
                raise end("now")

    if end is None:
        work()
    else:
        with pytest.raises(end):
            work()
    text = terminal.getvalue()
    assert shown in text
    assert ("100%" in text) == (end is None)
    assert "warning: \\x1b[2Jit is late\n" in text.replace("\r", "")


@pytest.mark.usefixtures("now")
def test_a_job_that_was_stopped_and_gave_what_it_had_does_not_end_full(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", terminal)
    with common.watched("job") as report:
        report(1, 2)
        report.stop.asked = True  # by Ctrl-C; the job has then returned
    assert "50%  0s  stopped" in terminal.getvalue()
    assert "100%" not in terminal.getvalue()


def test_a_job_of_less_than_a_second_draws_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", terminal)
    with common.watched("job") as report:
        report(1, 2)
    assert terminal.getvalue() == ""
