"""Settings of searches: defaults, and the bounds within which they are taken."""

from __future__ import annotations

import pytest

from hwloop.calibration.settings import Settings
from hwloop.search.settings import Limits, SearchSettings
from tests.calibration import bounds

BOUNDS: bounds.Bounds = {
    Limits: {
        "weights": (0, 0, 10**12),
        "cores": (0, 0, 1_000_000),
        "latency": (0, 0.0, 1e6),
    },
    SearchSettings: {
        "budget": (2, 100, 1_000_000),
        "first": (2, 30, 1_000_000),
        "batch": (1, 10, 100_000),
        "population": (4, 40, 100_000),
        "generations": (1, 10, 100_000),
        "bold": (0.0, 1.0, 100.0),
        "twins": (1, 4, 10_000),
        "asked_on": (1, 2, 10_000),
        "images": (6, 100, 1_000_000_000),
        "vectors": (64, 256, 1_000_000),
        "day": (1e-3, 86_400.0, 1e11),
        "month": (0.01, 2_592_000.0, 1e12),
        "finalists": (1, 5, 1_000_000),
        "again": (0, 3, 10_000),
        "epochs": (1, 12, 1_000_000),
        "lr": (1e-9, 0.01, 100.0),
        "images_a_step": (2, 64, 1_000_000_000),
        "weight_noise": (0.0, 0.04, 10.0),
        "held_out": (0.01, 0.3, 0.9),
        "seed": (0, 0, 2**31),
    },
}


@pytest.mark.parametrize(("kind", "name", "low", "default", "high"), bounds.cases(BOUNDS))
def test_a_setting_has_its_default_and_its_bounds(
    kind: type[Settings], name: str, low: float, default: float, high: float
) -> None:
    # A search begins with part of its budget, and a day ends before a month.
    beside = {"budget": {"first": 2}, "first": {"budget": 1_000_000}, "day": {"month": 1e12}, "month": {"day": 1e-3}}
    bounds.check(kind, name, low, default, high, **beside.get(name, {}))
