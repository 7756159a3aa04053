"""Cubic splines as the form of a statistic, and what ties their values to their curvature."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwloop.devices.arrays import Array, namespace
from hwloop.devices.statistics import G_FLOOR, Knots, Statistic


@dataclass(frozen=True)
class Spline:
    """Cubic spline in ln g through (at[k], values[k]), parabolas in the first and the last interval, flat beyond."""

    at: tuple[float, ...]
    """ln g of the knots, ascending."""
    values: tuple[float, ...]

    def __str__(self) -> str:
        return "smoothly " + str(Knots(self.at, self.values))

    def __call__(self, g: Array) -> Array:
        """Return the value at g (any shape)."""
        xp = namespace(g)
        z = xp.log(xp.clip(g, G_FLOOR, None))
        value: Array = self.values[0] + 0.0 * z
        for start, width, (linear, square, cube) in self.pieces():
            share = xp.clip((z - start) / width, 0.0, 1.0)
            value = value + share * (linear + share * (square + share * cube))
        return value

    def pieces(self) -> list[tuple[float, float, tuple[float, float, float]]]:
        """Return start and width in ln g of every interval, and (a, b, c): the share u adds a u + b u^2 + c u^3."""
        curvatures = [sum(w * v for w, v in zip(row, self.values, strict=True)) for row in spline_curvatures(self.at)]
        found = []
        for k, width in enumerate(b - a for a, b in itertools.pairwise(self.at)):
            rise, left, right = self.values[k + 1] - self.values[k], curvatures[k], curvatures[k + 1]
            own = (rise - width**2 * (2 * left + right) / 6, width**2 * left / 2, width**2 * (right - left) / 6)
            found.append((self.at[k], width, own))
        return found


@dataclass(frozen=True)
class LogSpline:
    """exp of a `Spline` in ln g: through positive values, and positive all over."""

    logs: Statistic
    """Logarithm of the statistic."""

    def __str__(self) -> str:
        return f"exp of: {self.logs}"

    def __call__(self, g: Array) -> Array:
        """Return the value at g (any shape)."""
        value: Array = namespace(g).exp(self.logs(g))
        return value


@functools.lru_cache(maxsize=64)
def spline_curvatures(at: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """Return the second derivatives of a `Spline` at its knots, as rows of weights of the values there."""
    curvatures = np.zeros((len(at), len(at)))
    if len(at) > 2:
        slopes, relation, _ = spline_relations(at)
        curvatures[1:-1] = np.linalg.solve(relation, slopes)
        curvatures[0], curvatures[-1] = curvatures[1], curvatures[-2]
    return tuple(tuple(row) for row in curvatures.tolist())


def spline_relations(at: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return what ties a spline's values (n > 2) to its second derivatives at the inner knots, and how rough it is.

    D (n - 2, n), R and M (n - 2, n - 2): with the second derivatives c of the spline through values v, D v = R c are
    the changes of slope of the straight lines through them, and c' M c is the integral of the squared second
    derivative (Green and Silverman 1994, section 2.1, there for natural splines).
    """
    width = np.diff(at)
    slopes = np.diff(np.eye(len(at)), axis=0) / width[:, None]
    beside = np.diag(width[1:-1], 1) / 6
    relation = np.diag((width[1:] + width[:-1]) / 3) + beside + beside.T
    roughness = relation.copy()
    for end, own in ((0, width[0]), (-1, width[-1])):
        relation[end, end] += own / 6
        roughness[end, end] += own * 2 / 3
    return np.diff(slopes, axis=0), relation, roughness
