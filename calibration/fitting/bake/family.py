"""Bakes, fitted: the law of `hwloop.devices.bake` in the house of families."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from scipy.special import ndtri

from hwloop.calibration.fitting.bake.figures import bake_panels
from hwloop.calibration.fitting.bake.settings import BakeSettings
from hwloop.calibration.fitting.bake.table import BakeTable, bake_table, equivalent_place
from hwloop.calibration.fitting.base import Description, Family
from hwloop.calibration.fitting.checks import SAME_TEMPERATURE
from hwloop.calibration.fitting.drift.smoothness import as_scores
from hwloop.calibration.fitting.forms import interpolation
from hwloop.calibration.fitting.known import NOTHING_KNOWN, KnownDevice
from hwloop.calibration.fitting.layout import Block, Coefficient, Layout
from hwloop.calibration.fitting.likelihood import (
    LogLikelihood,
    Optimum,
    maximise,
    scores,
    tensor,
    whitening,
)
from hwloop.calibration.fitting.misfit import Check, CheckSettings, Means, shape_check
from hwloop.calibration.fitting.panels import Panel, binned
from hwloop.calibration.fitting.screening import Screening
from hwloop.devices.bake import BAKE_CURVES, BakeLaw, bake_weights, baked_mixture, log_acceleration, log_equivalent
from hwloop.devices.relaxation import log_density
from hwloop.devices.statistics import Knots
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Form
from hwloop.typing import FloatArray

SCALARS = ("stay_tail", "move_tail", "warp", "energy")
"""Blocks of one coefficient, the same for all cells and bakes."""
SHIFTS = ("stay_shift", "move_shift")
ONE_TIME = "no temperature was held for different times: assumed; predictions hold at the times that were measured"
"""Note of an activation energy that reads do not tell."""


@dataclass(frozen=True)
class Bake(Family[BakeTable]):
    """Cells that stay and cells that move, after some time at each of several temperatures."""

    name = "bake"
    experiment = Experiment.DRIFT
    extrapolates = False
    several_temperatures: ClassVar[bool] = True
    where: ClassVar[str] = "after bakes at {kelvin:.0f} K"
    """What checks call the reads of a temperature."""
    preference = 8
    summary = "resistive memory after bakes: cells that stay and move, Arrhenius on time, at several temperatures"
    cells_per_parameter: ClassVar[int] = 1
    settings: BakeSettings = BakeSettings()

    def prepare(self, measurement: Measurement, known: KnownDevice = NOTHING_KNOWN) -> tuple[BakeTable, Screening]:
        """Take first reads and those after bakes: see `bake_table`."""
        return bake_table(measurement, self.settings)

    def layout(self, table: BakeTable) -> Layout:
        """Lay out each curve's values by bake and conductance, then tails, warp and energy."""
        blocks = []
        for name, (unit, meaning) in BAKE_CURVES.items():
            for b, (kelvin, hours) in enumerate(self._shown_bakes(table)):
                where = f"{meaning}, bake like {hours:.3g} h at {kelvin:.0f} K"
                rows = [
                    Coefficient(f"{name}_{b}.v{k}", unit, f"{where}, G0 = {math.exp(at) * table.g_scale:.3g} uS")
                    for k, at in enumerate(table.levels)
                ]
                blocks.append(Block(f"{name}_{b}", tuple(rows)))
        for name, did in (("stay_tail", "stayed"), ("move_tail", "moved")):
            meaning = f"degrees of freedom of the cells that {did}, less one"
            blocks.append(Block(name, (Coefficient(name, "1", meaning, log=True),)))
        meaning = "w in y = G + w ln G, the scale of changes"
        blocks.append(Block("warp", (Coefficient("warp", "uS", meaning, log=True),)))
        note = "" if table.telling else ONE_TIME
        energy = Coefficient(
            "energy", "eV", "activation energy", log=True, note=note, start=math.log(self.settings.energy)
        )
        return Layout((*blocks, Block("energy", (energy,))))

    def _shown_bakes(self, table: BakeTable) -> list[tuple[float, float]]:
        """Return for each knot the measured bake (K, h) that is nearest to it."""
        kelvin, seconds = table.conditions.T
        log_time = np.log10(seconds) + log_acceleration(kelvin, self.settings.energy, table.reference)
        place = (log_time - log_time.min()) / max(float(np.ptp(log_time)), 1e-9)
        nearest = [int(np.argmin(np.abs(place - at))) for at in table.bakes]
        return [(float(table.conditions[k, 0]), float(table.conditions[k, 1]) / 3600.0) for k in nearest]

    def describe(self, table: BakeTable) -> Description:
        """Return the knots, and what was measured."""
        forms = {f"{name}_{b}": Form("knots", table.levels) for name in BAKE_CURVES for b in range(len(table.bakes))}
        settings = {"g_scale": table.g_scale, "reference": table.reference, "energy_told": float(table.telling)}
        settings |= {f"place_{b}": place for b, place in enumerate(table.bakes)}
        for k, (kelvin, seconds) in enumerate(table.conditions.tolist()):
            settings |= {f"kelvin_{k}": kelvin, f"seconds_{k}": seconds}
        return Description(
            forms=forms,
            settings=settings,
            conductance_range=(float(table.first.min()), float(table.first.max())),
            time_range=(float(table.time[table.there].min()), float(table.time[table.there].max())),
        )

    def estimate(self, table: BakeTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Find the maximum in rounds, along directions that change on the way.

        Intervals are those of the scatter of the scores and of the priors: where one kind of cells is enough, the
        likelihood of two does not curve, and what is known of the other is what the priors say.
        """
        own, likelihood, start = self.settings, self.likelihood(table), self.start(table)
        free = np.ones(start.size, bool)
        free[-1] = table.telling
        prior = self._prior_scores(table)
        found = maximise(likelihood, start, free=free, max_steps=own.first_steps)
        for _ in range(own.rounds):
            before = found.log_likelihood
            directions = whitening(np.concatenate([self._scores(table, found.theta)[:, free], prior[:, free]]))
            found = maximise(likelihood, found.theta, free=free, directions=directions, max_steps=own.steps)
            if found.log_likelihood - before < own.settled:
                found = replace(found, converged=True)
                break
        if not intervals:
            return found, {}
        each = np.concatenate([self._scores(table, found.theta), prior])[:, free]
        spread = np.zeros((start.size, start.size))
        spread[np.ix_(free, free)] = np.linalg.inv(each.T @ each)
        return replace(found, covariance=spread), {}

    def start(self, table: BakeTable) -> FloatArray:
        """Begin with half of the cells moved; the changes after each bake give shifts and widths."""
        place, basis = equivalent_place(table, self.settings.energy), interpolation(table.log_g, table.levels)
        change = table.conductance - table.first[:, None]
        parts: dict[str, FloatArray | float] = {"stay_tail": math.log(3.0), "move_tail": math.log(5.0)}
        parts |= {"warp": math.log(self.settings.usual_warp * table.g_scale), "energy": math.log(self.settings.energy)}
        nearest = np.argmin(np.abs(place[:, :, None] - np.array(table.bakes)), axis=2)
        for b in range(len(table.bakes)):
            there = table.there & (nearest == b)
            near = [change[there & (basis[:, k, None] > 0.5)] for k in range(basis.shape[1])]
            at = [one if one.size > 10 else change[there if there.any() else table.there] for one in near]
            quartiles = np.array([np.quantile(one, (0.25, 0.5, 0.75)) for one in at])
            width = np.maximum(quartiles[:, 2] - quartiles[:, 0], 1e-3 * table.g_scale)
            parts |= {f"hazard_{b}": np.full(len(at), -0.4), f"stay_shift_{b}": quartiles[:, 1]}
            parts |= {f"stay_width_{b}": np.log(0.3 * width), f"move_width_{b}": np.log(width)}
            parts |= {f"move_shift_{b}": quartiles[:, 1], f"move_skew_{b}": np.zeros(len(at))}
        return self.layout(table).vector(parts)

    def likelihood(self, table: BakeTable) -> LogLikelihood:
        """Return the log density of every cell's later reads given its first, and a share of the priors."""
        cells, shape = table.first.size, (len(BAKE_CURVES), len(table.bakes), len(table.levels))
        basis, density, place = (
            tensor(interpolation(table.log_g, table.levels)),
            self._density(table),
            self._place(table),
        )
        own, usual = self.settings, math.log(self.settings.usual_warp * table.g_scale)

        def each(theta: torch.Tensor) -> torch.Tensor:
            values, rest = theta[:-4].view(shape), theta[-4:]
            weights = torch.stack(bake_weights(place(rest[3]), table.bakes), -1)
            curves = torch.einsum("nrb,cbk,nk->nrc", weights, values, basis)
            prior = self._prior(values, table) + 0.5 * ((rest[2] - usual) / own.warp_spread) ** 2
            prior = prior + 0.5 * (((rest[:2] - own.usual_tail) / own.tail_spread) ** 2).sum()
            if table.telling:
                prior = prior + 0.5 * ((torch.exp(rest[3]) - own.energy) / own.energy_spread) ** 2
            return density(curves, rest) - prior / cells

        return each

    def _place(self, table: BakeTable) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return a function of ln energy: the place (cells, reads) between the mildest and the hardest bake."""
        passed, kelvin, ends = tensor(table.passed), tensor(table.temperature), tensor(table.conditions)
        fixed = tensor(equivalent_place(table, self.settings.energy))

        def at(log_energy: torch.Tensor) -> torch.Tensor:
            if not table.telling:
                return fixed
            energy = torch.exp(log_energy)
            single = log_equivalent(ends[:, 1:], ends[:, :1], energy, table.reference)
            low, high = single.min(), single.max()
            place: torch.Tensor = (log_equivalent(passed, kelvin, energy, table.reference) - low) / (high - low)
            return place

        return at

    def _density(self, table: BakeTable) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return a function of curves (cells, reads, BAKE_CURVES) and `SCALARS`: log density (cells,)."""
        own, conductance, first = self.settings, tensor(table.conductance), tensor(table.first)[:, None]
        there, begun = torch.as_tensor(table.there), torch.ones((), dtype=torch.float64)

        def each(curves: torch.Tensor, scalars: torch.Tensor) -> torch.Tensor:
            at = {name: curves[:, :, k] for k, name in enumerate(BAKE_CURVES)}
            freedom = _freedom(scalars[0], own), _freedom(scalars[1], own)
            density = log_density(baked_mixture(at, begun, freedom), first, conductance, torch.exp(scalars[2]))
            return torch.where(there, density, 0.0).sum(1)

        return each

    def _scores(self, table: BakeTable, theta: FloatArray) -> FloatArray:
        """Return the derivatives (cells, parameters) of every cell's log density.

        A read's curves are its own: one derivative by all of them is that of every read.
        """
        shape = (len(BAKE_CURVES), len(table.bakes), len(table.levels))
        basis, place, density = interpolation(table.log_g, table.levels), self._place(table), self._density(table)
        values, rest = tensor(theta[:-4]).view(shape), tensor(theta[-4:])
        weights = torch.stack(bake_weights(place(rest[3]), table.bakes), -1)
        curves = torch.einsum("nrb,cbk,nk->nrc", weights, values, tensor(basis)).requires_grad_()
        (slope,) = torch.autograd.grad(density(curves, rest).sum(), curves)
        by_knot = torch.einsum("nrc,nrb,nk->ncbk", slope, weights, tensor(basis)).flatten(1).numpy()

        def common(scalars: torch.Tensor) -> torch.Tensor:
            own = torch.stack(bake_weights(place(scalars[3]), table.bakes), -1)
            return density(torch.einsum("nrb,cbk,nk->nrc", own, values, tensor(basis)), scalars)

        moving = np.array([True, True, True, table.telling])
        scalars = np.zeros((len(by_knot), len(SCALARS)))
        scalars[:, moving] = scores(common, rest.numpy(), moving)
        return np.concatenate([by_knot, scalars], 1)

    def _prior(self, values: torch.Tensor, table: BakeTable) -> torch.Tensor:
        """Return minus the log density of the priors on curves (BAKE_CURVES, bakes, levels)."""
        own = self.settings
        unit = own.shift_unit * np.maximum(np.exp(table.levels), 0.1) * table.g_scale
        units = tensor(np.array([unit if name in SHIFTS else np.ones(unit.size) for name in BAKE_CURVES]))[:, None]
        scaled = values / units
        total = own.stiffness * ((scaled[:, :, 1:] - scaled[:, :, :-1]) ** 2).sum()
        total = total + own.steadiness * ((scaled[:, 1:] - scaled[:, :-1]) ** 2).sum()
        apart = tensor(np.diff(table.bakes))[:, None]
        slopes = (scaled[:, 1:] - scaled[:, :-1]) / apart * apart.mean()
        hazard, skew = (values[list(BAKE_CURVES).index(name)] for name in ("hazard", "move_skew"))
        total = total + own.hazard_weight * ((hazard - own.usual_hazard) ** 2).sum()
        total = total + own.skew_weight * (skew**2).sum()
        return 0.5 * (total + own.bend * ((slopes[:, 1:] - slopes[:, :-1]) ** 2).sum())

    def _prior_scores(self, table: BakeTable) -> FloatArray:
        """Return rows (n, parameters) of which the squares sum to the curvature of the priors."""
        shape = (len(BAKE_CURVES), len(table.bakes), len(table.levels))
        point = torch.zeros(math.prod(shape), dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(self._prior(point.view(shape), table), point, create_graph=True)
        curvature = torch.stack([torch.autograd.grad(one, point, retain_graph=True)[0] for one in slope])
        own, each = self.settings, np.zeros(len(SCALARS))
        each[:3] = own.tail_spread**-2, own.tail_spread**-2, own.warp_spread**-2
        each[3] = (own.energy / own.energy_spread) ** 2 if table.telling else 0.0
        whole = np.diag(np.concatenate([np.zeros(len(curvature)), each]))
        whole[: len(curvature), : len(curvature)] = curvature.numpy()
        return as_scores(whole)

    def law(self, table: BakeTable, theta: FloatArray) -> BakeLaw:
        """Return the law with the numbers of a parameter vector."""
        layout = self.layout(table)
        stay, move = (float(_freedom(tensor(theta[k]), self.settings)) for k in (-4, -3))
        return BakeLaw(
            curves={
                name: tuple(
                    Knots(table.levels, tuple(layout.part(theta, f"{name}_{b}"))) for b in range(len(table.bakes))
                )
                for name in BAKE_CURVES
            },
            knots=table.bakes,
            freedom=(stay, move),
            warp=float(np.exp(theta[-2])),
            g_scale=table.g_scale,
            energy=float(np.exp(theta[-1])),
            reference=table.reference,
            measured=tuple((kelvin, seconds) for kelvin, seconds in table.conditions.tolist()),
        )

    def rectangle(self, table: BakeTable, theta: FloatArray) -> FloatArray:
        """Return the quantile (cells, reads) of every read given the first one alone."""
        law = self.law(table, theta)
        log_time = log_equivalent(table.passed, table.temperature, law.energy, law.reference)
        equivalent = np.asarray(10.0**log_time, np.float64)
        predicted = law.after(equivalent, table.time, table.first[:, None])
        if table.codes is None:
            return predicted.cdf(table.conductance)
        read, half = table.codes.nearest(table.conductance), 0.5 * table.codes.step
        low, high = predicted.cdf(read - half), predicted.cdf(read + half)
        return low + (high - low) * np.clip(0.5 + (table.conductance - read) / (2.0 * half), 0.0, 1.0)

    def quantiles(self, table: BakeTable, theta: FloatArray) -> FloatArray:
        """Return the quantile of every read after the first."""
        return self.rectangle(table, theta)[table.there]

    def checks(self, table: BakeTable, theta: FloatArray, measurement: Measurement) -> list[Check]:
        """Look at the first read after a bake of each cell: its quantiles at every temperature and conductance."""
        usual, at = CheckSettings(), np.argmax(table.there, axis=1)
        own = (np.arange(at.size), at)
        quantile, kelvin = self.rectangle(table, theta)[own], table.temperature[own]
        names, number = np.unique(np.round(kelvin / SAME_TEMPERATURE), return_inverse=True)
        found = []
        for k, name in enumerate(names):
            here = number == k
            if here.sum() < usual.fewest_cells:
                continue
            said = self.where.format(kelvin=name * SAME_TEMPERATURE) + " the changes are not those of the fit: {where}"
            found.append(shape_check("shape", quantile[here], f"{said} of the reads, where 5 % should", usual))
        levels, places = binned(table.first, usual.level_bins)
        score = ndtri(np.clip(quantile, 1e-9, 1.0 - 1e-9))
        worst = Means.of(score, number * places.size + levels, names.size * places.size).worst(
            usual.mean * 2, usual.fewest_in_bin
        )
        if worst is not None:
            kelvin_of, place = names[worst.at // places.size] * SAME_TEMPERATURE, places[worst.at % places.size]
            where = f"{self.where.format(kelvin=kelvin_of)} cells of {place:.3g} uS"
            said = f"{where}: reads stand {worst.sigmas:.1f} standard errors from the fit: measure more"
            found.append(Check("levels", worst.chance, worst.size, said))
        return found

    def panels(self, table: BakeTable, theta: FloatArray) -> list[Panel]:
        """Draw the change against G0 after each bake, and the predicted quantiles."""
        return bake_panels(self.law(table, theta), table, self.quantiles(table, theta))


def _freedom(tail: torch.Tensor, settings: BakeSettings) -> torch.Tensor:
    """Return degrees of freedom."""
    return 1.0 + torch.exp(tail.clip(None, settings.largest_tail))
