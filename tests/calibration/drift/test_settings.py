"""Settings of the compensations and the monitor: defaults, and the bounds within which they are taken."""

from __future__ import annotations

import pytest

from hwloop.calibration.drift.digital import ColumnAffine, GlobalFactor, Uncompensated
from hwloop.calibration.drift.monitor import Monitor
from hwloop.calibration.drift.predictive import Predicted
from hwloop.calibration.drift.refresh import Refresh
from hwloop.calibration.settings import Settings
from tests.calibration import bounds

BOUNDS: bounds.Bounds = {
    GlobalFactor: {
        "growth": (1e-06, 0.1, 1e6),
        "probes": (3, 256, 1_000_000),
    },
    Predicted: {
        "growth": (1e-06, 0.1, 1e6),
    },
    Uncompensated: {"growth": (1e-6, 0.1, 1e6)},
    ColumnAffine: {"growth": (1e-6, 0.1, 1e6), "probes": (3, 256, 1_000_000)},
    Monitor: {
        "model_uncertainty": (1e-06, 0.5, 1000.0),
        "floor_uncertainty": (1e-06, 0.3, 1000.0),
        "redrawn": (1e-06, 0.15, 1000.0),
        "refresh_uncertainty": (0.0, 0.25, 1000.0),
        "error_uncertainty": (1e-06, 0.02, 1000.0),
        "coverage": (0.01, 0.95, 0.9999),
        "draws": (10, 2000, 10_000_000),
        "grid": (2, 60, 1_000_000),
        "seed": (0, 0, 2**63 - 1),
    },
    Refresh: {
        "min_gain": (0.0, 2.0, 100.0),
        "worthwhile": (0.0, 0.05, 100.0),
        "pulses_per_device": (0.0, 0.675, 1000.0),
        "max_pulses": (1, 8, 1_000_000),
        "max_steps": (1, 8, 10_000),
        "measurements": (1, 6, 1000),
        "vectors": (1, 256, 1_000_000),
        "settle": (0.0, 0.5, 100.0),
        "lowest_scale": (0.01, 0.5, 100.0),
        "highest_scale": (0.5, 1.15, 100.0),
        "scales": (1, 14, 10_000),
        "probes": (3, 256, 1_000_000),
        "growth": (1e-06, 0.1, 1000000.0),
    },
}


@pytest.mark.parametrize(("kind", "name", "low", "default", "high"), bounds.cases(BOUNDS))
def test_a_setting_has_its_default_and_its_bounds(
    kind: type[Settings], name: str, low: float, default: float, high: float
) -> None:
    beside = {"highest_scale": 100.0} if name == "lowest_scale" else {}
    bounds.check(kind, name, low, default, high, **beside)
