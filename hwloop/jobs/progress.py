"""How far a job is: reports for whoever calls it, a bar on a terminal, and the time that is left."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from hwloop.durations import format_elapsed

Report: TypeAlias = Callable[[int, int], None]
"""Called with (done, total) between steps; it may raise KeyboardInterrupt to stop there."""
Progress: TypeAlias = "bool | Report"
"""What jobs take: True draws a bar, False reports nothing, and a function is told."""

SHOWN_AFTER = 1.0
"""Seconds that a job takes before a bar is worth the line."""
WIDTH = 30
"""Characters of a bar."""


@dataclass(frozen=True)
class TileProgress:
    """How far the programming of a tile is.

    Parameters
    ----------
    core, tensor
        Where it lies, and what it holds.
    done, total
        Steps behind, and steps in all.
    mvm_error
        As the method sees it; NaN where it does not.
    pulses
        A device has received so many on average.
    """

    core: int
    tensor: str
    done: int
    total: int
    mvm_error: float
    pulses: float


class Changes(logging.Filter):
    """Passes on what is not what was said before: a job tells its phase at every step."""

    _last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to log a record."""
        text, last = record.getMessage(), self._last
        self._last = text
        return text != last


LOG = logging.getLogger(__name__)
LOG.addFilter(Changes())


@runtime_checkable
class Watcher(Protocol):
    """A report that is also told what is going on."""

    def __call__(self, done: int, total: int) -> None:
        """Tell how far the job is."""

    def phase(self, text: str) -> None:
        """Tell what the job does now."""

    def tile(self, number: int, tile: TileProgress) -> None:
        """Tell how far a tile is."""


def phase(report: Report, text: str) -> None:
    """Tell what a job does now, the log as well as a report that wants to know."""
    if text:
        LOG.info("%s", text)
    if text and isinstance(report, Watcher):
        report.phase(text)


def tile(report: Report, number: int, progress: TileProgress) -> None:
    """Tell how far a tile is, where the report wants to know."""
    if isinstance(report, Watcher):
        report.tile(number, progress)


@dataclass(frozen=True)
class Part:
    """The report of one of several jobs that follow each other.

    Parameters
    ----------
    whole
        Report of all.
    behind, of
        Jobs that are done, and jobs in all.
    name
        Of this one, which goes before its phases.
    grain
        Steps as which each of them counts.
    """

    whole: Report
    behind: int
    of: int
    name: str = ""
    grain: int = 1000

    def __call__(self, done: int, total: int) -> None:
        """Tell how far the job is."""
        self.whole(round(self.grain * (self.behind + done / max(total, 1))), self.grain * self.of)

    def phase(self, text: str) -> None:
        """Tell what the job does now."""
        phase(self.whole, f"{self.name}: {text}" if self.name else text)

    def tile(self, number: int, tile_progress: TileProgress) -> None:
        """Tell how far a tile is."""
        tile(self.whole, number, tile_progress)


@dataclass
class Eta:
    """Learns the time that is left from the pace of the latest part of the work, which beginnings seldom have.

    Parameters
    ----------
    began
        Moment at which the work began, seconds.
    latest
        Share of the time passed over which the pace is taken.
    enough
        Share of the work, or else reports, from which on a pace is known.
    kept
        Moments that are remembered at most; then every second one is forgotten.
    """

    began: float
    latest: float = 0.5
    enough: tuple[float, int] = (0.02, 4)
    kept: int = 256
    _seen: list[tuple[float, float]] = field(default_factory=list)

    def note(self, share: float, now: float) -> None:
        """Note the share of the work that is done at a moment: as long as it is nothing, the work has not begun."""
        if share == 0.0 and not self._seen:
            self.began = now
            return
        seen = self._seen or [(self.began, 0.0)]
        if share > seen[-1][1]:
            seen.append((now, share))
        self._seen = seen if len(seen) < self.kept else seen[::2]

    def left(self, now: float) -> float | None:
        """Return the seconds that are left; None where no pace is known yet."""
        if not self._seen:
            return None
        last, share = self._seen[-1]
        if share >= 1.0:
            return 0.0
        if share < self.enough[0] and len(self._seen) < self.enough[1]:
            return None
        since = last - self.latest * (last - self.began)
        then, before = next(one for one in reversed(self._seen[:-1]) if one[0] <= since)
        if last <= then:
            return None
        pace = (share - before) / (last - then)
        return max((1.0 - share) / pace - (now - last), 0.0)


def silent(done: int, total: int) -> None:
    """Report nothing."""


@contextmanager
def reporting(progress: Progress, label: str) -> Iterator[Report]:
    """Turn what a caller asked for into a function that is told (done, total).

    Parameters
    ----------
    progress
        True for a bar on stderr, where it is a terminal or a notebook; False for silence; or the function itself.
    label
        Stands before the bar.
    """
    if callable(progress):
        yield progress
    elif progress:
        bar = Bar(label)
        try:
            yield bar.show
        finally:
            bar.end()
    else:
        yield silent


class Bar:
    """A bar with the time that is left, drawn over one line of stderr."""

    def __init__(self, label: str) -> None:
        """Begin to count the time."""
        self._label, self._began, self._drawn = label, time.monotonic(), False
        self._eta = Eta(self._began)

    def show(self, done: int, total: int) -> None:
        """Draw the bar anew."""
        now = time.monotonic()
        share = min(done / max(total, 1), 1.0)
        self._eta.note(share, now)
        if now - self._began < SHOWN_AFTER:
            return
        seconds = self._eta.left(now)
        left = "..." if seconds is None else f"{format_elapsed(float(round(seconds)))} left"
        filled = round(WIDTH * share)
        sys.stderr.write(f"\r{self._label}  [{'#' * filled}{'-' * (WIDTH - filled)}] {share:4.0%}  {left:<12}")
        sys.stderr.flush()
        self._drawn = True

    def end(self) -> None:
        """Leave the line."""
        if self._drawn:
            sys.stderr.write("\n")
