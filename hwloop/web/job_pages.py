"""Pages of jobs: what runs, how far it is, and the buttons that stop it and go on with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse

from hwloop.errors import BadInputError
from hwloop.web import processes
from hwloop.web.curve import curve_of
from hwloop.web.feed import whole_lines
from hwloop.web.fields import form_of, values_of
from hwloop.web.jobs import Asked, Job, Status, number
from hwloop.web.queue import Watch
from hwloop.web.script import command_line, folded, python
from hwloop.web.settings import SETTINGS
from hwloop.web.site import Site, site_of, who

RESUMED = ("program", "compare", "drift", "calibrate", "measure", "deploy", "fit", "retrain", "train")
"""Commands whose output `hwloop resume` goes on with."""


async def jobs(request: Request) -> Response:
    """List what runs, what waits, and what has ended."""
    site = site_of(request)
    found = [(job, site.queue.watch(job)) for job in site.queue.open_jobs()]
    ended = [(job, job.status()) for job in site.queue.ended(SETTINGS.shown_jobs)]
    return site.page(
        "jobs.html",
        {
            "jobs": found,
            "ended": ended,
            "queue": site.queue,
        },
    )


async def job(request: Request) -> Response:
    """Show a job."""
    site = site_of(request)
    found = site.queue.jobs.find(request.path_params["name"])
    watch = site.queue.watch(found)
    words = found.asked.words
    try:
        form = form_of(site.commands, words)
        script = python(form, values_of(form, words[len(form.path) :]), words)
    except BadInputError:
        script = ""
    return site.page(
        "job.html",
        {
            "job": found,
            "status": found.status(),
            "after": watch.feed.offset,
            "live": live(site, found, watch),
            "line": folded(words),
            "script": script,
        },
    )


async def part(request: Request) -> Response:
    """Give how far a job is, as the part of its page that changes."""
    site = site_of(request)
    found = site.queue.jobs.find(request.path_params["name"])
    return HTMLResponse(live(site, found, site.queue.watch(found)))


def live(site: Site, job: Job, watch: Watch) -> str:
    """Draw how far a job is: once for all who watch it."""
    status = job.status()
    state = watch.feed.live
    curve = curve_of(state.curves)
    return site.render(
        "live.html",
        {
            "job": job,
            "status": status,
            "state": state,
            "left": state.left(time.time()) if status.open else None,
            "passed": (time.time() if status.open else state.at) - state.began if state.began else 0.0,
            "curve": curve,
            "growing": _growing(site, job) if status is Status.RUNNING and curve is None else "",
            "waits": site.queue.waits_for(job) if status is Status.WAITING else "",
            "again": _again(job),
            "resumes": resumes(site, job, status),
            "said": list(state.said),
            "error": _last_words(job) if not status.open and status is not Status.DONE else "",
            "out": job.asked.out if job.asked.out and site.folder.has(job.asked.out) else "",
            "serves": _serves(job) if job.asked.is_service and status.open else "",
        },
    )


def _growing(site: Site, job: Job) -> str:
    """Return the address of a picture of a file that is being written; another one every now and then."""
    out = job.asked.out
    if not out.endswith(".h5") or not site.folder.has(out):
        return ""
    return f"/files/picture/{quote(out)}?name=&v={int(time.time() / SETTINGS.redraw)}"


async def again(request: Request) -> Response:
    """Open the command of a job as a form, with another name for what it writes."""
    site = site_of(request)
    asked = site.queue.jobs.find(request.path_params["name"]).asked
    words = list(asked.words)
    if asked.out and "--out" in words:
        stem, dot, suffix = asked.out.rpartition(".")
        words[words.index("--out") + 1] = site.folder.fresh(stem.rstrip("0123456789").rstrip("-"), dot + suffix)
    return RedirectResponse(f"/compose?line={quote(command_line(words))}", 303)


def _again(job: Job) -> bool:
    """Tell whether a stop was asked for so long ago that more may be asked."""
    at = number(job.told("stop.json").get("at"))
    return at is not None and time.time() - at > SETTINGS.stop_again


def resumes(site: Site, job: Job, status: Status) -> bool:
    """Tell whether something is left of a job to go on with."""
    if status.open or not job.asked.out:
        return False
    command = _begun_by(site, job)
    if command not in RESUMED:
        return False
    if status not in (Status.STOPPED, Status.KILLED, Status.FAILED, Status.MISSED):
        return False
    if any(one.asked.out == job.asked.out for one in site.queue.open_jobs()):
        return False
    own = command in ("measure", "train") and site.folder.has(job.asked.out)
    return own or (site.folder.path(job.asked.out).with_name(f"{_name(job)}.resume") / "job.json").exists()


def _begun_by(site: Site, job: Job) -> str:
    """Return the command with which the work of a job was begun."""
    if job.asked.command != "resume":
        return job.asked.command
    made = [one.asked.command for one in site.queue.jobs.all() if one.asked.out == job.asked.out]
    return next((command for command in made if command != "resume"), "")


def _name(job: Job) -> str:
    return job.asked.out.rpartition("/")[2]


def _serves(job: Job) -> str:
    """Return the URI that an emulated instrument has printed."""
    for word in tail(job, "stdout").split():
        if word.startswith("visa:"):
            return word.rstrip(";")
    return ""


def _last_words(job: Job) -> str:
    """Return the error with which a command has ended."""
    lines = [line for line in tail(job, "stderr").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith(("error:", "stopped"))), "")


def tail(job: Job, name: str) -> str:
    """Return the end of what a job has printed."""
    try:
        with (job.folder / name).open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - SETTINGS.output))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


async def output(request: Request) -> Response:
    """Give what a job has printed, as plain text."""
    found = site_of(request).queue.jobs.find(request.path_params["name"])
    return PlainTextResponse(f"{tail(found, 'stdout')}\n{tail(found, 'stderr')}")


async def stop(request: Request) -> Response:
    """Ask a job to stop; asked again, at once; and end its process where a person says so."""
    site = site_of(request)
    found = site.queue.jobs.find(request.path_params["name"])
    form = await request.form(max_files=0, max_fields=SETTINGS.fields)
    by = who(request).name
    if form.get("how") == "kill":
        if form.get("sure") != "yes":
            return site.page(
                "kill.html",
                {
                    "job": found,
                },
            )
        processes.kill(found, by)
        site.note(request, "kill", found.name)
    else:
        site.queue.stop(found, by)
        site.note(request, "stop", found.name)
    return RedirectResponse(f"/jobs/{found.name}", 303)


async def resume(request: Request) -> Response:
    """Go on with a job that was stopped, failed or was killed."""
    site = site_of(request)
    found = site.queue.jobs.find(request.path_params["name"])
    if not resumes(site, found, found.status()):
        raise BadInputError("there is nothing left of this job to go on with, or another is at it already")
    words = _resumed(site, found)
    job = site.queue.add(Asked(words, found.asked.chips, who(request).name, time.time(), found.asked.out))
    site.note(request, "resume", f"{job.name}: {command_line(words)}")
    return RedirectResponse(f"/jobs/{job.name}", 303)


def _resumed(site: Site, job: Job) -> tuple[str, ...]:
    """Write the command that goes on with a job: its chip and network are named again."""
    from hwloop.chip.registry import is_harmless

    form = form_of(site.commands, job.asked.words)
    values = values_of(form, job.asked.words[len(form.path) :])
    if form.path == ("resume",):
        return job.asked.words
    words = ["resume", job.asked.out]
    for name in ("backend", "network", "workers", "fleet"):
        text = (values.get(name) or ("",))[-1]
        if text and not (name == "backend" and is_harmless(text)):
            words += [f"--{name}", text]
    return tuple(words)


# ---- what is pushed ----------------------------------------------------------------------------------------------


class Watchers:
    """Counts the streams that are open."""

    def __init__(self) -> None:
        self.count = 0
        self.closing = asyncio.Event()


async def events(request: Request) -> Response:
    """Push every event of a job, and how far it is, until it has ended."""
    site, watchers = site_of(request), request.app.state.watchers
    found = site.queue.jobs.find(request.path_params["name"])
    told = request.headers.get("last-event-id") or request.query_params.get("after", "0")
    offset = int(told) if told.isdigit() and len(told) < 16 else 0
    if watchers.count >= SETTINGS.watchers:
        return PlainTextResponse("too many watch already\n", 503)
    return StreamingResponse(_stream(site, found, offset, watchers), media_type="text/event-stream")


async def _stream(site: Site, job: Job, offset: int, watchers: Watchers) -> AsyncIterator[str]:
    watchers.count += 1
    try:
        yield "retry: 1000\n\n"
        version = -1
        while not watchers.closing.is_set():
            watch = site.queue.watch(job)
            lines, _ = whole_lines(job, offset)
            text = ""
            for line in lines:
                offset += len(line) + 1
                text += f"id: {offset}\nevent: line\ndata: {line.decode('ascii', 'replace')}\n\n"
            fresh = watch.version
            if fresh != version or lines:
                version = fresh
                text += _data("live", shown(site, job, watch))
            yield text or ": still here\n\n"
            if not watch.status.open and not job.status().open:
                yield "event: end\ndata: end\n\n"
                return
            await asyncio.sleep(SETTINGS.live)
            await watch.news(version)
    finally:
        watchers.count -= 1


def shown(site: Site, job: Job, watch: Watch) -> str:
    """Return how far a job is, drawn once for each version of it."""
    if watch.shown[0] != watch.version or not watch.status.open:
        watch.shown = (watch.version, live(site, job, watch))
    return watch.shown[1]


def _data(event: str, text: str) -> str:
    """Write an event with a text of several lines."""
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"event: {event}\n{lines}\n"
