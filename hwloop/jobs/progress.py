"""How far a job is: reports for whoever calls it, and a bar on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Report: TypeAlias = Callable[[int, int], None]
"""Called with (done, total) between steps; it may raise KeyboardInterrupt to stop there."""
Progress: TypeAlias = "bool | Report"
"""What jobs take: True draws a bar, False reports nothing, and a function is told."""

SHOWN_AFTER = 1.0
"""Seconds that a job takes before a bar is worth the line."""
WIDTH = 30
"""Characters of a bar."""


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

    def show(self, done: int, total: int) -> None:
        """Draw the bar anew."""
        passed = time.monotonic() - self._began
        if passed < SHOWN_AFTER:
            return
        share = min(done / max(total, 1), 1.0)
        left = f"{passed / share - passed:.0f} s left" if share > 0 else "..."
        filled = round(WIDTH * share)
        sys.stderr.write(f"\r{self._label}  [{'#' * filled}{'-' * (WIDTH - filled)}] {share:4.0%}  {left:<12}")
        sys.stderr.flush()
        self._drawn = True

    def end(self) -> None:
        """Leave the line."""
        if self._drawn:
            sys.stderr.write("\n")
