"""The one way in which a command shows a result: its page, as `hwloop show` shows that of a file."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hwloop.pages.page import Page
    from hwloop.pages.terminal import Extent


def show_page(page: Page, extent: Extent | None = None) -> None:
    """Print a page as wide as the terminal, in plain letters where there is none; as at a command's end by default."""
    from hwloop.pages.terminal import AT_THE_END, text_of

    width = shutil.get_terminal_size((120, 24)).columns  # a pipe has none
    click.echo(text_of(page, width, extent or AT_THE_END, colour=sys.stdout.isatty()), nl=False)
