"""Drift: G(t) = G(t0) (t / t0)^-nu with a coefficient per device, normal around a mean that depends on conductance.

After Joshi et al. 2020, as a random-effects model. A read is y = G(t) (1 + e), with e normal of the variance
V(g) (1 + b ln(t / t0)): read noise that is a part of the measurement, growing with age as 1/f noise does. What is
fitted by maximum likelihood are the mean and the spread of nu and V, all functions of g = G(t0) / g_scale.

Every device is first reduced to its own G(t0) and nu, or to nodes of an integral over them: `drift_table`.
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

from hwloop.calibration.fitting.checks import (
    rows_of,
)
from hwloop.calibration.fitting.drift_table import CHUNK, DriftTable, Nodes, drift_table
from hwloop.calibration.fitting.family import (
    Coefficient,
    Family,
    Panel,
    Screening,
    Series,
    binned,
    quantile_panel,
)
from hwloop.calibration.fitting.likelihood import Optimum, covariance, maximise, tensor
from hwloop.contract import FloatArray
from hwloop.device_models import Knots, Statistic
from hwloop.measurements import Experiment, Measurement
from hwloop.model_file import Form, build_statistic, coefficient_names

SUPPORT = 30
"""Cells that must lie where a clipping bound acts before the bound is fitted."""
STEP = 1e-3
"""Of ln g, for slopes of the mean."""
GROUP = 0.002
"""Of ln g, within which the statistics of devices are taken as one where there are very many of them."""
SMALLEST_SPREAD = 1e-5
"""Of drift coefficients."""


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

    def subset(self, table: DriftTable, cells: NDArray[np.bool_]) -> DriftTable:
        """The table of some devices."""
        renumber = np.cumsum(cells) - 1
        own = cells[table.noisy]
        nodes = table.nodes
        if nodes is not None:
            per_device = {name: getattr(nodes, name)[own] for name in ("log_g", "nu", "squares", "log_weight", "reads")}
            nodes = Nodes(**per_device, share=nodes.share) if own.any() else None
        names = ("log_g", "nu", "var_g", "var_nu", "covariance", "squares", "freedom", "noise", "precise", "cells")
        return replace(
            table,
            noisy=renumber[table.noisy[own]],
            nodes=nodes,
            **{name: getattr(table, name)[cells] for name in names},
        )

    def coefficients(self, table: DriftTable) -> list[Coefficient]:
        """Of the mean, of the spread, and ln V at its knots."""
        names = coefficient_names(self._form(table))
        rows = [Coefficient(f"mean.{name}", "1", f"{name} of the mean drift coefficient") for name in names]
        rows += [Coefficient(f"spread.{name}", "1", f"{name} of the spread of drift coefficients") for name in names]
        places = np.exp(table.noise_knots) * table.g_scale
        return rows + [
            Coefficient(f"noise.v{k}", "1", f"relative variance of a read at t0, at {place:.3g} uS", log=True)
            for k, place in enumerate(places)
        ]

    def estimate(self, table: DriftTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Maximum likelihood; very many devices count by the sums over neighbours, which hold all that they tell."""
        start = self._start(table)
        count = table.nu.size
        free = np.ones(start.size, bool)
        likelihood = self._likelihood(table)
        summed = likelihood if count < CHUNK else self._summed_likelihood(table)
        found = maximise(summed, start)
        found = maximise(summed, found.theta)  # a search that has run into a kink of a bound gets on in a new direction
        held, theta = self._unsupported(table, found.theta)
        if held:
            names = [item.name for item in self.coefficients(table)]
            free[[names.index(name) for name in held]] = False
            found = maximise(summed, theta, free=free)
        if intervals:
            share = min(1.0, 2 * CHUNK / count)
            part = np.random.default_rng(2).random(count) < share
            some = likelihood if share == 1.0 else self._likelihood(self.subset(table, part))
            found = replace(found, covariance=share * covariance(some, found.theta, free=free, kinks=True))
        return found, held

    def log_likelihood(self, table: DriftTable, theta: FloatArray) -> FloatArray:
        """Of every device that is precise or integrated over, up to a constant of the data."""
        with torch.no_grad():
            return self._likelihood(table, weighted=False)(tensor(theta)).numpy()

    def predict(self, table: DriftTable, theta: FloatArray, later: Measurement) -> FloatArray:
        """From each device's own line, drawn towards what devices of its conductance do."""
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
        predicted = np.exp(level - nu * x) * table.g_scale
        relative = noise * np.maximum(1 + table.growth * x, 0.1) + var_g - 2 * x * cross + x**2 * var_nu
        density = stats.norm.logpdf(rows.conductance[table.cells, 0], predicted, predicted * np.sqrt(relative))
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
            "settings": {"t0": table.t0, "g_scale": table.g_scale, "noise_growth": table.growth},
            "conductance_range": table.conductance_range,
            "time_range": table.time_range,
        }

    def panels(self, table: DriftTable, theta: FloatArray) -> list[Panel]:
        """Mean, spread and noise against conductance, and the calibration of the coefficients."""
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
        fine = np.exp(np.linspace(table.log_g.min(), table.log_g.max(), 200))
        form, n = self._form(table), len(coefficient_names(self._form(table)))
        curves = [build(form, theta[:n])(fine), build(form, theta[n : 2 * n])(fine)]
        curves.append(np.exp(Knots(table.noise_knots, tuple(theta[2 * n :]))(fine)))
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
        return Form(self.kind, table.knots if self.kind == "knots" else ())

    def _likelihood(self, table: DriftTable, *, weighted: bool = True) -> Callable[[torch.Tensor], torch.Tensor]:
        """Log-likelihood of precise devices, then of those integrated over (times what each stands for)."""
        return self._make_likelihood(table, _each(table), weighted)

    def _summed_likelihood(self, table: DriftTable) -> Callable[[torch.Tensor], torch.Tensor]:
        """The same total over the precise devices, summed over those that are alike."""
        return self._make_likelihood(table, _sums(table), True)

    def _make_likelihood(
        self, table: DriftTable, sums: _Sums, weighted: bool
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        form = self._form(table)
        n = len(coefficient_names(form))
        log_g, nu, scatter, devices = (tensor(each) for each in (sums.log_g, sums.nu, sums.scatter, sums.devices))
        squares, freedom = tensor(sums.squares), tensor(sums.freedom)
        errors = [tensor(each) for each in (sums.var_nu, sums.covariance, sums.var_g)]
        basis = _basis(sums.log_g, table.noise_knots)
        nodes = table.nodes
        if nodes is not None:
            node_g, node_nu = tensor(nodes.log_g), tensor(nodes.nu)
            node_conductance = torch.exp(node_g)
            node_basis = _basis(nodes.log_g, table.noise_knots)
            node_squares, node_weight, reads = tensor(nodes.squares), tensor(nodes.log_weight), tensor(nodes.reads)

        def statistics(theta: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return build(form, theta[:n])(g), build(form, theta[n : 2 * n])(g).clamp(min=SMALLEST_SPREAD) ** 2

        g_sure = torch.exp(log_g)

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            log_noise = basis @ theta[2 * n :]
            noise = torch.exp(log_noise)
            mean, variance = statistics(theta, g_sure)
            # ln g is known with an error too, which comes with that of nu.
            slope = (build(form, theta[:n])(g_sure * math.exp(STEP)) - mean) / STEP
            variance = variance + noise * (errors[0] - 2 * slope * errors[1] + slope**2 * errors[2])
            each = -0.5 * (
                (scatter + devices * (nu - mean) ** 2) / variance + devices * torch.log(2 * math.pi * variance)
            )
            each = each - 0.5 * (freedom * log_noise + squares / noise)
            if nodes is None:
                return each
            log_noise = node_basis @ theta[2 * n :]
            inside = node_weight - 0.5 * (reads[:, None] * log_noise + node_squares * torch.exp(-log_noise))
            mean, variance = statistics(theta, node_conductance)
            inside = inside - 0.5 * (node_nu - mean) ** 2 / variance - 0.5 * torch.log(2 * math.pi * variance)
            others = torch.logsumexp(inside, 1)
            return torch.cat([each, nodes.share * others if weighted else others])

        return likelihood

    def _statistics(self, table: DriftTable, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        form = self._form(table)
        n = len(coefficient_names(form))
        g = np.exp(table.log_g)
        mean = np.asarray(build(form, theta[:n])(g), np.float64)
        return mean, np.maximum(build(form, theta[n : 2 * n])(g), SMALLEST_SPREAD)

    def _predicted(self, table: DriftTable, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of each device's coefficient as its reads show it."""
        mean, spread = self._statistics(table, theta)
        noise = np.exp(self._log_noise(table, theta))
        return mean, np.sqrt(spread**2 + noise * table.var_nu)

    def _log_noise(self, table: DriftTable, theta: FloatArray) -> FloatArray:
        n = len(coefficient_names(self._form(table)))
        return np.interp(table.log_g, table.noise_knots, theta[2 * n :])

    def _start(self, table: DriftTable) -> FloatArray:
        """From bins of neighbours in conductance."""
        bins, centre = binned(table.log_g, max(4, min(40, table.nu.size // 60)))
        count = centre.size
        error = table.noise * table.var_nu
        size = np.bincount(bins, minlength=count)
        mean = np.bincount(bins, table.nu, count) / size
        scatter = np.bincount(bins, (table.nu - mean[bins]) ** 2, count) / size
        spread = np.sqrt(np.maximum(scatter - np.bincount(bins, error, count) / size, 0.05 * scatter))
        noise = np.log(np.bincount(bins, table.noise, count) / size)
        weight = 1.0 / np.sqrt(np.maximum(scatter, 1e-12) / size)
        form = self._form(table)
        return np.concatenate(
            [
                _start_form(form, centre, mean, weight),
                _start_form(form, centre, spread, weight),
                np.interp(table.noise_knots, centre, noise),
            ]
        )

    def _unsupported(self, table: DriftTable, theta: FloatArray) -> tuple[dict[str, str], FloatArray]:
        """Bounds of clipped forms that no device reaches: held where the data end."""
        if self.kind != "log-clip":
            return {}, theta
        held: dict[str, str] = {}
        theta = theta.copy()
        for offset, name in ((0, "mean"), (4, "spread")):
            slope, level, low, high = theta[offset : offset + 4]
            straight = slope * table.log_g + level
            below, above = straight < low, straight > high
            inside = straight[~below & ~above]
            reason = "no measured conductance reaches this bound: held at the edge of the data"
            if inside.size < SUPPORT:
                for part in ("slope", "offset"):
                    held[f"{name}.{part}"] = "every measured conductance is at a bound: the slope between is not seen"
            if below.sum() < SUPPORT:
                held[f"{name}.low"] = reason
                theta[offset + 2] = max(straight.min(), SMALLEST_SPREAD)
            if above.sum() < SUPPORT:
                held[f"{name}.high"] = reason
                theta[offset + 3] = max(straight.max(), theta[offset + 2])
        return held, theta


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
    devices: FloatArray


def _each(table: DriftTable) -> _Sums:
    """Every precise device by itself."""
    names = ("log_g", "nu", "var_nu", "covariance", "var_g", "squares", "freedom")
    columns = {name: getattr(table, name)[table.precise] for name in names}
    one = np.ones(int(table.precise.sum()))
    return _Sums(**columns, scatter=0.0 * one, devices=one)


def _sums(table: DriftTable) -> _Sums:
    """Devices within GROUP of each other in ln g and in the logarithm of the error of nu."""
    one = _each(table)
    place = np.floor(one.log_g / GROUP).astype(np.int64)
    error = np.floor(np.log(one.var_nu) / (25 * GROUP)).astype(np.int64)
    error -= error.min()
    _, group = np.unique(place * (int(error.max()) + 1) + error, return_inverse=True)

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
        devices=devices,
    )


class LogClipDrift(DriftFamily):
    """Mean and spread linear in ln g between two bounds, the form of Joshi et al. 2020."""

    name = "log-clip"
    kind = "log-clip"
    summary = "power-law drift, mean and spread linear in ln g between two bounds (Joshi et al. 2020)"


class KnotsDrift(DriftFamily):
    """Mean and spread through knots in ln g: any smooth dependence."""

    name = "knots"
    kind = "knots"
    summary = "power-law drift, mean and spread through nine knots in ln g: no form assumed"


def build(form: Form, theta: torch.Tensor | FloatArray | list[Any]) -> Statistic:
    """A statistic whose coefficients are elements of a vector, so that torch can differentiate it."""
    names = coefficient_names(form, len(theta) - 1)
    return build_statistic(form, {name: theta[k] for k, name in enumerate(names)})


def _basis(log_g: FloatArray, knots: tuple[float, ...]) -> torch.Tensor:
    """Weights (..., knots) of linear interpolation."""
    place = np.interp(log_g, knots, np.arange(len(knots)))
    return tensor(np.maximum(0.0, 1.0 - np.abs(place[..., None] - np.arange(len(knots)))))


def _start_form(form: Form, log_g: FloatArray, values: FloatArray, weight: FloatArray) -> FloatArray:
    """Coefficients that come near values (n,) at ln g (n,), by weighted least squares."""
    if form.kind == "knots":
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
