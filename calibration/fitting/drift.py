"""Drift: G(t) = G(t0) (t / t0)^-nu with a coefficient per device, normal around a mean that depends on conductance.

After Joshi et al. 2020, as a random-effects model. A read is y = G(t) (1 + e), with e normal of the variance
V(g) (1 + b ln(t / t0)): read noise that is a part of the measurement, growing with age as 1/f noise does. What is
fitted by maximum likelihood are the mean and the spread of nu and V, all functions of g = G(t0) / g_scale.

Every device is first reduced to its own G(t0) and nu with their covariance and the residual that is left (sufficient
where the noise is small). Where it is not, ln G(t0) and nu are integrated over numerically, in linear conductance, in
which the noise is symmetric: reads at or below zero then need no special care, and nothing has to be thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, special, stats

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
    Coefficient,
    Family,
    Panel,
    Screening,
    Series,
    binned,
    quantile_panel,
)
from hwloop.calibration.fitting.likelihood import Optimum, covariance, maximise, tensor
from hwloop.contract import FloatArray
from hwloop.device_models import Knots, Statistic
from hwloop.errors import BadInputError
from hwloop.measurements import Experiment, Measurement
from hwloop.model_file import Form, build_statistic, coefficient_names

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
SUPPORT = 30
"""Cells that must lie where a clipping bound acts before the bound is fitted."""
STEP = 1e-3
"""Of ln g, for slopes of the mean."""
GROUP = 0.002
"""Of ln g, within which the statistics of devices are taken as one where there are very many of them."""
SMALLEST_SPREAD = 1e-5
"""Of drift coefficients."""
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


# ---- the families -----------------------------------------------------------------------------------------------


class DriftFamily(Family[DriftTable]):
    """Power-law drift; subclasses say what mean and spread look like as functions of conductance."""

    experiment = Experiment.DRIFT
    extrapolates = True
    kind: str
    """Form of mean and spread."""

    def prepare(self, measurement: Measurement) -> tuple[DriftTable, Screening]:
        """See `drift_table`."""
        return drift_table(measurement)

    def size(self, table: DriftTable) -> int:
        """Number of devices."""
        return int(table.nu.size)

    def subset(self, table: DriftTable, cells: NDArray[np.bool_]) -> DriftTable:
        """The table of some devices."""
        renumber = np.cumsum(cells) - 1
        own = cells[table.noisy]
        nodes = table.nodes
        if nodes is not None:
            per_device = {name: getattr(nodes, name)[own] for name in ("log_g", "nu", "squares", "log_weight", "reads")}
            nodes = Nodes(**per_device, share=nodes.share) if own.any() else None
        names = ("log_g", "nu", "var_g", "var_nu", "covariance", "squares", "freedom", "noise", "precise", "cells")
        return replace(
            table,
            noisy=renumber[table.noisy[own]],
            nodes=nodes,
            **{name: getattr(table, name)[cells] for name in names},
        )

    def coefficients(self, table: DriftTable) -> list[Coefficient]:
        """Of the mean, of the spread, and ln V at its knots."""
        names = coefficient_names(self._form(table))
        rows = [Coefficient(f"mean.{name}", "1", f"{name} of the mean drift coefficient") for name in names]
        rows += [Coefficient(f"spread.{name}", "1", f"{name} of the spread of drift coefficients") for name in names]
        places = np.exp(table.noise_knots) * table.g_scale
        return rows + [
            Coefficient(f"noise.v{k}", "1", f"relative variance of a read at t0, at {place:.3g} uS", log=True)
            for k, place in enumerate(places)
        ]

    def estimate(self, table: DriftTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Maximum likelihood; very many devices count by the sums over neighbours, which hold all that they tell."""
        start = self._start(table)
        count = table.nu.size
        free = np.ones(start.size, bool)
        likelihood = self._likelihood(table)
        summed = likelihood if count < CHUNK else self._summed_likelihood(table)
        found = maximise(summed, start)
        found = maximise(summed, found.theta)  # a search that has run into a kink of a bound gets on in a new direction
        held, theta = self._unsupported(table, found.theta)
        if held:
            names = [item.name for item in self.coefficients(table)]
            free[[names.index(name) for name in held]] = False
            found = maximise(summed, theta, free=free)
        if intervals:
            share = min(1.0, 2 * CHUNK / count)
            part = np.random.default_rng(2).random(count) < share
            some = likelihood if share == 1.0 else self._likelihood(self.subset(table, part))
            found = replace(found, covariance=share * covariance(some, found.theta, free=free, kinks=True))
        return found, held

    def log_likelihood(self, table: DriftTable, theta: FloatArray) -> FloatArray:
        """Of every device that is precise or integrated over, up to a constant of the data."""
        with torch.no_grad():
            return self._likelihood(table, weighted=False)(tensor(theta)).numpy()

    def predict(self, table: DriftTable, theta: FloatArray, later: Measurement) -> FloatArray:
        """From each device's own line, drawn towards what devices of its conductance do."""
        mean, spread = self._statistics(table, theta)
        noise = np.exp(self._log_noise(table, theta))
        gain = 1.0 / (noise * table.var_nu + spread**2)
        nu = table.nu + noise * table.var_nu * gain * (mean - table.nu)
        level = table.log_g + noise * table.covariance * gain * (mean - table.nu)
        var_nu = noise * table.var_nu * (1 - noise * table.var_nu * gain)
        var_g = noise * table.var_g - (noise * table.covariance) ** 2 * gain
        cross = noise * table.covariance * (1 - noise * table.var_nu * gain)
        rows = rows_of(later)
        x = np.log(np.where(rows.there, rows.time, table.t0)[table.cells, 0] / table.t0)
        predicted = np.exp(level - nu * x) * table.g_scale
        relative = noise * np.maximum(1 + table.growth * x, 0.1) + var_g - 2 * x * cross + x**2 * var_nu
        density = stats.norm.logpdf(rows.conductance[table.cells, 0], predicted, predicted * np.sqrt(relative))
        result = np.full(len(later.cells), np.nan)
        result[table.cells] = np.where(rows.there[table.cells, 0], density, np.nan)
        return result

    def quantiles(self, table: DriftTable, theta: FloatArray) -> FloatArray:
        """Of the precise devices' coefficients."""
        known = table.precise if table.precise.any() else np.ones(table.nu.size, bool)
        mean, sigma = self._predicted(table, theta)
        return stats.norm.cdf((table.nu[known] - mean[known]) / sigma[known])  # type: ignore[no-any-return]

    def describe(self, table: DriftTable) -> dict[str, Any]:
        """Forms, reference age, scale and ranges."""
        form = self._form(table)
        return {
            "forms": {"mean": form, "spread": form, "noise": Form("knots", table.noise_knots)},
            "settings": {"t0": table.t0, "g_scale": table.g_scale, "noise_growth": table.growth},
            "conductance_range": table.conductance_range,
            "time_range": table.time_range,
        }

    def panels(self, table: DriftTable, theta: FloatArray) -> list[Panel]:
        """Mean, spread and noise against conductance, and the calibration of the coefficients."""
        bins, centre = binned(table.log_g, max(1, min(30, table.nu.size // 50)))
        count = centre.size
        size = np.bincount(bins, minlength=count)
        weight = 1.0 / (self._statistics(table, theta)[1] ** 2 + table.noise * table.var_nu)
        total = np.bincount(bins, weight, count)
        mean = np.bincount(bins, weight * table.nu, count) / total
        scatter = np.bincount(bins, weight * (table.nu - mean[bins]) ** 2, count) / total
        spread = np.sqrt(np.maximum(scatter - np.bincount(bins, weight * table.noise * table.var_nu, count) / total, 0))
        noise = np.bincount(bins, table.squares, count) / np.bincount(bins, table.freedom, count)
        error = np.sqrt(scatter / size)
        x = np.exp(centre) * table.g_scale
        fine = np.exp(np.linspace(table.log_g.min(), table.log_g.max(), 200))
        form, n = self._form(table), len(coefficient_names(self._form(table)))
        curves = [build(form, theta[:n])(fine), build(form, theta[n : 2 * n])(fine)]
        curves.append(np.exp(Knots(table.noise_knots, tuple(theta[2 * n :]))(fine)))
        line_x = fine * table.g_scale
        label = "conductance at t0, uS"
        seen = [
            Series("measured", x, mean, mean - 2 * error, mean + 2 * error),
            Series("measured", x, spread, spread * (1 - np.sqrt(2 / size)), spread * (1 + np.sqrt(2 / size))),
            Series("measured", x, np.sqrt(noise)),
        ]
        curves[2] = np.sqrt(curves[2])
        titles = ("Mean drift coefficient", "Spread of drift coefficients", "Noise of a read")
        units = ("nu", "standard deviation of nu", "relative standard deviation at t0")
        panels = [
            Panel(
                title,
                label,
                unit,
                (points, Series("fit", line_x, np.asarray(curve, np.float64), line=True)),
                log_x=True,
            )
            for title, unit, points, curve in zip(titles, units, seen, curves, strict=True)
        ]
        return [*panels, quantile_panel(self.quantiles(table, theta))]

    # ---- inside -------------------------------------------------------------------------------------------------

    def _form(self, table: DriftTable) -> Form:
        return Form(self.kind, table.knots if self.kind == "knots" else ())

    def _likelihood(self, table: DriftTable, *, weighted: bool = True) -> Callable[[torch.Tensor], torch.Tensor]:
        """Log-likelihood of precise devices, then of those integrated over (times what each stands for)."""
        return self._make_likelihood(table, _each(table), weighted)

    def _summed_likelihood(self, table: DriftTable) -> Callable[[torch.Tensor], torch.Tensor]:
        """The same total over the precise devices, summed over those that are alike."""
        return self._make_likelihood(table, _sums(table), True)

    def _make_likelihood(
        self, table: DriftTable, sums: _Sums, weighted: bool
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        form = self._form(table)
        n = len(coefficient_names(form))
        log_g, nu, scatter, devices = (tensor(each) for each in (sums.log_g, sums.nu, sums.scatter, sums.devices))
        squares, freedom = tensor(sums.squares), tensor(sums.freedom)
        errors = [tensor(each) for each in (sums.var_nu, sums.covariance, sums.var_g)]
        basis = _basis(sums.log_g, table.noise_knots)
        nodes = table.nodes
        if nodes is not None:
            node_g, node_nu = tensor(nodes.log_g), tensor(nodes.nu)
            node_conductance = torch.exp(node_g)
            node_basis = _basis(nodes.log_g, table.noise_knots)
            node_squares, node_weight, reads = tensor(nodes.squares), tensor(nodes.log_weight), tensor(nodes.reads)

        def statistics(theta: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return build(form, theta[:n])(g), build(form, theta[n : 2 * n])(g).clamp(min=SMALLEST_SPREAD) ** 2

        g_sure = torch.exp(log_g)

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            log_noise = basis @ theta[2 * n :]
            noise = torch.exp(log_noise)
            mean, variance = statistics(theta, g_sure)
            # ln g is known with an error too, which comes with that of nu.
            slope = (build(form, theta[:n])(g_sure * math.exp(STEP)) - mean) / STEP
            variance = variance + noise * (errors[0] - 2 * slope * errors[1] + slope**2 * errors[2])
            each = -0.5 * (
                (scatter + devices * (nu - mean) ** 2) / variance + devices * torch.log(2 * math.pi * variance)
            )
            each = each - 0.5 * (freedom * log_noise + squares / noise)
            if nodes is None:
                return each
            log_noise = node_basis @ theta[2 * n :]
            inside = node_weight - 0.5 * (reads[:, None] * log_noise + node_squares * torch.exp(-log_noise))
            mean, variance = statistics(theta, node_conductance)
            inside = inside - 0.5 * (node_nu - mean) ** 2 / variance - 0.5 * torch.log(2 * math.pi * variance)
            others = torch.logsumexp(inside, 1)
            return torch.cat([each, nodes.share * others if weighted else others])

        return likelihood

    def _statistics(self, table: DriftTable, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        form = self._form(table)
        n = len(coefficient_names(form))
        g = np.exp(table.log_g)
        mean = np.asarray(build(form, theta[:n])(g), np.float64)
        return mean, np.maximum(build(form, theta[n : 2 * n])(g), SMALLEST_SPREAD)

    def _predicted(self, table: DriftTable, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of each device's coefficient as its reads show it."""
        mean, spread = self._statistics(table, theta)
        noise = np.exp(self._log_noise(table, theta))
        return mean, np.sqrt(spread**2 + noise * table.var_nu)

    def _log_noise(self, table: DriftTable, theta: FloatArray) -> FloatArray:
        n = len(coefficient_names(self._form(table)))
        return np.interp(table.log_g, table.noise_knots, theta[2 * n :])

    def _start(self, table: DriftTable) -> FloatArray:
        """From bins of neighbours in conductance."""
        bins, centre = binned(table.log_g, max(4, min(40, table.nu.size // 60)))
        count = centre.size
        error = table.noise * table.var_nu
        size = np.bincount(bins, minlength=count)
        mean = np.bincount(bins, table.nu, count) / size
        scatter = np.bincount(bins, (table.nu - mean[bins]) ** 2, count) / size
        spread = np.sqrt(np.maximum(scatter - np.bincount(bins, error, count) / size, 0.05 * scatter))
        noise = np.log(np.bincount(bins, table.noise, count) / size)
        weight = 1.0 / np.sqrt(np.maximum(scatter, 1e-12) / size)
        form = self._form(table)
        return np.concatenate(
            [
                _start_form(form, centre, mean, weight),
                _start_form(form, centre, spread, weight),
                np.interp(table.noise_knots, centre, noise),
            ]
        )

    def _unsupported(self, table: DriftTable, theta: FloatArray) -> tuple[dict[str, str], FloatArray]:
        """Bounds of clipped forms that no device reaches: held where the data end."""
        if self.kind != "log-clip":
            return {}, theta
        held: dict[str, str] = {}
        theta = theta.copy()
        for offset, name in ((0, "mean"), (4, "spread")):
            slope, level, low, high = theta[offset : offset + 4]
            straight = slope * table.log_g + level
            below, above = straight < low, straight > high
            inside = straight[~below & ~above]
            reason = "no measured conductance reaches this bound: held at the edge of the data"
            if inside.size < SUPPORT:
                for part in ("slope", "offset"):
                    held[f"{name}.{part}"] = "every measured conductance is at a bound: the slope between is not seen"
            if below.sum() < SUPPORT:
                held[f"{name}.low"] = reason
                theta[offset + 2] = max(straight.min(), SMALLEST_SPREAD)
            if above.sum() < SUPPORT:
                held[f"{name}.high"] = reason
                theta[offset + 3] = max(straight.max(), theta[offset + 2])
        return held, theta


@dataclass(frozen=True)
class _Sums:
    """Precise devices that are alike, (groups,) each: means of ln g and nu, sums of what the likelihood needs."""

    log_g: FloatArray
    nu: FloatArray
    scatter: FloatArray
    """Sum of squared deviations of nu from the group's mean."""
    var_nu: FloatArray
    covariance: FloatArray
    var_g: FloatArray
    squares: FloatArray
    freedom: FloatArray
    devices: FloatArray


def _each(table: DriftTable) -> _Sums:
    """Every precise device by itself."""
    names = ("log_g", "nu", "var_nu", "covariance", "var_g", "squares", "freedom")
    columns = {name: getattr(table, name)[table.precise] for name in names}
    one = np.ones(int(table.precise.sum()))
    return _Sums(**columns, scatter=0.0 * one, devices=one)


def _sums(table: DriftTable) -> _Sums:
    """Devices within GROUP of each other in ln g and in the logarithm of the error of nu."""
    one = _each(table)
    place = np.floor(one.log_g / GROUP).astype(np.int64)
    error = np.floor(np.log(one.var_nu) / (25 * GROUP)).astype(np.int64)
    error -= error.min()
    _, group = np.unique(place * (int(error.max()) + 1) + error, return_inverse=True)

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(group, values).astype(np.float64)

    devices = total(np.ones(group.size))
    nu = total(one.nu) / devices
    return _Sums(
        log_g=total(one.log_g) / devices,
        nu=nu,
        scatter=total((one.nu - nu[group]) ** 2),
        var_nu=total(one.var_nu) / devices,
        covariance=total(one.covariance) / devices,
        var_g=total(one.var_g) / devices,
        squares=total(one.squares),
        freedom=total(one.freedom),
        devices=devices,
    )


class LogClipDrift(DriftFamily):
    """Mean and spread linear in ln g between two bounds, the form of Joshi et al. 2020."""

    name = "log-clip"
    kind = "log-clip"
    summary = "power-law drift, mean and spread linear in ln g between two bounds (Joshi et al. 2020)"


class KnotsDrift(DriftFamily):
    """Mean and spread through knots in ln g: any smooth dependence."""

    name = "knots"
    kind = "knots"
    summary = "power-law drift, mean and spread through nine knots in ln g: no form assumed"


def build(form: Form, theta: torch.Tensor | FloatArray | list[Any]) -> Statistic:
    """A statistic whose coefficients are elements of a vector, so that torch can differentiate it."""
    names = coefficient_names(form, len(theta) - 1)
    return build_statistic(form, {name: theta[k] for k, name in enumerate(names)})


def _basis(log_g: FloatArray, knots: tuple[float, ...]) -> torch.Tensor:
    """Weights (..., knots) of linear interpolation."""
    place = np.interp(log_g, knots, np.arange(len(knots)))
    return tensor(np.maximum(0.0, 1.0 - np.abs(place[..., None] - np.arange(len(knots)))))


def _start_form(form: Form, log_g: FloatArray, values: FloatArray, weight: FloatArray) -> FloatArray:
    """Coefficients that come near values (n,) at ln g (n,), by weighted least squares."""
    if form.kind == "knots":
        return np.interp(form.at, log_g, values)
    slope, level = np.polyfit(log_g, values, 1, w=weight)
    low, high = np.quantile(values, [0.1, 0.9])

    def misfit(theta: FloatArray) -> FloatArray:
        residual: FloatArray = (np.clip(theta[0] * log_g + theta[1], theta[2], theta[3]) - values) * weight
        return residual

    starts = [np.array([factor * slope, level + (1 - factor) * slope * log_g.mean(), low, high]) for factor in (1, 2)]
    found = [
        optimize.least_squares(misfit, start, loss="soft_l1", f_scale=3.0, x_scale=np.maximum(np.abs(start), 1e-3))
        for start in starts
    ]
    best = min(found, key=lambda result: float(result.cost)).x
    best[2:] = np.clip(best[2:], values.min(), values.max())
    return np.asarray(best, np.float64)
