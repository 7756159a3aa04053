"""A monitor: when the MVM error of a tile will pass a limit, from what was measured so far and a drift model.

Squared errors add up: e(t)^2 = floor + growth * shape(t) + redrawn * step(t), with t the time since the cells were
pulsed. The shape is what the drift model foretells, or, where no model is known, the square of ln(t / t_c), with
which both the lost gain and the spread of drift begin; t_c is the time of the column calibration. Programming also
corrects for the 1/f noise that it sees; that noise goes, other noise takes its place, and the step 1 - t_c / t stands
for it. The three numbers follow from the measured errors by Bayesian linear regression; with a model, they start from
its prediction.

A refresh begins all this anew, on cells whose drift has been watched before: what was learnt of growth and redrawn
noise (`Growth`) is where the regression then starts. All ages are seconds after the end of programming.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.drift.forecast import HORIZON
from hwloop.errors import BadInputError
from hwloop.typing import FloatArray

MODEL_DOUBT = 0.5
"""Relative standard deviation with which a drift model's growth of the squared error is believed by itself: drift
coefficients that are 25 % off make it."""
FLOOR_DOUBT = 0.3
"""The same for the squared error at the calibration."""
REDRAWN = 0.15
"""Squared error by noise that changes after the calibration, over the squared error then: its standard deviation."""
CARRIED_DOUBT = 0.25
"""Standard deviation by which growth (relative) and redrawn noise may differ after a refresh from what they were: the
forecast knows the cells then by maps, not by their targets, and errs by another amount (docs/drift.md)."""
ERROR_DOUBT = 0.02
"""Relative standard deviation of a measured MVM error beyond that of its finite number of outputs: slow read noise."""
DRAWS = 2000
GRID = 60
INTERVAL = (0.025, 0.5, 0.975)
"""Quantiles: the ends of the 95 % interval, and the median between them."""

Expected = Callable[[float], float]
"""MVM error that a drift model foretells at an age, `Forecast.mvm_error` for one."""


@dataclass(frozen=True)
class Crossing:
    """When an error passes a limit: the age of the median and of the ends of the 95 % interval, in seconds.

    Infinite where it does not happen within HORIZON.
    """

    limit: float
    earliest: float
    age: float
    latest: float


@dataclass(frozen=True)
class Growth:
    """What is believed of how squared errors grow, beside the model's word: mean (2,) and covariance (2, 2).

    First the factor on the model's growth, then the redrawn noise over the squared error at the calibration.
    """

    mean: FloatArray
    covariance: FloatArray

    def after_refresh(self) -> Growth:
        """What it is of the same cells once they have been refreshed, which is much the same."""
        return Growth(self.mean, self.covariance + CARRIED_DOUBT**2 * np.eye(2))


UNTRIED = Growth(np.array([1.0, 0.0]), np.diag(np.square([MODEL_DOUBT, REDRAWN])))
"""Of a drift model whose word has not been compared with anything."""


def predict_crossing(
    limit: float,
    ages: Sequence[float],
    errors: Sequence[float],
    calibrated: float,
    expected: Expected | None = None,
    *,
    since: float = 0.0,
    growth: Growth = UNTRIED,
    seed: int = 0,
) -> Crossing:
    """When the error passes `limit`.

    limit       relative MVM error
    ages        seconds after the end of programming, of the measured errors; rising
    errors      relative MVM errors measured then
    calibrated  age of the column calibration; earlier measurements say nothing of the growth after it
    expected    what a drift model foretells; without it two measured ages are needed
    since       age at which the cells were pulsed last, from which drift counts: 0, unless they were refreshed
    growth      what is believed of it before these measurements, such as `learn_growth` gives
    seed        of the draws behind the interval

    Raises BadInputError for a limit that is none, or too little to go by.
    """
    if not (math.isfinite(limit) and limit > 0):
        raise BadInputError(f"limit {limit:g} must be a positive MVM error")
    watched = _watched(ages, errors, calibrated)
    if len(watched[0]) < 2 and expected is None:
        raise BadInputError(
            f"the monitor needs MVM errors of two ages beyond {calibrated:g} s, or a drift model, and has "
            f"{len(watched[0])}"
        )
    course = _Course.of(watched, calibrated, expected, since)
    mean, covariance = course.learn(watched, growth)
    drawn = np.random.default_rng(seed).multivariate_normal(mean, covariance, DRAWS)
    drawn[:, 1:] = np.maximum(drawn[:, 1:], 0.0)
    passed = since + course.first_passing(limit**2, drawn)
    earliest, median, latest = np.quantile(passed, INTERVAL, method="nearest")
    return Crossing(limit, float(earliest), float(median), float(latest))


def learn_growth(ages: Sequence[float], errors: Sequence[float], calibrated: float, expected: Expected) -> Growth:
    """What errors measured since programming tell of the model's word; arguments as of `predict_crossing`."""
    watched = _watched(ages, errors, calibrated)
    mean, covariance = _Course.of(watched, calibrated, expected, 0.0).learn(watched, UNTRIED)
    return Growth(mean[1:], covariance[1:, 1:])


def _watched(ages: Sequence[float], errors: Sequence[float], calibrated: float) -> tuple[FloatArray, FloatArray]:
    """Ages and squared errors (n,) that tell something of the growth."""
    pairs = [(age, error**2) for age, error in zip(ages, errors, strict=True) if age >= calibrated and error > 0]
    known = np.array(pairs, np.float64).reshape(-1, 2)
    return known[:, 0], known[:, 1]


@dataclass(frozen=True)
class _Course:
    """The squared error along times since the cells were pulsed, as a sum of three terms.

    times  (G,) seconds
    terms  (G, 3) what floor, growth and redrawn noise add when they are one
    start  squared error at the calibration, as foretold, or as measured where no model is known
    model  whether there is one
    """

    times: FloatArray
    terms: FloatArray
    since: float
    start: float
    model: bool

    @classmethod
    def of(
        cls, watched: tuple[FloatArray, FloatArray], calibrated: float, expected: Expected | None, since: float
    ) -> _Course:
        first = calibrated - since
        times = np.geomspace(first, HORIZON, GRID)
        if expected is None:
            start, shape = float(watched[1][0]), np.log(times / first) ** 2
        else:
            squares = np.array([expected(since + float(time)) ** 2 for time in times])
            start, shape = max(float(squares[0]), 1e-12), squares - squares[0]
        terms = np.column_stack([np.ones(GRID), shape, start * (1.0 - first / times)])
        return cls(times, terms, since, start, expected is not None)

    def learn(self, watched: tuple[FloatArray, FloatArray], growth: Growth) -> tuple[FloatArray, FloatArray]:
        """Mean (3,) and covariance (3, 3) of floor, growth and redrawn noise, after squared errors were measured."""
        ages, squares = watched
        at = np.log(ages - self.since)
        design = np.column_stack([np.interp(at, np.log(self.times), term) for term in self.terms.T])
        weight = 1.0 / np.square(2 * ERROR_DOUBT * np.maximum(squares, 1e-24))
        prior, precision = np.array([self.start, *growth.mean]), np.zeros((3, 3))
        precision[1:, 1:] = np.linalg.inv(growth.covariance)
        precision[0, 0] = 1.0 / (FLOOR_DOUBT * self.start) ** 2
        if not self.model:  # the shape has no scale of its own, and the floor is no better known than measured
            precision[:2] = precision[:, :2] = 0.0
        moment = design.T @ (weight * squares) + precision @ prior
        precision = precision + design.T @ (weight[:, None] * design)
        covariance = np.linalg.inv(precision + 1e-12 * np.diag(np.diag(precision)))
        return np.asarray(covariance @ moment, np.float64), np.asarray(covariance, np.float64)

    def first_passing(self, limit: float, drawn: FloatArray) -> FloatArray:
        """Times (draws,) at which squared errors first exceed the limit, between grid points by log time.

        drawn: (draws, 3) floor, growth and redrawn noise
        """
        squares = drawn @ self.terms.T
        k = np.argmax(squares > limit, axis=1)
        rows, before = np.arange(len(drawn)), np.maximum(k - 1, 0)
        low, high = squares[rows, before], squares[rows, k]
        part = np.where(k > 0, (limit - low) / np.where(high > low, high - low, 1.0), 0.0)
        times = self.times[before] * (self.times[k] / self.times[before]) ** part
        passed: FloatArray = np.where((squares > limit).any(1), times, np.inf)
        return passed
