"""Measuring into a file: stops between steps, ways back, and files that older versions left unfinished."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.experiments.base import DeviceExperiment
from hwloop.calibration.experiments.cells import Levels, ListedLevels
from hwloop.calibration.experiments.drift import DriftExperiment
from hwloop.calibration.experiments.programming_curve import ProgrammingCurveExperiment
from hwloop.calibration.experiments.read_noise import ReadNoiseExperiment
from hwloop.errors import BadInputError
from hwloop.files.hashing import fingerprint
from hwloop.files.measurement_reader import read_measurements
from hwloop.jobs.inputs import UsedCalibration
from hwloop.jobs.measure import Into, MeasurementReport, MeasurementTask, experiment_from, measure_to_file

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"
DRIFT = DriftExperiment(cells=50, levels=Levels(4), until=100.0, per_decade=2)
EXPERIMENTS = [
    DRIFT,
    ReadNoiseExperiment(cells=8, levels=Levels(2), samples=100, samples_per_step=16),
    ProgrammingCurveExperiment(cells=10, points=5, repeats=2),
]


def measured(experiment: DeviceExperiment, out: Path, **how: object) -> MeasurementReport:
    """Measure on a fresh chip."""
    with hwloop.connect(CHIP) as chip:
        return measure_to_file(MeasurementTask(experiment), chip, out, **how)


def stopped_after(steps: int, experiment: DeviceExperiment, out: Path, into: Into = Into.ADD) -> str:
    """Measure until so many steps are done; returns the status."""

    def stop(done: int, total: int) -> None:
        if done == steps:
            raise KeyboardInterrupt

    return measured(experiment, out, into=into, show=stop).status


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.kind.value)
def test_stopped_twice_it_ends_as_if_nothing_had_happened(tmp_path: Path, experiment: DeviceExperiment) -> None:
    assert stopped_after(2, experiment, tmp_path / "parts.h5") == "interrupted"
    assert stopped_after(6, experiment, tmp_path / "parts.h5", into=Into.RESUME) == "interrupted"
    assert measured(experiment, tmp_path / "parts.h5", into=Into.RESUME).status == "complete"
    measured(experiment, tmp_path / "whole.h5")
    [parts], [whole] = read_measurements(tmp_path / "parts.h5"), read_measurements(tmp_path / "whole.h5")
    for table in ("cells", "reads"):
        for name, column in getattr(whole, table).columns().items():
            np.testing.assert_array_equal(getattr(parts, table).columns()[name], column, err_msg=name)
    with h5py.File(tmp_path / "parts.h5") as file:
        assert "state" not in file["0000_" + experiment.kind.value], "nothing goes on from a complete measurement"


def test_a_stop_at_the_last_step_is_none(tmp_path: Path) -> None:
    steps: list[int] = []
    measured(DRIFT, tmp_path / "a.h5", show=lambda done, total: steps.append(done))
    assert stopped_after(steps[-1], DRIFT, tmp_path / "b.h5") == "complete"


def edit_plan(path: Path, **changes: float | None) -> None:
    """Change what a file says that was asked for; None deletes."""
    with h5py.File(path, "r+") as file:
        plan = json.loads(file["0000_drift"].attrs["plan"]) | changes
        kept = {
            name: value for name, value in plan.items() if value is not None or name in ("temperature", "calibration")
        }
        file["0000_drift"].attrs["plan"] = json.dumps(kept)


def test_a_file_that_does_not_name_a_setting_was_begun_with_its_default(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    stopped_after(2, DRIFT, path)
    edit_plan(path, age_resolution=None, stuck_distance=None)  # as files that older versions wrote
    other = DriftExperiment(cells=50, levels=Levels(4), until=100.0, per_decade=2, stuck_distance=0.5)
    with pytest.raises(BadInputError, match=r"was begun with stuck_distance=0\.666.*, not 0\.5"):
        measured(other, path, into=Into.RESUME)
    assert measured(DRIFT, path, into=Into.RESUME).status == "complete"


@pytest.mark.parametrize(("name", "value"), [("gain", 0.5), ("age", 3.0), ("seed", 5)])
def test_what_was_begun_otherwise_does_not_go_on(tmp_path: Path, name: str, value: float) -> None:
    path = tmp_path / "m.h5"
    stopped_after(2, DRIFT, path)
    edit_plan(path, **{name: value})
    with pytest.raises(BadInputError, match=f"was begun with {name}={value}"):
        measured(DRIFT, path, into=Into.RESUME)


def test_a_state_with_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    stopped_after(2, DRIFT, path)
    with h5py.File(path, "r+") as file:
        file["0000_drift/state/placing/0/born"][3] = np.nan
    with pytest.raises(BadInputError, match="'placing/0/born' is not finite"):
        measured(DRIFT, path, into=Into.RESUME)


def test_a_file_is_gone_on_with_by_what_it_tells_and_needs_its_calibration(tmp_path: Path) -> None:
    """Levels that are counted and levels that are listed, another seed, a temperature and a calibration."""
    known, path, whole = tmp_path / "known.json", tmp_path / "m.h5", tmp_path / "whole.h5"
    with hwloop.connect(CHIP) as chip:
        hwloop.calibrate(chip, ["adc"], cores=[0], out=known)
    used = UsedCalibration(Calibration.load(known), str(known), fingerprint(known))
    for levels in (Levels(3, 0.25, 0.75), ListedLevels((0.2, 0.6))):
        experiment = dataclasses.replace(DRIFT, levels=levels)
        task = MeasurementTask(experiment, 7, 301.5, used)

        def stop(done: int, total: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

        with hwloop.connect(CHIP) as chip:
            assert measure_to_file(task, chip, path, into=Into.REPLACE, show=stop).status == "interrupted"
        known.rename(tmp_path / "elsewhere.json")
        with pytest.raises(BadInputError, match=r"m\.h5 cannot be gone on with: its calibration .*known\.json is gone"):
            hwloop.resume(path)
        (tmp_path / "elsewhere.json").rename(known)
        assert hwloop.resume(path).status == "complete"
        with hwloop.connect(CHIP) as chip:
            measure_to_file(task, chip, whole, into=Into.REPLACE)
        with pytest.raises(BadInputError, match="is complete: there is nothing to go on with"):
            hwloop.resume(path)
        [parts], [at_once] = read_measurements(path), read_measurements(whole)
        for table in ("cells", "reads"):
            for name, column in getattr(at_once, table).columns().items():
                np.testing.assert_array_equal(getattr(parts, table).columns()[name], column, err_msg=name)


# ---- settings by name ------------------------------------------------------------------------------------------


def test_lengths_of_time_may_be_texts() -> None:
    by_texts = experiment_from("programming", {"ages": "200s,1h", "settle": "90min", "levels": 4})
    by_numbers = experiment_from("programming", {"ages": (200.0, 3600.0), "settle": 5400.0, "levels": Levels(4)})
    assert by_texts == by_numbers == experiment_from("programming", {"ages": [200, "1h"], "settle": 5400, "levels": 4})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ages": "often"}, "duration 'often': expected a number"),
        ({"ages": [1.0, None]}, "None is no duration"),
        ({"cells": "many"}, "experiment programming: setting cells='many': expected a number"),
        ({"tolerence": 1.0}, "unknown setting 'tolerence'; did you mean 'tolerance'"),
    ],
)
def test_what_is_no_setting_is_refused_before_the_chip_is_asked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(message)):
        experiment_from("programming", settings)
