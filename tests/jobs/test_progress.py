"""A bar on stderr, silence, or the caller's own function."""

from __future__ import annotations

import pytest

from hwloop.jobs import progress
from hwloop.jobs.progress import Bar, Eta, Part, TileProgress, phase, reporting, tile


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
        (2.0, 2, 5, "\rfit  [" + "#" * 12 + "-" * 18 + "]  40%  3s left     "),
        (9.0, 3, 4, "\rfit  [" + "#" * 22 + "-" * 8 + "]  75%  3s left     "),
        (4.0, 0, 4, "\rfit  [" + "-" * 30 + "]   0%  ...         "),
        (4.0, 4, 4, "\rfit  [" + "#" * 30 + "] 100%  0s left     "),
        (4.0, 9, 4, "\rfit  [" + "#" * 30 + "] 100%  0s left     "),  # never beyond its end
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
    assert capsys.readouterr().err == "\rjob  [" + "#" * 15 + "-" * 15 + "]  50%  50s left    \n"


def test_the_time_left_follows_the_latest_pace_and_not_the_slow_beginning() -> None:
    eta = Eta(0.0)
    assert eta.left(0.0) is None
    eta.note(0.001, 10.0)  # a first step of ten seconds would foretell three hours
    assert eta.left(10.0) is None
    for step in range(1, 21):
        eta.note(0.001 + 0.02 * step, 10.0 + step)
    assert eta.left(30.0) == pytest.approx((1 - 0.401) / 0.02, rel=0.05)
    assert eta.left(35.0) == pytest.approx((1 - 0.401) / 0.02 - 5, rel=0.05)  # the clock goes on between reports
    eta.note(1.0, 40.0)
    assert eta.left(40.0) == 0.0


def test_the_time_left_is_learnt_from_any_number_of_reports() -> None:
    eta = Eta(0.0)
    for step in range(1, 10_000):
        eta.note(step / 20_000, step / 100)
    assert eta.left(99.99) == pytest.approx(100.0, rel=0.02)
    assert len(eta._seen) < 300


class Watching:
    def __init__(self) -> None:
        self.told: list[object] = []

    def __call__(self, done: int, total: int) -> None:
        self.told.append((done, total))

    def phase(self, text: str) -> None:
        self.told.append(text)

    def tile(self, number: int, tile: TileProgress) -> None:
        self.told.append(tile)


def test_a_part_reports_to_the_whole_and_names_itself() -> None:
    whole, row = Watching(), TileProgress(0, "w", 1, 2, 0.1, 1.0)
    part = Part(whole, 1, 4, "gdp", grain=100)
    part(1, 2)
    phase(part, "measuring")
    phase(part, "")
    tile(part, 0, row)
    assert whole.told == [(150, 400), "gdp: measuring", row]


def test_a_plain_function_is_told_no_phases() -> None:
    told: list[tuple[int, int]] = []
    phase(lambda done, total: told.append((done, total)), "measuring")
    assert told == []
