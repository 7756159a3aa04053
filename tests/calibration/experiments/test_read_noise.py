"""Read noise: time series with true times."""

from __future__ import annotations

import math

import numpy as np

from hwloop.calibration.experiments.cells import Levels
from hwloop.calibration.experiments.read_noise import ReadNoiseExperiment
from tests.calibration.experiments.conftest import MODEL, NU, Measure, SlowChip
from tests.conftest import OpenChip

FEW = ReadNoiseExperiment(cells=6, levels=Levels(2), samples=100, interval=0.1, start=5.0)


def test_samples_come_at_the_pace_asked_for_with_their_true_ages(measure: Measure) -> None:
    chip = SlowChip(1e-3)
    found = measure(FEW, chip)
    time, g = (column.reshape(100, 6) for column in (found.reads.time, found.reads.conductance))
    np.testing.assert_allclose(np.diff(time, axis=0), 0.1, atol=2e-3)
    left = chip.g[found.cells.core, found.cells.address]
    np.testing.assert_allclose(time, MODEL.drift.t0 * (g / left) ** (-1 / NU), rtol=2e-3)


def test_a_chip_slower_than_asked_for_goes_at_its_own_pace(measure: Measure) -> None:
    found = measure(FEW, SlowChip(0.1))
    time = found.reads.time.reshape(100, 6)
    np.testing.assert_allclose(np.diff(time, axis=0), 0.6, atol=0.05)


def test_noise_of_the_simulated_chip_comes_out(open_chip: OpenChip, measure: Measure) -> None:
    chip = open_chip("sim:hermes-core?seed=1&rows=32&columns=32&adc_bits=14&drift=0")
    experiment = ReadNoiseExperiment(cells=200, levels=Levels(1, 0, 5.0), samples=256, interval=1e-3, start=100.0)
    found = measure(experiment, chip)
    g = found.reads.conductance.reshape(256, 200)
    model = chip.info.device_model.read_noise
    q = model.q(g.mean(0) / model.g_scale)
    # Q sqrt(ln(..)) has Q^2 per unit of ln time: within 256 samples, the times from one read to the whole series.
    within = math.log(0.256 / (2 * model.t_read))
    relative = g.var(0, ddof=1) / g.mean(0) ** 2 / q**2
    assert relative.mean() == np.clip(relative.mean(), 0.8 * within, 1.2 * within)
