"""Reads with heavy tails and cells that switch: what was put in is found, and lines are those of least squares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hwloop.calibration.fitting.checks import rows_of
from hwloop.calibration.fitting.drift.cleaning import (
    USUAL,
    HeavyTails,
    TwoStates,
    _freedom,
    _growth,
    _Logs,
    _Robust,
    _scale,
    switching,
    tamed,
)
from hwloop.files.measurements import Measurement

AGES = np.geomspace(2.0, 2e5, 12)
X = np.log(AGES / 20.0)


def logs(reads: np.ndarray) -> _Logs:
    """Of reads (cells, ages)."""
    return _Logs.of(rows_of(Measurement.of("drift", AGES, reads.T)), 20.0)


def power_law(cells: int, seed: int = 0) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.uniform(5.0, 20.0, cells)[:, None] * np.exp(-0.05 * X), rng


def test_reads_near_nothing_count_as_a_small_share_of_the_mean() -> None:
    reads, _ = power_law(2)
    reads[0, 3], reads[0, 5], reads[1, 2] = -1.0, 0.0, np.nan
    found = logs(reads)
    mean = np.maximum(reads[0], 0.0).mean()
    assert found.z[0, [3, 5]] == pytest.approx(np.log([USUAL.least * mean] * 2))
    assert found.z[0, 4] == pytest.approx(np.log(reads[0, 4]))
    assert found.there[1].sum() == 11
    assert found.x[0] == pytest.approx(X)
    assert not found.z[1, ~found.there[1]].any()
    assert logs(-reads[:1]).z[0, 0] <= np.log(reads[0].max())


def test_lines_are_those_of_weighted_least_squares() -> None:
    reads, rng = power_law(5, 1)
    reads[2, 4] = np.nan
    found = logs(reads)
    values, weight = rng.standard_normal((5, 12)), rng.uniform(0.5, 2.0, (5, 12))
    lines = found.lines(values, weight)
    for own in range(5):
        at = found.there[own]
        slope, level = np.polyfit(found.x[own, at], values[own, at], 1, w=np.sqrt(weight[own, at]))
        assert lines[own] == pytest.approx(level + slope * found.x[own])


@pytest.mark.parametrize("freedom", [2.0, 4.0, 10.0])
def test_degrees_of_freedom_are_found_from_the_shape_alone(freedom: float) -> None:
    values = stats.t(freedom).rvs(40_000, random_state=2)
    values *= stats.norm.ppf(0.75) / np.median(np.abs(values))
    assert _freedom(values, USUAL) == pytest.approx(freedom, rel=0.1 if freedom < 5 else 0.2)


def test_the_scale_of_residuals_is_their_median_size_over_a_normals() -> None:
    reads, rng = power_law(3000, 3)
    found = logs(reads)
    left = 0.03 * rng.standard_normal((3000, 12)) * np.sqrt(1 - 2 / 12)
    assert _scale(found, left, USUAL) == pytest.approx(np.full(3000, 0.03), rel=0.1)
    assert _scale(found, np.zeros((3000, 12)), USUAL).min() == 1e-9


@pytest.mark.parametrize("growth", [0.0, 0.1])
def test_the_growth_of_noise_is_that_of_its_median_square(growth: float) -> None:
    reads, rng = power_law(3000, 4)
    found = logs(reads)
    unit = rng.standard_normal((3000, 12)) * np.sqrt(np.maximum(1 + growth * X, 0.01))
    assert _growth(found, unit, USUAL) == pytest.approx(growth, abs=0.015)
    single = replace(found, x=np.zeros_like(found.x))
    assert _growth(single, unit, USUAL) == 0.0


def test_weights_and_pulls_are_those_of_students_t() -> None:
    reads, _ = power_law(2)
    found = logs(reads)
    robust = _Robust(found.z - 0.06, np.array([0.02, 0.03]), 0.1, 4.0)
    width = np.array([[0.02], [0.03]]) * np.sqrt(np.maximum(1 + 0.1 * X, 0.01))
    assert robust.width(found) == pytest.approx(width)
    weight = 5 / (4 + (0.06 / width) ** 2)
    assert robust.weight(found) == pytest.approx(weight)
    assert robust.pull(found) == pytest.approx(weight * 0.06 * 7 / 5)


def test_tails_that_were_put_in_are_found_and_tamed() -> None:
    reads, _ = power_law(1500, 5)
    noise = 0.02 * stats.t(3.0).rvs(reads.shape, random_state=6)
    cleaned, tails = tamed(Measurement.of("drift", AGES, (reads * (1 + noise)).T))
    assert tails.freedom == pytest.approx(3.0, rel=0.2)
    assert 0.0 < tails.error < 0.3
    left = np.log(cleaned.reads.conductance) - np.log(reads.T.ravel())
    assert stats.kurtosis(left) < 0.2 * stats.kurtosis(np.log1p(np.maximum(noise, -0.9)).ravel())
    _, normal = tamed(
        Measurement.of("drift", AGES, (reads * (1 + 0.02 * np.random.default_rng(7).standard_normal(reads.shape))).T)
    )
    assert normal.freedom > 20


def test_cells_that_switch_are_found_and_brought_up() -> None:
    reads, rng = power_law(1500, 8)
    clean = reads * (1 + 0.005 * rng.standard_normal(reads.shape))
    low = rng.random((300, 12)) < 0.4
    spoilt = clean.copy()
    spoilt[:300] *= np.where(low, np.exp(-0.1), 1.0)
    cleaned, states = switching(Measurement.of("drift", AGES, spoilt.T))
    assert (states.step[:300] > 0).mean() > 0.95
    assert (states.step[300:] > 0).mean() < 0.02
    assert np.median(states.step[:300]) == pytest.approx(0.1, rel=0.05)
    both = low.any(1) & ~low.all(1)
    assert states.low[:300][both].mean() == pytest.approx(0.4, abs=0.05)
    again = cleaned.reads.conductance.reshape(12, 1500).T
    assert np.median(np.abs(np.log(again[:300] / clean[:300]))) < 0.002
    assert again[300:][states.step[300:] == 0] == pytest.approx(spoilt[300:][states.step[300:] == 0])


def test_what_is_told_of_other_noise() -> None:
    assert HeavyTails(4.0, 0.1, 0.9).coefficients()["tail.freedom"][2:] == (pytest.approx(np.log(4.0)), 0.1)
    told = TwoStates(np.array([0.1, 0.2, 0.0, 0.0]), np.zeros(4)).coefficients()
    assert told["telegraph.share"][2:] == pytest.approx((np.log(0.5), 0.5))
    logs_of = np.log([0.1, 0.2])
    assert told["telegraph.step"][2:] == pytest.approx((logs_of.mean(), logs_of.std() / np.sqrt(2)))
    none = TwoStates(np.zeros(4), np.zeros(4)).coefficients()
    assert none["telegraph.share"][2] == pytest.approx(np.log(0.25))
    assert none["telegraph.step"][2:] == (0.0, 0.0)
