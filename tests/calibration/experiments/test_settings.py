"""Settings that no chip could follow are refused when they are made."""

from __future__ import annotations

import dataclasses

import pytest

from hwloop.calibration.experiments.base import DeviceExperiment
from hwloop.calibration.experiments.drift import DriftExperiment
from hwloop.calibration.experiments.programming import ProgrammingExperiment
from hwloop.calibration.experiments.programming_curve import ProgrammingCurveExperiment
from hwloop.calibration.experiments.read_noise import ReadNoiseExperiment
from hwloop.errors import BadInputError

TARGETS = {
    "averages": (0, 100_001),
    "age_resolution": (0.0, 1.1),
    "tolerance": (-0.1, 1001.0),
    "gain": (0.0, 2.1),
    "max_pulses_per_device": (0, 1_000_001),
    "settle": (-0.1, 2e6),
    "target_age": (-1.0, 2e9),
    "stuck_distance": (0.0, 11.0),
}
BOUNDS: dict[DeviceExperiment, dict[str, tuple[float, ...]]] = {
    DriftExperiment(): TARGETS,
    ProgrammingExperiment(): TARGETS,
    ReadNoiseExperiment(): TARGETS
    | {
        "samples": (1, 2_000_000_000),
        "interval": (-1e-3, 2e6),
        "start": (-1.0, 2e9),
        "sample_averages": (0, 100_001),
        "samples_per_step": (0,),
    },
    ProgrammingCurveExperiment(): {
        "averages": (0, 100_001),
        "points": (1, 10_001),
        "repeats": (0, 10_001),
        "settle": (-0.1, 2e6),
        "early": (-0.1, 2e6),
        "low_over_melt": (-0.1, 101.0),
        "set_over_melt": (-0.1, 101.0),
        "stuck_share": (-0.1, 1.1),
    },
}
CASES = [
    pytest.param(experiment, name, value, id=f"{experiment.kind.value}-{name}-{value:g}")
    for experiment, bounds in BOUNDS.items()
    for name, values in bounds.items()
    for value in values
]


@pytest.mark.parametrize(("experiment", "name", "value"), CASES)
def test_a_setting_out_of_bounds_is_named(experiment: DeviceExperiment, name: str, value: float) -> None:
    with pytest.raises(BadInputError, match=f"setting {name}=.* is outside"):
        dataclasses.replace(experiment, **{name: value})  # type: ignore[arg-type]


def test_a_drift_experiment_needs_ages_that_rise() -> None:
    with pytest.raises(BadInputError, match="ages from 10 s to 1 s"):
        DriftExperiment(first=10.0, until=1.0)
    with pytest.raises(BadInputError, match="per-decade=0: expected at least 1"):
        DriftExperiment(per_decade=0)
