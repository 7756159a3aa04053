"""Fitted parameters in tables: each of them, or those of one curve in one row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from hwloop.files.models import Estimate
from hwloop.pages.page import Cell, Column, Table

CURVE = 3
"""Values from which on a curve is told by its ends."""


def table_of_all(title: str, parameters: Sequence[Estimate]) -> Table:
    """Make a table with a row for each parameter, which a summary goes before."""
    columns = (
        Column("parameter"),
        Column("value", style=".5g"),
        Column("95 % interval"),
        Column("unit"),
        Column("meaning"),
    )
    rows = tuple(
        (
            row.name,
            row.value,
            f"{row.low:.5g} to {row.high:.5g}" if row.low is not None and row.high is not None else f"({row.note})",
            row.unit,
            row.meaning,
        )
        for row in parameters
    )
    return Table(title, columns, rows, detail=True)


def summary(title: str, parameters: Sequence[Estimate], note: str) -> Table:
    """Make a table in which the values of one curve, at several conductances, share a row."""
    columns = (Column("parameter", names=True), Column("value (95 % interval)"), Column("meaning"))
    rows = tuple(row for group in _curves(parameters) for row in _rows(group))
    return Table(title, columns, rows, note)


def _curves(parameters: Sequence[Estimate]) -> Iterator[list[Estimate]]:
    """Give parameters in groups: the values of one curve, called NAME.v0, NAME.v1 and so on, or one parameter."""
    for _, group in groupby(parameters, key=lambda row: re.sub(r"\.v\d+$", ".v", row.name)):
        yield list(group)


def _rows(group: list[Estimate]) -> Iterator[tuple[Cell, ...]]:
    """Write parameters of a group: one row for a curve, else a row for each."""
    first, last = group[0], group[-1]
    if len(group) >= CURVE:
        number = re.search(r"[^.]*$", last.name)
        name = f"{first.name} to {number[0] if number else last.name}"
        yield name, f"{first.value:.4g} to {last.value:.4g}{_unit(first)}", _joined(first.meaning, last.meaning)
        return
    for row in group:
        known = row.low is not None and row.high is not None
        interval = f" ({row.low:.4g} to {row.high:.4g})" if known else ""
        yield row.name, f"{row.value:.4g}{_unit(row)}{interval}", row.meaning + (f" ({row.note})" if row.note else "")


def _unit(row: Estimate) -> str:
    return "" if row.unit in ("", "1") else f" {row.unit}"


def _joined(first: str, last: str) -> str:
    """Join two sentences that differ in some words: what stands first to what stands last."""
    one, other = first.split(" "), last.split(" ")
    if len(one) != len(other):
        return f"{first} to {last}"
    apart = [number for number, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    if not apart:
        return first
    begin, end = apart[0], apart[-1] + 1
    return " ".join([*one[:end], "to", *other[begin:]])
