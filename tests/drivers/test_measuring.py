"""Measuring over real sockets: a served chip gives what the direct one gives, and a bench takes its own time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hwloop.calibration.experiments.cells import Levels
from hwloop.calibration.experiments.scheduled import ScheduledSettings
from hwloop.errors import ChipError
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurements import Experiment
from hwloop.jobs.measure import MeasurementJob, measure_to_file
from tests.drivers.bench.emulated import rig
from tests.drivers.conftest import SMALL, Serve, resource

DRIFT = ScheduledSettings(cells=60, levels=Levels(3), ages=(1.0, 60.0, 3600.0))
QUICK = ScheduledSettings(
    cells=4, levels=Levels(2, 5.0, 20.0), averages=2, settle=0.02, max_pulses_per_device=4, ages=(0.3, 0.6, 1.2)
)


def test_a_served_chip_measures_bit_for_bit_as_the_direct_one(serve: Serve, tmp_path: Path) -> None:
    out = tmp_path / "m.h5"
    for uri in (f"visa:{resource(serve(SMALL))}", SMALL):
        measure_to_file(MeasurementJob(uri, Experiment.DRIFT, DRIFT), out)
    wire, direct = read_measurements(out)
    for table in ("cells", "reads"):
        for name, column in vars(getattr(direct, table)).items():
            np.testing.assert_array_equal(getattr(getattr(wire, table), name), column)


def test_a_bench_goes_on_after_a_stop_with_true_ages(tmp_path: Path) -> None:
    out = tmp_path / "m.h5"
    with rig(tmp_path) as made:
        job = MeasurementJob(f"bench:{made.file}", Experiment.DRIFT, QUICK, temperature=295.0)

        def stop(done: int, total: int) -> None:
            if out.exists() and len(read_measurements(out)[0].reads):
                raise KeyboardInterrupt

        assert measure_to_file(job, out, show=stop)["status"] == "interrupted"
        pulses = len(made.pulser.pulses)
        assert measure_to_file(job, out, resume=True)["status"] == "complete"
        assert len(made.pulser.pulses) == pulses, "programmed once"
        assert made.idle
    [found] = read_measurements(out)
    assert len(found.reads) == 3 * 4
    time = found.reads.time.reshape(3, 4)
    assert np.all(np.diff(time, axis=0) > 0.25)
    assert np.all(found.reads.temperature == 295.0)


def test_a_bench_that_fails_leaves_what_it_measured(tmp_path: Path) -> None:
    out = tmp_path / "m.h5"
    with rig(tmp_path) as made:
        job = MeasurementJob(f"bench:{made.file}", Experiment.DRIFT, QUICK)

        def spoil(done: int, total: int) -> None:
            if out.exists() and len(read_measurements(out)[0].reads):
                made.matrix.stuck_open = True

        with pytest.raises(ChipError):
            measure_to_file(job, out, show=spoil)
        assert made.idle
        made.matrix.stuck_open = False
        [found] = read_measurements(out)
        assert found.attributes["status"] == "failed"
        assert found.attributes["error"]
        assert len(found.reads) >= 4
        assert measure_to_file(job, out, resume=True)["status"] == "complete"
    [found] = read_measurements(out)
    assert len(found.reads) == 12
    assert "error" not in found.attributes
