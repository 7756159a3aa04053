"""Programming curves of simulated devices of known statistics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from hwloop.calibration.fitting.checks import with_reads
from hwloop.calibration.fitting.drift import SplineDrift
from hwloop.calibration.fitting.known import KnownDevice, KnownDrift
from hwloop.calibration.fitting.programming_curve import Logistic
from hwloop.calibration.fitting.programming_curve.ageing import Ageing
from hwloop.calibration.fitting.programming_curve.folding import folded
from hwloop.calibration.fitting.programming_curve.table import _checked_width
from hwloop.calibration.fitting.selection import fit_measurement
from hwloop.calibration.fitting.synthetic import FIRST_ADDRESS, ReadErrors, drifting
from hwloop.errors import BadInputError
from hwloop.files.measurements import Cells, Experiment, Measurement, Reads
from hwloop.sim_backend.presets import PRESETS

CURVE = PRESETS["pcm-90nm"]().device.curve
HERMES = PRESETS["hermes-core"]().device
KNOWN = KnownDevice(KnownDrift.of_model(HERMES.drift))
TRUTH = {
    **{name: getattr(HERMES.curve, name) for name in ("g_max", "midpoint", "steepness", "midpoint_spread")},
    **{name: getattr(HERMES.curve, name) for name in ("height_spread", "jitter", "noise")},
    "steepness_spread": 0.05,
}


def measured(cells: int, seed: int, sweeps: int = 3) -> Measurement:
    """Devices with the preset's curve and spreads, 5 % spread of steepness, and 1 % of noise in reads."""
    rng = np.random.default_rng(seed)
    amplitudes = np.tile(np.linspace(185.0, 380.0, 24), sweeps)
    midpoint = CURVE.midpoint + CURVE.midpoint_spread * rng.standard_normal(cells)
    steepness = CURVE.steepness * (1 + 0.05 * rng.standard_normal(cells))
    height = CURVE.g_max * (1 + CURVE.height_spread * rng.standard_normal(cells))
    shape = (amplitudes.size, cells)
    effective = amplitudes[:, None] + CURVE.jitter * rng.standard_normal(shape)
    g = CURVE.g_min + (height - CURVE.g_min) / (1 + np.exp((effective - midpoint) / steepness))
    g = np.abs(g + CURVE.noise * rng.standard_normal(shape)) * (1 + 0.01 * rng.standard_normal(shape))
    reads = Reads(
        cell=np.tile(np.arange(cells, dtype=np.int32), amplitudes.size),
        time=np.full(g.size, 20.0),
        conductance=g.ravel(),
        temperature=np.full(g.size, 300.0),
        amplitude=np.repeat(amplitudes, cells),
        width=np.full(g.size, 100.0),
    )
    return Measurement(Experiment.PROGRAMMING_CURVE, Cells.at(np.arange(cells) + FIRST_ADDRESS), reads, {"g_max": 25.0})


def test_curve_and_its_spreads_are_recovered() -> None:
    fitted, _ = Logistic().fit(measured(600, seed=1))
    value = {row.name: row.value for row in fitted.record.parameters}
    assert value["midpoint"] == pytest.approx(CURVE.midpoint, abs=1.0)
    assert value["g_max"] == pytest.approx(CURVE.g_max, rel=0.01)
    assert value["steepness"] == pytest.approx(CURVE.steepness, rel=0.02)
    assert value["midpoint_spread"] == pytest.approx(CURVE.midpoint_spread, rel=0.12)
    assert value["height_spread"] == pytest.approx(CURVE.height_spread, rel=0.12)
    assert value["steepness_spread"] == pytest.approx(0.05, rel=0.2)
    assert value["jitter"] == pytest.approx(CURVE.jitter, rel=0.1)
    assert value["noise"] == pytest.approx(CURVE.noise, rel=0.15)
    assert fitted.record.ks_distance < 0.06


def test_devices_that_do_not_answer_are_stuck() -> None:
    clean = measured(300, seed=2)
    conductance = clean.reads.conductance.reshape(-1, 300).copy()
    conductance[:, :10] = 27.0 + 0.1 * np.random.default_rng(0).standard_normal((len(conductance), 10))
    measurement = replace(clean, reads=replace(clean.reads, conductance=conductance.ravel()))
    cells = Logistic().fit(measurement)[0].record.cells
    assert set(cells.stuck_addresses) == set(range(FIRST_ADDRESS, FIRST_ADDRESS + 10))


def test_reads_without_pulses_are_refused() -> None:
    measurement = measured(60, seed=3)
    with pytest.raises(BadInputError, match="lack the amplitude"):
        fit_measurement(replace(measurement, reads=replace(measurement.reads, amplitude=None)))
    still = np.full_like(measurement.reads.conductance, 5.0)
    with pytest.raises(BadInputError, match="no device answers"):
        fit_measurement(replace(measurement, reads=replace(measurement.reads, conductance=still)))
    noise = still + 0.1 * np.random.default_rng(0).standard_normal(still.size)
    rising = 30.0 - measurement.reads.conductance
    for other in (noise, rising):
        with pytest.raises(BadInputError, match="do not fall from the weaker to the stronger pulses"):
            fit_measurement(replace(measurement, reads=replace(measurement.reads, conductance=other)))


def read_twice(cells: int, seed: int, sweeps: int = 3) -> Measurement:
    """Devices of the 14-nm chip at 0.1 s and 1 s: a new drift coefficient after every pulse, 7 % of read noise."""
    rng = np.random.default_rng(seed)
    curve, drift = HERMES.curve, HERMES.drift
    amplitudes = np.tile(np.linspace(168.0, 380.0, 24), sweeps)
    midpoint = curve.midpoint + curve.midpoint_spread * rng.standard_normal(cells)
    steepness = curve.steepness * (1 + 0.05 * rng.standard_normal(cells))
    height = curve.g_max * (1 + curve.height_spread * rng.standard_normal(cells))
    shape = (amplitudes.size, cells)
    effective = amplitudes[:, None] + curve.jitter * rng.standard_normal(shape)
    g = curve.g_min + (height - curve.g_min) / (1 + np.exp((effective - midpoint) / steepness))
    g = np.abs(g + curve.noise * rng.standard_normal(shape))
    nu = drift.mean(g / drift.g_scale) + drift.spread(g / drift.g_scale) * rng.standard_normal(shape)
    ages = np.array([0.1, 1.0])
    reads = np.stack([g * (age / drift.t0) ** -nu * (1 + 0.07 * rng.standard_normal(shape)) for age in ages], axis=1)
    time = np.broadcast_to(ages[None, :, None], reads.shape).ravel()
    return Measurement(
        Experiment.PROGRAMMING_CURVE,
        Cells.at(np.arange(cells) + FIRST_ADDRESS),
        Reads(
            cell=np.tile(np.arange(cells, dtype=np.int32), reads.shape[0] * 2),
            time=time,
            conductance=reads.ravel(),
            temperature=np.full(reads.size, 300.0),
            amplitude=np.repeat(amplitudes, 2 * cells),
            width=np.full(reads.size, 100.0),
            nominal=time,
        ),
        {"g_max": drift.g_scale},
    )


def test_two_reads_of_a_pulse_tell_its_noise_from_that_of_drift_and_reads() -> None:
    fitted, _ = Logistic().fit(read_twice(200, seed=4), KNOWN)
    rows = {row.name: row for row in fitted.record.parameters}
    for name, truth in TRUTH.items():
        sigma = np.log(rows[name].high / rows[name].low) / 3.92
        # One of eight is beyond 3.5 standard deviations in 0.4 % of cases.
        assert abs(np.log(rows[name].value / truth)) < 3.5 * sigma, name
        assert sigma < 0.1, f"the interval of {name} says something"
    noise = [row for name, row in rows.items() if name.startswith("read_noise")]
    assert len(noise) == 6
    for row in noise:
        assert row.low < 0.07 * 1.15
        assert row.high > 0.07 / 1.15


def test_single_reads_cannot_and_say_so_by_their_model() -> None:
    measurement = read_twice(100, seed=5)
    late = measurement.reads.nominal == 1.0
    table, _ = Logistic().prepare(with_reads(measurement, late), KNOWN)
    assert table.conductance.shape[2] == 1
    table, _ = Logistic().prepare(measurement)
    assert table.conductance.shape[2] == 1, "without a drift model the two ages are not comparable"


def test_a_sweep_that_ended_between_two_reads_loses_the_last_pulse_alone() -> None:
    measurement = read_twice(60, seed=6)
    cut = np.arange(len(measurement.reads)) < len(measurement.reads) - 60
    table, _ = Logistic().prepare(with_reads(measurement, cut), KNOWN)
    assert table.there.shape == (60, 71)
    assert table.there.all()


def test_reads_at_the_end_of_the_scale_are_warned_of() -> None:
    curves = measured(40, seed=9)
    family = Logistic()
    assert family.caveats(family.prepare(curves)[0]) == []
    clipped = replace(curves, reads=replace(curves.reads, conductance=np.minimum(curves.reads.conductance, 28.0)))
    [warning] = family.caveats(family.prepare(clipped)[0])
    assert "% of the reads are 28 uS" in warning


@pytest.mark.parametrize("mean", [0.0, 0.3, -1.0, 4.0, 50.0])
def test_points_of_folded_noise_have_its_moments(mean: float) -> None:
    """Of |x|, x normal with variance 1, by adaptive integration; rules in between are interpolated."""
    points, weights = folded(torch.tensor([mean], dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    for power in range(6):
        expected, _ = integrate.quad(lambda x, k=power: abs(x) ** k * stats.norm.pdf(x - mean), mean - 12, mean + 12)
        assert float((weights * points**power).sum()) == pytest.approx(expected, rel=1e-3)


def test_uncertainty_of_the_drift_widens_the_intervals() -> None:
    rng = np.random.default_rng(7)
    conductance, ages = np.exp(rng.uniform(np.log(0.1), np.log(12.0), 600)), np.geomspace(1.0, 86400.0, 8)
    fitted, _ = SplineDrift().fit(drifting(HERMES.drift, HERMES.read_noise, conductance, ages, rng, ReadErrors(0.3)))
    drift = KnownDrift.of_fit(fitted)
    assert drift is not None
    curves = read_twice(60, seed=8, sweeps=2)
    family = Logistic()
    table, _ = family.prepare(curves, KnownDevice(drift))
    found, _ = family.estimate(table, intervals=True)
    sure = replace(table, ageing=Ageing(replace(drift, covariance=0 * drift.covariance)))
    alone = family.covariance_by_drift(sure, family.devices(sure, found.theta), found.theta)
    added = family.covariance_by_drift(table, family.devices(table, found.theta), found.theta)
    assert not alone.any()
    share = np.sqrt(np.diag(added) / np.diag(found.covariance))
    names = [item.name for item in family.layout(table).shown]
    assert share[names.index("g_max")] > 0.3, "which is stated at t0, and read at a hundredth of it"
    assert share[names.index("midpoint_spread")] < 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conductance": np.nan}, "is not a finite number"),
        ({"time": -1.0}, "is negative"),
        ({"amplitude": 0.0}, "the pulse amplitude of read 0 is not positive"),
        ({"amplitude": 250.0}, "fewer than 6 different amplitudes show no curve"),
        ({"width": 102.0}, "the pulses differ in width"),
        ({"temperature": 350.0}, "this family holds at one temperature"),
    ],
)
def test_sweeps_that_tell_no_curve_are_refused(change: dict[str, float], message: str) -> None:
    made = measured(20, seed=2, sweeps=1)
    (name, value), half = next(iter(change.items())), len(made.reads) // 2
    values = np.array(getattr(made.reads, name))
    values[: half if name in ("width", "temperature") else None] = value
    with pytest.raises(BadInputError, match=message):
        _checked_width(replace(made, reads=replace(made.reads, **{name: values})), 6)


def test_the_width_of_a_sweep_is_that_of_its_pulses() -> None:
    made = measured(20, seed=2, sweeps=1)
    assert _checked_width(made, 24) == 100.0
    with pytest.raises(BadInputError, match="fewer than 25 different amplitudes"):
        _checked_width(made, 25)
    slightly = np.where(np.arange(len(made.reads)) == 0, 100.9, 100.0)
    assert _checked_width(replace(made, reads=replace(made.reads, width=slightly)), 24) == pytest.approx(100.0, abs=1)
    bare = replace(made, reads=replace(made.reads, amplitude=None))
    with pytest.raises(BadInputError, match="lack the amplitude and width"):
        _checked_width(bare, 24)
