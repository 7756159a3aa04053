"""Relaxation of programmed resistive memory: most cells creep, some jump, and more of them the longer one waits.

Given the conductance G0 of its first read, the change of a cell's conductance by the time t is a mixture of two
Student-t distributions: cells that stayed, and cells that moved. The logit of the share that moved, the shift and the
logarithm of the width of both are linear in log10(t), and every coefficient of these lines is a function of G0 through
knots. Linear growth with log time is what the relaxation of filaments shows, and what makes it possible to say
something about ages that were not measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from hwloop.calibration.fitting.base import STUCK, Coefficient, Family, Panel, Screening, Series, binned, quantile_panel
from hwloop.calibration.fitting.checks import check_order, check_reads, conductance_scale, rows_of
from hwloop.calibration.fitting.likelihood import (
    LogLikelihood,
    Optimum,
    covariance,
    maximise,
    scores,
    tensor,
    whitening,
)
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Form
from hwloop.typing import FloatArray

KNOTS = 10
CURVES = {
    "moved": ("1", "logit of the share of cells that moved"),
    "stay_shift": ("uS", "shift of the cells that stayed"),
    "stay_width": ("1", "ln of the width (uS) of the cells that stayed"),
    "move_shift": ("uS", "shift of the cells that moved"),
    "move_width": ("1", "ln of the width (uS) of the cells that moved"),
}
"""Quantity -> unit and meaning; each has a level (at CENTRE) and a slope per decade of time."""
LARGEST_TAIL = 5.0
"""ln of degrees of freedom less one, beyond which Student's t is normal."""
CENTRE = 1.0
"""log10 of the age in seconds at which levels are stated."""
STIFFNESS = 0.1
"""Weak prior that neighbouring knots are alike, for quantities that few cells tell (cells-equivalent)."""
SMALLEST_CHANGE = 1e-5
"""Of g_scale: a cell whose reads differ by less in all is stuck."""
FIRST_STEPS, STEPS, ROUNDS = 40, 100, 15
"""Steps of the search until directions are first looked for, those of a round, and rounds at most."""
SETTLED = 0.1
"""Gain of a round in log-likelihood, of all cells, below which the search is done."""


@dataclass(frozen=True)
class RelaxationTable:
    """Cells (cells,) with their first conductance, and rectangles (cells, reads) of what came after."""

    g_scale: float
    knots: tuple[float, ...]
    """uS."""
    cells: NDArray[np.int64]
    first: FloatArray
    """G0, uS."""
    there: NDArray[np.bool_]
    decades: FloatArray
    """log10 of the age in seconds, less CENTRE."""
    change: FloatArray
    """G - G0, uS."""


def relaxation_table(measurement: Measurement) -> tuple[RelaxationTable, Screening]:
    """First read and changes of every cell. Raises BadInputError when there is nothing to fit."""
    check_reads(measurement)
    check_order(measurement)
    rows = rows_of(measurement)
    screening = Screening.of(measurement)
    screening.drop(rows.counts < 2, "fewer than two reads")
    later = rows.there & (rows.time > rows.time[:, :1]) & (rows.time > 0)
    screening.drop(later.sum(1) == 0, "all reads at one age")
    if not screening.kept.any() or np.unique(rows.time[later].round(12)).size < 2:
        raise BadInputError("relaxation: reads at a first and at least two later ages are needed; measure for longer")
    first = rows.conductance[:, 0]
    change = np.where(later, rows.conductance - first[:, None], 0.0)
    g_scale = conductance_scale(measurement, first[screening.kept])
    screening.drop(_still(change, g_scale) & (later.sum(1) > 2), STUCK)
    kept = screening.kept
    if not kept.any():
        raise BadInputError("relaxation: every cell is stuck; nothing is left to fit")
    share = np.linspace(0.001, 0.999, KNOTS)
    ends = np.quantile(first[kept], [0.001, 0.999])
    places = 0.5 * np.quantile(first[kept], share) + 0.5 * (ends[0] + np.linspace(0, 1, KNOTS) * np.ptp(ends))
    return RelaxationTable(
        g_scale=g_scale,
        knots=tuple(float(p) for p in np.unique(places)),
        cells=np.flatnonzero(kept),
        first=first[kept],
        there=later[kept],
        decades=np.log10(np.where(later, rows.time, 10.0**CENTRE))[kept] - CENTRE,
        change=change[kept],
    ), screening


def _still(change: FloatArray, g_scale: float) -> NDArray[np.bool_]:
    """Cells (cells,) that never change."""
    still: NDArray[np.bool_] = np.abs(change).max(1) < SMALLEST_CHANGE * g_scale
    return still


@dataclass(frozen=True)
class _Mixture:
    """Parameters of both components, (cells, reads) each; arrays or tensors."""

    logit: Any
    shift: tuple[Any, Any]
    width: tuple[Any, Any]
    freedom: tuple[Any, Any]


class Relaxation(Family[RelaxationTable]):
    """See the module's text."""

    name = "relaxation"
    experiment = Experiment.DRIFT
    extrapolates = True
    summary = "resistive memory: cells that stay and cells that move, spread and share growing with log time"

    def prepare(self, measurement: Measurement) -> tuple[RelaxationTable, Screening]:
        """See `relaxation_table`."""
        return relaxation_table(measurement)

    def size(self, table: RelaxationTable) -> int:
        """Number of cells."""
        return int(table.first.size)

    def coefficients(self, table: RelaxationTable) -> list[Coefficient]:
        """Level and slope of each quantity at each knot, then the tails."""
        rows = []
        for name, (unit, meaning) in CURVES.items():
            for part, per in (("level", "at 10 s"), ("slope", "change per decade of time")):
                rows += [
                    Coefficient(f"{name}_{part}.v{k}", unit, f"{meaning}, {per}, G0 = {place:.3g} uS")
                    for k, place in enumerate(table.knots)
                ]
        return rows + [
            Coefficient(f"{name}_tail", "1", f"degrees of freedom of the cells that {did}, less one", log=True)
            for name, did in (("stay", "stayed"), ("move", "moved"))
        ]

    def describe(self, table: RelaxationTable) -> dict[str, Any]:
        """Knots are in ln(G0 / g_scale), as those of all statistics."""
        at = tuple(math.log(max(place, 1e-9) / table.g_scale) for place in table.knots)
        ages = 10.0 ** (table.decades[table.there] + CENTRE)
        return {
            "forms": {f"{name}_{part}": Form("knots", at) for name in CURVES for part in ("level", "slope")},
            "settings": {"g_scale": table.g_scale, "reference_decade": CENTRE},
            "conductance_range": (float(table.first.min()), float(table.first.max())),
            "time_range": (float(ages.min()), float(ages.max())),
        }

    def estimate(self, table: RelaxationTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Maximum likelihood."""
        likelihood = self._likelihood(table)
        found = _settled(likelihood, self._start(table))
        if intervals:
            found = replace(found, covariance=covariance(likelihood, found.theta))
        return found, {}

    def _start(self, table: RelaxationTable) -> FloatArray:
        """A fifth of the cells has moved; quartiles give the width of the others, the outer ones that of the moved."""
        basis = _basis(table.first, table.knots)
        size = np.where(table.there, np.abs(table.change), 0.0).sum(1) / table.there.sum(1)
        typical = np.log(np.maximum(np.median(size), 1e-4 * table.g_scale))
        by_knot = (basis * np.log(np.maximum(size, 1e-4 * table.g_scale))[:, None]).sum(0) / np.maximum(
            basis.sum(0), 1e-9
        )
        count = len(table.knots)
        theta = np.zeros((2 * len(CURVES), count))
        theta[0] = -1.5
        theta[4] = np.where(basis.sum(0) > 1, by_knot, typical) - 0.3
        theta[8] = theta[4] + 1.8
        theta[[5, 9]] = 0.2
        return np.concatenate([theta.ravel(), [math.log(3.0), math.log(4.0)]])

    def _mixture(self, theta: Any, basis: Any, decades: Any) -> _Mixture:
        """At (cells, knots) weights and (cells, reads) decades."""
        count = basis.shape[1]
        exp = torch.exp if isinstance(theta, torch.Tensor) else np.exp

        def line(k: int) -> Any:
            level, slope = theta[2 * k * count : (2 * k + 1) * count], theta[(2 * k + 1) * count : (2 * k + 2) * count]
            return (basis @ level)[:, None] + (basis @ slope)[:, None] * decades

        freedom = (1.0 + exp(theta[-2].clip(None, LARGEST_TAIL)), 1.0 + exp(theta[-1].clip(None, LARGEST_TAIL)))
        return _Mixture(line(0), (line(1), line(3)), (exp(line(2)), exp(line(4))), freedom)

    def _likelihood(self, table: RelaxationTable) -> LogLikelihood:
        basis, decades = tensor(_basis(table.first, table.knots)), tensor(table.decades)
        change, there = tensor(table.change), torch.as_tensor(table.there)
        cells, count = table.first.size, len(table.knots)

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            parts = self._mixture(theta, basis, decades)
            curves = theta[:-2].view(-1, count)
            alike = STIFFNESS * ((curves[:, 1:] - curves[:, :-1]) ** 2).sum() / cells
            density = torch.logaddexp(
                torch.nn.functional.logsigmoid(-parts.logit) + _log_t(change, parts, 0),
                torch.nn.functional.logsigmoid(parts.logit) + _log_t(change, parts, 1),
            )
            return torch.where(there, density, 0.0).sum(1) - alike

        return likelihood

    def log_likelihood(self, table: RelaxationTable, theta: FloatArray) -> FloatArray:
        """Of every cell, given its first read."""
        with torch.no_grad():
            return self._likelihood(table)(tensor(theta)).numpy()

    def later(self, table: RelaxationTable, measurement: Measurement) -> RelaxationTable:
        """One later read of each cell of the table, as a table of its own."""
        rows = rows_of(measurement)
        there = rows.there[table.cells, :1]
        time = np.where(there, rows.time[table.cells, :1], 10.0**CENTRE)
        change = np.where(there, rows.conductance[table.cells, :1] - table.first[:, None], 0.0)
        return replace(table, there=there, decades=np.log10(time) - CENTRE, change=change)

    def predict(
        self, table: RelaxationTable, theta: FloatArray, earlier: Measurement, later: Measurement
    ) -> FloatArray:
        """Given the first read."""
        held_out = self.later(table, later)
        result = np.full(len(later.cells), np.nan)
        each = self.log_likelihood(held_out, theta)
        result[table.cells] = np.where(held_out.there[:, 0], each, np.nan)
        return result

    def quantiles(self, table: RelaxationTable, theta: FloatArray) -> FloatArray:
        """Of every read after the first."""
        parts = self._mixture(theta, _basis(table.first, table.knots), table.decades)
        share = 1.0 / (1.0 + np.exp(-parts.logit))
        below = [
            stats.t.cdf((table.change - shift) / width, freedom)
            for shift, width, freedom in zip(parts.shift, parts.width, parts.freedom, strict=True)
        ]
        mixed: FloatArray = ((1 - share) * below[0] + share * below[1])[table.there]
        return mixed

    def panels(self, table: RelaxationTable, theta: FloatArray) -> list[Panel]:
        """Quantiles of the change against G0 at the last age, the growth of its spread with time, the calibration."""
        last = table.decades[table.there].max()
        at = table.there & (table.decades > last - 0.2)
        rows, columns = np.nonzero(at)
        change, first = table.change[rows, columns], table.first[rows]
        bins, x = binned(first, max(1, min(24, first.size // 60)))
        points, lines = [], []
        grid = np.quantile(first, np.linspace(0.005, 0.995, 60))
        probabilities = (0.05, 0.5, 0.95)
        drawn = self._drawn_quantiles(table, theta, grid, float(last), probabilities)
        for k, p in enumerate(probabilities):
            seen = np.array([np.quantile(change[bins == b], p) for b in range(x.size)])
            points.append(Series(f"measured, {p:.0%}", x, seen))
            lines.append(Series(f"fit, {p:.0%}", grid, drawn[k], line=True))
        ages, spread, fitted = self._spread_with_time(table, theta)
        return [
            Panel(
                f"Change {10 ** (last + CENTRE):.3g} s after programming", "first conductance, uS",
                "quantiles of G - G0, uS", (*points, *lines),
            ),
            Panel(
                "Growth with time, all cells", "age, s", "5 % to 95 % range of G - G0, uS",
                (Series("measured", ages, spread), Series("fit", ages, fitted, line=True)), log_x=True,
            ),
            quantile_panel(self.quantiles(table, theta)),
        ]  # fmt: skip

    def _drawn_quantiles(
        self, table: RelaxationTable, theta: FloatArray, first: FloatArray, decade: float, probabilities: Any
    ) -> FloatArray:
        """Quantiles (probabilities, cells) by drawing 4000 cells at each first conductance."""
        rng = np.random.default_rng(0)
        parts = self._mixture(theta, _basis(first, table.knots), np.full((first.size, 4000), decade))
        moved = rng.random(parts.logit.shape) < 1.0 / (1.0 + np.exp(-parts.logit))
        stay = parts.shift[0] + parts.width[0] * rng.standard_t(parts.freedom[0], moved.shape)
        move = parts.shift[1] + parts.width[1] * rng.standard_t(parts.freedom[1], moved.shape)
        drawn: FloatArray = np.quantile(np.where(moved, move, stay), probabilities, axis=1)
        return drawn

    def _spread_with_time(self, table: RelaxationTable, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        nominal = np.unique(np.round(table.decades[table.there], 1))
        nominal = nominal[[(np.abs(table.decades - n) < 0.06)[table.there].sum() > 100 for n in nominal]]
        some = np.random.default_rng(0).choice(table.first.size, min(400, table.first.size), replace=False)
        spread, fitted = [], []
        for decade in nominal:  # a handful of ages
            seen = table.change[table.there & (np.abs(table.decades - decade) < 0.06)]
            spread.append(np.ptp(np.quantile(seen, [0.05, 0.95])))
            parts = self._mixture(theta, _basis(table.first[some], table.knots), np.full((some.size, 200), decade))
            rng = np.random.default_rng(0)
            moved = rng.random(parts.logit.shape) < 1.0 / (1.0 + np.exp(-parts.logit))
            drawn = np.where(
                moved,
                parts.shift[1] + parts.width[1] * rng.standard_t(parts.freedom[1], moved.shape),
                parts.shift[0] + parts.width[0] * rng.standard_t(parts.freedom[0], moved.shape),
            )
            fitted.append(np.ptp(np.quantile(drawn, [0.05, 0.95])))
        return 10.0 ** (nominal + CENTRE), np.array(spread), np.array(fitted)


def _settled(likelihood: LogLikelihood, start: FloatArray) -> Optimum:
    """The maximum, looked for in rounds: knots and components trade off, along directions that change on the way."""
    every = np.ones(start.size, bool)
    found = maximise(likelihood, start, max_steps=FIRST_STEPS)
    for _ in range(ROUNDS):
        before, directions = found.log_likelihood, whitening(scores(likelihood, found.theta, every))
        found = maximise(likelihood, found.theta, directions=directions, max_steps=STEPS)
        if found.converged and found.log_likelihood - before < SETTLED:
            break
    return found


def _basis(first: FloatArray, knots: tuple[float, ...]) -> FloatArray:
    """Weights (cells, knots) of linear interpolation in G0."""
    place = np.interp(first, knots, np.arange(len(knots)))
    weights: FloatArray = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(len(knots))))
    return weights


def _log_t(change: torch.Tensor, parts: _Mixture, k: int) -> torch.Tensor:
    """Log density of component k."""
    freedom, width = parts.freedom[k], parts.width[k]
    z = (change - parts.shift[k]) / width
    constant = torch.lgamma((freedom + 1) / 2) - torch.lgamma(freedom / 2) - 0.5 * torch.log(freedom * math.pi)
    return constant - torch.log(width) - (freedom + 1) / 2 * torch.log1p(z**2 / freedom)  # type: ignore[no-any-return]
