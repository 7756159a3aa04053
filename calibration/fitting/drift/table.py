"""Drift measurements reduced to one entry per device: lines for the quiet ones, a grid for the noisy ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from hwloop.calibration.fitting.checks import Rows, check_order, check_reads, conductance_scale, reference_age, rows_of
from hwloop.calibration.fitting.drift.cleaning import OtherNoise
from hwloop.calibration.fitting.drift.covariance import Growth, Precision
from hwloop.calibration.fitting.drift.grid import Grid, Noisy, grid_of, joined, noisy_of
from hwloop.calibration.fitting.drift.law import PLAIN, fitted_law, require_law
from hwloop.calibration.fitting.drift.lines import CHUNK, Devices, Lines, Noise, about, reduce, settle
from hwloop.calibration.fitting.drift.noise import learn, levels, robust
from hwloop.calibration.fitting.drift.screen import screen
from hwloop.calibration.fitting.drift.settings import USUAL, DriftSettings
from hwloop.calibration.fitting.drift.tilt import tilt_of
from hwloop.calibration.fitting.panels import binned
from hwloop.calibration.fitting.screening import Screening
from hwloop.devices.time_law import POWER_LAW, TimeLaw
from hwloop.errors import BadInputError
from hwloop.files.measurements import Measurement
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class DriftTable:
    """One entry per device: ln g at the reference age, nu, their covariance over V, and the residual."""

    t0: float
    """Reference age, seconds."""
    g_scale: float
    """Conductance (uS) that counts as g = 1."""
    growth: Growth
    """Of the noise with age."""
    floor: float
    """Standard deviation of the noise of a read that does not fall with the conductance, uS."""
    floor_error: float
    """Standard deviation of how well that is known, uS."""
    log_g: FloatArray
    """ln g at the reference age."""
    nu: FloatArray
    """Drift coefficient."""
    var_g: FloatArray
    """Variance of ln g over V."""
    var_nu: FloatArray
    """Variance of nu over V."""
    covariance: FloatArray
    """Of ln g and nu, over V."""
    squares: FloatArray
    """Weighted squared residuals, sum over the reads."""
    freedom: FloatArray
    """Reads less two."""
    noise: FloatArray
    """Relative variance of a read of each device at t0, by its neighbours: where the fit starts."""
    tilt: FloatArray
    """Slope of the logarithm of the density of devices in ln g: which way the error of ln g has gone on average."""
    tilt_slope: FloatArray
    """Slope of `tilt` in ln g."""
    precise: BoolArray
    """Devices that their own line describes."""
    noisy: IndexArray
    """Devices that are integrated over; of very many, a part that stands for all."""
    marginal: Noisy | None
    """What the reads of the noisy ones say."""
    cells: IndexArray
    """Index of each device among the measured cells."""
    knots: tuple[float, ...]
    """ln g of mean and spread."""
    noise_knots: tuple[float, ...]
    """ln g of ln V."""
    time_range: tuple[float, float]
    """Seconds."""
    conductance_range: tuple[float, float]
    """uS."""
    settings: DriftSettings = USUAL
    law: TimeLaw = POWER_LAW
    """How drift goes on with age."""
    other: OtherNoise | None = None
    """What noise reads have that is not normal; its arrays are by the measured cells."""
    law_error: FloatArray = field(default_factory=lambda: np.zeros((3, 3)))
    """Covariance of the logarithm of its onset, its curvature and its bend."""

    def constant(self, log_g: FloatArray) -> FloatArray:
        """Return the relative variance of a read at t0 by the noise that is constant in uS, at ln g."""
        return np.asarray((self.floor / self.g_scale) ** 2 * np.exp(-2 * log_g))

    def take(self, cells: BoolArray) -> DriftTable:
        """Return the table of some devices, (devices,) true."""
        renumber = np.cumsum(cells) - 1
        own = cells[self.noisy]
        marginal = None if self.marginal is None else self.marginal.take(own)
        columns = {name: getattr(self, name)[cells] for name in PER_DEVICE}
        return replace(self, noisy=renumber[self.noisy[own]], marginal=marginal, **columns)

    def lines_of(self, cells: BoolArray) -> DriftTable:
        """Return the lines of some devices, (devices,) true, without what the noisy ones say."""
        columns = {name: getattr(self, name)[cells] for name in PER_DEVICE}
        return replace(self, noisy=np.zeros(0, np.int64), marginal=None, **columns)


PER_DEVICE = (
    "log_g", "nu", "var_g", "var_nu", "covariance", "squares", "freedom", "noise", "tilt", "tilt_slope", "precise",
    "cells",
)  # fmt: skip
"""Columns of the table that have an entry per device."""


@dataclass(frozen=True)
class _Kept:
    """Devices that are used, with what is known of them before the fit."""

    devices: Devices
    """Reads of all measured cells."""
    cells: IndexArray
    """Index of each among the measured cells."""
    lines: Lines
    """In ln(G / uS)."""
    loose: BoolArray
    """Devices whose reads have no line of their own."""
    noise: Noise
    g_scale: float

    @property
    def log_scale(self) -> float:
        """ln(g_scale / uS)."""
        return math.log(self.g_scale)


def drift_table(
    measurement: Measurement, settings: DriftSettings = USUAL, law: str = PLAIN
) -> tuple[DriftTable, Screening]:
    """Reduce a measurement of drift to one entry per device.

    Parameters
    ----------
    measurement
        Reads of the same cells at several ages.
    settings
        Thresholds and sizes.
    law
        Kind of law by which drift goes on with age: see `law`.

    Returns
    -------
    tuple
        The devices that are used, and why others are not.

    Raises
    ------
    BadInputError
        When there is nothing to fit, and when the reads do not tell the law from the power law.
    """
    rows, screening = checked(measurement, settings)
    index = np.flatnonzero(screening.kept)
    if not index.size:
        raise BadInputError(f"drift: no cell can be used ({screening.why()})")
    devices = Devices(rows, reference_age(measurement, measurement.reads.time), settings)
    law_error = np.zeros((3, 3))
    if law != PLAIN:
        found_law = fitted_law(devices, index, law)
        require_law(found_law, law, settings.law.sure)
        devices, law_error = devices.bent(found_law.law), found_law.covariance
    noise = learn(devices, index[: 2 * CHUNK])
    lines = reduce(devices, index, noise)
    loose = settle(devices.take(index), lines, noise)
    for _ in range(2):  # the second look is not disturbed by what the first has found
        kept = screening.kept[index]
        if kept.sum() > 20:
            target = measurement.cells.target[index[kept]]
            screen(lines.take(kept), index[kept], target, screening, noise, settings)
    kept = screening.kept[index]
    if not kept.any():
        raise BadInputError(f"drift: no cell can be used ({screening.why()})")
    lines, index = lines.take(kept), index[kept]
    g_scale = conductance_scale(measurement, np.exp(lines.log_g))
    found = _Kept(devices, index, lines, loose[kept], noise, g_scale)
    times = rows.time[index][rows.there[index]] if index.size <= CHUNK else rows.time[rows.there]
    table = _table(found, (float(times.min()), float(times.max())), settings)
    return replace(table, law_error=law_error), screening


def checked(measurement: Measurement, settings: DriftSettings) -> tuple[Rows, Screening]:
    """Return the reads of every cell, and which cells may show drift. Raises BadInputError where none does."""
    check_reads(measurement)
    check_order(measurement)
    rows = rows_of(measurement)
    rows = replace(rows, there=rows.there & (rows.time > 0))
    return rows, _usable(measurement, rows, settings)


def _usable(measurement: Measurement, rows: Rows, settings: DriftSettings) -> Screening:
    """Leave out cells whose reads show no drift. Raises BadInputError where none has reads at enough ages."""
    fewest = settings.lines.fewest_reads
    screening = Screening.of(measurement)
    most = int(rows.counts.argmax())
    if np.unique(rows.time[most][rows.there[most]]).size < fewest:
        raise BadInputError(
            f"drift: there are fewer than {fewest} different ages above zero; drift needs reads of the same "
            "cells at several ages, measure for longer"
        )
    screening.drop(rows.counts < fewest, "fewer than three reads")
    latest = np.where(rows.there, rows.time, 0.0).max(1)
    earliest = np.where(rows.there, rows.time, np.inf).min(1)
    screening.drop(~(latest > 1.5 * earliest), "all reads at one age")
    conducts: BoolArray = np.any((rows.conductance > 0) & rows.there, axis=1)
    screening.drop(~conducts, "no conductance")
    return screening


def _table(kept: _Kept, time_range: tuple[float, float], settings: DriftSettings) -> DriftTable:
    """Sort devices into those that their line describes and those that are integrated over."""
    known = levels(kept.lines, kept.noise, 50, 100, settings.noise.levelling)
    kept = replace(kept, noise=known)
    lines = kept.lines
    noise = known.variance(lines.log_g)
    precise = (noise * lines.var_g <= settings.lines.precise**2) & ~kept.loose
    lines.log_g -= kept.log_scale
    tilt, tilt_slope = tilt_of(lines.log_g, settings.knots.tilt_bins)
    noisy, marginal = _integrated(kept, np.flatnonzero(~precise), settings)
    low, high = np.quantile(lines.log_g, [0.002, 0.998])
    knots = settings.knots.few if lines.log_g.size < settings.knots.many else settings.knots.most
    return DriftTable(
        t0=kept.devices.t0,
        g_scale=kept.g_scale,
        growth=known.growth,
        floor=math.sqrt(known.floor),
        floor_error=known.floor_error / max(2 * math.sqrt(known.floor), 1e-12),
        log_g=lines.log_g,
        nu=lines.nu,
        var_g=lines.var_g,
        var_nu=lines.var_nu,
        covariance=lines.covariance,
        squares=lines.squares,
        freedom=lines.freedom,
        noise=noise,
        tilt=tilt,
        tilt_slope=tilt_slope,
        precise=precise,
        noisy=noisy,
        marginal=marginal,
        cells=kept.cells,
        # Up to g = 1, the most that is programmed: above it only the tails of the highest level are.
        knots=_knots(np.minimum(lines.log_g, 0.0), knots),
        noise_knots=_knots(lines.log_g, settings.knots.noise),
        time_range=time_range,
        law=kept.devices.law,
        conductance_range=(float(np.exp(low) * kept.g_scale), float(np.exp(high) * kept.g_scale)),
        settings=settings,
    )


def _integrated(kept: _Kept, noisy: IndexArray, settings: DriftSettings) -> tuple[IndexArray, Noisy | None]:
    """Return the noisy devices, of too many a random part, and what their reads say on a grid; lines are in ln g."""
    share, most = 1.0, settings.grid.most_noisy
    if noisy.size > most:
        share = noisy.size / most
        noisy = np.random.default_rng(0).choice(noisy, most, replace=False)
    if not noisy.size:
        return noisy, None
    noisy = noisy[np.argsort(kept.lines.log_g[noisy], kind="stable")]  # neighbours share the nodes that matter
    grid = _grid(kept, noisy, settings)
    parts = []
    for some in kept.devices.chunks(kept.cells[noisy]):
        part = kept.devices.take(some)
        there, x = part.rows.there, part.x
        reads = part.rows.conductance * there / kept.g_scale
        precision = Precision(kept.noise.growth, x, there, kept.noise.mix(about(part, kept.noise)))
        parts.append(noisy_of(grid, reads, part.law.exponent(x), there, precision, share))
    return noisy, joined(parts)


def _knots(log_g: FloatArray, count: int) -> tuple[float, ...]:
    """Return places of knots: halfway between equally many devices each and equally far apart."""
    share = np.linspace(0, 1, count)
    # Noise reaches far below the lowest conductances, in ln g, and not above the highest.
    ends = np.quantile(log_g, [0.01, 0.998])
    places = 0.5 * np.quantile(log_g, 0.01 + 0.988 * share) + 0.5 * (ends[0] + share * (ends[1] - ends[0]))
    distinct = [float(places[0])]
    for place in places[1:]:
        if place > distinct[-1] + 0.05:
            distinct.append(float(place))
    return tuple(distinct)


def _grid(kept: _Kept, noisy: IndexArray, settings: DriftSettings) -> Grid:
    """Lay nodes for all that the noisy devices may be, by a first look at the lines, which are in ln g."""
    lines, known, log_scale = kept.lines, kept.noise, kept.log_scale
    bins, place = binned(lines.log_g, max(1, min(30, lines.log_g.size // 100)))
    count = int(bins.max()) + 1
    relative = known.variance(place + log_scale)
    centre, width = robust(lines.nu, bins, count)
    own = np.sqrt(np.maximum(width**2 - relative * np.bincount(bins, lines.var_nu) / np.bincount(bins), 1e-4))
    # Noisier lines scatter more than their error says.
    told = relative < max(2 * settings.noise.too_noisy**2, float(relative.min()))
    centre, own = (np.interp(place, place[told], part[told]) for part in (centre, own)) if told.any() else (centre, own)
    found = ~kept.loose[noisy]
    typical = noisy[found] if found.any() else noisy
    error = (
        float(np.median(lines.var_g[typical])),
        float(np.median(lines.covariance[typical])),
        float(np.median(lines.var_nu[typical])),
    )
    low, high = np.quantile(lines.log_g[typical], [0.002, 1.0])
    lowest = settings.grid.lowest
    seen = relative < lowest
    bottom = max(low - 0.3, float(place[seen].min()) - 1.0) if seen.any() else low - 0.3
    if known.floor:  # down to where conductances are not told apart, if there are any
        bottom = max(low - 0.3, 0.5 * math.log(known.floor / lowest) - log_scale)
    top = max(float(high), bottom) + 0.6
    fine = np.union1d(place, np.linspace(bottom, top, count))
    relative = np.minimum(known.variance(fine + log_scale), lowest)
    centre, own = (np.interp(fine, place, part) for part in (centre, own))
    return grid_of((bottom, top), fine, relative, error, np.stack([centre, own]), settings.grid)
