"""What an experiment says it will cost, against what it costs and against sums on paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwloop.calibration.experiments.base import DeviceExperiment, Spending
from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.cells import Levels
from hwloop.calibration.experiments.drift import DriftExperiment
from hwloop.calibration.experiments.programming import ProgrammingExperiment
from hwloop.calibration.experiments.programming_curve import ProgrammingCurveExperiment
from hwloop.calibration.experiments.read_noise import ReadNoiseExperiment
from hwloop.files.measurement_writer import MeasurementWriter
from tests.calibration.experiments.conftest import SlowChip, follow

PLACED = {"cells": 20, "levels": Levels(3), "averages": 2, "max_pulses_per_device": 5}
"""At most 5 pulses on each of 20 devices, each verified twice by 2 reads: 100 pulses, 400 reads."""
CASES = [
    # 3 ages, 2 reads of 20 devices at each; 5 rests of 0.1 s before the last age.
    (DriftExperiment(**PLACED, until=100.0, per_decade=1), Spending(100, 5, 400 + 120, 0.5 + 100.0)),
    # 2 ages; 5 rests of 1 s.
    (ProgrammingExperiment(**PLACED, ages=(2.0, 30.0)), Spending(100, 5, 400 + 80, 5.0 + 30.0)),
    # 50 samples of 3 reads; rests of 0.1 s and of 7 s, then 50 intervals of 0.01 s.
    (
        ReadNoiseExperiment(**PLACED, samples=50, sample_averages=3, interval=0.01, start=7.0),
        Spending(100, 5, 400 + 3000, 0.5 + 7.0 + 0.5),
    ),
    # 4 sweeps of a SET and 6 RESETs; every RESET is read at two ages, 2 reads each, the later one 2 s after it.
    (
        ProgrammingCurveExperiment(cells=20, points=6, repeats=4, averages=2, settle=2.0),
        Spending(20 * 4 * 7, 28, 20 * 4 * 6 * 2 * 2, 24 * 2.0),
    ),
    (
        ProgrammingCurveExperiment(cells=20, points=6, repeats=4, averages=2, settle=2.0, early=0.0),
        Spending(20 * 4 * 7, 28, 20 * 4 * 6 * 2, 24 * 2.0),
    ),
]


@pytest.mark.parametrize(("experiment", "expected"), CASES, ids=lambda value: getattr(value, "kind", "") and "")
def test_spending_is_the_sum_on_paper_and_enough(
    tmp_path: Path, experiment: DeviceExperiment, expected: Spending
) -> None:
    chip = SlowChip(1e-6)
    running = experiment.begin(Bench(chip), 0)
    spending = running.spending()
    assert spending == Spending(
        expected.pulses, expected.pulses_per_device, expected.device_reads, pytest.approx(expected.chip_seconds)
    )
    with MeasurementWriter(tmp_path / "m.h5") as writer:
        sink = writer.begin(experiment.kind, running.cells())
        last = follow(running, sink)
        writer.finish()
    assert last.done == last.total == running.total
    assert chip.counts.pulses <= spending.pulses
    assert chip.pulse_counts(0).max() <= spending.pulses_per_device
    assert chip.counts.device_reads <= spending.device_reads
    # Pulses and reads take a microsecond each here.
    assert running.bench.clock.now() <= spending.chip_seconds + 1e-6 * (spending.pulses + spending.device_reads) + 1e-3


def test_a_sweep_costs_what_it_says(tmp_path: Path) -> None:
    experiment = ProgrammingCurveExperiment(cells=20, points=6, repeats=4, averages=2, settle=2.0)
    chip = SlowChip(1e-6)
    running = experiment.begin(Bench(chip), 0)
    with MeasurementWriter(tmp_path / "m.h5") as writer:
        follow(running, writer.begin(experiment.kind, running.cells()))
    spending = running.spending()
    assert chip.counts.pulses == spending.pulses
    assert chip.counts.device_reads == spending.device_reads
    assert chip.pulse_counts(0).max() == spending.pulses_per_device


def test_the_total_of_steps_is_the_most_there_can_be_until_programming_is_done() -> None:
    running = DriftExperiment(**PLACED, until=100.0, per_decade=1).begin(Bench(SlowChip(1e-6)), 0)
    assert running.total == 5 + 1 + 3, "five rounds of pulses, the last verification, three ages"
    sweeps = ProgrammingCurveExperiment(cells=20, points=6, repeats=4).begin(Bench(SlowChip(1e-6)), 0)
    assert sweeps.total == 4 * 6 * 3, "each pulse and its two reads"
