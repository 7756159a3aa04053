"""Pages to choose and compose an experiment."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import click
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hwloop.errors import BadInputError
from hwloop.web.composing import Composed, checked, from_browser, from_line, input_of
from hwloop.web.costs import cost_of
from hwloop.web.fields import NO_FORM, Posted
from hwloop.web.jobs import Asked
from hwloop.web.recipes import RECIPES, recipe
from hwloop.web.script import command_line, folded, python
from hwloop.web.settings import SETTINGS
from hwloop.web.site import Site, site_of, who


async def home(request: Request) -> Response:
    """Show what can be done, what runs, and what came of the last jobs."""
    site = site_of(request)
    jobs = [(job, site.queue.watch(job)) for job in site.queue.open_jobs()]
    return site.page(
        "home.html",
        {
            "recipes": RECIPES,
            "jobs": jobs,
            "ended": site.queue.ended(5),
            "files": site.folder.files()[:8],
        },
    )


async def new(request: Request) -> Response:
    """Open a recipe as a form; where it needs a file that is not there yet, the recipe that makes it."""
    site, found = site_of(request), recipe(request.path_params["name"])
    if found is None:
        return site.page(
            "problem.html",
            {
                "problem": "There is no such experiment.",
            },
            404,
        )
    words, first = found.line(site.folder), ""
    if words is None:
        before = recipe(found.before)
        assert before is not None
        words, first = before.line(site.folder), found.name
        assert words is not None
    address = f"/compose?line={quote(command_line(words))}"
    return RedirectResponse(f"{address}&first={first}" if first else address, 303)


async def compose(request: Request) -> Response:
    """Show a command line as a form."""
    site, line = site_of(request), request.query_params.get("line", "")
    first = recipe(request.query_params.get("first", ""))
    if not line:
        return site.page(
            "commands.html",
            {
                "commands": listed(site),
                "line": "",
                "problem": "",
            },
        )
    try:
        composed = await from_line(site, line)
    except BadInputError as error:
        return site.page(
            "commands.html",
            {
                "commands": listed(site),
                "line": line,
                "problem": str(error),
            },
            400,
        )
    return _form(site, composed, more={"first": first.title if first else ""})


async def composed(request: Request) -> Response:
    """Take what a browser sends of a form: show it again, or run it."""
    site = site_of(request)
    form = await request.form(max_files=0, max_fields=SETTINGS.fields)
    posted = _posted(form)
    try:
        found = await from_browser(site, posted)
    except BadInputError as error:
        return site.page(
            "commands.html",
            {
                "commands": listed(site),
                "line": "",
                "problem": str(error),
            },
            400,
        )
    if form.get("do") not in ("run", "cost"):
        return _form(site, found)
    try:
        chips = await checked(site, found)  # before a rehearsal as well: it opens files and chips
        if form.get("do") == "cost":
            return _form(site, found, more={"cost": await cost_of(site, found, asked_for=True)})
    except BadInputError as error:
        return _form(site, found, more={"problem": str(error)}, code=400)
    out = found.text("out") if found.form.out is not None else ""
    job = site.queue.add(Asked(found.words, chips, who(request).name, time.time(), out))
    site.note(request, "run", f"{job.name}: {command_line(found.words)}")
    return RedirectResponse(f"/jobs/{job.name}", 303)


async def cost(request: Request) -> Response:
    """Tell what a form's experiment will take."""
    site = site_of(request)
    form = await request.form(max_files=0, max_fields=SETTINGS.fields)
    told, problem = None, ""
    try:
        found = await from_browser(site, _posted(form))
        await checked(site, found)
        told = await cost_of(site, found, asked_for=False)
    except BadInputError as error:
        problem = str(error)
    return site.page("cost.html", {"cost": told, "problem": problem})


def _posted(form: FormData) -> Posted:
    def posted(name: str) -> Sequence[str]:
        return [one for one in form.getlist(name) if isinstance(one, str)]

    return posted


def _form(site: Site, found: Composed, code: int = 200, more: Mapping[str, object] | None = None) -> Response:
    shown: dict[str, object] = {"problem": "", "first": "", "cost": None, **(more or {})}
    return site.page(
        "compose.html",
        {
            "composed": found,
            "site": site,
            "input_of": input_of,
            "line": folded(found.words),
            "script": python(found.form, found.values, found.words),
            **shown,
        },
        code,
    )


def listed(site: Site) -> list[tuple[str, str]]:
    """List all commands that are composed, with a line about each."""
    found = []
    context = click.Context(site.commands)
    for name in site.commands.list_commands(context):
        command = site.commands.get_command(context, name) if name not in NO_FORM else None
        if isinstance(command, click.Group):
            inner = [command.commands[one] for one in command.list_commands(context)]
            found += [(f"{name} {one.name}", one.get_short_help_str(120)) for one in inner]
        elif command is not None:
            found.append((name, command.get_short_help_str(120)))
    return found
