"""What all pages share: the data folder, the queue, the readers, the templates."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import click
import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from hwloop.durations import format_elapsed
from hwloop.errors import printable
from hwloop.files.space import in_words
from hwloop.web.diary import Diary, Who
from hwloop.web.folder import DataFolder
from hwloop.web.queue import Queue
from hwloop.web.reading import Reader
from hwloop.web.script import command_line

Shown: TypeAlias = object
"""What a template is given."""


def ago(moment: float) -> str:
    """Say how long ago a moment was."""
    passed = time.time() - moment
    if passed < 1:
        return "just now"
    unit, name = next((one, word) for one, word in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")) if passed >= one)
    return f"{int(passed / unit)} {name} ago"


def duration(seconds: float) -> str:
    """Write a length of time in whole seconds, or coarser."""
    return format_elapsed(float(round(seconds)))


def make_templates() -> jinja2.Environment:
    """Make the environment of the templates: everything is escaped, and nothing unknown is passed over."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("hwloop.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    found.filters |= {
        "ago": ago,
        "duration": duration,
        "size": in_words,
        "line": command_line,
        "lines": str.splitlines,
        "python": repr,
    }
    return found


@dataclass
class Site:
    """What the pages work with.

    Parameters
    ----------
    commands
        All commands.
    folder, queue, diary
        Data, jobs, and the log of who did what.
    files, forms
        Processes that read files, and that look into classes for forms: neither waits for the other.
    public
        Whether others than this machine can reach it.
    """

    commands: click.Group
    folder: DataFolder
    queue: Queue
    diary: Diary
    files: Reader
    forms: Reader
    public: bool = False
    templates: jinja2.Environment = field(default_factory=make_templates)
    known: dict[str, Mapping[str, Shown]] = field(default_factory=dict)

    def render(self, template: str, shown: Mapping[str, Shown]) -> str:
        """Fill a template."""
        return self.templates.get_template(template).render(shown)

    def page(self, template: str, shown: Mapping[str, Shown], code: int = 200) -> Response:
        """Answer with a page."""
        running = len(self.queue.open_jobs())
        return HTMLResponse(self.render(template, {"running": running, "public": self.public, **shown}), code)

    def note(self, request: Request, action: str, what: str = "") -> None:
        """Write down who did what."""
        self.diary.note(who(request), action, what)


def who(request: Request) -> Who:
    """Return who asks, as the guard has found out."""
    found = request.scope["who"]
    assert isinstance(found, Who)
    return found


def site_of(request: Request) -> Site:
    """Return what the pages work with."""
    found = request.app.state.site
    assert isinstance(found, Site)
    return found
