"""The drift of devices that their lines describe: table, likelihood, starts and figures by formulas written here."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from hwloop.calibration.fitting.drift import SplineDrift
from hwloop.calibration.fitting.drift.covariance import Growth
from hwloop.calibration.fitting.drift.family import APART, FEW_REACH, NONE_REACHES, LogClipDrift
from hwloop.calibration.fitting.drift.figures import drift_panels
from hwloop.calibration.fitting.drift.layout import DriftLayout
from hwloop.calibration.fitting.drift.likelihood import DriftLikelihood, Sums
from hwloop.calibration.fitting.drift.seen import log_noise, noise_at, noise_seen, noise_slope, statistic
from hwloop.calibration.fitting.drift.settings import (
    DriftSettings,
    KnotSettings,
    LineSettings,
    NoiseSettings,
    SearchSettings,
)
from hwloop.calibration.fitting.drift.start import start_of
from hwloop.calibration.fitting.drift.table import DriftTable, _knots, checked, drift_table
from hwloop.calibration.fitting.drift.tilt import tilt_of
from hwloop.calibration.fitting.panels import binned
from hwloop.devices.time_law import TimeLaw
from hwloop.errors import BadInputError
from hwloop.files.measurements import Measurement
from hwloop.typing import FloatArray

KNOTS = (-3.0, -1.5, 0.0)
"""ln g of mean and spread; noise has one more in the middle of each stretch."""
NOISE_KNOTS = (-3.0, -2.0, -1.0, 0.0)


def table(devices: int = 600, **changes: Any) -> DriftTable:
    """Devices evenly over ln g = -3 to 0, with lines whose errors differ, reads of 2 % noise and no density to lean."""
    rng = np.random.default_rng(9)
    one = np.ones(devices)
    log_g = np.linspace(-3.0, 0.0, devices)
    own: dict[str, Any] = {
        "t0": 20.0, "g_scale": 25.0, "growth": Growth(0.05, 0.5), "floor": 0.0, "floor_error": 0.0, "log_g": log_g,
        "nu": 0.05 - 0.01 * log_g + 0.01 * rng.standard_normal(devices), "var_g": 0.5 * one,
        "var_nu": np.linspace(0.2, 0.4, devices), "covariance": 0.1 * one, "squares": 4e-4 * 8 * one,
        "freedom": 8.0 * one, "noise": 4e-4 * one, "tilt": 0.0 * one, "tilt_slope": 0.0 * one,
        "precise": np.ones(devices, bool), "noisy": np.zeros(0, np.int64), "marginal": None,
        "cells": np.arange(devices), "knots": KNOTS, "noise_knots": NOISE_KNOTS, "time_range": (1.0, 1e4),
        "conductance_range": (1.0, 25.0),
    }  # fmt: skip
    return DriftTable(**(own | changes))


def parameters(
    cells: DriftTable, mean: FloatArray, spread: float, noise: float = 4e-4
) -> tuple[DriftLayout, FloatArray]:
    """The vector of the spline family with these values at its knots."""
    layout = SplineDrift().layout(cells)
    parts = {"mean": mean, "spread": np.full(3, math.log(spread)), "noise": np.full(4, math.log(noise))}
    return layout, layout.vector({**parts, "floor": cells.floor})


STRAIGHT = 0.05 - 0.01 * np.array(KNOTS)
"""A mean that is a straight line in ln g, of slope -0.01."""


# ---- the table -----------------------------------------------------------------------------------------------


def test_some_devices_of_a_table() -> None:
    cells = table(6)
    some = np.array([True, False, True, True, False, False])
    for part in (cells.take(some), cells.lines_of(some)):
        assert part.cells.tolist() == [0, 2, 3]
        assert part.nu == pytest.approx(cells.nu[some])
        assert (part.noisy.size, part.marginal) == (0, None)
    assert replace(cells, floor=0.5).constant(np.array([0.0, -1.0])) == pytest.approx((0.5 / 25) ** 2 * np.exp([0, 2]))


def drifting(reads: FloatArray, ages: FloatArray) -> Measurement:
    return Measurement.of("drift", ages, reads, None, 300.0, {"g_max": 25.0, "t0": 20.0})


def test_cells_that_show_no_drift_are_left_out_with_the_reason() -> None:
    ages = np.array([0.0, 1.0, 1.4, 2.0, 100.0])
    reads = np.outer(np.ones(5), np.full(6, 10.0)) + 0.01 * np.arange(5)[:, None]
    reads[[1, 2], 1] = np.nan  # three reads, one of them at no age
    reads[3:, 2] = np.nan  # all within a factor of 1.5
    reads[:, 3] = -1.0
    reads[[0, 1], 4] = np.nan
    _, screening = checked(drifting(reads, ages), DriftSettings())
    assert screening.reason.tolist() == [
        "", "fewer than three reads", "fewer than three reads", "no conductance", "", "",
    ]  # fmt: skip
    near = np.array([1.0, 1.2, 1.4, 1.5, 1.6])
    _, screening = checked(drifting(np.where(np.arange(6) == 2, np.where(near[:, None] > 1.5, np.nan, reads[:, :1]),
                                             reads[:, :1] * np.ones(6)), near), DriftSettings())  # fmt: skip
    assert np.flatnonzero(screening.reason == "all reads at one age").tolist() == [2]
    with pytest.raises(BadInputError, match="there are fewer than 3 different ages above zero; drift needs reads"):
        checked(drifting(reads[:3], ages[:3]), DriftSettings())


def test_knots_lie_half_by_devices_and_half_evenly_and_apart() -> None:
    log_g = np.sort(np.random.default_rng(3).exponential(1.0, 5000))
    got = _knots(log_g, 5)
    low, high = np.quantile(log_g, [0.01, 0.998])
    by_devices = np.quantile(log_g, np.linspace(0.01, 0.998, 5))
    assert got == pytest.approx((by_devices + np.linspace(low, high, 5)) / 2)
    near = _knots(np.r_[np.zeros(900), np.linspace(0, 1, 100)], 41)
    assert min(np.diff(near)) > 0.05
    assert near[0] == 0.0


def test_a_table_of_quiet_devices_has_their_lines() -> None:
    """Power laws without noise to speak of: levels at t0, exponents, and variances of a straight line in ln t."""
    rng = np.random.default_rng(4)
    ages = np.geomspace(1.0, 1e4, 9)
    level, nu = np.exp(rng.uniform(0.0, 3.0, 80)), rng.normal(0.05, 0.01, 80)
    x = np.log(ages / 20.0)
    reads = level * np.exp(-np.outer(x, nu)) * (1 + 0.002 * rng.standard_normal((9, 80)))
    settings = DriftSettings(knots=KnotSettings(few=5, most=7, many=81, noise=3, tilt_bins=20))
    cells, screening = drift_table(drifting(reads, ages), settings)
    assert screening.kept.all()
    assert (cells.t0, cells.g_scale, cells.time_range) == (20.0, 25.0, (1.0, 1e4))
    assert cells.precise.all()
    assert cells.log_g == pytest.approx(np.log(level / 25.0), abs=0.01)
    assert cells.nu == pytest.approx(nu, abs=0.003)
    assert set(cells.freedom) == {7.0}
    assert cells.conductance_range == pytest.approx(tuple(np.quantile(level, [0.002, 0.998])), rel=0.01)
    assert (len(cells.knots), len(cells.noise_knots)) == (5, 3)
    assert (
        len(drift_table(drifting(reads, ages), replace(settings, knots=replace(settings.knots, many=80)))[0].knots) == 7
    )
    # Without growth of noise these would be its variances; whatever the growth is, they are alike for all.
    assert np.ptp(cells.var_nu) < 1e-6 * cells.var_nu[0]
    assert cells.var_nu[0] == pytest.approx(1 / np.sum((x - x.mean()) ** 2), rel=0.5)


# ---- noise ---------------------------------------------------------------------------------------------------


def test_noise_is_that_of_neighbours_less_what_is_constant() -> None:
    """Of 600 devices in ten bins: 4 % squared below ln g = -1.5 and 1 % squared above, and 0.1 uS all over."""
    relative = np.where(np.linspace(-3, 0, 600) < -1.5, 16e-4, 1e-4)
    floor = 0.1
    cells = table(floor=floor)
    cells = replace(cells, noise=relative + cells.constant(cells.log_g))
    places, seen = noise_seen(cells)
    bins, centre = binned(cells.log_g, 10)
    assert places == pytest.approx(centre)
    assert np.exp(seen) == pytest.approx(np.bincount(bins, relative) / 60)
    at = np.array([-2.9, -2.2, -1.5, -0.6])
    constant = (floor / 25.0) ** 2 * np.exp(-2 * at)
    assert noise_at(cells, at) == pytest.approx(np.exp(np.interp(at, places, seen)) + constant)
    rise = np.log(noise_at(cells, at + 0.4) / noise_at(cells, at - 0.4)) / 0.8
    assert noise_slope(cells, at)[1:] == pytest.approx(rise[1:])
    low = np.log(noise_at(cells, np.array([-2.5])) / noise_at(cells, places[:1])) / (-2.5 - places[0])
    assert noise_slope(cells, at)[0] == pytest.approx(low[0])
    layout, theta = parameters(cells, STRAIGHT, 0.01)
    theta[layout.at("noise")] = np.log([9e-4, 4e-4, 1e-4, 1e-4])
    between = np.log(np.exp(np.interp(at, NOISE_KNOTS, theta[layout.at("noise")])) + constant)
    assert log_noise(layout, cells, theta, at) == pytest.approx(between)
    small = DriftSettings(search=SearchSettings(smallest_noise=0.25))
    assert np.exp(noise_seen(replace(cells, settings=small))[1]) == pytest.approx(np.full(10, 0.25))
    few = table(100)
    assert (len(noise_seen(few)[0]), len(noise_seen(table(9000))[0])) == (4, 40)


# ---- the likelihood of precise devices -----------------------------------------------------------------------


def test_coefficients_are_normal_with_what_their_lines_do_not_know() -> None:
    """Mean and spread at the device's place; errors of nu, of ln g along the slope of the mean, and both together."""
    cells = table(50)
    layout, theta = parameters(cells, STRAIGHT, 0.01)
    got = DriftLikelihood(layout, cells).each(theta)
    error = cells.var_nu + 2 * 0.01 * cells.covariance + 0.01**2 * cells.var_g
    spread = np.sqrt(0.01**2 + 4e-4 * error)
    expected = stats.norm.logpdf(cells.nu, 0.05 - 0.01 * cells.log_g, spread)
    expected -= 0.5 * (cells.freedom * math.log(4e-4) + cells.squares / 4e-4)
    assert got == pytest.approx(expected, rel=1e-4)
    mean, sigma = SplineDrift().expected(cells, theta)
    assert mean == pytest.approx(0.05 - 0.01 * cells.log_g, rel=1e-4)
    assert sigma[:-1] == pytest.approx(spread[:-1], rel=1e-4)  # the last stands where curves end
    assert SplineDrift().quantiles(cells, theta) == pytest.approx(stats.norm.cdf((cells.nu - mean) / sigma))
    some = replace(cells, precise=np.arange(50) % 2 == 0)
    assert SplineDrift().quantiles(some, theta).size == 25
    assert SplineDrift().quantiles(replace(cells, precise=np.zeros(50, bool)), theta).size == 50


def test_where_devices_crowd_one_is_rather_one_of_the_crowd_with_an_error() -> None:
    """Tweedie: the place moves by the variance of its error times the slope of the density, and nu with it."""
    tilt, tilt_slope = 2.0, -0.4
    one = np.ones(50)
    cells = table(50, tilt=tilt * one, tilt_slope=tilt_slope * one, noise=4e-4 * one)
    layout, theta = parameters(cells, STRAIGHT, 0.01)
    assert noise_slope(cells, cells.log_g) == pytest.approx(0.0 * one)  # noise is the same all over
    place = cells.log_g + 4e-4 * cells.var_g * tilt
    mean = 0.05 - 0.01 * place - 4e-4 * tilt * cells.covariance
    error = cells.var_nu + 2 * 0.01 * cells.covariance + 0.01**2 * cells.var_g
    both = cells.covariance + 0.01 * cells.var_g
    variance = 0.01**2 + 4e-4 * error + 4e-4 * (4e-4 * tilt_slope) * both**2
    expected = stats.norm.logpdf(cells.nu, mean, np.sqrt(variance))
    expected -= 0.5 * (cells.freedom * math.log(4e-4) + cells.squares / 4e-4)
    assert DriftLikelihood(layout, cells).each(theta) == pytest.approx(expected, rel=1e-4)
    assert SplineDrift().expected(cells, theta)[0][:-1] == pytest.approx(mean[:-1], rel=1e-5)


def test_groups_of_devices_that_are_alike_count_as_their_sum() -> None:
    """Devices of exactly the same place and errors: the likelihood of the group is that of all of them."""
    cells = table(40)
    pairs = {name: np.repeat(getattr(cells, name)[::4], 4) for name in ("log_g", "var_nu")}
    cells = replace(cells, **pairs)
    groups = Sums.of_groups(cells)
    assert groups.devices.tolist() == [4.0] * 10
    assert groups.nu == pytest.approx(cells.nu.reshape(10, 4).mean(1))
    assert groups.scatter == pytest.approx(4 * cells.nu.reshape(10, 4).var(1))
    assert groups.squares == pytest.approx(np.full(10, 4 * 4e-4 * 8))
    assert groups.freedom == pytest.approx(np.full(10, 32.0))
    assert groups.log_g == pytest.approx(cells.log_g[::4])
    for name in ("var_g", "covariance", "tilt", "tilt_slope"):
        assert getattr(groups, name) == pytest.approx(getattr(cells, name)[::4])
    layout, theta = parameters(cells, STRAIGHT, 0.01)
    model = DriftLikelihood(layout, cells)
    together = model.total(np.zeros((len(layout), len(layout))))(torch.tensor(theta)).numpy()
    assert together[:-1] == pytest.approx(model.each(theta).reshape(10, 4).sum(1))
    apart = replace(cells, var_nu=np.where(np.arange(40) % 2, 1.0, 3.0) * cells.var_nu)
    assert Sums.of_groups(apart).devices.tolist() == [2.0] * 20


def test_what_no_device_tells_is_held_to_a_first_look_and_the_prior_counts() -> None:
    """ln V only where there is a floor; the ln of spreads among themselves; a prior at zero."""
    search = SearchSettings(loose_noise=2.0, loose_spread=0.5)
    for floor in (0.0, 0.05):
        cells = table(floor=floor, settings=DriftSettings(search=search))
        layout, theta = parameters(cells, STRAIGHT, 0.01)
        theta[layout.at("noise")] = np.log([2e-4, 4e-4, 8e-4, 4e-4])
        theta[layout.at("spread")] = np.log([0.01, 0.02, 0.01])
        prior = np.diag(np.arange(1.0, len(layout) + 1))
        got = float(DriftLikelihood(layout, cells).total(prior)(torch.tensor(theta))[-1])
        away = theta[layout.at("noise")] - np.interp(NOISE_KNOTS, *noise_seen(cells))
        expected = -0.5 * 2 * math.log(2.0) ** 2 / 0.5**2 - 0.5 * theta @ prior @ theta
        expected -= 0.5 * np.sum(away**2) / 4 if floor else 0.0
        assert got == pytest.approx(expected)
        assert not DriftLikelihood(layout, cells).thin().any()


# ---- where the search begins ---------------------------------------------------------------------------------


def test_the_search_begins_at_what_bins_of_neighbours_show() -> None:
    """With 100 devices a bin: medians to 0.0013, spreads, less the errors of lines, to 7 %; noise as it is seen."""
    cells = table(6000, noise=np.full(6000, 1e-5))
    rng = np.random.default_rng(5)
    nu = 0.05 - 0.01 * cells.log_g + np.sqrt(0.02**2 + 1e-5 * cells.var_nu) * rng.standard_normal(6000)
    cells = replace(cells, nu=nu, law=TimeLaw(onset=0.1))
    layout = SplineDrift().layout(cells)
    start = start_of(layout, cells)
    assert layout.part(start, "mean") == pytest.approx(STRAIGHT, abs=0.008)
    assert np.exp(layout.part(start, "spread")) == pytest.approx(np.full(3, 0.02), rel=0.3)
    assert np.exp(layout.part(start, "noise")) == pytest.approx(np.full(4, 1e-5))
    assert layout.part(start, "law") == pytest.approx([math.log(0.1 * 20.0)])
    # Where lines explain all scatter, a twentieth of it remains.
    loud = replace(cells, noise=np.full(6000, 0.9))
    least = np.exp(layout.part(start_of(layout, loud), "spread"))
    assert least == pytest.approx(math.sqrt(0.05) * 0.02, rel=0.3)
    # Lines through more noise than there is conductance do not count where there are enough of others.
    wild = replace(cells, noise=np.where(np.arange(6000) % 2, 1e-5, 2.0), nu=np.where(np.arange(6000) % 2, nu, 9.0))
    assert layout.part(start_of(layout, wild), "mean") == pytest.approx(STRAIGHT, abs=0.01)


def test_errors_lean_to_where_more_devices_are() -> None:
    """Of a normal distribution the logarithm of the density has the slope -(x - m) / s^2, and that a slope -1 / s^2."""
    log_g = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000, -1.0, 0.5)
    tilt, slope = tilt_of(log_g, 80)
    middle = np.abs(log_g + 1.0) < 0.7
    assert tilt[middle] == pytest.approx(-(log_g[middle] + 1.0) / 0.25, abs=0.15)
    assert slope[middle] == pytest.approx(np.full(middle.sum(), -4.0), rel=0.15)
    assert not np.any(tilt_of(np.full(10, -1.0), 300))


# ---- bounds that no device reaches ---------------------------------------------------------------------------


def clipped(mean: tuple[float, ...], spread: tuple[float, ...]) -> tuple[DriftTable, FloatArray]:
    cells = table()
    layout = LogClipDrift().layout(cells)
    parts = {"mean": np.array(mean), "spread": np.array(spread), "noise": np.full(4, -8.0), "floor": 0.0}
    return cells, layout.vector(parts)


def test_bounds_that_no_device_reaches_are_held_at_the_edge_of_the_data() -> None:
    """Means run from 0.08 down to 0.05; no device reaches 0.01, and ten 0.0795."""
    cells, theta = clipped((-0.01, 0.05, 0.01, 0.0795), (-0.01, 0.02, 0.03, 0.04))
    held, at = LogClipDrift()._unsupported(cells, theta)
    assert held == {"mean.low": NONE_REACHES, "mean.high": FEW_REACH}
    layout = LogClipDrift().layout(cells)
    assert layout.part(at, "mean") == pytest.approx([-0.01, 0.05, 0.05, 0.0795])
    assert layout.part(at, "spread") == pytest.approx([-0.01, 0.02, 0.03, 0.04])
    beyond, theta = clipped((-0.01, 0.05, 0.06, 0.2), (-0.01, 0.02, 0.03, 0.04))
    held, at = LogClipDrift()._unsupported(beyond, theta)
    assert held == {"mean.high": NONE_REACHES}
    assert layout.part(at, "mean") == pytest.approx([-0.01, 0.05, 0.06, 0.08])


def test_a_slope_that_is_clipped_everywhere_is_not_seen() -> None:
    """Only four devices lie between the bounds of the spread, 0.0350 and 0.0352."""
    cells, theta = clipped((-0.01, 0.05, 0.06, 0.07), (-0.01, 0.02, 0.0350, 0.0352))
    held, at = LogClipDrift()._unsupported(cells, theta)
    assert {*held} == {"spread.slope", "spread.offset"}
    assert at == pytest.approx(theta)


def test_bounds_that_cross_are_a_constant() -> None:
    cells, theta = clipped((-0.01, 0.05, 0.07, 0.06), (-0.01, 0.02, 0.03, 0.04))
    held, at = LogClipDrift()._unsupported(cells, theta)
    assert {*held} == {"mean.slope", "mean.offset", "mean.high"}
    assert held["mean.high"] == "the same at all measured conductances: held, and 'mean.low' is what it is"
    layout = LogClipDrift().layout(cells)
    assert layout.part(at, "mean") == pytest.approx([-0.01, 0.05, 0.07, 0.07 - APART])
    stated = LogClipDrift()._stated(at, cells)
    assert layout.part(stated, "mean") == pytest.approx([0.0, 0.07, 0.07, 0.07])
    assert layout.part(stated, "spread") == pytest.approx([-0.01, 0.02, 0.03, 0.04])


# ---- what is said and shown ----------------------------------------------------------------------------------


def test_a_fit_states_its_range_and_warns_where_no_device_is_quiet() -> None:
    cells = table()
    found = SplineDrift().describe(cells)
    assert found.settings == {"t0": 20.0, "g_scale": 25.0, "noise_growth": 0.05}
    assert (found.conductance_range, found.time_range) == ((1.0, 25.0), (1.0, 1e4))
    assert {name: form.kind for name, form in found.forms.items()} == {
        "mean": "spline", "spread": "log-spline", "noise": "knots",
    }  # fmt: skip
    assert SplineDrift().caveats(cells) == []
    few = replace(cells, precise=np.arange(600) < 29)
    (said,) = SplineDrift().caveats(few)
    assert said.startswith("no devices are quiet enough to show how read noise grows with age")
    assert SplineDrift().caveats(replace(cells, precise=np.arange(600) < 30)) == []


def test_coefficients_have_names_meanings_and_starts() -> None:
    cells = replace(table(floor=0.05), law=TimeLaw(curvature=0.1, bend=0.02))
    layout = SplineDrift().layout(cells)
    rows = [item for block in layout.blocks for item in block.coefficients]
    assert [row.name for row in rows] == [
        "mean.v0", "mean.v1", "mean.v2", "spread.v0", "spread.v1", "spread.v2", "noise.v0", "noise.v1", "noise.v2",
        "noise.v3", "noise.floor", "law.curvature", "law.bend",
    ]  # fmt: skip
    assert [row.log for row in rows] == [False] * 3 + [True] * 7 + [False] * 3
    assert [row.start for row in rows[-3:]] == [0.05, 0.1, 0.02]
    assert rows[7].meaning == "relative variance of a read at t0, at 3.38 uS, less the floor"
    assert (rows[10].note, SplineDrift().layout(table()).blocks[3].coefficients[0].note[:14]) == ("", "all noise that")
    assert SplineDrift._beforehand(layout) == ["floor", "law"]
    onset = SplineDrift().layout(replace(cells, law=TimeLaw(onset=0.1))).blocks[-1].coefficients[0]
    assert (onset.name, onset.unit, onset.log, onset.start) == ("law.onset", "s", True, pytest.approx(math.log(2.0)))
    assert [*LogClipDrift().layout(table()).blocks[0].coefficients][2].name == "mean.low"


def test_panels_show_means_spreads_and_noise_of_bins() -> None:
    """600 devices in twelve bins: weighted by what each tells, and without what the errors of lines add."""
    cells = table()
    cells = replace(
        cells, noise=np.where(np.arange(600) == 7, 0.5, 4e-4), nu=np.where(np.arange(600) == 7, 9, cells.nu)
    )
    layout, theta = parameters(cells, STRAIGHT, 0.01)
    mean, spread, noise = drift_panels(layout, cells, theta)
    some = np.delete(np.arange(600), 7)
    bins, centre = binned(cells.log_g[some], 11)
    nu, added = cells.nu[some], 4e-4 * cells.var_nu[some]
    weight = 1 / (0.01**2 + added)
    groups = [bins == k for k in range(11)]
    means = np.array([np.average(nu[own], weights=weight[own]) for own in groups])
    scatter = np.array(
        [np.average((nu[own] - m) ** 2, weights=weight[own]) for own, m in zip(groups, means, strict=True)]
    )
    errors = np.array([np.average(added[own], weights=weight[own]) for own in groups])
    size = np.array([own.sum() for own in groups])
    measured, fit = mean.series
    assert measured.x == pytest.approx(25.0 * np.exp(centre))
    assert measured.y == pytest.approx(means)
    assert measured.high == pytest.approx(means + 2 * np.sqrt(scatter / size))
    assert measured.low == pytest.approx(means - 2 * np.sqrt(scatter / size))
    ends = np.quantile(cells.log_g, [0.005, 0.995])
    assert fit.x == pytest.approx(25.0 * np.exp(np.linspace(*ends, 200)))
    assert fit.y == pytest.approx(statistic(layout, theta, "mean", np.log(fit.x / 25.0)))
    measured, fit = spread.series
    own = np.sqrt(np.maximum(scatter - errors, 0))
    assert measured.y == pytest.approx(own)
    assert measured.high == pytest.approx(own * (1 + np.sqrt(2 / size)))
    assert measured.low == pytest.approx(own * (1 - np.sqrt(2 / size)))
    assert fit.y == pytest.approx(np.full(200, 0.01))
    measured, fit = noise.series
    assert measured.y == pytest.approx(np.full(11, 0.02))
    assert fit.y == pytest.approx(np.full(200, 0.02), rel=1e-6)
    assert [panel.log_x for panel in (mean, spread, noise)] == [True] * 3
    loud = replace(cells, noise=np.full(600, 0.5), settings=DriftSettings(noise=NoiseSettings(too_noisy=0.35)))
    assert drift_panels(layout, loud, theta)[0].series[0].x.size == 12
    assert len(SplineDrift().panels(cells, theta)) == 4


def test_a_line_setting_is_used_for_the_fewest_reads() -> None:
    ages = np.geomspace(1.0, 1e3, 4)
    reads = np.full((4, 30), 10.0) * (1 - 0.01 * np.arange(4))[:, None]
    reads[3, 0] = np.nan
    settings = DriftSettings(lines=LineSettings(fewest_reads=4))
    _, screening = checked(drifting(reads, ages), settings)
    assert np.flatnonzero(~screening.kept).tolist() == [0]
