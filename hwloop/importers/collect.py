"""What all importers do with rows of numbers: count ages, leave out what cannot be used, number the cells, write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from hwloop.errors import BadInputError
from hwloop.files.experiment_writer import ExperimentWriter
from hwloop.files.measurement_writer import MeasurementWriter
from hwloop.files.measurements import Attributes, Cells, Experiment, Reads
from hwloop.importers.ages import Origins
from hwloop.importers.checks import BACKWARDS, CLOCK, FAULTS, FUTURE, NON_POSITIVE, ImportReport, Plausible, Rows
from hwloop.importers.names import Names
from hwloop.importers.windows import HIGH, LOW, Windows
from hwloop.typing import BoolArray, FloatArray, IndexArray

ADDRESS_BITS = 40
"""Bits of a cell's number: cells that are told apart by more than their number must have numbers below 2^40."""
CORES = 2048
"""Number of cores that can be told apart; their numbers lie below it."""
EPISODES = 4096
"""Number of different values at most of the quantity that a file is split by."""

OPTIONAL = {"amplitude": "amplitude", "width": "width", "voltage": "pulse_voltage", "nominal": "nominal_time"}
"""Columns of reads that not every experiment has, and what importers call them."""


class Collector:
    """Takes chunks of rows and appends them to one experiment of a measurement file."""

    def __init__(
        self,
        writer: MeasurementWriter,
        experiment: Experiment,
        attributes: Attributes,
        *,
        split_by: str | None = None,
        keep_non_positive: bool = False,
        origins: Origins | None = None,
    ) -> None:
        """Begin an experiment in the file of `writer`.

        Parameters
        ----------
        writer
            The open measurement file.
        experiment, attributes
            What was measured, and what is known of it.
        split_by
            Name of a quantity; a cell with another value of it counts as another cell, with times of its own.
        keep_non_positive
            Keep conductances of zero and below.
        origins
            Turns moments into ages, or counts them by rows; None where times are ages.
        """
        self.report = ImportReport()
        # Every pulse of a programming curve begins a new age.
        self._ordered = experiment is not Experiment.PROGRAMMING_CURVE
        self.sink: ExperimentWriter = writer.begin(experiment, Cells.at(np.empty(0, np.int64)), attributes)
        self._experiment, self._plausible = experiment, Plausible()
        self._split_by, self._keep_non_positive = split_by, keep_non_positive
        self._origins = origins
        self.names: Names | None = None
        """What cells are called whose numbers are places in it; None where numbers are all there is."""
        self._episodes: dict[float, int] = {}
        self._windows = Windows()
        self._index = _Index()
        self._latest = np.empty(0)  # by cell: latest time, and the last read at it
        self._last = np.empty((0, 3))

    def take(self, rows: Rows, lines: IndexArray) -> None:
        """Append rows; `lines` (rows,) says where they stand in the source.

        Raises
        ------
        BadInputError
            For cell or core numbers that are too large to be told apart, and when there is nothing to split by.
        """
        self.report.rows += lines.size
        rows, lines = self._kept(rows, lines, self._named(rows, lines))
        if not lines.size:
            return
        if self._origins is not None and "time" in rows:
            far = rows["time"] > self._plausible.future
            rows, lines = self._kept(rows, lines, self._left(lines, [(FUTURE, far)]))
        key = self._key(rows)
        if self._origins is not None and lines.size:
            rows = rows | {"time": self._origins.ages(key, rows)}
        keep = self._sound(rows, lines)
        key = key[keep]
        rows, lines = self._kept(rows, lines, keep)
        if not lines.size:
            return
        cell = self._numbered(key, rows)
        if self._ordered:
            keep = self._forward(cell, rows, lines)
            cell = cell[keep]
            rows, lines = self._kept(rows, lines, keep)
            if not lines.size:
                return
        for question, doubtful in self._plausible.questions(rows):
            self.report.ask(question, lines[doubtful])
        optional = {ours: rows[theirs] for ours, theirs in OPTIONAL.items() if theirs in rows}
        temperature = rows.get("temperature", np.full(cell.size, np.nan))
        self.sink.append(Reads(cell.astype(np.int32), rows["time"], rows["conductance"], temperature, **optional))
        self.report.take(rows["time"], rows["conductance"])

    @staticmethod
    def _kept(rows: Rows, lines: IndexArray, keep: BoolArray) -> tuple[Rows, IndexArray]:
        if np.all(keep):
            return rows, lines
        return {name: values[keep] for name, values in rows.items()}, lines[keep]

    def pass_over(self, reason: str, lines: IndexArray) -> None:
        """Count lines (n,) that were no rows of numbers."""
        self.report.rows += lines.size
        self.report.drop(reason, lines)

    def finish(self, path: Path) -> ImportReport:
        """Return the report on the file `path`.

        Raises
        ------
        BadInputError
            When nothing was left to import.
        """
        self.report.cells = self.sink.cell_count
        if not self.report.rows:
            raise BadInputError(f"{path} has no rows of data")
        if not self.report.reads:
            why = "; ".join(
                f"{reason} ({found.count}, first in {found.where()})" for reason, found in self.report.dropped.items()
            )
            raise BadInputError(f"{path}: nothing could be imported from {self.report.rows} rows: {why}{self._hint()}")
        self._look_at_ages()
        return self.report

    def _hint(self) -> str:
        """Return the way out where nothing came in."""
        if list(self.report.dropped) == [NON_POSITIVE]:
            return "; currents that are counted the other way round are taken with --reverse-current"
        return ""

    def _look_at_ages(self) -> None:
        """Ask about ages that start at zero or hardly grow: of neither can drift be told."""
        first, last = self.report.time
        if self._experiment is not Experiment.DRIFT or self._origins is not None:
            return
        if first == 0:
            self.report.note(
                "ages begin at 0s: where they count from the first read, state the age of that, such as --start-age 1s"
            )
        if first > 1000 and last < self._plausible.growth * first and self.report.reads > self.report.cells:
            self.report.note(
                f"ages grow from {first:.6g} to {last:.6g} s only: are they times of a clock? "
                "--start-age 1s counts them from the first read of each cell"
            )

    def _named(self, rows: Rows, lines: IndexArray) -> BoolArray:
        """Find the rows (rows,) that say which cell they are of; count the others."""
        absent = np.zeros(lines.size)
        faulty = rows.get("fault", absent)
        cell, core, level = (rows.get(name, absent) for name in ("cell", "core", "level"))
        return self._left(
            lines,
            [
                (FAULTS[1], (faulty == 1) & np.isnan(cell + core)),
                ("cell is no whole number", ~_whole(cell, 2.0**53)),
                ("core is no whole number", ~_whole(core, CORES)),
                ("level is no whole number", ~(_whole(level, 2.0**31) | np.isnan(level))),
                ("target_low is above target_high", rows.get(LOW, absent) > rows.get(HIGH, absent)),
            ],
        )

    def _sound(self, rows: Rows, lines: IndexArray) -> BoolArray:
        """Find the rows (rows,) whose time and conductance can be used; count the others."""
        time, conductance = rows["time"], rows["conductance"]
        faults = []
        if "fault" in rows:
            faults += [(reason, rows["fault"] == k) for k, reason in enumerate(FAULTS) if reason]
        faults += [
            ("time is missing or not finite", ~np.isfinite(time)),
            ("time is negative", time < 0),
            (CLOCK, time > self._plausible.clock),
            ("conductance is missing or not finite", ~np.isfinite(conductance)),
        ]
        if not self._keep_non_positive:
            faults.append((NON_POSITIVE, conductance <= 0))
        return self._left(lines, faults)

    def _left(self, lines: IndexArray, faults: list[tuple[str, BoolArray]]) -> BoolArray:
        """Return the rows (rows,) without any of the faults, and count each of the others by its first one."""
        good = np.ones(lines.size, bool)
        for reason, bad in faults:
            if np.any(bad):
                self.report.drop(reason, lines[good & bad])
                good &= ~bad
        return good

    def _numbered(self, keys: IndexArray, rows: Rows) -> IndexArray:
        """Return the index of each row's cell, (rows,); cells that are new are written."""
        index = self._index.of(keys)
        new = np.flatnonzero(index < 0)
        if new.size:
            unique, first, inverse = np.unique(keys[new], return_index=True, return_inverse=True)
            order = np.argsort(first)  # in the order in which the file names them
            number = np.empty(unique.size, np.int64)
            number[order] = self._latest.size + np.arange(unique.size)
            self._add_cells(rows, new[first[order]])
            self._index.add(unique, number)
            index[new] = number[inverse]
        return index

    def _key(self, rows: Rows) -> IndexArray:
        """Return one number per cell, core and episode, for each row, (rows,)."""
        count = rows["conductance"].size
        cell = rows.get("cell", np.zeros(count)).astype(np.int64)
        if "core" not in rows and self._split_by is None:
            return cell
        if np.any((cell < 0) | (cell >= 2**ADDRESS_BITS)):
            raise BadInputError(f"cell numbers must lie in 0 to 2^{ADDRESS_BITS} where cores or a split are given")
        core = rows.get("core", np.zeros(count)).astype(np.int64)
        if np.any(core < 0):
            raise BadInputError("core numbers must not be negative")
        return ((self._episode(rows, count) * CORES + core) << ADDRESS_BITS) | cell

    def _episode(self, rows: Rows, count: int) -> IndexArray:
        if self._split_by is None:
            return np.zeros(count, np.int64)
        if self._split_by not in rows:
            raise BadInputError(f"nothing is called '{self._split_by}' among the columns; split by one that is there")
        values, inverse = np.unique(rows[self._split_by], return_inverse=True)
        for value in values.tolist():
            self._episodes.setdefault(value, len(self._episodes))
        if len(self._episodes) > EPISODES:
            raise BadInputError(f"'{self._split_by}' has more than {EPISODES} values; it is nothing to split by")
        return np.array([self._episodes[value] for value in values.tolist()], np.int64)[inverse]

    def _add_cells(self, rows: Rows, at: IndexArray) -> None:
        """Write the cells whose first rows are `at`."""
        address = rows["cell"][at] if "cell" in rows else np.zeros(at.size)
        target, level = rows["target"][at] if "target" in rows else None, _numbers(rows, "level", at, missing=-1)
        if LOW in rows and HIGH in rows:
            target, window = self._windows.of(rows[LOW][at], rows[HIGH][at])
            level = window if level is None else level
        cells = Cells.at(
            address.astype(np.int64),
            core=_numbers(rows, "core", at, missing=0),
            target=target,
            verify=rows["verify"][at] if "verify" in rows else None,
            level=level,
        )
        named = cells if self.names is None else replace(cells, name=self.names.of(cells.address))
        self.sink.append_cells(named)
        self._latest = np.append(self._latest, np.full(at.size, -np.inf))
        self._last = np.append(self._last, np.full((at.size, 3), np.nan), axis=0)

    def _forward(self, cell: IndexArray, rows: Rows, lines: IndexArray) -> BoolArray:
        """Find the rows that are not before an earlier one of their cell in time, and do not repeat the one before."""
        order = np.argsort(cell, kind="stable")
        who, time, conductance = cell[order], rows["time"][order], rows["conductance"][order]
        repeat = rows["repeat"][order] if "repeat" in rows else np.zeros(time.size)
        begins = np.diff(who, prepend=-1) != 0
        first = np.flatnonzero(begins)
        last = np.append(first[1:], time.size) - 1
        present = who[first]

        late = np.zeros(time.size, bool)
        if np.any((np.diff(time, prepend=-np.inf) < 0) & ~begins) or np.any(time[first] < self._latest[present]):
            late = _before_earlier(who, time, first, self._latest[present])
        self._latest[present] = np.maximum(self._latest[present], np.maximum.reduceat(time, first))

        same = ~late
        for k, values in enumerate((time, conductance, repeat)):
            before = np.roll(values, 1)
            before[first] = self._last[present, k]
            self._last[present, k] = values[last]
            same &= values == before
        self.report.drop(BACKWARDS, lines[order[late]])
        self.report.drop("repeats the row before of the same cell", lines[order[same]])
        forward = np.empty(time.size, bool)
        forward[order] = ~(late | same)
        return forward


def _before_earlier(who: IndexArray, time: FloatArray, first: IndexArray, latest: FloatArray) -> BoolArray:
    """Find the rows (rows,) that are before an earlier one of their cell; rows of a cell follow each other.

    `first` (cells,) is where those of each cell begin, and `latest` (cells,) the latest time of it before them.
    """
    rank = np.unique(np.append(time, latest), return_inverse=True)[1].astype(np.int64)
    size = rank.max() + 1
    place = who * size + rank[: time.size]
    bound = place.copy()
    bound[first] = np.maximum(bound[first], who[first] * size + rank[time.size :])
    late: BoolArray = place < np.maximum.accumulate(bound)
    return late


class _Index:
    """Numbers by keys: a table for small keys, and a sorted list for all others."""

    def __init__(self, table: int = 2**22) -> None:
        """Begin empty, with a table for keys below `table`."""
        self._table = np.full(table, -1, np.int32)
        self._keys = np.empty(0, np.int64)
        self._number = np.empty(0, np.int64)

    def of(self, keys: IndexArray) -> IndexArray:
        """Return the number of each key (rows,), -1 for one that is not there."""
        if keys.size and keys.min() >= 0 and keys.max() < self._table.size:
            return self._table[keys].astype(np.int64)
        at = np.minimum(np.searchsorted(self._keys, keys), max(self._keys.size - 1, 0))
        found = self._keys[at] == keys if self._keys.size else np.zeros(keys.size, bool)
        number = np.where(found, self._number[at], -1) if self._keys.size else np.full(keys.size, -1)
        small = (keys >= 0) & (keys < self._table.size)
        number[small] = self._table[keys[small]]
        return number

    def add(self, keys: IndexArray, numbers: IndexArray) -> None:
        """Add keys (n,), sorted, that are not there."""
        small = (keys >= 0) & (keys < self._table.size)
        self._table[keys[small]] = numbers[small]
        at = np.searchsorted(self._keys, keys[~small])
        self._keys = np.insert(self._keys, at, keys[~small])
        self._number = np.insert(self._number, at, numbers[~small])


def _numbers(rows: Rows, name: str, at: IndexArray, missing: int) -> IndexArray | None:
    """Return a column of whole numbers at some rows, None where there is no such column."""
    if name not in rows:
        return None
    values = rows[name][at]
    return np.where(np.isfinite(values), values, missing).astype(np.int64)


def _whole(values: FloatArray, bound: float) -> BoolArray:
    """Tell which values are whole numbers of a magnitude below the bound."""
    whole: BoolArray = (np.abs(values) < bound) & (values == np.rint(values))
    return whole
