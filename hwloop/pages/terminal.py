"""Writes a page as text that fits a width: numbers stay whole, names stay apart, and long tables are cut or parted."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hwloop.errors import printable
from hwloop.mapping.names import shortened
from hwloop.pages.page import Column, Fact, Page, Table
from hwloop.pages.texts import counted

if TYPE_CHECKING:
    from rich.box import Box
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
    details
        Whether tables that another one sums up are written.
    origin
        Whether it is told where all comes from, and what can be drawn.
    """

    rows: int | None = 12
    letters: int | None = 160
    details: bool = False
    origin: bool = True


SCREENFUL, ALL = Extent(), Extent(rows=None, letters=None, details=True)
AT_THE_END = Extent(origin=False)
"""What a command says of its result."""
ENTIRE = Extent(rows=None, details=True, origin=False)
"""The same, with every row."""


@dataclass(frozen=True)
class Room:
    """How the columns of a table share a line.

    Parameters
    ----------
    gap
        Letters between two columns.
    text
        What a column of texts needs at least; it is broken into lines.
    name
        What a column of names needs at least; they are shortened.
    long_name
        What it gets before texts of other columns are left in one line.
    heading
        Letters of a line of a heading that stands over narrow numbers.
    """

    gap: int = 2
    text: int = 10
    name: int = 14
    long_name: int = 30
    heading: int = 7


ROOM = Room()


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
        Whether headings are set off by the codes of a terminal, and tables by drawn lines; plain letters otherwise.
    """
    from rich.console import Console
    from rich.text import Text

    content = io.StringIO()
    console = Console(file=content, width=width, highlight=False, force_terminal=colour)
    console.print(Text(printable(page.title), "bold"))
    console.print(Text(printable(page.verdict)))
    for warning in page.warnings:
        console.print(Text(f"warning: {printable(warning)}", "yellow"))
    if page.facts:
        console.print()
    _print_facts(page.facts, console, None)
    for table in page.tables:
        if table.detail and not extent.details:
            continue
        console.print()
        for part in _parts(table, width, extent.rows):
            _print_table(part, console, extent.rows, len(table.rows))
        if table.note:
            console.print(Text(table.note, "dim"))
    left_out = [f"{one.title} ({counted(len(one.rows), 'row')})" for one in page.tables if one.detail]
    if left_out and not extent.details:
        console.print()
        console.print(Text(f"More tables (hwloop show --verbose): {', '.join(left_out)}"))
    if extent.origin:
        console.print()
        _print_facts(page.provenance, console, extent.letters)
    if page.pictures and extent.origin:
        console.print()
        console.print(Text(f"Pictures (hwloop plot): {', '.join(one.name for one in page.pictures)}"))
    if page.onward:
        console.print()
        _print_onward(page.onward, console)
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


def _print_onward(onward: Sequence[Fact], console: Console) -> None:
    """Write commands, each in one piece where a line holds it, so that it can be copied."""
    from rich.text import Text

    commands = [printable(fact.name) for fact in onward]
    column = max(map(len, commands))
    beside = all(column + ROOM.gap + len(fact.text) <= console.width for fact in onward)
    for command, fact in zip(commands, onward, strict=True):
        told = printable(fact.text)
        if beside:
            console.print(Text.assemble((f"{command:<{column + ROOM.gap}}", "bold"), (told, "dim")))
        else:
            console.print(Text(told if told.endswith("?") else f"{told}:", "dim"))
            for line in _broken(command, console.width - 2):
                console.print(Text(f"  {line}", "bold", overflow="fold"), soft_wrap=True)


def _broken(command: str, width: int) -> list[str]:
    """Break a command between words, as a shell takes it: with a backslash at the end of a line."""
    lines, line = [], ""
    for word in command.split(" "):
        longer = f"{line} {word}" if line else word
        if line.strip() and len(longer) + 2 > width and len(command) > width:
            lines.append(f"{line} \\")
            longer = f"    {word}"
        line = longer
    return [*lines, line]


# ---- tables --------------------------------------------------------------------------------------------------


def _parts(table: Table, width: int, rows: int | None) -> Iterator[Table]:
    """Part a table that no line holds into several, each of which begins with the first column; and fit its names."""
    if not table.columns:
        yield table
        return
    least = [_least(table, number, rows) for number in range(len(table.columns))]
    groups: list[list[int]] = [[0]]
    for number in range(1, len(table.columns)):
        if sum(least[one] + ROOM.gap for one in [*groups[-1], number]) > width and groups[-1] != [0]:
            groups.append([0])
        groups[-1].append(number)
    parts = [
        replace(
            table,
            columns=tuple(table.columns[one] for one in group),
            rows=tuple(tuple(row[one] for one in group) for row in table.rows),
        )
        for group in groups
    ]
    room = min(_room_for_names(part, width, rows) for part in parts)
    yield from (_with_short_names(part, room) for part in parts)


def _least(table: Table, number: int, rows: int | None) -> int:
    """Count the letters that a column needs at least: those of its numbers, or enough of a text or a name."""
    column = table.columns[number]
    longest = max([len(printable(column.write(row[number]))) for row in table.rows[:rows]], default=0)
    right = table.is_number(number)
    heading = max(map(len, _heading(column, narrow=True).split()), default=0)
    if right:
        return max(longest, heading)
    return max(min(longest, ROOM.name if column.names else ROOM.text), heading)


def _room_for_names(table: Table, width: int, rows: int | None) -> int:
    """Count the letters that the other columns leave to each column of names."""
    others = [number for number, column in enumerate(table.columns) if not column.names]
    names = max(len(table.columns) - len(others), 1)
    left = width - ROOM.gap * len(table.columns)
    whole = left - sum(_wanted(table, number, rows) for number in others)
    broken = left - sum(_least(table, number, rows) for number in others)  # with texts of several lines
    return max(whole // names, min(broken // names, ROOM.long_name), ROOM.name)


def _with_short_names(table: Table, room: int) -> Table:
    """Shorten the names of a table to so many letters, each other than the rest."""
    names = [number for number, column in enumerate(table.columns) if column.names]
    fitted = {number: shortened(dict.fromkeys(str(row[number]) for row in table.rows), room) for number in names}
    cells = tuple(
        tuple(fitted[number][str(cell)] if number in fitted else cell for number, cell in enumerate(row))
        for row in table.rows
    )
    return replace(table, rows=cells)


def _wanted(table: Table, number: int, rows: int | None) -> int:
    """Count the letters that a column takes unless it is broken."""
    column = table.columns[number]
    texts = [column.write(row[number]) for row in table.rows[:rows]]
    heading = _heading(column, narrow=table.is_number(number)).splitlines()
    return max(len(printable(text)) for text in ("", *texts, *heading))


def _print_table(table: Table, console: Console, rows: int | None, of: int) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    console.print(Text(printable(table.title), "bold"))
    grid = Grid(box=_rule(console), show_edge=False, padding=(0, 1, 0, 0), header_style="dim", safe_box=False)
    for number, column in enumerate(table.columns):
        right = table.is_number(number)
        whole = right or column.names
        shown = [printable(column.write(row[number])) for row in table.rows[:rows]]
        # Only texts may be broken: a number that is cut would be another one.
        head = _heading(column, narrow=right)
        least = max(len(text) for text in ("", *shown, *head.split())) if whole else None
        grid.add_column(
            Text(head), justify="right" if right else "left", overflow="fold", min_width=least, no_wrap=whole
        )
    for row in table.rows[:rows]:
        grid.add_row(*(Text(printable(one.write(cell))) for one, cell in zip(table.columns, row, strict=True)))
    console.print(grid)
    left = of - len(table.rows[:rows])
    if left:
        console.print(Text(f"and {left:,} more rows (hwloop show --verbose shows all)"))


def _rule(console: Console) -> Box:
    """Choose the line below headings: drawn on a terminal, of plain hyphens elsewhere."""
    from rich.box import SIMPLE_HEAD, Box

    plain = ["    ", "    ", " -- ", *["    "] * 5]
    return SIMPLE_HEAD if console.is_terminal else Box("\n".join(plain) + "\n", ascii=True)


def _heading(column: Column, *, narrow: bool) -> str:
    """Write the heading of a column, with a line for each word where the numbers below are narrow."""
    words = printable(column.title).split() if narrow else [printable(column.title)]
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= ROOM.heading:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join([*lines, column.unit] if column.unit else lines)
