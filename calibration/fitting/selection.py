"""All families, and the choice among them by what they say of data that they have not seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwloop.calibration.fitting.base import Family, Fitted, Panel, with_choice
from hwloop.calibration.fitting.checks import check_order, check_reads, take_rows, with_reads
from hwloop.calibration.fitting.drift import LogClipDrift, SplineDrift
from hwloop.calibration.fitting.programming_curve import KnownDrift, Logistic
from hwloop.calibration.fitting.programming_noise import HeavyTails, Polynomial2, Polynomial3
from hwloop.calibration.fitting.read_noise import KnotsReadNoise, PowerLawReadNoise
from hwloop.calibration.fitting.relaxation import Relaxation
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.typing import FloatArray

AUTO = "auto"
MOST_CELLS = 3000
"""Cells that a choice is made on; of more, this many at random."""
TIE = 2.0
"""Standard errors of the difference within which families are taken to foretell later reads alike."""
HELD_OUT = 0.3
"""Share of the cells that judge families fitted to the others."""
OUTLIER = 1e-6
"""Every prediction grants this share to anything within the range, so that one wild cell does not decide."""
POOR, USELESS = 0.1, 0.4
"""Kolmogorov distance of the predicted quantiles from which on a fit is warned of, beyond what chance makes of a few
cells, and refused."""
CHANCE = 1.63
"""Over the root of their number, the distance that one sample in a hundred of a true model exceeds."""


def families(experiment: Experiment, drift: KnownDrift | None = None) -> list[Family[Any]]:
    """The families of an experiment, those of drift by how little they assume.

    `drift` is what is known of it when a programming curve is fitted.
    """
    every: list[Family[Any]] = [
        SplineDrift(), LogClipDrift(), Relaxation(), Polynomial2(), Polynomial3(), HeavyTails(),
        PowerLawReadNoise(), KnotsReadNoise(), Logistic(drift),
    ]  # fmt: skip
    return [family for family in every if family.experiment is experiment]


@dataclass(frozen=True)
class Outcome:
    """A fit, its diagrams, and the families that could not be tried with the reason."""

    fitted: Fitted[Any]
    panels: list[Panel]
    refused: dict[str, str]


def fit_measurement(measurement: Measurement, family: str = AUTO, drift: KnownDrift | None = None) -> Outcome:
    """Fit one measurement with a family by name, or with that which predicts held-out data best (`_chosen`).

    Raises BadInputError for an unknown family, and for a measurement that supports no fit.
    """
    candidates = families(measurement.experiment, drift)
    choice: dict[str, float] = {}
    refused: dict[str, str] = {}
    if family == AUTO and len(candidates) == 1:
        chosen = candidates[0]
    elif family == AUTO:
        check_reads(measurement)
        scores, refused = held_out_scores(measurement, candidates)
        chosen = _chosen(candidates, scores)
        choice = {name: float(each.mean()) for name, each in scores.items()}
    else:
        named = [one for one in candidates if one.name == family]
        if not named:
            known = ", ".join(one.name for one in candidates)
            raise BadInputError(f"{measurement.experiment.value} has no family '{family}'; known: {AUTO}, {known}")
        chosen = named[0]
    with _soluble(chosen):
        fitted, table = chosen.fit(measurement)
    return Outcome(with_choice(_judged(fitted), choice), chosen.panels(table, fitted.optimum.theta), refused)


def _chosen(candidates: Sequence[Family[Any]], scores: Mapping[str, FloatArray]) -> Family[Any]:
    """The family of the best mean score; of drift families that tie with it, the one that assumes least.

    A later read is a blunt judge: forms that are far apart in their parameters foretell it nearly alike. What is
    derived from a form that is not the devices' own is off by more than its intervals say.
    """
    tried = [one for one in candidates if one.name in scores]
    best = max(tried, key=lambda one: float(scores[one.name].mean()))
    if not best.extrapolates:
        return best

    def ties(one: Family[Any]) -> bool:
        behind = scores[best.name] - scores[one.name]
        return bool(behind.mean() <= TIE * behind.std() / math.sqrt(behind.size))

    return next(one for one in tried if ties(one))


def _judged(fitted: Fitted[Any]) -> Fitted[Any]:
    """The fit, with a warning where it describes the data poorly. Raises BadInputError where it does not at all."""
    record, distance = fitted.record, fitted.record.calibration_distance
    far = f"predicted quantiles are {distance:.2f} from uniform, and true models come within 0.04"
    if not distance < USELESS:  # nor NaN
        stuck = f"{record.cells.stuck} of {record.cells.measured} were found"
        raise BadInputError(
            f"{record.experiment}: '{record.family}' does not describe these reads ({far}); look for wrong times or "
            f"units and stuck cells ({stuck}), or name another family"
        )
    if distance < POOR + CHANCE / math.sqrt(record.cells.used):
        return fitted
    note = f"the model describes these reads poorly: {far}; see the figures (--figures)"
    return replace(fitted, record=replace(record, warnings=(*record.warnings, note)))


def held_out_scores(
    measurement: Measurement, candidates: Sequence[Family[Any]]
) -> tuple[dict[str, FloatArray], dict[str, str]]:
    """Log-likelihood (cells,) of data that a family was not fitted to; and why others could not be tried.

    The cells are those that every family can judge. Families that extrapolate are judged by the last read of every
    cell, the others by cells of their own. Raises BadInputError, with the reason, when none can be fitted.
    """
    refused: dict[str, str] = {}
    scores: dict[str, FloatArray] = {}
    part = _fewer_cells(measurement)
    for family in candidates:
        try:
            with _soluble(family):
                scores[family.name] = _later_reads(family, part) if family.extrapolates else _other_cells(family, part)
        except BadInputError as error:
            refused[family.name] = str(error)
    if not scores:
        # Not the choice but the fit itself says what is wrong with the data.
        with _soluble(candidates[0]):
            candidates[0].fit(measurement)
        raise BadInputError(f"{measurement.experiment.value}: no family fits ({'; '.join(refused.values())})")
    everywhere = np.all([np.isfinite(each) for each in scores.values()], axis=0)
    if not everywhere.any():
        raise BadInputError(
            f"{measurement.experiment.value}: no cell is usable for every family; name one with --family"
        )
    return {name: each[everywhere] for name, each in scores.items()}, refused


@contextmanager
def _soluble(family: Family[Any]) -> Iterator[None]:
    """Turn equations without a solution into what that says of the data: a BadInputError."""
    try:
        yield
    except np.linalg.LinAlgError:
        raise BadInputError(
            f"{family.experiment.value}: the cells do not differ enough to fit '{family.name}'; nearly all are stuck, "
            "or read exactly alike"
        ) from None


def _other_cells(family: Family[Any], measurement: Measurement) -> FloatArray:
    """Log-likelihood of the cells held out, given the others."""
    table, _ = family.prepare(measurement)
    size = family.size(table)
    held_out = np.random.default_rng(0).random(size) < HELD_OUT
    if size < 10:
        held_out[:] = False  # too few to spare any: judged by themselves
    training = family.subset(table, ~held_out)
    family.require_support(training)
    optimum, _ = family.estimate(training, intervals=False)
    judged = family.subset(table, held_out) if held_out.any() else table
    return family.log_likelihood(judged, optimum.theta)


def _later_reads(family: Family[Any], measurement: Measurement) -> FloatArray:
    """Log density of the last read of every cell, given the earlier ones."""
    check_order(measurement)
    earlier, later = split_last(measurement)
    table, _ = family.prepare(earlier)
    family.require_support(table)
    optimum, _ = family.estimate(table, intervals=False)
    density = family.predict(table, optimum.theta, earlier, later)
    scale = float(np.quantile(np.abs(measurement.reads.conductance), 0.999))
    known = np.isfinite(density)
    density[known] = np.logaddexp(density[known], np.log(OUTLIER / scale))
    return density


def split_last(measurement: Measurement) -> tuple[Measurement, Measurement]:
    """The reads without, and only, the last one of every cell."""
    reads = measurement.reads
    last = np.full(len(measurement.cells), -1)
    last[reads.cell] = np.arange(len(reads))  # later assignments win
    is_last = np.zeros(len(reads), bool)
    is_last[last[last >= 0]] = True
    return with_reads(measurement, ~is_last), with_reads(measurement, is_last)


def _fewer_cells(measurement: Measurement) -> Measurement:
    count = len(measurement.cells)
    if count <= MOST_CELLS:
        return measurement
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(0).choice(count, MOST_CELLS, replace=False)] = True
    number = np.cumsum(chosen) - 1
    reads = take_rows(measurement.reads, chosen[measurement.reads.cell])
    return replace(
        measurement,
        cells=take_rows(measurement.cells, chosen),
        reads=replace(reads, cell=number[reads.cell].astype(np.int32)),
    )
