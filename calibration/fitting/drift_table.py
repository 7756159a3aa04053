"""Drift measurements reduced: each device to its own G(t0) and nu, the noisy ones to nodes of an integral, and the bad
ones to a list.

A line through the logarithms of a device's reads is sufficient where the noise is small. Where it is not, ln G(t0)
and nu are to be integrated over numerically, in linear conductance, in which the noise is symmetric: reads at or below
zero then need no special care, and nothing has to be thrown away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from hwloop.calibration.fitting.checks import (
    Rows,
    check_order,
    check_reads,
    conductance_scale,
    reference_age,
    rows_of,
)
from hwloop.calibration.fitting.family import (
    STUCK,
    WILD,
    Screening,
    binned,
)
from hwloop.contract import FloatArray
from hwloop.errors import BadInputError
from hwloop.measurements import Measurement

CHUNK = 50_000
"""Devices reduced at a time: their reads stay in the processor's cache."""
FEWEST_READS = 3
"""A line through two reads has no residual."""
PRECISE = 0.08
"""Standard deviation of a device's ln G(t0) up to which it counts as known."""
TOO_NOISY = 0.35
"""Relative standard deviation of a read above which a device's line is not a line any more."""
MOST_NOISY = 8_000
"""Noisy devices to integrate over; of more, a random part stands for all."""
NODES = 5
"""Quadrature nodes in each direction."""
WIDER = 1.25
"""Factor on the width of the quadrature: its centre is not quite the peak."""
ODDS = 7.0
"""ln of the odds at which a device that does not drift at all is called stuck."""
FAR_SIGMA = 5.0
"""Robust standard deviations from its neighbours in conductance at which a device is called wild."""
MANY_BINS = 20
LOST = 0.1
"""Share of its target below which a device far from it is called stuck although it drifts."""
UNLIKELY = 1e-7
"""Probability of a residual as large as a device's at which it is called wild."""
DENSITY_BINS, DENSITY_ROUNDS = 40, 20
"""Of the distribution of ln g: rounds of expectation and maximisation, few enough to leave it smooth."""


@dataclass(frozen=True)
class Nodes:
    """Quadrature over (ln g, nu) of devices (m, K) whose noise is large."""

    log_g: FloatArray
    nu: FloatArray
    squares: FloatArray
    """Sum of (y / m - 1)^2 over the reads, weighted for the growth of the noise."""
    log_weight: FloatArray
    """Of the node, less the sum of ln m."""
    reads: FloatArray
    """(m,)"""
    share: float
    """How many devices each of them stands for."""


@dataclass(frozen=True)
class DriftTable:
    """One entry per device: ln g at the reference age, nu, their covariance over V, and the residual."""

    t0: float
    g_scale: float
    growth: float
    """b: growth of the relative noise variance per unit of ln(t / t0)."""
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
    """V at each device, by its neighbours: where the fit starts."""
    noisy: NDArray[np.int64]
    """Devices that `nodes` stands for; all others are precise or stood for."""
    precise: NDArray[np.bool_]
    nodes: Nodes | None
    cells: NDArray[np.int64]
    """Index of each device among the measured cells."""
    knots: tuple[float, ...]
    noise_knots: tuple[float, ...]
    time_range: tuple[float, float]
    conductance_range: tuple[float, float]


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


def _weights(x: FloatArray, there: NDArray[np.bool_], growth: float) -> FloatArray:
    return there / np.maximum(1.0 + growth * x, 0.1)


def _fit_lines(y: FloatArray, x: FloatArray, w: FloatArray) -> _Lines:
    """Scoring steps of the quasi-likelihood of a constant relative noise: unbiased in linear conductance."""
    s0, s1, s2 = w.sum(1), (w * x).sum(1), (w * x * x).sum(1)
    determinant = s0 * s2 - s1 * s1
    mean = (w * y).sum(1) / s0
    level = np.log(np.maximum(mean, 1e-9))
    nu = np.zeros_like(level)
    # A start where the logarithm of noisy reads does not enter: slope of the reads themselves.
    for _ in range(12):
        ratio = w * (y * np.exp(nu[:, None] * x - level[:, None]) - 1.0)
        r0, r1 = ratio.sum(1), (ratio * x).sum(1)
        step_level = (s2 * r0 - s1 * r1) / determinant
        step_nu = (s1 * r0 - s0 * r1) / determinant
        level += np.clip(step_level, -1.0, 1.0)
        nu += np.clip(step_nu, -0.1, 0.1)
        if max(np.abs(step_level).max(initial=0.0), np.abs(step_nu).max(initial=0.0)) < 1e-7:
            break
    ratio = y * np.exp(nu[:, None] * x - level[:, None]) - 1.0
    return _Lines(level, nu, s2 / determinant, s1 / determinant, s0 / determinant, (w * ratio**2).sum(1))


def _reduce(rows: Rows, index: NDArray[np.int64], t0: float, growth: float) -> _Lines:
    """Lines of the devices in `index`, chunk by chunk."""
    parts: list[_Lines] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for begin in range(0, index.size, CHUNK):
            some = index[begin : begin + CHUNK]
            there = rows.there[some]
            x = np.log(np.where(there, rows.time[some], t0) / t0)
            parts.append(_fit_lines(rows.conductance[some] * there, x, _weights(x, there, growth)))
    names = _Lines.__dataclass_fields__
    return _Lines(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _growth(rows: Rows, index: NDArray[np.int64], lines: _Lines, t0: float) -> float:
    """B by regression of the squared residuals, relative to their device's noise, on ln(t / t0).

    Few thousand devices of small noise tell it; the part that a line takes out of each residual is put back.
    """
    some = np.arange(min(index.size, CHUNK))
    chosen = index[some]
    there = rows.there[chosen]
    x = np.log(np.where(there, rows.time[chosen], t0) / t0)
    nu, level = lines.nu[some, None], lines.log_g[some, None]
    residual = np.where(there, rows.conductance[chosen] * np.exp(nu * x - level) - 1.0, 0.0)
    leverage = lines.var_g[some, None] - 2 * lines.covariance[some, None] * x + lines.var_nu[some, None] * x**2
    freedom = np.maximum(there.sum(1) - 2, 1)
    noise = (residual**2).sum(1) / freedom
    usable = there & (leverage < 0.9) & (noise > 0)[:, None] & (noise < 0.04)[:, None]
    if usable.sum() < 100:
        return 0.0
    scaled = (residual**2 / np.where(noise > 0, noise, 1.0)[:, None] / (1 - np.minimum(leverage, 0.9)))[usable]
    at = x[usable]
    scaled = np.minimum(scaled, np.quantile(scaled, 0.999))
    slope, level_0 = np.polyfit(at, scaled, 1)
    top = max(float(at.max()), 1e-9)
    return float(np.clip(slope / max(level_0, 1e-9), 0.0, 10.0 / top)) if level_0 > 0 else 0.0


# ---- screening --------------------------------------------------------------------------------------------------


def _robust(values: FloatArray, bins: NDArray[np.int64], count: int) -> tuple[FloatArray, FloatArray]:
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


def _noise_level(lines: _Lines, freedom: FloatArray, bins: NDArray[np.int64], count: int) -> FloatArray:
    """V of each bin, from the median of the residuals."""
    median, _ = _robust(lines.squares / freedom, bins, count)
    typical = np.bincount(bins, freedom, count) / np.maximum(np.bincount(bins, minlength=count), 1)
    chance = stats.chi2.median(np.maximum(typical, 1.0)) / np.maximum(typical, 1.0)
    level: FloatArray = np.maximum(median / chance, 1e-10)
    return level


def _screen(
    lines: _Lines, freedom: FloatArray, cells: NDArray[np.int64], measurement: Measurement, screening: Screening
) -> None:
    """Mark stuck and wild devices among `cells`, judged by their neighbours in conductance."""
    bins, place = binned(lines.log_g, max(1, min(50, cells.size // 50)))
    count = int(bins.max()) + 1
    levels = _smooth(_noise_level(lines, freedom, bins, count))
    noise = np.exp(_between(lines.log_g, place, np.log(levels)))
    centres, widths = (_smooth(part) for part in _robust(lines.nu, bins, count))
    errors = np.bincount(bins, noise * lines.var_nu, count) / np.bincount(bins, minlength=count)
    own = np.sqrt(np.maximum(widths**2 - errors, 0.0))  # spread of nu without the error of the lines
    centre = np.interp(lines.log_g, place, centres)
    error = noise * lines.var_nu
    total = np.interp(lines.log_g, place, own) ** 2 + error
    still = stats.norm.logpdf(lines.nu, 0.0, np.sqrt(error))
    drifting = stats.norm.logpdf(lines.nu, centre, np.sqrt(total))
    moves = np.median(centres) > 0.01  # where nothing drifts, a device that does not is no exception

    def flag(which: NDArray[np.bool_], reason: str) -> None:
        chosen = np.zeros(len(measurement.cells), bool)
        chosen[cells[which]] = True
        screening.drop(chosen, reason)

    moves = moves & bool(np.median(noise) < TOO_NOISY**2)
    rough = stats.chi2.sf(lines.squares / noise, freedom) < UNLIKELY
    conductance, target = np.exp(lines.log_g), measurement.cells.target[cells]
    off_target = _off_target(conductance, target)
    constant = np.abs(lines.nu) < 3 * np.sqrt(error)
    lost = off_target & (constant | (conductance < LOST * target))
    flag(rough & ~lost, WILD)
    flag(moves & (still - drifting > ODDS) | lost, STUCK)
    flag(np.abs(lines.nu - centre) > FAR_SIGMA * np.sqrt(total), WILD)


def _off_target(conductance: FloatArray, target: FloatArray) -> NDArray[np.bool_]:
    """Devices far from where programming put their neighbours in target."""
    off = np.zeros(conductance.size, bool)
    known = np.flatnonzero(np.isfinite(target))
    if known.size < 100:
        return off
    bins, _ = binned(target[known], max(1, min(50, known.size // 100)))
    error = conductance[known] - target[known]
    centre, width = _robust(error, bins, int(bins.max()) + 1)
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
    mean = (rows.conductance * rows.there).sum(1) / np.maximum(rows.counts, 1)
    screening.drop(~(mean > 0), "no conductance")
    index = np.flatnonzero(screening.kept)
    if not index.size:
        raise BadInputError(f"drift: no cell can be used ({_why(screening)})")
    growth = 0.0
    for _ in range(2):
        part = _reduce(rows, index[: min(index.size, CHUNK)], t0, growth)
        growth = _growth(rows, index, part, t0)
    lines = _reduce(rows, index, t0, growth)
    lost = ~np.isfinite(lines.log_g + lines.nu + lines.squares) | (np.abs(lines.nu) > 2.0)
    chosen = np.zeros(len(measurement.cells), bool)
    chosen[index[lost]] = True
    screening.drop(chosen, "no line through its reads")
    lines = _Lines(**{name: getattr(lines, name)[~lost] for name in _Lines.__dataclass_fields__})
    index = index[~lost]
    freedom = np.maximum(rows.counts[index] - 2.0, 1.0)
    for _ in range(2):  # the second look is not disturbed by what the first has found
        kept = screening.kept[index]
        if kept.sum() > 20:
            inner = _Lines(**{name: getattr(lines, name)[kept] for name in _Lines.__dataclass_fields__})
            _screen(inner, freedom[kept], index[kept], measurement, screening)
    kept = screening.kept[index]
    if not kept.any():
        raise BadInputError(f"drift: no cell can be used ({_why(screening)})")
    lines = _Lines(**{name: getattr(lines, name)[kept] for name in _Lines.__dataclass_fields__})
    index, freedom = index[kept], freedom[kept]
    bins, _ = binned(lines.log_g, max(1, min(50, index.size // 100)))
    quiet = _noise_level(lines, freedom, bins, int(bins.max()) + 1)[bins] <= TOO_NOISY**2
    chosen = np.zeros(len(measurement.cells), bool)
    chosen[index[~quiet]] = True
    screening.drop(chosen, f"noise of a read above {TOO_NOISY:.0%} of the conductance")
    if not quiet.any():
        raise BadInputError(f"drift: no cell can be used ({_why(screening)})")
    lines = _Lines(**{name: getattr(lines, name)[quiet] for name in _Lines.__dataclass_fields__})
    index, freedom = index[quiet], freedom[quiet]
    g_scale = conductance_scale(measurement, np.exp(lines.log_g))
    return _table(rows, index, lines, freedom, t0, g_scale, growth), screening


def _why(screening: Screening) -> str:
    names, numbers = np.unique(screening.reason[~screening.kept], return_counts=True)
    return ", ".join(f"{name}: {number}" for name, number in zip(names, numbers, strict=True)) or "none was measured"


def _table(
    rows: Rows,
    index: NDArray[np.int64],
    lines: _Lines,
    freedom: FloatArray,
    t0: float,
    g_scale: float,
    growth: float,
) -> DriftTable:
    bins, _ = binned(lines.log_g, max(1, min(50, index.size // 100)))
    noise = _noise_level(lines, freedom, bins, int(bins.max()) + 1)[bins]
    precise = noise * lines.var_g <= PRECISE**2
    noisy = np.flatnonzero(~precise)
    share = 1.0
    if noisy.size > MOST_NOISY:
        share = noisy.size / MOST_NOISY
        noisy = np.sort(np.random.default_rng(0).choice(noisy, MOST_NOISY, replace=False))
    log_g = lines.log_g - math.log(g_scale)
    low, high = np.quantile(log_g, [0.002, 0.998])
    times = rows.time[index][rows.there[index]] if index.size <= CHUNK else rows.time[rows.there]
    return DriftTable(
        t0=t0,
        g_scale=g_scale,
        growth=growth,
        log_g=log_g,
        nu=lines.nu,
        var_g=lines.var_g,
        var_nu=lines.var_nu,
        covariance=lines.covariance,
        squares=lines.squares,
        freedom=freedom,
        noise=noise,
        noisy=noisy,
        precise=precise,
        nodes=_nodes(rows, index, lines, noise, bins, noisy, t0, g_scale, growth, share) if noisy.size else None,
        cells=index,
        knots=_knots(log_g, 9),
        noise_knots=_knots(log_g, 7),
        time_range=(float(times.min()), float(times.max())),
        conductance_range=(float(np.exp(low) * g_scale), float(np.exp(high) * g_scale)),
    )


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


def _nodes(
    rows: Rows,
    index: NDArray[np.int64],
    lines: _Lines,
    noise: FloatArray,
    bins: NDArray[np.int64],
    noisy: NDArray[np.int64],
    t0: float,
    g_scale: float,
    growth: float,
    share: float,
) -> Nodes:
    """Quadrature nodes around what reads and neighbours together say of each noisy device."""
    error = noise * lines.var_nu
    centre, width = _robust(lines.nu, bins, int(bins.max()) + 1)
    spread = np.sqrt(np.maximum(width**2 - np.bincount(bins, error) / np.bincount(bins), 1e-4))
    v = noise[noisy]
    caa, cab, cbb = v * lines.var_g[noisy], v * lines.covariance[noisy], v * lines.var_nu[noisy]
    # Posterior of (ln G, nu) for the neighbours' nu as a prior.
    gain = 1.0 / (cbb + spread[bins[noisy]] ** 2)
    shift = (centre[bins[noisy]] - lines.nu[noisy]) * gain
    level, nu = lines.log_g[noisy] + cab * shift, lines.nu[noisy] + cbb * shift
    caa, cab, cbb = caa - cab * cab * gain, cab - cab * cbb * gain, cbb - cbb * cbb * gain
    z, w = special.roots_hermitenorm(NODES)
    first, second = (part.ravel() for part in np.meshgrid(z, z, indexing="ij"))
    l_nu = np.sqrt(np.maximum(cbb, 1e-12)) * WIDER
    l_cross = cab / np.sqrt(np.maximum(cbb, 1e-12)) * WIDER
    l_level = np.sqrt(np.maximum(caa - cab**2 / np.maximum(cbb, 1e-12), 1e-12)) * WIDER
    node_nu = nu[:, None] + l_nu[:, None] * first
    node_level = level[:, None] + l_cross[:, None] * first + l_level[:, None] * second
    log_weight = np.log(np.outer(w, w)).ravel() + 0.5 * (first**2 + second**2) + np.log(l_nu * l_level)[:, None]
    chosen = index[noisy]
    there = rows.there[chosen]
    x = np.log(np.where(there, rows.time[chosen], t0) / t0)
    weight = _weights(x, there, growth)
    y = rows.conductance[chosen] * there
    squares = np.empty_like(node_nu)
    for k in range(first.size):  # nodes, not devices
        ratio = y * np.exp(np.minimum(node_nu[:, k, None] * x - node_level[:, k, None], 300.0)) - 1.0
        squares[:, k] = (weight * ratio**2).sum(1)
    log_weight -= there.sum(1)[:, None] * node_level - node_nu * (x * there).sum(1)[:, None]
    sure = np.ones(index.size, bool)
    sure[noisy] = False
    sure &= noise * lines.var_g <= PRECISE**2
    seen = (
        log_weight
        - 0.5 * squares / v[:, None]
        + stats.norm.logpdf(node_nu, centre[bins[noisy], None], spread[bins[noisy], None])
    )
    log_weight += _log_density(node_level, seen, share, lines.log_g[sure])
    return Nodes(node_level - math.log(g_scale), node_nu, squares, log_weight, there.sum(1).astype(float), share)


def _log_density(nodes: FloatArray, log_weight: FloatArray, share: float, known: FloatArray) -> FloatArray:
    """Log density (m, K) of ln g over the devices, at the nodes: what noise alone puts outside of it is not believed.

    known  ln g of the precise devices; the nodes' devices count `share` times each.
    """
    centre = (np.exp(log_weight - log_weight.max(1, keepdims=True)) * nodes).sum(1) / np.exp(
        log_weight - log_weight.max(1, keepdims=True)
    ).sum(1)
    every = np.concatenate([known, centre])
    edges = np.linspace(every.min() - 0.5, every.max() + 0.5, DENSITY_BINS + 1)
    place = np.clip(np.searchsorted(edges, nodes) - 1, 0, DENSITY_BINS - 1)
    certain = np.histogram(known, edges)[0].astype(float)
    weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
    density = certain + share * np.histogram(centre, edges)[0] + 1.0
    for _ in range(DENSITY_ROUNDS):
        posterior = weight * density[place]
        posterior /= posterior.sum(1, keepdims=True)
        density = certain + share * np.bincount(place.ravel(), posterior.ravel(), DENSITY_BINS) + 1e-3
    smooth = np.convolve(np.pad(density, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    log_density: FloatArray = np.log(smooth / smooth.sum())[place]
    return log_density
