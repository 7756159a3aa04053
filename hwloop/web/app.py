"""The pages as one application: which address is which page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files as resources
from pathlib import Path

import click
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from hwloop.chip.profiles import profiles, profiles_path
from hwloop.chip.registry import schemes
from hwloop.errors import BadInputError, HwloopError
from hwloop.web import compose_pages, file_pages, job_pages
from hwloop.web.diary import Diary
from hwloop.web.folder import DataFolder
from hwloop.web.guard import Guard, TooLargeError, names_of
from hwloop.web.jobs import JobFolder, as_object
from hwloop.web.queue import Queue
from hwloop.web.reading import Reader, quietly
from hwloop.web.site import Site, site_of
from hwloop.web.tokens import Tokens

ROUTES = [
    Route("/", compose_pages.home),
    Route("/new/{name}", compose_pages.new),
    Route("/compose", compose_pages.compose),
    Route("/compose", compose_pages.composed, methods=["POST"]),
    Route("/cost", compose_pages.cost, methods=["POST"]),
    Route("/jobs", job_pages.jobs),
    Route("/jobs/{name}", job_pages.job),
    Route("/jobs/{name}/live", job_pages.part),
    Route("/jobs/{name}/again", job_pages.again),
    Route("/jobs/{name}/events", job_pages.events),
    Route("/jobs/{name}/output", job_pages.output),
    Route("/jobs/{name}/stop", job_pages.stop, methods=["POST"]),
    Route("/jobs/{name}/resume", job_pages.resume, methods=["POST"]),
    Route("/files", file_pages.files),
    Route("/files/together", file_pages.together),
    Route("/files/send", file_pages.send, methods=["POST"]),
    Route("/files/view/{name:path}", file_pages.view),
    Route("/files/form/{name:path}", file_pages.form),
    Route("/files/get/{name:path}", file_pages.get),
    Route("/files/table/{name:path}", file_pages.table),
    Route("/files/report/{name:path}", file_pages.report),
    Route("/files/picture/{name:path}", file_pages.picture),
]


async def chips(request: Request) -> Response:
    """List the chips that have names, and the instruments that were found last."""
    site = site_of(request)
    kinds = {name: entry.load() for name, entry in sorted(schemes().items())}
    try:
        lab, problem = dict(profiles()), ""
    except BadInputError as error:
        lab, problem = {}, str(error)
    looked = [job for job in site.queue.jobs.all() if job.asked.command == "discover"]
    text = job_pages.tail(looked[-1], "stdout") if looked else ""
    serving = [job for job in site.queue.open_jobs() if job.asked.is_service]
    return site.page(
        "chips.html",
        {
            "kinds": kinds,
            "lab": lab,
            "lab_file": str(profiles_path()),
            "problem": problem,
            "looked": looked[-1] if looked else None,
            "text": text,
            "serving": serving,
        },
    )


async def log(request: Request) -> Response:
    """Show who did what, the newest first."""
    site = site_of(request)
    try:
        lines = site.diary.path.read_bytes().splitlines()[-500:]
    except OSError:
        lines = []
    return site.page(
        "log.html",
        {
            "rows": [as_object(line) for line in reversed(lines)],
        },
    )


async def refused(request: Request, error: Exception) -> Response:
    """Show what is wrong with a request."""
    return site_of(request).page(
        "problem.html",
        {
            "problem": str(error),
        },
        413 if isinstance(error, TooLargeError) else 400,
    )


async def absent(request: Request, error: Exception) -> Response:
    """Say that there is no such page, or that it cannot be asked so."""
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (404, "")
    return site_of(request).page(
        "problem.html",
        {
            "problem": "There is no such page." if status == 404 else f"This cannot be asked so: {detail}",
        },
        status,
    )


def make_app(site: Site) -> Starlette:
    """Make the application of a site; it looks after the queue as long as it runs."""

    @asynccontextmanager
    async def living(app: Starlette) -> AsyncIterator[None]:
        work = asyncio.create_task(site.queue.run())
        warm = asyncio.create_task(quietly(site.forms, "settings", {"words": ["compare"], "values": {}}))
        try:
            yield
        finally:
            app.state.watchers.closing.set()
            asked = [work, warm, *app.state.tasks]
            for task in asked:
                task.cancel()
            await asyncio.wait(asked)  # each ends the process that it has begun
            await site.files.close()
            await site.forms.close()

    static = StaticFiles(directory=str(resources("hwloop.web") / "static"))
    routes = [*ROUTES, Route("/chips", chips), Route("/log", log), Mount("/static", static)]
    app = Starlette(routes=routes, lifespan=living)
    app.add_exception_handler(HwloopError, refused)
    app.add_exception_handler(HTTPException, absent)
    app.state.site, app.state.watchers, app.state.tasks = site, job_pages.Watchers(), set()
    return app


def load(site: Site) -> None:
    """Import what the pages show of commands and chips, before anybody waits for it."""
    compose_pages.listed(site)
    for entry in schemes().values():
        entry.load()


def make_site(commands: click.Group, root: Path, *, public: bool = False) -> Site:
    """Open a data folder: jobs of an earlier server go on being watched."""
    folder = DataFolder(root)
    folder.hidden.mkdir(mode=0o700, exist_ok=True)
    diary = Diary(folder.hidden / "log.jsonl")
    queue = Queue(JobFolder(folder.hidden / "jobs"), folder, diary)
    return Site(commands, folder, queue, diary, Reader(root), Reader(root), public)


def guarded(site: Site, tokens: Tokens, host: str, port: int) -> Guard:
    """Put the guard before the pages."""
    return Guard(make_app(site), tokens, site.diary, host, port, names_of(host))
