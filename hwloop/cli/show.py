"""`hwloop show`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hwloop.cli.common import command, given, json_option, print_json
from hwloop.cli.screen import show_page

if TYPE_CHECKING:
    from hwloop.pages.page import Page
    from hwloop.typing import Json


@dataclass(frozen=True)
class ShowOptions:
    """Options of `hwloop show`."""

    file: str = given(click.Argument(["file"], type=click.Path()))
    verbose: bool = given(click.Option(["--verbose", "-v"], is_flag=True, help="Show every row and text in full."))
    as_json: bool = given(json_option())


@command(ShowOptions, "show", logs=False)
def show(options: ShowOptions) -> None:
    """Show what is in FILE, any file that hwloop writes, in one screen.

    Nothing but the file is opened: no chip, no calibration, no network.

    \b
    Example:
      # run.h5 is what the example of hwloop program writes
      hwloop show run.h5
    """  # noqa: D301  click needs the backspace
    from hwloop.pages import page_of
    from hwloop.pages.terminal import ALL, SCREENFUL

    page = page_of(options.file)
    if options.as_json:
        print_json(_as_json(page))
        return
    show_page(page, ALL if options.verbose else SCREENFUL)


def _as_json(page: Page) -> dict[str, Json]:
    return {
        "kind": page.kind,
        "title": page.title,
        "verdict": page.verdict,
        "warnings": list(page.warnings),
        "facts": {fact.name: fact.text for fact in page.facts},
        "tables": [
            {
                "title": table.title,
                "columns": [" ".join(filter(None, (column.title, column.unit))) for column in table.columns],
                "rows": [list(row) for row in table.rows],
            }
            for table in page.tables
        ],
        "pictures": [picture.name for picture in page.pictures],
        "provenance": {fact.name: fact.text for fact in page.provenance},
    }
