"""Settings of networks: defaults, and the bounds within which they are taken."""

from __future__ import annotations

import pytest

from hwloop.calibration.settings import Settings
from hwloop.nn.batch_norm import BatchNormStatistics
from hwloop.nn.chip_in_the_loop import Tuning
from hwloop.nn.memory.few_shot import FewShot
from hwloop.nn.memory.settings import MemorySettings
from hwloop.nn.ranges import RangeSettings
from hwloop.nn.retraining import Retraining
from hwloop.nn.sensitivity import SensitivitySettings
from tests.calibration import bounds

BOUNDS: bounds.Bounds = {
    BatchNormStatistics: {
        "growth": (1e-06, 0.1, 1e6),
    },
    Tuning: {
        "epochs": (1, 5, 100_000),
        "batch": (1, 100, 1_000_000_000),
        "rate": (1e-12, 0.001, 1000.0),
        "seed": (0, 0, 2**31 - 1),
    },
    RangeSettings: {
        "percentile": (50.0, 99.9, 100.0),
        "bound_management": (0, 0, 20),
        "vectors": (64, 1_024, 1_000_000),
        "fewest": (6, 6, 1_000_000),
        "candidates": (2, 24, 1_000),
        "values": (1_000, 32_768, 100_000_000),
    },
    Retraining: {
        "epochs": (0, 60, 100_000),
        "lr": (0.0, 0.002, 100.0),
        "batch": (1, 64, 1_000_000),
        "momentum": (0.0, 0.9, 0.9999),
        "weight_decay": (0.0, 0.0001, 10.0),
        "range_lr": (0.0, 0.01, 10.0),
        "clip_sigmas": (0.0, 0.0, 100.0),
        "distillation": (0.0, 0.5, 1.0),
        "temperature": (0.01, 2.0, 1000.0),
        "mixing": (0.0, 1.0, 1.0),
        "noise": (0.0, 1.0, 100.0),
        "ramp": (0.0, 0.2, 1.0),
        "age": (0.0, 0.0, 1e12),
        "youngest": (1e-06, 60.0, 1e12),
        "oldest": (1e-06, 3.15576e7, 1e12),
        "held_out": (0.0, 0.15, 0.9),
        "certainty": (0.0, 2.0, 100.0),
        "mixtures": (1, 4, 1000),
        "calibration": (1, 512, 1_000_000),
        "draws": (1, 8, 1_000),
        "test_draws": (1, 20, 10_000),
        "seed": (0, 0, 2**53),
    },
    SensitivitySettings: {
        "loss": (0.0001, 0.01, 1.0),
        "draws": (2, 8, 10_000),
        "images": (1, 1_000, 10_000_000),
        "age": (1e-06, 3.15576e7, 1e12),
        "doublings": (1, 12, 40),
        "halvings": (0, 3, 20),
        "calibration": (1, 512, 1_000_000),
        "seed": (0, 0, 2**53),
    },
    MemorySettings: {
        "levels": (1, 3, 100),
        "strong": (0.01, 0.9, 1.0),
        "most_pulses": (1, 20, 10_000),
        "full_share": (0.0, 0.1, 1.0),
        "kept": (0.05, 0.4, 1.0),
        "set_amplitude": (0.0, 0.0, 1e6),
        "set_share": (0.01, 0.6, 1.0),
        "set_width": (1e-3, 50.0, 1e9),
        "reset_amplitude": (0.0, 0.0, 1e6),
        "reset_width": (0.0, 0.0, 1e9),
        "aging": (1.0, 2.0, 1e12),
        "headroom": (1.0, 1.3, 100.0),
        "seed": (0, 0, 2**32 - 1),
    },
    FewShot: {
        "sessions": (0, 5, 10_000),
        "ways": (1, 1, 10_000),
        "shots": (1, 5, 10_000),
        "dimension": (0, 256, 1_000_000),
        "epochs": (0, 30, 1_000_000),
        "rest": (0.0, 20.0, 1e10),
        "age": (0.0, 86_400.0, 1e10),
        "seed": (0, 0, 2**32 - 1),
    },
}


@pytest.mark.parametrize(("kind", "name", "low", "default", "high"), bounds.cases(BOUNDS))
def test_a_setting_has_its_default_and_its_bounds(
    kind: type[Settings], name: str, low: float, default: float, high: float
) -> None:
    # What is older is not younger.
    beside = {"youngest": {"oldest": 1e12}, "oldest": {"youngest": 1e-6}}.get(name, {})
    bounds.check(kind, name, low, default, high, **beside)
