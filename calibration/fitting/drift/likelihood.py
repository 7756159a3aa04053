"""The likelihood of all devices: precise ones by their lines, noisy ones integrated over a grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch

from hwloop.calibration.fitting.drift.grid import Noisy, factors_of, prior_of
from hwloop.calibration.fitting.drift.layout import DENSITY, MEAN, NOISE, SMALLEST_SPREAD, SPREAD, DriftLayout
from hwloop.calibration.fitting.drift.seen import STEP, noise_at, noise_seen, noise_slope
from hwloop.calibration.fitting.drift.table import DriftTable
from hwloop.calibration.fitting.forms import blurred, interpolation
from hwloop.calibration.fitting.likelihood import LogLikelihood, scores, tensor
from hwloop.typing import FloatArray

Tables: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""What the terms on a grid are multiplied with, and the logarithm of the weight of its nodes."""


@dataclass(frozen=True)
class Sums:
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
    tilt_slope: FloatArray
    devices: FloatArray

    @classmethod
    def of_each(cls, table: DriftTable) -> Sums:
        """Take every precise device by itself."""
        names = ("log_g", "nu", "var_nu", "covariance", "var_g", "squares", "freedom", "tilt", "tilt_slope")
        columns = {name: getattr(table, name)[table.precise] for name in names}
        one = np.ones(int(table.precise.sum()))
        return cls(**columns, scatter=0.0 * one, devices=one)

    @classmethod
    def of_groups(cls, table: DriftTable) -> Sums:
        """Sum up devices that lie close to each other in ln g and in the logarithm of the error of nu."""
        one, close = cls.of_each(table), table.settings.search.group
        place = np.floor(one.log_g / close).astype(np.int64)
        error = np.floor(np.log(one.var_nu) / (25 * close)).astype(np.int64)
        error -= error.min() if error.size else 0
        _, group = np.unique(place * (int(error.max(initial=0)) + 1) + error, return_inverse=True)

        def total(values: FloatArray) -> FloatArray:
            return np.bincount(group, values).astype(np.float64)

        devices = total(np.ones(group.size))
        nu = total(one.nu) / devices
        return cls(
            log_g=total(one.log_g) / devices,
            nu=nu,
            scatter=total((one.nu - nu[group]) ** 2),
            var_nu=total(one.var_nu) / devices,
            covariance=total(one.covariance) / devices,
            var_g=total(one.var_g) / devices,
            squares=total(one.squares),
            freedom=total(one.freedom),
            tilt=total(one.tilt) / devices,
            tilt_slope=total(one.tilt_slope) / devices,
            devices=devices,
        )


@dataclass(frozen=True)
class DriftLikelihood:
    """The likelihood of the devices of a table, for mean and spread of a form."""

    layout: DriftLayout
    table: DriftTable

    def each(self, theta: FloatArray) -> FloatArray:
        """Return that of every device that is precise or integrated over, up to a constant of the data."""
        with torch.no_grad():
            precise = self.precise(Sums.of_each(self.table))(tensor(theta)).numpy()
            if self.table.marginal is None:
                return precise
            return np.concatenate([precise, self.table.marginal.each(*self.tables(tensor(theta)))])

    def total(self, prior: FloatArray) -> LogLikelihood:
        """Return that of groups of precise devices, of all noisy ones, of a hold on their density, and of the prior.

        Parameters
        ----------
        prior
            (p, p) precision of the parameters before anything is seen.
        """
        layout, table = self.layout, self.table
        precise, stiffness, loose = (
            self.precise(Sums.of_groups(table)),
            tensor(prior),
            tensor(self.loose() - self.thin()),
        )
        first = np.zeros(len(layout))
        first[layout.at(NOISE)] = np.interp(np.array(table.noise_knots), *noise_seen(table))
        first_look = tensor(first)

        def held(theta: torch.Tensor) -> torch.Tensor:
            away = theta - first_look
            value: torch.Tensor = -0.5 * away @ loose @ away - 0.5 * theta @ stiffness @ theta
            return value

        if table.marginal is None:
            return lambda theta: torch.cat([precise(theta), held(theta)[None]])
        noisy, density, tables = table.marginal, self.log_density, self.tables

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            # One unit at every knot keeps the density from zero where no device is.
            outside = density(theta).sum() + held(theta)
            return torch.cat([precise(theta), noisy.total(*tables(theta))[None], outside[None]])

        return likelihood

    def loose(self) -> FloatArray:
        """Return the precision (p, p) with which ln V is held to a first look at it, and the ln of spreads together.

        Where no device is, or all noise is constant in uS, they could be anywhere.
        """
        layout, table, search = self.layout, self.table, self.table.settings.search
        precision = np.zeros((len(layout), len(layout)))
        if table.marginal is not None or table.floor > 0:
            at = layout.at(NOISE)
            precision[at, at] = np.eye(len(table.noise_knots)) / search.loose_noise**2
        if layout.forms[SPREAD].kind == "log-spline":
            at, apart = layout.at(SPREAD), np.diff(np.eye(len(layout.forms[SPREAD].at)), axis=0)
            precision[at, at] = apart.T @ apart / search.loose_spread**2
        return precision + self.thin()

    def thin(self) -> FloatArray:
        """Return the precision (p, p) of the density by the one unit that stands at every knot."""
        precision = np.zeros((len(self.layout), len(self.layout)))
        if self.table.marginal is not None:
            at = self.layout.at(DENSITY)
            precision[at, at] = np.eye(at.stop - at.start)
        return precision

    def scores(self, theta: FloatArray) -> FloatArray:
        """Return the derivatives (devices, p) of the log-likelihood of each device."""
        own = scores(self.precise(Sums.of_each(self.table)), theta, np.ones(theta.size, bool))
        if self.table.marginal is None:
            return own
        by_factors, by_prior = _by_parameters(self.tables, theta)
        noisy = self.table.marginal.scores(*self.tables(tensor(theta)), by_factors, by_prior)
        return np.concatenate([own, noisy])

    def precise(self, sums: Sums) -> LogLikelihood:
        """Return the log-likelihood of precise devices, or of groups of them, (groups,)."""
        layout, table = self.layout, self.table
        seen = noise_at(table, sums.log_g)
        # Where devices crowd, one that is seen beside the crowd is more often one of theirs with an error, and more
        # often a noisy one: Tweedie's formula for where it is, and for the error of nu that goes with it.
        lean = sums.tilt + noise_slope(table, sums.log_g)
        place = sums.log_g + seen * sums.var_g * lean
        nu, scatter, devices = (tensor(each) for each in (sums.nu, sums.scatter, sums.devices))
        squares, freedom, tilt = tensor(sums.squares), tensor(sums.freedom), tensor(lean)
        tilt_slope = tensor(sums.tilt_slope)
        var_nu, both, var_g = (tensor(each) for each in (sums.var_nu, sums.covariance, sums.var_g))
        basis, constant = tensor(interpolation(place, table.noise_knots)), tensor(table.constant(place))
        error = np.sqrt(3 * seen * sums.var_g)
        form = layout.forms[MEAN]
        here, beside = blurred(form, place, error), blurred(form, place + STEP, error)
        spread_of = blurred(layout.forms[SPREAD], place, error)
        crowd = self._crowd(sums)

        def likelihood(theta: torch.Tensor) -> torch.Tensor:
            noise = torch.exp(basis @ layout.part(theta, NOISE)) + constant
            mean, spread = here(layout.part(theta, MEAN)), spread_of(layout.part(theta, SPREAD))
            slope = (beside(layout.part(theta, MEAN)) - mean) / STEP
            variance = spread.clamp(min=SMALLEST_SPREAD) ** 2
            # Its ln g is known with an error too, which comes with that of nu.
            variance = variance + noise * (var_nu - 2 * slope * both + slope**2 * var_g)
            # No error is less than half of what it was, however much noise there is.
            known = torch.maximum(noise * tilt_slope, -0.5 / var_g)
            variance = variance + noise * known * (both - slope * var_g) ** 2
            mean = mean - noise * tilt * both
            each = -0.5 * (
                (scatter + devices * (nu - mean) ** 2) / variance + devices * torch.log(2 * math.pi * variance)
            )
            each = each - 0.5 * (freedom * torch.log(noise) + squares / noise)
            return each if crowd is None else each + crowd(theta)

        return likelihood

    def _crowd(self, sums: Sums) -> LogLikelihood | None:
        """Return what the density says of precise devices within the grid of the noisy ones; None without those."""
        if self.table.marginal is None:
            return None
        grid, density = self.table.marginal.grid, self.log_density
        inside = tensor((sums.log_g > grid.log_g[0]) & (sums.log_g < grid.log_g[-1])) * tensor(sums.devices)
        basis = tensor(interpolation(sums.log_g, grid.knots))
        return lambda theta: inside * (basis @ density(theta))

    @property
    def noisy(self) -> Noisy:
        """What the reads of the noisy devices say, of which there are some."""
        assert self.table.marginal is not None
        return self.table.marginal

    @cached_property
    def log_density(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Logarithm of the density of devices at the grid's knots; one knot is the measure of all."""
        layout, grid = self.layout, self.noisy.grid
        fine, log_step = tensor(interpolation(grid.log_g, grid.knots)), tensor(grid.log_step)

        def density(theta: torch.Tensor) -> torch.Tensor:
            raw = torch.cat([layout.part(theta, DENSITY), -layout.part(theta, DENSITY).sum()[None]])
            result: torch.Tensor = raw - torch.logsumexp(fine @ raw + log_step, 0)
            return result

        return density

    @cached_property
    def tables(self) -> Callable[[torch.Tensor], Tables]:
        """What the noisy devices' likelihood needs of the parameters at the nodes of the grid."""
        layout, table, grid = self.layout, self.table, self.noisy.grid
        noise, density = (tensor(interpolation(grid.log_g, knots)) for knots in (table.noise_knots, grid.knots))
        constant = tensor(table.constant(grid.log_g))
        half, log_density = np.exp(grid.log_step) / 2, self.log_density
        mean_of, spread_of = (blurred(layout.forms[name], grid.log_g, half) for name in (MEAN, SPREAD))

        def tables(theta: torch.Tensor) -> Tables:
            mean = mean_of(layout.part(theta, MEAN))
            spread = spread_of(layout.part(theta, SPREAD)).clamp(min=SMALLEST_SPREAD)
            log_noise = torch.log(torch.exp(noise @ layout.part(theta, NOISE)) + constant)
            weight = prior_of(grid, mean, spread, density @ log_density(theta))
            return factors_of(grid, log_noise), weight

        return tables


def _by_parameters(tables: Callable[[torch.Tensor], Tables], theta: FloatArray) -> Tables:
    """Return the derivatives of the tables by the parameters, which are the last axis."""
    point = tensor(theta).requires_grad_()
    found = tables(point)
    # As for scores: what comes back is linear in the weights, and its derivative by them is what is looked for.
    weights = [torch.zeros_like(each).requires_grad_() for each in found]
    (gradient,) = torch.autograd.grad(found, point, grad_outputs=weights, create_graph=True)
    columns = [torch.autograd.grad(one, weights, retain_graph=True) for one in gradient]
    return torch.stack([column[0] for column in columns], -1), torch.stack([column[1] for column in columns], -1)
