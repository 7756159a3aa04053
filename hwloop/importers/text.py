"""Delimited text (CSV, TSV, also gzipped), read in chunks of lines."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment
from hwloop.importers.collect import Collector, Rows
from hwloop.importers.columns import ColumnMap, Source, parse_columns
from hwloop.typing import BoolArray, FloatArray, IndexArray

CHUNK_CHARACTERS = 4_000_000
"""Characters of text in memory at one time; one line more where lines are longer."""
SLOWLY = 64
"""Number of lines among which a bad one is sought one by one; also the first ones, by which a layout is recognised."""
Begin = Callable[[Experiment], Collector]
"""Makes the collector, once the columns have shown what kind of experiment it is."""
Follow = Callable[[int], None]
"""Told the position in the file, bytes."""
GZIP_MAGIC = b"\x1f\x8b"
"""First bytes of a gzipped file."""


@dataclass(frozen=True)
class TextOptions:
    """How a text is laid out."""

    columns: str | None = None
    """Column map; None takes the file's own header line, which must then be one."""
    code_step: float | None = None
    """uS per converter code, for columns with the unit 'code'."""
    sample_rate: float | None = None
    """Samples per second of rows that are time series."""
    delimiter: str | None = None
    """Between columns; None looks at the first line: tab, semicolon, comma, else blanks."""
    comment: str = "#"
    """Lines that begin with this are passed over."""
    skip: int = 0
    """Lines to pass over at the beginning."""
    disagreement: float = 0.1
    """Conductance times resistance may differ from one by this much, by rounding."""


@dataclass(frozen=True)
class _Layout:
    """What the first lines have shown."""

    columns: ColumnMap
    delimiter: str | None
    header: int
    """Number of the header line, 0 for none."""


def import_text(path: Path, options: TextOptions, begin: Begin, follow: Follow) -> Collector:
    """Read a text and hand its rows to a collector, chunk by chunk.

    Parameters
    ----------
    path, options
        The file, and how it is laid out.
    begin
        Makes the collector, once the columns have shown what kind of experiment it is.
    follow
        Told the position in the file, bytes.

    Raises
    ------
    BadInputError
        For a column map that does not match, a file that is no text, and one that is cut off.
    """
    layout: _Layout | None = None
    collector: Collector | None = None
    row = 0
    for numbers, lines in _chunks(path, options, follow):
        if layout is None or collector is None:
            layout = _look(path, lines[0], numbers[0], options)
            _compare(path, layout, lines[:SLOWLY], options.disagreement)
            collector = begin(_kind(layout.columns))
        if layout.header and numbers[0] == layout.header:
            numbers, lines = numbers[1:], lines[1:]
        if not lines:
            continue
        if layout.columns.samples:
            for number, line in zip(numbers.tolist(), lines, strict=True):
                _take_series(layout, options, collector, line, number, row)
                row += 1
        else:
            _take_rows(layout, collector, lines, numbers)
    if collector is None:
        raise BadInputError(f"{path} has no lines of data")
    return collector


def _kind(columns: ColumnMap) -> Experiment:
    if columns.samples:
        return Experiment.READ_NOISE
    pulsed = columns.has("amplitude") or columns.has("pulse_voltage")
    return Experiment.PROGRAMMING_CURVE if pulsed else Experiment.DRIFT


# ---- lines -----------------------------------------------------------------------------------------------------------


def _chunks(path: Path, options: TextOptions, follow: Follow) -> Iterator[tuple[IndexArray, list[str]]]:
    """Yield lines that are neither blank nor comments, with their numbers counted from 1."""
    with path.open("rb") as raw, _whole(path):
        packed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        binary = gzip.GzipFile(fileobj=raw) if packed else raw
        text = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="replace")
        number = 0
        while lines := text.readlines(CHUNK_CHARACTERS):
            follow(raw.tell())
            kept = [
                k
                for k, line in enumerate(lines)
                if not line.isspace() and not line.startswith(options.comment) and number + k >= options.skip
            ]
            if kept:
                yield number + 1 + np.array(kept, np.int64), [lines[k] for k in kept]
            number += len(lines)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInputError(f"{path} is cut off or damaged ({error}); get a whole copy of it") from None


def _split(line: str, delimiter: str | None) -> list[str]:
    return [field.strip().strip('"') for field in line.rstrip("\r\n").split(delimiter)]


def _delimiter(line: str, options: TextOptions) -> str | None:
    """Find the mark that gives as many columns as the map names, else the first of tab, semicolon, comma."""
    marks = [mark for mark in "\t;," if mark in line]
    named = (options.columns or "").count(",") + 1
    fitting = [mark for mark in marks if line.count(mark) + 1 == named]
    return options.delimiter or next(iter(fitting + marks), None)


def _look(path: Path, line: str, number: int, options: TextOptions) -> _Layout:
    """Find delimiter, column map and header in the first line; raise BadInputError when they do not fit."""
    if "\0" in line:
        raise BadInputError(f"{path} is no text in UTF-8; save it as CSV in UTF-8")
    delimiter = _delimiter(line, options)
    fields, shown = _split(line, delimiter), _shown(line)
    if options.columns is None:
        try:
            columns, header = parse_columns(",".join(fields), options.code_step), True
        except BadInputError as error:
            raise BadInputError(
                f"{path}: give --columns, as the first line is no column map ({error}): '{shown}'"
            ) from None
    else:
        columns = parse_columns(options.columns, options.code_step)
        if len(fields) != columns.width and not (columns.samples and len(fields) > columns.width):
            raise BadInputError(
                f"{path}: --columns names {columns.width} columns, and line {number} has {len(fields)}: '{shown}'"
            )
        # A line of data with one bad field is no header: it is counted among what was left out.
        header = not any(_is_number(fields[source.index]) for source in columns.sources if fields[source.index])
    if columns.samples and options.sample_rate is None:
        raise BadInputError(f"{path}: rows of samples need their rate, such as --sample-rate 400 (per second)")
    if not columns.samples and options.sample_rate is not None:
        raise BadInputError(f"{path}: a sample rate is for rows of samples; put '...' behind the last name of the map")
    if not columns.samples and not columns.has("time"):
        raise BadInputError(f"{path}: no time[s] among the columns; the age of every read is needed")
    return _Layout(columns, delimiter, int(number) if header else 0)


def _shown(line: str) -> str:
    """Return as much of a line as an error message shows."""
    return line.strip()[:120]


def _compare(path: Path, layout: _Layout, lines: list[str], disagreement: float) -> None:
    """Raise BadInputError where conductance and resistance, given both, contradict each other in most lines.

    That is how a wrong unit or a wrong column shows. The conductance is what is imported.
    """
    both = [source for source in layout.columns.sources if source.name in ("conductance", "resistance")]
    if len(both) < 2 or layout.columns.samples:
        return
    lines = [line for line in lines if len(_split(line, layout.delimiter)) == layout.columns.width]
    values, numeric = _parse(lines, [source.index for source in both], layout.delimiter)
    values = values[numeric & np.all(np.isfinite(values) & (values != 0), axis=1)] * [source.factor for source in both]
    wrong = np.abs(1e-6 * values.prod(1) - 1) > disagreement
    if 2 * np.count_nonzero(wrong) > len(wrong):
        shown = dict(zip((source.name for source in both), values[np.argmax(wrong)], strict=True))
        raise BadInputError(
            f"{path}: conductance and resistance contradict each other ({shown['conductance']:.3g} uS, "
            f"{shown['resistance']:.3g} ohm); check their columns and units, or leave one out of the map"
        )


def _is_number(text: str) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _take_rows(layout: _Layout, collector: Collector, lines: list[str], numbers: IndexArray) -> None:
    """Take one read per line."""
    columns, delimiter = layout.columns, layout.delimiter
    if delimiter is None:
        count = np.array([len(line.split()) for line in lines])
    else:
        count = np.array([line.count(delimiter) for line in lines]) + 1
    fits = count == columns.width
    collector.pass_over("wrong number of columns", numbers[~fits])
    if not np.all(fits):
        lines, numbers = [line for line, good in zip(lines, fits, strict=True) if good], numbers[fits]
    used = _used(columns)
    values, numeric = _parse(lines, [source.index for source in used], delimiter)
    collector.pass_over("not a number", numbers[~numeric])
    if np.any(numeric):
        collector.take(_quantities(used, values[numeric]), numbers[numeric])


def _take_series(layout: _Layout, options: TextOptions, collector: Collector, line: str, number: int, row: int) -> None:
    """Take one time series per line."""
    columns, fields = layout.columns, _split(line, layout.delimiter)
    if len(fields) < columns.width:
        collector.pass_over("wrong number of columns", np.array([number]))
        return
    *leading, last = _used(columns)
    indices = [source.index for source in leading] + list(range(last.index, len(fields)))
    values, _ = _parse([line], indices, layout.delimiter)
    samples = values[0, len(leading) :]
    rows = _quantities([last], samples[:, None])
    rows |= _quantities(leading, np.tile(values[:, : len(leading)], (samples.size, 1)))
    assert options.sample_rate is not None  # _look has seen to it
    rows["time"] = rows.get("time", np.zeros(1)) + np.arange(samples.size) / options.sample_rate
    rows.setdefault("cell", np.full(samples.size, float(row)))
    collector.take(rows, np.full(samples.size, number))


def _used(columns: ColumnMap) -> list[Source]:
    """Choose the columns to read: of conductance, resistance and current one is enough."""
    names = {source.name for source in columns.sources}
    spare: set[str] = set()
    if "conductance" in names:
        spare = {"resistance", "current", "voltage"}
    elif "resistance" in names:
        spare = {"current", "voltage"}
    return [source for source in columns.sources if source.name not in spare]


def _quantities(used: list[Source], values: FloatArray) -> Rows:
    """Convert values (rows, columns) into columns in hwloop's units, conductance (uS) among them."""
    rows = {source.name: values[:, k] * source.factor + source.offset for k, source in enumerate(used)}
    with np.errstate(divide="ignore", invalid="ignore"):
        if "resistance" in rows:
            rows["conductance"] = 1e6 / rows.pop("resistance")
        elif "current" in rows and "conductance" not in rows:
            rows["conductance"] = rows.pop("current") / rows.pop("voltage", np.ones(1))
    return rows


def _parse(lines: list[str], indices: list[int], delimiter: str | None) -> tuple[FloatArray, BoolArray]:
    """Return values (lines, indices) and which lines (lines,) are numbers throughout; an empty field is NaN."""
    if not lines:
        return np.empty((0, len(indices))), np.empty(0, bool)
    try:
        table = np.loadtxt(lines, delimiter=delimiter, usecols=indices, comments=None, quotechar='"', ndmin=2)
    except ValueError:
        return _parse_unsound(lines, indices, delimiter)
    return table, np.ones(len(lines), bool)


def _parse_unsound(lines: list[str], indices: list[int], delimiter: str | None) -> tuple[FloatArray, BoolArray]:
    """Parse lines of which at least one is not all numbers."""
    if len(lines) > SLOWLY:  # halves that are sound are read fast
        half = len(lines) // 2
        parts = [_parse(part, indices, delimiter) for part in (lines[:half], lines[half:])]
        return np.concatenate([values for values, _ in parts]), np.concatenate([good for _, good in parts])
    values = np.full((len(lines), len(indices)), np.nan)
    numeric = np.ones(len(lines), bool)
    for k, line in enumerate(lines):
        fields = _split(line, delimiter)
        for j, index in enumerate(indices):
            text = fields[index]
            if _is_number(text) and "_" not in text:
                values[k, j] = float(text or "nan")
            else:
                numeric[k] = False
    return values, numeric
