"""What a measurement must be before anything is fitted to it, and its reads as one row per cell."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from hwloop.errors import BadInputError
from hwloop.files.measurements import Cells, Experiment, Measurement, Reads
from hwloop.typing import BoolArray, FloatArray, IndexArray

Columns = TypeVar("Columns", Cells, Reads)

SAME_TEMPERATURE = 5.0
"""K: reads further apart than this are not one experiment."""


@dataclass(frozen=True)
class Rows:
    """Reads as a rectangle, one row per cell in the order of its reads; `there` is false where a cell has fewer."""

    there: BoolArray
    time: FloatArray
    conductance: FloatArray
    amplitude: FloatArray | None

    @property
    def counts(self) -> IndexArray:
        """(cells,) reads of each cell."""
        counts: IndexArray = self.there.sum(1).astype(np.int64)
        return counts

    def log_time(self, t0: float) -> FloatArray:
        """Return ln(t / t0) (cells, reads), zero where there is no read."""
        return np.asarray(np.log(np.where(self.there, self.time, t0) / t0))

    def take(self, some: IndexArray | BoolArray) -> Rows:
        """Return those of some cells."""
        return Rows(
            self.there[some],
            self.time[some],
            self.conductance[some],
            None if self.amplitude is None else self.amplitude[some],
        )


def check_values(measurement: Measurement) -> None:
    """Raise BadInputError for reads that say nothing: none, NaN, times that are none, or conductances of no sign."""
    reads, name = measurement.reads, measurement.experiment.value
    if not len(reads):
        raise BadInputError(f"{name}: there are no reads to fit")
    for what, values in (("conductance", reads.conductance), ("time", reads.time)):
        bad = ~np.isfinite(values)
        if bad.any():
            raise BadInputError(f"{name}: the {what} of {_named(measurement, bad)} is not a finite number")
    if (reads.time < 0).any():
        raise BadInputError(f"{name}: the age of {_named(measurement, reads.time < 0)} is negative")
    if np.mean(reads.conductance < 0) > 0.5:
        raise BadInputError(f"{name}: most conductances are negative; check the sign and the unit")


def is_bake(measurement: Measurement) -> bool:
    """Tell whether the devices were at several temperatures."""
    known = measurement.reads.temperature[np.isfinite(measurement.reads.temperature)]
    return bool(known.size) and bool(np.ptp(known) > SAME_TEMPERATURE)


def is_ramp(measurement: Measurement, most: int = 4) -> bool:
    """Tell whether devices were read at many temperatures each (over `most`), as where a room warms up: no bake."""
    reads = measurement.reads
    known = np.isfinite(reads.temperature)
    met = np.stack([reads.cell[known], np.rint(reads.temperature[known] / SAME_TEMPERATURE).astype(np.int64)])
    of_cells = np.unique(np.unique(met, axis=1)[0], return_counts=True)[1]
    return bool(of_cells.size) and float(np.median(of_cells)) > most


def at_one_age(measurement: Measurement, alike: float = 0.7) -> bool:
    """Tell whether cells, of which more is known right after the write, were later read at one age alone.

    Ages are alike whose logarithms differ by less than `alike`.
    """
    reads, verify = measurement.reads, measurement.cells.verify
    first = np.full(len(measurement.cells), np.inf)
    np.minimum.at(first, reads.cell, reads.time)
    again = reads.time > first[reads.cell] * (1.0 + 1e-3)
    if not again.any():
        again = np.isfinite(verify)[reads.cell] & (reads.time > 0)
    later = reads.time[again]
    return bool(later.size) and float(np.log(later.max() / later.min())) <= alike


def check_reads(measurement: Measurement) -> None:
    """Raise BadInputError for reads without support: those of `check_values`, and several temperatures."""
    check_values(measurement)
    if is_bake(measurement):
        known = measurement.reads.temperature[np.isfinite(measurement.reads.temperature)]
        more = ": --family bake fits several" if measurement.experiment is Experiment.DRIFT else ""
        raise BadInputError(
            f"{measurement.experiment.value}: measured at {known.min():.0f} to {known.max():.0f} K; this family holds "
            f"at one temperature{more}, or import the reads of each temperature into a file of their own"
        )


def check_order(measurement: Measurement) -> None:
    """Raise BadInputError for time series in which the ages of a cell run backwards, or no cell ever changes."""
    reads, name = measurement.reads, measurement.experiment.value
    order = np.argsort(reads.cell, kind="stable")
    cell, time = reads.cell[order], reads.time[order]
    back = (cell[1:] == cell[:-1]) & (time[1:] < time[:-1])
    if back.any():
        at = int(order[1:][np.argmax(back)])
        raise BadInputError(
            f"{name}: the times of cell {measurement.cells.address[reads.cell[at]]} run "
            f"backwards at read {at}; sort the reads, or give the true times"
        )
    again, conductance = cell[1:] == cell[:-1], reads.conductance[order]
    if again.any() and not (again & (conductance[1:] != conductance[:-1])).any():
        raise BadInputError(
            f"{name}: every cell reads the same at all times: all are stuck, or the file has no new reads"
        )


def rows_of(measurement: Measurement) -> Rows:
    """Put the reads of every cell into a row of their own."""
    reads, cells = measurement.reads, len(measurement.cells)
    counts = np.bincount(reads.cell, minlength=cells)
    width = int(counts.max(initial=0))
    starts = np.cumsum(counts) - counts
    in_order = bool(np.all(reads.cell[1:] >= reads.cell[:-1]))
    order = slice(None) if in_order else np.argsort(reads.cell, kind="stable")
    cell = reads.cell[order]
    place = np.arange(len(reads)) - starts[cell]
    place += cell.astype(np.int64) * width

    def spread(values: FloatArray) -> FloatArray:
        rectangle = np.zeros(cells * width)
        rectangle[place] = values[order]
        return rectangle.reshape(cells, width)

    there = np.zeros(cells * width, bool)
    there[place] = True
    amplitude = None if reads.amplitude is None else spread(reads.amplitude)
    return Rows(there.reshape(cells, width), spread(reads.time), spread(reads.conductance), amplitude)


def reference_age(measurement: Measurement, ages: FloatArray) -> float:
    """Return the age (seconds) at which conductances are stated: the measurement's own, else 20 s or the nearest."""
    for name in ("t0", "target_age"):
        own = measurement.attributes.get(name)
        if isinstance(own, int | float) and own > 0:
            return float(own)
    positive = ages[ages > 0]
    return float(np.clip(20.0, positive.min(), positive.max()))


def conductance_scale(measurement: Measurement, conductance: FloatArray) -> float:
    """Return the conductance (uS) that counts as g = 1: the chip's g_max, else the largest seen, rounded up."""
    own = measurement.attributes.get("g_max")
    if isinstance(own, int | float) and own > 0:
        return float(own)
    top = float(np.quantile(conductance, 0.995))
    if not top > 0:
        raise BadInputError(f"{measurement.experiment.value}: no cell conducts; check the unit of the conductances")
    step = 10.0 ** (math.floor(math.log10(top)) - 1)
    return math.ceil(top / step) * step


def with_reads(measurement: Measurement, chosen: BoolArray) -> Measurement:
    """Return the measurement with some of its reads."""
    return replace(measurement, reads=take_rows(measurement.reads, chosen))


def take_rows(table: Columns, chosen: BoolArray) -> Columns:
    """Return a table of cells or reads with some of its rows."""
    columns = {name: getattr(table, name) for name in table.__dataclass_fields__}
    return replace(table, **{name: column[chosen] for name, column in columns.items() if column is not None})


def some_cells(measurement: Measurement, cells: IndexArray) -> Measurement:
    """Return the measurement of some of its cells, by their ascending indices, numbered anew."""
    chosen = np.zeros(len(measurement.cells), bool)
    chosen[cells] = True
    number = np.cumsum(chosen) - 1
    reads = take_rows(measurement.reads, chosen[measurement.reads.cell])
    return replace(
        measurement,
        cells=take_rows(measurement.cells, chosen),
        reads=replace(reads, cell=number[reads.cell].astype(np.int32)),
    )


def split_last(measurement: Measurement) -> tuple[Measurement, Measurement]:
    """Part the reads into those without, and only, the last one of every cell."""
    reads = measurement.reads
    last = np.full(len(measurement.cells), -1)
    last[reads.cell] = np.arange(len(reads))  # later assignments win
    is_last = np.zeros(len(reads), bool)
    is_last[last[last >= 0]] = True
    return with_reads(measurement, ~is_last), with_reads(measurement, is_last)


def _named(measurement: Measurement, bad: BoolArray) -> str:
    at = int(np.argmax(bad))
    address = measurement.cells.address[measurement.reads.cell[at]]
    return f"read {at} (cell {address}, {int(bad.sum())} such read(s))"
