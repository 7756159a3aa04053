"""All families, and the choice among them by what they say of data that they have not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from hwloop.calibration.fitting.base import AnyFamily, AnyFitted, Family
from hwloop.calibration.fitting.checks import (
    at_one_age,
    check_order,
    check_reads,
    is_bake,
    is_ramp,
    some_cells,
    split_last,
)
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.likelihood import INSOLUBLE, NoMaximumError
from hwloop.calibration.fitting.panels import Panel
from hwloop.calibration.settings import Settings
from hwloop.calibration.steps import Step, Work, exhaust, unwatched_alone
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Fit
from hwloop.registry import Registry
from hwloop.typing import FloatArray, Json

AUTO = "auto"
FAMILIES: Registry[AnyFamily] = Registry("hwloop.families", "family", Family)  # type: ignore[type-abstract]


@dataclass(frozen=True)
class Selection(Settings):
    """How a family is chosen, and when a fit is refused."""

    most_cells: int = 3000
    """Cells that a choice is made on; of more, this many at random."""
    tie: float = 2.0
    """Standard errors of the difference within which families are taken to predict later reads alike."""
    alike: float = 0.002
    """Mean difference of log-likelihoods within which families predict alike, however sure the difference is: a search
    that ends elsewhere on another CPU moves them by a tenth of it."""
    held_out: float = 0.3
    """Share of the cells on which families are evaluated that were fitted to the others."""
    outlier_share: float = 1e-6
    """Share that every prediction grants to anything within the range, so that one outlier does not decide."""
    poor: float = 0.05
    """KS distance of the predicted quantiles, beyond what chance makes of a few cells, from which on a fit is warned
    of."""
    useless: float = 0.4
    """KS distance from which on it is refused."""
    chance: float = 1.63
    """Over the root of their number, the distance that one sample in a hundred of a true model exceeds."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("most_cells", 10, 10**9)
        self._require("tie", 0.0, 100.0)
        self._require("alike", 0.0, 1.0)
        self._require("held_out", 0.01, 0.9)
        self._require("outlier_share", 0.0, 0.1)
        self._require("poor", 0.0, 1.0)
        self._require("useless", self.poor, 1.0)
        self._require("chance", 0.0, 10.0)


USUAL = Selection()


def families(experiment: Experiment) -> list[AnyFamily]:
    """Return all installed families of an experiment, those that assume least first."""
    every = [kind() for kind in map(FAMILIES.find, FAMILIES.names()) if kind.experiment is experiment]
    return sorted(every, key=lambda family: (family.preference, family.name))


@dataclass(frozen=True)
class Outcome:
    """A fit, its diagrams, and what speaks for its family."""

    fitted: AnyFitted
    panels: list[Panel] = field(repr=False)
    refused: dict[str, str]
    """Family that could not be tried -> why."""

    def to_json(self) -> dict[str, Json]:
        """Return the fit for people and scripts; addresses of cells stay in the model file."""
        fit = self.fitted.record
        cells: dict[str, Json] = {
            "measured": fit.cells.measured,
            "used": fit.cells.used,
            "left_out": fit.cells.left_out,
        }
        return {
            "experiment": fit.experiment,
            "family": fit.family,
            "parameters": [asdict(parameter) for parameter in fit.parameters],
            "cells": cells | {"stuck": fit.cells.stuck, "wild": fit.cells.outliers},
            "settings": fit.settings,
            "log_likelihood_per_cell": fit.log_likelihood_per_cell,
            "calibration_distance": fit.ks_distance,
            "held_out_log_likelihood": fit.choice,
            "refused_families": self.refused,
            "warnings": list(fit.warnings),
        }


def fit_measurement(
    measurement: Measurement,
    family: str = AUTO,
    known: KnownDevice = NOTHING_KNOWN,
    watch: Callable[[Step], None] = unwatched_alone,
) -> Outcome:
    """Fit one measurement to its end: see `fitting`, whose steps `watch` is called with."""
    return exhaust(fitting(measurement, family, known), watch)


def fitting(
    measurement: Measurement,
    family: str = AUTO,
    known: KnownDevice = NOTHING_KNOWN,
    settings: Selection = USUAL,
) -> Work[Step, Outcome]:
    """Fit one measurement with a family by name, or with that which predicts held-out data best (`choose`).

    Parameters
    ----------
    measurement
        Reads of one experiment.
    family
        Name of a family of that experiment, or "auto".
    known
        What another experiment has told of the devices.
    settings
        How the family is chosen.

    Yields
    ------
    Step
        Before each family that is tried, and before the fit of the chosen one to all cells.

    Returns
    -------
    Outcome
        The fit and its diagrams.

    Raises
    ------
    BadInputError
        For an unknown family, and for a measurement that supports no fit.
    """
    candidates = _of_these(families(measurement.experiment), measurement, family)
    choice: dict[str, float] = {}
    refused: dict[str, str] = {}
    compared = _compared(candidates, measurement.experiment, family)
    chosen, ties = compared[0], compared[1:]
    if len(compared) > 1:
        check_reads(measurement)
        try:
            scores, refused = yield from scoring(measurement, compared, known, settings)
        except BadInputError:
            if family == AUTO:
                raise
            # Too few ages to hold one out: nothing tells the named family from its rivals.
        else:
            chosen, ties = choose(compared, scores, settings)
            choice = {name: float(each.mean()) for name, each in scores.items()}
    steps = len(choice) + len(refused)
    yield Step(steps, steps + 1, f"fitting {chosen.name}")
    with _soluble(chosen):
        fitted, table = chosen.fit(measurement, known)
    others = yield from _alternatives(measurement, ties, known, steps)
    fitted = replace(fitted, record=replace(fitted.record, choice=choice, alternatives=others))
    fitted = _evaluated(fitted, settings)
    return Outcome(fitted, chosen.panels(table, fitted.optimum.theta), refused)


def _of_these(candidates: list[AnyFamily], measurement: Measurement, family: str) -> list[AnyFamily]:
    """Return the families that describe such reads, at one age or temperature or several; all where one is named."""
    if family != AUTO:
        return candidates
    several = is_bake(measurement) and not is_ramp(measurement)
    single = not several and at_one_age(measurement)
    usual = [one for one in candidates if not one.on_request]
    return [one for one in usual if (one.several_temperatures, one.one_age) == (several, single)] or [
        one for one in usual if not (one.several_temperatures or one.one_age)
    ]


def _compared(candidates: Sequence[AnyFamily], experiment: Experiment, family: str) -> list[AnyFamily]:
    """Return the families among which held-out data decide: all, or the named one and its rivals."""
    if family == AUTO and len(candidates) > 1:
        return list(candidates)
    named = _named(candidates, experiment, family)
    return [named, *(one for one in candidates if one.name in named.rivals)]


def _alternatives(
    measurement: Measurement, ties: Sequence[AnyFamily], known: KnownDevice, steps: int
) -> Work[Step, tuple[Fit, ...]]:
    """Fit the families that predict alike to all cells; those that cannot be are none."""
    found = []
    for number, one in enumerate(ties):
        yield Step(steps + number + 1, steps + len(ties) + 1, f"fitting {one.name}, which predicts alike")
        try:
            with _soluble(one):
                fitted, _ = one.fit(measurement, known)
        except BadInputError:
            continue
        found.append(fitted.record)
    return tuple(found)


def _named(candidates: Sequence[AnyFamily], experiment: Experiment, family: str) -> AnyFamily:
    """Return the family of this name, or the only one. Raises BadInputError where there is none."""
    if family == AUTO and candidates:
        return candidates[0]
    for one in candidates:
        if one.name == family:
            return one
    known = ", ".join(one.name for one in candidates)
    raise BadInputError(f"{experiment.value} has no family '{family}'; known: {AUTO}, {known}")


def choose(
    candidates: Sequence[AnyFamily], scores: Mapping[str, FloatArray], settings: Selection
) -> tuple[AnyFamily, list[AnyFamily]]:
    """Return the first of the families that predict as well as the best, and its rivals among them.

    A later read is a blunt instrument: forms that are far apart in their parameters predict it nearly alike. What is
    derived from a form that is not the devices' own is off by more than its intervals say.
    """
    tried = [one for one in candidates if one.name in scores]
    best = max(tried, key=lambda one: float(scores[one.name].mean()))

    def ties(one: AnyFamily) -> bool:
        behind = scores[best.name] - scores[one.name]
        chance = settings.tie * behind.std() / math.sqrt(behind.size) if best.extrapolates else 0.0
        return bool(behind.mean() <= max(chance, settings.alike))

    alike = [one for one in tried if ties(one)]
    return alike[0], [one for one in alike[1:] if one.name in alike[0].rivals]


def _evaluated(fitted: AnyFitted, settings: Selection) -> AnyFitted:
    """Return the fit, with a warning where it describes the data poorly; raise BadInputError where not at all."""
    record, distance = fitted.record, fitted.record.ks_distance
    far = f"predicted quantiles are {distance:.2f} from uniform, and true models come within 0.04"
    if not distance < settings.useless:  # nor NaN
        stuck = f"{record.cells.stuck} of {record.cells.measured} were found"
        raise BadInputError(
            f"{record.experiment}: '{record.family}' does not describe these reads ({far}); look for wrong times or "
            f"units and stuck cells ({stuck}), or name another family"
        )
    if distance < settings.poor + settings.chance / math.sqrt(record.cells.used):
        return fitted
    note = f"the model describes these reads poorly: {far}; see the figures (--figures)"
    return replace(fitted, record=replace(record, warnings=(*record.warnings, note)))


def held_out_scores(
    measurement: Measurement,
    candidates: Sequence[AnyFamily],
    known: KnownDevice = NOTHING_KNOWN,
    settings: Selection = USUAL,
) -> tuple[dict[str, FloatArray], dict[str, str]]:
    """Evaluate families to the end: see `scoring`."""
    return exhaust(scoring(measurement, candidates, known, settings))


def scoring(
    measurement: Measurement, candidates: Sequence[AnyFamily], known: KnownDevice, settings: Selection
) -> Work[Step, tuple[dict[str, FloatArray], dict[str, str]]]:
    """Evaluate families on data that they were not fitted to, one after the other.

    Families that extrapolate are evaluated on the last read of every cell, the others on cells of their own.

    Yields
    ------
    Step
        Before each family.

    Returns
    -------
    tuple
        Family -> log-likelihood (cells,), of the cells on which every family can be evaluated; and family -> why it
        could not be tried.

    Raises
    ------
    BadInputError
        With the reason, when none can be fitted.
    """
    refused: dict[str, str] = {}
    scores: dict[str, FloatArray] = {}
    part = _fewer_cells(measurement, settings.most_cells)
    for number, family in enumerate(candidates):
        yield Step(number, len(candidates) + 1, f"trying {family.name}")
        score = _later_reads if family.extrapolates else _other_cells
        try:
            with _soluble(family):
                scores[family.name] = score(family, part, known, settings)
        except BadInputError as error:
            refused[family.name] = str(error)
    if not scores:
        # Not the choice but the fit itself says what is wrong with the data.
        with _soluble(candidates[0]):
            candidates[0].fit(measurement, known)
        raise BadInputError(f"{measurement.experiment.value}: no family fits ({'; '.join(refused.values())})")
    everywhere = np.all([np.isfinite(each) for each in scores.values()], axis=0)
    if not everywhere.any():
        raise BadInputError(
            f"{measurement.experiment.value}: no cell is usable for every family; name one with --family"
        )
    return {name: each[everywhere] for name, each in scores.items()}, refused


@contextmanager
def _soluble(family: AnyFamily) -> Iterator[None]:
    """Turn equations without a solution into what that says of the data: a BadInputError."""
    try:
        yield
    except INSOLUBLE:
        raise BadInputError(
            f"{family.experiment.value}: the cells do not differ enough to fit '{family.name}'; nearly all are stuck, "
            "or read exactly alike"
        ) from None
    except NoMaximumError as error:
        raise BadInputError(f"{family.experiment.value}: '{family.name}' cannot be fitted: {error}") from None


def _other_cells(family: AnyFamily, measurement: Measurement, known: KnownDevice, settings: Selection) -> FloatArray:
    """Return the log-likelihood (cells,) of the cells held out, given the others."""
    table, _ = family.prepare(measurement, known)
    size = family.size(table)
    held_out = np.random.default_rng(0).random(size) < settings.held_out
    if size < 10:
        held_out[:] = False  # too few to spare any: evaluated on themselves
    training = family.subset(table, ~held_out)
    family.require_support(training)
    optimum, _ = family.estimate(training, intervals=False)
    evaluated = family.subset(table, held_out) if held_out.any() else table
    return family.log_likelihood(evaluated, optimum.theta)


def _later_reads(family: AnyFamily, measurement: Measurement, known: KnownDevice, settings: Selection) -> FloatArray:
    """Return the log density (cells,) of the last read of every cell, given the earlier ones."""
    check_order(measurement)
    earlier, later = split_last(measurement)
    table, _ = family.prepare(earlier, known)
    family.require_support(table)
    optimum, _ = family.estimate(table, intervals=False)
    density = family.predict(table, optimum.theta, earlier, later)
    scale = float(np.quantile(np.abs(measurement.reads.conductance), 0.999))
    known_density = np.isfinite(density)
    density[known_density] = np.logaddexp(density[known_density], np.log(settings.outlier_share / scale))
    return density


def _fewer_cells(measurement: Measurement, most: int) -> Measurement:
    """Return the measurement of so many of its cells at most, chosen at random."""
    count = len(measurement.cells)
    if count <= most:
        return measurement
    return some_cells(measurement, np.sort(np.random.default_rng(0).choice(count, most, replace=False)))
