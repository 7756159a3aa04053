"""What a family says of reads that it was not fitted to: other cells, later times, or both."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.fitting.checks import SAME_TEMPERATURE, at_one_age, is_bake, take_rows, with_reads
from hwloop.calibration.fitting.panels import binned, ks_distance
from hwloop.devices.predicted import Blend
from hwloop.errors import BadInputError
from hwloop.files.measurements import Measurement
from hwloop.files.models import Fit
from hwloop.files.predictions import distribution
from hwloop.typing import BoolArray, FloatArray, Json

CELLS, TIMES, TEMPERATURES = "cells", "times", "temperatures"
"""What can be held out."""


@dataclass(frozen=True)
class HeldOutRow:
    """How well reads of one level and one time were predicted."""

    level: float
    """Mean conductance (uS) of the cells at the reference age."""
    time: float
    """Their median age, s."""
    reads: int
    log_likelihood: float
    """Per read, natural logarithm of 1/uS."""
    ks_distance: float
    covered: float
    """Share of the reads within their 90 % intervals."""
    temperature: float | None = None
    """K of the bake that the reads follow; None where devices were at one temperature."""

    def to_json(self) -> dict[str, Json]:
        """Return it by its names."""
        return dict(vars(self))


@dataclass(frozen=True)
class HeldOut:
    """How well a family that was fitted to a part predicts the rest, given one read of each cell."""

    family: str
    rows: tuple[HeldOutRow, ...]
    """By level and time."""
    pooled: HeldOutRow
    """All of them together."""

    def to_json(self) -> dict[str, Json]:
        """Return it by its names."""
        rows: list[Json] = [row.to_json() for row in self.rows]
        return {"family": self.family, "pooled": self.pooled.to_json(), "rows": rows}


def parted(
    measurement: Measurement, what: Collection[str], share: float = 0.3
) -> tuple[Measurement, Measurement, float]:
    """Part reads into those to fit and those to predict.

    Parameters
    ----------
    measurement
        Reads of one experiment.
    what
        'cells' holds out this share of the cells, 'times' the last age, 'temperatures' the middle one; several, what
        is of all of them.
    share
        Of the cells.

    Returns
    -------
    tuple
        What to fit; the reads of the cells to predict; and the age (s) from which on their reads are to be predicted.

    Raises
    ------
    BadInputError
        For anything else to be held out, and for reads at one age.
    """
    if unknown := set(what) - {CELLS, TIMES, TEMPERATURES}:
        raise BadInputError(f"hold-out '{min(unknown)}': expected {CELLS}, {TIMES} or {TEMPERATURES}")
    reads = measurement.reads
    every = np.ones(len(reads), bool)
    held = (np.random.default_rng(0).random(len(measurement.cells)) < share)[reads.cell] if CELLS in what else ~every
    if TEMPERATURES in what:
        middle = _of_middle_temperature(measurement)
        rest = middle & held if CELLS in what else middle
        since = float(np.min(reads.time[rest])) if TIMES in what else 0.0
        return with_reads(measurement, ~middle & ~held), with_reads(measurement, rest), since
    age = _ages(reads.time)
    if TIMES in what and np.unique(age).size < 2:
        raise BadInputError(f"{measurement.experiment.value}: reads at one age leave no time to hold out")
    late = age == age.max() if TIMES in what else ~every
    since = float(reads.time[late].min()) if TIMES in what else 0.0
    return with_reads(measurement, ~held & ~late), with_reads(measurement, held if CELLS in what else every), since


def _of_middle_temperature(measurement: Measurement) -> BoolArray:
    """Tell which reads are of cells that were at the middle one of the temperatures. Raises BadInputError for few."""
    reads = measurement.reads
    kelvin = np.round(np.where(np.isfinite(reads.temperature), reads.temperature, 0.0) / SAME_TEMPERATURE)
    hottest = np.zeros(len(measurement.cells))
    np.maximum.at(hottest, reads.cell, kelvin)
    there = np.unique(hottest)
    if there.size < 3:
        raise BadInputError(
            f"{measurement.experiment.value}: to hold out a temperature, cells of three temperatures are needed"
        )
    return np.asarray(hottest[reads.cell] == there[there.size // 2])


def _ages(time: FloatArray) -> FloatArray:
    """Round ages to a tenth of a decade, so that those that were meant alike are alike."""
    return np.asarray(np.round(np.log10(np.maximum(time, 1e-12)), 1))


def _known(fit: Fit, measurement: Measurement) -> BoolArray:
    """Tell from which read of each cell the others are predicted: at the age at which the fit states conductances."""
    reads = measurement.reads
    t0 = fit.settings.get("t0", 0.0)
    apart = np.abs(np.log(np.maximum(reads.time, 1e-12) / t0)) if t0 > 0 else reads.time
    order = np.lexsort((apart, reads.cell))
    cell = reads.cell[order]
    nearest = np.zeros(order.size, bool)
    nearest[order[np.concatenate([[True], cell[1:] != cell[:-1]])]] = True
    return nearest


def _before(fit: Fit, rest: Measurement) -> tuple[FloatArray, FloatArray]:
    """Return the conductance (cells,) from which reads of each cell are predicted, and its age; NaN where unknown."""
    reads, known = rest.reads, _known(fit, rest)
    level, then = np.full((2, len(rest.cells)), np.nan)
    level[reads.cell[known]], then[reads.cell[known]] = reads.conductance[known], reads.time[known]
    if at_one_age(rest) and not np.any(reads.time > then[reads.cell]):
        return rest.cells.verify, np.zeros(level.size)
    return level, then


def score(fit: Fit, rest: Measurement, since: float = 0.0, bins: int = 6) -> HeldOut:
    """Predict the later reads of each cell from the one at the age at which the fit states conductances.

    Parameters
    ----------
    fit
        Of the other part: see `parted`.
    rest
        Reads of the cells to predict.
    since
        Age (s) from which on their reads are to be predicted.
    bins
        Levels that are told apart, by the conductance of the cells.

    Raises
    ------
    BadInputError
        For a family that predicts no conductances, and for a rest without later reads.
    """
    reads, (level, then) = rest.reads, _before(fit, rest)
    later = (reads.time > then[reads.cell]) & (reads.time >= since) & (level[reads.cell] > 0)
    if not later.any():
        raise BadInputError(f"{fit.experiment}: no held-out read comes after the one that it is predicted from")
    chosen = take_rows(reads, later)
    own = level[chosen.cell]
    predicted = Blend([distribution(one, chosen.time, own, chosen.temperature) for one in (fit, *fit.alternatives)])
    density = np.log(np.maximum(predicted.density(chosen.conductance), 1e-300))
    quantile = predicted.cdf(chosen.conductance)
    number, age, several = binned(own, bins)[0], _ages(chosen.time), is_bake(rest)
    kelvin = np.round(chosen.temperature / SAME_TEMPERATURE) if several else np.zeros(own.size)

    def row(some: BoolArray) -> HeldOutRow:
        within = (quantile[some] > 0.05) & (quantile[some] < 0.95)
        return HeldOutRow(
            level=float(own[some].mean()),
            time=float(np.median(chosen.time[some])),
            reads=int(density[some].size),
            log_likelihood=float(density[some].mean()),
            ks_distance=ks_distance(quantile[some]),
            covered=float(within.mean()),
            temperature=float(np.median(chosen.temperature[some])) if several else None,
        )

    places = sorted(set(zip(number.tolist(), kelvin.tolist(), age.tolist(), strict=True)))
    rows = tuple(row((number == one) & (kelvin == hot) & (age == when)) for one, hot, when in places)
    return HeldOut(fit.family, rows, row(np.ones(own.size, bool)))
