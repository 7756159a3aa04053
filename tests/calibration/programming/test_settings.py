"""Settings of the programming methods and of what steers them: defaults, and the bounds within which they are taken."""

from __future__ import annotations

import pytest

from hwloop.calibration.programming.current_error import CurrentErrorFit
from hwloop.calibration.programming.current_error_of_devices import DeviceCurrentFit
from hwloop.calibration.programming.filter_settings import FilterSettings
from hwloop.calibration.programming.gdp import GDP
from hwloop.calibration.programming.program_verify import ProgramVerify
from hwloop.calibration.programming.sgd import SGD
from hwloop.calibration.settings import Settings
from tests.calibration import bounds

BOUNDS: bounds.Bounds = {
    CurrentErrorFit: {
        "largest": (0.01, 0.4, 0.9),
        "steps": (3, 33, 10_001),
        "refinements": (0, 2, 20),
        "cells": (1, 4096, 1_000_000_000),
        "smallest": (0.0, 0.02, 1.0),
        "repeat": (0.0, 0.03, 1.0),
        "contradiction": (0.0, 0.05, 1.0),
        "significance": (0.0, 6.0, 1000.0),
        "gain_sigma": (1e-06, 0.1, 10.0),
        "column_sigma": (0.0, 0.03, 10.0),
        "tail": (1.0, 5.0, 1000.0),
        "nodes": (1, 7, 50),
    },
    DeviceCurrentFit: {
        "largest": (0.01, 0.4, 0.9),
        "step": (0.0001, 0.02, 0.1),
        "refinements": (1, 3, 10),
        "devices": (1, 4096, 1_000_000_000),
        "outliers": (1e-06, 0.02, 0.9),
        "smallest": (0.0, 0.02, 1.0),
        "significance": (0.0, 5.0, 1000.0),
        "nodes": (9, 33, 1000),
    },
    FilterSettings: {
        "max_pulses_per_device": (1, 8, 1_000_000),
        "min_gain": (0.0, 0.85, 100.0),
        "patience": (0.0, 2.0, 100.0),
        "usual_targets": (1e-6, 0.33, 1.0),
        "least_gain": (0.0, 0.25, 1.0),
        "chased": (0.0, 0.1, 100.0),
        "drive": (0.01, 0.5773502691896258, 1.0),
        "mean_gain": (0.1, 1.05, 10.0),
        "anchor": (0.0, 4.0, 1000000.0),
        "outlier": (0.1, 3.0, 1000.0),
        "unresponsive_pulses": (1, 3, 100),
        "redraws": (0, 10, 100),
    },
    GDP: {
        "max_vectors": (64, 20_000, 1_000_000_000),
        "max_steps": (1, 45, 10_000),
        "max_pulses_per_device": (1, 8, 1_000_000),
        "settle": (0.0, 0.02, 100.0),
        "chip_seconds": (0.0, 0.0, 1000000000.0),
        "min_gain": (0.0, 0.85, 100.0),
        "patience": (0.0, 2.0, 100.0),
        "min_vectors": (1, 64, 1_000_000),
        "drive": (0.01, 0.5773502691896258, 1.0),
        "mean_gain": (0.1, 1.05, 10.0),
        "outlier": (0.1, 3.0, 1000.0),
        "open_loop_passes": (0, 1, 10),
        "pilot_cells": (0, 1024, 1_000_000_000),
        "unresponsive_pulses": (1, 3, 100),
    },
    ProgramVerify: {
        "averages": (1, 16, 2**16),
        "tolerance": (0.0, 0.0, 1000.0),
        "gain": (0.01, 0.4, 2.0),
        "max_pulses_per_device": (1, 15, 1_000_000),
        "max_steps": (1, 15, 10_000),
        "settle": (0.0, 0.05, 100.0),
        "unresponsive_pulses": (1, 3, 100),
        "monitor_vectors": (3, 128, 1_000_000),
        "pilot_cells": (0, 1024, 1_000_000_000),
        "contradiction": (0.0, 0.05, 1.0),
    },
    SGD: {
        "max_vectors": (64, 20_000, 1_000_000_000),
        "batch": (16, 1024, 1_000_000),
        "learning_rate": (1e-06, 0.2, 2.0),
        "threshold": (0.0, 8.0, 100.0),
        "final_threshold": (0.0, 4.0, 100.0),
        "calibrate_every": (1, 4, 10_000),
        "settle": (0.0, 0.1, 100.0),
    },
}


@pytest.mark.parametrize(("kind", "name", "low", "default", "high"), bounds.cases(BOUNDS))
def test_a_setting_has_its_default_and_its_bounds(
    kind: type[Settings], name: str, low: float, default: float, high: float
) -> None:
    bounds.check(kind, name, low, default, high)
