"""What an experiment will take, before it starts: from its rehearsal, and from how long such jobs took before."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from hwloop.durations import format_duration
from hwloop.files.space import in_words
from hwloop.typing import Json
from hwloop.web.composing import Composed
from hwloop.web.feed import Feed
from hwloop.web.jobs import Status, as_object, number
from hwloop.web.processes import command_of, end
from hwloop.web.rules import chips_of
from hwloop.web.settings import SETTINGS
from hwloop.web.site import Site, duration


@dataclass(frozen=True)
class Cost:
    """What is known of the cost.

    Parameters
    ----------
    rows
        Of each part: its name, and what it takes, by what that is.
    before
        Seconds that the last such jobs took on this computer.
    problem
        Why there is no rehearsal, or what it says against the experiment.
    """

    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    before: tuple[float, ...]
    problem: str = ""

    @property
    def history(self) -> str:
        """What is known from before."""
        if not self.before:
            return ""
        if len(self.before) == 1:
            return f"the last job of this kind took {duration(self.before[0])} on this computer"
        median = duration(statistics.median(self.before))
        return f"the last {len(self.before)} jobs of this kind took {median} on this computer, as a rule"


def rehearsals(composed: Composed) -> list[tuple[str, tuple[str, ...]]]:
    """List the command lines that tell what an experiment takes, without sending its chip anything."""
    form, words = composed.form, composed.words
    names = {one.name for one in form.fields}
    if {"dry_run", "out"} <= names:
        return [("", (*(word for word in words if word != "--dry-run"), "--dry-run", "--json"))]
    if form.path == ("compare",):
        shared = _without(words[1:], "--methods", "--set", "--repeats")
        methods = [one for one in composed.text("methods").split(",") if one]
        return [(one, ("program", *shared, "--method", one, "--dry-run", "--json")) for one in methods]
    return []


def _without(words: Sequence[str], *options: str) -> list[str]:
    """Leave options with one value each out of a command line."""
    kept, skip = [], False
    for word in words:
        if skip or word in options:
            skip = not skip
        elif not any(word.startswith(f"{option}=") for option in options):
            kept.append(word)
    return kept


async def cost_of(site: Site, composed: Composed, *, asked_for: bool) -> Cost:
    """Find out what an experiment takes; a real chip is only opened for it where a person has asked."""
    before = tuple(_before(site, composed.form.path))
    asked = rehearsals(composed)
    if not asked:
        return Cost((), before, "" if before else "this command has no rehearsal, and has not run here yet")
    real = [chip for chip in chips_of(composed.form, composed.values, site.folder) if not chip.startswith("sim:")]
    if real and not asked_for:
        return Cost((), before, "the chip itself is asked for it when you press 'What will it take?'")
    rows, problem = [], ""
    with site.queue.held(real):
        for name, words in asked:
            told = await _rehearse(site, words)
            if "error" in told:
                problem = str(told["error"])
            else:
                rows.append((name, _facts(told)))
    return Cost(tuple(rows), before, problem)


def _facts(told: dict[str, Json]) -> tuple[tuple[str, str], ...]:
    """Write what a rehearsal tells."""
    known = [
        ("chip time", number(told.get("chip_seconds")), format_duration),
        ("pulses a device", number(told.get("pulses_per_device")), lambda value: f"{value:g}"),
        ("memory", number(told.get("memory_bytes")), lambda value: in_words(int(value))),
        ("file", number(told.get("file_bytes")), lambda value: in_words(int(value))),
        ("beside it until the end", number(told.get("beside_bytes")), lambda value: in_words(int(value))),
    ]
    return tuple((name, f"up to {write(value)}") for name, value, write in known if value is not None)


async def _rehearse(site: Site, words: tuple[str, ...]) -> dict[str, Json]:
    """Run a rehearsal in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *command_of(words),
        cwd=site.folder.root,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(SETTINGS.cost):
            out, _ = await process.communicate()
    except TimeoutError:
        return {"error": "the rehearsal took too long"}
    finally:
        await end(process)
    return as_object(out) or {"error": "the rehearsal failed"}


def _before(site: Site, path: tuple[str, ...]) -> list[float]:
    """Return how long the last such jobs took."""
    found: list[float] = []
    for job in site.queue.ended(SETTINGS.shown_jobs):
        if job.asked.words[: len(path)] != path or job.status() is not Status.DONE:
            continue
        feed = Feed(job)
        feed.read()
        found.append(feed.live.at - feed.live.began)
        if len(found) == 3:
            break
    return found
