"""Cells by their first read and what bakes made of them, as the fit sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from hwloop.calibration.fitting.bake.settings import BakeSettings
from hwloop.calibration.fitting.base import SHARED
from hwloop.calibration.fitting.checks import (
    SAME_TEMPERATURE,
    Rows,
    check_order,
    check_values,
    conductance_scale,
    rows_of,
)
from hwloop.calibration.fitting.screening import SPARE, Screening
from hwloop.devices.bake import log_equivalent
from hwloop.errors import BadInputError
from hwloop.files.measurements import Measurement
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class Codes:
    """Values (uS) that a converter gives: `lowest`, and from there in steps of `step`."""

    lowest: float
    step: float

    def nearest(self, reads: FloatArray) -> FloatArray:
        """Return the values that are nearest to reads (any shape)."""
        return self.lowest + self.step * np.round((reads - self.lowest) / self.step)

    def dithered(self, reads: FloatArray) -> FloatArray:
        """Return reads (n,) anywhere within a step of where they are, above zero."""
        moved = reads + self.step * (np.random.default_rng(0).random(reads.size) - 0.5)
        return np.where(moved > 0, moved, reads)


def codes_of(reads: FloatArray, fewest: float = 20.0) -> Codes | None:
    """Return the steps of a converter that show in reads (n,); None where there are none.

    Reads that can only be a few values have no density, which would grow without end at each of them.

    Parameters
    ----------
    reads
        uS.
    fewest
        Reads of each value, on average, from which on they are taken for codes.
    """
    values = np.unique(reads)
    if values.size < 2 or reads.size < fewest * values.size:
        return None
    step = float(np.diff(values).min())
    whole = (values - values[0]) / step
    return Codes(float(values[0]), step) if np.abs(whole - np.round(whole)).max() < 0.02 else None


@dataclass(frozen=True)
class BakeTable:
    """Cells (cells,) with their first conductance, and rectangles (cells, reads) of what came after."""

    g_scale: float
    levels: tuple[float, ...]
    """ln of the first conductances over g_scale at which quantities are fitted."""
    bakes: tuple[float, ...]
    """Places of the bakes at which quantities are fitted, from the mildest (0) to the hardest (1)."""
    reference: float
    """Temperature (K) at which equivalent times are stated: the highest."""
    telling: bool
    """Whether different times at a temperature tell the activation energy."""
    cells: IndexArray
    first: FloatArray
    """G0, uS."""
    there: BoolArray
    time: FloatArray
    """Age of each read, s."""
    passed: FloatArray
    """Seconds since the read before, 0 where there is no read."""
    temperature: FloatArray
    """K at which the cell was in these seconds; any where there is no read."""
    conductance: FloatArray
    """G, uS; the first conductance where there is none."""
    conditions: FloatArray = field(metadata=SHARED)
    """(bakes, 2) temperatures (K) and times (s) that were measured, those that were meant alike together."""
    codes: Codes | None = None
    """What reads can be, where they are a few values; `conductance` then is anywhere within a step of them."""
    given_target: bool = False
    """Whether the first conductances are only what was aimed at."""

    @property
    def log_g(self) -> FloatArray:
        """(cells,) ln of the first conductance over g_scale."""
        return np.asarray(np.log(self.first / self.g_scale))


def bake_table(measurement: Measurement, settings: BakeSettings | None = None) -> tuple[BakeTable, Screening]:
    """Take the first read of every cell and those that came after its bakes.

    Raises BadInputError when there is nothing to fit. Without `settings` they are the usual ones.
    """
    settings = settings or BakeSettings()
    check_values(measurement)
    check_order(measurement)
    rows, kelvin = rows_of(measurement), _kelvin(measurement)
    screening = Screening.of(measurement)
    screening.drop(rows.counts < 2, "fewer than two reads")
    later = rows.there & (rows.time > rows.time[:, :1]) & (rows.time > 0)
    screening.drop(later.sum(1) == 0, "all reads at one age")
    screening.drop(np.asarray((later & ~np.isfinite(kelvin)).any(1)), "reads at an unknown temperature")
    screening.drop(np.asarray((rows.there & (rows.conductance <= 0)).any(1)), "reads that are not above zero")
    left_for(screening, settings.most_cells)
    kept = screening.kept
    if not kept.any() or np.ptp(kelvin[kept][later[kept]]) <= SAME_TEMPERATURE:
        raise BadInputError(
            "bake: reads of cells after bakes at two temperatures at least are needed, each cell with a first read "
            "before its bake; of one temperature, use --family relaxation"
        )
    g_scale = conductance_scale(measurement, rows.conductance[kept, 0])
    return _table(rows, kelvin, later, kept, g_scale, settings), screening


def _kelvin(measurement: Measurement) -> FloatArray:
    """Return the temperature (cells, reads) of every read, in the order of `rows_of`."""
    reads = measurement.reads
    return rows_of(replace(measurement, reads=replace(reads, conductance=reads.temperature))).conductance


def left_for(screening: Screening, most: int) -> None:
    """Leave out all but so many cells, at random."""
    kept = np.flatnonzero(screening.kept)
    if kept.size > most:
        spare = np.zeros(screening.kept.size, bool)
        spare[np.random.default_rng(0).permutation(kept)[most:]] = True
        screening.drop(spare, SPARE)


def _table(
    rows: Rows, kelvin: FloatArray, later: BoolArray, kept: BoolArray, g_scale: float, settings: BakeSettings
) -> BakeTable:
    """Take the cells that are kept."""
    first, time = rows.conductance[kept, 0], rows.time[kept]
    there, temperature = later[kept, 1:], np.where(later[kept, 1:], kelvin[kept, 1:], np.nanmax(kelvin[kept]))
    passed = np.where(rows.there[kept, 1:], np.diff(time, axis=1), 0.0)
    conditions = _conditions(temperature[there], time[:, 1:][there], settings.different_times)
    table = BakeTable(
        g_scale=g_scale,
        levels=(0.0,),
        bakes=(0.0, 1.0),
        reference=float(conditions[:, 0].max()),
        telling=_tell_energy(conditions, settings.different_times),
        cells=np.flatnonzero(kept),
        first=first,
        there=there,
        time=np.where(there, time[:, 1:], time[:, :1]),
        passed=passed,
        temperature=temperature,
        conductance=np.where(there, rows.conductance[kept, 1:], first[:, None]),
        conditions=conditions,
    )
    place = equivalent_place(table, settings.energy)[there]
    bakes = _bakes(place, settings)
    few = min(int(np.sum(np.abs(place - at) < settings.same_place)) for at in bakes) or place.size // len(bakes)
    return replace(table, bakes=bakes, levels=levels_of(first, g_scale, few, settings))


def equivalent_place(table: BakeTable, energy: float) -> FloatArray:
    """Return the place (cells, reads) of every read between the mildest and the hardest bake, for an energy (eV)."""
    log_time = log_equivalent(table.passed, table.temperature, energy, table.reference)
    kelvin, seconds = table.conditions.T[:, :, None]
    ends = log_equivalent(seconds, kelvin, energy, table.reference)
    return np.asarray((log_time - ends.min()) / max(float(np.ptp(ends)), 1e-9))


def _conditions(temperature: FloatArray, time: FloatArray, ratio: float) -> FloatArray:
    """Return temperatures (K) and times (s) that were measured, those that were meant alike as their median."""
    kind = np.stack(
        [np.round(temperature / SAME_TEMPERATURE), np.round(np.log(time) / (0.5 * math.log(ratio)))], axis=1
    )
    _, number = np.unique(kind, axis=0, return_inverse=True)
    number = number.ravel()
    return np.array(
        [[np.median(temperature[number == k]), np.median(time[number == k])] for k in range(number.max() + 1)]
    )


def _tell_energy(conditions: FloatArray, ratio: float) -> bool:
    """Tell whether there are different times at one temperature."""
    kelvin = np.round(conditions[:, 0] / SAME_TEMPERATURE)
    spans = [np.ptp(np.log(conditions[kelvin == one, 1])) for one in np.unique(kelvin)]
    return bool(max(spans) > math.log(ratio))


def _bakes(place: FloatArray, settings: BakeSettings) -> tuple[float, ...]:
    """Place knots where reads are, if they are at few places, or else evenly."""
    alike = np.unique(np.round(place / settings.same_place))
    if alike.size > settings.bakes:
        return tuple(np.linspace(place.min(), place.max(), settings.bakes).tolist())
    return tuple(float(np.median(place[np.round(place / settings.same_place) == one])) for one in alike)


def levels_of(first: FloatArray, g_scale: float, cells: int, settings: BakeSettings) -> tuple[float, ...]:
    """Place knots half by how many cells there are and half evenly."""
    count = max(2, min(settings.levels, cells // settings.cells_per_knot))
    by_cells = np.quantile(first, np.linspace(0.005, 0.995, count))
    places = 0.5 * by_cells + 0.5 * np.linspace(by_cells[0], by_cells[-1], count)
    return tuple(float(place) for place in np.unique(np.log(places / g_scale)))
