"""Settings of training in memory: defaults, and the bounds within which they are taken."""

from __future__ import annotations

import pytest

from hwloop.calibration.settings import Settings
from hwloop.nn.in_memory.settings import Periphery
from hwloop.optim.buffered import AGADRule, ChoppedTTv2Rule, TTv2Rule
from hwloop.optim.hamiltonian import HamiltonianRule
from hwloop.optim.mixed_precision import MixedPrecisionRule
from hwloop.optim.rule import Rule
from hwloop.optim.sgd import SGDRule
from hwloop.optim.tiki_taka import TikiTakaRule
from hwloop.optim.training import Training
from tests.calibration import bounds

BOUNDS: bounds.Bounds = {
    TTv2Rule: {
        "fast_lr": (0.0, 0.5, 1000.0),
        "mean_memory": (0.0, 0.99, 1.0),
        "transfer_every": (0.001, 1.0, 1e6),
        "granularity": (0.001, 1000.0, 1e9),
        "stride": (1, 20, 4_096),
        "momentum": (0.0, 0.1, 1.0),
    },
    ChoppedTTv2Rule: {
        "fast_lr": (0.0, 0.5, 1000.0),
        "mean_memory": (0.0, 0.99, 1.0),
        "transfer_every": (0.001, 1.0, 1e6),
        "granularity": (0.001, 1000.0, 1e9),
        "stride": (1, 20, 4_096),
        "momentum": (0.0, 0.0, 1.0),
        "chop_probability": (0.0, 0.05, 1.0),
    },
    AGADRule: {
        "fast_lr": (0.0, 0.5, 1000.0),
        "mean_memory": (0.0, 0.99, 1.0),
        "transfer_every": (0.001, 1.0, 1e6),
        "granularity": (0.001, 1000.0, 1e9),
        "stride": (1, 20, 4_096),
        "momentum": (0.0, 0.0, 1.0),
        "chop_period": (1, 50, 1_000_000),
        "tail": (0.001, 5.0, 1e6),
    },
    HamiltonianRule: {
        "momentum_lr": (0.0, 1.0, 1e6),
        "transfer_lr": (0.0, 0.125, 1e6),
        "active_rows": (1, 1, 1_000_000),
        "transfer_every": (0.001, 1.0, 1e6),
    },
    MixedPrecisionRule: {
        "granularity": (0.001, 50.0, 1e6),
        "transfer_every": (1, 1, 1_000_000),
        "most_writes": (1, 31, 1_000_000),
    },
    TikiTakaRule: {
        "fast_lr": (0.0, 1.0, 1e6),
        "transfer_lr": (0.0, 1.0, 1e6),
        "transfer_every": (0.001, 8.0, 1e6),
    },
    Training: {
        "epochs": (0, 30, 1_000_000),
        "lr": (0.0, 0.0, 1e6),
        "digital_lr": (0.0, 0.1, 1e6),
        "batch": (1, 32, 1_000_000),
        "held_out": (0.0, 0.0, 0.9),
        "refresh_every": (0, 10, 1_000_000),
        "reference_epochs": (-1, -1, 1_000_000),
        "seed": (0, 0, 2**53),
    },
    Periphery: {
        "noise_management": (0, 1, 1),
        "bound_management": (0, 10, 30),
        "input_bits": (0, 0, 16),
        "train_length": (1, 31, 10_000),
        "length_management": (0, 1, 1),
        "update_management": (0, 1, 1),
        "weight_scale": (1e-06, 1.0, 1e6),
        "transfer_noise": (0.0, 0.0, 10.0),
        "devices": (1, 1, 64),
        "significance": (0.001, 1.0, 1.0),
        "replicas": (1, 1, 4_096),
        "writing_passes": (0, 30, 10_000),
    },
}


@pytest.mark.parametrize(("kind", "name", "low", "default", "high"), bounds.cases(BOUNDS))
def test_a_setting_has_its_default_and_its_bounds(
    kind: type[Settings], name: str, low: float, default: float, high: float
) -> None:
    bounds.check(kind, name, low, default, high)


def test_each_optimiser_has_a_learning_rate_that_suits_it() -> None:
    rates = {kind.name: kind.lr for kind in BOUNDS if issubclass(kind, Rule)} | {SGDRule.name: SGDRule.lr}
    assert rates == {
        "sgd": 0.1, "tiki-taka": 0.3, "ttv2": 0.1, "c-ttv2": 0.1, "agad": 0.1, "shd": 0.3, "mixed-precision": 0.3,
    }  # fmt: skip
