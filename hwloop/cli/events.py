"""What a command does, line by line in a file, for a program that watches it.

The variable HWLOOP_EVENTS names the file, to which lines of JSON are added. Each has ``event`` and ``at``, seconds
since 1970; the events are ``began`` (pid, started, words), ``step`` (done, total, phase, tiles), ``said`` (text) and
``ended`` (code). A process that was killed leaves no ``ended``.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from hwloop.custody.alive import started

if TYPE_CHECKING:
    from hwloop.jobs.progress import Report, TileProgress
    from hwloop.typing import Json

VARIABLE = "HWLOOP_EVENTS"
"""Variable of the environment that names the file."""


@dataclass(frozen=True)
class Pace:
    """How often a line is written.

    Parameters
    ----------
    shortest, longest
        Seconds between two lines on steps.
    lines
        About as many lines are written by then: the time between them grows with the time that the job has taken.
    tiles
        Tiles that are listed at most, those of the largest errors.
    text
        Letters of what is said that are kept.
    """

    shortest: float = 0.25
    longest: float = 5.0
    lines: int = 4000
    tiles: int = 12
    text: int = 2000

    def between(self, elapsed: float) -> float:
        """Return the seconds between two lines when so much time has passed."""
        return min(max(self.shortest, elapsed / self.lines), self.longest)


@dataclass
class Events:
    """Writes what a command does; steps from a thread, so that the last one before a long rest is told as well."""

    path: Path
    pace: Pace = field(default_factory=Pace)
    _new: dict[str, Json] = field(default_factory=dict)
    _tiles: dict[int, TileProgress] = field(default_factory=dict)
    _part: str = ""
    _lock: Lock = field(default_factory=Lock)
    _over: Event = field(default_factory=Event)
    _began: float = field(default_factory=time.monotonic)

    def begin(self, words: Sequence[str]) -> None:
        """Write who does what, and begin to write steps as they come."""
        self._write("began", {"pid": os.getpid(), "started": started(os.getpid()), "words": list(words)})
        Thread(target=self._follow, daemon=True).start()

    def note(self, **what: Json) -> None:
        """Note something of how far the command is, for the next line on it."""
        with self._lock:
            self._new.update(what)

    def phase(self, text: str) -> None:
        """Note what the command does now; tiles of another part of it are forgotten."""
        part = text.partition(": ")[0] if ": " in text else ""
        with self._lock:
            if part != self._part:
                self._part = part
                self._tiles.clear()
                self._new.pop("tiles", None)
            self._new["phase"] = text

    def tile(self, number: int, tile: TileProgress) -> None:
        """Note how far a tile is."""
        with self._lock:
            self._tiles[number] = tile
            self._new["tiles"] = None  # made when it is written

    def say(self, text: str) -> None:
        """Write what is said to people."""
        self._write("said", {"text": text[: self.pace.text]})

    def end(self, code: int) -> None:
        """Write how it ended."""
        self._over.set()
        self._step()
        self._write("ended", {"code": code})

    def _follow(self) -> None:
        while not self._over.wait(self.pace.between(time.monotonic() - self._began)):
            self._step()

    def _step(self) -> None:
        with self._lock:
            new, self._new = self._new, {}
            if "tiles" in new:
                new["tiles"] = summary(list(self._tiles.values()), self.pace.tiles)
        if new:
            self._write("step", new)

    def _write(self, event: str, what: Mapping[str, Json]) -> None:
        """Add a line, in one write; a disk that is full stops no job."""
        line = json.dumps({"event": event, "at": round(time.time(), 3), **what}) + "\n"
        with contextlib.suppress(OSError), self.path.open("ab", buffering=0) as file:
            file.write(line.encode())


def summary(tiles: Sequence[TileProgress], most: int) -> dict[str, Json]:
    """Sum up how far tiles are, and list those of the largest errors."""
    known = sorted((one.mvm_error for one in tiles if math.isfinite(one.mvm_error)), reverse=True)
    worst = sorted(tiles, key=lambda one: -one.mvm_error if math.isfinite(one.mvm_error) else 0.0)[:most]
    told: dict[str, Json] = {"number": len(tiles), "pulses": round(statistics.fmean(one.pulses for one in tiles), 4)}
    told["done"] = sum(one.done for one in tiles)
    told["total"] = sum(one.total for one in tiles)
    if known:
        told |= {"error": statistics.median(known), "largest": known[0], "smallest": known[-1]}
    told["worst"] = [
        [
            one.core, one.tensor, one.done, one.total,
            one.mvm_error if math.isfinite(one.mvm_error) else None, round(one.pulses, 3),
        ]
        for one in worst
    ]  # fmt: skip
    return told


_PRESENT: ContextVar[Events | None] = ContextVar("events", default=None)


def present() -> Events | None:
    """Return what the command that runs writes its events with; None where nobody watches."""
    return _PRESENT.get()


@contextmanager
def told(words: Sequence[str]) -> Iterator[None]:
    """Write what a command does meanwhile, where HWLOOP_EVENTS names a file; what it starts itself does not."""
    path = os.environ.pop(VARIABLE, "")
    if not path:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the command itself listens to it
    events = Events(Path(path))
    token, code = _PRESENT.set(events), 1
    events.begin(words)
    try:
        yield
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        _PRESENT.reset(token)
        events.end(code)
        sys.stdout.flush()


@dataclass(frozen=True)
class Told:
    """A report that tells a file of events, too."""

    show: Report
    events: Events

    def __call__(self, done: int, total: int) -> None:
        """Tell how far the job is."""
        self.events.note(done=done, total=total)
        self.show(done, total)

    def phase(self, text: str) -> None:
        """Tell what the job does now."""
        from hwloop.jobs.progress import phase

        self.events.phase(text)
        phase(self.show, text)

    def tile(self, number: int, progress: TileProgress) -> None:
        """Tell how far a tile is."""
        from hwloop.jobs.progress import tile

        self.events.tile(number, progress)
        tile(self.show, number, progress)
