"""Read noise: level and exponent of its 1/f part, and the white part, from time series of single cells.

The one-sided spectral density of a cell's conductance relative to its mean is taken as Q(g)^2 f^-alpha + W(g), and the
parameters maximise Whittle's likelihood: the periodogram of a stationary series is exponentially distributed around its
spectrum. Real spectra have bumps, of single traps, that no power law has: they are allowed for as a scatter of the
spectrum around its model from bin to bin, which is fitted too, so that thousands of ordinates at high frequency do not
decide alone and the intervals are those of a slope through bumps. Drift is taken off as a straight line, and the lowest
frequencies, which that touches, are left out. What a sampled 1/f noise has beyond half the sampling rate is folded back
and belongs to the white part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from scipy import stats

from hwloop.calibration.fitting.base import SHARED, Description, Family
from hwloop.calibration.fitting.checks import check_order, check_reads, conductance_scale, rows_of
from hwloop.calibration.fitting.forms import build
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.layout import Block, Coefficient, Layout, Vector, apply, exp
from hwloop.calibration.fitting.likelihood import (
    LogLikelihood,
    Optimum,
    covariance,
    maximise,
    tensor,
)
from hwloop.calibration.fitting.panels import Panel, Series, quantile_panel
from hwloop.calibration.fitting.screening import STUCK, Screening
from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Form, coefficient_meanings, coefficient_names
from hwloop.typing import FloatArray, IndexArray

AT_ONCE = 2**23
"""Samples transformed together: what fits into memory."""


@dataclass(frozen=True)
class ReadNoiseSettings(Settings):
    """What the fit of read noise takes for granted."""

    fewest_samples: int = 64
    """Samples of a cell below which its spectrum says too little."""
    irregular: float = 0.1
    """Distance of samples from an even grid, over the interval between them, that makes a series useless."""
    skipped: int = 3
    """Lowest frequencies left out, which taking the drift off has touched."""
    per_decade: int = 12
    """Frequency bins per decade."""
    cells_per_knot: int = 3
    """Cells for every conductance at which Q and the white noise are fitted."""
    bend: float = 1.0
    """Change of the slope of ln Q and of the white noise in ln g from knot to knot that is as likely as not: where few
    cells tell them, curves go on straight."""
    bumps_start: float = 0.1
    """Relative scatter of the spectrum from bin to bin where the fit starts."""
    bumps_least: float = 0.02
    """That below which it is not seen."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("fewest_samples", 16, 10**9)
        self._require("irregular", 0.0, 1.0)
        self._require("skipped", 0, 100)
        self._require("per_decade", 1, 1000)
        self._require("cells_per_knot", 1, 10**6)
        self._require("bend", 0.01, 1e6)
        self._require("bumps_start", 1e-6, 10.0)
        self._require("bumps_least", 1e-6, self.bumps_start)


@dataclass(frozen=True)
class SpectrumTable:
    """Mean conductance (cells,) in uS, and each cell's relative periodogram (cells, bins) in 1/Hz."""

    g_scale: float
    interval: float
    """Between samples, seconds."""
    samples: int
    knots: tuple[float, ...]
    """ln g."""
    cells: IndexArray
    conductance: FloatArray
    frequency: FloatArray = field(metadata=SHARED)
    """(bins,) Hz."""
    ordinates: FloatArray = field(metadata=SHARED)
    """(bins,) frequencies averaged in each bin."""
    spectrum: FloatArray


def spectrum_table(
    measurement: Measurement, settings: ReadNoiseSettings | None = None
) -> tuple[SpectrumTable, Screening]:
    """Compute the periodograms of all cells.

    Raises BadInputError when there is nothing to fit. Without `settings` they are the usual ones.
    """
    settings = settings or ReadNoiseSettings()
    fewest = settings.fewest_samples
    check_reads(measurement)
    check_order(measurement)
    rows = rows_of(measurement)
    screening = Screening.of(measurement)
    screening.drop(rows.counts < fewest, f"fewer than {fewest} samples")
    if not screening.kept.any():
        raise BadInputError(f"read-noise: no cell has the {fewest} samples that a spectrum needs")
    samples = int(np.quantile(rows.counts[screening.kept], 0.1))
    screening.drop(rows.counts < samples, "a shorter series than the others")
    time, value = rows.time[:, :samples], rows.conductance[:, :samples]
    interval = (time[:, -1] - time[:, 0]) / (samples - 1)
    usual = float(np.median(interval[screening.kept]))
    uneven = np.abs(time - time[:, :1] - np.arange(samples) * usual).max(1) > settings.irregular * usual * math.sqrt(
        samples
    )
    screening.drop(uneven | ~(interval > 0), "samples at uneven times")
    mean = value.mean(1)
    screening.drop(~(mean > 0), "no conductance")
    screening.drop(np.ptp(value, axis=1) == 0, STUCK)
    if not screening.kept.any():
        names = ", ".join(sorted(set(screening.reason.tolist())))
        raise BadInputError(f"read-noise: no cell can be used ({names})")
    kept = np.flatnonzero(screening.kept)
    frequency, ordinates, spectrum = _periodograms(value[kept], mean[kept], usual, settings)
    g_scale = conductance_scale(measurement, mean[kept])
    log_g = np.log(mean[kept] / g_scale)
    count = int(np.clip(kept.size // settings.cells_per_knot, 1, 6))
    knots = np.unique(np.quantile(log_g, np.linspace(0, 1, max(count, min(kept.size, 3)))).round(6))
    return SpectrumTable(
        g_scale=g_scale,
        interval=usual,
        samples=samples,
        knots=tuple(float(k) for k in knots),
        cells=kept,
        conductance=mean[kept],
        frequency=frequency,
        ordinates=ordinates,
        spectrum=spectrum,
    ), screening


def _periodograms(
    value: FloatArray, mean: FloatArray, interval: float, settings: ReadNoiseSettings
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return frequencies (bins,), ordinates per bin, and one-sided periodograms (cells, bins) over the mean squared.

    Of samples `value` (cells, samples) with the mean (cells,), at an interval in seconds.
    """
    samples = value.shape[1]
    frequency = np.fft.rfftfreq(samples, interval)[1 + settings.skipped : (samples + 1) // 2]
    bins = np.floor(settings.per_decade * np.log10(frequency / frequency[0])).astype(np.int64)
    _, bins = np.unique(bins, return_inverse=True)
    ordinates = np.bincount(bins).astype(float)
    place = np.exp(np.bincount(bins, np.log(frequency)) / ordinates)
    starts = np.cumsum(ordinates).astype(np.int64) - ordinates.astype(np.int64)
    line = np.arange(samples) - (samples - 1) / 2
    parts = []
    step = max(1, AT_ONCE // samples)
    for begin in range(0, len(value), step):
        some = slice(begin, begin + step)
        x = value[some] / mean[some, None] - 1.0
        x -= (x @ line / (line @ line))[:, None] * line
        power = np.abs(np.fft.rfft(x)[:, 1 + settings.skipped : (samples + 1) // 2]) ** 2 * (2 * interval / samples)
        parts.append(np.add.reduceat(power, starts, axis=1) / ordinates)
    return place, ordinates, np.concatenate(parts)


@dataclass(frozen=True)
class ReadNoiseFamily(Family[SpectrumTable]):
    """1/f and white noise; subclasses say what Q looks like as a function of conductance."""

    experiment = Experiment.READ_NOISE
    kind: ClassVar[str]
    """Form of Q."""
    settings: ReadNoiseSettings = ReadNoiseSettings()

    def prepare(self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN) -> tuple[SpectrumTable, Screening]:
        """Compute spectra: see `spectrum_table`."""
        return spectrum_table(measurement, self.settings)

    def layout(self, table: SpectrumTable) -> Layout:
        """Lay out the exponent, Q, the scatter of the spectrum, and the white noise of one sample."""
        quantity = "square root of the relative 1/f density at 1 Hz"
        meanings = coefficient_meanings(self._form(table), quantity, table.g_scale)
        scatter = "relative scatter of the spectrum around its model, bin to bin"
        white = [
            Coefficient(f"white.v{k}", "1", f"white noise of a sample over the conductance, at {g:.3g} uS", log=True)
            for k, g in enumerate(np.exp(table.knots) * table.g_scale)
        ]
        q = [Coefficient(f"q.{one}", "1", text, log=one != "exponent") for one, text in meanings.items()]
        return Layout(
            (
                Block("alpha", (Coefficient("alpha", "1", "exponent of the 1/f noise", start=1.0),)),
                Block("q", tuple(q)),
                Block("bumps", (Coefficient("bumps", "1", scatter, True, math.log(self.settings.bumps_start)),)),
                Block("white", tuple(white)),
            )
        )

    def _form(self, table: SpectrumTable) -> Form:
        return Form(self.kind, table.knots if self.kind == "knots" else ())

    def require_support(self, table: SpectrumTable) -> None:
        """Raise BadInputError where a power law has too few cells; else a single spectrum supports a fit."""
        if self.kind == "power-law" and len(table.knots) < 3:
            raise BadInputError(
                f"read-noise: {table.conductance.size} cells cannot support the dependence on conductance of "
                f"'{self.name}'; use --family knots, or measure cells at more conductances"
            )

    def estimate(self, table: SpectrumTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Maximise Whittle's likelihood, and hold what no cell tells."""
        likelihood, layout = self._smooth(table), self.layout(table)
        start = self.start(table)
        free = np.ones(start.size, bool)
        found = maximise(likelihood, start, free=free)
        held: dict[str, str] = {}
        if self.kind == "power-law" and not self._capped(table, found.theta):
            held["q.cap"] = "no measured conductance reaches this bound: held at the edge of the data"
            free[layout.index("q.cap")] = False
            theta = found.theta.copy()
            level, slope, _ = layout.part(theta, "q")
            low = table.conductance.min() / table.g_scale
            theta[layout.index("q.cap")] = max(level + slope * math.log(low), level)
            found = maximise(likelihood, theta, free=free)
        bumps, least = layout.index("bumps"), self.settings.bumps_least
        if math.exp(found.theta[bumps]) < least:
            held["bumps"] = f"below {least:g}: not seen"
            free[bumps] = False
            theta = found.theta.copy()
            theta[bumps] = math.log(least)
            found = maximise(likelihood, theta, free=free)
        if intervals:
            found = replace(found, covariance=covariance(likelihood, found.theta, free=free, kinks=True))
        return found, held

    def _smooth(self, table: SpectrumTable) -> LogLikelihood:
        """Return the likelihood of the cells, and one more unit: how little curves through knots bend as a rule."""
        each, layout = self.likelihood(table), self.layout(table)
        if len(table.knots) < 3:
            return each
        slopes = np.diff(np.eye(len(table.knots)), axis=0) / np.diff(table.knots)[:, None]
        bends = tensor(np.diff(slopes, axis=0) / self.settings.bend)
        names = ("q", "white") if self.kind == "knots" else ("white",)

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            bent = [((bends @ layout.part(theta, name)) ** 2).sum() for name in names]
            return torch.cat([each(theta), -0.5 * torch.stack(bent).sum()[None]])

        return likelihood

    def _capped(self, table: SpectrumTable, theta: FloatArray) -> bool:
        """Say whether enough cells lie where Q is at its cap."""
        level, slope, cap = self.layout(table).part(theta, "q")
        straight = level + slope * np.log(table.conductance / table.g_scale)
        return int((straight > cap).sum()) >= self.settings.cells_per_knot

    def start(self, table: SpectrumTable) -> FloatArray:
        """Begin at the level of each cell's spectrum at its lower end, and its upper end as white."""
        third = max(2, table.frequency.size // 3)
        log_g = np.log(table.conductance / table.g_scale)
        low, high = table.frequency[:third], table.spectrum[:, -third:].min(1)
        q2 = np.maximum((table.spectrum[:, :third] * low).mean(1), 1e-20)
        log_q = np.interp(table.knots, *_sorted(log_g, 0.5 * np.log(q2)))
        white = np.interp(
            table.knots, *_sorted(log_g, 0.5 * np.log(np.maximum(high, 1e-20) / (2 * table.interval)) - 0.3)
        )
        if self.kind == "power-law":
            slope, level = np.polyfit(log_g, 0.5 * np.log(q2), 1)
            log_q = np.array([level, slope, float(np.log(np.sqrt(q2)).max())])
        bumps = math.log(self.settings.bumps_start)
        return self.layout(table).vector({"alpha": 1.0, "q": log_q, "bumps": bumps, "white": white})

    def _q(self, table: SpectrumTable, theta: Vector, g: Vector) -> Vector:
        """Return Q (cells,) at g (cells,)."""
        return self._q_of(self.layout(table).part(theta, "q"), table, g)

    def _q_of(self, own: Vector, table: SpectrumTable, g: Vector) -> Vector:
        form = self._form(table)
        if self.kind == "knots":
            return apply(build(form, exp(own)), g)
        scale, exponent, cap = exp(own[0]), own[1], exp(own[2])
        values = {"scale": scale, "exponent": exponent, "cap": cap}
        return apply(build(form, [values[name] for name in coefficient_names(form)]), g)

    def _spectrum(self, layout: Layout, table: SpectrumTable, theta: Vector, frequency: Vector, g: Vector) -> Vector:
        """Return the model (cells, bins) of the relative density, 1/Hz."""
        log_white = apply(build(Form("knots", table.knots), layout.part(theta, "white")), g)
        white = 2 * table.interval * exp(2 * log_white)
        q = self._q_of(layout.part(theta, "q"), table, g)
        model: Vector = q[:, None] ** 2 * frequency ** -layout.one(theta, "alpha") + white[:, None]
        return model

    def _own_spectrum(self, table: SpectrumTable, theta: FloatArray) -> FloatArray:
        """Return the model (cells, bins) of every cell's spectrum."""
        return self._spectrum(self.layout(table), table, theta, table.frequency, table.conductance / table.g_scale)

    def likelihood(self, table: SpectrumTable) -> LogLikelihood:
        """Return the log density of every cell's binned periodogram: gamma distributed around the model."""
        frequency, ordinates = tensor(table.frequency), tensor(table.ordinates)
        spectrum, g = tensor(table.spectrum), tensor(table.conductance / table.g_scale)
        layout = self.layout(table)

        def each(theta: torch.Tensor) -> torch.Tensor:
            model = self._spectrum(layout, table, theta, frequency, g)
            shape = _shape(ordinates, torch.exp(layout.one(theta, "bumps")))
            constant = (shape * torch.log(shape) - torch.lgamma(shape)).sum()
            inside = (shape - 1) * torch.log(spectrum) - shape * (torch.log(model) + spectrum / model)
            total: torch.Tensor = inside.sum(1) + constant
            return total

        return each

    def quantiles(self, table: SpectrumTable, theta: FloatArray) -> FloatArray:
        """Return the quantiles of all binned ordinates: gamma distributed around the model."""
        model = self._own_spectrum(table, theta)
        bumps = np.exp(self.layout(table).one(theta, "bumps"))
        shape = np.broadcast_to(_shape(table.ordinates, bumps), model.shape)
        return np.asarray(stats.gamma.cdf(table.spectrum / model * shape, shape).ravel())

    def describe(self, table: SpectrumTable) -> Description:
        """Return the forms of Q and of the white noise, and how the series were sampled."""
        return Description(
            forms={"q": self._form(table), "white": Form("knots", table.knots)},
            settings={"g_scale": table.g_scale, "interval": table.interval, "samples": float(table.samples)},
            conductance_range=(float(table.conductance.min()), float(table.conductance.max())),
            time_range=(table.interval, table.interval * table.samples),
        )

    def panels(self, table: SpectrumTable, theta: FloatArray) -> list[Panel]:
        """Draw spectra of groups of cells, Q against conductance, and the predicted quantiles."""
        layout = self.layout(table)
        order = np.argsort(table.conductance)
        groups = np.array_split(order, min(4, order.size))
        series = []
        for group in groups:
            label = f"{table.conductance[group].mean():.3g} uS"
            series.append(Series(f"measured, {label}", table.frequency, table.spectrum[group].mean(0)))
            g = table.conductance[group] / table.g_scale
            model = self._spectrum(layout, table, theta, table.frequency, g).mean(0)
            series.append(Series(f"fit, {label}", table.frequency, model, line=True))
        fine = np.geomspace(table.conductance.min() * 0.99, table.conductance.max() * 1.01, 100)
        seen = self._own_q(table, theta)
        return [
            Panel("Spectrum of the read noise", "frequency, Hz", "relative density, 1/Hz", tuple(series), True, True),
            Panel(
                f"1/f level, exponent {layout.one(theta, 'alpha'):.3f}", "conductance, uS", "Q",
                (
                    Series("measured", table.conductance, seen),
                    Series("fit", fine, self._q(table, theta, fine / table.g_scale), line=True),
                ), True, True,
            ),
            quantile_panel(self.quantiles(table, theta)),
        ]  # fmt: skip

    def _own_q(self, table: SpectrumTable, theta: FloatArray) -> FloatArray:
        """Return Q of each cell: the model's, scaled by how much more or less the low end of its spectrum has."""
        model, q = self._own_spectrum(table, theta), self._q(table, theta, table.conductance / table.g_scale)
        flicker = q[:, None] ** 2 * table.frequency ** -self.layout(table).one(theta, "alpha")
        weight = table.ordinates * (flicker / model) ** 2
        excess = (weight * (table.spectrum - model) / flicker).sum(1) / weight.sum(1)
        own: FloatArray = q * np.sqrt(np.maximum(1.0 + excess, 1e-6))
        return own


class KnotsReadNoise(ReadNoiseFamily):
    """Q through knots in ln g."""

    name = kind = "knots"
    preference = 1
    summary = "1/f^alpha and white noise, Q through knots in ln g: no form assumed"


class PowerLawReadNoise(ReadNoiseFamily):
    """Q = min(scale g^exponent, cap)."""

    name = kind = "power-law"
    preference = 0
    summary = "1/f^alpha and white noise, Q a power of g up to a cap (Joshi et al. 2020)"


def _shape(ordinates: Vector, bumps: Vector) -> Vector:
    """Return the shape (bins,) of the gamma distribution of a bin's mean: ordinates that would scatter so much."""
    shape: Vector = ordinates / (1.0 + ordinates * bumps**2)
    return shape


def _sorted(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    order = np.argsort(x)
    return x[order], y[order]
