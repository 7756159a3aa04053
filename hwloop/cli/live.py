"""The one live display of a terminal: how far a job is, what it does now, when it ends, and how far its tiles are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from threading import Lock, Timer
from time import monotonic
from typing import TYPE_CHECKING, TextIO

from hwloop.cli.terminal import lines
from hwloop.durations import format_elapsed
from hwloop.errors import printable
from hwloop.jobs.progress import SHOWN_AFTER, Eta, TileProgress
from hwloop.mapping.names import shortened

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Look:
    """How the display looks.

    Parameters
    ----------
    bar
        Letters of the bar.
    tiles
        Tiles that are listed at most: those of the largest errors.
    tiles_after
        Seconds after which they are worth their lines.
    name
        Letters of a tensor's name.
    a_second
        How often it is drawn anew.
    """

    bar: int = 24
    tiles: int = 8
    tiles_after: float = 5.0
    name: int = 24
    a_second: float = 4.0


LOOK = Look()


class Display:
    """Watches a job on a terminal; drawn from a thread, so that the clock goes on during a long step."""

    def __init__(self, label: str, stream: TextIO) -> None:
        """Begin to count the time; the first line is drawn when the job has taken a second."""
        from rich.console import Console
        from rich.live import Live

        self._label, self._began, self._phase = label.strip(), monotonic(), ""
        self._eta, self._share, self._ended = Eta(self._began), 0.0, ""
        self._tiles: dict[int, TileProgress] = {}
        self._lock = Lock()
        console = Console(file=stream, force_terminal=True, highlight=False)
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=LOOK.a_second,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._starter = Timer(SHOWN_AFTER, self._start)
        self._starter.daemon = True
        self._starter.start()

    def _start(self) -> None:
        with self._lock:
            if not self._ended:
                self._live.start()

    def __call__(self, done: int, total: int) -> None:
        """Note how far the job is; the bar never goes back."""
        self._share = max(self._share, min(done / max(total, 1), 1.0))
        self._eta.note(self._share, monotonic())

    def phase(self, text: str) -> None:
        """Note what the job does now."""
        self._phase = text

    def tile(self, number: int, tile: TileProgress) -> None:
        """Note how far a tile is."""
        self._tiles[number] = tile

    def say(self, text: str) -> None:
        """Write a line above the display."""
        from rich.text import Text

        self._live.console.print(Text(lines(text)), soft_wrap=True)

    def end(self, how: str) -> None:
        """Draw the display for the last time: how the job has ended, at the place where it did."""
        self._starter.cancel()
        with self._lock:
            self._ended = how
            if self._live.is_started:
                self._live.stop()

    # ---- drawing -------------------------------------------------------------------------------------------------

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        now = monotonic()
        left = self._eta.left(now)
        when = self._ended or (f"about {short(left)} left" if left else "")
        filled = int(LOOK.bar * self._share)
        bar = f"[{'#' * filled}{'-' * (LOOK.bar - filled)}] {int(100 * self._share):>3}%"
        head = f"{self._label}  {bar}  {short(now - self._began)}  {when}".rstrip()
        rows = [Text(head, no_wrap=True, overflow="ellipsis")]
        if self._phase and not self._ended:
            rows.append(Text(f"  {printable(self._phase)}", "dim", no_wrap=True, overflow="ellipsis"))
        if len(self._tiles) > 1 and not self._ended and now - self._began > LOOK.tiles_after:
            rows += [Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in self._lines_of_tiles()]
        return Group(*rows)

    def _lines_of_tiles(self) -> list[str]:
        """List the tiles of the largest errors."""
        tiles = list(self._tiles.values())
        known = sorted(tiles, key=lambda one: -one.mvm_error if math.isfinite(one.mvm_error) else 0.0)
        names = shortened(dict.fromkeys(one.tensor for one in tiles), LOOK.name)
        width = max(map(len, names.values()))
        rows = [f"  {'core':>4}  {'tensor':<{width}}  {'step':>9}  {'MVM error':>9}  pulses"]
        for one in known[: LOOK.tiles]:
            error = f"{one.mvm_error:.4f}" if math.isfinite(one.mvm_error) else "-"
            step = f"{one.done} of {one.total}"
            name = names[one.tensor]
            rows.append(f"  {one.core:>4}  {name:<{width}}  {step:>9}  {error:>9}  {one.pulses:>6.2f}")
        more = len(tiles) - LOOK.tiles
        return [*rows, f"  and {more} more tiles, not shown"] if more > 0 else rows


def short(seconds: float) -> str:
    """Write a length of time in whole seconds, or coarser."""
    return format_elapsed(float(round(seconds)))
