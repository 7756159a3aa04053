"""A page: what there is to say of a file, free of any medium.

`hwloop show` prints it, `hwloop plot` draws one of its pictures, `hwloop report` makes an HTML file of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from hwloop.errors import BadInputError
from hwloop.notebook.card import card
from hwloop.registry import suggest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Fact:
    """One thing that is known.

    Parameters
    ----------
    name, text
        What it is of, and what it is, with its unit.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    title
        What it holds.
    unit
        Of its numbers; empty for texts and bare numbers.
    style
        Format of its numbers, as Python writes them.
    names
        Whether it holds names, which are shortened where a line is too short for them, each other than the rest.
    """

    title: str
    unit: str = ""
    style: str = ".4g"
    names: bool = False

    def write(self, cell: Cell) -> str:
        """Write a cell; a dash where nothing is known."""
        if cell is None or (isinstance(cell, float) and math.isnan(cell)):
            return "-"
        if isinstance(cell, str):
            return cell
        return f"{cell:,}" if isinstance(cell, int) else f"{cell:{self.style}}"


@dataclass(frozen=True)
class Table:
    """A table.

    Parameters
    ----------
    title
        What it shows.
    columns, rows
        Its columns, and a cell of each in every row.
    note
        A sentence below it; empty for none.
    detail
        Whether it goes into what another table sums up: a screen that is to be short leaves it out.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    detail: bool = False

    def is_number(self, column: int) -> bool:
        """Tell whether a column holds numbers."""
        return any(isinstance(row[column], int | float) for row in self.rows)


@dataclass(frozen=True)
class Picture:
    """A figure that can be drawn of what a page is about.

    Parameters
    ----------
    name
        By which `hwloop plot FILE NAME` knows it.
    title
        Of its section.
    caption
        One sentence that says what to see.
    draw
        Draws it on axes, and returns them.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Axes], Axes]


@dataclass(frozen=True, repr=False)
class Page:
    """What there is to say of a file.

    Parameters
    ----------
    kind
        Of the file: 'run', 'comparison', ...
    title
        What was done, on which chip.
    verdict
        The result in one sentence.
    facts
        What belongs to it, in one screen.
    tables, pictures
        The rest, the most telling first.
    warnings
        What the reader must know, a sentence each.
    provenance
        Where all of it comes from.
    onward
        Commands to go on with, and what each does.
    """

    kind: str
    title: str
    verdict: str
    facts: tuple[Fact, ...]
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    warnings: tuple[str, ...] = ()
    provenance: tuple[Fact, ...] = ()
    onward: tuple[Fact, ...] = ()

    def __repr__(self) -> str:
        return f"<Page of a {self.kind}: {self.title}. {self.verdict}>"

    def _repr_html_(self) -> str:
        first = next((table for table in self.tables if not table.detail), Table("", (), ()))
        head = [f"{one.title} {one.unit}".strip() for one in first.columns]
        rows = [[one.write(cell) for one, cell in zip(first.columns, row, strict=True)] for row in first.rows]
        told = "; ".join([self.verdict, *(f"warning: {one}" for one in self.warnings)])
        return card(self.title, told, {fact.name: fact.text for fact in self.facts}, head, rows)

    def picture(self, name: str) -> Picture:
        """Find a picture. Raises BadInputError for a name that this page has none of."""
        names = [one.name for one in self.pictures]
        if not names:
            raise BadInputError(f"nothing can be drawn of this {self.kind}")
        if name not in names:
            raise BadInputError(f"this {self.kind} has no picture '{name}'; {suggest(name, names)}")
        return self.pictures[names.index(name)]
