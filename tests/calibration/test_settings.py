"""Settings of an evaluation: defaults, and the bounds within which they are taken."""

from __future__ import annotations

import pytest

from hwloop.calibration.evaluation import Evaluation
from hwloop.calibration.settings import Settings
from tests.calibration import bounds

BOUNDS: bounds.Bounds = {
    Evaluation: {
        "vectors": (1, 1024, 1_000_000_000),
        "calibration_vectors": (3, 512, 1_000_000_000),
        "map_vectors": (1, 512, 1_000_000_000),
        "read_averages": (1, 16, 100_000),
        "soon": (0.0, 1.0, 1000000000.0),
    },
}


@pytest.mark.parametrize(("kind", "name", "low", "default", "high"), bounds.cases(BOUNDS))
def test_a_setting_has_its_default_and_its_bounds(
    kind: type[Settings], name: str, low: float, default: float, high: float
) -> None:
    bounds.check(kind, name, low, default, high)
