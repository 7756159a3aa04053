"""Checks fail as often as they say on true data, and where something is off."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.fitting.misfit import Check, Means, failures, left_out_checks, shape_check, tail_check
from hwloop.files.models import CellCount

pytestmark = pytest.mark.numerical

SETS, CELLS, LEVEL = 300, 1_000, 0.02


def draws(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(CELLS)


def test_chances_of_normal_data_are_not_rarer_than_they_say() -> None:
    """Chances below 10 % in at most 10 % of the sets: 30 expected, 45 are three standard deviations more."""
    bins, cell = np.arange(CELLS) % 10, np.arange(CELLS) // 10
    below = np.zeros(3)
    for seed in range(SETS):
        values = draws(seed)
        worst = Means.of(values, bins, 10).worst(0.01, 5)
        assert worst is not None
        quantiles = np.random.default_rng(seed).random(CELLS)
        chances = (worst.chance, tail_check("t", values, cell, "").chance, shape_check("s", quantiles, "").chance)
        below += np.array(chances) < 0.1
    assert below.max() <= 45, below


def test_a_bin_that_is_off_is_named() -> None:
    bins, values = np.arange(CELLS) % 10, draws(1)
    values[bins == 7] += 1.0
    worst = Means.of(values, bins, 10).worst(0.1, 5)
    assert worst is not None
    assert worst.at == 7
    assert worst.size == pytest.approx(10.0, rel=0.4)
    assert worst.chance < 1e-10


def test_heavy_tails_and_two_kinds_are_found() -> None:
    rng, cell = np.random.default_rng(2), np.arange(CELLS) // 10
    heavy = tail_check("t", rng.standard_t(3, CELLS), cell, "kurtosis {excess:.1f}")
    two = shape_check("s", np.where(rng.random(CELLS) < 0.5, 0.2, 0.8) + 0.1 * rng.random(CELLS), "{where}")
    assert failures([heavy, two]) == [two.said, heavy.said] or failures([heavy, two]) == [heavy.said, two.said]
    assert "quantile lie" in two.said


def test_what_chance_does_or_nobody_minds_is_no_failure() -> None:
    checks = [Check("rare", 1e-9, 0.5, "small"), Check("large", 0.3, 9.0, "chance"), Check("both", 1e-9, 2.0, "off")]
    assert failures(checks) == ["off"]
    assert failures([]) == []


def test_cells_left_out_are_told_by_their_share() -> None:
    few = CellCount(1000, 985, 5, 10)
    many = CellCount(1000, 600, 0, 300, {"no conductance": 100})
    assert left_out_checks(few) == []
    outliers, gone = left_out_checks(many)
    assert "300 of 1000 cells (30 %)" in outliers
    assert "600 of 1000" in gone
    assert "no conductance: 100" in gone
