"""A card: what a notebook shows of an object, as a small piece of HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hwloop.errors import printable

Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Look:
    """What cards look like: no colour of their own, so that they are read on light and on dark ground alike.

    Parameters
    ----------
    rows
        Of a table that are listed; the rest is counted.
    box, cell, number, fact
        Style of the card, of the cells of its table, of those that hold numbers, and of the names of facts.
    """

    rows: int = 12
    box: str = "border-left:.2em solid currentColor;padding:.1em .8em;margin:.4em 0;overflow-x:auto"
    cell: str = "text-align:left;padding:.1em .6em"
    number: str = "text-align:right;padding:.1em .6em"
    fact: str = "padding-right:.8em;text-align:left;opacity:.75"


LOOK = Look()


def card(
    title: str,
    told: str = "",
    facts: Mapping[str, Cell] | None = None,
    head: Sequence[str] = (),
    rows: Sequence[Sequence[Cell]] = (),
) -> str:
    """Write a card; every text is escaped.

    Parameters
    ----------
    title, told
        What it is, and the one thing to know of it.
    facts
        What belongs to it, by name.
    head, rows
        A table: names of its columns, and their cells.
    """
    parts = [f"<div style='{LOOK.box}'><strong>{_text(title)}</strong>"]
    if told:
        parts.append(f"<div>{_text(told)}</div>")
    if facts:
        lines = (
            f"<tr><th style='{LOOK.fact}'>{_text(name)}</th><td style='{LOOK.cell}'>{_text(written(fact))}</td></tr>"
            for name, fact in facts.items()
        )
        parts.append(f"<table><tbody>{''.join(lines)}</tbody></table>")
    if rows:
        parts.append(_table(head, rows))
    return "".join([*parts, "</div>"])


def _table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    numbers = [any(isinstance(row[k], int | float) for row in rows) for k in range(len(head))]
    styles = [LOOK.number if one else LOOK.cell for one in numbers]
    titles = "".join(f"<th style='{style}'>{_text(one)}</th>" for one, style in zip(head, styles, strict=True))
    lines = [
        "".join(f"<td style='{style}'>{_text(written(cell))}</td>" for cell, style in zip(row, styles, strict=True))
        for row in rows[: LOOK.rows]
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    left = len(rows) - len(lines)
    more = f"<div>and {left:,} more</div>" if left > 0 else ""
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>{more}"


def written(cell: Cell) -> str:
    """Write a cell: numbers to four digits, and a dash for what is not known."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.4g}"


def _text(text: str) -> str:
    return html.escape(printable(text))
