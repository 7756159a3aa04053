"""A later read of each device, predicted from the earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import stats

from hwloop.calibration.fitting.checks import Rows, rows_of
from hwloop.calibration.fitting.drift.covariance import Mix, Precision
from hwloop.calibration.fitting.drift.layout import MEAN, SMALLEST_SPREAD, SPREAD
from hwloop.calibration.fitting.drift.likelihood import DriftLikelihood
from hwloop.calibration.fitting.drift.seen import log_noise, statistic
from hwloop.calibration.fitting.drift.table import DriftTable
from hwloop.calibration.fitting.likelihood import tensor
from hwloop.files.measurements import Measurement
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class EarlierReads:
    """What the noise of earlier reads tells of that of a later one: by weights on it, one per read."""

    reads: FloatArray
    """(devices, reads) over g_scale."""
    h: FloatArray
    """(devices, reads) what nu is multiplied with."""
    weight: FloatArray
    """(devices, reads)"""
    variance: FloatArray
    """(devices,) of the later read, over that at t0, that remains."""

    @classmethod
    def of(cls, rows: Rows, later: FloatArray, table: DriftTable, mix: Mix | None) -> EarlierReads:
        """Weigh the earlier reads for one more read of each of the table's devices, at ln(t / t0) = later."""
        rows = replace(rows, there=rows.there & (rows.time > 0))
        growth, x = table.growth, rows.log_time(table.t0)
        shared = growth.share * growth.rate * growth.common_with(later, x, rows.there)
        if mix is not None:
            shared *= 1 - mix.share[:, None]
        weight = Precision(growth, x, rows.there, mix)(shared)
        variance = growth.variance(later[:, None], mix)[:, 0] - (weight * shared).sum(1)
        reads = rows.conductance * rows.there / table.g_scale * np.exp(table.law.common(x))
        return cls(reads, table.law.exponent(x), weight, variance)

    def take(self, some: IndexArray) -> EarlierReads:
        """Return those of some devices."""
        return EarlierReads(self.reads[some], self.h[some], self.weight[some], self.variance[some])

    @property
    def total(self) -> FloatArray:
        """(devices,) of the weights."""
        return np.asarray(self.weight.sum(1))

    @property
    def lean(self) -> FloatArray:
        """(devices,) sum of the weights times what nu is multiplied with."""
        return np.asarray((self.weight * self.h).sum(1))

    def carried(self, nu: FloatArray | float, level: FloatArray | float = 0.0) -> FloatArray:
        """Return the relative noise (devices,) to expect of the later read at ln g = level, for drift with nu."""
        curve = np.exp(np.multiply.outer(nu, 1.0) * self.h.T - level).T
        return np.asarray((self.weight * (self.reads * curve - 1.0)).sum(1))


@dataclass(frozen=True)
class Later:
    """One later read of each device of a table, and what is expected of it: normal, by the device's own line."""

    read: FloatArray
    """(devices,) uS."""
    there: BoolArray
    """(devices,) whether it was read."""
    expected: FloatArray
    """(devices,) uS."""
    sigma: FloatArray
    """(devices,) standard deviation, uS."""
    noise: FloatArray
    """(devices,) of that, what is noise of the read itself, uS."""
    h: FloatArray
    """(devices,) what nu is multiplied with then."""
    lost: FloatArray
    """(devices,) factor by which all devices have lost conductance alike."""
    known: EarlierReads

    @property
    def quantile(self) -> FloatArray:
        """(devices,) predicted quantile of the read: uniform where the model is true."""
        return np.asarray(stats.norm.cdf(self.read, self.expected, self.sigma))


def later_reads(likelihood: DriftLikelihood, theta: FloatArray, earlier: Measurement, later: Measurement) -> Later:
    """Predict one later read of each device from its own line, shrunk towards what devices of its conductance do.

    What the noise of the later read has in common with that of the earlier ones is expected of it.

    Parameters
    ----------
    likelihood
        Of the table that was made of `earlier`.
    theta
        (p,) parameters.
    earlier, later
        Reads of the same cells.
    """
    layout, table = likelihood.layout, likelihood.table
    mean = statistic(layout, theta, MEAN, table.log_g)
    spread = np.maximum(statistic(layout, theta, SPREAD, table.log_g), SMALLEST_SPREAD)
    noise = np.exp(log_noise(layout, table, theta, table.log_g))
    gain = 1.0 / (noise * table.var_nu + spread**2)
    nu = table.nu + noise * table.var_nu * gain * (mean - table.nu)
    level = table.log_g + noise * table.covariance * gain * (mean - table.nu)
    var_nu = noise * table.var_nu * (1 - noise * table.var_nu * gain)
    var_g = noise * table.var_g - (noise * table.covariance) ** 2 * gain
    cross = noise * table.covariance * (1 - noise * table.var_nu * gain)
    rows = rows_of(later)
    x = np.log(np.where(rows.there, rows.time, table.t0)[table.cells, 0] / table.t0)
    mix = Mix.of(table.constant(table.log_g) / noise, mean, table.law) if table.floor else None
    known = EarlierReads.of(rows_of(earlier).take(table.cells), x, table, mix)
    h, lost = table.law.exponent(x), np.exp(-table.law.common(x))
    # Of the errors of ln g and nu, the earlier reads' share of the noise takes some along.
    still, stretch = 1.0 - known.total, h - known.lean
    predicted = np.exp(level - nu * h) * table.g_scale * lost
    own = noise * known.variance
    relative = own + still**2 * var_g - 2 * still * stretch * cross + stretch**2 * var_nu
    return Later(
        read=rows.conductance[table.cells, 0],
        there=rows.there[table.cells, 0],
        expected=predicted * (1 + known.carried(nu, level)),
        sigma=predicted * np.sqrt(relative),
        noise=predicted * np.sqrt(own),
        h=h,
        lost=lost,
        known=known,
    )


def log_density(likelihood: DriftLikelihood, theta: FloatArray, earlier: Measurement, later: Measurement) -> FloatArray:
    """Return the log density (cells of `later`) of one later read of each cell, NaN where the table lacks the cell.

    From each device's own line (`later_reads`), or from all it may be.
    """
    table, found = likelihood.table, later_reads(likelihood, theta, earlier, later)
    density = stats.norm.logpdf(found.read, found.expected, found.sigma)
    if table.marginal is not None:
        density[table.noisy] = np.log(_of_noisy(likelihood, theta, found, stats.norm.pdf) + 1e-300)
        density[table.noisy] -= np.log(table.g_scale * found.lost[table.noisy])
    result = np.full(len(later.cells), np.nan)
    result[table.cells] = np.where(found.there, density, np.nan)
    return result


def later_quantiles(
    likelihood: DriftLikelihood, theta: FloatArray, earlier: Measurement, later: Measurement
) -> FloatArray:
    """Return the predicted quantile (cells of `later`) of one later read of each cell, NaN where the table lacks it."""
    table, found = likelihood.table, later_reads(likelihood, theta, earlier, later)
    own = found.quantile
    if table.marginal is not None:
        own[table.noisy] = _of_noisy(likelihood, theta, found, stats.norm.cdf)
    result = np.full(len(later.cells), np.nan)
    result[table.cells] = np.where(found.there, own, np.nan)
    return result


def _of_noisy(
    likelihood: DriftLikelihood, theta: FloatArray, later: Later, function: Callable[..., FloatArray]
) -> FloatArray:
    """Return a normal density or distribution (m,) of the noisy devices' reads over g_scale, over all each may be."""
    some, grid, done = likelihood.table.noisy, likelihood.noisy.grid, 0
    h, known, found = later.h[some], later.known.take(some), np.empty(some.size)
    read = later.read[some] / later.lost[some] / likelihood.table.g_scale
    noise = np.exp(log_noise(likelihood.layout, likelihood.table, theta, grid.log_g))
    carried = np.stack([known.carried(nu) for nu in grid.nu.tolist()], 1) + known.total[:, None]
    with torch.no_grad():
        for block in likelihood.noisy.posteriors(*likelihood.tables(tensor(theta))):
            part = slice(done, done + block.log_likelihood.numel())
            done = part.stop
            log_g = grid.log_g[block.rows, None, None]
            place = np.exp(log_g - grid.nu[block.columns] * h[part, None])
            sigma = place * np.sqrt(noise[block.rows, None] * known.variance[part])[:, :, None]
            expected = place * (1 + np.exp(-log_g) * carried[part, block.columns] - known.total[part, None])
            value = function(read[part, None], expected, sigma)
            found[part] = (block.probability.numpy() * value).sum((0, 2))
    return found
