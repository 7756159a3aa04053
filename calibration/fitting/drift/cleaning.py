"""Reads whose noise is not normal, brought to what a normal one would be: heavy tails, and cells that switch.

What the families of drift do with reads, least squares in one form or another, is right for normal noise. Heavy tails
are tamed by pseudo-values (Huber 1981, section 7.10): the line of each device by Student's t, plus what t makes of its
residuals, so that least squares of the pseudo-values are the robust estimate and their scatter is its variance. Reads
of a cell that switches between two conductances are brought to the upper one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from scipy import optimize, stats

from hwloop.calibration.fitting.checks import Rows, reference_age, rows_of
from hwloop.calibration.fitting.panels import binned
from hwloop.calibration.settings import Settings
from hwloop.files.measurements import Measurement
from hwloop.typing import BoolArray, FloatArray


@dataclass(frozen=True)
class CleaningSettings(Settings):
    """How reads with noise of other kinds are cleaned."""

    rounds: int = 12
    """Steps in which lines and weights, or lines and states, are found in turn."""
    cells_per_bin: int = 100
    """Cells of like conductance that show the scale of their noise together, at least about."""
    most_bins: int = 30
    """Bins of conductance at most."""
    quantile: float = 0.25
    """Quantile of the cells' scatter that shows the noise of those that do not switch: most others scatter more."""
    smallest: float = 0.02
    """Smallest step between two states that is looked for, in ln G."""
    largest: float = 0.5
    """Largest step."""
    steps: int = 8
    """Steps that are tried, evenly in the logarithm."""
    least: float = 0.05
    """Share of the mean of a cell that its reads count for at least."""
    lightest: float = 100.0
    """Degrees of freedom of Student's t at most."""
    fastest: float = 1.0
    """Growth of the squared scale of noise per unit of ln(t / t0), at most."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        for name in ("rounds", "cells_per_bin", "most_bins", "steps"):
            self._require(name, 1, 10**6)
        self._require("quantile", 0.01, 0.5)
        self._require("smallest", 1e-4, 1.0)
        self._require("largest", self.smallest, 5.0)
        self._require("least", 1e-6, 1.0)
        self._require("lightest", 3.0, 1e6)
        self._require("fastest", 0.0, 1e3)


USUAL = CleaningSettings()


@dataclass(frozen=True)
class HeavyTails:
    """Noise of reads by Student's t."""

    freedom: float
    """Degrees of freedom."""
    error: float
    """Standard deviation of their logarithm."""
    scale: float
    """Scale of Student's t over the standard deviation of a pseudo-value."""

    def coefficients(self) -> dict[str, tuple[str, str, float, float]]:
        """Return name -> unit, meaning, logarithm of the value and its standard deviation."""
        return {
            "tail.freedom": ("1", "degrees of freedom of the noise of reads", float(np.log(self.freedom)), self.error)
        }


@dataclass(frozen=True)
class TwoStates:
    """Cells that switch between two conductances, and others that do not."""

    step: FloatArray
    """(cells,) between the states, in ln G; zero for cells that do not switch."""
    low: FloatArray
    """(cells,) share of the time in the lower state."""

    def coefficients(self) -> dict[str, tuple[str, str, float, float]]:
        """Return name -> unit, meaning, logarithm of the value and its standard deviation."""
        steps = self.step[self.step > 0]
        count, cells = max(steps.size, 1), self.step.size
        share = count / cells
        logs = np.log(steps) if steps.size else np.zeros(1)
        return {
            "telegraph.share": (
                "1", "share of the cells that switch", float(np.log(share)), float(np.sqrt((1 - share) / count))
            ),
            "telegraph.step": (
                "1", "typical step of their ln G", float(logs.mean()), float(logs.std() / np.sqrt(count))
            ),
        }  # fmt: skip


OtherNoise: TypeAlias = HeavyTails | TwoStates
"""What noise reads have that is not normal."""


@dataclass(frozen=True)
class _Logs:
    """ln G of the reads of every cell, with what lines through them need."""

    there: BoolArray
    z: FloatArray
    """(cells, reads) zero where there is no read."""
    x: FloatArray
    """(cells, reads) ln(t / t0)."""

    @classmethod
    def of(cls, rows: Rows, t0: float) -> _Logs:
        """Take logarithms; reads at or near zero count as a small share of their cell's mean."""
        there = rows.there & (rows.time > 0)
        level = (there * np.maximum(rows.conductance, 0.0)).sum(1) / np.maximum(there.sum(1), 1)
        least = np.maximum(USUAL.least * level, 1e-12)[:, None]
        z = np.where(there, np.log(np.maximum(rows.conductance, least)), 0.0)
        return cls(there, z, np.log(np.where(there, rows.time, t0) / t0))

    def take(self, some: BoolArray) -> _Logs:
        """Return those of some cells."""
        return _Logs(self.there[some], self.z[some], self.x[some])

    def lines(self, values: FloatArray, weight: FloatArray) -> FloatArray:
        """Return weighted lines (cells, reads) through values (cells, reads)."""
        w = weight * self.there
        s0, s1, s2 = w.sum(1), (w * self.x).sum(1), (w * self.x**2).sum(1)
        r0, r1 = (w * values).sum(1), (w * self.x * values).sum(1)
        determinant = np.maximum(s0 * s2 - s1**2, 1e-12)
        level, slope = (s2 * r0 - s1 * r1) / determinant, (s0 * r1 - s1 * r0) / determinant
        return np.asarray(level[:, None] + slope[:, None] * self.x)


def tamed(measurement: Measurement, settings: CleaningSettings = USUAL) -> tuple[Measurement, HeavyTails]:
    """Bring reads with heavy tails to pseudo-values, with the degrees of freedom under which they are most likely."""
    rows = rows_of(measurement)
    logs = _Logs.of(rows, reference_age(measurement, measurement.reads.time))
    found = _robust(logs, settings)
    # What lines leave has lighter or heavier tails than the noise: as much as in reads drawn with what was found.
    drawn = _drawn(logs, found)
    again = _robust(drawn, settings)
    # What lines through so few reads are off, over what the scatter of their pseudo-values says: pseudo-values have
    # the scatter that is right for the lines.
    enough = drawn.there.sum(1) > 2
    apart = (drawn.there * ((again.line - found.line) / found.width(logs)) ** 2).sum(1)[enough]
    off = float(np.median(apart) / stats.chi2.median(2))
    scatter = ((again.pull(drawn) / found.width(logs)) ** 2)[enough].sum() / (drawn.there.sum(1)[enough] - 2).sum()
    stretch = float(np.sqrt(off / scatter))
    freedom = float(np.clip(found.freedom**2 / again.freedom, 1.05, settings.lightest))
    unit = logs.there * (logs.z - found.line) / found.width(logs)
    unit *= stats.norm.ppf(0.75) / stats.t.ppf(0.75, freedom)
    groups = [float(np.log(_freedom(unit[k::10][logs.there[k::10]], settings))) for k in range(10)]
    error = float(np.std(groups, ddof=1) / np.sqrt(len(groups)) * np.sqrt(2))  # of what was drawn, as much again
    values = found.line + stretch * found.pull(logs)
    return _with_logs(measurement, rows, logs, values), HeavyTails(freedom, error, float(1 / np.sqrt(off)))


@dataclass(frozen=True)
class _Robust:
    """Lines by Student's t."""

    line: FloatArray
    """(cells, reads)"""
    scale: FloatArray
    """(cells,) of the t at t0."""
    growth: float
    """Of its square, per unit of ln(t / t0)."""
    freedom: float

    def width(self, logs: _Logs) -> FloatArray:
        """Return the scale (cells, reads) of the noise of each read."""
        return np.asarray(self.scale[:, None] * _grown(logs, self.growth))

    def weight(self, logs: _Logs) -> FloatArray:
        """Return the weight (cells, reads) of each read, one for those on their line."""
        left = (logs.z - self.line) / self.width(logs)
        return np.asarray((self.freedom + 1) / (self.freedom + left**2))

    def pull(self, logs: _Logs) -> FloatArray:
        """Return pseudo-values (cells, reads) less their lines.

        Over the mean of the derivative of what pulls at a line: a line through pseudo-values is the robust one.
        """
        more = (self.freedom + 3) / (self.freedom + 1)
        return np.asarray(logs.there * self.weight(logs) * (logs.z - self.line) * more)


def _grown(logs: _Logs, growth: float) -> FloatArray:
    """Return the scale (cells, reads) of noise over that at t0."""
    return np.asarray(np.sqrt(np.maximum(1.0 + growth * logs.x, 0.01)))


def _drawn(logs: _Logs, found: _Robust) -> _Logs:
    """Draw reads with the noise that was found."""
    unit = 1.0 + found.width(logs) * np.random.default_rng(5).standard_t(found.freedom, logs.z.shape)
    positive = logs.there & (unit > 0)
    return _Logs(positive, np.where(positive, found.line + np.log(np.where(positive, unit, 1.0)), 0.0), logs.x)


def _robust(logs: _Logs, settings: CleaningSettings) -> _Robust:
    """Find lines, scales, their growth with age and degrees of freedom in turn."""
    found = _Robust(logs.lines(logs.z, np.ones_like(logs.z)), np.ones(len(logs.z)), 0.0, 3.0)
    for _ in range(settings.rounds):
        left = logs.there * (logs.z - found.line)
        usual = _scale(logs, left / _grown(logs, found.growth), settings)
        growth = _growth(logs, left / usual[:, None], settings)
        unit = left / usual[:, None] / _grown(logs, growth)
        freedom = _freedom(unit[logs.there], settings)
        scale = usual * stats.norm.ppf(0.75) / stats.t.ppf(0.75, freedom)
        found = _Robust(found.line, scale, growth, freedom)
        found = replace(found, line=logs.lines(logs.z, found.weight(logs) / _grown(logs, growth) ** 2))
    return found


def _scale(logs: _Logs, left: FloatArray, settings: CleaningSettings) -> FloatArray:
    """Return the scale (cells,) of the residuals of cells of like conductance: their median size, over a normal's."""
    count = np.maximum(logs.there.sum(1), 1)
    level = (logs.z * logs.there).sum(1) / count
    bins, _ = binned(level, int(np.clip(level.size // settings.cells_per_bin, 1, settings.most_bins)))
    # A line leaves residuals that are smaller than the noise, by the two numbers that it takes.
    size = np.where(logs.there, np.abs(left), np.nan) / np.sqrt(np.maximum(1 - 2 / count, 0.1))[:, None]
    seen = np.isfinite(size).any(1)
    medians = np.ones(int(bins.max()) + 1)
    for k in np.unique(bins[seen]).tolist():  # thirty bins at most
        medians[k] = np.nanmedian(size[bins == k])
    return np.asarray(np.maximum(medians[bins] / stats.norm.ppf(0.75), 1e-9))


def _growth(logs: _Logs, unit: FloatArray, settings: CleaningSettings) -> float:
    """Return how the squared scale of residuals (cells, reads) grows with ln(t / t0): by their median size at ages."""
    x, size = logs.x[logs.there], np.abs(unit[logs.there])
    bins, place = binned(x, int(np.clip(x.size // settings.cells_per_bin, 1, settings.most_bins)))
    if place.size < 2 or not np.ptp(place) > 0:
        return 0.0
    squares = np.array([np.median(size[bins == k]) for k in range(place.size)]) ** 2  # thirty bins at most
    slope, level = np.polyfit(place, squares, 1, w=np.sqrt(np.bincount(bins)))
    return float(np.clip(slope / max(level, 1e-12), 0.0, settings.fastest))


def _freedom(unit: FloatArray, settings: CleaningSettings) -> float:
    """Return the degrees of freedom under which residuals (n,) over their normal scale are most likely.

    Their median size is that of a normal number, whatever the tails.
    """

    def unlikely(log_freedom: float) -> float:
        freedom = float(np.exp(log_freedom))
        scale = stats.norm.ppf(0.75) / stats.t.ppf(0.75, freedom)
        return -float(stats.t.logpdf(unit / scale, freedom).mean() - np.log(scale))

    found = optimize.minimize_scalar(unlikely, bounds=(0.0, np.log(settings.lightest)), method="bounded")
    return float(np.exp(found.x))


def switching(measurement: Measurement, settings: CleaningSettings = USUAL) -> tuple[Measurement, TwoStates]:
    """Find cells that switch between two conductances, and bring their reads to the upper one."""
    rows = rows_of(measurement)
    logs = _Logs.of(rows, reference_age(measurement, measurement.reads.time))
    ones = np.ones_like(logs.z)
    left = logs.there * (logs.z - logs.lines(logs.z, ones))
    freedom = np.maximum(logs.there.sum(1) - 2, 1)
    squares = (left**2).sum(1)
    steady, share = np.ones(len(squares), bool), 0.5
    step, low, state = np.zeros(len(squares)), np.zeros(len(squares)), np.zeros_like(logs.z)
    for look in range(2):
        sigma = _steady_noise(logs, squares, freedom, steady, settings.quantile if look == 0 else 0.5)
        suspect = stats.chi2.sf(squares / sigma**2, freedom) < 0.05  # others cannot show a step
        plain = -0.5 * squares / sigma**2
        found = _two_states(logs.take(suspect), sigma[suspect], settings)
        odds = found.log_likelihood - plain[suspect] + np.log(share / (1 - share))
        switches = odds > 0
        step[:], low[:], state[:] = 0.0, 0.0, 0.0
        at = np.flatnonzero(suspect)[switches]
        step[at], low[at], state[at] = found.step[switches], found.low[switches], found.state[switches]
        steady = step == 0
        share = float(np.clip(1 - steady.mean(), 0.001, 0.999))
    return _with_logs(measurement, rows, logs, logs.z + step[:, None] * state), TwoStates(step, low)


def _steady_noise(
    logs: _Logs, squares: FloatArray, freedom: FloatArray, steady: BoolArray, quantile: float
) -> FloatArray:
    """Return the noise (cells,) of cells of like conductance that do not switch: a quantile of their scatter."""
    level = (logs.z * logs.there).sum(1) / np.maximum(logs.there.sum(1), 1)
    count = int(np.clip(steady.sum() // USUAL.cells_per_bin, 1, USUAL.most_bins))
    bins, place = binned(level[steady], count)
    seen = squares[steady] / stats.chi2.ppf(quantile, freedom[steady])
    values = np.array([np.quantile(seen[bins == k], quantile) for k in range(place.size)])  # thirty bins at most
    return np.asarray(np.sqrt(np.exp(np.interp(level, place, np.log(np.maximum(values, 1e-18))))))


@dataclass(frozen=True)
class _States:
    """The best two states of each cell."""

    log_likelihood: FloatArray
    step: FloatArray
    low: FloatArray
    state: FloatArray
    """(cells, reads) probability of the lower one."""


def _two_states(logs: _Logs, sigma: FloatArray, settings: CleaningSettings) -> _States:
    """Find the best step of each cell: lines and states in turn, from each of several steps."""
    cells = len(sigma)
    best = _States(np.full(cells, -np.inf), np.zeros(cells), np.zeros(cells), np.zeros_like(logs.z))
    for first in np.geomspace(settings.smallest, settings.largest, settings.steps):
        step, low = np.full(cells, first), np.full(cells, 0.5)
        line = logs.lines(logs.z, np.ones_like(logs.z)) + step[:, None] / 2
        for _ in range(settings.rounds):
            state, score = _posterior(logs, line, step, low, sigma)
            low = (state.sum(1) + 1) / (logs.there.sum(1) + 2)
            line = logs.lines(logs.z + step[:, None] * state, np.ones_like(logs.z))
            step = np.maximum((state * (line - logs.z)).sum(1) / np.maximum(state.sum(1), 1e-9), settings.smallest)
        # Two numbers more than a line has, each known to about one over the root of the reads.
        score = score - np.log(np.maximum(logs.there.sum(1), 1))
        better = score > best.log_likelihood
        best = _States(
            np.where(better, score, best.log_likelihood),
            np.where(better, step, best.step),
            np.where(better, low, best.low),
            np.where(better[:, None], state, best.state),
        )
    return best


def _posterior(
    logs: _Logs, line: FloatArray, step: FloatArray, low: FloatArray, sigma: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the probability (cells, reads) of the lower state, and the log-likelihood (cells,) of each cell."""
    left = (logs.z - line) / sigma[:, None]
    upper = np.log1p(-low)[:, None] - 0.5 * left**2
    lower = np.log(low)[:, None] - 0.5 * (left + (step / sigma)[:, None]) ** 2
    both = np.logaddexp(upper, lower)
    return np.asarray(logs.there * np.exp(lower - both)), np.asarray((logs.there * both).sum(1))


def _with_logs(measurement: Measurement, rows: Rows, logs: _Logs, values: FloatArray) -> Measurement:
    """Return the measurement with exp(values) (cells, reads) for the reads that logarithms are taken of."""
    changed = np.where(logs.there, np.exp(np.clip(values, -50.0, 50.0)), rows.conductance)
    order = np.argsort(measurement.reads.cell, kind="stable")
    conductance = np.empty(len(measurement.reads))
    conductance[order] = changed[rows.there]
    return replace(measurement, reads=replace(measurement.reads, conductance=conductance))
