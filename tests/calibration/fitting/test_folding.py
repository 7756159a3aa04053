"""Points that stand for noise folded over at zero have its moments, and aged conductances those of their drift."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwloop.calibration.fitting.programming_curve.folding import folded


@pytest.mark.parametrize("mean", [0.0, 0.03, 0.4, 1.3, 3.0, 7.9, 20.0, -0.4])
def test_points_have_the_first_five_moments(mean: float) -> None:
    sigma, x = 0.7, np.linspace(-12, 12, 200_001)
    density = np.exp(-0.5 * x**2) / np.exp(-0.5 * x**2).sum()
    points, weights = folded(torch.tensor([mean], dtype=torch.float64), torch.tensor([sigma], dtype=torch.float64))
    assert points.shape == weights.shape == (3, 1)
    for power in range(6):
        expected = (density * np.abs(mean + sigma * x) ** power).sum()
        # Rules are interpolated between places a twentieth of a sigma apart.
        assert float((weights * points**power).sum()) == pytest.approx(expected, rel=2e-3), power


def test_points_have_the_shape_of_the_means() -> None:
    points, weights = folded(torch.ones(2, 5, dtype=torch.float64), torch.ones(2, 5, dtype=torch.float64))
    assert points.shape == weights.shape == (3, 2, 5)
    assert torch.all(points > 0)
