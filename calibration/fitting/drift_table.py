"""Drift measurements reduced: each device to its own G(t0) and nu, the noisy ones to a grid of both, and the bad ones
to a list.

A line through the reads of a device is sufficient where the noise is small. Where it is not, the line only says where
about the device is, and its likelihood is integrated over ln G(t0) and nu: `drift_noisy`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hwloop.calibration.fitting.base import STUCK, WILD, Screening, binned
from hwloop.calibration.fitting.checks import (
    Rows,
    check_order,
    check_reads,
    conductance_scale,
    reference_age,
    rows_of,
)
from hwloop.calibration.fitting.drift_errors import Growth, Mix, Precision, drawn, flicker, floor_of, growth_of
from hwloop.calibration.fitting.drift_noisy import Grid, Noisy, grid_of, joined, noisy_of
from hwloop.errors import BadInputError
from hwloop.files.measurements import Measurement
from hwloop.typing import FloatArray

CHUNK = 50_000
"""Devices reduced at a time: their reads stay in the processor's cache."""
MOST_ELEMENTS = 8_000_000
"""Of matrices of covariances of the reads of each device, at a time."""
FEWEST_READS = 3
"""A line through two reads has no residual."""
PRECISE = 0.08
"""Standard deviation of a device's ln G(t0) up to which it counts as known."""
TOO_NOISY = 0.35
"""Relative standard deviation of a read above which lines scatter more than their errors say, and are not drawn."""
LOOSE_NU = 0.6
"""Drift coefficient, in either direction, beyond which a line through noise has not found its device."""
LOOSE_LEVEL = 1.0
"""Distance in ln G, from the mean of the reads, beyond which it has not either."""
QUIET = 0.1
"""Relative standard deviation of a read up to which residuals about a line show how noise grows."""
TILT_BINS = 300
"""Of the histogram whose slope says where errors of ln g go."""
FEWEST_LINES = 20
FEWEST_PRODUCTS = 100
"""Reads, less two per device, that show how noise grows."""
OUTLYING = 25.0
"""Squared residual over the variance of its neighbours' from which on it is not taken for noise."""
JUDGED = 0.2
"""Relative standard deviation of a read above which no line calls its device stuck or wild: tails too long."""
KNOTS, KNOTS_OF_MANY, MANY = 9, 13, 1_000
"""Knots of mean and spread, for fewer and for more devices than this."""
NOISE_KNOTS = 13
"""Of ln V: its kinks, as of a noise that is capped, must not look like drift of what is noisy."""
MOST_NOISY = 60_000
"""Noisy devices to integrate over; of more, a random part stands for all."""
BELOW = 4.0
"""V from which on devices are not told apart by their conductance any more: there the grid ends."""
ODDS = 7.0
"""ln of the odds at which a device that does not drift at all is called stuck."""
FAR_SIGMA = 5.0
"""Robust standard deviations from its neighbours in conductance at which a device is called wild."""
LEARNT = 20_000
"""Devices that tell what is constant, of very many."""
DRAWS = 3
"""Sets of reads drawn to see what lines through much noise leave."""
SURE = 3.5
"""Standard deviations from which on some of the noise is taken to be constant in uS."""
TOO_MUCH = 3.0
"""Of what the emptiest devices show, from which on it is something else that lines have left."""
LINE_NOISE = 0.25
"""Relative standard deviation of a read up to which it is looked for in the residuals of lines."""
FEWEST_EMPTY, EMPTIEST = 50, 0.02
"""Devices, and share of all, that read least."""
LEVELLING = 5
"""Steps in which noise of a conductance is parted into what is constant and what is not."""
LEAST = 0.1
"""Conductance over the constant noise of a read below which devices are not told apart."""
MANY_BINS = 20
LOST = 0.1
"""Share of its target below which a device far from it is called stuck although it drifts."""
UNLIKELY = 1e-7
"""Probability of a residual as large as a device's at which it is called wild."""


@dataclass(frozen=True)
class DriftTable:
    """One entry per device: ln g at the reference age, nu, their covariance over V, and the residual."""

    t0: float
    g_scale: float
    growth: Growth
    """Of the noise with age."""
    floor: float
    """Standard deviation of the noise of a read that does not fall with the conductance, uS."""
    floor_error: float
    """Standard deviation of how well that is known."""
    log_g: FloatArray
    nu: FloatArray
    var_g: FloatArray
    """Variance of ln g over V."""
    var_nu: FloatArray
    covariance: FloatArray
    squares: FloatArray
    freedom: FloatArray
    """Reads less two."""
    noise: FloatArray
    """Relative variance of a read of each device at t0, by its neighbours: where the fit starts."""
    tilt: FloatArray
    """Slope of the logarithm of the density of devices in ln g: which way the error of ln g has gone on average."""
    bend: FloatArray
    """Slope of `tilt` in ln g."""
    precise: NDArray[np.bool_]
    """Devices that their own line describes."""
    noisy: NDArray[np.int64]
    """Devices that are integrated over; of very many, a part that stands for all."""
    marginal: Noisy | None
    """What the reads of the noisy ones say."""
    cells: NDArray[np.int64]
    """Index of each device among the measured cells."""
    knots: tuple[float, ...]
    noise_knots: tuple[float, ...]
    time_range: tuple[float, float]
    conductance_range: tuple[float, float]

    def constant(self, log_g: FloatArray) -> FloatArray:
        """Relative variance of a read at t0 by the noise that is constant in uS, at ln g."""
        return np.asarray((self.floor / self.g_scale) ** 2 * np.exp(-2 * log_g))


# ---- one device at a time, all at once --------------------------------------------------------------------------


@dataclass
class _Lines:
    """Best line of every device: ln G(t0), nu, their covariance over V, weighted squared residuals."""

    log_g: FloatArray
    nu: FloatArray
    var_g: FloatArray
    covariance: FloatArray
    var_nu: FloatArray
    squares: FloatArray

    def take(self, some: NDArray[Any]) -> _Lines:
        """Those of some devices."""
        return _Lines(**{name: getattr(self, name)[some] for name in _Lines.__dataclass_fields__})


@dataclass(frozen=True)
class _Noise:
    """What is known of the noise of reads: how it grows, what is constant in uS, and the rest by conductance."""

    growth: Growth = Growth()
    floor: float = 0.0
    """Variance of what is constant, uS^2."""
    floor_error: float = math.inf
    place: FloatArray = field(default_factory=lambda: np.zeros(1))
    """(bins,) ln(G / uS)."""
    relative: FloatArray = field(default_factory=lambda: np.ones(1))
    """(bins,) variance of what falls with the conductance, over that squared."""
    nu: FloatArray = field(default_factory=lambda: np.zeros(1))
    """(bins,) typical drift coefficient."""

    def variance(self, log_g: FloatArray) -> FloatArray:
        """Relative variance (n,) of a read at t0, at ln(G / uS)."""
        relative = np.exp(_between(log_g, self.place, np.log(self.relative)))
        return np.asarray(relative + self.floor * np.exp(-2 * log_g))

    def mix(self, log_g: FloatArray) -> Mix | None:
        """Of devices at ln(G / uS); None where nothing is constant."""
        return self.mixed(log_g) if self.floor else None

    def mixed(self, log_g: FloatArray) -> Mix:
        """The same, with shares of nothing where nothing is constant."""
        share = self.floor * np.exp(-2 * log_g) / self.variance(log_g)
        return Mix.of(share, np.interp(log_g, self.place, self.nu))


def _fit_lines(
    y: FloatArray, x: FloatArray, there: NDArray[np.bool_], growth: Growth, mix: Mix | None = None
) -> _Lines:
    """Scoring steps of the quasi-likelihood of noise of a known shape: unbiased in linear conductance."""
    precision = Precision(growth, x, there, mix)
    w = precision(there.astype(float))
    wx = precision(x)
    s0, s1, s2 = w.sum(1), (w * x).sum(1), (wx * x).sum(1)
    determinant = s0 * s2 - s1 * s1
    mean = (w * y).sum(1) / s0
    level = np.log(np.maximum(mean, 1e-9))
    nu = np.zeros_like(level)
    # A start where the logarithm of noisy reads does not enter: slope of the reads themselves.
    for _ in range(12):
        ratio = y * np.exp(nu[:, None] * x - level[:, None]) - 1.0
        r0, r1 = np.einsum("ij,ij->i", w, ratio), np.einsum("ij,ij->i", wx, ratio)
        step_level = (s2 * r0 - s1 * r1) / determinant
        step_nu = (s1 * r0 - s0 * r1) / determinant
        level += np.clip(step_level, -1.0, 1.0)
        nu += np.clip(step_nu, -0.1, 0.1)
        if max(np.abs(step_level).max(initial=0.0), np.abs(step_nu).max(initial=0.0)) < 1e-7:
            break
    ratio = y * np.exp(nu[:, None] * x - level[:, None]) - 1.0
    squares = (precision(ratio) * ratio).sum(1)
    return _Lines(level, nu, s2 / determinant, s1 / determinant, s0 / determinant, squares)


def _chunks(index: NDArray[np.int64], reads: int) -> list[NDArray[np.int64]]:
    """Parts of `index` whose matrices of covariances, if every device has its own, fit into little memory."""
    size = min(CHUNK, max(1, MOST_ELEMENTS // reads**2))
    return [index[begin : begin + size] for begin in range(0, index.size, size)]


def _reduce(rows: Rows, index: NDArray[np.int64], t0: float, noise: _Noise) -> _Lines:
    """Lines of the devices in `index`, chunk by chunk."""
    parts: list[_Lines] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for some in _chunks(index, rows.time.shape[1]):
            there = rows.there[some]
            x = np.log(np.where(there, rows.time[some], t0) / t0)
            mix = noise.mix(_about(rows, some, t0, noise))
            parts.append(_fit_lines(rows.conductance[some] * there, x, there, noise.growth, mix))
    names = _Lines.__dataclass_fields__
    return _Lines(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _about(rows: Rows, index: NDArray[np.int64], t0: float, noise: _Noise) -> FloatArray:
    """ln(G / uS) of devices (n,) at t0, by the mean of their reads: where about a device is, for its mix of noise."""
    if not noise.floor:
        return np.zeros(index.size)
    there = rows.there[index]
    x = np.log(np.where(there, rows.time[index], t0) / t0)
    nu = float(np.median(noise.nu))
    level = (rows.conductance[index] * np.exp(nu * x) * there).sum(1) / there.sum(1)
    return np.asarray(np.log(np.maximum(level, LEAST * math.sqrt(noise.floor))))


def _settle(rows: Rows, index: NDArray[np.int64], lines: _Lines, t0: float, noise: _Noise) -> NDArray[np.bool_]:
    """Put devices (n,) whose reads have no line of their own where the mean of their reads is; says which they are.

    They are taken to drift as the median device: noise, or something that is no device, and not an outlying nu.
    """
    nu = float(np.median(lines.nu[np.isfinite(lines.nu)])) if np.isfinite(lines.nu).any() else 0.0
    there = rows.there[index]
    x = np.log(np.where(there, rows.time[index], t0) / t0)
    weight = there / noise.growth.variance(x, noise.mix(_about(rows, index, t0, noise)))
    straight = rows.conductance[index] * np.exp(nu * x)
    mean = (weight * straight).sum(1) / weight.sum(1)
    smallest = 1e-3 * float(np.median(mean[mean > 0])) if (mean > 0).any() else 1e-9
    level = np.log(np.maximum(mean, smallest))
    with np.errstate(invalid="ignore"):
        fine = (np.abs(lines.nu) < LOOSE_NU) & (np.abs(lines.log_g - level) < LOOSE_LEVEL) & np.isfinite(lines.squares)
    loose: NDArray[np.bool_] = ~fine
    lines.log_g[loose], lines.nu[loose] = level[loose], nu
    lines.squares[loose] = (weight * (straight * np.exp(-level)[:, None] - 1.0) ** 2).sum(1)[loose]
    return loose


def _learn(rows: Rows, index: NDArray[np.int64], t0: float) -> _Noise:
    """The noise of reads, from what the lines of many devices leave; few thousand of small noise tell it."""
    noise = _Noise()
    for _ in range(4):
        noise = _growing(rows, index, _reduce(rows, index, t0, noise), t0, noise)
    part, found = index[:: -(-index.size // LEARNT)], noise
    most = _least_square(rows, index)
    for unbiased in (False, True):  # the second costs more, and is not needed where the first finds nothing
        for _ in range(4):
            found = _constant(rows, part, _reduce(rows, part, t0, found), t0, found, unbiased=unbiased)
            if found.floor:
                found = _growing(rows, part, _reduce(rows, part, t0, found), t0, found)
        if found.floor < SURE * found.floor_error or found.floor > TOO_MUCH * most:
            return noise
    found = replace(found, floor=min(found.floor, most))
    return _growing(rows, index, _reduce(rows, index, t0, found), t0, found)


def _least_square(rows: Rows, index: NDArray[np.int64]) -> float:
    """Typical square (uS^2) of the last read of the devices that read least before: no constant noise is larger.

    Lines through reads of crowds of very noisy devices leave residuals that look like constant noise; this does not.
    """
    there, reads = rows.there[index], rows.conductance[index]
    last = there.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
    latest = reads[np.arange(index.size), last]
    before = np.abs(((reads * there).sum(1) - latest) / (there.sum(1) - 1))
    emptiest = np.argsort(before)[: max(FEWEST_EMPTY, int(EMPTIEST * index.size))]
    return float(np.median(latest[emptiest] ** 2) / stats.chi2.median(1))


def _levels(lines: _Lines, freedom: FloatArray, noise: _Noise, most: int, size: int) -> _Noise:
    """Noise and drift by conductance, in at most so many bins of at least about so many devices."""
    bins, place = binned(lines.log_g, max(1, min(most, lines.log_g.size // size)))
    count = int(bins.max()) + 1
    constant = noise.floor * np.exp(-2 * lines.log_g)
    relative = _noise_level(lines.squares / freedom, freedom, bins, count)
    for _ in range(LEVELLING if noise.floor else 0):
        relative = _noise_level(lines.squares / freedom / (1 + constant / relative[bins]), freedom, bins, count)
    return replace(noise, place=place, relative=relative, nu=robust(lines.nu, bins, count)[0])


def _growing(rows: Rows, index: NDArray[np.int64], lines: _Lines, t0: float, noise: _Noise) -> _Noise:
    """From products of the residuals of like devices, over their noise: see `growth_of`."""
    fine = np.flatnonzero(np.isfinite(lines.log_g + lines.nu + lines.squares))
    if fine.size < FEWEST_LINES:
        return replace(noise, growth=Growth())
    lines, index = lines.take(fine), index[fine]
    noise = _levels(lines, np.maximum(rows.counts[index] - 2.0, 1.0), noise, 50, 100)
    variance = noise.variance(lines.log_g)
    # The quieter half of the devices, up to where residuals are not quite those of a line any more; at least a tenth.
    quiet = variance <= max(min(float(np.median(variance)), QUIET**2), float(np.quantile(variance, 0.1)))
    if variance[quiet].min() > TOO_NOISY**2:
        return replace(noise, growth=flicker(t0))
    left = _residuals(rows, index, lines, quiet, t0, noise)
    if left.there.sum() - 2 * len(left.there) < FEWEST_PRODUCTS:
        return replace(noise, growth=Growth())
    found = growth_of(noise.growth, left.x, left.there, left.residual, left.variance, left.mix)
    top = max(float(left.x.max()), 1e-9)
    return replace(noise, growth=replace(found, rate=min(found.rate, 10.0 / top)))


def _constant(
    rows: Rows, index: NDArray[np.int64], lines: _Lines, t0: float, noise: _Noise, *, unbiased: bool
) -> _Noise:
    """From how noise grows where conductances are small and fall: see `floor_of`.

    unbiased  what the same finds in reads drawn with the noise known so far is taken off: lines through much noise
              leave residuals that are not quite those of straight lines
    """
    fine = np.flatnonzero(np.isfinite(lines.log_g + lines.nu + lines.squares))
    if fine.size < FEWEST_LINES:
        return noise
    lines, index = lines.take(fine), index[fine]
    noise = _levels(lines, np.maximum(rows.counts[index] - 2.0, 1.0), noise, 50, 100)
    some = np.flatnonzero(noise.variance(lines.log_g) <= LINE_NOISE**2)
    rows, lines = rows.take(index[some]), lines.take(some)
    step, error = _floor_step(rows, lines, t0, noise)
    if unbiased:
        x = rows.log_time(t0)
        truth, spoilt = np.exp(lines.log_g[:, None] - lines.nu[:, None] * x), noise.mix(lines.log_g)
        sigma, rng = np.sqrt(noise.variance(lines.log_g))[:, None], np.random.default_rng(3)
        found = []
        for _ in range(DRAWS):
            reads = truth * (1 + sigma * drawn(noise.growth, x, rows.there, spoilt, rng))
            again = replace(rows, conductance=reads)
            found.append(_floor_step(again, _reduce(again, np.arange(len(x)), t0, noise), t0, noise)[0])
        step, error = step - float(np.mean(found)), error * math.sqrt(1 + 1 / DRAWS)
    return replace(noise, floor=max(noise.floor + step, 0.0), floor_error=error)


def _floor_step(rows: Rows, lines: _Lines, t0: float, noise: _Noise) -> tuple[float, float]:
    """See `floor_of`, for devices with these lines."""
    fine = np.isfinite(lines.log_g + lines.nu + lines.squares)
    left = _residuals(rows, np.arange(fine.size), lines, fine, t0, noise)
    if left.there.sum() - 2 * len(left.there) < FEWEST_PRODUCTS:
        return 0.0, math.inf
    mix = noise.mixed(left.log_g)
    return floor_of(noise.growth, left.x, left.there, left.residual, left.variance, mix, np.exp(left.log_g))


@dataclass(frozen=True)
class _Residuals:
    """Of reads (devices, reads) about the line of each device, over the line and weighted as the line was."""

    there: NDArray[np.bool_]
    x: FloatArray
    """ln(t / t0)."""
    residual: FloatArray
    log_g: FloatArray
    """(devices,) ln(G / uS)."""
    variance: FloatArray
    """(devices,) of a read at t0."""
    mix: Mix | None


def _residuals(
    rows: Rows, index: NDArray[np.int64], lines: _Lines, some: NDArray[np.bool_], t0: float, noise: _Noise
) -> _Residuals:
    """Of some of the devices, as many as fit into little memory, without those that a bad read spoils."""
    chosen = np.flatnonzero(some)
    chosen = chosen[:: max(1, -(-chosen.size // (MOST_ELEMENTS // rows.time.shape[1] ** 2)))]
    there, part = rows.there[index[chosen]], lines.take(chosen)
    x = np.log(np.where(there, rows.time[index[chosen]], t0) / t0)
    curve = np.exp(part.nu[:, None] * x - part.log_g[:, None])
    residual = np.where(there, rows.conductance[index[chosen]] * curve - 1.0, 0.0)
    variance, mix = noise.variance(part.log_g), noise.mix(part.log_g)
    kept = np.all(residual**2 < OUTLYING * variance[:, None] * noise.growth.variance(x, mix), axis=1)
    mix = None if mix is None else mix.take(kept)
    return _Residuals(there[kept], x[kept], residual[kept], part.log_g[kept], variance[kept], mix)


# ---- screening --------------------------------------------------------------------------------------------------


def robust(values: FloatArray, bins: NDArray[np.int64], count: int) -> tuple[FloatArray, FloatArray]:
    """Median and robust standard deviation of each bin."""
    order = np.lexsort((values, bins))
    sizes = np.bincount(bins, minlength=count)
    starts = np.cumsum(sizes) - sizes
    sorted_values = values[order]

    def quantile(q: float) -> FloatArray:
        at = starts + np.minimum((q * sizes).astype(np.int64), np.maximum(sizes - 1, 0))
        chosen: FloatArray = sorted_values[at]
        return chosen

    return quantile(0.5), (quantile(0.75) - quantile(0.25)) / 1.349


def _smooth(values: FloatArray) -> FloatArray:
    """Median of each bin and two on either side: stuck devices may be all that there is at one conductance.

    A few wide bins are left as they are: the trend from one to the next is more than what it would remove.
    """
    if values.size < MANY_BINS:
        return values
    padded = np.pad(values, 2, constant_values=np.nan)
    smooth: FloatArray = np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    return smooth


def _between(at: FloatArray, place: FloatArray, values: FloatArray) -> FloatArray:
    """Linear between the places, and on below the first: noise keeps growing towards conductances of nothing."""
    result = np.interp(at, place, values)
    if place.size > 1:
        slope = min(float((values[1] - values[0]) / (place[1] - place[0])), 0.0)
        result += slope * np.minimum(at - place[0], 0.0)
    return result


def _noise_level(seen: FloatArray, freedom: FloatArray, bins: NDArray[np.int64], count: int) -> FloatArray:
    """Variance of each bin, from the median of what the residuals of its devices show."""
    median, _ = robust(seen, bins, count)
    typical = np.bincount(bins, freedom, count) / np.maximum(np.bincount(bins, minlength=count), 1)
    chance = stats.chi2.median(np.maximum(typical, 1.0)) / np.maximum(typical, 1.0)
    level: FloatArray = np.maximum(median / chance, 1e-10)
    return level


def _screen(
    lines: _Lines,
    freedom: FloatArray,
    cells: NDArray[np.int64],
    measurement: Measurement,
    screening: Screening,
    known: _Noise,
) -> None:
    """Mark stuck and wild devices among `cells`, judged by their neighbours in conductance.

    Where reads are mostly noise nobody can tell, and to leave out those that look odd would only bias the rest.
    """
    known = _levels(lines, freedom, known, 50, 50)
    noise = replace(known, relative=_smooth(known.relative)).variance(lines.log_g)
    bins, place = binned(lines.log_g, max(1, min(50, cells.size // 50)))
    count = int(bins.max()) + 1
    centres, widths = (_smooth(part) for part in robust(lines.nu, bins, count))
    errors = np.bincount(bins, noise * lines.var_nu, count) / np.bincount(bins, minlength=count)
    own = np.sqrt(np.maximum(widths**2 - errors, 0.0))  # spread of nu without the error of the lines
    centre = np.interp(lines.log_g, place, centres)
    error = noise * lines.var_nu
    total = np.interp(lines.log_g, place, own) ** 2 + error
    still = stats.norm.logpdf(lines.nu, 0.0, np.sqrt(error))
    drifting = stats.norm.logpdf(lines.nu, centre, np.sqrt(total))
    judged = noise < JUDGED**2
    # Where nothing drifts, a device that does not is no exception.
    moves = bool(judged.any()) and np.median(centre[judged]) > 0.01

    def flag(which: NDArray[np.bool_], reason: str) -> None:
        chosen = np.zeros(len(measurement.cells), bool)
        chosen[cells[which]] = True
        screening.drop(chosen, reason)

    rough = judged & (stats.chi2.sf(lines.squares / noise, freedom) < UNLIKELY)
    conductance, target = np.exp(lines.log_g), measurement.cells.target[cells]
    off_target = _off_target(conductance, target)
    constant = np.abs(lines.nu) < 3 * np.sqrt(error)
    lost = off_target & (constant | (conductance < LOST * target))
    flag(rough & ~lost, WILD)
    flag(judged & moves & (still - drifting > ODDS) | lost, STUCK)
    flag(judged & (np.abs(lines.nu - centre) > FAR_SIGMA * np.sqrt(total)), WILD)


def _off_target(conductance: FloatArray, target: FloatArray) -> NDArray[np.bool_]:
    """Devices far from where programming put their neighbours in target."""
    off = np.zeros(conductance.size, bool)
    known = np.flatnonzero(np.isfinite(target))
    if known.size < 100:
        return off
    bins, _ = binned(target[known], max(1, min(50, known.size // 100)))
    error = conductance[known] - target[known]
    centre, width = robust(error, bins, int(bins.max()) + 1)
    off[known] = np.abs(error - centre[bins]) > 2 * FAR_SIGMA * np.maximum(width[bins], 1e-12)
    return off


# ---- the table --------------------------------------------------------------------------------------------------


def drift_table(measurement: Measurement) -> tuple[DriftTable, Screening]:
    """Reduce a measurement of drift to one entry per device. Raises BadInputError when there is nothing to fit."""
    check_reads(measurement)
    check_order(measurement)
    rows = rows_of(measurement)
    rows = replace(rows, there=rows.there & (rows.time > 0))
    screening = Screening.of(measurement)
    most = int(rows.counts.argmax())
    if np.unique(rows.time[most][rows.there[most]]).size < FEWEST_READS:
        raise BadInputError(
            f"drift: there are fewer than {FEWEST_READS} different ages above zero; drift needs reads of the same "
            "cells at several ages, measure for longer"
        )
    screening.drop(rows.counts < FEWEST_READS, "fewer than three reads")
    t0 = reference_age(measurement, measurement.reads.time)
    latest = np.where(rows.there, rows.time, 0.0).max(1)
    earliest = np.where(rows.there, rows.time, np.inf).min(1)
    screening.drop(~(latest > 1.5 * earliest), "all reads at one age")
    conducts: NDArray[np.bool_] = np.any((rows.conductance > 0) & rows.there, axis=1)
    screening.drop(~conducts, "no conductance")
    index = np.flatnonzero(screening.kept)
    if not index.size:
        raise BadInputError(f"drift: no cell can be used ({_why(screening)})")
    noise = _learn(rows, index[: 2 * CHUNK], t0)
    lines = _reduce(rows, index, t0, noise)
    loose = _settle(rows, index, lines, t0, noise)
    freedom = np.maximum(rows.counts[index] - 2.0, 1.0)
    for _ in range(2):  # the second look is not disturbed by what the first has found
        kept = screening.kept[index]
        if kept.sum() > 20:
            _screen(lines.take(kept), freedom[kept], index[kept], measurement, screening, noise)
    kept = screening.kept[index]
    if not kept.any():
        raise BadInputError(f"drift: no cell can be used ({_why(screening)})")
    lines = lines.take(kept)
    index, freedom, loose = index[kept], freedom[kept], loose[kept]
    g_scale = conductance_scale(measurement, np.exp(lines.log_g))
    return _table(rows, index, lines, loose, freedom, t0, g_scale, noise), screening


def _why(screening: Screening) -> str:
    names, numbers = np.unique(screening.reason[~screening.kept], return_counts=True)
    return ", ".join(f"{name}: {number}" for name, number in zip(names, numbers, strict=True)) or "none was measured"


def _table(
    rows: Rows,
    index: NDArray[np.int64],
    lines: _Lines,
    loose: NDArray[np.bool_],
    freedom: FloatArray,
    t0: float,
    g_scale: float,
    known: _Noise,
) -> DriftTable:
    known = _levels(lines, freedom, known, 50, 100)
    noise = known.variance(lines.log_g)
    precise = (noise * lines.var_g <= PRECISE**2) & ~loose
    noisy = np.flatnonzero(~precise)
    share = 1.0
    if noisy.size > MOST_NOISY:
        share = noisy.size / MOST_NOISY
        noisy = np.random.default_rng(0).choice(noisy, MOST_NOISY, replace=False)
    lines.log_g -= math.log(g_scale)
    low, high = np.quantile(lines.log_g, [0.002, 0.998])
    tilt, bend = _tilt(lines.log_g)
    times = rows.time[index][rows.there[index]] if index.size <= CHUNK else rows.time[rows.there]
    marginal = None
    noisy = noisy[np.argsort(lines.log_g[noisy], kind="stable")]  # neighbours share the nodes that matter
    if noisy.size:
        grid = _grid(lines, noisy, loose, known, g_scale)
        parts = []
        for some in _chunks(index[noisy], rows.time.shape[1]):
            there = rows.there[some]
            x = np.log(np.where(there, rows.time[some], t0) / t0)
            reads = rows.conductance[some] * there / g_scale
            precision = Precision(known.growth, x, there, known.mix(_about(rows, some, t0, known)))
            parts.append(noisy_of(grid, reads, x, there, precision, share))
        marginal = joined(parts)
    return DriftTable(
        t0=t0,
        g_scale=g_scale,
        growth=known.growth,
        floor=math.sqrt(known.floor),
        floor_error=known.floor_error / max(2 * math.sqrt(known.floor), 1e-12),
        log_g=lines.log_g,
        nu=lines.nu,
        var_g=lines.var_g,
        var_nu=lines.var_nu,
        covariance=lines.covariance,
        squares=lines.squares,
        freedom=freedom,
        noise=noise,
        tilt=tilt,
        bend=bend,
        precise=precise,
        noisy=noisy,
        marginal=marginal,
        cells=index,
        # ProgrammedTile above g = 1, the most that is programmed: only the tails of the highest level are there.
        knots=_knots(np.minimum(lines.log_g, 0.0), KNOTS if lines.log_g.size < MANY else KNOTS_OF_MANY),
        noise_knots=_knots(lines.log_g, NOISE_KNOTS),
        time_range=(float(times.min()), float(times.max())),
        conductance_range=(float(np.exp(low) * g_scale), float(np.exp(high) * g_scale)),
    )


def _tilt(log_g: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slope (n,) of the logarithm of the density of ln g at every device, and the slope of that.

    A histogram smoothed as Poisson counts, third differences of their logarithms penalised: the smoothest density is a
    normal one, so that the flanks of levels come out right. Akaike's criterion chooses how smooth.
    """
    low, high = np.quantile(log_g, [0.0005, 0.9999])
    if not high > low:
        return np.zeros(log_g.size), np.zeros(log_g.size)
    edges = np.linspace(low, high, TILT_BINS + 1)
    counts = np.histogram(log_g, edges)[0].astype(float)
    roughness = np.diff(np.eye(TILT_BINS), 3, axis=0)
    roughness = roughness.T @ roughness
    log_mean, best, chosen = (
        np.log(np.convolve(counts + 0.1, np.full(9, 1 / 9), mode="same")),
        np.inf,
        np.zeros(TILT_BINS),
    )
    for stiffness in 10.0 ** np.arange(7.0, -1.5, -0.5):  # from the smoothest on, each from the one before
        for _ in range(30):
            mean = np.exp(np.clip(log_mean, -30.0, 30.0))
            curvature = np.diag(mean) + stiffness * roughness + 1e-9 * np.eye(TILT_BINS)
            step = np.linalg.solve(curvature, counts - mean - stiffness * roughness @ log_mean)
            log_mean = log_mean + np.clip(step, -2.0, 2.0)
            if np.abs(step).max() < 1e-3:
                break
        mean = np.exp(np.clip(log_mean, -30.0, 30.0))
        freedom = np.trace(
            np.linalg.solve(np.diag(mean) + stiffness * roughness + 1e-9 * np.eye(TILT_BINS), np.diag(mean))
        )
        criterion = 2 * float((mean - counts * log_mean).sum()) + 2 * freedom
        if criterion < best:
            best, chosen = criterion, log_mean
    centre = (edges[1:] + edges[:-1]) / 2
    tilt = np.gradient(chosen, centre)
    return np.interp(log_g, centre, tilt), np.interp(log_g, centre, np.gradient(tilt, centre))


def _knots(log_g: FloatArray, count: int) -> tuple[float, ...]:
    """Places of knots: halfway between equally many devices each and equally far apart."""
    share = np.linspace(0, 1, count)
    # Noise reaches far below the lowest conductances, in ln g, and not above the highest.
    ends = np.quantile(log_g, [0.01, 0.998])
    places = 0.5 * np.quantile(log_g, 0.01 + 0.988 * share) + 0.5 * (ends[0] + share * (ends[1] - ends[0]))
    distinct = [float(places[0])]
    for place in places[1:]:
        if place > distinct[-1] + 0.05:
            distinct.append(float(place))
    return tuple(distinct)


def _grid(lines: _Lines, noisy: NDArray[np.int64], loose: NDArray[np.bool_], known: _Noise, g_scale: float) -> Grid:
    """Nodes for all that the noisy devices may be, by a first look at the lines."""
    bins, place = binned(lines.log_g, max(1, min(30, lines.log_g.size // 100)))
    count = int(bins.max()) + 1
    levels = known.variance(place + math.log(g_scale))
    centre, width = robust(lines.nu, bins, count)
    own = np.sqrt(np.maximum(width**2 - levels * np.bincount(bins, lines.var_nu) / np.bincount(bins), 1e-4))
    told = levels < max(2 * TOO_NOISY**2, float(levels.min()))  # noisier lines scatter more than their error says
    centre, own = (np.interp(place, place[told], part[told]) for part in (centre, own)) if told.any() else (centre, own)
    found = ~loose[noisy]
    typical = noisy[found] if found.any() else noisy
    error = (
        float(np.median(lines.var_g[typical])),
        float(np.median(lines.covariance[typical])),
        float(np.median(lines.var_nu[typical])),
    )
    low, high = np.quantile(lines.log_g[typical], [0.002, 1.0])
    seen = levels < BELOW
    bottom = max(low - 0.3, float(place[seen].min()) - 1.0) if seen.any() else low - 0.3
    if known.floor:  # down to where conductances are not told apart, if there are any
        bottom = max(low - 0.3, 0.5 * math.log(known.floor / BELOW) - math.log(g_scale))
    top = max(float(high), bottom) + 0.6
    fine = np.union1d(place, np.linspace(bottom, top, count))
    levels = np.minimum(known.variance(fine + math.log(g_scale)), BELOW)
    centre, own = (np.interp(fine, place, part) for part in (centre, own))
    return grid_of(bottom, top, fine, levels, error, np.stack([centre, own]))
