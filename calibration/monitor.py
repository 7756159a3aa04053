"""A monitor: when the MVM error of a tile will pass a limit, from what was measured so far and a drift model.

Squared errors add up: e(t)^2 = floor + growth * shape(t), where the shape is what the drift model foretells, or, where
no model is known, the square of ln(t / t_c), with which both the lost gain and the spread of drift begin. Floor and
growth follow from the measured errors by Bayesian linear regression; with a model they start from its prediction.
All ages are seconds after the end of programming.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.forecast import HORIZON
from hwloop.contract import FloatArray
from hwloop.errors import BadInputError

MODEL_DOUBT = 0.3
"""Relative standard deviation with which a drift model's growth of the squared error is believed by itself."""
FLOOR_DOUBT = 0.3
"""The same for the squared error at the calibration."""
ERROR_DOUBT = 0.02
"""Relative standard deviation of a measured MVM error beyond that of its finite number of outputs: slow read noise."""
DRAWS = 2000
GRID = 60
INTERVAL = (0.025, 0.5, 0.975)
"""Quantiles: the ends of the 95 % interval, and the median between them."""


@dataclass(frozen=True)
class Crossing:
    """When an error passes a limit: the age of the median and of the ends of the 95 % interval, in seconds.

    Infinite where it does not happen within HORIZON.
    """

    limit: float
    earliest: float
    age: float
    latest: float


def predict_crossing(
    limit: float,
    ages: Sequence[float],
    errors: Sequence[float],
    calibrated: float,
    expected: Callable[[float], float] | None = None,
    seed: int = 0,
) -> Crossing:
    """When the error passes `limit`.

    limit       relative MVM error
    ages        seconds after the end of programming, of the measured errors; rising
    errors      relative MVM errors measured then
    calibrated  age of the column calibration; earlier measurements say nothing of the growth after it
    expected    MVM error that a drift model foretells at an age (`Forecast.mvm_error`); without it two measured ages
                are needed
    seed        of the draws behind the interval

    Raises BadInputError for a limit that is none, or too little to go by.
    """
    if not (math.isfinite(limit) and limit > 0):
        raise BadInputError(f"limit {limit:g} must be a positive MVM error")
    known = [(age, error) for age, error in zip(ages, errors, strict=True) if age >= calibrated and error > 0]
    if len(known) < 2 and expected is None:
        raise BadInputError(
            f"the monitor needs MVM errors of two ages beyond {calibrated:g} s, or a drift model, and has {len(known)}"
        )
    grid = np.geomspace(calibrated, HORIZON, GRID)
    start, shape = _shape(grid, calibrated, expected)
    at = np.interp(np.log([age for age, _ in known]), np.log(grid), shape)
    mean, covariance = _posterior(at, np.array([error for _, error in known]), start)
    floor, growth = np.random.default_rng(seed).multivariate_normal(mean, covariance, DRAWS).T
    passed = [_first_passing(limit**2, f, g, shape, grid) for f, g in zip(floor, np.maximum(growth, 0.0), strict=True)]
    earliest, median, latest = np.quantile(passed, INTERVAL, method="nearest")
    return Crossing(limit, float(earliest), float(median), float(latest))


def _shape(
    grid: FloatArray, calibrated: float, expected: Callable[[float], float] | None
) -> tuple[float | None, FloatArray]:
    """Expected squared error at the calibration, None without a model, and its growth along the grid of ages."""
    if expected is None:
        return None, np.log(grid / calibrated) ** 2
    squares = np.array([expected(float(age)) ** 2 for age in grid])
    return float(squares[0]), squares - squares[0]


def _posterior(shape: FloatArray, errors: FloatArray, start: float | None) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of (floor, growth) after squared errors were measured where the shape has these values."""
    design = np.column_stack([np.ones_like(shape), shape])
    weight = 1.0 / np.square(2 * ERROR_DOUBT * np.maximum(errors, 1e-12) ** 2)
    precision = design.T @ (weight[:, None] * design)
    moment = design.T @ (weight * errors**2)
    if start is not None:
        prior = np.array([max(start, 1e-12), 1.0])
        prior_precision = 1.0 / np.square(prior * [FLOOR_DOUBT, MODEL_DOUBT])
        precision = precision + np.diag(prior_precision)
        moment = moment + prior_precision * prior
    covariance = np.linalg.inv(precision + 1e-12 * np.diag(np.diag(precision)))
    return np.asarray(covariance @ moment), np.asarray(covariance, np.float64)


def _first_passing(limit: float, floor: float, growth: float, shape: FloatArray, grid: FloatArray) -> float:
    """The age at which floor + growth * shape first exceeds the limit, between grid points by log time."""
    squares = floor + growth * shape
    beyond = np.nonzero(squares > limit)[0]
    if not beyond.size:
        return math.inf
    k = int(beyond[0])
    if k == 0:
        return float(grid[0])
    part = (limit - squares[k - 1]) / (squares[k] - squares[k - 1])
    return float(grid[k - 1] * (grid[k] / grid[k - 1]) ** part)
