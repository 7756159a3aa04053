"""Measuring over real sockets: a served chip gives what the direct one gives, and a bench takes its own time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.calibration.experiments.cells import Levels
from hwloop.calibration.experiments.drift import DriftExperiment
from hwloop.errors import ChipError
from hwloop.files.measurement_reader import read_measurements
from hwloop.jobs.measure import Into, MeasurementTask, measure_to_file
from tests.drivers.bench.emulated import Rig, rig
from tests.drivers.conftest import SMALL, Serve, resource

DRIFT = DriftExperiment(cells=60, levels=Levels(3), until=3600.0, per_decade=1)
QUICK = DriftExperiment(
    cells=4,
    levels=Levels(2, 5.0, 20.0),
    averages=2,
    settle=0.02,
    max_pulses_per_device=4,
    first=0.3,
    until=1.2,
    per_decade=3,
)
"""Read at 0.3, 0.6 and 1.2 s."""


def on_bench(made: Rig, out: Path, **how: object) -> str:
    """Connect the bench, measure QUICK into a file, and return the status."""
    with hwloop.connect(f"bench:{made.file}") as chip:
        return measure_to_file(MeasurementTask(QUICK, temperature=295.0), chip, out, **how).status


def test_a_served_chip_measures_bit_for_bit_as_the_direct_one(serve: Serve, tmp_path: Path) -> None:
    out = tmp_path / "m.h5"
    for uri in (f"visa:{resource(serve(SMALL))}", SMALL):
        with hwloop.connect(uri) as chip:
            measure_to_file(MeasurementTask(DRIFT), chip, out)
    wire, direct = read_measurements(out)
    for table in ("cells", "reads"):
        for name, column in vars(getattr(direct, table)).items():
            np.testing.assert_array_equal(getattr(getattr(wire, table), name), column)


def test_a_bench_goes_on_after_a_stop_with_true_ages(tmp_path: Path) -> None:
    out = tmp_path / "m.h5"
    with rig(tmp_path) as made:

        def stop(done: int, total: int) -> None:
            if out.exists() and len(read_measurements(out)[0].reads):
                raise KeyboardInterrupt

        assert on_bench(made, out, show=stop) == "interrupted"
        pulses = len(made.pulser.pulses)
        assert on_bench(made, out, into=Into.RESUME) == "complete"
        assert len(made.pulser.pulses) == pulses, "programmed once"
        assert made.idle
    [found] = read_measurements(out)
    assert len(found.reads) == 3 * 4
    time = found.reads.time.reshape(3, 4)
    assert np.all(time > 0.99 * np.array([[0.3], [0.6], [1.2]])), "late on a busy machine, never early"
    assert np.all(np.diff(time, axis=0) > 0)
    assert np.all(found.reads.temperature == 295.0)


def test_a_bench_that_fails_leaves_what_it_measured(tmp_path: Path) -> None:
    out = tmp_path / "m.h5"
    with rig(tmp_path) as made:

        def spoil(done: int, total: int) -> None:
            if out.exists() and len(read_measurements(out)[0].reads):
                made.matrix.stuck_open = True

        with pytest.raises(ChipError, match=r"crosspoints|relay|closed|matrix"):
            on_bench(made, out, show=spoil)
        assert made.idle
        made.matrix.stuck_open = False
        [found] = read_measurements(out)
        assert found.attributes["status"] == "failed"
        assert found.attributes["error"]
        assert len(found.reads) >= 4
        assert on_bench(made, out, into=Into.RESUME) == "complete"
    [found] = read_measurements(out)
    assert len(found.reads) == 12
    assert "error" not in found.attributes
