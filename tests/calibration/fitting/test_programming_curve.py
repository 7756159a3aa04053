"""Programming curves of simulated devices of known statistics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.fitting.choose import fit_measurement
from hwloop.calibration.fitting.programming_curve import Logistic
from hwloop.calibration.fitting.synthetic import FIRST_ADDRESS
from hwloop.errors import BadInputError
from hwloop.measurements import Cells, Experiment, Measurement, Reads
from hwloop.sim_backend.presets import PRESETS

CURVE = PRESETS["pcm-90nm"]().device.curve


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
    assert fitted.record.calibration_distance < 0.06


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
