"""A bar on stderr, silence, or the caller's own function."""

from __future__ import annotations

import pytest

from hwloop.jobs import progress
from hwloop.jobs.progress import Bar, reporting


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that a bar sees, in its first element."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("passed", "done", "total", "shown"),
    [
        (0.9, 1, 4, ""),  # not worth a line
        (2.0, 2, 5, "\rfit  [" + "#" * 12 + "-" * 18 + "]  40%  3 s left    "),
        (9.0, 3, 4, "\rfit  [" + "#" * 22 + "-" * 8 + "]  75%  3 s left    "),
        (4.0, 0, 4, "\rfit  [" + "-" * 30 + "]   0%  ...         "),
        (4.0, 4, 4, "\rfit  [" + "#" * 30 + "] 100%  0 s left    "),
        (4.0, 9, 4, "\rfit  [" + "#" * 30 + "] 100%  0 s left    "),  # never beyond its end
        (4.0, 0, 0, "\rfit  [" + "-" * 30 + "]   0%  ...         "),
    ],
)
def test_a_bar_shows_what_is_done_and_the_time_that_is_left(
    clock: list[float], capsys: pytest.CaptureFixture[str], passed: float, done: int, total: int, shown: str
) -> None:
    bar = Bar("fit")
    clock[0] += passed
    bar.show(done, total)
    bar.end()
    drawn = capsys.readouterr().err
    assert drawn == (shown + "\n" if shown else "")


def test_a_caller_is_told_or_not(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    told: list[tuple[int, int]] = []
    with reporting(lambda done, total: told.append((done, total)), "job") as report:
        report(1, 2)
    with reporting(False, "job") as report:
        clock[0] += 50.0
        report(1, 2)
    assert told == [(1, 2)]
    assert capsys.readouterr().err == ""
    with reporting(True, "job") as report:
        clock[0] += 50.0
        report(1, 2)
    assert capsys.readouterr().err == "\rjob  [" + "#" * 15 + "-" * 15 + "]  50%  50 s left   \n"
