"""Jobs on disk: what was asked for, the process that does it, and what became of it, from files alone.

A job's folder holds ``job.json`` (what was asked), ``start.json`` (its process), ``stop.json`` (asked to stop),
``events.jsonl`` (what the command says it does), ``stdout`` and ``stderr``.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hwloop.custody.alive import runs
from hwloop.errors import BadInputError
from hwloop.typing import Json


class Status(StrEnum):
    """What a job is, in a word."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    MISSED = "goal missed"
    STOPPED = "stopped"
    REFUSED = "refused"
    FAILED = "failed"
    KILLED = "killed"
    CANCELLED = "cancelled"

    @property
    def open(self) -> bool:
        """Whether it goes on, or will."""
        return self in (Status.WAITING, Status.STARTING, Status.RUNNING, Status.STOPPING)


_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[a-z0-9-]{1,60}")


@dataclass(frozen=True)
class Asked:
    """What was asked for.

    Parameters
    ----------
    words
        Command line, without the program's name.
    chips
        What no other job may use meanwhile.
    by
        Name of the token that asked.
    at
        Seconds since 1970.
    out
        File that it writes; empty for none.
    """

    words: tuple[str, ...]
    chips: tuple[str, ...]
    by: str
    at: float
    out: str = ""

    @property
    def command(self) -> str:
        """Name of the command."""
        return self.words[0]

    @property
    def title(self) -> str:
        """What it is in a few words: the command, and what it is about."""
        first = next((at for at, word in enumerate(self.words) if word.startswith("-")), len(self.words))
        return " ".join(self.words[: min(first, 2)])

    @property
    def is_service(self) -> bool:
        """Whether it runs until it is stopped, and so waits for no place."""
        return self.command == "serve"


@dataclass(frozen=True)
class Job:
    """A job by its folder."""

    folder: Path
    asked: Asked

    @property
    def name(self) -> str:
        """By which pages know it."""
        return self.folder.name

    @property
    def events(self) -> Path:
        """File of its events."""
        return self.folder / "events.jsonl"

    def note(self, name: str, what: Mapping[str, Json]) -> None:
        """Write one of its small files, whole or not at all."""
        write_json(self.folder / name, what)

    def told(self, name: str) -> dict[str, Json]:
        """Read one of its small files; empty where there is none."""
        return read_json(self.folder / name)

    def process(self) -> tuple[int, str]:
        """Return its process's number and moment of start, as far as they are known; (0, '') before."""
        start = self.told("start.json")
        if "pid" not in start:
            start = self.first_event()
        pid, since = start.get("pid"), start.get("started")
        return (pid, since) if isinstance(pid, int) and isinstance(since, str) else (0, "")

    def first_event(self) -> dict[str, Json]:
        """Return what its process said of itself at its beginning; empty where it has not."""
        try:
            with self.events.open("rb") as stream:
                return as_object(stream.readline())
        except OSError:
            return {}

    def last_event(self) -> dict[str, Json]:
        """Return the last whole event; empty where there is none."""
        try:
            with self.events.open("rb") as stream:
                stream.seek(max(0, os.fstat(stream.fileno()).st_size - 65536))
                lines = stream.read().splitlines()
        except OSError:
            return {}
        return as_object(lines[-1]) if lines else {}

    @property
    def alive(self) -> bool:
        """Whether its process runs now."""
        return runs(*self.process())

    @property
    def printed(self) -> int:
        """Bytes that it has printed."""
        try:
            return (self.folder / "stdout").stat().st_size
        except OSError:
            return 0

    @property
    def stop_asked(self) -> bool:
        """Whether it was asked to stop."""
        return (self.folder / "stop.json").exists()

    def status(self) -> Status:
        """Find out what it is, from its files and the processes of this machine."""
        if not (self.folder / "start.json").exists():
            return Status.CANCELLED if self.stop_asked else Status.WAITING
        last = self.last_event()
        if last.get("event") == "ended":
            return self._ended(last.get("code"))
        if self.alive:
            if self.stop_asked:
                return Status.STOPPING
            return Status.RUNNING if last else Status.STARTING
        again = self.last_event()  # it may have ended between the two looks
        if again.get("event") == "ended":
            return self._ended(again.get("code"))
        return Status.STOPPED if self.stop_asked and not self.told("stop.json").get("killed") else Status.KILLED

    def _ended(self, code: Json) -> Status:
        if code == 0:
            return Status.STOPPED if self.asked.is_service else Status.DONE
        if code == 1:
            return Status.STOPPED if self.stop_asked else Status.MISSED
        return Status.REFUSED if code == 2 else Status.FAILED


class JobFolder:
    """All jobs of a data folder."""

    def __init__(self, root: Path) -> None:
        """Use a folder, which is made where it is missing."""
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def add(self, asked: Asked) -> Job:
        """Add a job, which then waits. Raises BadInputError where it cannot be written down."""
        word = re.sub(r"[^a-z0-9]+", "-", "-".join(asked.words[:2]) if asked.command in GROUPS else asked.command)
        moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(asked.at))
        folder = self.root / f"{moment}-{word.strip('-')[:40]}-{secrets.token_hex(3)}"
        what: dict[str, Json] = {
            "words": list(asked.words),
            "chips": list(asked.chips),
            "by": asked.by,
            "at": asked.at,
            "out": asked.out,
        }
        try:
            folder.mkdir()
            write_json(folder / "job.json", what)
        except OSError as error:
            raise BadInputError(f"the job cannot be written down in {self.root}: {error.strerror}") from None
        return Job(folder, asked)

    def all(self) -> list[Job]:
        """List the jobs, the oldest first."""
        found = [self._read(one) for one in sorted(self.root.iterdir()) if _NAME.fullmatch(one.name)]
        return sorted((one for one in found if one is not None), key=lambda one: one.asked.at)

    def find(self, name: str) -> Job:
        """Find a job. Raises BadInputError where there is none of this name."""
        job = self._read(self.root / name) if _NAME.fullmatch(name) else None
        if job is None:
            raise BadInputError("there is no such job")
        return job

    def _read(self, folder: Path) -> Job | None:
        told = read_json(folder / "job.json")
        words, chips = told.get("words"), told.get("chips")
        if not isinstance(words, list) or not words or not isinstance(chips, list):
            return None
        asked = Asked(
            tuple(map(str, words)),
            tuple(map(str, chips)),
            str(told.get("by", "")),
            number(told.get("at")) or 0.0,
            str(told.get("out", "")),
        )
        return Job(folder, asked)


GROUPS = ("calibrate", "measure")
"""Commands whose second word names the job."""


def write_json(path: Path, what: Mapping[str, Json]) -> None:
    """Write a small file of JSON, whole or not at all."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        beside.write_text(json.dumps(what, indent=1), encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)  # what a full disk has taken of it


def read_json(path: Path) -> dict[str, Json]:
    """Read a small file of JSON; empty where there is none, or none that is whole."""
    try:
        return as_object(path.read_bytes())
    except OSError:
        return {}


def number(value: Json) -> float | None:
    """Return a number that can be shown; None for anything else, and for one that is without end."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None


def as_object(text: bytes) -> dict[str, Json]:
    """Read an object of JSON; empty for anything else."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
