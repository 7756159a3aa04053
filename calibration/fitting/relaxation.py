"""Relaxation of programmed resistive memory: most cells creep, some jump, and more of them the longer one waits.

Given the conductance G0 of its first read, the change of a cell's conductance by the time t is a mixture of two
Student-t distributions: cells that stayed, and cells that moved. The logit of the share that moved, the shift and the
logarithm of the width of both are linear in log10(t), and every coefficient of these lines is a function of G0 through
knots. Linear growth with log time is what the relaxation of filaments shows, and what makes it possible to say
something about ages that were not measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic

import numpy as np
import torch
from scipy import stats

from hwloop.calibration.fitting.base import Description, Family
from hwloop.calibration.fitting.checks import check_order, check_reads, conductance_scale, rows_of
from hwloop.calibration.fitting.forms import interpolation
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.layout import Block, Coefficient, Layout, Vector, exp
from hwloop.calibration.fitting.likelihood import (
    LogLikelihood,
    Optimum,
    covariance,
    maximise,
    scores,
    tensor,
    whitening,
)
from hwloop.calibration.fitting.panels import Panel, Series, binned, quantile_panel
from hwloop.calibration.fitting.screening import STUCK, Screening
from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Form
from hwloop.typing import BoolArray, FloatArray, IndexArray

CURVES = {
    "moved": ("1", "logit of the share of cells that moved"),
    "stay_shift": ("uS", "shift of the cells that stayed"),
    "stay_width": ("1", "ln of the width (uS) of the cells that stayed"),
    "move_shift": ("uS", "shift of the cells that moved"),
    "move_width": ("1", "ln of the width (uS) of the cells that moved"),
}
"""Quantity -> unit and meaning; each has a level (at CENTRE) and a slope per decade of time."""
COMPONENTS = {"stay": "stayed", "move": "moved"}
"""Kinds of cells, and what they did."""
CENTRE = 1.0
"""log10 of the age in seconds at which levels are stated."""


@dataclass(frozen=True)
class RelaxationSettings(Settings):
    """What the fit of relaxation takes for granted."""

    knots: int = 10
    """First conductances at which every quantity is fitted."""
    largest_tail: float = 5.0
    """ln of degrees of freedom less one, beyond which Student's t is normal."""
    stiffness: float = 0.1
    """Weak prior that neighbouring knots are alike, for quantities that few cells tell (cells-equivalent)."""
    smallest_change: float = 1e-5
    """A cell whose reads differ by less than this, over g_scale, is stuck."""
    first_steps: int = 40
    """Steps of the search until directions are first looked for."""
    steps: int = 100
    """Steps of every later round."""
    rounds: int = 15
    """Rounds at most."""
    settled: float = 0.1
    """Gain of a round in log-likelihood, of all cells, below which the search is done."""

    def __post_init__(self) -> None:
        """Raise BadInputError for settings out of range."""
        self._require("knots", 2, 100)
        self._require("largest_tail", 1.0, 20.0)
        self._require("stiffness", 0.0, 1e6)
        self._require("smallest_change", 0.0, 1.0)
        for name in ("first_steps", "steps", "rounds"):
            self._require(name, 1, 100_000)
        self._require("settled", 0.0, 1e6)


@dataclass(frozen=True)
class RelaxationTable:
    """Cells (cells,) with their first conductance, and rectangles (cells, reads) of what came after."""

    g_scale: float
    knots: tuple[float, ...]
    """uS."""
    cells: IndexArray
    first: FloatArray
    """G0, uS."""
    there: BoolArray
    decades: FloatArray
    """log10 of the age in seconds, less CENTRE."""
    change: FloatArray
    """G - G0, uS."""


def relaxation_table(
    measurement: Measurement, settings: RelaxationSettings | None = None
) -> tuple[RelaxationTable, Screening]:
    """Take the first read of every cell and how it has changed since.

    Raises BadInputError when there is nothing to fit. Without `settings` they are the usual ones.
    """
    settings = settings or RelaxationSettings()
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
    screening.drop(_still(change, settings.smallest_change * g_scale) & (later.sum(1) > 2), STUCK)
    kept = screening.kept
    if not kept.any():
        raise BadInputError("relaxation: every cell is stuck; nothing is left to fit")
    share = np.linspace(0.001, 0.999, settings.knots)
    ends = np.quantile(first[kept], [0.001, 0.999])
    places = 0.5 * np.quantile(first[kept], share) + 0.5 * (ends[0] + np.linspace(0, 1, settings.knots) * np.ptp(ends))
    return RelaxationTable(
        g_scale=g_scale,
        knots=tuple(float(p) for p in np.unique(places)),
        cells=np.flatnonzero(kept),
        first=first[kept],
        there=later[kept],
        decades=np.log10(np.where(later, rows.time, 10.0**CENTRE))[kept] - CENTRE,
        change=change[kept],
    ), screening


def _still(change: FloatArray, smallest: float) -> BoolArray:
    """Find cells (cells,) none of whose changes (cells, reads) is as large as `smallest` (uS)."""
    still: BoolArray = np.abs(change).max(1) < smallest
    return still


@dataclass(frozen=True)
class Mixture(Generic[Vector]):
    """Parameters of both components, that which stayed and that which moved, at every read (cells, reads)."""

    logit: Vector
    """Of the share that moved."""
    shift: tuple[Vector, Vector]
    """uS."""
    width: tuple[Vector, Vector]
    """uS."""
    freedom: tuple[Vector, Vector]
    """Degrees of freedom, scalars."""


@dataclass(frozen=True)
class Relaxation(Family[RelaxationTable]):
    """Cells that stay and cells that move: see the module's text."""

    name = "relaxation"
    experiment = Experiment.DRIFT
    extrapolates = True
    preference = 2
    summary = "resistive memory: cells that stay and cells that move, spread and share growing with log time"
    settings: RelaxationSettings = RelaxationSettings()

    def prepare(
        self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN
    ) -> tuple[RelaxationTable, Screening]:
        """Take first reads and changes: see `relaxation_table`."""
        return relaxation_table(measurement, self.settings)

    def layout(self, table: RelaxationTable) -> Layout:
        """Lay out level and slope of each quantity at each knot, then the tails."""
        blocks = []
        for name, (unit, meaning) in CURVES.items():
            for part, per in (("level", "at 10 s"), ("slope", "change per decade of time")):
                rows = [
                    Coefficient(f"{name}_{part}.v{k}", unit, f"{meaning}, {per}, G0 = {place:.3g} uS")
                    for k, place in enumerate(table.knots)
                ]
                blocks.append(Block(f"{name}_{part}", tuple(rows)))
        for name, did in COMPONENTS.items():
            meaning = f"degrees of freedom of the cells that {did}, less one"
            blocks.append(Block(f"{name}_tail", (Coefficient(f"{name}_tail", "1", meaning, log=True),)))
        return Layout(tuple(blocks))

    def describe(self, table: RelaxationTable) -> Description:
        """Return the knots in ln(G0 / g_scale), as those of all statistics."""
        at = tuple(math.log(max(place, 1e-9) / table.g_scale) for place in table.knots)
        ages = 10.0 ** (table.decades[table.there] + CENTRE)
        return Description(
            forms={f"{name}_{part}": Form("knots", at) for name in CURVES for part in ("level", "slope")},
            settings={"g_scale": table.g_scale, "reference_decade": CENTRE},
            conductance_range=(float(table.first.min()), float(table.first.max())),
            time_range=(float(ages.min()), float(ages.max())),
        )

    def estimate(self, table: RelaxationTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Find the maximum in rounds: see `_settled`."""
        likelihood = self.likelihood(table)
        found = _settled(likelihood, self.start(table), self.settings)
        if intervals:
            found = replace(found, covariance=covariance(likelihood, found.theta))
        return found, {}

    def start(self, table: RelaxationTable) -> FloatArray:
        """Begin with a fifth of the cells moved; typical changes give the width of the others, and more that of these.

        Widths are those around each knot where there are cells, else that of all.
        """
        basis = interpolation(table.first, table.knots)
        size = np.where(table.there, np.abs(table.change), 0.0).sum(1) / table.there.sum(1)
        typical = np.log(np.maximum(np.median(size), 1e-4 * table.g_scale))
        by_knot = (basis * np.log(np.maximum(size, 1e-4 * table.g_scale))[:, None]).sum(0) / np.maximum(
            basis.sum(0), 1e-9
        )
        layout = self.layout(table)
        parts: dict[str, FloatArray | float] = {
            block.name: np.zeros(len(block.coefficients)) for block in layout.blocks
        }
        stay = np.where(basis.sum(0) > 1, by_knot, typical) - 0.3
        every = np.ones(len(table.knots))
        parts |= {"moved_level": -1.5 * every, "stay_width_level": stay, "move_width_level": stay + 1.8}
        parts |= {"stay_width_slope": 0.2 * every, "move_width_slope": 0.2 * every}
        parts |= {"stay_tail": math.log(3.0), "move_tail": math.log(4.0)}
        return layout.vector(parts)

    def _mixture(self, layout: Layout, theta: Vector, basis: Vector, decades: Vector) -> Mixture[Vector]:
        """Return both components at decades (cells, reads) of age, for the knots' weights (cells, knots) of cells."""

        def line(name: str) -> Vector:
            level, slope = (basis @ layout.part(theta, f"{name}_{part}") for part in ("level", "slope"))
            result: Vector = level[:, None] + slope[:, None] * decades
            return result

        stay, move = (
            1.0 + exp(layout.one(theta, f"{name}_tail").clip(None, self.settings.largest_tail)) for name in COMPONENTS
        )
        widths = exp(line("stay_width")), exp(line("move_width"))
        return Mixture(line("moved"), (line("stay_shift"), line("move_shift")), widths, (stay, move))

    def likelihood(self, table: RelaxationTable) -> LogLikelihood:
        """Return the log density of every cell's later reads given its first, less what holds neighbouring knots."""
        layout = self.layout(table)
        basis, decades = tensor(interpolation(table.first, table.knots)), tensor(table.decades)
        change, there = tensor(table.change), torch.as_tensor(table.there)
        cells, count = table.first.size, len(table.knots)

        def each(theta: torch.Tensor) -> torch.Tensor:
            parts = self._mixture(layout, theta, basis, decades)
            curves = theta[: -len(COMPONENTS)].view(-1, count)
            alike = self.settings.stiffness * ((curves[:, 1:] - curves[:, :-1]) ** 2).sum() / cells
            density = torch.logaddexp(
                torch.nn.functional.logsigmoid(-parts.logit) + _log_t(change, parts, 0),
                torch.nn.functional.logsigmoid(parts.logit) + _log_t(change, parts, 1),
            )
            return torch.where(there, density, 0.0).sum(1) - alike

        return each

    def later(self, table: RelaxationTable, measurement: Measurement) -> RelaxationTable:
        """Return one later read of each cell of the table, as a table of its own."""
        rows = rows_of(measurement)
        there = rows.there[table.cells, :1]
        time = np.where(there, rows.time[table.cells, :1], 10.0**CENTRE)
        change = np.where(there, rows.conductance[table.cells, :1] - table.first[:, None], 0.0)
        return replace(table, there=there, decades=np.log10(time) - CENTRE, change=change)

    def predict(
        self, table: RelaxationTable, theta: FloatArray, earlier: Measurement, later: Measurement
    ) -> FloatArray:
        """Return the log density of the later read, given the first."""
        held_out = self.later(table, later)
        result = np.full(len(later.cells), np.nan)
        each = self.log_likelihood(held_out, theta)
        result[table.cells] = np.where(held_out.there[:, 0], each, np.nan)
        return result

    def quantiles(self, table: RelaxationTable, theta: FloatArray) -> FloatArray:
        """Return the quantile of every read after the first."""
        parts = self._mixture(self.layout(table), theta, interpolation(table.first, table.knots), table.decades)
        share = 1.0 / (1.0 + np.exp(-parts.logit))
        below = [
            stats.t.cdf((table.change - shift) / width, freedom)
            for shift, width, freedom in zip(parts.shift, parts.width, parts.freedom, strict=True)
        ]
        mixed: FloatArray = ((1 - share) * below[0] + share * below[1])[table.there]
        return mixed

    def panels(self, table: RelaxationTable, theta: FloatArray) -> list[Panel]:
        """Draw the change against G0 at the last age, its growth with time, and the predicted quantiles."""
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
        self,
        table: RelaxationTable,
        theta: FloatArray,
        first: FloatArray,
        decade: float,
        probabilities: Sequence[float],
    ) -> FloatArray:
        """Return quantiles (probabilities, cells) by drawing 4000 cells at each first conductance."""
        drawn: FloatArray = np.quantile(
            self._drawn(table, theta, first, np.full((first.size, 4000), decade)), probabilities, axis=1
        )
        return drawn

    def _drawn(self, table: RelaxationTable, theta: FloatArray, first: FloatArray, decades: FloatArray) -> FloatArray:
        """Draw changes (cells, reads)."""
        rng = np.random.default_rng(0)
        parts = self._mixture(self.layout(table), theta, interpolation(first, table.knots), decades)
        moved = rng.random(parts.logit.shape) < 1.0 / (1.0 + np.exp(-parts.logit))
        stay, move = (
            shift + width * rng.standard_t(freedom, moved.shape)
            for shift, width, freedom in zip(parts.shift, parts.width, parts.freedom, strict=True)
        )
        return np.where(moved, move, stay)

    def _spread_with_time(self, table: RelaxationTable, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return ages (seconds), and the 5 % to 95 % range of changes there, as measured and as fitted."""
        nominal = np.unique(np.round(table.decades[table.there], 1))
        nominal = nominal[[(np.abs(table.decades - n) < 0.06)[table.there].sum() > 100 for n in nominal]]
        some = np.random.default_rng(0).choice(table.first.size, min(400, table.first.size), replace=False)
        spread, fitted = [], []
        for decade in nominal:  # a handful of ages
            seen = table.change[table.there & (np.abs(table.decades - decade) < 0.06)]
            spread.append(np.ptp(np.quantile(seen, [0.05, 0.95])))
            drawn = self._drawn(table, theta, table.first[some], np.full((some.size, 200), decade))
            fitted.append(np.ptp(np.quantile(drawn, [0.05, 0.95])))
        return 10.0 ** (nominal + CENTRE), np.array(spread), np.array(fitted)


def _settled(likelihood: LogLikelihood, start: FloatArray, settings: RelaxationSettings) -> Optimum:
    """Find the maximum in rounds: knots and components trade off, along directions that change on the way."""
    every = np.ones(start.size, bool)
    found = maximise(likelihood, start, max_steps=settings.first_steps)
    for _ in range(settings.rounds):
        before, directions = found.log_likelihood, whitening(scores(likelihood, found.theta, every))
        found = maximise(likelihood, found.theta, directions=directions, max_steps=settings.steps)
        if found.converged and found.log_likelihood - before < settings.settled:
            break
    return found


def _log_t(change: torch.Tensor, parts: Mixture[torch.Tensor], k: int) -> torch.Tensor:
    """Return the log density of changes (cells, reads) in component k."""
    freedom, width = parts.freedom[k], parts.width[k]
    z = (change - parts.shift[k]) / width
    constant = torch.lgamma((freedom + 1) / 2) - torch.lgamma(freedom / 2) - 0.5 * torch.log(freedom * math.pi)
    density: torch.Tensor = constant - torch.log(width) - (freedom + 1) / 2 * torch.log1p(z**2 / freedom)
    return density
