"""Devices that are verified early carry their drift in their programming errors: reads at two ages tell how much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hwloop.calibration.fitting.known import KnownDevice, KnownReadNoise
from hwloop.calibration.fitting.programming_noise import Polynomial2
from hwloop.calibration.fitting.synthetic import programmed
from hwloop.calibration.fitting.verification import _line, with_drift_since_verification
from hwloop.devices.drift import PUBLISHED_DRIFT
from hwloop.devices.statistics import Polynomial
from hwloop.files.measurements import Measurement, Reads
from hwloop.files.models import CellCount, Estimate, Fit, Form
from hwloop.typing import FloatArray

NOISE = 0.02
"""Of one read, over the conductance."""


def known(averages: int) -> KnownDevice:
    read = KnownReadNoise(lambda g, _age, _count: np.full(g.shape, NOISE**2), "here", averages)
    return KnownDevice(drift_reads=read)


def drift() -> Fit:
    """The published drift as a fit of it."""
    mean, spread = PUBLISHED_DRIFT.mean, PUBLISHED_DRIFT.spread
    rows = [
        Estimate(f"{name}.{part}", getattr(one, part), None, None, "1", "")
        for name, one in (("mean", mean), ("spread", spread))
        for part in ("slope", "offset", "low", "high")
    ]
    forms = {"mean": Form("log-clip"), "spread": Form("log-clip")}
    settings = {"t0": 20.0, "g_scale": 25.0, "noise_growth": 0.0}
    return Fit("drift", "log-clip", tuple(rows), forms, settings, CellCount(9, 9), (1.0, 25.0), (1.0, 1e4), 0.0, 0.0)


def verified(head_start: float, left: float, ages: tuple[float, float], cells: int, seed: int) -> Measurement:
    """Cells whose errors at 20 s hold what each has drifted in `head_start` e-folds of age, and those of pulses."""
    rng = np.random.default_rng(seed)
    target = rng.choice(np.linspace(4.0, 25.0, 8), cells)
    measurement = programmed(Polynomial((0.0,)), Polynomial((0.0,)), 25.0, target, 20.0, rng)
    spread: FloatArray = np.asarray(PUBLISHED_DRIFT.spread(target / 25.0))
    off = spread * np.sqrt(left) * rng.standard_normal(cells)
    # cov(ln G, nu) = -head_start spread^2, of coefficients of which the variance `left` is left.
    log_g = np.log(target) - head_start / left * off + 0.03 * rng.standard_normal(cells)
    nu = PUBLISHED_DRIFT.mean(target / 25.0) + off
    reads = [np.exp(log_g - nu * np.log(age / 20.0)) * (1 + NOISE * rng.standard_normal(cells)) for age in ages]
    cell = np.tile(np.arange(cells, dtype=np.int32), len(ages))
    time = np.repeat(ages, cells).astype(np.float64)
    return replace(measurement, reads=Reads(cell, time, np.concatenate(reads), np.full(time.size, np.nan)))


def fitted(measurement: Measurement, known_device: KnownDevice) -> Fit:
    record = Polynomial2().fit(measurement, known_device)[0].record
    return with_drift_since_verification(record, measurement, drift(), known_device)


@pytest.mark.parametrize(("head_start", "left"), [(2.5, 0.9), (1.0, 1.0), (0.0, 1.0)])
def test_what_errors_and_drift_have_in_common_is_found(head_start: float, left: float) -> None:
    fit = fitted(verified(head_start, left, (20.0, 20e3), 20_000, seed=1), known(1))
    assert fit.statistic("head_start")(np.array([0.6])) == pytest.approx([head_start], abs=0.25)
    assert fit.statistic("spread_left")(np.array([0.6])) == pytest.approx([left], abs=0.08)
    rows = {row.name: row for row in fit.parameters}
    assert rows["head_start.c0"].low < rows["head_start.c0"].value < rows["head_start.c0"].high  # type: ignore[operator]


def test_reads_that_do_not_tell_leave_the_fit_as_it_was() -> None:
    near = verified(2.5, 0.9, (20.0, 60.0), 2_000, seed=2)
    assert "head_start" not in fitted(near, known(1)).forms
    apart = verified(2.5, 0.9, (20.0, 20e3), 2_000, seed=3)
    record = Polynomial2().fit(apart)[0].record
    assert with_drift_since_verification(record, apart, drift(), KnownDevice()) is record  # noise of reads unknown


def test_the_noise_of_reads_averaged_alike_is_known_best() -> None:
    spectrum = KnownReadNoise(lambda g, _age, _count: 0 * g, "spectrum")
    both = replace(known(16), read_noise=spectrum)
    assert both.noise_of(16) is both.drift_reads
    assert both.noise_of(1) is spectrum
    assert known(16).noise_of(1) is not None


def test_lines_are_fitted_by_weight_with_intervals_of_95_percent() -> None:
    g, errors = np.linspace(0.1, 1.0, 6), np.array([0.1, 0.2, 0.1, 0.4, 0.1, 0.2])
    values = 2.0 + 3.0 * g + errors * np.array([1, -1, 0.5, -0.5, 0, 1])
    (level,) = _line("level", g, values, errors, "a level", degree=0)
    weight = errors**-2.0
    mean = (weight * values).sum() / weight.sum()
    half = stats.norm.ppf(0.975) / np.sqrt(weight.sum())
    assert (level.name, level.unit) == ("level.c0", "1")
    assert (level.value, level.low, level.high) == pytest.approx((mean, mean - half, mean + half), rel=1e-4)
    offset, slope = _line("line", g, values, errors, "a line", degree=1)
    design = np.stack([np.ones(6), g], 1)
    covariance = np.linalg.inv(design.T @ (weight[:, None] * design))
    expected = covariance @ design.T @ (weight * values)
    assert [offset.value, slope.value] == pytest.approx(expected, rel=1e-6)
    assert slope.high - slope.low == pytest.approx(2 * stats.norm.ppf(0.975) * np.sqrt(covariance[1, 1]), rel=1e-4)
    assert [offset.name, slope.name] == ["line.c0", "line.c1"]
