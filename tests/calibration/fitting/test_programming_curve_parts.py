"""Parts of the fit of programming curves one at a time, against formulas written here."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from hwloop.calibration.fitting.checks import rows_of
from hwloop.calibration.fitting.programming_curve import Logistic
from hwloop.calibration.fitting.programming_curve.curve import CurveModel, _between, curve_layout
from hwloop.calibration.fitting.programming_curve.family import _curve, _moments, _start
from hwloop.calibration.fitting.programming_curve.settings import CurveSettings
from hwloop.calibration.fitting.programming_curve.table import (
    CurveTable,
    _ages,
    _answering,
    _fall,
    _noise_knots,
    curve_table,
)
from hwloop.errors import BadInputError
from hwloop.files.measurements import Cells, Experiment, Measurement, Reads
from hwloop.typing import FloatArray

AMPLITUDES = np.linspace(100.0, 400.0, 16)
VALUES = {
    "g_min": 0.2, "g_max": 20.0, "midpoint": 250.0, "steepness": 20.0, "midpoint_spread": 12.0, "height_spread": 0.1,
    "steepness_spread": 0.2, "jitter": 4.0, "noise": 0.3, "reads": np.array([0.03, 0.6]),
}  # fmt: skip
NAMES = [*VALUES][:-1]
THETA = np.log(curve_layout(()).vector(VALUES))


TYPICAL = np.array([250.0, 20.0, 20.0])
"""Midpoint, height and steepness."""


def shape(amplitude: FloatArray, device: FloatArray = TYPICAL) -> FloatArray:
    """The curve of a device with a midpoint, a height and a steepness, without jitter."""
    midpoint, height, steepness = np.moveaxis(device[..., None], -2, 0)
    value: FloatArray = 0.2 + (height - 0.2) / (1 + np.exp((amplitude - midpoint) / steepness))
    return value


def table(conductance: FloatArray, **changes: Any) -> CurveTable:
    """Sweeps (cells, pulses) over the amplitudes, each pulse read once, no drift known."""
    cells = len(conductance)
    own: dict[str, Any] = {
        "g_scale": 20.0, "width": 100.0, "age": 30.0, "knots": (), "cells": np.arange(cells),
        "there": np.ones(conductance.shape, bool),
        "amplitude": np.tile(AMPLITUDES, (cells, conductance.shape[1] // AMPLITUDES.size)),
        "conductance": conductance[..., None], "log_age": np.zeros((*conductance.shape, 1)),
    }  # fmt: skip
    return CurveTable(**(own | changes))


def devices(cells: int, seed: int = 1) -> FloatArray:
    """Midpoints, heights and steepnesses (cells, 3) with the spreads of the population."""
    z = np.random.default_rng(seed).standard_normal((cells, 3))
    return np.array([250.0, 20.0, 20.0]) + z * np.array([12.0, 2.0, 4.0])


def seen(cells: int = 6, noise: float = 0.2) -> CurveTable:
    rng = np.random.default_rng(2)
    clean = shape(AMPLITUDES, devices(cells))
    return table(clean + noise * rng.standard_normal(clean.shape))


# ---- the model -----------------------------------------------------------------------------------------------


def test_reads_expect_the_curve_averaged_over_jitter_and_vary_by_pulses_and_reads() -> None:
    """Where no noise folds at zero: a mean of second order in the jitter, and three variances that add up."""
    own = np.array([[250.0, 20.0, 20.0], [240.0, 22.0, 17.0]])
    amplitude = np.array([[200.0, 230.0, 260.0]] * 2)
    model = CurveModel(curve_layout(()), (), None)
    curve = model(torch.tensor(THETA), *(torch.tensor(one) for one in (amplitude, own, np.zeros((2, 3, 1)))))
    step = 0.01
    up, at, down = (shape(amplitude + move, own) for move in (step, 0.0, -step))
    slope, bend = (up - down) / (2 * step), (up - 2 * at + down) / step**2
    expected = at + 0.5 * bend * 4.0**2
    assert curve.value[..., 0].numpy() == pytest.approx(expected, rel=1e-4)
    pulses = (slope * 4.0) ** 2 + 0.3**2
    reads = (0.03 * (expected / 20.0) ** (0.6 - 1)) ** 2
    assert curve.variance.numpy() == pytest.approx(pulses * (1 + reads) + reads * expected**2, rel=1e-3)
    assert curve.common is None
    for k, move in enumerate((0.01, 0.001, 0.001)):
        moved = own + np.eye(3)[k] * move
        back = own - np.eye(3)[k] * move
        derivative = (shape(amplitude, moved) - shape(amplitude, back)) / (2 * move)
        # The curvature's own change with a device's parameters is left out.
        assert curve.slopes[..., k].numpy() == pytest.approx(derivative, rel=0.02, abs=1e-3)


def test_the_population_has_relative_spreads_of_height_and_steepness() -> None:
    model = CurveModel(curve_layout(()), (), None)
    for theta in (THETA, torch.tensor(THETA)):
        centre, width = model.population(theta)
        assert np.asarray(centre) == pytest.approx([250.0, 20.0, 20.0])
        assert np.asarray(width) == pytest.approx([12.0, 2.0, 4.0])


def test_noise_of_reads_is_straight_between_its_knots_and_flat_beyond() -> None:
    at = torch.tensor([-1.0, 1.0, 1.5, 2.25, 3.0, 9.0], dtype=torch.float64)
    values = torch.tensor([5.0, 7.0, 4.0], dtype=torch.float64)
    assert _between(at, (1.0, 2.0, 3.0), values).numpy() == pytest.approx([5, 5, 6, 6.25, 4, 4], abs=0.01)


def test_parameters_are_those_of_a_programming_curve_and_of_reads() -> None:
    names = [item.name for block in curve_layout(()).blocks for item in block.coefficients]
    assert names == [*NAMES, "read_noise", "read_exponent"]
    knots = [item for block in curve_layout((0.0, math.log(10.0))).blocks for item in block.coefficients][-2:]
    assert [item.name for item in knots] == ["read_noise.v0", "read_noise.v1"]
    assert knots[1].meaning == "standard deviation of a read over 10 uS, at t0"
    assert all(item.log for block in curve_layout(()).blocks for item in block.coefficients)


# ---- devices and their likelihood ----------------------------------------------------------------------------


def test_the_parameters_of_a_device_are_its_most_likely_ones() -> None:
    """The maximum of its own density, with noise as at that place, found by another search."""
    cells = seen()
    found = Logistic(settings=CurveSettings(device_steps=30)).devices(cells, THETA)
    centre, width = CurveModel.of(cells).population(THETA)
    variance = _curve(cells, THETA, found).variance.numpy()

    def away(x: FloatArray) -> FloatArray:
        """Residuals of reads, then of parameters, over their standard deviations."""
        own = x.reshape(6, 3)
        residual = cells.conductance[..., 0] - _curve(cells, THETA, own).value[..., 0].numpy()
        return np.concatenate([(residual / np.sqrt(variance)).ravel(), ((own - centre) / width).ravel()])

    best = optimize.least_squares(away, (found + 0.3 * width).ravel(), x_scale=np.tile(width, 6)).x.reshape(6, 3)
    # What jitter adds to the mean changes with the parameters, too, which the steps leave out.
    assert (found - best) / width == pytest.approx(np.zeros((6, 3)), abs=0.06)


def test_a_device_lies_within_five_standard_deviations_and_reads_that_are_not_there_do_not_count() -> None:
    far = np.array([[250.0 + 20 * 12.0, 20.0, 20.0], [250.0, 20.0, 20.0]])
    cells = table(shape(AMPLITUDES, far))
    found = Logistic().devices(cells, THETA)
    assert found[0, 0] == pytest.approx(250.0 + 5 * 12.0)
    spoilt = cells.conductance.copy()
    spoilt[1, 3:5] = 99.0
    there = cells.there.copy()
    there[1, 3:5] = False
    again = Logistic().devices(replace(cells, conductance=spoilt, there=there), THETA)[1]
    assert again == pytest.approx(found[1], abs=0.1)
    assert found[1] == pytest.approx(far[1], abs=0.3)


def test_the_likelihood_is_that_of_reads_which_share_a_device() -> None:
    """Normal, with the variance of pulses, and what three parameters add along their slopes (Woodbury undone)."""
    cells = seen()
    there = cells.there.copy()
    there[2, ::3] = False
    cells = replace(cells, there=there)
    at = devices(6) + np.array([1.0, 0.2, -0.5])
    got = Logistic()._linearised(cells, at)(torch.tensor(THETA)).numpy()
    centre, width = CurveModel.of(cells).population(THETA)
    parts = _curve(cells, THETA, at)
    for k in range(6):
        own, slopes = there[k], parts.slopes[k].numpy()[there[k]]
        mean = parts.value[k, :, 0].numpy()[own] + slopes @ (centre - at[k])
        covariance = np.diag(parts.variance[k].numpy()[own]) + (slopes * width**2) @ slopes.T
        assert got[k] == pytest.approx(stats.multivariate_normal.logpdf(cells.conductance[k, own, 0], mean, covariance))
    assert Logistic().log_likelihood(cells, THETA) == pytest.approx(
        Logistic()._linearised(cells, Logistic().devices(cells, THETA))(torch.tensor(THETA)).numpy()
    )


def test_quantiles_are_over_devices_and_pulses() -> None:
    cells = seen()
    cells = replace(cells, there=cells.amplitude > 120.0)
    centre, width = CurveModel.of(cells).population(THETA)
    parts = _curve(cells, THETA, np.tile(centre, (6, 1)))
    sigma = np.sqrt(parts.variance.numpy() + ((parts.slopes.numpy() * width) ** 2).sum(-1))
    expected = stats.norm.cdf(cells.conductance[..., 0], parts.value[..., 0].numpy(), sigma)[cells.there]
    assert Logistic().quantiles(cells, THETA) == pytest.approx(expected)


# ---- where the search begins ---------------------------------------------------------------------------------


def test_the_search_begins_at_the_median_curve() -> None:
    """Half height at the midpoint; 12 and 88 % lie two steepnesses from it. A top and bottom as they are seen."""
    fine = np.linspace(100.0, 400.0, 301)
    cells = table(np.tile(shape(fine), (5, 1)), amplitude=np.tile(fine, (5, 1)))
    found = dict(zip(NAMES, np.exp(_start(cells)), strict=False))
    assert found["g_max"] == pytest.approx(20.0, rel=1e-3)
    assert found["g_min"] == pytest.approx(0.2, rel=0.1)
    assert found["midpoint"] == pytest.approx(250.0, rel=1e-3)
    assert found["steepness"] == pytest.approx(20.0, rel=0.01)
    steep = found["steepness"]
    assert (found["midpoint_spread"], found["jitter"], found["noise"]) == pytest.approx(
        (0.3 * steep, 0.1 * steep, 0.02 * found["g_max"])
    )
    assert np.exp(_start(cells))[-2:] == pytest.approx([0.02, 0.8])
    assert np.exp(_start(replace(cells, knots=(0.0, 1.0, 2.0))))[-3:] == pytest.approx([0.1] * 3)
    # A step has at least a fifth of the distance of amplitudes, and zero is a thousandth of the top.
    step = table(np.where(AMPLITUDES < 250, 20.0, 0.0)[None])
    found = dict(zip(NAMES, np.exp(_start(step)), strict=False))
    assert found["g_min"] == pytest.approx(0.02)
    assert found["steepness"] == pytest.approx(max(0.2 * 20.0, 0.76 * 20.0 / 4))


def test_spreads_begin_at_those_of_the_devices_and_noise_at_what_is_left() -> None:
    """Many devices, every curve exactly known: medians and robust standard deviations, 1.4826 times the median size."""
    rng = np.random.default_rng(4)
    own = devices(800)
    clean = shape(AMPLITUDES, own)
    steep = (clean - 0.2) * (1 - (clean - 0.2) / (own[:, 1:2] - 0.2)) / own[:, 2:]
    cells = table(clean + steep * 3.0 * rng.standard_normal(clean.shape) + 0.1 * rng.standard_normal(clean.shape))
    theta = np.log(curve_layout(()).vector({**VALUES, "jitter": 0.01, "noise": 0.01}))
    found = dict(zip(NAMES, np.exp(_moments(cells, theta, own)), strict=False))
    middle = np.median(own, axis=0)
    robust = 1.4826 * np.median(np.abs(own - middle), axis=0)
    assert (found["midpoint"], found["g_max"], found["steepness"]) == pytest.approx(tuple(middle))
    assert found["midpoint_spread"] == pytest.approx(robust[0])
    assert found["height_spread"] == pytest.approx(robust[1] / middle[1])
    assert found["steepness_spread"] == pytest.approx(robust[2] / middle[2])
    assert found["jitter"] == pytest.approx(3.0, rel=0.1)
    assert found["noise"] == pytest.approx(0.1, rel=0.1)
    alike = np.tile(middle, (800, 1))
    least = dict(zip(NAMES, np.exp(_moments(cells, theta, alike)), strict=False))
    assert least["midpoint_spread"] == pytest.approx(1e-2 * middle[2])
    assert (least["height_spread"], least["steepness_spread"]) == pytest.approx((1e-3, 1e-3))
    few = replace(cells, there=cells.there & (np.arange(800) < 3)[:, None])
    kept = dict(zip(NAMES, np.exp(_moments(few, theta, own)), strict=False))
    assert (kept["jitter"], kept["noise"]) == pytest.approx((0.01, 0.01))


# ---- what is said --------------------------------------------------------------------------------------------


def test_a_fit_states_its_pulses_and_warns_of_reads_at_the_end_of_a_scale() -> None:
    cells = seen()
    found = Logistic().describe(cells)
    assert found.settings == {"width": 100.0, "age": 30.0, "g_scale": 20.0}
    assert found.conductance_range == (cells.conductance.min(), cells.conductance.max())
    assert found.time_range == (30.0, 30.0)
    family = Logistic(settings=CurveSettings(saturated=0.1))
    assert family.caveats(cells) == []
    clipped = replace(cells, conductance=np.minimum(cells.conductance, 15.0))
    share = 100 * float(np.mean(clipped.conductance == 15.0))
    assert share > 10
    (said,) = family.caveats(clipped)
    assert said.startswith(f"{share:.1f} % of the reads are 15 uS, the end of the scale they were read with")
    assert family.caveats(replace(clipped, there=clipped.conductance[..., 0] < 15.0)) == []


def test_panels_show_quantiles_of_reads_at_each_amplitude() -> None:
    """Against 1600 devices with the same statistics: a quantile is known to 0.25 uS in the middle."""
    rng = np.random.default_rng(8)
    every = devices(1600)
    reads = shape(AMPLITUDES + 4.0 * rng.standard_normal((1600, 16)), every)
    cells = table(reads + 0.3 * rng.standard_normal(reads.shape))
    curve, quantiles = Logistic().panels(cells, THETA)
    measured, fit = curve.series
    assert measured.x == pytest.approx(AMPLITUDES)
    for band, share in ((measured.low, 0.05), (measured.y, 0.5), (measured.high, 0.95)):
        assert band == pytest.approx(np.quantile(cells.conductance[..., 0], share, axis=0))
    assert fit.x == pytest.approx(np.linspace(100.0, 400.0, 200))
    for ours, drawn in ((fit.low, measured.low), (fit.y, measured.y), (fit.high, measured.high)):
        assert np.interp(AMPLITUDES, fit.x, ours) == pytest.approx(drawn, abs=1.0)
    assert quantiles.title.startswith("Predicted quantiles")


# ---- from a measurement to sweeps ----------------------------------------------------------------------------


def sweeps(conductance: FloatArray, nominal: FloatArray | None = None, time: float = 30.0) -> Measurement:
    """Reads (cells, pulses) after pulses of the amplitudes."""
    cells, pulses = conductance.shape
    count = cells * pulses
    amplitude = np.tile(np.resize(AMPLITUDES, pulses), cells)
    reads = Reads(
        np.repeat(np.arange(cells, dtype=np.int32), pulses), np.full(count, time), conductance.ravel(),
        np.full(count, 300.0), amplitude, np.full(count, 100.0), nominal=nominal,
    )  # fmt: skip
    return Measurement(Experiment.PROGRAMMING_CURVE, Cells.at(np.arange(cells)), reads, {"g_max": 25.0})


def test_sweeps_become_a_rectangle() -> None:
    clean = shape(AMPLITUDES, devices(8))
    found, screening = curve_table(sweeps(clean))
    assert screening.kept.all()
    assert (found.g_scale, found.width, found.age, found.ages, found.knots) == (25.0, 100.0, 30.0, 1, ())
    assert found.conductance[..., 0] == pytest.approx(clean)
    assert found.amplitude == pytest.approx(np.tile(AMPLITUDES, (8, 1)))
    assert not found.log_age.any()
    assert found.reads_there.shape == (8, 16)


def test_devices_that_do_not_answer_are_stuck_and_all_of_them_are_refused() -> None:
    """The others cover 19.8 uS; a third of that is asked for."""
    clean = np.tile(shape(AMPLITUDES), (6, 1))
    clean[1] = 8.0 + 0.29 * (clean[1] - 8.0)
    clean[2] = 8.0 + 0.31 * (clean[2] - 8.0)
    settings = CurveSettings(still=0.3)
    measurement = sweeps(clean)
    screening, high = _answering(measurement, rows_of(measurement), settings)
    assert screening.reason.tolist() == ["", "stuck", "", "", "", ""]
    assert high == pytest.approx(clean.max(1))
    with pytest.raises(BadInputError, match="no device answers to its pulses; nothing is left to fit"):
        curve_table(sweeps(np.full((4, 16), 5.0)))
    rising = sweeps(clean[:, ::-1])
    with pytest.raises(BadInputError, match="conductances do not fall from the weaker to the stronger pulses"):
        curve_table(rising)
    few = CurveSettings(fewest_reads=17)
    with pytest.raises(BadInputError, match="no device answers"):
        _answering(measurement, rows_of(measurement), few)


def test_a_fall_is_the_difference_between_weak_and_strong_pulses() -> None:
    clean = shape(AMPLITUDES, devices(3))
    assert _fall(rows_of(sweeps(clean))) == pytest.approx(clean[:, :8].mean(1) - clean[:, 8:].mean(1))


def test_a_fall_must_be_surely_one() -> None:
    """The mean of falls over its standard error: four devices that fall by 1 to 4 uS."""
    slopes = np.array([1.0, 2.0, 3.0, 4.0])[:, None]
    measurement = sweeps(10.0 - slopes * np.where(AMPLITUDES > 250, 0.5, -0.5))
    sure = 2.5 / (np.std([1, 2, 3, 4]) / 2)
    _answering(measurement, rows_of(measurement), CurveSettings(sure=sure * 0.99, still=0.0))
    with pytest.raises(BadInputError, match="do not fall"):
        _answering(measurement, rows_of(measurement), CurveSettings(sure=sure * 1.01, still=0.0))


def test_reads_of_a_pulse_at_two_nominal_ages_are_pairs() -> None:
    clean = shape(AMPLITUDES, devices(3))
    twice = np.repeat(clean, 2, axis=1)
    measurement = sweeps(twice, np.tile([1.0, 30.0], 48))
    reads = replace(measurement.reads, amplitude=np.tile(np.repeat(AMPLITUDES, 2), 3))
    first, second = _ages(replace(measurement, reads=reads))
    assert first is not None
    assert first.conductance == pytest.approx(clean)
    assert second.there.all()
    # A pulse whose two reads belong to different amplitudes is none; an end between two reads loses the last.
    wrong = reads.amplitude.copy()
    wrong[2] = 111.0
    first, second = _ages(replace(measurement, reads=replace(reads, amplitude=wrong)))
    assert first is not None
    assert np.argwhere(~first.there).tolist() == np.argwhere(~second.there).tolist() == [[0, 1]]
    assert _ages(sweeps(clean))[0] is None
    assert _ages(sweeps(clean, np.full(48, 30.0)))[0] is None


def test_knots_of_noise_lie_between_the_strongest_and_the_weakest_pulse() -> None:
    clean = np.tile(shape(AMPLITUDES), (5, 1))
    amplitude, there = np.tile(AMPLITUDES, (5, 1)), np.ones((5, 16), bool)
    low, high = math.log(clean[0, -1]), math.log(clean[0, 0])
    settings = CurveSettings(noise_knots=4)
    assert _noise_knots(clean, there, amplitude, settings) == pytest.approx(np.linspace(low, high, 4))
    zero = np.where(amplitude == 400.0, 0.0, clean)
    narrow = CurveSettings(noise_knots=3, widest_range=3.0)
    assert _noise_knots(zero, there, amplitude, narrow) == pytest.approx(np.linspace(high - 3, high, 3))


def test_devices_that_no_curve_describes_are_outliers() -> None:
    rng = np.random.default_rng(6)
    clean = shape(AMPLITUDES, devices(60))
    reads = clean + 0.2 * rng.standard_normal(clean.shape)
    reads[7] = reads[7, ::-1] * 0.5 + reads[7] * 0.5 + np.where(np.arange(16) % 2, 4.0, -4.0)
    found, screening = Logistic().prepare(sweeps(np.abs(reads)))
    assert np.flatnonzero(screening.reason == "outlier").tolist() == [7]
    assert found.cells.tolist() == [k for k in range(60) if k != 7]
