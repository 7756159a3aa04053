"""The queue: a chip runs one job at a time, and a job starts when all its chips are free."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hwloop.errors import BadInputError, said
from hwloop.web import processes
from hwloop.web.diary import Diary, Who
from hwloop.web.feed import Feed
from hwloop.web.folder import DataFolder
from hwloop.web.jobs import Asked, Job, JobFolder, Status
from hwloop.web.settings import SETTINGS

QUEUE = Who("-", "queue")
"""Who starts jobs, in the log."""


@dataclass
class Watch:
    """One job as all who watch it see it.

    Parameters
    ----------
    feed
        How far it is.
    status
        What it was when it was looked at last.
    version
        Grows with everything that is new.
    shown
        A version, and how far the job was then as pages show it.
    printed
        Bytes that a service has printed.
    """

    feed: Feed
    status: Status
    version: int = 0
    shown: tuple[int, str] = (-1, "")
    printed: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def news(self, since: int) -> int:
        """Wait until there is something newer than a version; returns the present one, the same after a while."""
        async with self.changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SETTINGS.heartbeat):
                    await self.changed.wait_for(lambda: self.version != since)
        return self.version


class Queue:
    """Starts jobs in the order in which they came, and follows those that run."""

    def __init__(self, jobs: JobFolder, folder: DataFolder, diary: Diary) -> None:
        """Take up what an earlier server has left: jobs that run go on, jobs that wait are started in turn."""
        self.jobs, self.folder, self.diary = jobs, folder, diary
        self._watches: dict[str, Watch] = {}
        self._open: dict[str, Job] = {}
        self._ours: dict[str, subprocess.Popen[bytes]] = {}
        self._held: set[str] = set()
        self._fault = ""
        for job in jobs.all():
            if job.status().open:
                self._open[job.name] = job

    @contextlib.contextmanager
    def held(self, chips: Sequence[str]) -> Iterator[None]:
        """Keep jobs off some chips meanwhile. Raises BadInputError where one is in use."""
        for job in self._running():
            if shared := set(chips).intersection(job.asked.chips):
                raise BadInputError(f"{min(shared)} is in use by {job.name}")
        if shared := self._held.intersection(chips):
            raise BadInputError(f"{min(shared)} is being asked already")
        self._held.update(chips)
        try:
            yield
        finally:
            self._held.difference_update(chips)

    def add(self, asked: Asked) -> Job:
        """Add a job; it starts when its chips are free."""
        job = self.jobs.add(asked)
        self._open[job.name] = job
        return job

    def watch(self, job: Job) -> Watch:
        """Return a job as it is seen; it is read from its beginning the first time."""
        found = self._watches.get(job.name)
        if found is None:
            feed = Feed(job)
            feed.read()
            found = Watch(feed, job.status())
            if found.status.open:
                self._watches[job.name] = found
        return found

    def waits_for(self, job: Job) -> str:
        """Tell what a waiting job waits for."""
        taken = {chip: other for other in self._running() if other.name != job.name for chip in other.asked.chips}
        before = self._before(job)
        for chip in job.asked.chips:
            if chip in taken:
                return f"{chip} runs {taken[chip].name}"
            if chip in before:
                return f"{before[chip].name} comes before it on {chip}"
        return f"{SETTINGS.at_once} jobs run at a time on this computer"

    def _before(self, job: Job) -> dict[str, Job]:
        earlier = [one for one in self._open.values() if one.asked.at < job.asked.at and one.status() is Status.WAITING]
        return {chip: one for one in earlier for chip in one.asked.chips}

    def _running(self) -> list[Job]:
        return [one for one in self._open.values() if one.status() not in (Status.WAITING, Status.CANCELLED)]

    def open_jobs(self) -> list[Job]:
        """List the jobs that run or wait, in the order in which they came."""
        return sorted(self._open.values(), key=lambda one: one.asked.at)

    @property
    def idle(self) -> bool:
        """Whether no job is open, and every process that this server has started has ended."""
        return not self._open and not self._ours

    async def run(self) -> None:
        """Look after the jobs for ever, whatever one of them has in its files."""
        while True:
            try:
                await self.look()
            except Exception as error:  # a queue that stands still looks like one that waits, and jobs would for ever
                self._note_fault(f"{type(error).__name__}: {said(error)}")
            await asyncio.sleep(SETTINGS.tick)

    def _note_fault(self, text: str) -> None:
        """Write down what hindered the queue, once."""
        if text != self._fault:
            self._fault = text
            self.diary.note(QUEUE, "fault", text)

    async def look(self) -> None:
        """Take in what jobs have said, notice those that have ended, and start those whose turn it is."""
        for name, process in list(self._ours.items()):
            if process.poll() is not None:  # it is asked after, so that its number is free again
                del self._ours[name]
        for job in list(self._open.values()):
            watch = self.watch(job)
            new, status = watch.feed.read(), job.status()
            printed = job.printed if job.asked.is_service else 0  # its address, which no event tells
            if new or status is not watch.status or printed != watch.printed:
                watch.printed = printed
                watch.status = status
                async with watch.changed:
                    watch.version += 1
                    watch.changed.notify_all()
            if not status.open:
                watch.feed.read()
                self.diary.note(QUEUE, str(status), job.name)
                self._open.pop(job.name, None)
                self._watches.pop(job.name, None)
        self._start_next()

    def _start_next(self) -> None:
        states = {job.name: job.status() for job in self._open.values()}
        running = [job for job in self._open.values() if states[job.name] not in (Status.WAITING, Status.CANCELLED)]
        taken = self._held.union(*(job.asked.chips for job in running))
        places = SETTINGS.at_once - sum(not job.asked.is_service for job in running)
        for job in self.open_jobs():
            if states.get(job.name) is not Status.WAITING:
                continue
            if not taken.intersection(job.asked.chips) and (places > 0 or job.asked.is_service):
                self._start(job)
                places -= not job.asked.is_service
            taken.update(job.asked.chips)  # whoever came first is first, whether it runs yet or not

    def _start(self, job: Job) -> None:
        try:
            self._ours[job.name] = processes.start(job, str(self.folder.root))
        except OSError as error:
            with contextlib.suppress(OSError):  # of a disk that is full: it waits, and is tried again
                job.note("stop.json", {"at": time.time(), "by": "queue", "why": str(error)})
            return
        self.diary.note(QUEUE, "start", job.name)

    def stop(self, job: Job, by: str) -> None:
        """Ask a job to stop; one that waits is taken out of the queue."""
        processes.ask_to_stop(job, by)

    def ended(self, most: int) -> Sequence[Job]:
        """List the last jobs that have ended, the newest first."""
        return [job for job in reversed(self.jobs.all()) if job.name not in self._open][:most]
