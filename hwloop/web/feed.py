"""How far a job is, gathered from the lines of its events as they come."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from hwloop.jobs.progress import Eta
from hwloop.typing import Json
from hwloop.web.jobs import Job, as_object, number
from hwloop.web.settings import SETTINGS


@dataclass(frozen=True)
class Point:
    """A point of a growing curve: steps behind, and the median, smallest and largest error of the tiles."""

    step: float
    error: float
    smallest: float
    largest: float


@dataclass
class Live:
    """How far a job is."""

    began: float = 0.0
    at: float = 0.0
    share: float = 0.0
    phase: str = ""
    part: str = ""
    pulses: float | None = None
    tiles: int = 0
    rows: tuple[tuple[Json, ...], ...] = ()
    said: deque[str] = field(default_factory=lambda: deque(maxlen=SETTINGS.said))
    curves: dict[str, list[Point]] = field(default_factory=dict)
    code: int | None = None
    _eta: Eta | None = None

    def take(self, event: dict[str, Json]) -> None:
        """Take in an event."""
        self.at = number(event.get("at")) or self.at
        kind = event.get("event")
        if kind == "began":
            self.began, self._eta = self.at, Eta(self.at)
        elif kind == "said":
            self.said.append(str(event.get("text", "")))
        elif kind == "ended":
            code = event.get("code")
            self.code = code if isinstance(code, int) else None
            self.share = 1.0 if code == 0 else self.share
        elif kind == "step":
            self._step(event)

    def _step(self, event: dict[str, Json]) -> None:
        total, done = number(event.get("total")), number(event.get("done"))
        if total and done is not None:
            self.share = max(self.share, min(done / max(total, 1.0), 1.0))
            if self._eta is not None:
                self._eta.note(self.share, self.at)
        if "phase" in event:
            self.phase = str(event["phase"])
            head, colon, _ = self.phase.partition(": ")
            self.part = head if colon else ""
        tiles = event.get("tiles")
        if isinstance(tiles, dict):
            self._tiles(tiles)

    def _tiles(self, tiles: dict[str, Json]) -> None:
        self.tiles, self.pulses = int(number(tiles.get("number")) or 0), number(tiles.get("pulses"))
        worst = tiles.get("worst")
        if isinstance(worst, Sequence):
            self.rows = tuple(tuple(row) for row in worst if isinstance(row, list) and _is_row(row))
        error, done = number(tiles.get("error")), number(tiles.get("done"))
        if error is None or done is None:
            return
        low, high = number(tiles.get("smallest")), number(tiles.get("largest"))
        point = Point(done / max(self.tiles, 1), error, error if low is None else low, error if high is None else high)
        curve = self.curves.setdefault(self.part, [])
        if curve and point.step < curve[-1].step:  # another run of the same name
            curve.clear()
        if curve and curve[-1].step == point.step:
            curve[-1] = point
        else:
            curve.append(point)
        if len(curve) > SETTINGS.points:
            del curve[1:-1:2]

    def left(self, now: float) -> float | None:
        """Return the seconds that are left; None where that is not known."""
        return None if self._eta is None or self.code is not None else self._eta.left(now)


class Feed:
    """Follows the events of one job."""

    def __init__(self, job: Job) -> None:
        """Begin at the beginning."""
        self.job, self.live, self.offset = job, Live(), 0

    def read(self) -> bool:
        """Take in whole lines that are new; tell whether there were any."""
        lines, self.offset = whole_lines(self.job, self.offset)
        for line in lines:
            self.live.take(as_object(line))
        return bool(lines)


def whole_lines(job: Job, offset: int) -> tuple[list[bytes], int]:
    """Return the whole lines of a job's events from an offset on, and the offset behind them."""
    try:
        with job.events.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size <= offset:
                return [], offset
            stream.seek(offset)
            text = stream.read()
    except OSError:
        return [], offset
    end = text.rfind(b"\n") + 1
    return text[:end].splitlines(), offset + end


def _is_row(row: Sequence[Json]) -> bool:
    """Tell whether a tile is listed as it is shown: core, tensor, steps, all steps, error and pulses."""
    if len(row) != 6 or not isinstance(row[1], str):
        return False
    return all(at == 1 or (at == 4 and one is None) or number(one) is not None for at, one in enumerate(row))
