"""Settings of the check and the renewal of a calibration: defaults, and the bounds within which they are taken."""

from __future__ import annotations

import pytest

from hwloop.calibration.certificate.check import Check
from hwloop.calibration.certificate.renewal import Renewal
from hwloop.calibration.settings import Settings
from tests.calibration import bounds

BOUNDS: bounds.Bounds = {
    Check: {
        "adc_vectors": (512, 1024, 10_000_000),
        "moved_sigmas": (0.0, 4.0, 1000.0),
        "idle_resolution": (1e-09, 0.01, 10.0),
        "stale": (0.0, 1.0, 1000.0),
    },
    Renewal: {
        "adc_vectors": (512, 2048, 10_000_000),
        "most_offset_sigma": (0.0, 0.2, 1000000.0),
        "least_share": (0.0, 0.1, 1.0),
    },
}


@pytest.mark.parametrize(("kind", "name", "low", "default", "high"), bounds.cases(BOUNDS))
def test_a_setting_has_its_default_and_its_bounds(
    kind: type[Settings], name: str, low: float, default: float, high: float
) -> None:
    bounds.check(kind, name, low, default, high)
