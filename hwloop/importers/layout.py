"""How a text is laid out, found out from its first lines: preamble, delimiter, decimal mark, header, first row of data.

A line of data has as many fields as the column map, or as most lines have, and numbers among them. The header is the
line above the first one, with a line of units between them perhaps; it may be a comment. Parameter analysers begin
each line with a word that says what it is: rows of data with DataValue, the header with DataName.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from hwloop.errors import BadInputError
from hwloop.importers.columns import ColumnMap, Spread, parse_columns
from hwloop.importers.fields import grid
from hwloop.importers.headers import known, propose, require, unit_line
from hwloop.importers.numerals import Found, Numerals, read_one

AUTO = "auto"
"""Column map that is taken from the header as it was recognised."""
_ROWS = {"dataname": "DataValue"}
"""First word of a header, lower case, and of the rows below it."""
_BEGINS = frozenset("0123456789+-.,")
_ANY_MARK = Numerals(",", True), Numerals(".", True)


@dataclass(frozen=True)
class TextOptions:
    """How a text is laid out."""

    columns: str | None = None
    """Column map; None takes the file's own header line, which must then be one, and 'auto' what it most likely is."""
    code_step: float | None = None
    """uS per converter code, for columns with the unit 'code'."""
    sample_rate: float | None = None
    """Samples per second of rows that are time series."""
    delimiter: str | None = None
    """Between columns; None looks at the first lines: tab, semicolon, comma, else blanks."""
    comment: str = "#"
    """Lines that begin with this are passed over."""
    skip: int = 0
    """Lines to pass over at the beginning."""
    decimal: str | None = None
    """Decimal mark, '.' or ','; None looks at the first lines."""
    read_voltage: float | None = None
    """Voltage across the cell, V, at all currents, where no column has it."""
    shunt: float | None = None
    """Resistance, ohm, that the current made the shunt_voltage at."""
    reverse_current: bool = False
    """Whether currents are counted the other way round, negative where the voltage is positive."""
    where: tuple[str, ...] = ()
    """Conditions such as 'status=ok' or 'voltage>0.1' that rows must meet, in the units of the file."""
    disagreement: float = 0.1
    """Conductance times resistance may differ from one by this much, by rounding."""
    block: int = 4_000_000
    """Bytes of text in memory at one time."""
    sample_lines: int = 400
    """Lines at the beginning by which the layout is recognised."""
    sample_bytes: int = 100_000
    """Bytes of them at most, but for the first three."""


@dataclass(frozen=True)
class Layout:
    """What the first lines have shown."""

    columns: ColumnMap
    delimiter: str | None
    numerals: Numerals
    first: int
    """Number of the first line of data."""
    header: tuple[str, ...] = ()
    """Names of the columns as the file has them; empty where it has none."""
    width: int = 0
    """Fields of a line of data."""
    row_word: str = ""
    """First word of every row of data, where lines begin with one."""
    notes: tuple[str, ...] = field(default=())
    """What was taken without being said, for the user to see."""


def find_layout(block: bytes, options: TextOptions, path: str) -> Layout:
    """Find the layout in the first block of a text.

    Raises
    ------
    BadInputError
        For a text without rows of numbers, a column map that does not match it, a header that is no map, and decimal
        marks that may be read in two ways.
    """
    head = _head(block, options)
    if not head.strip():
        raise BadInputError(f"{path} has no lines of data")
    wanted = _parsed(options.columns, options) if options.columns not in (None, AUTO) else None
    delimiter = options.delimiter or _delimiter(head, options, wanted)
    seen = _Lines(head, delimiter, options, wanted, path)
    seen.called()
    header, units = seen.header()
    decimal, thousands = _decimal(seen, options, path)
    columns, notes = wanted, seen.notes()
    if columns is None:
        text, more = _recognised(header, units, seen, options, path)
        columns, notes = _parsed(text, options), notes + more
    numerals = Numerals(decimal, thousands)
    first = options.skip + 1 + seen.begin()
    return Layout(columns, delimiter, numerals, first, tuple(header), seen.width, seen.row_word, notes)


def _head(block: bytes, options: TextOptions) -> bytes:
    """Return the first lines, by which the layout is recognised."""
    lines = block.splitlines(keepends=True)[options.skip : options.skip + options.sample_lines]
    enough = next((k for k in range(3, len(lines)) if sum(map(len, lines[:k])) > options.sample_bytes), len(lines))
    return b"".join(lines[:enough])


def _parsed(text: str, options: TextOptions) -> ColumnMap:
    return parse_columns(text, options.code_step, voltage_known=options.read_voltage is not None)


class _Lines:
    """The first lines of a text: which are comments, which are data, and which is the header."""

    def __init__(
        self, head: bytes, delimiter: str | None, options: TextOptions, wanted: ColumnMap | None, path: str
    ) -> None:
        """Find the first line of data. Raises BadInputError where the map fits no line."""
        lines, comment, self._path = grid(head, delimiter, options.skip + 1), options.comment, path
        self._lines, self._delimiter, self._comment, self._wanted = lines, delimiter, comment, wanted
        blank, remark = lines.empty(), lines.begins_with(comment.encode())
        self._plain = [k for k in range(len(lines)) if not blank[k] and not remark[k]]
        self._remarks = [k for k in range(len(lines)) if remark[k]]
        if not self._plain:
            raise BadInputError(f"{path} has no lines of data")
        self._fields = {k: _trailing(lines.texts(k), wanted) for k in self._plain}
        named = [k for k in self._plain if known(self._fields[k]) > 1 and not any(map(_is_number, self._fields[k]))]
        self.row_word = next((_ROWS[word] for k in named if (word := self._fields[k][0].lower()) in _ROWS), "")
        self.width = self._most_common() if wanted is None else wanted.width
        fitting = [k for k in self._plain if self._fits(k)]
        if not fitting:
            k = self._plain[0]
            raise BadInputError(
                f"{path}: --columns names {self.width} columns, and line {lines.number[k]} has "
                f"{len(self._fields[k])}: '{lines.line(k).strip()[:120]}'"
            )
        after = next((k for k in named if self._fits(k) and k < self._plain[-1]), -1)
        # A line of data with one bad field is no header: it is counted among what was left out.
        self.first = next((k for k in fitting if k > after and self._numeric(k)), len(lines))

    def header(self) -> tuple[list[str], list[str] | None]:
        """Return the names of the columns and their units, empty and None where there are none."""
        above = [k for k in self._plain if k < self.first and self._fits(k)]
        if not above:
            remarks = [self._lines.line(k)[len(self._comment) :] for k in self._remarks if k < self.first]
            cut = [_cut(text, self._delimiter) for text in remarks]
            likely = [fields for fields in cut if self._matches(len(fields)) and len(fields) > 1]
            return (likely[-1] if likely else []), None
        for names, units in zip(above[-2::-1], above[:0:-1], strict=True):  # the nearest to the data first
            if unit_line(self._fields[units]):
                return self._fields[names], self._fields[units]
        return self._fields[next((k for k in above[::-1] if known(self._fields[k]) > 1), above[-1])], None

    def begin(self) -> int:
        """Return the first line that may be one of data: the first one with a number below the header."""
        above = [k for k in self._plain if k < self.first and self._fits(k)]
        after = above[-1] if above else self.first - 1
        return next((k for k in self._plain if k > after and any(map(_is_number, self._fields[k]))), self.first)

    def called(self) -> None:
        """Raise BadInputError where the map has numbers for cells and they are names."""
        source = None if self._wanted is None else self._wanted.source("cell")
        if source is None or source.form:
            return
        cells = [row[source.index] for row in self.rows()]
        if cells and not any(_is_number(cell) or not cell for cell in cells):
            raise BadInputError(f"{self._path}: cells such as '{cells[0]}' are names; say so: cell[name]")

    def rows(self) -> list[list[str]]:
        """Return the lines of data (each its fields)."""
        return [self._fields[k] for k in self._plain if k >= self.first and self._fits(k)]

    def used(self) -> list[int]:
        """Return the columns that the map uses, as far as it counts them; none without a map."""
        if self._wanted is None or self._wanted.spread is not Spread.NONE:
            return []
        return [source.index for source in self._wanted.sources if not source.form]

    def notes(self) -> tuple[str, ...]:
        """Tell which lines before the data are neither header nor data."""
        before = [k for k in self._plain if k < self.begin() and not self._fits(k)]
        if not before:
            return ()
        shown = self._lines.line(before[0]).strip()[:60]
        return (f"{len(before)} lines before the data were passed over, the first of them '{shown}'",)

    def first_text(self) -> str:
        """Return the first line that is no comment."""
        return self._lines.line(self._plain[0]).strip()[:120]

    def _most_common(self) -> int:
        """Find how many fields lines with numbers have; of equally many the larger."""
        numeric = [len(fields) for fields in self._fields.values() if any(map(_is_number, fields))]
        counts = Counter(numeric or [len(fields) for fields in self._fields.values()])
        return max(counts, key=lambda width: (counts[width] * (width > 1), width))

    def _matches(self, count: int) -> bool:
        spread = self._wanted is not None and self._wanted.spread is not Spread.NONE
        return count == self.width or (spread and count > self.width)

    def _fits(self, k: int) -> bool:
        word = self._fields[k][0]
        kind = not self.row_word or word == self.row_word or word.lower() in _ROWS
        return kind and self._matches(len(self._fields[k]))

    def _numeric(self, k: int) -> bool:
        """Tell whether a line has a number where one is wanted; without a map, whether it has one at all."""
        fields = self._fields[k]
        if self._wanted is None:
            return any(map(_is_number, fields))
        return any(_is_number(fields[source.index]) for source in self._wanted.sources if fields[source.index])


def _trailing(fields: list[str], wanted: ColumnMap | None) -> list[str]:
    """Return the fields of a line without the empty one behind a delimiter at its end."""
    longer = wanted is None or (len(fields) > wanted.width and wanted.spread is Spread.NONE)
    return fields[:-1] if len(fields) > 1 and longer and not fields[-1] else fields


def _cut(text: str, delimiter: str | None) -> list[str]:
    return grid(text.strip().encode(), delimiter).texts(0)


def _is_number(text: str) -> bool:
    """Tell whether a field is a number, whatever its decimal mark."""
    return text[:1] in _BEGINS and any(read_one(text, how)[1] is not Found.TEXT for how in _ANY_MARK)


def _delimiter(head: bytes, options: TextOptions, wanted: ColumnMap | None) -> str | None:
    """Find the mark that gives most lines as many columns as the map has, or as other lines have, with most numbers."""
    named = wanted.width if wanted is not None else 0
    spread = wanted is not None and wanted.spread is not Spread.NONE

    def worth(mark: str | None) -> tuple[int, int, int]:
        lines = grid(head, mark)
        plain = ~(lines.empty() | lines.begins_with(options.comment.encode()))
        rows = np.flatnonzero(plain)
        counts = Counter(lines.count[rows].tolist())
        usual, often = max(counts.items(), key=lambda one: (one[1], one[0]), default=(0, 0))
        fitting = sum(often for count, often in counts.items() if count == named or (spread and count > named))
        shown = [lines.texts(k)[:40] for k in rows[lines.count[rows] == usual][-40:].tolist()]
        numbers = sum(sum(map(_is_number, row)) for row in shown)
        return fitting if named else 0, numbers if usual > 1 else 0, often if usual > 1 else 0

    marks = [mark for mark in ("\t", ";", ",", "|") if mark.encode() in head]
    return max([*marks, None], key=worth)


def _decimal(seen: _Lines, options: TextOptions, path: str) -> tuple[str, bool]:
    """Find the decimal mark, and whether the other mark alone sets thousands apart, which only the user can know."""
    if options.decimal is not None:
        return options.decimal, True
    used = seen.used()
    fields = [row[k] for row in seen.rows() for k in used or range(len(row)) if k < len(row)]
    both = [text for text in fields if "," in text and "." in text]
    marks = {text[max(text.rfind(","), text.rfind("."))] for text in both if _is_number(text)}
    marks |= {"." for text in fields if re.fullmatch(r"[+-]?\d*\.\d*([eEdD][+-]?\d+)?", text)}
    commas = [text for text in fields if re.fullmatch(r"[+-]?\d*,\d*([eEdD][+-]?\d+)?", text)]
    if "." not in marks:
        thousands = [text for text in commas if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text)]
        if len(thousands) < len(commas) or marks == {","}:
            return ",", False
        if commas:
            raise BadInputError(
                f"{path}: '{commas[0]}' may have a decimal comma or a comma between thousands; "
                "say which: --decimal comma or --decimal point"
            )
    return ".", False


def _recognised(
    header: list[str], units: list[str] | None, seen: _Lines, options: TextOptions, path: str
) -> tuple[str, tuple[str, ...]]:
    """Return the column map that the header is, or with 'auto' most likely means, and what is to be told of it."""
    if options.columns is None:
        text = ",".join(header) or seen.first_text()
        try:
            _parsed(text, options)
        except BadInputError as error:
            likely = _likely(header, units, seen)
            why = f'it looks like --columns "{likely}", which --columns auto takes' if likely else str(error)
            raise BadInputError(
                f"{path}: give --columns, as the first line is no column map: '{text[:120]}'; {why}"
            ) from None
        return text, ()
    if not header:
        raise BadInputError(f"{path} has no header to recognise columns by; give --columns: '{seen.first_text()}'")
    rows = seen.rows()
    proposal = propose(header, units, rows[0] if rows else None)
    text = require(proposal, path)
    notes: tuple[str, ...] = (f"columns taken as {text}",)
    if proposal.assumed:
        notes += (f"units that the header does not say, taken as {', '.join(proposal.assumed)}",)
    return text, notes


def _likely(header: list[str], units: list[str] | None, seen: _Lines) -> str:
    """Return the map that a refusal proposes, empty where the header leaves anything open."""
    if not header:
        return ""
    rows = seen.rows()
    proposal = propose(header, units, rows[0] if rows else None)
    try:
        parse_columns(proposal.columns, voltage_known=True)
    except BadInputError:
        return ""
    return "" if proposal.doubts else proposal.columns
