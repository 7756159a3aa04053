"""Drift: G(t) = G(t0) (t / t0)^-nu with a coefficient per device, normal around a mean that depends on conductance.

After Joshi et al. 2020, as a random-effects model. A read is y = G(t) (1 + e), with e normal of the variance
V(g) (1 + b ln(t / t0)): read noise that is a part of the measurement, growing with age as 1/f noise does. Of that,
reads at neighbouring ages have something in common (`drift_errors`). What is fitted by maximum likelihood are the mean
and the spread of nu and V, all functions of g = G(t0) / g_scale.

Every device is first reduced to its own G(t0) and nu (`drift_table`), or, where its reads are too noisy for that, to
what they say on a grid of both (`drift_noisy`). For these the distribution of conductances is fitted along: without it
the reads of a device of 0.1 uS may as well be those of one of 0.2 uS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, stats

from hwloop.calibration.fitting.base import Coefficient, Family, Panel, Screening, Series, binned, quantile_panel
from hwloop.calibration.fitting.checks import Rows, rows_of
from hwloop.calibration.fitting.drift_errors import Mix, Precision
from hwloop.calibration.fitting.drift_noisy import factors_of, prior_of
from hwloop.calibration.fitting.drift_table import BELOW, CHUNK, TOO_NOISY, DriftTable, drift_table, robust
from hwloop.calibration.fitting.likelihood import Optimum, covariance, maximise, scores, tensor, whitening
from hwloop.devices.splines import spline_relations
from hwloop.devices.statistics import Statistic
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Form, build_statistic, coefficient_meanings, coefficient_names
from hwloop.typing import FloatArray

SUPPORT = 30
"""Cells that must lie where a clipping bound acts before the bound is fitted."""
STEP = 1e-3
"""Of ln g, for slopes of the mean."""
STRETCH = 0.4
"""Of ln g, to either side, over which the noise is taken as a power of conductance."""
GROUP = 0.002
"""Of ln g, within which the statistics of devices are taken as one where there are very many of them."""
LOOSE_NOISE = 2.0
"""Of ln V: how far from a first look it may be at a knot where no device tells."""
SMALLEST_NOISE = 1e-10
"""V, beside what is constant in uS."""
SMALLEST_SPREAD = 1e-5
"""Of drift coefficients."""
FIRST_LOOK, SECOND_LOOK = 4_000, 20_000
"""Noisy devices on which the search starts, and on which the intervals are computed."""
ANY_ROUGHNESS = 12.0
"""Of the logarithm of how much mean and spread bend, to either side of what could just be seen."""
PER_DEVICE = (
    "log_g", "nu", "var_g", "var_nu", "covariance", "squares", "freedom", "noise", "tilt", "bend", "precise", "cells",
)  # fmt: skip
"""Columns of the table."""
Tables = tuple[torch.Tensor, torch.Tensor]


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

    def caveats(self, table: DriftTable) -> list[str]:
        """How noise grows is taken from quiet devices, which there must be."""
        if table.precise.sum() >= SUPPORT:
            return []
        return [
            "no devices are quiet enough to show how read noise grows with age, or only few: as that of single reads "
            "with 1/f noise, where there are none; values may be off by more than their intervals say; measure some at "
            "higher conductances, or average more"
        ]

    def subset(self, table: DriftTable, cells: NDArray[np.bool_]) -> DriftTable:
        """The table of some devices."""
        renumber = np.cumsum(cells) - 1
        own = cells[table.noisy]
        return replace(
            table,
            noisy=renumber[table.noisy[own]],
            marginal=None if table.marginal is None else table.marginal.take(own),
            **{name: getattr(table, name)[cells] for name in PER_DEVICE},
        )

    def coefficients(self, table: DriftTable) -> list[Coefficient]:
        """Of the mean, of the spread, ln V at its knots, and the constant noise."""
        rows = [
            Coefficient(f"{part}.{name}", "1", meaning)
            for part, quantity in (("mean", "mean drift coefficient"), ("spread", "spread of drift coefficients"))
            for name, meaning in coefficient_meanings(self._form(table), quantity, table.g_scale).items()
        ]
        places = np.exp(table.noise_knots) * table.g_scale
        rows += [
            Coefficient(
                f"noise.v{k}", "1", f"relative variance of a read at t0, at {place:.3g} uS, less the floor", log=True
            )
            for k, place in enumerate(places)
        ]
        note = "" if table.floor else "all noise that is seen falls with the conductance: held at zero"
        return [*rows, Coefficient("noise.floor", "uS", "noise of a read that is constant in uS", note=note)]

    def estimate(self, table: DriftTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Maximum likelihood; very many precise devices count by the sums over neighbours, which hold all they tell.

        A part of the noisy devices shows the way to where all of them lead.
        """
        theta = self._start(table)
        free = np.ones(theta.size, bool)
        floor = self._density_at(table) - 1
        free[floor] = False  # known beforehand
        first = self._part(table, FIRST_LOOK)
        prior = np.zeros((theta.size, theta.size))
        smooth = self.kind == "spline"
        # How smooth mean and spread are, all devices together show once they have been fitted.
        for look, part in enumerate([first, first, table] + [table] * smooth):
            if smooth and look > 0:
                prior = self._smoothness(table, first, theta, prior)
            found = self._climb(part, theta, free, part.nu.size / table.nu.size * prior)
            theta = found.theta
        held, theta = self._unsupported(table, found.theta)
        if held:
            names = [item.name for item in self.coefficients(table)]
            free[[names.index(name) for name in held]] = False
            found = self._climb(table, theta, free, prior)
        if intervals:
            part = self._focused(self._part(table, SECOND_LOOK), found.theta)
            share = part.nu.size / table.nu.size
            own = np.concatenate([self._scores(part, found.theta), _as_scores(share * prior)])[:, free]
            total = self._likelihood(_sums(part), part, share * prior)
            doubt = share * covariance(total, found.theta, free=free, kinks=True, own=own)
            doubt[floor, floor] = table.floor_error**2
            found = replace(found, covariance=doubt)
        return found, held

    def log_likelihood(self, table: DriftTable, theta: FloatArray) -> FloatArray:
        """Of every device that is precise or integrated over, up to a constant of the data."""
        with torch.no_grad():
            precise = self._precise(_each(table), table)(tensor(theta)).numpy()
            if table.marginal is None:
                return precise
            return np.concatenate([precise, table.marginal.each(*self._tables(table)(tensor(theta)))])

    def predict(self, table: DriftTable, theta: FloatArray, earlier: Measurement, later: Measurement) -> FloatArray:
        """From each device's own line, drawn towards what devices of its conductance do; or from all it may be.

        What the noise of the later read has in common with that of the earlier ones is expected of it.
        """
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
        mix = Mix.of(table.constant(table.log_g) / noise, mean) if table.floor else None
        known = _Known.of(rows_of(earlier).take(table.cells), x, table, mix)
        carried = known.carried(nu, level)
        # Of the errors of ln g and nu, the earlier reads' share of the noise takes some along.
        still, stretch = 1.0 - known.total, x - known.lean
        predicted = np.exp(level - nu * x) * table.g_scale
        relative = noise * known.variance + still**2 * var_g - 2 * still * stretch * cross + stretch**2 * var_nu
        read = rows.conductance[table.cells, 0]
        density = stats.norm.logpdf(read, predicted * (1 + carried), predicted * np.sqrt(relative))
        if table.marginal is not None:
            some = table.noisy
            density[some] = self._predict_noisy(table, theta, x[some], read[some] / table.g_scale, known.take(some))
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
            "settings": {"t0": table.t0, "g_scale": table.g_scale, "noise_growth": table.growth.rate},
            "conductance_range": table.conductance_range,
            "time_range": table.time_range,
        }

    def panels(self, table: DriftTable, theta: FloatArray) -> list[Panel]:
        """Mean, spread and noise against conductance, and the calibration of the coefficients."""
        # To where cells are: single ones, whose conductance is hardly known, would stretch the axis by decades.
        low, high = np.quantile(table.log_g, [0.005, 0.995])
        fine = np.exp(np.linspace(low, high, 200))
        known = table.noise < TOO_NOISY**2
        table = _lines_of(table, known) if known.any() else table
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
        form, n = self._form(table), len(coefficient_names(self._form(table)))
        curves = [build(form, theta[:n])(fine), build(form, theta[n : 2 * n])(fine)]
        curves.append(np.exp(self._log_noise(table, theta, np.log(fine))))
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
        return Form(self.kind, () if self.kind == "log-clip" else table.knots)

    def _part(self, table: DriftTable, noisy: int) -> DriftTable:
        """The table, or a random part of it that has about so many noisy devices."""
        share = min(1.0, noisy / max(table.noisy.size, 1), 2 * CHUNK / table.nu.size)
        if share == 1.0:
            return table
        return self.subset(table, np.random.default_rng(2).random(table.nu.size) < share)

    def _focused(self, table: DriftTable, theta: FloatArray) -> DriftTable:
        """The same, but nodes that do not matter for these parameters cost nothing."""
        if table.marginal is None:
            return table
        with torch.no_grad():
            return replace(table, marginal=table.marginal.focused(*self._tables(table)(tensor(theta))))

    def _smoothness(self, table: DriftTable, part: DriftTable, theta: FloatArray, prior: FloatArray) -> FloatArray:
        """Precision (p, p) of the parameters before anything is seen: how little mean and spread bend as a rule.

        theta  the maximum for `part` of the table with `prior`, so far

        Empirical Bayes: without a prior the maximum would be normal around the truth, whose second derivative is taken
        as white noise in ln g, of the variance under which that maximum is most likely.
        """
        directions = whitening(self._scores(part, theta))
        covariance = part.nu.size / table.nu.size * directions @ directions.T
        alone = theta + covariance @ prior @ theta
        n, found = len(table.knots), np.zeros_like(prior)
        if n > 2:
            slopes, relation, roughness = spline_relations(table.knots)
            rough = relation @ np.linalg.solve(roughness, relation.T)
            for own in (slice(0, n), slice(n, 2 * n)):
                variance = _roughness(slopes @ alone[own], slopes @ covariance[own, own] @ slopes.T, rough)
                found[own, own] = slopes.T @ np.linalg.solve(rough, slopes) / variance
        return found

    def _climb(self, table: DriftTable, theta: FloatArray, free: NDArray[np.bool_], prior: FloatArray) -> Optimum:
        """The maximum from theta, in directions in which the scores of a part of the devices scatter by one."""
        table = self._focused(table, theta)
        part = self._part(table, FIRST_LOOK)
        own = self._scores(part, theta) * math.sqrt(table.nu.size / part.nu.size)
        directions = whitening(np.concatenate([own, _as_scores(prior)])[:, free])
        return maximise(self._likelihood(_sums(table), table, prior), theta, free=free, directions=directions)

    def _likelihood(self, sums: _Sums, table: DriftTable, prior: FloatArray) -> Callable[[torch.Tensor], torch.Tensor]:
        """Log-likelihood of groups of precise devices and of all noisy ones, a hold on their density, the prior."""
        precise, stiffness = self._precise(sums, table), tensor(prior)
        if table.marginal is None:
            return lambda theta: torch.cat([precise(theta), -0.5 * (theta @ stiffness @ theta)[None]])
        noisy, tables, density = table.marginal, self._tables(table), self._log_density(table)
        places = np.array(table.noise_knots)
        first_look = tensor(np.interp(places, *_noise_seen(table)))
        end = self._density_at(table) - 1

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            # One unit at every knot keeps the density from zero where no device is, and ln V from anywhere.
            away = (theta[end - places.size : end] - first_look) / LOOSE_NOISE
            held = density(theta).sum() - 0.5 * (away**2).sum() - 0.5 * theta @ stiffness @ theta
            return torch.cat([precise(theta), noisy.total(*tables(theta))[None], held[None]])

        return likelihood

    def _scores(self, table: DriftTable, theta: FloatArray) -> FloatArray:
        """Derivatives (devices, p) of the log-likelihood of each device."""
        own = scores(self._precise(_each(table), table), theta, np.ones(theta.size, bool))
        if table.marginal is None:
            return own
        tables = self._tables(table)
        by_factors, by_prior = _by_parameters(tables, theta)
        noisy = table.marginal.scores(*tables(tensor(theta)), by_factors, by_prior)
        return np.concatenate([own, noisy])

    def _precise(self, sums: _Sums, table: DriftTable) -> Callable[[torch.Tensor], torch.Tensor]:
        """Log-likelihood of precise devices, or of groups of them, (groups,)."""
        form = self._form(table)
        n = len(coefficient_names(form))
        seen = _noise_at(table, sums.log_g)
        # Where devices crowd, one that is seen beside the crowd is more often one of theirs with an error, and more
        # often a noisy one: Tweedie's formula for where it is, and for the error of nu that goes with it.
        lean = sums.tilt + _slope(table, sums.log_g)
        place = sums.log_g + seen * sums.var_g * lean
        nu, scatter, devices = (tensor(each) for each in (sums.nu, sums.scatter, sums.devices))
        squares, freedom, tilt = tensor(sums.squares), tensor(sums.freedom), tensor(lean)
        bend = tensor(np.maximum(sums.bend, -0.5 / (seen * sums.var_g)))  # no error is less than half of what it was
        errors = [tensor(each) for each in (sums.var_nu, sums.covariance, sums.var_g)]
        basis, constant = _basis(place, table.noise_knots), tensor(table.constant(place))
        last = 2 * n + len(table.noise_knots)
        error = np.sqrt(3 * seen * sums.var_g)
        here, beside = blurred(form, place, error), blurred(form, place + STEP, error)
        if table.marginal is not None:
            grid = table.marginal.grid
            inside = tensor((sums.log_g > grid.log_g[0]) & (sums.log_g < grid.log_g[-1])) * devices
            density_basis, density = _basis(sums.log_g, grid.knots), self._log_density(table)

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            noise = torch.exp(basis @ theta[2 * n : last]) + constant
            mean, spread = here(theta[:n]), here(theta[n : 2 * n])
            slope = (beside(theta[:n]) - mean) / STEP
            variance = spread.clamp(min=SMALLEST_SPREAD) ** 2
            # Its ln g is known with an error too, which comes with that of nu.
            variance = variance + noise * (errors[0] - 2 * slope * errors[1] + slope**2 * errors[2])
            variance = variance + bend * (noise * (errors[1] - slope * errors[2])) ** 2
            mean = mean - noise * tilt * errors[1]
            each = -0.5 * (
                (scatter + devices * (nu - mean) ** 2) / variance + devices * torch.log(2 * math.pi * variance)
            )
            each = each - 0.5 * (freedom * torch.log(noise) + squares / noise)
            if table.marginal is not None:
                each = each + inside * (density_basis @ density(theta))
            return each

        return likelihood

    def _log_density(self, table: DriftTable) -> Callable[[torch.Tensor], torch.Tensor]:
        """Logarithm of the density of devices at the grid's knots; one knot is the measure of all."""
        assert table.marginal is not None
        grid = table.marginal.grid
        fine, log_step = _basis(grid.log_g, grid.knots), tensor(grid.log_step)
        first = self._density_at(table)

        def density(theta: torch.Tensor) -> torch.Tensor:
            raw = torch.cat([theta[first:], -theta[first:].sum()[None]])
            result: torch.Tensor = raw - torch.logsumexp(fine @ raw + log_step, 0)
            return result

        return density

    def _density_at(self, table: DriftTable) -> int:
        """Where in the parameter vector the density begins: behind all that is reported."""
        return 2 * len(coefficient_names(self._form(table))) + len(table.noise_knots) + 1

    def _tables(self, table: DriftTable) -> Callable[[torch.Tensor], Tables]:
        """What the noisy devices' likelihood needs of the parameters at the nodes of the grid."""
        assert table.marginal is not None
        grid, form = table.marginal.grid, self._form(table)
        n = len(coefficient_names(form))
        last = 2 * n + len(table.noise_knots)
        noise, density = _basis(grid.log_g, table.noise_knots), _basis(grid.log_g, grid.knots)
        constant = tensor(table.constant(grid.log_g))
        statistic, log_density = blurred(form, grid.log_g, np.exp(grid.log_step) / 2), self._log_density(table)

        def tables(theta: torch.Tensor) -> Tables:
            mean, spread = statistic(theta[:n]), statistic(theta[n : 2 * n]).clamp(min=SMALLEST_SPREAD)
            log_noise = torch.log(torch.exp(noise @ theta[2 * n : last]) + constant)
            return factors_of(grid, log_noise), prior_of(grid, mean, spread, density @ log_density(theta))

        return tables

    def _predict_noisy(
        self, table: DriftTable, theta: FloatArray, x: FloatArray, read: FloatArray, known: _Known
    ) -> FloatArray:
        """Log density per uS of reads (m,) over g_scale at x = ln(t / t0), over all that each noisy device may be."""
        assert table.marginal is not None
        grid, done, found = table.marginal.grid, 0, np.empty(x.size)
        noise = np.exp(self._log_noise(table, theta, grid.log_g))
        carried = np.stack([known.carried(nu) for nu in grid.nu.tolist()], 1) + known.total[:, None]
        with torch.no_grad():
            for block in table.marginal.posteriors(*self._tables(table)(tensor(theta))):
                part = slice(done, done + block.log_likelihood.numel())
                done = part.stop
                log_g = grid.log_g[block.rows, None, None]
                place = np.exp(log_g - grid.nu[block.columns] * x[part, None])
                sigma = place * np.sqrt(noise[block.rows, None] * known.variance[part])[:, :, None]
                expected = place * (1 + np.exp(-log_g) * carried[part, block.columns] - known.total[part, None])
                density = stats.norm.pdf(read[part, None], expected, sigma)
                found[part] = np.log((block.probability.numpy() * density).sum((0, 2)) + 1e-300)
        return found - math.log(table.g_scale)

    def _statistics(self, table: DriftTable, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        form = self._form(table)
        n = len(coefficient_names(form))
        g = np.exp(table.log_g)
        mean = np.asarray(build(form, theta[:n])(g), np.float64)
        return mean, np.maximum(build(form, theta[n : 2 * n])(g), SMALLEST_SPREAD)

    def _predicted(self, table: DriftTable, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of each device's coefficient as its reads show it: see `_precise`."""
        noise = np.exp(self._log_noise(table, theta))
        tilt = table.tilt + _slope(table, table.log_g)
        placed = replace(table, log_g=table.log_g + noise * table.var_g * tilt)
        mean, spread = self._statistics(placed, theta)
        slope = (self._statistics(replace(placed, log_g=placed.log_g + STEP), theta)[0] - mean) / STEP
        error = table.var_nu - 2 * slope * table.covariance + slope**2 * table.var_g
        return mean - noise * tilt * table.covariance, np.sqrt(spread**2 + noise * error)

    def _log_noise(self, table: DriftTable, theta: FloatArray, log_g: FloatArray | None = None) -> FloatArray:
        """Logarithm of the relative variance of a read at t0, of the devices or at ln g."""
        at = table.log_g if log_g is None else log_g
        end = self._density_at(table) - 1
        relative = np.interp(at, table.noise_knots, theta[end - len(table.noise_knots) : end])
        return np.asarray(np.log(np.exp(relative) + table.constant(at)))

    def _start(self, table: DriftTable) -> FloatArray:
        """From bins of neighbours in conductance."""
        known = table.noise < 1.0
        whole = table
        table = _lines_of(table, known) if known.sum() >= SUPPORT else table
        bins, centre = binned(table.log_g, max(4, min(40, table.nu.size // 60)))
        count = centre.size
        size = np.bincount(bins, minlength=count)
        mean, width = robust(table.nu, bins, count)  # noise has tails that no mean survives
        scatter = width**2
        spread = np.sqrt(
            np.maximum(scatter - np.bincount(bins, table.noise * table.var_nu, count) / size, 0.05 * scatter)
        )
        weight = 1.0 / np.sqrt(np.maximum(scatter, 1e-12) / size)
        form = self._form(whole)
        places, levels = _noise_seen(whole)
        start = [
            _start_form(form, centre, mean, weight),
            _start_form(form, centre, spread, weight),
            np.interp(whole.noise_knots, places, levels),
            np.array([whole.floor]),
        ]
        if whole.marginal is not None:
            grid = whole.marginal.grid
            density = np.log(
                np.bincount(np.argmax(_basis(whole.log_g, grid.knots).numpy(), 1), minlength=len(grid.knots)) + 1.0
            )
            start.append((density - density.mean())[:-1])
        return np.concatenate(start)

    def _unsupported(self, table: DriftTable, theta: FloatArray) -> tuple[dict[str, str], FloatArray]:
        """Bounds of clipped forms that no device reaches: held where the data end."""
        if self.kind != "log-clip":
            return {}, theta
        held: dict[str, str] = {}
        place, devices = table.log_g[table.precise], np.ones(int(table.precise.sum()))
        if table.marginal is not None:
            expected = table.marginal.places(*self._tables(table)(tensor(theta)))
            some = expected > 0.5
            place = np.concatenate([place, table.marginal.grid.log_g[some]])
            devices = np.concatenate([devices, expected[some]])
        theta = theta.copy()
        for offset, name in ((0, "mean"), (4, "spread")):
            slope, level, low, high = theta[offset : offset + 4]
            straight = slope * place + level
            below, above = straight < low, straight > high
            inside = devices[~below & ~above]
            reason = "no measured conductance reaches this bound: held at the edge of the data"
            if inside.sum() < SUPPORT:
                for part in ("slope", "offset"):
                    held[f"{name}.{part}"] = "every measured conductance is at a bound: the slope between is not seen"
            if devices[below].sum() < SUPPORT:
                held[f"{name}.low"] = reason
                theta[offset + 2] = max(straight.min(), SMALLEST_SPREAD)
            if devices[above].sum() < SUPPORT:
                held[f"{name}.high"] = reason
                theta[offset + 3] = max(straight.max(), theta[offset + 2])
        return held, theta


@dataclass(frozen=True)
class _Known:
    """What the noise of earlier reads tells of that of a later one: by weights on it, one per read."""

    reads: FloatArray
    """(devices, reads) over g_scale."""
    x: FloatArray
    weight: FloatArray
    variance: FloatArray
    """(devices,) of the later read, over that at t0, that remains."""

    @classmethod
    def of(cls, rows: Rows, later: FloatArray, table: DriftTable, mix: Mix | None) -> _Known:
        """Of one more read of each of the table's devices, at ln(t / t0) = later."""
        rows = replace(rows, there=rows.there & (rows.time > 0))
        growth, x = table.growth, rows.log_time(table.t0)
        shared = growth.share * growth.rate * growth.common_with(later, x, rows.there)
        if mix is not None:
            shared *= 1 - mix.share[:, None]
        weight = Precision(growth, x, rows.there, mix)(shared)
        variance = growth.variance(later[:, None], mix)[:, 0] - (weight * shared).sum(1)
        return cls(rows.conductance * rows.there / table.g_scale, x, weight, variance)

    def take(self, some: NDArray[np.int64]) -> _Known:
        """Those of some devices."""
        return _Known(self.reads[some], self.x[some], self.weight[some], self.variance[some])

    @property
    def total(self) -> FloatArray:
        """(devices,) of the weights."""
        return np.asarray(self.weight.sum(1))

    @property
    def lean(self) -> FloatArray:
        """(devices,) sum of the weights times x."""
        return np.asarray((self.weight * self.x).sum(1))

    def carried(self, nu: FloatArray | float, level: FloatArray | float = 0.0) -> FloatArray:
        """(devices,) expected relative noise of the later read of devices at ln g = level that drift with nu."""
        curve = np.exp(np.multiply.outer(nu, 1.0) * self.x.T - level).T
        return np.asarray((self.weight * (self.reads * curve - 1.0)).sum(1))


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
    tilt: FloatArray
    bend: FloatArray
    devices: FloatArray


def _each(table: DriftTable) -> _Sums:
    """Every precise device by itself."""
    names = ("log_g", "nu", "var_nu", "covariance", "var_g", "squares", "freedom", "tilt", "bend")
    columns = {name: getattr(table, name)[table.precise] for name in names}
    one = np.ones(int(table.precise.sum()))
    return _Sums(**columns, scatter=0.0 * one, devices=one)


def _sums(table: DriftTable) -> _Sums:
    """Devices within GROUP of each other in ln g and in the logarithm of the error of nu."""
    one = _each(table)
    place = np.floor(one.log_g / GROUP).astype(np.int64)
    error = np.floor(np.log(one.var_nu) / (25 * GROUP)).astype(np.int64)
    error -= error.min() if error.size else 0
    _, group = np.unique(place * (int(error.max(initial=0)) + 1) + error, return_inverse=True)

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
        tilt=total(one.tilt) / devices,
        bend=total(one.bend) / devices,
        devices=devices,
    )


class LogClipDrift(DriftFamily):
    """Mean and spread linear in ln g between two bounds, the form of Joshi et al. 2020."""

    name = "log-clip"
    kind = "log-clip"
    summary = "power-law drift, mean and spread linear in ln g between two bounds (Joshi et al. 2020)"


class SplineDrift(DriftFamily):
    """Mean and spread as smooth curves in ln g, cubic splines; how smooth, the data say."""

    name = "spline"
    kind = "spline"
    summary = "power-law drift, mean and spread smooth in ln g (cubic splines): no form assumed"


def _by_parameters(tables: Callable[[torch.Tensor], Tables], theta: FloatArray) -> Tables:
    """Derivatives of the tables by the parameters, which are the last axis."""
    point = tensor(theta).requires_grad_()
    found = tables(point)
    # As for scores: what comes back is linear in the weights, and its derivative by them is what is looked for.
    weights = [torch.zeros_like(each).requires_grad_() for each in found]
    (gradient,) = torch.autograd.grad(found, point, grad_outputs=weights, create_graph=True)
    columns = [torch.autograd.grad(one, weights, retain_graph=True) for one in gradient]
    return torch.stack([column[0] for column in columns], -1), torch.stack([column[1] for column in columns], -1)


def _roughness(seen: FloatArray, doubt: FloatArray, rough: FloatArray) -> float:
    """The variance v under which seen (n,), normal around zero with the covariance doubt + v rough, is most likely."""

    def surprise(log_variance: float) -> float:
        total = doubt + math.exp(log_variance) * rough
        return float(np.linalg.slogdet(total)[1] + seen @ np.linalg.solve(total, seen))

    middle = math.log(np.trace(doubt) / np.trace(rough))
    best = optimize.minimize_scalar(surprise, bounds=(middle - ANY_ROUGHNESS, middle + ANY_ROUGHNESS))
    return math.exp(best.x)


def _as_scores(precision: FloatArray) -> FloatArray:
    """Rows whose products (p, p) sum up to that of a prior: it counts as devices of which nothing else is known."""
    values, vectors = np.linalg.eigh(precision)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))).T)


def _lines_of(table: DriftTable, some: NDArray[np.bool_]) -> DriftTable:
    """The lines of some devices, without what the noisy ones say."""
    columns = {name: getattr(table, name)[some] for name in PER_DEVICE}
    return replace(table, noisy=np.zeros(0, np.int64), marginal=None, **columns)


def _noise_seen(table: DriftTable) -> tuple[FloatArray, FloatArray]:
    """Places in ln g and ln V there, by a first look, without what is constant in uS."""
    bins, centre = binned(table.log_g, max(4, min(40, table.nu.size // 60)))
    relative = np.clip(table.noise - table.constant(table.log_g), SMALLEST_NOISE, BELOW)
    return centre, np.log(np.bincount(bins, relative) / np.bincount(bins))


def _noise_at(table: DriftTable, log_g: FloatArray) -> FloatArray:
    """Relative variance (n,) of a read at t0, at ln g, by the first look."""
    return np.asarray(np.exp(np.interp(log_g, *_noise_seen(table))) + table.constant(log_g))


def _slope(table: DriftTable, log_g: FloatArray) -> FloatArray:
    """Slope (n,) of the logarithm of that, over a stretch that holds several places."""
    places = _noise_seen(table)[0]
    low, high = np.clip([log_g - STRETCH, log_g + STRETCH], places[0], places[-1])
    rise = np.log(_noise_at(table, high) / _noise_at(table, low))
    return np.asarray(rise / np.maximum(high - low, STEP))


def build(form: Form, theta: torch.Tensor | FloatArray | list[Any]) -> Statistic:
    """A statistic whose coefficients are elements of a vector, so that torch can differentiate it."""
    names = coefficient_names(form, len(theta) - 1)
    return build_statistic(form, {name: theta[k] for k, name in enumerate(names)})


def blurred(form: Form, log_g: FloatArray, half: FloatArray) -> Callable[[torch.Tensor], torch.Tensor]:
    """Coefficients -> statistic at ln g (n,), averaged over all ln g within half (n,) of it: what a device there shows.

    It also takes the kinks of clipped forms out of the likelihood, at which a search would stop.
    """
    if form.kind != "log-clip":  # linear in the coefficients; by Simpson's rule
        units = [build(form, row) for row in np.eye(len(form.at))]
        parts = [(weight, np.exp(log_g + side * half)) for side, weight in ((-1.0, 1 / 6), (0.0, 2 / 3), (1.0, 1 / 6))]
        weights = tensor(np.stack([sum(weight * unit(g) for weight, g in parts) for unit in units], -1))
        return lambda theta: weights @ theta
    place, width = tensor(log_g), tensor(half)

    def average(theta: torch.Tensor) -> torch.Tensor:
        slope, offset, low, high = theta
        straight, reach = slope * place + offset, slope.abs() * width + 1e-9

        def above(bound: torch.Tensor) -> torch.Tensor:
            over = straight - bound
            bent = torch.minimum(torch.maximum(over, -reach), reach)
            area: torch.Tensor = (bent + reach) ** 2 / (4 * reach) + (over - reach).clamp(min=0.0)
            return area

        value: torch.Tensor = low + above(low) - above(high)
        return value

    return average


def _basis(log_g: FloatArray, knots: tuple[float, ...]) -> torch.Tensor:
    """Weights (..., knots) of linear interpolation."""
    place = np.interp(log_g, knots, np.arange(len(knots)))
    return tensor(np.maximum(0.0, 1.0 - np.abs(place[..., None] - np.arange(len(knots)))))


def _start_form(form: Form, log_g: FloatArray, values: FloatArray, weight: FloatArray) -> FloatArray:
    """Coefficients that come near values (n,) at ln g (n,), by weighted least squares."""
    if form.kind != "log-clip":
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
