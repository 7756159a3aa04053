"""Devices whose reads are mostly noise: the likelihood on a grid is the integral it stands for, and biases nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from hwloop.calibration.fitting.drift import LogClipDrift
from hwloop.calibration.fitting.drift.covariance import Growth, Precision
from hwloop.calibration.fitting.drift.grid import Grid, Noisy, factors_of, grid_of, noisy_of, prior_of
from hwloop.calibration.fitting.drift.settings import GridSettings
from hwloop.calibration.fitting.drift.table import drift_table
from hwloop.calibration.fitting.likelihood import tensor
from hwloop.calibration.fitting.synthetic import drifting
from tests.calibration.fitting.test_drift import AGES, PCM, TRUTH, measured

X = np.log(AGES / 20.0)
GROWTH = 0.057
NOISE = 0.5
"""V of every device here."""
MEAN, SPREAD = 0.09, 0.045


def a_grid(finest: float = 1.2) -> Grid:
    at = np.linspace(-6.0, -2.0, 20)
    nu = np.stack([np.full(20, MEAN), np.full(20, SPREAD)])
    return grid_of((-6.5, -2.0), at, np.full(20, NOISE), (0.18, 0.017, 0.004), nu, GridSettings(finest=finest))


def reads(devices: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level, nu = rng.uniform(-5.0, -3.5, devices), MEAN + SPREAD * rng.standard_normal(devices)
    noise = np.sqrt(NOISE * (1 + GROWTH * X)) * rng.standard_normal((devices, X.size))
    return np.asarray(np.exp(level[:, None] - nu[:, None] * X) * (1 + noise))


def on_grid(y: np.ndarray, finest: float = 1.2) -> tuple[Noisy, torch.Tensor, torch.Tensor]:
    """The devices, and tables for a normal density of ln g around -4.2."""
    grid = a_grid(finest)
    ages = np.broadcast_to(X, y.shape)
    every = np.ones(y.shape, bool)
    noisy = noisy_of(grid, y, ages, every, Precision(Growth(GROWTH), ages, every), share=1.0)
    nodes = grid.log_g.size
    density = tensor(stats.norm.logpdf(grid.log_g, -4.2, 0.7))
    mean, spread = tensor(np.full(nodes, MEAN)), tensor(np.full(nodes, SPREAD))
    return noisy, factors_of(grid, tensor(np.full(nodes, np.log(NOISE)))), prior_of(grid, mean, spread, density)


def test_likelihood_on_the_grid_is_the_integral() -> None:
    y = reads(3, seed=1)
    noisy, factors, prior = on_grid(y)
    found = noisy.each(factors, prior)
    for device, log_likelihood in zip(y, found, strict=True):

        def density(nu: float, level: float, device: np.ndarray = device) -> float:
            at = np.exp(level - nu * X)
            each = stats.norm.logpdf(device, at, at * np.sqrt(NOISE * (1 + GROWTH * X))).sum()
            own = stats.norm.logpdf(nu, MEAN, SPREAD) + stats.norm.logpdf(level, -4.2, 0.7)
            return float(np.exp(each + own))

        grid = a_grid()
        exact, _ = integrate.dblquad(density, grid.log_g[0], grid.log_g[-1], grid.nu[0], grid.nu[-1], epsrel=1e-3)
        constant = 0.5 * np.log(2 * np.pi * (1 + GROWTH * X)).sum()  # of the data, which the grid leaves out
        assert log_likelihood - constant == pytest.approx(np.log(exact), abs=0.06)  # three times the scatter of 0.019


def test_errors_of_the_grid_have_either_sign() -> None:
    """300 devices: what one gains by the grid another loses, the mean is within 3.5 standard errors of nothing."""
    y = reads(300, seed=5)
    coarse, factors, prior = on_grid(y)
    found = coarse.each(factors, prior)
    fine, factors, prior = on_grid(y, finest=0.5)
    error = found - fine.each(factors, prior)
    assert error.std() < 0.03
    assert abs(error.mean()) < 3.5 * 0.019 / np.sqrt(300)


def test_derivatives_are_those_of_finite_differences() -> None:
    noisy, factors, prior = on_grid(reads(200, seed=2))
    direction = tensor(np.random.default_rng(3).standard_normal(tuple(prior.shape)))
    scale = tensor(np.random.default_rng(4).standard_normal(tuple(factors.shape))) * factors.abs()
    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(noisy.total(factors + step * scale, prior + step * direction), step)
    ends = [float(noisy.total(factors + h * scale, prior + h * direction)) for h in (1e-6, -1e-6)]
    assert float(slope) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


def test_nodes_that_do_not_matter_may_be_left_out() -> None:
    noisy, factors, prior = on_grid(reads(400, seed=5))
    assert noisy.focused(factors, prior).each(factors, prior) == pytest.approx(noisy.each(factors, prior), abs=1e-4)


def test_all_nodes_are_kept_where_the_likelihood_is_no_number() -> None:
    noisy, factors, prior = on_grid(reads(40, seed=5))
    assert noisy.focused(factors, torch.full_like(prior, torch.nan)).windows == ((slice(None), slice(None)),)


def test_published_noise_biases_nothing() -> None:
    """Single reads with up to 110 % of noise: every coefficient within 99.9 %, none left out."""
    fitted, table = LogClipDrift().fit(measured(6_000, seed=11, noise=1.0))
    assert table.noisy.size > 2_500
    assert not fitted.record.cells.left_out
    for row in fitted.record.parameters[:8]:
        assert row.low is not None
        assert row.high is not None
        assert abs(row.value - TRUTH[row.name]) < 3.3 * (row.high - row.low) / 3.92, row


def test_devices_in_the_flanks_of_a_level_are_mostly_errors() -> None:
    """Devices at one level: those that are seen high drift more than devices that are high, as the fit expects."""
    rng = np.random.default_rng(12)
    conductance = np.exp(np.log(4.5) + 0.12 * rng.standard_normal(60_000))
    measurement = drifting(PCM.drift, PCM.read_noise, conductance, AGES, rng)
    family = LogClipDrift()
    table, _ = drift_table(measurement)
    noise = np.log(PCM.read_noise.relative_sigma(np.exp(np.array(table.noise_knots)) * table.g_scale, 20.0) ** 2)
    drift = PCM.drift
    theta = np.array([*TRUTH.values(), *noise])
    theta[[1, 5]] += [
        TRUTH["mean.slope"] * np.log(table.g_scale / 25),
        TRUTH["spread.slope"] * np.log(table.g_scale / 25),
    ]
    expected, sigma = family.expected(table, theta)
    for share in (slice(0, 3_000), slice(-3_000, None)):
        flank = np.argsort(table.log_g)[share]
        seen, error = (table.nu - expected)[flank].mean(), sigma[flank].mean() / np.sqrt(3_000)
        naive = (table.nu - drift.mean(np.exp(table.log_g) * table.g_scale / 25))[flank].mean()
        assert abs(seen) < 4 * error
        assert abs(naive) > 6 * error


def test_devices_that_are_all_noisy_are_fitted_with_a_warning() -> None:
    rng = np.random.default_rng(13)
    conductance = np.exp(rng.uniform(np.log(0.05), np.log(0.19), 1_000))
    fitted, table = LogClipDrift().fit(drifting(PCM.drift, PCM.read_noise, conductance, AGES, rng))
    assert not table.precise.any()
    assert any("quiet enough" in warning for warning in fitted.record.warnings)
    assert fitted.record.statistic("mean")(0.1 / 25) == pytest.approx(0.1, rel=0.15)  # the growth of noise is not known
