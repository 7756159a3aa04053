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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from hwloop.calibration.fitting.base import SHARED, STUCK, Coefficient, Family, Panel, Screening, Series, quantile_panel
from hwloop.calibration.fitting.checks import check_order, check_reads, conductance_scale, rows_of
from hwloop.calibration.fitting.drift import build
from hwloop.calibration.fitting.likelihood import (
    LogLikelihood,
    Optimum,
    covariance,
    maximise,
    tensor,
)
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Form, coefficient_meanings, coefficient_names
from hwloop.typing import FloatArray

FEWEST_SAMPLES = 64
IRREGULAR = 0.1
"""Samples further from an even grid than this share of their interval make a series useless for a spectrum."""
SKIPPED = 3
"""Lowest frequencies, which taking the drift off has touched."""
PER_DECADE = 12
"""Frequency bins per decade."""
CELLS_PER_KNOT = 3
BUMPS_START, BUMPS_LEAST = 0.1, 0.02
"""Scatter from bin to bin where the fit starts, and below which it is not seen."""
AT_ONCE = 2**23
"""Samples transformed together."""


@dataclass(frozen=True)
class SpectrumTable:
    """Mean conductance (cells,) in uS, and each cell's relative periodogram (cells, bins) in 1/Hz."""

    g_scale: float
    interval: float
    """Between samples, seconds."""
    samples: int
    knots: tuple[float, ...]
    """ln g."""
    cells: NDArray[np.int64]
    conductance: FloatArray
    frequency: FloatArray = field(metadata=SHARED)
    """(bins,) Hz."""
    ordinates: FloatArray = field(metadata=SHARED)
    """(bins,) frequencies averaged in each bin."""
    spectrum: FloatArray


def spectrum_table(measurement: Measurement) -> tuple[SpectrumTable, Screening]:
    """Periodograms of all cells. Raises BadInputError when there is nothing to fit."""
    check_reads(measurement)
    check_order(measurement)
    rows = rows_of(measurement)
    screening = Screening.of(measurement)
    screening.drop(rows.counts < FEWEST_SAMPLES, f"fewer than {FEWEST_SAMPLES} samples")
    if not screening.kept.any():
        raise BadInputError(f"read-noise: no cell has the {FEWEST_SAMPLES} samples that a spectrum needs")
    samples = int(np.quantile(rows.counts[screening.kept], 0.1))
    screening.drop(rows.counts < samples, "a shorter series than the others")
    time, value = rows.time[:, :samples], rows.conductance[:, :samples]
    interval = (time[:, -1] - time[:, 0]) / (samples - 1)
    usual = float(np.median(interval[screening.kept]))
    uneven = np.abs(time - time[:, :1] - np.arange(samples) * usual).max(1) > IRREGULAR * usual * math.sqrt(samples)
    screening.drop(uneven | ~(interval > 0), "samples at uneven times")
    mean = value.mean(1)
    screening.drop(~(mean > 0), "no conductance")
    screening.drop(np.ptp(value, axis=1) == 0, STUCK)
    if not screening.kept.any():
        names = ", ".join(sorted(set(screening.reason.tolist())))
        raise BadInputError(f"read-noise: no cell can be used ({names})")
    kept = np.flatnonzero(screening.kept)
    frequency, ordinates, spectrum = _periodograms(value, mean, kept, usual)
    g_scale = conductance_scale(measurement, mean[kept])
    log_g = np.log(mean[kept] / g_scale)
    count = int(np.clip(kept.size // CELLS_PER_KNOT, 1, 6))
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
    value: FloatArray, mean: FloatArray, kept: NDArray[np.int64], interval: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Frequencies, ordinates per bin, and binned one-sided periodograms relative to the mean squared."""
    samples = value.shape[1]
    frequency = np.fft.rfftfreq(samples, interval)[1 + SKIPPED : (samples + 1) // 2]
    bins = np.floor(PER_DECADE * np.log10(frequency / frequency[0])).astype(np.int64)
    _, bins = np.unique(bins, return_inverse=True)
    ordinates = np.bincount(bins).astype(float)
    place = np.exp(np.bincount(bins, np.log(frequency)) / ordinates)
    starts = np.cumsum(ordinates).astype(np.int64) - ordinates.astype(np.int64)
    line = np.arange(samples) - (samples - 1) / 2
    parts = []
    step = max(1, AT_ONCE // samples)
    for begin in range(0, kept.size, step):
        some = kept[begin : begin + step]
        x = value[some] / mean[some, None] - 1.0
        x -= (x @ line / (line @ line))[:, None] * line
        power = np.abs(np.fft.rfft(x)[:, 1 + SKIPPED : (samples + 1) // 2]) ** 2 * (2 * interval / samples)
        parts.append(np.add.reduceat(power, starts, axis=1) / ordinates)
    return place, ordinates, np.concatenate(parts)


class ReadNoiseFamily(Family[SpectrumTable]):
    """1/f and white noise; subclasses say what Q looks like as a function of conductance."""

    experiment = Experiment.READ_NOISE
    kind: str

    def prepare(self, measurement: Measurement) -> tuple[SpectrumTable, Screening]:
        """See `spectrum_table`."""
        return spectrum_table(measurement)

    def size(self, table: SpectrumTable) -> int:
        """Number of cells."""
        return int(table.conductance.size)

    def coefficients(self, table: SpectrumTable) -> list[Coefficient]:
        """Exponent, Q, and the white noise of one sample."""
        rows = [Coefficient("alpha", "1", "exponent of the 1/f noise")]
        rows += [
            Coefficient(f"q.{name}", "1", meaning, log=self._log(name))
            for name, meaning in coefficient_meanings(
                self._form(table), "square root of the relative 1/f density at 1 Hz", table.g_scale
            ).items()
        ]
        places = np.exp(table.knots) * table.g_scale
        rows.append(
            Coefficient("bumps", "1", "relative scatter of the spectrum around its model, bin to bin", log=True)
        )
        return rows + [
            Coefficient(f"white.v{k}", "1", f"white noise of a sample over the conductance, at {g:.3g} uS", log=True)
            for k, g in enumerate(places)
        ]

    def _log(self, name: str) -> bool:
        return name != "exponent"

    def _form(self, table: SpectrumTable) -> Form:
        return Form(self.kind, table.knots if self.kind == "knots" else ())

    def require_support(self, table: SpectrumTable) -> None:
        """Every cell brings a spectrum, so that a single one supports a fit; a power law needs a range of them."""
        if self.kind == "power-law" and len(table.knots) < 3:
            raise BadInputError(
                f"read-noise: {table.conductance.size} cells cannot support the dependence on conductance of "
                f"'{self.name}'; use --family knots, or measure cells at more conductances"
            )

    def estimate(self, table: SpectrumTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Whittle's likelihood at its maximum."""
        likelihood = self._likelihood(table)
        start = self._start(table)
        free = np.ones(start.size, bool)
        found = maximise(likelihood, start, free=free)
        held: dict[str, str] = {}
        if self.kind == "power-law" and not self._capped(table, found.theta):
            held["q.cap"] = "no measured conductance reaches this bound: held at the edge of the data"
            free[3] = False
            theta = found.theta.copy()
            low = table.conductance.min() / table.g_scale
            theta[3] = max(theta[1] + theta[2] * math.log(low), theta[1])
            found = maximise(likelihood, theta, free=free)
        bumps = 1 + len(coefficient_names(self._form(table)))
        if math.exp(found.theta[bumps]) < BUMPS_LEAST:
            held["bumps"] = f"below {BUMPS_LEAST:g}: not seen"
            free[bumps] = False
            theta = found.theta.copy()
            theta[bumps] = math.log(BUMPS_LEAST)
            found = maximise(likelihood, theta, free=free)
        if intervals:
            found = replace(found, covariance=covariance(likelihood, found.theta, free=free, kinks=True))
        return found, held

    def _capped(self, table: SpectrumTable, theta: FloatArray) -> bool:
        straight = theta[1] + theta[2] * np.log(table.conductance / table.g_scale)
        return int((straight > theta[3]).sum()) >= CELLS_PER_KNOT

    def _start(self, table: SpectrumTable) -> FloatArray:
        """Slope of the mean spectrum's lower half, and its upper end as white."""
        third = max(2, table.frequency.size // 3)
        log_g = np.log(table.conductance / table.g_scale)
        low, high = table.frequency[:third], table.spectrum[:, -third:].min(1)
        q2 = np.maximum((table.spectrum[:, :third] * low).mean(1), 1e-20)
        log_q = np.interp(table.knots, *_sorted(log_g, 0.5 * np.log(q2)))
        white = np.interp(
            table.knots, *_sorted(log_g, 0.5 * np.log(np.maximum(high, 1e-20) / (2 * table.interval)) - 0.3)
        )
        if self.kind == "knots":
            return np.concatenate([[1.0], log_q, [math.log(BUMPS_START)], white])
        slope, level = np.polyfit(log_g, 0.5 * np.log(q2), 1)
        cap = float(np.log(np.sqrt(q2)).max())
        return np.concatenate([[1.0, level, slope, cap, math.log(BUMPS_START)], white])

    def _q(self, theta: Any, table: SpectrumTable, g: Any) -> Any:
        form = self._form(table)
        n = len(coefficient_names(form))
        exp = torch.exp if isinstance(theta, torch.Tensor) else np.exp
        if self.kind == "knots":
            return build(form, exp(theta[1 : 1 + n]))(g)
        values = {"scale": exp(theta[1]), "exponent": theta[2], "cap": exp(theta[3])}
        return build(form, [values[name] for name in coefficient_names(form)])(g)

    def _spectrum(self, theta: Any, table: SpectrumTable, frequency: Any, g: Any) -> Any:
        """Model (cells, bins) of the relative density, 1/Hz."""
        exp = torch.exp if isinstance(theta, torch.Tensor) else np.exp
        n = len(coefficient_names(self._form(table)))
        log_white = build(Form("knots", table.knots), theta[2 + n :])(g)
        white = 2 * table.interval * exp(2 * log_white)
        return self._q(theta, table, g)[:, None] ** 2 * frequency ** -theta[0] + white[:, None]

    def _likelihood(self, table: SpectrumTable) -> LogLikelihood:
        frequency, ordinates = tensor(table.frequency), tensor(table.ordinates)
        spectrum, g = tensor(table.spectrum), tensor(table.conductance / table.g_scale)
        at = 1 + len(coefficient_names(self._form(table)))

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            model = self._spectrum(theta, table, frequency, g)
            shape = _shape(ordinates, torch.exp(theta[at]))
            # Gamma distributed around the model with this shape.
            constant = (shape * torch.log(shape) - torch.lgamma(shape)).sum()
            inside = (shape - 1) * torch.log(spectrum) - shape * (torch.log(model) + spectrum / model)
            each: torch.Tensor = inside.sum(1) + constant
            return each

        return likelihood

    def log_likelihood(self, table: SpectrumTable, theta: FloatArray) -> FloatArray:
        """Of every cell's spectrum."""
        with torch.no_grad():
            return self._likelihood(table)(tensor(theta)).numpy()

    def quantiles(self, table: SpectrumTable, theta: FloatArray) -> FloatArray:
        """Of all binned ordinates: gamma distributed around the model."""
        model = self._spectrum(theta, table, table.frequency, table.conductance / table.g_scale)
        bumps = np.exp(theta[1 + len(coefficient_names(self._form(table)))])
        shape = np.broadcast_to(_shape(table.ordinates, bumps), model.shape)
        return stats.gamma.cdf(table.spectrum / model * shape, shape).ravel()  # type: ignore[no-any-return]

    def describe(self, table: SpectrumTable) -> dict[str, Any]:
        """Forms of Q and of the white noise."""
        return {
            "forms": {"q": self._form(table), "white": Form("knots", table.knots)},
            "settings": {"g_scale": table.g_scale, "interval": table.interval, "samples": float(table.samples)},
            "conductance_range": (float(table.conductance.min()), float(table.conductance.max())),
            "time_range": (table.interval, table.interval * table.samples),
        }

    def panels(self, table: SpectrumTable, theta: FloatArray) -> list[Panel]:
        """Spectra of groups of cells, Q against conductance, calibration."""
        order = np.argsort(table.conductance)
        groups = np.array_split(order, min(4, order.size))
        series = []
        for group in groups:
            label = f"{table.conductance[group].mean():.3g} uS"
            series.append(Series(f"measured, {label}", table.frequency, table.spectrum[group].mean(0)))
            model = self._spectrum(theta, table, table.frequency, table.conductance[group] / table.g_scale).mean(0)
            series.append(Series(f"fit, {label}", table.frequency, model, line=True))
        fine = np.geomspace(table.conductance.min() * 0.99, table.conductance.max() * 1.01, 100)
        seen = self._own_q(table, theta)
        return [
            Panel("Spectrum of the read noise", "frequency, Hz", "relative density, 1/Hz", tuple(series), True, True),
            Panel(
                f"1/f level, exponent {theta[0]:.3f}", "conductance, uS", "Q",
                (
                    Series("measured", table.conductance, seen),
                    Series("fit", fine, self._q(theta, table, fine / table.g_scale), line=True),
                ), True, True,
            ),
            quantile_panel(self.quantiles(table, theta)),
        ]  # fmt: skip

    def _own_q(self, table: SpectrumTable, theta: FloatArray) -> FloatArray:
        """Q of each cell: the model's, scaled by how much more or less the low end of its spectrum has."""
        g = table.conductance / table.g_scale
        model = self._spectrum(theta, table, table.frequency, g)
        flicker = self._q(theta, table, g)[:, None] ** 2 * table.frequency ** -theta[0]
        weight = table.ordinates * (flicker / model) ** 2
        excess = (weight * (table.spectrum - model) / flicker).sum(1) / weight.sum(1)
        own: FloatArray = self._q(theta, table, g) * np.sqrt(np.maximum(1.0 + excess, 1e-6))
        return own


class KnotsReadNoise(ReadNoiseFamily):
    """Q through knots in ln g."""

    name = kind = "knots"
    summary = "1/f^alpha and white noise, Q through knots in ln g: no form assumed"


class PowerLawReadNoise(ReadNoiseFamily):
    """Q = min(scale g^exponent, cap)."""

    name = kind = "power-law"
    summary = "1/f^alpha and white noise, Q a power of g up to a cap (Joshi et al. 2020)"


def _shape(ordinates: Any, bumps: Any) -> Any:
    """Shape of the gamma distribution of a bin's mean: as many ordinates as would scatter so much."""
    return ordinates / (1.0 + ordinates * bumps**2)


def _sorted(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    order = np.argsort(x)
    return x[order], y[order]
