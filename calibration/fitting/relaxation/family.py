"""Cells that stay and cells that move, fitted: the law of `hwloop.devices.relaxation` in the house of families."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from hwloop.calibration.fitting.base import Description, Family
from hwloop.calibration.fitting.checks import rows_of
from hwloop.calibration.fitting.drift.smoothness import as_scores
from hwloop.calibration.fitting.forms import interpolation
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.layout import Block, Coefficient, Layout
from hwloop.calibration.fitting.likelihood import (
    LogLikelihood,
    Optimum,
    covariance,
    maximise,
    scores,
    tensor,
    whitening,
)
from hwloop.calibration.fitting.panels import Panel
from hwloop.calibration.fitting.relaxation.figures import relaxation_panels
from hwloop.calibration.fitting.relaxation.memory import MEMORY, remembered
from hwloop.calibration.fitting.relaxation.settings import RelaxationSettings
from hwloop.calibration.fitting.relaxation.table import RelaxationTable, relaxation_table
from hwloop.calibration.fitting.screening import Screening
from hwloop.devices.predicted import t_score
from hwloop.devices.relaxation import CURVES, RelaxationLaw, log_density, mixture
from hwloop.devices.statistics import Knots
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Form
from hwloop.typing import BoolArray, FloatArray

COMPONENTS = {"stay": "stayed", "move": "moved"}
"""Kinds of cells, and what they did."""
SCALARS = ("stay_tail", "move_tail", "warp")
"""Blocks of one coefficient, the same for all cells."""


@dataclass(frozen=True)
class Relaxation(Family[RelaxationTable]):
    """Cells that stay and cells that move; widths and hazard grow linearly with log time."""

    name = "relaxation"
    experiment = Experiment.DRIFT
    extrapolates = True
    preference = 6
    rivals: ClassVar[tuple[str, ...]] = ("relaxation-sublinear",)
    summary = "resistive memory: cells that stay and cells that move, widths and hazard linear in log time"
    exponent: ClassVar[float] = 1.0
    """Of the growth."""
    settings: RelaxationSettings = RelaxationSettings()

    def prepare(
        self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN
    ) -> tuple[RelaxationTable, Screening]:
        """Take first reads and later ones: see `relaxation_table`."""
        return relaxation_table(measurement, self.settings)

    def layout(self, table: RelaxationTable) -> Layout:
        """Lay out each curve's values at the knots, then tails, warp and memory."""
        blocks = []
        for name, (unit, meaning) in CURVES.items():
            places = [math.exp(at) * table.g_scale for at in table.knots]
            rows = [Coefficient(f"{name}.v{k}", unit, f"{meaning}, G0 = {g:.3g} uS") for k, g in enumerate(places)]
            blocks.append(Block(name, tuple(rows)))
        for name, did in COMPONENTS.items():
            meaning = f"degrees of freedom of the cells that {did}, less one"
            blocks.append(Block(f"{name}_tail", (Coefficient(f"{name}_tail", "1", meaning, log=True),)))
        meaning = "w in y = G + w ln G, the scale of changes"
        blocks.append(Block("warp", (Coefficient("warp", "uS", meaning, log=True),)))
        return Layout((*blocks, MEMORY))

    def describe(self, table: RelaxationTable) -> Description:
        """Return the knots, and the ages from which time counts."""
        return Description(
            forms={name: Form("knots", table.knots) for name in CURVES},
            settings={
                "g_scale": table.g_scale,
                "first_age": table.first_age,
                "clock": table.clock,
                "exponent": self.exponent,
                "memory_freedom": self.settings.memory_freedom,
            },
            conductance_range=(float(table.first.min()), float(table.first.max())),
            time_range=(float(table.time[table.there].min()), float(table.time[table.there].max())),
        )

    def estimate(self, table: RelaxationTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Find the maximum in rounds, then how long ranks last."""
        likelihood, start = self.likelihood(table), self.start(table)
        free = np.arange(start.size) < start.size - len(MEMORY.coefficients)
        found = self._settled(table, likelihood, start, free)
        spread = np.zeros((start.size, start.size))
        if intervals:
            spread = covariance(likelihood, found.theta, free=free, own=self._scores(table, found.theta))
        ranks = t_score(self._quantiles(table, found.theta), self.settings.memory_freedom)
        memory = remembered(ranks, table, self.settings)
        spread[np.ix_(~free, ~free)] = memory.covariance
        theta = np.concatenate([found.theta[free], memory.theta])
        return replace(found, theta=theta, covariance=spread), {}

    def _settled(
        self, table: RelaxationTable, likelihood: LogLikelihood, start: FloatArray, free: BoolArray
    ) -> Optimum:
        """Find the maximum in rounds: knots and components trade off, along directions that change on the way."""
        own, prior = self.settings, self._prior_scores(table)
        found = maximise(likelihood, start, free=free, max_steps=own.first_steps)
        for _ in range(own.rounds):
            before, directions = (
                found.log_likelihood,
                whitening(np.concatenate([self._scores(table, found.theta), prior])),
            )
            found = maximise(likelihood, found.theta, free=free, directions=directions, max_steps=own.steps)
            if found.log_likelihood - before < own.settled:
                return replace(found, converged=True)
        return found

    def start(self, table: RelaxationTable) -> FloatArray:
        """Begin with few cells moved; typical changes give the width of these, and the smaller ones that of others."""
        basis = interpolation(table.log_g, table.knots)
        change = np.where(table.there, np.abs(table.conductance - table.first[:, None]), np.nan)
        low, high = (np.nanquantile(change, share, axis=1) for share in (0.25, 0.75))
        smallest, every = self.settings.smallest_change * table.g_scale, np.ones(len(table.knots))

        def by_knot(size: FloatArray) -> FloatArray:
            own = np.log(np.maximum(size, smallest))
            mean = (basis * own[:, None]).sum(0) / np.maximum(basis.sum(0), 1e-9)
            return np.asarray(np.where(basis.sum(0) > 1, mean, own.mean()))

        layout = self.layout(table)
        parts: dict[str, FloatArray | float] = {
            block.name: np.array([item.start for item in block.coefficients]) for block in layout.blocks
        }
        growth = self.settings.usual_growth * every
        parts |= {name: growth for name in CURVES if name.endswith("_growth") and "shift" not in name}
        parts |= {"hazard": -2.5 * every, "stay_width": by_knot(low), "move_width": by_knot(high) + 1.0}
        parts |= {"stay_tail": math.log(3.0), "move_tail": math.log(2.0)}
        parts |= {"warp": math.log(self.settings.usual_warp * table.g_scale)}
        return layout.vector(parts)

    def likelihood(self, table: RelaxationTable) -> LogLikelihood:
        """Return the log density of every cell's later reads given its first, and a share of the priors."""
        layout, cells = self.layout(table), table.first.size
        basis, density = tensor(interpolation(table.log_g, table.knots)), self._density(table)
        usual, spread = math.log(self.settings.usual_warp * table.g_scale), self.settings.warp_spread

        def warped(log_warp: torch.Tensor) -> torch.Tensor:
            return 0.5 * ((log_warp - usual) / spread) ** 2

        def each(theta: torch.Tensor) -> torch.Tensor:
            curves = theta[: len(CURVES) * len(table.knots)].view(len(CURVES), -1)
            rest = torch.stack([layout.one(theta, name) for name in SCALARS])
            return density(basis @ curves.T, rest) - (self._prior(curves) + warped(rest[2])) / cells

        return each

    def _density(self, table: RelaxationTable) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return a function of curves (cells, CURVES) and `SCALARS`: log density (cells,) of the later reads."""
        exponent, own, decades = self.exponent, self.settings, tensor(table.decades)
        conductance, first = tensor(table.conductance), tensor(table.first)[:, None]
        there = torch.as_tensor(table.there)

        def each(curves: torch.Tensor, scalars: torch.Tensor) -> torch.Tensor:
            at = {name: curves[:, k, None] for k, name in enumerate(CURVES)}
            freedom = _freedom(scalars[0], own), _freedom(scalars[1], own)
            density = log_density(mixture(at, decades, exponent, freedom), first, conductance, torch.exp(scalars[2]))
            return torch.where(there, density, 0.0).sum(1)

        return each

    def _scores(self, table: RelaxationTable, theta: FloatArray) -> FloatArray:
        """Return the derivatives (cells, free parameters) of every cell's log density.

        A cell's curves are its own: one derivative by all of them is that of every cell.
        """
        knots, layout = len(table.knots), self.layout(table)
        basis = interpolation(table.log_g, table.knots)
        values = theta[: len(CURVES) * knots].reshape(len(CURVES), knots)
        at = tensor(basis @ values.T).requires_grad_()
        scalars = tensor(np.array([layout.part(theta, name)[0] for name in SCALARS]))
        density = self._density(table)
        (slope,) = torch.autograd.grad(density(at, scalars).sum(), at)
        by_knot = slope.numpy()[:, :, None] * basis[:, None, :]
        rest = scores(lambda point: density(at.detach(), point), scalars.numpy(), np.ones(len(SCALARS), bool))
        return np.concatenate([by_knot.reshape(len(basis), -1), rest], 1)

    def _prior_scores(self, table: RelaxationTable) -> FloatArray:
        """Return rows (n, free parameters) of which the squares sum to the curvature of the priors."""
        point = torch.zeros((len(CURVES), len(table.knots)), dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(self._prior(point), point, create_graph=True)
        curvature = torch.stack([torch.autograd.grad(one, point, retain_graph=True)[0] for one in slope.flatten()])
        whole = np.zeros((point.numel() + len(SCALARS),) * 2)
        whole[: point.numel(), : point.numel()] = curvature.flatten(1).numpy()
        return as_scores(whole)

    def _prior(self, curves: torch.Tensor) -> torch.Tensor:
        """Return minus the log density of the priors on curves (CURVES, knots): neighbours are alike, growth usual."""
        own, total = self.settings, torch.zeros((), dtype=torch.float64)
        for name, values in zip(CURVES, curves, strict=True):
            growth = name.endswith("_growth") or name == "move_skew"
            steps = ((values[1:] - values[:-1]) ** 2).sum()
            total = total + (own.growth_stiffness if growth else own.stiffness) * steps
            if name.endswith("_growth") and "shift" not in name:
                total = total + own.growth_weight * ((values - own.usual_growth) ** 2).sum()
        return total

    def law(self, table: RelaxationTable, theta: FloatArray) -> RelaxationLaw:
        """Return the law with the numbers of a parameter vector."""
        layout = self.layout(table)
        stay, move = (float(_freedom(tensor(layout.part(theta, f"{n}_tail")), self.settings)) for n in COMPONENTS)
        memory = layout.part(theta, MEMORY.name)
        return RelaxationLaw(
            curves={name: Knots(table.knots, tuple(layout.part(theta, name))) for name in CURVES},
            freedom=(stay, move),
            warp=float(np.exp(layout.part(theta, "warp")[0])),
            exponent=self.exponent,
            g_scale=table.g_scale,
            first_age=table.first_age,
            clock=table.clock,
            memory=(float(1.0 / (1.0 + np.exp(-memory[0]))), float(np.exp(memory[1]))),
            memory_freedom=self.settings.memory_freedom,
        )

    def predict(
        self, table: RelaxationTable, theta: FloatArray, earlier: Measurement, later: Measurement
    ) -> FloatArray:
        """Return the log density of the later read, given the first and the latest one before."""
        rows, law = rows_of(later), self.law(table, theta)
        there = rows.there[table.cells, 0]
        time = np.where(there, rows.time[table.cells, 0], table.first_time)
        read = np.where(there, rows.conductance[table.cells, 0], table.first)
        last = table.there.shape[1] - 1 - np.argmax(table.there[:, ::-1], axis=1)
        latest = (np.arange(last.size), last)
        given = law.given(time, table.first, table.time[latest], table.conductance[latest])
        result = np.full(len(later.cells), np.nan)
        with np.errstate(divide="ignore"):  # a read below zero has no density at all
            result[table.cells] = np.where(there, np.log(given.density(read)), np.nan)
        return result

    def _quantiles(self, table: RelaxationTable, theta: FloatArray) -> FloatArray:
        """Return the quantile (cells, reads) of every read given the first one alone."""
        return self.law(table, theta).at(table.time, table.first[:, None]).cdf(table.conductance)

    def quantiles(self, table: RelaxationTable, theta: FloatArray) -> FloatArray:
        """Return the quantile of every read after the first."""
        return self._quantiles(table, theta)[table.there]

    def panels(self, table: RelaxationTable, theta: FloatArray) -> list[Panel]:
        """Draw the change against G0 at the last age, its growth with time, and the predicted quantiles."""
        return relaxation_panels(self.law(table, theta), table, self.quantiles(table, theta))


@dataclass(frozen=True)
class SublinearRelaxation(Relaxation):
    """The same with growth that slows down: variances rather than widths are linear in log time."""

    name = "relaxation-sublinear"
    preference = 7
    rivals: ClassVar[tuple[str, ...]] = ()
    summary = "resistive memory: the same with widths and hazard as the root of log time"
    exponent = 0.5


def _freedom(tail: torch.Tensor, settings: RelaxationSettings) -> torch.Tensor:
    """Return degrees of freedom."""
    return 1.0 + torch.exp(tail.clip(None, settings.largest_tail))
