"""Aged conductances have the moments of sampled drift, and reads share the 1/f noise that they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwloop.calibration.fitting.known import KnownDrift
from hwloop.calibration.fitting.programming_curve.ageing import Ageing
from hwloop.devices.drift import DriftModel
from hwloop.devices.statistics import LogClip, Polynomial

DRIFT = DriftModel(20.0, 25.0, LogClip(-0.0155, 0.0244, 0.049, 0.1), LogClip(-0.0125, -0.0059, 0.008, 0.045))
AGES = np.array([1.0, 400.0, 1e5])
"""Seconds."""


def log_age() -> torch.Tensor:
    """Minus ln(t / t0), (cells, pulses, ages)."""
    return torch.tensor(-np.log(AGES / 20.0), dtype=torch.float64)[None, None]


@pytest.mark.parametrize("g", [0.3, 4.0, 20.0])
def test_moments_are_those_of_a_log_normal_factor(g: float) -> None:
    """(t / t0)^-nu with a normal nu: the mean of its powers follows from that of exp(x)."""
    aged = Ageing(KnownDrift.of_model(DRIFT))(torch.full((1, 1, 1), g, dtype=torch.float64), log_age())
    share = np.array([g / 25.0])
    nu, sigma = float(DRIFT.mean(share)[0]), float(DRIFT.spread(share)[0])
    x = np.log(AGES / 20.0)

    def mean_of(total: np.ndarray | float) -> np.ndarray | float:
        return np.exp(-nu * total + sigma**2 * np.square(total) / 2)

    # Statistics are looked up at 421 places of ln g.
    assert aged.value[0, 0, 0].numpy() == pytest.approx(g * mean_of(x), rel=1e-3)
    assert aged.squares[0, 0, 0].numpy() == pytest.approx(g**2 * mean_of(2 * x), rel=2e-3)
    assert float(aged.together[0, 0, 0]) == pytest.approx(g**2 * mean_of(x[0] + x[-1]), rel=2e-3)


@pytest.mark.parametrize(("g", "as_if"), [(1e-7, 25.0 * np.exp(-9.0)), (1000.0, 25.0 * np.exp(1.5))])
def test_beyond_the_table_its_ends_are_taken(g: float, as_if: float) -> None:
    line = DriftModel(20.0, 25.0, Polynomial((0.05, 0.02)), Polynomial((0.0,)))
    aged = Ageing(KnownDrift.of_model(line))(torch.full((1, 1, 1), g, dtype=torch.float64), log_age())
    expected = g * (AGES / 20.0) ** -(0.05 + 0.02 * as_if / 25.0)
    assert aged.value[0, 0, 0].numpy() == pytest.approx(expected, rel=0.01)


def test_reads_have_the_noise_of_their_age_and_share_what_is_slow() -> None:
    known = KnownDrift.of_model(DRIFT, noise_growth=0.08)
    alone, together = Ageing(known).read_variances(log_age())
    assert alone[0, 0].numpy() == pytest.approx(1 + 0.08 * np.log(AGES / 20.0))
    assert float(together[0, 0]) == pytest.approx(0.08 * np.log((400.0 + 1.0) / (400.0 - 1.0)))
    # Far below the reference age, where the law would end below zero, a tenth is left.
    early, _ = Ageing(known).read_variances(torch.tensor([[[14.0, 13.0]]], dtype=torch.float64))
    assert early.numpy().tolist() == [[[0.1, 0.1]]]
