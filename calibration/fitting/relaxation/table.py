"""Cells by their first read and what became of them, as the fit of relaxation sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hwloop.calibration.fitting.checks import check_order, check_reads, conductance_scale, rows_of
from hwloop.calibration.fitting.relaxation.settings import RelaxationSettings
from hwloop.calibration.fitting.screening import SPARE, STUCK, Screening
from hwloop.errors import BadInputError
from hwloop.files.measurements import Measurement
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class RelaxationTable:
    """Cells (cells,) with their first conductance, and rectangles (cells, reads) of what came after."""

    g_scale: float
    knots: tuple[float, ...]
    """ln of the first conductances over g_scale at which quantities are fitted."""
    first_age: float
    """Age (s) of the first reads: their median."""
    clock: float
    """Age (s) at which cells were first read again: the median."""
    cells: IndexArray
    first: FloatArray
    """G0, uS."""
    first_time: FloatArray
    """Age (s) of each cell's first read."""
    there: BoolArray
    time: FloatArray
    """Age (s); that of the first read where there is none."""
    conductance: FloatArray
    """G, uS; the first conductance where there is none."""

    @property
    def decades(self) -> FloatArray:
        """(cells, reads) decades of time since each cell's first read."""
        return np.asarray(np.log10((self.time + self.clock) / (self.first_time + self.clock)[:, None]))

    @property
    def log_g(self) -> FloatArray:
        """(cells,) ln of the first conductance over g_scale."""
        return np.asarray(np.log(self.first / self.g_scale))


def relaxation_table(
    measurement: Measurement, settings: RelaxationSettings | None = None
) -> tuple[RelaxationTable, Screening]:
    """Take the first read of every cell and those that came later.

    Raises BadInputError when there is nothing to fit. Without `settings` they are the usual ones.
    """
    settings = settings or RelaxationSettings()
    check_reads(measurement)
    check_order(measurement)
    rows = rows_of(measurement)
    screening = Screening.of(measurement)
    screening.drop(rows.counts < 2, "fewer than two reads")
    later = rows.there & (rows.time > rows.time[:, :1]) & (rows.time > 0)
    screening.drop(later.sum(1) == 0, "all reads at one age")
    screening.drop(np.asarray((rows.there & (rows.conductance <= 0)).any(1)), "reads that are not above zero")
    if not screening.kept.any() or np.unique(rows.time[later & screening.kept[:, None]].round(12)).size < 2:
        raise BadInputError(
            "relaxation: reads at a first and at least two later ages are needed; read the cells again, at an age that "
            "is ten times that of the last reads or more"
        )
    first = rows.conductance[:, 0]
    g_scale = conductance_scale(measurement, first[screening.kept])
    change = np.where(later, np.abs(rows.conductance - first[:, None]), 0.0)
    screening.drop((change.max(1) < settings.smallest_change * g_scale) & (later.sum(1) > 2), STUCK)
    kept = screening.kept
    if not kept.any():
        raise BadInputError("relaxation: every cell is stuck; nothing is left to fit")
    _check_memory(first[kept], rows.conductance[kept], later[kept], settings.unlike)
    _draw(screening, settings.most_cells)
    kept = screening.kept
    return _table(rows.time[kept], rows.conductance[kept], later[kept], np.flatnonzero(kept), g_scale, settings), (
        screening
    )


def _check_memory(first: FloatArray, conductance: FloatArray, there: BoolArray, unlike: float) -> None:
    """Raise BadInputError where cells differ a lot at their first read, which tells nothing of the next one."""
    if np.log(first).std() < unlike or first.size < 3:
        return
    after = conductance[np.arange(first.size), np.argmax(there, axis=1)]
    if stats.spearmanr(first, after).statistic < 3.0 / math.sqrt(first.size):
        raise BadInputError(
            "relaxation: the first read of a cell tells nothing of its next one, as if they were of different cells; "
            "look for wrong columns, units or cell numbers"
        )


def _draw(screening: Screening, most: int) -> None:
    """Leave out all but so many cells, at random."""
    kept = np.flatnonzero(screening.kept)
    if kept.size > most:
        spare = np.zeros(screening.kept.size, bool)
        spare[np.random.default_rng(0).permutation(kept)[most:]] = True
        screening.drop(spare, SPARE)


def _table(
    time: FloatArray,
    conductance: FloatArray,
    there: BoolArray,
    cells: IndexArray,
    g_scale: float,
    settings: RelaxationSettings,
) -> RelaxationTable:
    first, first_time = conductance[:, 0], time[:, 0]
    again = np.where(there, time, math.inf).min(1)
    return RelaxationTable(
        g_scale=g_scale,
        knots=_knots(first, g_scale, settings),
        first_age=float(np.median(first_time)),
        clock=float(np.median(again)),
        cells=cells,
        first=first,
        first_time=first_time,
        there=there,
        time=np.where(there, time, first_time[:, None]),
        conductance=np.where(there, conductance, first[:, None]),
    )


def _knots(first: FloatArray, g_scale: float, settings: RelaxationSettings) -> tuple[float, ...]:
    """Place knots half by how many cells there are and half evenly."""
    count = max(2, min(settings.knots, first.size // settings.cells_per_knot))
    by_cells = np.quantile(first, np.linspace(0.001, 0.999, count))
    places = 0.5 * by_cells + 0.5 * np.linspace(by_cells[0], by_cells[-1], count)
    return tuple(float(place) for place in np.unique(np.log(places / g_scale)))
