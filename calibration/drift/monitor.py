"""A monitor: when the MVM error of a tile will pass a limit, from what was measured so far and a drift model.

Squared errors add up: e(t)^2 = floor + growth * shape(t) + redrawn * step(t), with t the time since the cells were
pulsed. The shape is what the drift model predicts, or, where no model is known, the square of ln(t / t_c), with
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
from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from hwloop.typing import FloatArray, Json
from hwloop.units import finite

Expected = Callable[[float], float]
"""MVM error that a drift model predicts at an age, `Forecast.mvm_error` for one."""


@dataclass(frozen=True)
class Crossing:
    """When an error passes a limit, in seconds; infinite where it does not happen within HORIZON."""

    limit: float
    """Relative MVM error."""
    earliest: float
    """Start of the interval of the monitor's coverage, 95 % by default."""
    age: float
    """Median."""
    latest: float
    """End of the interval."""

    def to_json(self) -> dict[str, Json]:
        """Give the ages by the names that the command writes; None stands for infinity."""
        return {"earliest_s": finite(self.earliest), "age_s": finite(self.age), "latest_s": finite(self.latest)}


@dataclass(frozen=True)
class Watched:
    """MVM errors that were measured of a tile, or of a whole chip, while it aged."""

    ages: Sequence[float]
    """Seconds after the end of programming; rising."""
    errors: Sequence[float]
    """Relative MVM error at each."""
    target_age: float
    """Age of the column calibration; earlier measurements say nothing of the growth after it."""
    pulsed_at: float = 0.0
    """Age at which the cells were pulsed last, from which drift counts: 0, unless they were refreshed."""

    def after_calibration(self) -> tuple[FloatArray, FloatArray]:
        """Pick the ages, and squared errors, (n,) each, that tell something of the growth."""
        pairs = [
            (age, error**2)
            for age, error in zip(self.ages, self.errors, strict=True)
            if age >= self.target_age and error > 0
        ]
        known = np.array(pairs, np.float64).reshape(-1, 2)
        return known[:, 0], known[:, 1]


@dataclass(frozen=True)
class Growth:
    """How squared errors grow: first the factor on the model's growth, then redrawn noise over the squared error."""

    mean: FloatArray
    """(2,)."""
    covariance: FloatArray
    """(2, 2)."""


@dataclass(frozen=True)
class Monitor(Settings):
    """Predicts when an error passes a limit. Its fields say how far to trust what it goes by."""

    model_uncertainty: float = 0.5
    """Relative standard deviation of a drift model's growth of the squared error before anything is measured: drift
    coefficients that are 25 % off make it."""
    floor_uncertainty: float = 0.3
    """The same of the squared error at the calibration."""
    redrawn: float = 0.15
    """Squared error by noise that changes after the calibration, over that at the calibration: standard deviation."""
    refresh_uncertainty: float = 0.25
    """Standard deviation by which growth (relative) and redrawn noise may differ after a refresh from what they were:
    the forecast knows the cells then by maps, not by their targets, and errs by another amount (docs/drift.md)."""
    error_uncertainty: float = 0.02
    """Relative standard deviation of a measured MVM error beyond that of its finite number of outputs: slow read
    noise."""
    coverage: float = 0.95
    """Probability that the interval holds the age at which the limit is passed."""
    draws: int = 2000
    """Random courses of the error from which median and interval are taken."""
    grid: int = 60
    """Times, even in log time up to HORIZON, at which the course is computed; between them it is interpolated."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        for name in ("model_uncertainty", "floor_uncertainty", "redrawn", "error_uncertainty"):
            self._require(name, 1e-6, 1e3)
        self._require("refresh_uncertainty", 0, 1e3)
        self._require("coverage", 0.01, 0.9999)
        self._require("draws", 10, 10_000_000)
        self._require("grid", 2, 1_000_000)
        self._require("seed", 0, 2**63 - 1)

    def predict(
        self, limit: float, watched: Watched, expected: Expected | None = None, growth: Growth | None = None
    ) -> Crossing:
        """Predict when the error passes a limit.

        Parameters
        ----------
        limit
            Relative MVM error.
        watched
            What was measured so far.
        expected
            What a drift model predicts; without it two measured ages are needed.
        growth
            What was known of the growth before these measurements, such as `learn` and `after_refresh` give; None for
            the model's own.

        Returns
        -------
        Crossing

        Raises
        ------
        BadInputError
            For a limit that is none, or too little to go by.
        """
        if not (math.isfinite(limit) and limit > 0):
            raise BadInputError(f"limit {limit:g} must be a positive MVM error")
        measured = len(watched.after_calibration()[0])
        if measured < 2 and expected is None:
            raise BadInputError(
                f"the monitor needs MVM errors of two ages beyond {watched.target_age:g} s, or a drift model, and has "
                f"{measured}"
            )
        course = self._course(watched, expected)
        mean, covariance = self._regress(course, watched, growth or self.untried())
        drawn = np.random.default_rng(self.seed).multivariate_normal(mean, covariance, self.draws)
        drawn[:, 1:] = np.maximum(drawn[:, 1:], 0.0)
        passed = watched.pulsed_at + course.first_passing(limit**2, drawn)
        tail = (1.0 - self.coverage) / 2
        earliest, median, latest = np.quantile(passed, (tail, 0.5, 1.0 - tail), method="nearest")
        return Crossing(limit, float(earliest), float(median), float(latest))

    def untried(self) -> Growth:
        """Give the growth by a drift model that has not been compared with anything."""
        return Growth(np.array([1.0, 0.0]), np.diag(np.square([self.model_uncertainty, self.redrawn])))

    def learn(self, watched: Watched, expected: Expected) -> Growth:
        """Learn from measured errors how far a drift model's growth is right.

        Parameters
        ----------
        watched
            What was measured since programming.
        expected
            What the drift model predicts.

        Returns
        -------
        Growth
        """
        mean, covariance = self._regress(self._course(watched, expected), watched, self.untried())
        return Growth(mean[1:], covariance[1:, 1:])

    def after_refresh(self, growth: Growth) -> Growth:
        """Carry what was learnt of cells over to the same cells once they have been refreshed, which is much the same.

        Parameters
        ----------
        growth
            Before the refresh.

        Returns
        -------
        Growth
        """
        return Growth(growth.mean, growth.covariance + self.refresh_uncertainty**2 * np.eye(2))

    def _course(self, watched: Watched, expected: Expected | None) -> Course:
        """Set up the three terms of the squared error along time."""
        first = watched.target_age - watched.pulsed_at
        times = np.geomspace(first, HORIZON, self.grid)
        if expected is None:
            start, shape = float(watched.after_calibration()[1][0]), np.log(times / first) ** 2
        else:
            squares = np.array([expected(watched.pulsed_at + float(time)) ** 2 for time in times])
            start, shape = max(float(squares[0]), 1e-12), squares - squares[0]
        terms = np.column_stack([np.ones(self.grid), shape, start * (1.0 - first / times)])
        return Course(times, terms, start, expected is not None)

    def _regress(self, course: Course, watched: Watched, growth: Growth) -> tuple[FloatArray, FloatArray]:
        """Find mean (3,) and covariance (3, 3) of floor, growth and redrawn noise from measured squared errors."""
        ages, squares = watched.after_calibration()
        design = course.at(ages - watched.pulsed_at)
        weight = 1.0 / np.square(2 * self.error_uncertainty * np.maximum(squares, 1e-24))
        prior, precision = np.array([course.start, *growth.mean]), np.zeros((3, 3))
        precision[1:, 1:] = np.linalg.inv(growth.covariance)
        precision[0, 0] = 1.0 / (self.floor_uncertainty * course.start) ** 2
        if not course.by_model:  # the shape has no scale of its own, and the floor is no better known than measured
            precision[:2] = precision[:, :2] = 0.0
        moment = design.T @ (weight * squares) + precision @ prior
        precision = precision + design.T @ (weight[:, None] * design)
        covariance = np.linalg.inv(precision + 1e-12 * np.diag(np.diag(precision)))
        return np.asarray(covariance @ moment, np.float64), np.asarray(covariance, np.float64)


@dataclass(frozen=True)
class Course:
    """The squared error along times since the cells were pulsed, as a sum of three terms."""

    times: FloatArray
    """(G,) seconds."""
    terms: FloatArray
    """(G, 3) what floor, growth and redrawn noise add when they are one."""
    start: float
    """Squared error at the calibration, as predicted, or as measured where no model is known."""
    by_model: bool
    """Whether a model gave the shape."""

    def at(self, times: FloatArray) -> FloatArray:
        """Interpolate the terms in log time.

        Parameters
        ----------
        times
            (n,) seconds since the cells were pulsed.

        Returns
        -------
        FloatArray
            (n, 3).
        """
        return np.column_stack([np.interp(np.log(times), np.log(self.times), term) for term in self.terms.T])

    def first_passing(self, limit: float, drawn: FloatArray) -> FloatArray:
        """Find when squared errors first exceed a limit, between grid points by log time.

        Parameters
        ----------
        limit
            Squared relative MVM error.
        drawn
            (draws, 3) floor, growth and redrawn noise.

        Returns
        -------
        FloatArray
            (draws,) seconds since the cells were pulsed; infinite where it does not happen.
        """
        squares = drawn @ self.terms.T
        k = np.argmax(squares > limit, axis=1)
        rows, before = np.arange(len(drawn)), np.maximum(k - 1, 0)
        low, high = squares[rows, before], squares[rows, k]
        part = np.where(k > 0, (limit - low) / np.where(high > low, high - low, 1.0), 0.0)
        times = self.times[before] * (self.times[k] / self.times[before]) ** part
        return np.asarray(np.where((squares > limit).any(1), times, np.inf), np.float64)
