"""Writes a page as text that fits a width: numbers stay whole, and long texts are cut unless all is wanted."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwloop.errors import printable
from hwloop.pages.page import Column, Fact, Page, Table

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Extent:
    """How much of a page is written.

    Parameters
    ----------
    rows
        Of each table; None for all.
    letters
        Of each text of its provenance; None for all.
    """

    rows: int | None = 12
    letters: int | None = 160


SCREENFUL, ALL = Extent(), Extent(rows=None, letters=None)


def text_of(page: Page, width: int, extent: Extent = SCREENFUL, *, colour: bool = False) -> str:
    """Write a page as text.

    Parameters
    ----------
    page
        What to write.
    width
        Letters of a line.
    extent
        How much of it.
    colour
        Whether headings are set off by the codes of a terminal.
    """
    from rich.console import Console
    from rich.text import Text

    content = io.StringIO()
    console = Console(file=content, width=width, highlight=False, force_terminal=colour)
    console.print(Text(printable(page.title), "bold"))
    console.print(Text(printable(page.verdict)))
    for warning in page.warnings:
        console.print(Text(f"warning: {printable(warning)}", "yellow"))
    console.print()
    _print_facts(page.facts, console, None)
    for table in page.tables:
        console.print()
        _print_table(table, console, extent.rows)
    console.print()
    _print_facts(page.provenance, console, extent.letters)
    if page.pictures:
        console.print()
        console.print(Text(f"Pictures (hwloop plot): {', '.join(one.name for one in page.pictures)}"))
    return "".join(f"{line.rstrip()}\n" for line in content.getvalue().splitlines())


def _print_facts(facts: Sequence[Fact], console: Console, letters: int | None) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for fact in facts:
        text = printable(fact.text)
        cut = letters is not None and len(text) > letters
        grid.add_row(Text(printable(fact.name), "dim"), Text(f"{text[:letters]} ... (--verbose)" if cut else text))
    console.print(grid)


def _print_table(table: Table, console: Console, rows: int | None) -> None:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    console.print(Text(table.title, "bold"))
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for number, column in enumerate(table.columns):
        right = table.is_number(number)
        shown = [column.write(row[number]) for row in table.rows[:rows]]
        # Only texts may be broken: a number that is cut would be another one.
        least = max([len(text) for text in shown], default=0) if right else None
        head = Text(_heading(column, narrow=right))
        grid.add_column(head, justify="right" if right else "left", overflow="fold", min_width=least, no_wrap=right)
    for row in table.rows[:rows]:
        grid.add_row(*(Text(printable(one.write(cell))) for one, cell in zip(table.columns, row, strict=True)))
    console.print(grid)
    left = len(table.rows) - len(table.rows[:rows])
    if left:
        console.print(Text(f"and {left:,} more rows (--verbose shows all)"))
    if table.note:
        console.print(Text(table.note, "dim"))


def _heading(column: Column, *, narrow: bool) -> str:
    """Write the heading of a column, with a line for each word where the numbers below are narrow."""
    words = column.title.split() if narrow else [column.title]
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= 7:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join([*lines, column.unit] if column.unit else lines)
