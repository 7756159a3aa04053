"""Keep a calibration true: the daily renewal of the converters' part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.session import CalibrationStep, Observer, plain_counts, retold
from hwloop.calibration.routines.base import whole_core
from hwloop.calibration.routines.converters import ConverterCalibration
from hwloop.calibration.routines.results import ConverterResult
from hwloop.calibration.settings import Settings
from hwloop.calibration.steps import Step, Work, run
from hwloop.chip.backend import Backend
from hwloop.errors import BadInputError, ChipError, ClosedError, InstrumentError, LinkError
from hwloop.typing import BoolArray

DAILY = "daily"
"""What `skipped` calls the columns that a renewal has left alone."""


@dataclass(frozen=True)
class Renewal(Settings):
    """The daily renewal and its settings."""

    adc_vectors: int = 2048
    """Full-scale input vectors that show the ADCs' curves; twice the rows, at least, are sent."""
    most_offset_sigma: float = 0.2
    """LSB: a column's offset must be known this well to be put in the place of an older one."""
    least_share: float = 0.1
    """Share of a core's columns, at least, that must be renewed; a small matrix does not fill a core."""

    def __post_init__(self) -> None:
        self._require("adc_vectors", 512, 1e7)
        self._require("most_offset_sigma", 0, 1e6)
        self._require("least_share", 0, 1)

    def steps(self, base: Calibration, backend: Backend, seed: int = 0) -> Work[CalibrationStep, Calibration]:
        """Renew; see `renew`."""
        base.for_chip(backend)
        if away := base.away_from(backend):
            raise BadInputError(f"{away[0]}, in full (the daily one renews the converters' part alone)")
        base.write_trims(backend)
        created, clock, before = datetime.now(UTC), backend.now(), backend.counts
        cores = dict(sorted(base.cores.items()))
        skipped = {name: reason for name, reason in base.skipped.items() if not name.endswith(DAILY)}
        for number, (index, core) in enumerate(cores.items()):
            if core.converters is None:
                continue
            rng = np.random.default_rng([seed, index])
            work = converters_now(backend, index, self.adc_vectors, rng)
            fresh = yield from retold(work, partial(_counted, index, number, len(cores)))
            shown = self.shown(fresh, index, backend.info.columns)
            if not shown.all():
                skipped[f"core {index}: {DAILY}"] = (
                    f"{int((~shown).sum())} of {shown.size} columns hold too little to show their converters; what is "
                    f"known of them is of {base.dates['converters']:%Y-%m-%d %H:%M} UTC or before"
                )
            assert fresh is not None  # some columns are shown
            cores[index] = replace(core, converters=merge(core.converters, fresh, shown))
        return replace(
            base,
            created=created,
            cores=cores,
            dates={**base.dates, "converters": created},
            seed=seed,
            clock=clock,
            cost=plain_counts(backend.counts - before),
            skipped=skipped,
            settings={"renewed": ["adc"]},
        )

    def shown(self, fresh: ConverterResult | None, core: int, columns: int) -> BoolArray:
        """Tell which columns (columns,) show their converters well enough to be renewed.

        Raises BadInputError for a core where they are too few.
        """
        shown = np.zeros(columns, bool)
        if fresh is not None:
            shown = ~fresh.unresponsive & (fresh.offset_sigma < self.most_offset_sigma)
        if not shown.any() or shown.mean() < self.least_share:
            raise BadInputError(
                f"core {core}: holds too little to drive its converters ({int(shown.sum())} of "
                f"{columns} columns show theirs); program it first, or run a full calibration"
            )
        return shown


def renew(
    base: Calibration,
    backend: Backend,
    settings: Renewal | None = None,
    *,
    seed: int = 0,
    observer: Observer | None = None,
) -> Calibration:
    """Renew offsets and nonlinearities of the ADCs, by MVMs on what the chip holds: no pulse, no device read.

    The calibration's trims are written first. Everything else is carried over with its date, and so is what is known of
    a column whose converter shows too little now; `skipped` tells how many.

    Parameters
    ----------
    base
        The calibration to renew.
    backend
        Its chip.
    settings
        Of the renewal; the defaults suit a 256 x 256 core.
    seed
        Of the probe inputs.
    observer
        Called before every stage; an exception from it stops the renewal.

    Raises
    ------
    BadInputError
        For another chip or temperature, or where a core holds too little to drive its converters.
    """

    def watch(_: int, step: CalibrationStep) -> None:
        if observer is not None:
            observer(step)

    return run((settings or Renewal()).steps(base, backend, seed), backend, watch)


def merge(known: ConverterResult, fresh: ConverterResult, shown: BoolArray) -> ConverterResult:
    """Put what was measured afresh in the place of what was known, for the columns (columns,) that are shown."""
    names = (
        "offset", "offset_sigma", "second_order", "second_order_sigma", "third_order", "third_order_sigma", "noise",
    )  # fmt: skip
    renewed = {name: np.where(shown, getattr(fresh, name), getattr(known, name)) for name in names}
    return replace(known, **renewed, unresponsive=known.unresponsive & ~shown, adc_noise=fresh.adc_noise)


def converters_now(
    backend: Backend, core: int, adc_vectors: int, rng: np.random.Generator
) -> Work[Step, ConverterResult | None]:
    """Measure the ADCs on what a core holds; None where that drives no column far enough."""
    region = whole_core(backend, core)
    enough = max(adc_vectors, 2 * (region.place.rows + 4))
    try:
        found = yield from ConverterCalibration(adc_vectors=enough, dac_vectors=0).measure(region, rng)
    except (LinkError, InstrumentError, ClosedError):
        raise
    except ChipError:
        return None
    return None if found.unresponsive.all() else found


def _counted(core: int, number: int, cores: int, step: Step) -> CalibrationStep:
    """Count the step of a core's measurement, the one with this number, within those of all cores."""
    done, total = number * step.total + step.done, cores * step.total
    return CalibrationStep(done, total, step.stage, step.rest, core=core)
