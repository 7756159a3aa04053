"""Writes a page as one HTML file that needs nothing else: no network, no script, pictures within."""

from __future__ import annotations

import base64
import importlib.metadata
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jinja2
import matplotlib
from matplotlib.figure import Figure

from hwloop.errors import BadInputError, printable
from hwloop.files import hdf5
from hwloop.files.reading import whole
from hwloop.pages.opening import Shown, page_of
from hwloop.pages.page import Page, Picture


@dataclass(frozen=True)
class Drawn:
    """A picture that was drawn.

    Parameters
    ----------
    picture
        What it is.
    source
        Its PNG, as a data address.
    width, height
        Pixels at which it is shown.
    """

    picture: Picture
    source: str
    width: int
    height: int


def report(what: Shown, path: str | Path, *, force: bool = False) -> Page:
    """Write a report: one self-contained HTML file of a result, with pictures, tables and provenance.

    Parameters
    ----------
    what
        Any file that hwloop writes, or what was loaded from one.
    path
        HTML file to write.
    force
        Replace an existing file.

    Returns
    -------
    Page
        What was written, to be looked at in Python.

    Raises
    ------
    BadInputError
        For a file that is missing, damaged or not hwloop's, and when the report cannot be written.
    """
    where = Path(path)
    if where.suffix.lower() not in (".html", ".htm"):
        raise BadInputError(f"{where}: a report is a .html file")
    if isinstance(what, str | Path) and where.resolve() == Path(what).resolve():
        raise BadInputError(f"{where} holds the data; give another name for the report")
    hdf5.check_writable(where, force=force)
    page = page_of(what)
    with whole(page.title, "file", "make it anew"):
        content = html_of(page).encode()
    hdf5.replace_file(where, content)
    return page


def html_of(page: Page) -> str:
    """Write a page as HTML; all its texts are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hwloop.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if isinstance(value, str) else value,
    )
    return environment.get_template("page.html").render(
        page=page,
        drawn=[_draw(picture) for picture in page.pictures],
        version=importlib.metadata.version("hwloop"),
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )


@dataclass(frozen=True)
class Drawing:
    """How large pictures of a report are.

    Parameters
    ----------
    width, height
        Inches: small ones, so that their letters can be read on a phone.
    shown
        Pixels of an inch as the page shows it.
    fineness
        Pixels of the picture for each of these, for screens of fine dots and for print.
    """

    width: float = 5.6
    height: float = 3.7
    shown: int = 110
    fineness: float = 2.0


def _draw(picture: Picture, how: Drawing | None = None) -> Drawn:
    how = how or Drawing()
    figure = Figure(figsize=(how.width, how.height), layout="constrained")
    picture.draw(figure.subplots())
    content = io.BytesIO()
    with matplotlib.rc_context({"savefig.facecolor": "white"}):
        figure.savefig(content, format="png", dpi=how.shown * how.fineness)
    source = "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
    return Drawn(picture, source, round(how.width * how.shown), round(how.height * how.shown))
