"""Processes of jobs: each is the command itself, in a session of its own, so that it outlives the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from hwloop.custody.alive import runs, started
from hwloop.errors import BadInputError
from hwloop.web.jobs import Job


def command_of(words: tuple[str, ...]) -> list[str]:
    """Return the words that start a command as the command line does: no module is taken from the data folder."""
    return [sys.executable, "-P", "-m", "hwloop", *words]


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill a process that only answers questions, and wait until it is gone.

    Who is cancelled meanwhile waits all the same, since a killed process ends at once: a server that closes before its
    children leaves them to nobody.
    """
    cancelled: asyncio.CancelledError | None = None
    while process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        try:
            await process.wait()
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def start(job: Job, folder: str) -> subprocess.Popen[bytes]:
    """Start the process of a job in the data folder, and write down which it is."""
    job.note("start.json", {"at": time.time()})  # before: one that a dying server has started is not started again
    environment: Mapping[str, str] = os.environ | {"HWLOOP_EVENTS": str(job.events.resolve()), "COLUMNS": "100"}
    with (job.folder / "stdout").open("wb") as out, (job.folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            command_of(job.asked.words),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
            start_new_session=True,
        )
    try:
        job.note("start.json", {"at": time.time(), "pid": process.pid, "started": started(process.pid)})
    except OSError:
        process.terminate()  # nobody could find it again
        raise
    return process


def ask_to_stop(job: Job, by: str) -> None:
    """Ask the process of a job to stop at its next step; asked a second time, it stops at once. Both leave it idle.

    Raises BadInputError where the job waits and it cannot be written down that it shall not begin; one that runs is
    stopped, written down or not.
    """
    told = job.told("stop.json")
    times = told.get("times")
    count = times if isinstance(times, int) else 0
    try:
        job.note("stop.json", {**told, "at": time.time(), "by": by, "times": count + 1})
    except OSError as error:
        if not job.alive:
            raise BadInputError(f"it cannot be written down that this job is to stop: {error.strerror}") from None
    _send(job, signal.SIGTERM)


def kill(job: Job, by: str) -> None:
    """End the process of a job without asking it; a chip is left as it is.

    Raises BadInputError for a job that was not asked to stop before.
    """
    if not job.stop_asked:
        raise BadInputError("a process is only killed after it was asked to stop")
    job.note("stop.json", {**job.told("stop.json"), "killed": time.time(), "by": by})
    _send(job, signal.SIGKILL)


def _send(job: Job, number: signal.Signals) -> None:
    """Send a signal to the process of a job, if it is still that one."""
    pid, since = job.process()
    if not runs(pid, since):
        return
    with contextlib.suppress(ProcessLookupError):
        if sys.platform != "linux":
            os.kill(pid, number)
            return
        handle = os.pidfd_open(pid)
        try:
            if runs(pid, since):  # else its number was given to another in between
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)
