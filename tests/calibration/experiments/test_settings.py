"""Settings that no chip could follow are refused when they are made."""

from __future__ import annotations

import pytest

from hwloop.calibration.experiments.drift import DriftExperiment
from hwloop.calibration.experiments.programming import ProgrammingExperiment
from hwloop.calibration.experiments.programming_curve import ProgrammingCurveExperiment
from hwloop.calibration.experiments.pulse_response import PulseResponseExperiment
from hwloop.calibration.experiments.read_noise import ReadNoiseExperiment
from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError
from tests.calibration import bounds

TARGETS = {
    "averages": (1, 16, 2**16),
    "age_resolution": (1e-6, 0.002, 1.0),
    "tolerance": (0.0, 0.0, 1000.0),
    "gain": (0.01, 0.4, 2.0),
    "max_pulses_per_device": (1, 15, 1_000_000),
    "target_age": (0.0, 0.0, 1e9),
    "stuck_distance": (0.01, 2 / 3, 10.0),
}
BOUNDS: bounds.Bounds = {
    PulseResponseExperiment: {
        "averages": (1, 4, 65_536),
        "age_resolution": (1e-06, 0.002, 1.0),
        "pulses": (10, 1_000, 10_000_000),
        "read_every": (1, 10, 1_000_000),
        "cycles": (1, 1, 10_000),
    },
    DriftExperiment: TARGETS | {"settle": (0.0, 0.1, 1e6)},
    ProgrammingExperiment: TARGETS | {"settle": (0.0, 1.0, 1e6)},
    ReadNoiseExperiment: TARGETS
    | {
        "settle": (0.0, 0.1, 1e6),
        "samples": (2, 4096, 1_000_000_000),
        "interval": (0.0, 1e-3, 1e6),
        "start": (0.0, 10.0, 1e9),
        "sample_averages": (1, 1, 2**16),
        "samples_per_step": (1, 64, 1_000_000_000),
    },
    ProgrammingCurveExperiment: {
        "averages": (1, 16, 2**16),
        "points": (2, 24, 10_000),
        "repeats": (1, 4, 10_000),
        "settle": (0.0, 1.0, 1e6),
        "low_over_melt": (0.0, 1.01, 100.0),
        "set_over_melt": (0.0, 0.6, 100.0),
        "stuck_share": (0.0, 0.25, 1.0),
    },
}
DEFAULTS: dict[type[Settings], dict[str, float]] = {
    PulseResponseExperiment: {"cells": 400},
    DriftExperiment: {"cells": 10_000, "first": 1.0, "until": 86400.0, "per_decade": 4},
    ProgrammingExperiment: {"cells": 10_000},
    ReadNoiseExperiment: {"cells": 64},
    ProgrammingCurveExperiment: {
        "cells": 1000, "low": 0.0, "high": 0.0, "width": 0.0, "set_amplitude": 0.0, "set_width": 0.0, "early": 0.1,
    },
}  # fmt: skip
"""Of settings whose bounds depend on the chip or on each other; 0 leaves a value to the chip's model."""


@pytest.mark.parametrize("kind", DEFAULTS)
def test_settings_without_bounds_of_their_own_have_defaults(kind: type[Settings]) -> None:
    assert {name: getattr(kind(), name) for name in DEFAULTS[kind]} == DEFAULTS[kind]


@pytest.mark.parametrize(("kind", "name", "low", "default", "high"), bounds.cases(BOUNDS))
def test_a_setting_has_its_default_and_its_bounds(
    kind: type[Settings], name: str, low: float, default: float, high: float
) -> None:
    # The early read of a programming curve comes at most half way to the other one.
    beside: dict[str, float] = {"early": 0.0} if kind is ProgrammingCurveExperiment and name == "settle" else {}
    if kind is PulseResponseExperiment:  # a ramp is a whole number of reads, at least ten
        beside = {"pulses": {"read_every": 1}, "read_every": {"pulses": 10_000_000}}.get(name, {})
    bounds.check(kind, name, low, default, high, **beside)


def test_the_early_read_comes_at_most_half_way_to_the_other_one() -> None:
    assert ProgrammingCurveExperiment().read_ages == (0.1, 1.0)
    assert ProgrammingCurveExperiment(early=5e5, settle=1e6).read_ages == (5e5, 1e6)
    assert ProgrammingCurveExperiment(early=0.0).read_ages == (1.0,)
    with pytest.raises(BadInputError, match=r"early=0.51 s: expected at most half of settle=1 s"):
        ProgrammingCurveExperiment(early=0.51)
    for early in (-1e-3, 1.1e6):
        with pytest.raises(BadInputError, match=r"setting early=.* is outside 0 to 1e\+06"):
            ProgrammingCurveExperiment(early=early)


def test_what_is_measured_unless_something_is_asked_for() -> None:
    drift, noise, curve = DriftExperiment(), ReadNoiseExperiment(), ProgrammingCurveExperiment()
    assert (drift.first, drift.until, drift.per_decade) == (1.0, 86_400.0, 4)
    assert (drift.cells, noise.cells, curve.cells) == (10_000, 64, 1000)
    assert (drift.levels.count, noise.levels.count) == (16, 8)


def test_a_drift_experiment_needs_ages_that_rise() -> None:
    with pytest.raises(BadInputError, match="ages from 10 s to 1 s"):
        DriftExperiment(first=10.0, until=1.0)
    with pytest.raises(BadInputError, match="per-decade=0: expected at least 1"):
        DriftExperiment(per_decade=0)
