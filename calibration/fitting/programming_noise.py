"""Programming noise: how far from its target a programmed device is found when it has relaxed.

The relaxed re-read is what counts: the accepted verify read is biased by its own selection. Bias and standard
deviation are polynomials of g = target / g_scale, as published for real arrays (Joshi et al. 2020; Vasilopoulos et al.
2023). Reads that pile up at zero or at full scale are censored there.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy import stats

from hwloop.calibration.fitting.base import Description, Family
from hwloop.calibration.fitting.checks import check_reads, conductance_scale, reference_age, rows_of
from hwloop.calibration.fitting.forms import build
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.layout import Block, Coefficient, Layout, Vector, apply
from hwloop.calibration.fitting.likelihood import LogLikelihood, tensor
from hwloop.calibration.fitting.panels import Panel, Series, binned, quantile_panel
from hwloop.calibration.fitting.screening import OUTLIER, STUCK, Screening
from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Form
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class ProgrammingSettings(Settings):
    """What the fit of programming noise takes for granted."""

    outlier_sigma: float = 7.0
    """Robust standard deviations from where its neighbours in target are at which a cell is left out."""
    rail: float = 0.1
    """Distance from either end of the range, over g_scale, up to which a cell left out is stuck, not an outlier."""
    knots: int = 6
    """Knots of a smooth bias, and of a smooth standard deviation."""
    pile: float = 0.002
    """Share of cells with exactly zero, or exactly the largest value, from which on that is a limit of the
    instrument."""
    smallest_sigma: float = 1e-4
    """Least standard deviation of a device, over g_scale."""
    largest_tail: float = 6.0
    """ln of degrees of freedom less two, beyond which Student's t is normal."""
    tail_start: float = math.log(8.0)
    """ln of degrees of freedom less two where the fit starts."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("outlier_sigma", 3.0, 100.0)
        self._require("rail", 0.0, 0.5)
        self._require("knots", 3, 100)
        self._require("pile", 0.0, 1.0)
        self._require("smallest_sigma", 1e-9, 1.0)
        self._require("largest_tail", 1.0, 20.0)
        self._require("tail_start", -5.0, self.largest_tail)


@dataclass(frozen=True)
class ProgrammingTable:
    """One entry per cell (cells,): target and relaxed conductance, uS."""

    g_scale: float
    age: float
    """Median age of the relaxed reads, seconds."""
    target: FloatArray
    conductance: FloatArray
    at_zero: BoolArray
    at_top: BoolArray
    read_variance: FloatArray
    """uS^2, of the relaxed reads by read noise; zero where it is not known."""
    averages: int
    """Reads that make one relaxed read."""


def programming_table(
    measurement: Measurement,
    settings: ProgrammingSettings | None = None,
    known: KnownDevice = NOTHING_KNOWN,
) -> tuple[ProgrammingTable, Screening]:
    """Take the read of each cell that is nearest to the reference age.

    Parameters
    ----------
    measurement
        Relaxed reads of programmed cells.
    settings
        Thresholds of the screening; None: the usual ones.
    known
        Of the noise of reads.

    Returns
    -------
    tuple
        The cells that are used, and why others are not.

    Raises
    ------
    BadInputError
        When there is nothing to fit.
    """
    settings = settings or ProgrammingSettings()
    check_reads(measurement)
    rows = rows_of(measurement)
    screening = Screening.of(measurement)
    screening.drop(rows.counts == 0, "no relaxed read")
    screening.drop(~np.isfinite(measurement.cells.target), "no target")
    if not screening.kept.any():
        raise BadInputError(f"programming: no cell can be used ({', '.join(sorted(set(screening.reason.tolist())))})")
    t0 = reference_age(measurement, measurement.reads.time)
    with np.errstate(divide="ignore"):
        away = np.where(rows.there, np.abs(np.log(np.maximum(rows.time, 1e-9) / t0)), np.inf)
    every = np.arange(len(measurement.cells))
    nearest = away.argmin(1)
    conductance, age = rows.conductance[every, nearest], rows.time[every, nearest]
    target = measurement.cells.target
    g_scale = conductance_scale(measurement, target[screening.kept])
    _screen(conductance, target, g_scale, screening, settings)
    kept = screening.kept
    if not kept.any():
        raise BadInputError("programming: every cell is stuck or an outlier; nothing is left to fit")
    seen, typical, averages = conductance[kept], float(np.median(age[kept])), averages_of(measurement)
    at_zero, at_top = seen <= 0, seen >= seen.max()
    return ProgrammingTable(
        g_scale=g_scale,
        age=typical,
        target=target[kept],
        conductance=seen,
        at_zero=at_zero & bool(np.mean(seen == 0) > settings.pile),
        at_top=at_top & bool(at_top.mean() > settings.pile),
        read_variance=_read_variance(known, np.maximum(target[kept], 1e-3 * g_scale), typical, averages),
        averages=averages,
    ), screening


def _read_variance(known: KnownDevice, level: FloatArray, age: float, averages: int) -> FloatArray:
    """Return the variance (cells,) in uS^2 of reads at `level` (uS); zero where nothing is known of it."""
    noise = known.noise_of(averages)
    return np.zeros(level.size) if noise is None else noise.variance(level, age, averages) * level**2


def averages_of(measurement: Measurement) -> int:
    """Return how many reads were averaged into one, by the plan of the measurement; one where it does not say."""
    try:
        plan = json.loads(str(measurement.attributes.get("plan", "{}")))
    except json.JSONDecodeError:
        plan = {}
    found = measurement.attributes.get("averages", plan.get("averages") if isinstance(plan, dict) else None)
    return int(found) if isinstance(found, int | float) and found >= 1 else 1


def _screen(
    conductance: FloatArray, target: FloatArray, g_scale: float, screening: Screening, settings: ProgrammingSettings
) -> None:
    """Leave out cells (cells,) that are far from their neighbours in target."""
    kept = screening.kept
    bins, _ = binned(target[kept], max(1, min(50, int(kept.sum()) // 100)))
    far = np.zeros(kept.size, bool)
    far[kept] = _far(conductance[kept] - target[kept], bins, settings.outlier_sigma)
    rail = settings.rail
    edge = (conductance < rail * g_scale) | (conductance > (1 - rail) * np.quantile(conductance[kept], 0.999))
    screening.drop(far & edge, STUCK)
    screening.drop(far, OUTLIER)


def _far(error: FloatArray, bins: IndexArray, sigma: float) -> BoolArray:
    """Find errors (cells,) that are so many robust standard deviations from the median of their bin."""
    far = np.zeros(error.size, bool)
    for k in range(int(bins.max()) + 1):  # fifty bins at most
        own = error[bins == k]
        low, middle, high = np.quantile(own, [0.25, 0.5, 0.75])
        far[bins == k] = np.abs(own - middle) > sigma * max((high - low) / 1.349, 1e-9)
    return far


@dataclass(frozen=True)
class ProgrammingFamily(Family[ProgrammingTable]):
    """Bias and standard deviation as polynomials; subclasses say of which degree and with which tails."""

    experiment = Experiment.PROGRAMMING
    degree: ClassVar[int]
    """Of the standard deviation; the bias has one less."""
    tails: ClassVar[bool] = False
    """Student's t rather than normal."""
    smooth: ClassVar[bool] = False
    """Bias and standard deviation are smooth curves rather than polynomials."""
    settings: ProgrammingSettings = ProgrammingSettings()

    def prepare(
        self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN
    ) -> tuple[ProgrammingTable, Screening]:
        """Take each cell's relaxed read: see `programming_table`."""
        return programming_table(measurement, self.settings, known)

    def layout(self, table: ProgrammingTable) -> Layout:
        """Lay out bias and standard deviation, constants first, and the tails."""
        what = "a relaxed device's conductance less its target, without read noise"
        bias = [Coefficient(f"bias.c{k}", "uS", f"mean of {what}: factor of g^{k}") for k in range(self.degree)]
        sigma = [
            Coefficient(f"sigma.c{k}", "uS", f"standard deviation of {what}: factor of g^{k}")
            for k in range(self.degree + 1)
        ]
        if self.smooth:
            at = np.exp(self._form(table).at) * table.g_scale
            bias = [Coefficient(f"bias.v{k}", "uS", f"mean of {what}, at {g:.3g} uS") for k, g in enumerate(at)]
            sigma = [
                Coefficient(f"sigma.v{k}", "uS", f"standard deviation of {what}, at {g:.3g} uS")
                for k, g in enumerate(at)
            ]
        blocks = [Block("bias", tuple(bias)), Block("sigma", tuple(sigma))]
        if self.tails:
            meaning, start = "degrees of freedom of Student's t, less two", self.settings.tail_start
            blocks.append(Block("tail", (Coefficient("tail", "1", meaning, log=True, start=start),)))
        return Layout(tuple(blocks))

    def start(self, table: ProgrammingTable) -> FloatArray:
        """Begin at the least-squares polynomials of the errors and of their size."""
        g = table.target / table.g_scale
        error = table.conductance - table.target
        bias = line = np.polyfit(g, error, self.degree - 1)[::-1]
        size = np.abs(error - np.polyval(line[::-1], g)) * math.sqrt(math.pi / 2)
        size = np.sqrt(np.maximum(size**2 - table.read_variance, 0.0))
        sigma = np.polyfit(g, size, self.degree)[::-1]
        lowest = np.polyval(sigma[::-1], np.linspace(g.min(), g.max(), 50)).min()
        sigma[0] += max(0.0, 0.2 * size.mean() - lowest)  # positive everywhere at the start
        if self.smooth:
            at = np.exp(self._form(table).at)
            bias, sigma = (np.asarray(np.polyval(one[::-1], at), np.float64) for one in (line, sigma))
        tail = {"tail": self.settings.tail_start} if self.tails else {}
        return self.layout(table).vector({"bias": bias, "sigma": sigma, **tail})

    def _form(self, table: ProgrammingTable) -> Form:
        """Return the form of both: a polynomial, or a spline with knots where equally many targets lie between."""
        if not self.smooth:
            return Form("polynomial")
        g = np.maximum(table.target, self.settings.rail**2 * table.g_scale) / table.g_scale
        places = np.quantile(np.log(g), np.linspace(0.0, 1.0, self.settings.knots)).round(6)
        return Form("spline", tuple(np.unique(places).tolist()))

    def _moments(self, table: ProgrammingTable, theta: Vector, g: Vector) -> tuple[Vector, Vector]:
        """Return bias and standard deviation (cells,) in uS at g (cells,)."""
        layout, form = self.layout(table), self._form(table)
        return apply(build(form, layout.part(theta, "bias")), g), apply(build(form, layout.part(theta, "sigma")), g)

    def likelihood(self, table: ProgrammingTable) -> LogLikelihood:
        """Return the log density of each cell's error; of a cell at a limit, the probability of being beyond it."""
        g, layout = tensor(table.target / table.g_scale), self.layout(table)
        error = tensor(table.conductance - table.target)
        zero, top = torch.as_tensor(table.at_zero), torch.as_tensor(table.at_top)
        read_variance = tensor(table.read_variance)
        censored = bool(table.at_zero.any() or table.at_top.any())
        smallest, largest_tail = self.settings.smallest_sigma * table.g_scale, self.settings.largest_tail

        def each(theta: torch.Tensor) -> torch.Tensor:
            mean, sigma = self._moments(table, theta, g)
            sigma = torch.sqrt(sigma.clamp(min=smallest) ** 2 + read_variance)
            z = (error - mean) / sigma
            if self.tails:
                freedom = 2 + torch.exp(layout.one(theta, "tail").clamp(max=largest_tail))
                z = z * torch.sqrt(freedom / (freedom - 2))  # sigma stays the standard deviation
                inside = (
                    torch.lgamma((freedom + 1) / 2) - torch.lgamma(freedom / 2)
                    - 0.5 * torch.log((freedom - 2) * math.pi) - torch.log(sigma)
                    - (freedom + 1) / 2 * torch.log1p(z**2 / freedom)
                )  # fmt: skip
            else:
                inside = -0.5 * z**2 - torch.log(sigma) - 0.5 * math.log(2 * math.pi)
            if not censored:
                return inside
            beyond = torch.where(zero, torch.special.log_ndtr(z), torch.special.log_ndtr(-z))
            return torch.where(zero | top, beyond, inside)

        return each

    def quantiles(self, table: ProgrammingTable, theta: FloatArray) -> FloatArray:
        """Return the quantiles of the cells that are not censored."""
        mean, sigma = self._moments(table, theta, table.target / table.g_scale)
        sigma = np.maximum(sigma, self.settings.smallest_sigma * table.g_scale)
        z = (table.conductance - table.target - mean) / np.sqrt(sigma**2 + table.read_variance)
        z = z[~(table.at_zero | table.at_top)]
        if self.tails:
            freedom = 2 + math.exp(min(float(theta[-1]), self.settings.largest_tail))
            return np.asarray(stats.t.cdf(z * math.sqrt(freedom / (freedom - 2)), freedom))
        return np.asarray(stats.norm.cdf(z))

    def describe(self, table: ProgrammingTable) -> Description:
        """Return the polynomials of target / g_scale; the age is that of the relaxed reads."""
        return Description(
            forms={"bias": self._form(table), "sigma": self._form(table)},
            settings={
                "g_scale": table.g_scale,
                "age": table.age,
                "averages": float(table.averages),
                "read_noise_taken_off": float(table.read_variance.any()),
            },
            conductance_range=(float(table.target.min()), float(table.target.max())),
            time_range=(table.age, table.age),
        )

    def caveats(self, table: ProgrammingTable) -> list[str]:
        """Say so where read noise is part of what was fitted."""
        if table.read_variance.any():
            return []
        return [
            "the standard deviation holds the read noise of the re-reads, which is not known: exports and predictions "
            "that add read noise count it twice; measure read noise or drift into the same file"
        ]

    def panels(self, table: ProgrammingTable, theta: FloatArray) -> list[Panel]:
        """Draw bias and standard deviation against target, and the predicted quantiles."""
        bins, x = binned(table.target, max(1, min(40, table.target.size // 30)))
        size = np.bincount(bins, minlength=x.size)
        error = table.conductance - table.target
        mean = np.bincount(bins, error, x.size) / size
        scatter = np.bincount(bins, (error - mean[bins]) ** 2, x.size) / np.maximum(size - 1, 1)
        sigma = np.sqrt(np.maximum(scatter - np.bincount(bins, table.read_variance, x.size) / size, 0.0))
        fine = np.linspace(table.target.min(), table.target.max(), 200)
        fit_mean, fit_sigma = self._moments(table, theta, fine / table.g_scale)
        half = 2 * sigma / np.sqrt(size)
        label, age = "target, uS", f"{table.age:.3g} s after programming"
        return [
            Panel(
                f"Bias {age}", label, "mean of conductance - target, uS",
                (Series("measured", x, mean, mean - half, mean + half), Series("fit", fine, fit_mean, line=True)),
            ),
            Panel(
                f"Programming noise {age}", label, "standard deviation, uS",
                (
                    Series("measured", x, sigma, sigma - half / math.sqrt(2), sigma + half / math.sqrt(2)),
                    Series("fit", fine, fit_sigma, line=True),
                ),
            ),
            quantile_panel(self.quantiles(table, theta)),
        ]  # fmt: skip


class Polynomial2(ProgrammingFamily):
    """The published form of the million-device array."""

    name, degree, preference = "polynomial-2", 2, 0
    summary = "normal, standard deviation a parabola in g (Joshi et al. 2020)"


class Polynomial3(ProgrammingFamily):
    """The published form of the 14-nm chip."""

    name, degree, preference = "polynomial-3", 3, 1
    summary = "normal, standard deviation a cubic in g (Vasilopoulos et al. 2023)"


class HeavyTails(ProgrammingFamily):
    """For arrays in which some devices are far worse than most."""

    name, degree, tails, preference = "student-3", 3, True, 2
    summary = "Student's t, standard deviation a cubic in g"


class Smooth(ProgrammingFamily):
    """For methods that leave what no polynomial has, such as a bias at both ends of the range, or little noise at one.

    The standard deviation starts at the parabola's.
    """

    name, degree, smooth, preference = "smooth", 2, True, 3
    summary = "normal, bias and standard deviation smooth curves in ln g (cubic splines)"
