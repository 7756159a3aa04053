"""Cells that were read right after the write and once more, at one age: what became of them by then.

Nothing is said of growth: the law is that of one bake, at whatever temperature the cells were.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hwloop.calibration.fitting.bake.family import Bake
from hwloop.calibration.fitting.bake.settings import BakeSettings
from hwloop.calibration.fitting.bake.table import BakeTable, codes_of, left_for, levels_of
from hwloop.calibration.fitting.base import Description
from hwloop.calibration.fitting.checks import Rows, check_order, check_reads, conductance_scale, rows_of
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.misfit import CheckSettings
from hwloop.calibration.fitting.screening import Screening
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.typing import BoolArray, FloatArray

USUAL = CheckSettings()


@dataclass(frozen=True)
class OneAge(Bake):
    """Later reads, all at one age, given what was read right after the write."""

    name = "one-age"
    several_temperatures: ClassVar[bool] = False
    one_age: ClassVar[bool] = True
    where: ClassVar[str] = "at that age"
    preference = 9
    summary = "resistive memory read after the write and at one later age: cells that stay and cells that move"
    settings: BakeSettings = BakeSettings()

    def prepare(self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN) -> tuple[BakeTable, Screening]:
        """Take what was read right after the write, and each cell's last read."""
        return one_age_table(measurement, self.settings)

    def describe(self, table: BakeTable) -> Description:
        """Return the knots, and what conductances are those before."""
        said = super().describe(table)
        return replace(said, settings=said.settings | {"given_target": float(table.given_target)})


class AfterWrite(OneAge):
    """The same of programmed cells: given their accepted verify read, or their target where there is none."""

    name = "after-write"
    experiment = Experiment.PROGRAMMING
    on_request: ClassVar[bool] = True
    summary = "the same of programmed cells, given the accepted verify read, or else the target"


def one_age_table(measurement: Measurement, settings: BakeSettings | None = None) -> tuple[BakeTable, Screening]:
    """Take each cell's conductance right after the write, and its last read.

    The former is the mean of its reads at its first age, where there is a later one; else the accepted verify read, or
    the target where no cell has one. Raises BadInputError when there is nothing to fit.
    """
    settings = settings or BakeSettings()
    check_reads(measurement)
    check_order(measurement)
    rows, screening, name = rows_of(measurement), Screening.of(measurement), measurement.experiment.value
    screening.drop(rows.counts == 0, "no read")
    first, given_target = _first(measurement, rows)
    screening.drop(~(np.isfinite(first) & (first > 0)), "nothing above zero is known of it right after the write")
    last = np.maximum(rows.counts - 1, 0)[:, None]
    later, age = (np.take_along_axis(own, last, 1)[:, 0] for own in (rows.conductance, rows.time))
    screening.drop(later <= 0, "reads that are not above zero")
    screening.drop(age <= 0, "no later read")
    left_for(screening, settings.most_cells)
    kept = screening.kept
    if not kept.any():
        raise BadInputError(f"{name}: no cell has a read after the write and a later one ({screening.why()})")
    if (spread := float(np.ptp(np.log(age[kept])))) > settings.one_age:
        raise BadInputError(
            f"{name}: last reads are at ages up to {np.exp(spread):.3g} times apart: use --family relaxation"
        )
    codes = codes_of(later[kept])
    typical, scale = float(np.median(age[kept])), conductance_scale(measurement, first[kept])
    known = measurement.reads.temperature[np.isfinite(measurement.reads.temperature)]
    kelvin = float(np.median(known)) if known.size else settings.room
    table = BakeTable(
        g_scale=scale,
        levels=levels_of(first[kept], scale, int(kept.sum()), settings),
        bakes=(0.0,),
        reference=kelvin,
        telling=False,
        given_target=given_target,
        cells=np.flatnonzero(kept),
        first=first[kept],
        there=np.ones((int(kept.sum()), 1), bool),
        time=age[kept, None],
        passed=age[kept, None],
        temperature=np.full((int(kept.sum()), 1), kelvin),
        conductance=(later[kept] if codes is None else codes.dithered(later[kept]))[:, None],
        codes=codes,
        conditions=np.array([[kelvin, typical]]),
    )
    return table, screening


def _first(measurement: Measurement, rows: Rows) -> tuple[FloatArray, bool]:
    """Return the conductance (cells,) right after the write, and whether it is only the target."""
    start = rows.there & (rows.time <= rows.time[:, :1] * np.exp(USUAL.same_age))
    several: BoolArray = start.sum(1) < rows.counts
    mean = np.where(start, rows.conductance, 0.0).sum(1) / np.maximum(start.sum(1), 1)
    if several.any():
        return np.where(several, mean, np.nan), False
    verify = measurement.cells.verify
    return (verify, False) if np.isfinite(verify).any() else (measurement.cells.target, True)
