"""Delimited text (CSV, TSV, also gzipped), read in blocks of lines.

The stages, a module each: `encoding` (bytes to lines in one spelling), `layout` (delimiter, header, decimal mark, with
the columns by `columns` and `headers`), `fields` (where they stand), `numerals` and `moments` (values), `quantities`
(conductances). What comes of them is handed to a collector, which leaves out what cannot be used.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwloop.errors import BadInputError
from hwloop.importers.checks import FAULTS, Rows
from hwloop.importers.collect import Collector
from hwloop.importers.columns import ColumnMap, Source, Spread
from hwloop.importers.conditions import Condition, parse_condition
from hwloop.importers.encoding import Follow, TextFile
from hwloop.importers.fields import Grid, gathered, grid
from hwloop.importers.headers import known, words
from hwloop.importers.layout import Layout, TextOptions, find_layout
from hwloop.importers.moments import seconds
from hwloop.importers.names import Names, joined
from hwloop.importers.numerals import Found, parse
from hwloop.importers.quantities import check, conducted, used
from hwloop.typing import AnyArray, BoolArray, FloatArray

Begin = Callable[[ColumnMap, Names], Collector]
"""Makes the collector, once the columns have shown what kind of experiment it is."""


@dataclass
class TextImport:
    """Texts that become one experiment, one after the other."""

    options: TextOptions
    """How they are laid out."""
    begin: Begin
    """Makes the collector."""
    counted: bool = False
    """Whether ages are counted by rows, so that no row may be missing."""
    split_by: str | None = None
    """Quantity that tells episodes of a cell apart."""
    collector: Collector | None = None
    """Where the rows go; made with the first text."""
    names: Names = field(default_factory=Names)
    """Names of cells, of all texts."""

    def take(self, path: Path, follow: Follow, cell: str | None = None) -> Collector:
        """Read a text and hand its rows to the collector, block by block.

        Parameters
        ----------
        path
            The file.
        follow
            Told the position in the file, bytes.
        cell
            What the cell of the whole file is called, where no column says it.

        Raises
        ------
        BadInputError
            For a column map that does not match, a file that is no text, and one that is cut off.
        """
        text = TextFile(path, self.options.block)
        blocks = text.blocks(follow)
        head: list[bytes] = []
        for block in blocks:  # enough of them to recognise the layout by
            head.append(block)
            if sum(map(len, head)) >= self.options.sample_bytes:
                break
        reader = self._open(path, b"".join(head), cell)
        for block in itertools.chain(head, blocks):
            reader.take(block)
        if text.encoding != "UTF-8":
            reader.collector.report.note(f"read as text in {text.encoding}")
        if not text.ended:
            reader.collector.report.note(
                "the last line has no line end: where the file is cut off, its last value is too"
            )
        return reader.collector

    def _open(self, path: Path, block: bytes, cell: str | None) -> _Reader:
        """Find the layout of a text, and begin the collector with the first one."""
        layout = find_layout(block, self.options, str(path))
        _demand(layout.columns, self.options, str(path), counted=self.counted)
        if self.collector is None:
            self.collector = self.begin(layout.columns, self.names)
        for note in layout.notes:
            self.collector.report.note(note)
        reader = _Reader(self, path, layout, self.collector, cell)
        reader.compare(block)
        return reader


def _demand(columns: ColumnMap, options: TextOptions, path: str, *, counted: bool) -> None:
    """Raise BadInputError where options and columns do not go together."""
    try:
        check(columns, options)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None
    if any(source.path for source in columns.sources):
        raise BadInputError(f"{path} is text, whose columns are named in their order; '=' is for the datasets of HDF5")
    if columns.samples and options.sample_rate is None:
        raise BadInputError(f"{path}: rows of samples need their rate, such as --sample-rate 400 (per second)")
    if not columns.samples and options.sample_rate is not None:
        raise BadInputError(f"{path}: a sample rate is for rows of samples; put '...' behind the last name of the map")
    timed = columns.has("time") or columns.has("date") or columns.samples
    if not timed and not counted:
        raise BadInputError(
            f"{path}: no time[s] among the columns, and the age of every read is needed; where reads were evenly "
            "paced, state the time from read to read, such as --interval 0.5s"
        )
    if timed and counted:
        raise BadInputError(f"{path} has times; leave --interval out")


class _Reader:
    """Reads the blocks of one text whose layout is known."""

    def __init__(self, work: TextImport, path: Path, layout: Layout, collector: Collector, cell: str | None) -> None:
        self._work, self._path, self._layout, self.collector = work, path, layout, collector
        self._columns, self._options = layout.columns, work.options
        self._used = sorted(used(layout.columns, work.split_by), key=lambda source: source.index)
        self._lines, self._rows, self._last_size = 0, 0, 0
        self._cell = None if cell is None or self._named() else work.names.number(cell.encode())
        conditions = [parse_condition(text) for text in self._options.where]
        self._conditions: list[tuple[Condition, int]] = [
            (condition, condition.index(layout.columns, layout.header)) for condition in conditions
        ]
        for condition, index in self._conditions:
            if not 0 <= index < layout.width or (index >= layout.columns.width - 1 and self._spread):
                raise BadInputError(f"--where {condition.text}: there is no column {index + 1} to compare")

    @property
    def _spread(self) -> bool:
        return self._columns.spread is not Spread.NONE

    def _named(self) -> bool:
        return any(self._columns.has(name) for name in ("cell", "word"))

    def take(self, block: bytes) -> None:
        """Hand the rows of a block to the collector."""
        lines = self._data(grid(block, self._layout.delimiter, self._lines + 1))
        self._lines += block.count(b"\n") + (not block.endswith(b"\n"))
        if not len(lines):
            return
        for condition, index in self._conditions:
            holds = condition.holds(lines, index, self._layout.numerals)
            self.collector.pass_over(f"not where {condition.text}", lines.number[~holds])
            lines = lines.keep(holds)
        rows = self._spread_rows(lines) if self._spread else self._plain_rows(lines)
        if not self._spread and len(lines):
            self._doubt_last(lines, rows, ended=block.endswith(b"\n"))
        self._begin_again(lines, rows)
        number = rows.pop("line").astype(np.int64) if "line" in rows else lines.number
        self.collector.take(conducted(rows, self._options), number)

    def compare(self, block: bytes) -> None:
        """Raise BadInputError where conductance and resistance, given both, contradict each other in most lines.

        That is how a wrong unit or a wrong column shows. The conductance is what is imported.
        """
        both = [self._columns.source(name) for name in ("conductance", "resistance")]
        sources = [source for source in both if source is not None]
        if len(sources) < 2 or self._spread:
            return
        head = b"".join(block.splitlines(keepends=True)[: self._layout.first + self._options.sample_lines])
        lines = self._data(grid(head, self._layout.delimiter), counting=False)
        values = np.stack([self._values(lines, source)[0] for source in sources], axis=1)
        values = values[np.all(np.isfinite(values) & (values != 0), axis=1)]
        wrong = np.abs(1e-6 * values.prod(1) - 1) > self._options.disagreement
        if 2 * np.count_nonzero(wrong) > len(wrong):
            conductance, resistance = values[np.argmax(wrong)]
            raise BadInputError(
                f"{self._path}: conductance and resistance contradict each other ({conductance:.3g} uS, "
                f"{resistance:.3g} ohm); check their columns and units, or leave one out of the map"
            )

    def _data(self, lines: Grid, *, counting: bool = True) -> Grid:
        """Return the lines that are rows of data, as wide as they must be; count those of another width."""
        layout = self._layout
        plain = (lines.number >= layout.first) & ~lines.begins_with(self._options.comment.encode()) & ~lines.empty()
        lines = lines.keep(plain)
        if layout.row_word:
            lines = lines.keep(self._of_rows(lines))
        count = lines.count - self._trails(lines)
        fits = count == layout.width
        if self._columns.spread is Spread.CELLS and layout.header:
            fits = count == len(layout.header)
        elif self._spread:
            fits = count >= layout.width
        if not counting:
            return lines.keep(fits)
        wrong = lines.number[~fits]
        self.collector.pass_over("wrong number of columns", wrong)
        if wrong.size and self._work.counted:
            raise BadInputError(
                f"{self._path}: line {wrong[0]} has another number of columns, and ages counted by rows need every "
                "row; mend it, or give a column of times"
            )
        return lines.keep(fits)

    def _trails(self, lines: Grid) -> BoolArray:
        """Tell which lines (lines,) end in a delimiter, whose empty field behind it is none."""
        longer = lines.count > (0 if self._spread else self._layout.width)
        at = np.maximum(lines.first + lines.count - 1, 0)
        trails: BoolArray = longer & (lines.end[at] - lines.start[at] <= 0) & (lines.count > 1)
        return trails

    def _of_rows(self, lines: Grid) -> BoolArray:
        """Tell which lines (lines,) begin with the word of rows; a second header must be that of the first."""
        words = lines.names(0)
        for k in np.flatnonzero(np.char.lower(words) == self._layout.header[0].lower().encode()).tolist():
            self._same_header(lines.texts(k), int(lines.number[k]))
        of_rows: BoolArray = words == self._layout.row_word.encode()
        return of_rows

    def _begin_again(self, lines: Grid, rows: Rows) -> None:
        """Raise BadInputError for a second header that is not that of the first, behind which columns may be others."""
        suspects = np.flatnonzero(rows.get("fault", np.zeros(0)) == FAULTS.index("not a number"))
        suspects = np.unique(rows["line"][suspects]).astype(np.int64) if "line" in rows else lines.number[suspects]
        for k in np.searchsorted(lines.number, suspects[: self._options.sample_lines]).tolist():
            texts = lines.texts(k)
            if known(texts) > 1:
                self._same_header(texts, int(lines.number[k]))

    def _same_header(self, texts: list[str], number: int) -> None:
        if texts[: len(self._layout.header)] != list(self._layout.header):
            raise BadInputError(
                f"{self._path}: line {number} is another header than the first one ({','.join(texts)[:80]}); "
                "import what is below it as a file of its own"
            )

    # ---- values ------------------------------------------------------------------------------------------------------

    def _plain_rows(self, lines: Grid) -> Rows:
        """Return one row per line."""
        rows, fault = self._quantities(lines, self._used)
        if self._cell is not None:
            rows["cell"] = np.full(len(lines), float(self._cell))
        return rows | {"fault": fault} if np.any(fault) else rows

    def _spread_rows(self, lines: Grid) -> Rows:
        """Return one row per field of the last quantity, which all further columns hold."""
        *leading, last = self._used
        rows, fault = self._quantities(lines, leading)
        count = lines.count - self._trails(lines) - last.index
        owner = np.repeat(np.arange(len(lines)), count)
        place = np.arange(owner.size) - np.repeat(np.cumsum(count) - count, count)
        at = lines.first[owner] + last.index + place
        start, end = Grid(lines.buffer, lines.start, lines.end, at, at, at).column(0)
        values, found = parse(lines.buffer, start, end, self._layout.numerals)
        rows = {name: column[owner] for name, column in rows.items()}
        rows[last.name] = values * last.factor + last.offset
        rows["fault"] = np.maximum(fault[owner], _faults(found))
        rows["line"] = lines.number[owner].astype(np.float64)
        if self._columns.spread is Spread.SAMPLES:
            assert self._options.sample_rate is not None  # `_demand` has seen to it
            rows["time"] = rows.get("time", np.zeros(1)) + place / self._options.sample_rate
            rows.setdefault("cell", (self._rows + owner).astype(np.float64))
        elif self._columns.spread is Spread.REPEATS:
            rows["repeat"] = place.astype(np.float64)
        else:
            rows["cell"] = self._cells_of_columns(last.index, int(place.max(initial=-1)) + 1)[place]
        if self._cell is not None:
            rows.setdefault("cell", np.full(owner.size, float(self._cell)))
        self._rows += len(lines)
        return rows

    def _cells_of_columns(self, first: int, count: int) -> FloatArray:
        """Return the number of the cell of each spread column, (count,)."""
        names = [words(name) for name in self._layout.header[first:]] or [
            f"column {first + k + 1}" for k in range(count)
        ]
        return np.array([self._work.names.number(name.encode()) for name in names], np.float64)

    def _quantities(self, lines: Grid, sources: list[Source]) -> tuple[Rows, FloatArray]:
        """Return columns (lines,) in hwloop's units, and the fault of each line, 0 for none."""
        rows: Rows = {}
        fault = np.zeros(len(lines))
        texts: dict[str, AnyArray] = {}
        for source in sources:
            if source.form == "name" or source.name in ("word", "bit"):
                texts[source.name] = lines.names(source.index)
                continue
            rows[source.name], wrong = self._values(lines, source)
            fault = np.maximum(fault, wrong)
        if "word" in texts:
            texts["cell"] = joined(texts["word"], texts["bit"])
        if "cell" in texts:
            rows["cell"] = self._work.names.numbers(texts["cell"])
        if "date" in rows:
            rows["time"] = rows.pop("date") + rows.get("time", np.zeros(1))
        return rows, fault

    def _values(self, lines: Grid, source: Source) -> tuple[FloatArray, FloatArray]:
        """Return a column (lines,) in hwloop's unit, and the fault of each line."""
        start, end = lines.column(source.index)
        if source.form:
            values, good = seconds(gathered(lines.buffer, start, end), source.form)
            return values, np.where(good | (start >= end), 0.0, 1.0)
        values, found = parse(lines.buffer, start, end, self._layout.numerals)
        if source.factor != 1 or source.offset:
            values = values * source.factor + source.offset
        return values, _faults(found)

    def _doubt_last(self, lines: Grid, rows: Rows, *, ended: bool) -> None:
        """Mark the last row where its line has no end, and its last field is shorter than the one above it."""
        start, end = lines.column(self._layout.width - 1)
        sizes = np.append(self._last_size, end - start)
        self._last_size = int(sizes[-1])
        if not ended and sizes[-1] < sizes[-2] and self._used[-1].index == self._layout.width - 1:
            rows.setdefault("fault", np.zeros(len(lines)))
            rows["fault"][-1] = len(FAULTS) - 1


def _faults(found: AnyArray) -> FloatArray:
    """Return the fault (n,) of fields by what they are: places in `FAULTS`."""
    table = np.zeros(len(Found))
    table[Found.TEXT], table[Found.OUT_OF_RANGE] = 1, 2
    faults: FloatArray = table[found]
    return faults
