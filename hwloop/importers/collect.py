"""What all importers do with rows of numbers: leave out what cannot be used, number the cells, write."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hwloop.errors import BadInputError
from hwloop.files.experiment_writer import ExperimentWriter
from hwloop.files.measurement_writer import MeasurementWriter
from hwloop.files.measurements import Attributes, Cells, Experiment, Reads
from hwloop.typing import BoolArray, FloatArray, IndexArray, Json

ADDRESS_BITS = 40
"""Bits of a cell's number: cells that are told apart by more than their number must have numbers below 2^40."""
CORES = 2048
"""Number of cores that can be told apart; their numbers lie below it."""
EPISODES = 4096
"""Number of different values at most of the quantity that a file is split by."""

OPTIONAL = {"amplitude": "amplitude", "width": "width", "voltage": "pulse_voltage", "nominal": "nominal_time"}
"""Columns of reads that not every experiment has, and what importers call them."""

BACKWARDS = "time runs backwards within a cell"
"""A reason to leave a row out, which cells that were measured anew have."""

Rows = dict[str, FloatArray]
"""Columns of rows in hwloop's units, each (rows,)."""


@dataclass
class Dropped:
    """Rows that were left out for one reason, and the first line (or row) where it happened."""

    count: int
    """Number of rows."""
    first_line: int
    """Line (or row) where it happened first, counted from 1."""


@dataclass(repr=False)
class ImportReport:
    """What came of an import."""

    rows: int = 0
    """Rows that were looked at."""
    reads: int = 0
    """Reads that were imported."""
    cells: int = 0
    """Cells that they are of."""
    conductance: tuple[float, float] = (math.inf, -math.inf)
    """Smallest and largest, uS: a wrong unit shows here."""
    time: tuple[float, float] = (math.inf, -math.inf)
    """Smallest and largest age, seconds."""
    dropped: dict[str, Dropped] = field(default_factory=dict)
    """By reason, in the words that the user reads."""

    def drop(self, reason: str, lines: IndexArray) -> None:
        """Count lines (n,) that were left out."""
        if not lines.size:
            return
        found = self.dropped.setdefault(reason, Dropped(0, int(lines.min())))
        found.count += int(lines.size)
        found.first_line = min(found.first_line, int(lines.min()))

    def take(self, time: FloatArray, conductance: FloatArray) -> None:
        """Count reads (n,) that were imported; ages in seconds, conductances in uS."""
        self.reads += time.size
        self.time = min(self.time[0], float(time.min())), max(self.time[1], float(time.max()))
        low, high = self.conductance
        self.conductance = min(low, float(conductance.min())), max(high, float(conductance.max()))

    def to_json(self) -> dict[str, Json]:
        """Return what `hwloop import --json` prints and the measurement file keeps."""
        return {
            "rows": self.rows,
            "reads": self.reads,
            "cells": self.cells,
            "conductance_range": list(self.conductance),
            "time_range": list(self.time),
            "dropped": {reason: vars(found) for reason, found in self.dropped.items()},
        }

    def __repr__(self) -> str:
        return f"<ImportReport: {self.reads:,} reads of {self.cells:,} cells from {self.rows:,} rows>"


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
        """
        self.report = ImportReport()
        # Every pulse of a programming curve begins a new age.
        self._ordered = experiment is not Experiment.PROGRAMMING_CURVE
        self.sink: ExperimentWriter = writer.begin(experiment, Cells.at(np.empty(0, np.int64)), attributes)
        self._split_by, self._keep_non_positive = split_by, keep_non_positive
        self._episodes: dict[float, int] = {}
        self._keys = np.empty(0, np.int64)  # sorted, with the index of each cell beside it
        self._index = np.empty(0, np.int64)
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
        keep = self._sound(rows, lines)
        rows, lines = {name: values[keep] for name, values in rows.items()}, lines[keep]
        if not lines.size:
            return
        cell = self._numbered(rows)
        keep = self._forward(cell, rows, lines) if self._ordered else np.ones(cell.size, bool)
        if not np.any(keep):
            return
        rows, cell = {name: values[keep] for name, values in rows.items()}, cell[keep]
        optional = {ours: rows[theirs] for ours, theirs in OPTIONAL.items() if theirs in rows}
        temperature = rows.get("temperature", np.full(cell.size, np.nan))
        self.sink.append(Reads(cell.astype(np.int32), rows["time"], rows["conductance"], temperature, **optional))
        self.report.take(rows["time"], rows["conductance"])

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
                f"{reason} ({found.count}, first in line {found.first_line})"
                for reason, found in self.report.dropped.items()
            )
            raise BadInputError(f"{path}: nothing could be imported from {self.report.rows} rows: {why}")
        return self.report

    def _sound(self, rows: Rows, lines: IndexArray) -> BoolArray:
        """Find the rows (rows,) whose cell, time and conductance can be used; count the others."""
        time, conductance = rows["time"], rows["conductance"]
        absent = np.zeros(lines.size)
        level = rows.get("level", absent)
        faults = [
            ("cell is no whole number", ~_whole(rows.get("cell", absent), 2.0**53)),
            ("core is no whole number", ~_whole(rows.get("core", absent), CORES)),
            ("level is no whole number", ~(_whole(level, 2.0**31) | np.isnan(level))),
            ("time is missing or not finite", ~np.isfinite(time)),
            ("time is negative", time < 0),
            ("conductance is missing or not finite", ~np.isfinite(conductance)),
        ]
        if not self._keep_non_positive:
            faults.append(("conductance is zero or negative", conductance <= 0))
        good = np.ones(lines.size, bool)
        for reason, bad in faults:
            self.report.drop(reason, lines[good & bad])
            good &= ~bad
        return good

    def _numbered(self, rows: Rows) -> IndexArray:
        """Return the index of each row's cell, (rows,); cells that are new are written."""
        keys = self._key(rows)
        unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        at = np.searchsorted(self._keys, unique)
        known = np.isin(unique, self._keys, assume_unique=True)
        new = np.flatnonzero(~known)
        new = new[np.argsort(first[new], kind="stable")]  # in the order in which the file names them
        index = np.empty(unique.size, np.int64)
        index[known] = self._index[at[known]]
        index[new] = self._latest.size + np.arange(new.size)
        if new.size:
            self._add_cells(rows, first[new])
            order = np.argsort(unique[new])
            self._keys = np.insert(self._keys, at[new][order], unique[new][order])
            self._index = np.insert(self._index, at[new][order], index[new][order])
        return index[inverse]

    def _key(self, rows: Rows) -> IndexArray:
        """Return one number per cell, core and episode, for each row, (rows,)."""
        count = rows["time"].size
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
        self.sink.append_cells(
            Cells.at(
                address.astype(np.int64),
                core=_numbers(rows, "core", at, missing=0),
                target=rows["target"][at] if "target" in rows else None,
                verify=rows["verify"][at] if "verify" in rows else None,
                level=_numbers(rows, "level", at, missing=-1),
            )
        )
        self._latest = np.append(self._latest, np.full(at.size, -np.inf))
        self._last = np.append(self._last, np.full((at.size, 3), np.nan), axis=0)

    def _forward(self, cell: IndexArray, rows: Rows, lines: IndexArray) -> BoolArray:
        """Find the rows that are not before an earlier one of their cell in time, and do not repeat the one before."""
        time = rows["time"]
        present = np.unique(cell)
        everyone, moments = np.append(present, cell), np.append(self._latest[present], time)
        order = np.argsort(everyone, kind="stable")  # each cell's past first, then its rows in their order
        rank = np.unique(moments, return_inverse=True)[1].astype(np.int64)
        place = everyone[order] * (rank.max() + 1) + rank[order]
        late = np.empty(order.size, bool)
        late[order] = place < np.maximum.accumulate(place)
        backwards = late[present.size :]
        self.report.drop(BACKWARDS, lines[backwards])
        self._latest[present] = np.maximum.reduceat(
            moments[order], np.flatnonzero(np.diff(everyone[order], prepend=-1))
        )

        repeat = rows.get("repeat", np.zeros(time.size))
        what = np.stack([time, rows["conductance"], repeat], axis=1)
        before = np.empty_like(what)
        rows_order = order[order >= present.size] - present.size
        starts = np.diff(cell[rows_order], prepend=-1) != 0
        shifted = np.roll(what[rows_order], 1, axis=0)
        shifted[starts] = self._last[cell[rows_order][starts]]
        before[rows_order] = shifted
        ends = np.roll(starts, -1)
        self._last[cell[rows_order][ends]] = what[rows_order][ends]
        same = np.all(what == before, axis=1) & ~backwards
        self.report.drop("repeats the row before of the same cell", lines[same])
        forward: BoolArray = ~(backwards | same)
        return forward


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
