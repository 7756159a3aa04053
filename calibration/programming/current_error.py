"""Tell a wrong programming current from a wrong gain, by what the open-loop pulses left.

A gain scales all conductances alike. A chip that needs other currents than its nominal model says answers to different
amplitudes differently: its curve, with midpoint, steepness and melting point scaled together, is what is fitted here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import ClassVar, Self

import numpy as np

from hwloop.calibration.programming.device_curves import DeviceCurves
from hwloop.calibration.settings import Settings
from hwloop.devices.drift import Aging
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class CurrentErrorFit(Settings):
    """How a common error of the programming currents is looked for."""

    largest: float = 0.4
    """Largest relative error that is tried, of either sign."""
    steps: int = 33
    """Errors tried, evenly spaced; their neighbourhood is then searched more finely."""
    refinements: int = 2
    """Times that the neighbourhood of the best error is searched, with a quarter of the spacing."""
    cells: int = 4096
    """Cells that are looked at, at most."""
    smallest: float = 0.02
    """Smallest relative error that is worth a correction: devices differ by more among each other."""
    repeat: float = 0.03
    """Smallest relative error for which open-loop pulses are repeated: below, corrections cost less."""
    contradiction: float = 0.05
    """Relative error that contradicts a calibration of the devices."""
    significance: float = 6.0
    """Standard deviations from zero that an error must be, by its own uncertainty and by its likelihood."""
    gain_sigma: float = 0.1
    """Relative standard deviation of the mean gain of converters and wires, before anything is known of it."""
    column_sigma: float = 0.03
    """Relative standard deviation of gains from column to column."""
    tail: float = 5.0
    """Degrees of freedom of the t distribution that cells are taken to follow: few let outliers count for less."""
    nodes: int = 7
    """Points of the quadrature over a device's unknown shift."""

    def __post_init__(self) -> None:
        self._require("largest", 0.01, 0.9)
        self._require("steps", 3, 10_001)
        self._require("refinements", 0, 20)
        self._require("cells", 1, 1e9)
        self._require("smallest", 0, 1)
        self._require("repeat", 0, 1)
        self._require("contradiction", 0, 1)
        self._require("significance", 0, 1000)
        self._require("gain_sigma", 1e-6, 10)
        self._require("column_sigma", 0, 10)
        self._require("tail", 1, 1000)
        self._require("nodes", 1, 50)


@dataclass(frozen=True)
class CurrentError:
    """A common relative error of the programming currents."""

    value: float
    """What devices need over what the model says, less 1."""
    sigma: float
    """Its standard deviation."""
    gain: float
    """Mean gain of converters and wires that goes with it."""
    evidence: float
    """Twice the logarithm of the likelihood ratio against no error."""

    def significant(self, settings: CurrentErrorFit) -> bool:
        """Tell whether the error is large enough to be corrected, and certain."""
        far = max(settings.smallest, settings.significance * self.sigma)
        return abs(self.value) > far and self.evidence > settings.significance**2


@dataclass(frozen=True)
class PulsedCells:
    """Cells of a tile after open-loop pulses, n of them, as a measurement showed them."""

    seen: FloatArray
    """(n,) signed conductances, uS."""
    variance: FloatArray
    """(n,) of the measurement, uS^2."""
    position: FloatArray
    """(n,) of the cell in its column, from -1 to 1."""
    amplitude: FloatArray
    """(D, n) of the devices' only pulses, less what is known of each device's own shift, uA."""
    height: FloatArray
    """(D, n) of each device's curve, over the nominal one."""
    sign: FloatArray
    """(D, 1) polarity of the devices."""
    shift_sigma: float
    """Standard deviation of the devices' unknown shifts, uA."""
    height_sigma: float
    """Standard deviation of the devices' unknown heights."""
    age: float
    """Seconds between pulses and measurement."""
    points: ClassVar[int] = 257
    """Amplitudes for which what a pulse leaves is computed; between them it is interpolated."""

    @cached_property
    def tabulated(self) -> tuple[FloatArray, IndexArray, FloatArray]:
        """Amplitudes (points,), evenly over those of the pulses, and where each pulse (D, n) stands among them.

        That is the number of the amplitude below it, and the share of the step from there to the next one.
        """
        low, high = float(self.amplitude.min()), float(self.amplitude.max())
        points = np.linspace(low, high + 1e-9, self.points)
        place = (self.amplitude - low) * ((self.points - 1) / (high + 1e-9 - low))
        below = np.minimum(place.astype(np.int64), self.points - 2)
        return points, below, place - below

    @classmethod
    def of(
        cls,
        at: tuple[IndexArray, IndexArray],
        seen: FloatArray,
        variance: FloatArray,
        amplitude: FloatArray,
        curves: DeviceCurves,
        age: float,
    ) -> Self:
        """Take n cells out of a tile.

        Parameters
        ----------
        at
            Their indices, (n,) of rows and (n,) of columns.
        seen, variance
            (rows, columns) signed conductances, uS, and variance of the measurement, uS^2.
        amplitude
            (D, rows, columns) of the devices' only pulses, uA; positive polarity first.
        curves
            What is known of the devices.
        age
            Seconds between pulses and measurement.
        """
        rows, columns = at
        return cls(
            seen=seen[rows, columns],
            variance=variance[rows, columns],
            position=np.linspace(-1.0, 1.0, len(seen))[rows],
            amplitude=(amplitude - curves.shift)[:, rows, columns],
            height=curves.height[:, rows, columns],
            sign=np.repeat([[1.0], [-1.0]], len(amplitude) // 2, axis=0),
            shift_sigma=float(np.sqrt(curves.shift_variance.mean())),
            height_sigma=float(np.sqrt(curves.height_variance.mean())),
            age=age,
        )


def chosen_cells(loaded: BoolArray, most: int) -> tuple[IndexArray, IndexArray]:
    """Choose up to `most` of the loaded cells (rows, columns), evenly, as indices (n,) of rows and of columns."""
    rows, columns = np.nonzero(loaded)
    chosen = np.unique(np.linspace(0, max(len(rows) - 1, 0), min(most, len(rows))).astype(np.intp))
    return rows[chosen], columns[chosen]


def scaled_curve(curve: ProgrammingCurve, error: float) -> ProgrammingCurve:
    """Return the curve of devices that need (1 + error) times the nominal currents."""
    factor = 1.0 + error
    return replace(
        curve, midpoint=factor * curve.midpoint, steepness=factor * curve.steepness, melt=factor * curve.melt
    )


def fit_current_error(
    cells: PulsedCells, curve: ProgrammingCurve, aging: Aging, settings: CurrentErrorFit
) -> CurrentError | None:
    """Fit the common error of the currents that explains the cells best; None where too few cells tell anything.

    Parameters
    ----------
    cells
        What was seen.
    curve
        Programming curve as it is known.
    aging
        Drift of the devices.
    settings
        How to look.

    Returns
    -------
    CurrentError or None
    """
    if len(cells.seen) < 2 * settings.tail:
        return None
    tried = {0.0: _cost(cells, curve, aging, settings)}
    step = 2.0 * settings.largest / (settings.steps - 1)
    places = np.linspace(-settings.largest, settings.largest, settings.steps)
    for _ in range(settings.refinements + 1):
        tried |= {float(e): _cost(cells, scaled_curve(curve, e), aging, settings) for e in places}
        best = min(tried, key=lambda error: tried[error][0])
        last, step = step, step / 4.0
        places = best + step * np.array([-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0])
    value, sigma, least = _vertex(tried, best, last)
    return CurrentError(value, sigma, tried[best][1], tried[0.0][0] - least)


def _vertex(tried: dict[float, tuple[float, float]], best: float, step: float) -> tuple[float, float, float]:
    """Return place, standard deviation and value of the minimum, by a parabola through the errors about the best."""
    near = np.array([error for error in tried if abs(error - best) < 4.5 * step])
    square, slope, level = np.polyfit(near - best, [tried[error][0] for error in near], 2)
    if square <= 0 or abs(slope) > 2.0 * square * step * 2.0:
        return best, math.inf if square <= 0 else float(square**-0.5), tried[best][0]
    # The cost is twice a logarithm: it rises by 1 within a standard deviation.
    return best - slope / (2.0 * square), float(square**-0.5), float(level - slope**2 / (4.0 * square))


def _cost(cells: PulsedCells, curve: ProgrammingCurve, aging: Aging, settings: CurrentErrorFit) -> tuple[float, float]:
    """Return minus twice the logarithm of the likelihood of a curve, up to a constant, and the mean gain found."""
    mean, variance = _contributions(cells, curve, aging, settings)
    weights = (cells.sign * mean).sum(0)
    variance = variance.sum(0) + (settings.column_sigma * weights) ** 2
    # A gain that varies as a parabola along the column, for wires.
    design = np.stack([weights, weights * cells.position, weights * (cells.position**2 - 1.0 / 3.0)], axis=1)
    prior = np.full(3, settings.gain_sigma**-2.0)
    gains, scale, tail = np.array([1.0, 0.0, 0.0]), 1.0, settings.tail
    for _ in range(6):
        total = scale * (gains[0] ** 2 * variance + cells.variance)
        square = (cells.seen - design @ gains) ** 2 / total
        trust = (tail + 1.0) / (tail + square)
        scale *= float((trust * square).mean())
        weight = trust / total
        gains = np.linalg.solve(
            design.T @ (weight[:, None] * design) + np.diag(prior),
            design.T @ (weight * cells.seen) + prior * [1.0, 0, 0],
        )
    total = scale * (gains[0] ** 2 * variance + cells.variance)
    square = (cells.seen - design @ gains) ** 2 / total
    likelihood = float(((tail + 1.0) * np.log1p(square / tail) + np.log(total)).sum())
    return likelihood + float((prior * (gains - [1.0, 0, 0]) ** 2).sum()), float(gains[0])


def _contributions(
    cells: PulsedCells, curve: ProgrammingCurve, aging: Aging, settings: CurrentErrorFit
) -> tuple[FloatArray, FloatArray]:
    """Compute mean and variance (D, n) of what devices contribute, over their unknown shifts, in uS and uS^2."""
    nodes, weights = _quadrature(settings.nodes)
    amplitude, below, share = cells.tabulated
    shifted = amplitude[:, None] + math.hypot(cells.shift_sigma, curve.jitter) * nodes
    g = np.asarray(curve.conductance(shifted), np.float64)
    contribution = g * aging.factor(g, cells.age)
    mean = contribution @ weights
    variance = np.maximum(contribution**2 @ weights - mean**2, 0.0) + curve.flat_variance(mean)
    # A pulse that melts nothing leaves what was there, and nothing is known of that.
    variance = np.where(amplitude < curve.melt, variance + curve.g_max**2, variance)
    expected, spread = (
        (of[below] + share * np.diff(of)[below]) * cells.height**n for n, of in ((1, mean), (2, variance))
    )
    return expected, spread + (cells.height_sigma * expected) ** 2


@cache
def _quadrature(points: int) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights (points,) of a mean over a standard normal number."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    return nodes, weights / weights.sum()
