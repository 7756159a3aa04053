"""Programming noise: how far from its target a programmed device is found when it has relaxed.

The relaxed re-read is what counts: the accepted verify read is biased by its own selection. Bias and standard
deviation are polynomials of g = target / g_scale, as published for real arrays (Joshi et al. 2020; Vasilopoulos et al.
2023). Reads that pile up at zero or at full scale are censored there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from hwloop.calibration.fitting.base import (
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
from hwloop.calibration.fitting.checks import check_reads, conductance_scale, reference_age, rows_of
from hwloop.calibration.fitting.likelihood import LogLikelihood, Optimum, covariance, maximise, tensor
from hwloop.devices.statistics import Polynomial
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Form
from hwloop.typing import FloatArray

FAR_SIGMA = 7.0
"""Robust standard deviations from where its neighbours in target are at which a cell is left out."""
RAIL = 0.1
"""A cell left out is stuck when it is this close to either end of the range, over g_scale; else it is wild."""
PILE = 0.002
"""Share of cells with exactly zero, or exactly the largest value, from which on that is a limit of the instrument."""
SMALLEST = 1e-4
"""Standard deviation over g_scale."""
LARGEST_TAIL = 6.0
"""ln of degrees of freedom less two, beyond which Student's t is normal."""
TAIL_START = math.log(8.0)
"""Degrees of freedom of the tails, less two, in logarithm: where the fit starts."""


@dataclass(frozen=True)
class ProgrammingTable:
    """One entry per cell (cells,): target and relaxed conductance, uS."""

    g_scale: float
    age: float
    """Median age of the relaxed reads, seconds."""
    target: FloatArray
    conductance: FloatArray
    at_zero: NDArray[np.bool_]
    at_top: NDArray[np.bool_]


def programming_table(measurement: Measurement) -> tuple[ProgrammingTable, Screening]:
    """The read of each cell nearest to the reference age. Raises BadInputError when there is nothing to fit."""
    check_reads(measurement)
    rows = rows_of(measurement)
    screening = Screening.of(measurement)
    screening.drop(rows.counts == 0, "no relaxed read")
    screening.drop(~np.isfinite(measurement.cells.target), "no target")
    if not screening.kept.any():
        names = sorted(set(screening.reason.tolist()))
        raise BadInputError(f"programming: no cell can be used ({', '.join(names)})")
    t0 = reference_age(measurement, measurement.reads.time)
    with np.errstate(divide="ignore"):
        away = np.where(rows.there, np.abs(np.log(np.maximum(rows.time, 1e-9) / t0)), np.inf)
    every = np.arange(len(measurement.cells))
    nearest = away.argmin(1)
    conductance, age = rows.conductance[every, nearest], rows.time[every, nearest]
    target = measurement.cells.target
    kept = screening.kept
    g_scale = conductance_scale(measurement, target[kept])
    bins, _ = binned(target[kept], max(1, min(50, int(kept.sum()) // 100)))
    error = conductance[kept] - target[kept]
    far = np.zeros(len(every), bool)
    far[kept] = _far(error, bins)
    edge = (conductance < RAIL * g_scale) | (conductance > (1 - RAIL) * np.quantile(conductance[kept], 0.999))
    screening.drop(far & edge, STUCK)
    screening.drop(far, WILD)
    kept = screening.kept
    if not kept.any():
        raise BadInputError("programming: every cell is stuck or wild; nothing is left to fit")
    seen = conductance[kept]
    at_zero, at_top = seen <= 0, seen >= seen.max()
    return ProgrammingTable(
        g_scale=g_scale,
        age=float(np.median(age[kept])),
        target=target[kept],
        conductance=seen,
        at_zero=at_zero & bool(np.mean(seen == 0) > PILE),
        at_top=at_top & bool(at_top.mean() > PILE),
    ), screening


def _far(error: FloatArray, bins: NDArray[np.int64]) -> NDArray[np.bool_]:
    far = np.zeros(error.size, bool)
    for k in range(int(bins.max()) + 1):  # fifty bins at most
        own = error[bins == k]
        low, middle, high = np.quantile(own, [0.25, 0.5, 0.75])
        far[bins == k] = np.abs(own - middle) > FAR_SIGMA * max((high - low) / 1.349, 1e-9)
    return far


class ProgrammingFamily(Family[ProgrammingTable]):
    """Bias and standard deviation as polynomials; subclasses say of which degree and with which tails."""

    experiment = Experiment.PROGRAMMING
    degree: int
    """Of the standard deviation; the bias has one less."""
    tails: bool = False
    """Student's t rather than normal."""

    def prepare(self, measurement: Measurement) -> tuple[ProgrammingTable, Screening]:
        """See `programming_table`."""
        return programming_table(measurement)

    def size(self, table: ProgrammingTable) -> int:
        """Number of cells."""
        return int(table.target.size)

    def coefficients(self, table: ProgrammingTable) -> list[Coefficient]:
        """Constants first."""
        what = "a relaxed device's conductance less its target"
        rows = [Coefficient(f"bias.c{k}", "uS", f"mean of {what}: factor of g^{k}") for k in range(self.degree)]
        rows += [
            Coefficient(f"sigma.c{k}", "uS", f"standard deviation of {what}: factor of g^{k}")
            for k in range(self.degree + 1)
        ]
        if self.tails:
            rows.append(Coefficient("tail", "1", "degrees of freedom of Student's t, less two", log=True))
        return rows

    def estimate(self, table: ProgrammingTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Maximum likelihood from the least-squares start."""
        g = table.target / table.g_scale
        error = table.conductance - table.target
        bias = np.polyfit(g, error, self.degree - 1)[::-1]
        size = np.abs(error - np.polyval(bias[::-1], g)) * math.sqrt(math.pi / 2)
        sigma = np.polyfit(g, size, self.degree)[::-1]
        lowest = np.polyval(sigma[::-1], np.linspace(g.min(), g.max(), 50)).min()
        sigma[0] += max(0.0, 0.2 * size.mean() - lowest)  # positive everywhere at the start
        start = np.concatenate([bias, sigma, [TAIL_START] if self.tails else []])
        likelihood = self._likelihood(table)
        found = maximise(likelihood, start)
        if intervals:
            found = replace(found, covariance=covariance(likelihood, found.theta))
        return found, {}

    def _moments(self, theta: Any, g: Any) -> tuple[Any, Any]:
        n = self.degree
        mean = Polynomial(tuple(theta[k] for k in range(n)))(g)
        sigma = Polynomial(tuple(theta[n + k] for k in range(n + 1)))(g)
        return mean, sigma

    def _likelihood(self, table: ProgrammingTable) -> LogLikelihood:
        g = tensor(table.target / table.g_scale)
        error = tensor(table.conductance - table.target)
        zero, top = torch.as_tensor(table.at_zero), torch.as_tensor(table.at_top)
        censored = bool(table.at_zero.any() or table.at_top.any())

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            mean, sigma = self._moments(theta, g)
            sigma = sigma.clamp(min=SMALLEST * table.g_scale)
            z = (error - mean) / sigma
            if self.tails:
                freedom = 2 + torch.exp(theta[-1].clamp(max=LARGEST_TAIL))
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

        return likelihood

    def log_likelihood(self, table: ProgrammingTable, theta: FloatArray) -> FloatArray:
        """Of every cell."""
        with torch.no_grad():
            return self._likelihood(table)(tensor(theta)).numpy()

    def quantiles(self, table: ProgrammingTable, theta: FloatArray) -> FloatArray:
        """Of the cells that are not censored."""
        mean, sigma = self._moments(theta, table.target / table.g_scale)
        z = (table.conductance - table.target - mean) / np.maximum(sigma, SMALLEST * table.g_scale)
        z = z[~(table.at_zero | table.at_top)]
        if self.tails:
            freedom = 2 + math.exp(min(theta[-1], LARGEST_TAIL))
            return stats.t.cdf(z * math.sqrt(freedom / (freedom - 2)), freedom)  # type: ignore[no-any-return]
        return stats.norm.cdf(z)  # type: ignore[no-any-return]

    def describe(self, table: ProgrammingTable) -> dict[str, Any]:
        """Polynomials of target / g_scale; the age is that of the relaxed reads."""
        return {
            "forms": {"bias": Form("polynomial"), "sigma": Form("polynomial")},
            "settings": {"g_scale": table.g_scale, "age": table.age},
            "conductance_range": (float(table.target.min()), float(table.target.max())),
            "time_range": (table.age, table.age),
        }

    def panels(self, table: ProgrammingTable, theta: FloatArray) -> list[Panel]:
        """Bias and standard deviation against target, and the calibration."""
        bins, x = binned(table.target, max(1, min(40, table.target.size // 30)))
        size = np.bincount(bins, minlength=x.size)
        error = table.conductance - table.target
        mean = np.bincount(bins, error, x.size) / size
        sigma = np.sqrt(np.bincount(bins, (error - mean[bins]) ** 2, x.size) / np.maximum(size - 1, 1))
        fine = np.linspace(table.target.min(), table.target.max(), 200)
        fit_mean, fit_sigma = self._moments(theta, fine / table.g_scale)
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

    name, degree = "polynomial-2", 2
    summary = "normal, standard deviation a parabola in g (Joshi et al. 2020)"


class Polynomial3(ProgrammingFamily):
    """The published form of the 14-nm chip."""

    name, degree = "polynomial-3", 3
    summary = "normal, standard deviation a cubic in g (Vasilopoulos et al. 2023)"


class HeavyTails(ProgrammingFamily):
    """For arrays in which some devices are far worse than most."""

    name, degree, tails = "student-3", 3, True
    summary = "Student's t, standard deviation a cubic in g"
