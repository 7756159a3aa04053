"""Conditions that rows must meet: 'status=ok', 'voltage>0.1', '#3!=2'."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwloop.errors import BadInputError
from hwloop.importers.columns import KNOWN, ColumnMap
from hwloop.importers.fields import Grid, gathered
from hwloop.importers.numerals import Found, Numerals, parse, read_one
from hwloop.typing import BoolArray, FloatArray

_COMPARE: dict[str, Callable[[FloatArray, float], BoolArray]] = {
    "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "=": operator.eq, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_CONDITION = re.compile(r"\s*(?P<column>.+?)\s*(?P<how>!=|<=|>=|==|=|<|>)\s*(?P<value>.*?)\s*")


@dataclass(frozen=True)
class Condition:
    """A condition on a column of a text, in the units of the file."""

    text: str
    """As it was written."""
    column: str
    """Name of the column."""
    how: str
    """How it is compared."""
    value: str

    def index(self, columns: ColumnMap, header: tuple[str, ...]) -> int:
        """Return the number of its column, counted from 0.

        Raises BadInputError where there is no such column, or more than one.
        """
        named = re.fullmatch(r"#(\d+)", self.column)
        if named:
            return int(named[1]) - 1
        source = columns.source(self.column) if self.column in KNOWN else None
        if source is not None:
            return source.index
        found = [k for k, name in enumerate(header) if name.strip().lower() == self.column.lower()]
        if len(found) != 1:
            known = ", ".join([s.name for s in columns.sources] + [name for name in header if name])
            raise BadInputError(
                f"--where {self.text}: {'no column is' if not found else 'several columns are'} called "
                f"'{self.column}'; there are {known}, and #1 for the first one"
            )
        return found[0]

    def holds(self, lines: Grid, index: int, numerals: Numerals) -> BoolArray:
        """Tell which lines (lines,) meet it; numbers are compared as numbers, everything else as text."""
        start, end = lines.column(index)
        number, kind = read_one(self.value, numerals)
        compare = _COMPARE[self.how]
        if kind is Found.NUMBER:
            values, found = parse(lines.buffer, start, end, numerals)
            numeric = found == Found.NUMBER
            holds: BoolArray = (
                compare(values, number) & numeric if self.how != "!=" else ~(numeric & (values == number))
            )
            return holds
        same: BoolArray = gathered(lines.buffer, start, end) == self.value.encode()
        return same if self.how == "=" else ~same


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises BadInputError for what is none, and for names that are compared by size.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise BadInputError(f"--where {text}: expected a column, one of = != < <= > >=, and a value: voltage>0.1")
    how = match["how"].replace("==", "=")
    value = match["value"].strip("\"'")
    if how not in ("=", "!=") and not np.isfinite(read_one(value, Numerals())[0]):
        raise BadInputError(f"--where {text}: only numbers can be larger or smaller; compare '{value}' by = or !=")
    return Condition(text, match["column"], how, value)
