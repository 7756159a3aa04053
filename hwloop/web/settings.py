"""Numbers and names of the pages."""

from __future__ import annotations

from dataclasses import dataclass

HIDDEN = ".hwloop-web"
"""Folder within the data folder that holds jobs, the log and what was drawn; no page shows what is in it."""


@dataclass(frozen=True)
class WebSettings:
    """How the server works, and what it takes from a browser."""

    tick: float = 0.2
    """Seconds between two looks at the jobs that run."""
    at_once: int = 2
    """Jobs that run at a time, each on another chip; services do not count."""
    upload: int = 2**30
    """Bytes of a file that is sent to the data folder, at most."""
    form: int = 2**20
    """Bytes of any other request, at most."""
    request: float = 10.0
    """Seconds within which the head of a request is to come, once a connection is open or has begun another."""
    fields: int = 2000
    """Fields of a form, at most."""
    line: int = 20_000
    """Letters of a command line, at most."""
    words: int = 500
    """Words of a command line, at most."""
    files: int = 3000
    """Files that are listed, at most."""
    depth: int = 4
    """Folders within folders that are looked into."""
    name: int = 200
    """Bytes of a file's name, at most: file systems take 255, and what stands beside a file has a longer one."""
    path: int = 1000
    """Bytes of a file's name with the folders that it is in, at most."""
    shown_jobs: int = 50
    """Ended jobs that a page lists."""
    said: int = 100
    """Last lines of a job's messages that are shown."""
    output: int = 100_000
    """Last bytes of what a command printed that are shown."""
    points: int = 240
    """Points of a growing curve; every second one is dropped when there are more."""
    live: float = 0.8
    """Seconds between two pictures of a job's state, at least."""
    redraw: float = 30.0
    """Seconds between two pictures of a file that grows: a picture takes a second of one core, with low priority."""
    heartbeat: float = 15.0
    """Seconds after which a silent stream says that it is still there."""
    watchers: int = 200
    """Streams that are open at a time, at most."""
    read: float = 120.0
    """Seconds that reading or drawing one file may take."""
    cost: float = 60.0
    """Seconds that a rehearsal may take."""
    together: int = 4
    """Files that are shown side by side, at most."""
    answer: float = 0.1
    """Seconds that a list of files waits for headlines that are not known yet."""
    stop_again: float = 10.0
    """Seconds after which a job that was asked to stop may be asked again, to stop at once."""
    diary: int = 5_000_000
    """Bytes of the log of who did what, before a new one is begun; the one before is kept."""

    refusals: float = 60.0
    """Seconds between two lines of the log on wrong tokens, at least."""


SETTINGS = WebSettings()
"""The settings of every server."""
