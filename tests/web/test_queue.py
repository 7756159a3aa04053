"""Jobs outlive their server, a chip has one at a time, and what is shown is what is so."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hwloop.cli import main
from hwloop.custody.alive import started
from hwloop.errors import BadInputError
from hwloop.web import processes
from hwloop.web.app import make_site
from hwloop.web.jobs import Asked, Job, Status
from hwloop.web.site import Site
from tests.web.conftest import Asker, run, wait_for

SCRIPT = """
import json, os, signal, sys, time
from hwloop.cli.events import told
kind, seconds = sys.argv[1], float(sys.argv[2])
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
with told(sys.argv[1:]):
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    print("listens to signals itself", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
        if asked and kind != "deaf":
            sys.exit(1)
    sys.exit({"miss": 1, "refuse": 2, "fail": 3}.get(kind, 0))
"""
"""A command that needs a twentieth of a second: it is told its kind and how long it takes."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "command_of", lambda words: [sys.executable, "-c", SCRIPT, *words])


def add(site: Site, kind: str, seconds: float = 0.0, chip: str = "a") -> Job:
    return site.queue.add(Asked((kind, str(seconds)), (chip,), "anna", time.time()))


@pytest.mark.parametrize(
    ("kind", "status"),
    [("good", Status.DONE), ("miss", Status.MISSED), ("refuse", Status.REFUSED), ("fail", Status.FAILED)],
)
def test_how_a_job_ends_is_what_its_exit_code_says(site: Site, kind: str, status: Status) -> None:
    job = add(site, kind)
    assert job.status() is Status.WAITING
    wait_for(site, lambda: not site.queue.open_jobs())
    assert job.status() is status
    assert [one.name for one in site.queue.ended(9)] == [job.name]


def test_a_chip_runs_one_job_at_a_time_and_in_order(site: Site) -> None:
    first, second, other = add(site, "good", 0.6), add(site, "good", 0.2), add(site, "good", 0.2, "b")
    wait_for(site, lambda: first.status() is Status.RUNNING and other.status() in (Status.RUNNING, Status.DONE))
    assert second.status() is Status.WAITING
    assert site.queue.waits_for(second) == f"a runs {first.name}"
    wait_for(site, lambda: not site.queue.open_jobs())
    assert first.last_event()["at"] <= second.first_event()["at"]


def test_no_more_run_than_the_computer_takes(site: Site) -> None:
    jobs = [add(site, "good", 0.5, str(number)) for number in range(4)]
    wait_for(site, lambda: jobs[1].status() is Status.RUNNING)
    assert [job.status() for job in jobs[2:]] == [Status.WAITING, Status.WAITING]
    assert "2 jobs run at a time" in site.queue.waits_for(jobs[3])
    wait_for(site, lambda: not site.queue.open_jobs())


def test_a_stop_is_asked_for_and_then_so(site: Site) -> None:
    job, waiting = add(site, "good", 60), add(site, "good", 60)
    wait_for(site, lambda: job.status() is Status.RUNNING)
    site.queue.stop(waiting, "bert")
    assert waiting.status() is Status.CANCELLED
    site.queue.stop(job, "bert")
    wait_for(site, lambda: not site.queue.open_jobs())
    assert job.status() is Status.STOPPED
    assert job.told("stop.json")["by"] == "bert"


def test_force_is_used_only_after_asking(site: Site) -> None:
    job = add(site, "deaf", 60)
    wait_for(site, lambda: job.printed > 0)
    with pytest.raises(BadInputError, match="only killed after it was asked"):
        processes.kill(job, "anna")
    site.queue.stop(job, "anna")
    time.sleep(0.2)
    assert job.status() is Status.STOPPING
    processes.kill(job, "anna")
    wait_for(site, lambda: not site.queue.open_jobs())
    assert job.status() is Status.KILLED


def test_a_killed_process_is_seen(site: Site) -> None:
    job = add(site, "good", 60)
    wait_for(site, lambda: job.status() is Status.RUNNING)
    os.kill(job.process()[0], signal.SIGKILL)
    wait_for(site, lambda: job.status() is Status.KILLED)


def test_another_server_takes_up_what_runs_and_what_waits(site: Site, lab: Path) -> None:
    running, waiting = add(site, "good", 1.0), add(site, "good")
    wait_for(site, lambda: running.status() is Status.RUNNING)
    pid = running.process()[0]
    later = make_site(main, lab)  # as if the first had been killed
    assert [job.name for job in later.queue.open_jobs()] == [running.name, waiting.name]
    wait_for(later, lambda: later.queue.idle)
    assert running.process()[0] == pid
    assert (running.status(), waiting.status()) == (Status.DONE, Status.DONE)


def test_a_number_of_a_process_that_was_given_again_is_another(site: Site) -> None:
    job = add(site, "good")
    job.note("start.json", {"at": time.time(), "pid": os.getpid(), "started": "not this one"})
    assert job.status() is Status.KILLED
    site.queue.stop(job, "anna")  # and is not what is sent a signal: this test would end here
    assert job.status() is Status.STOPPED


def test_a_job_whose_server_died_while_it_started_is_not_started_twice(site: Site) -> None:
    job = add(site, "good")
    job.note("start.json", {"at": time.time()})
    wait_for(site, lambda: not site.queue.open_jobs())
    assert job.status() is Status.KILLED


def test_files_that_are_cut_off_are_no_state(site: Site) -> None:
    job = add(site, "good")
    wait_for(site, lambda: site.queue.idle)
    text = job.events.read_bytes()
    job.events.write_bytes(text[:-10])
    assert job.status() is Status.KILLED
    (job.folder / "job.json").write_text("{")
    assert site.queue.jobs.all() == []


@pytest.mark.parametrize(
    "name", ["", "..", "../../x", "20260101-000000-x/..", "a" * 300, "20260101-000000-none-0a0b0c"]
)
def test_no_name_of_a_job_leads_elsewhere(site: Site, name: str) -> None:
    with pytest.raises(BadInputError):
        site.queue.jobs.find(name)


def test_watchers_are_told_of_every_change(site: Site) -> None:
    job = add(site, "good", 0.3)
    watch = site.queue.watch(job)
    seen = []
    for _ in range(3):
        wait_for(site, lambda: watch.version > len(seen))
        seen.append(watch.status)
        if not watch.status.open:
            break
    assert seen[-1] in (Status.RUNNING, Status.DONE)
    assert run(watch.news(-1)) == watch.version


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_nobody_from_stopping_a_job(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job = add(site, "good", 60.0)
    wait_for(site, lambda: job.status() is Status.RUNNING)
    waits = add(site, "good")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        site.queue.stop(job, "anna")
        with pytest.raises(BadInputError, match="cannot be written down that this job is to stop: No space left"):
            site.queue.stop(waits, "anna")
        with pytest.raises(BadInputError, match="the job cannot be written down"):
            add(site, "good")
        wait_for(site, lambda: waits.name in {one.name for one in site.queue.open_jobs()} and not job.alive)
        assert waits.status() is Status.WAITING  # and the queue still looks after it
        assert not list(waits.folder.glob("*.new"))
    wait_for(site, lambda: site.queue.idle)
    assert waits.status() is Status.DONE


def test_a_number_that_goes_to_another_process_in_between_gets_no_signal(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add(site, "good")
    job.note("start.json", {"pid": os.getpid(), "started": started(os.getpid())})
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        answers = iter([True, False])
        with monkeypatch.context() as patch:
            patch.setattr(processes, "runs", lambda pid, since: next(answers))
            site.queue.stop(job, "anna")
        time.sleep(0.01)
    finally:
        signal.signal(signal.SIGTERM, before)
        job.note("start.json", {"at": 0.0})  # it is none that could be stopped
    assert told == []


HUGE = "1" + 400 * "0"


@pytest.mark.parametrize("at", [HUGE, "1e999", "-1e999", "NaN", '"x"', "true"])
def test_numbers_that_are_none_break_no_page(site: Site, ask: Asker, at: str) -> None:
    job = add(site, "good")
    (job.folder / "job.json").write_text(f'{{"words": ["good"], "chips": [], "at": {at}}}')
    (job.folder / "start.json").write_text("{}")
    (job.folder / "stop.json").write_text(f'{{"at": {at}}}')
    worst = f'[[{at}, "w", 1, 2, 0.1, 1], [1, 2], 3, [0, "w", 1, 2, null, {at}]]'
    tiles = f'{{"number": {at}, "done": 1, "pulses": {at}, "error": {at}, "worst": {worst}}}'
    job.events.write_text(
        f'{{"event": "began", "at": {at}}}\n{{"event": "step", "done": {at}, "total": {at}, "tiles": {tiles}}}\n'
    )
    for page in ("/", "/jobs", f"/jobs/{job.name}"):
        assert ask.get(page).status == 200
    wait_for(site, lambda: site.queue.idle)


def test_the_queue_goes_on_after_a_fault(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job, begun = add(site, "good"), iter([True])
    first = processes.start

    def start(*given: Any) -> Any:
        if next(begun, False):
            raise RuntimeError("of a library")
        return first(*given)

    monkeypatch.setattr(processes, "start", start)

    async def look() -> None:
        task = asyncio.create_task(site.queue.run())
        async with asyncio.timeout(30):
            while not site.queue.idle:
                await asyncio.sleep(0.02)
        task.cancel()

    run(look())
    assert job.status() is Status.DONE
    assert "RuntimeError: of a library" in site.diary.path.read_text()
