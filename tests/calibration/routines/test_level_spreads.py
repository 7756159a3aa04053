"""Spreads of devices and of pulses, from cells that were made of two pulses each."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hwloop.calibration.routines.level_spreads import LeveledCells, LevelSpreads, _Pairs, _powers
from hwloop.devices.programming_curve import ProgrammingCurve

CURVE = ProgrammingCurve(
    g_min=0.1, g_max=20.0, midpoint=250.0, steepness=15.0, melt=170.0, width=100.0,
    midpoint_spread=8.0, height_spread=0.05, jitter=2.0, noise=0.1,
)  # fmt: skip
SIDE, LEVELS = 80, np.linspace(225.0, 275.0, 6)
TRUE = {"midpoint": 6.0, "height": 0.04, "jitter": 2.0, "noise": 0.15}


def cells(seed: int = 0, map_variance: float = 0.01, **spreads: float) -> tuple[LeveledCells, np.ndarray, np.ndarray]:
    """Cells of one device of each polarity, to first order in what is off; shifts and heights come along."""
    rng = np.random.default_rng(seed)
    true = dict.fromkeys(("midpoint", "height", "jitter", "noise", "relative_noise"), 0.0) | (spreads or TRUE)
    shape = (2, 1, SIDE, SIDE)
    shift, height = true["midpoint"] * rng.standard_normal(shape), true["height"] * rng.standard_normal(shape)
    rounds, left = [], []
    for _ in range(2):
        level = rng.integers(0, LEVELS.size, shape)
        g = np.asarray(CURVE.conductance(LEVELS[level]))
        slope = np.asarray(CURVE.slope(g))
        off = slope * (shift + true["jitter"] * rng.standard_normal(shape))
        off += g * (height + true["relative_noise"] * rng.standard_normal(shape))
        off += true["noise"] * rng.standard_normal(shape)
        rounds.append(SimpleNamespace(level=level))
        left.append(off[0, 0] - off[1, 0] + np.sqrt(map_variance) * rng.standard_normal((SIDE, SIDE)))
    return LeveledCells(CURVE, LEVELS, rounds, left, map_variance, 6.0), shift, height  # type: ignore[arg-type]


def test_spreads_of_devices_are_told_from_those_of_pulses() -> None:
    found = cells()[0].spreads()
    assert found.midpoint == pytest.approx(TRUE["midpoint"], rel=0.08)
    assert found.height == pytest.approx(TRUE["height"], rel=0.15)
    assert found.jitter == pytest.approx(TRUE["jitter"], rel=0.2)
    assert found.noise == pytest.approx(TRUE["noise"], rel=0.4)


def test_a_core_that_does_not_change_has_no_spreads() -> None:
    found = cells(midpoint=0.0)[0].spreads()
    assert max(found.midpoint, found.jitter) < 0.4
    assert max(found.height, found.relative_noise) < 0.01
    assert found.noise < 0.05


def test_cells_that_are_far_off_or_unknown_count_nothing() -> None:
    made, _, _ = cells()
    before = made.spreads()
    made.left[0][:3] = 500.0
    made.left[1][3:6] = np.nan
    found = made.spreads()
    assert found.midpoint == pytest.approx(before.midpoint, rel=0.1)
    assert found.jitter == pytest.approx(before.jitter, rel=0.2)


def test_devices_are_placed_as_well_as_is_said() -> None:
    made, shift, height = cells()
    devices = LevelSpreads(TRUE["midpoint"], TRUE["height"], 0.0, 0.0, 0.0).of(CURVE)
    pulses = LevelSpreads(0.0, 0.0, TRUE["jitter"], TRUE["noise"], 0.0)
    found = made.places(devices, pulses)
    for value, sigma, true in ((found.shift, found.shift_sigma, shift), (found.height - 1, found.height_sigma, height)):
        pull = (value - true) / sigma
        assert pull.mean() == pytest.approx(0.0, abs=0.05)
        assert pull.std() == pytest.approx(1.0, abs=0.05)
    assert found.shift_sigma.mean() < 0.95 * TRUE["midpoint"]
    assert np.corrcoef(found.shift.ravel(), shift.ravel())[0, 1] > 0.5


def test_a_cell_that_is_far_off_says_nothing_of_its_devices() -> None:
    made, _, _ = cells()
    made.left[0][0, 0] = 500.0
    devices = LevelSpreads(6.0, 0.04, 0.0, 0.0, 0.0).of(CURVE)
    found = made.places(devices, LevelSpreads(0.0, 0.0, 2.0, 0.15, 0.0))
    assert found.shift[:, :, 0, 0].tolist() == [[0.0], [0.0]]
    assert found.height[:, :, 0, 0].tolist() == [[1.0], [1.0]]
    assert found.shift_sigma[:, :, 0, 0] == pytest.approx(np.full((2, 1), 6.0))
    assert found.height_sigma[:, :, 0, 0] == pytest.approx(np.full((2, 1), 0.04))


def test_powers_are_sums_over_the_devices_of_a_cell() -> None:
    slope, g = np.array([[1.0, 2.0], [3.0, 0.0]]), np.array([[5.0, 1.0], [0.0, 2.0]])
    assert _powers(slope, g).tolist() == [[10.0, 2.0, 25.0], [4.0, 2.0, 5.0]]


def test_the_likeliest_variances_make_the_covariance_of_the_pairs() -> None:
    """With one kind of effect alone the likeliest variance is the sample's own."""
    rng = np.random.default_rng(7)
    size = 40_000
    shared = 2.0 * rng.standard_normal(size)
    left = np.stack([shared, shared]) + rng.standard_normal((2, size))
    of_pulses = np.zeros((2, size, 3))
    of_pulses[:, :, 0] = 1.0
    pairs = _Pairs(left, of_pulses, np.stack([np.ones(size), np.zeros(size)], 1), 0.25)
    found = pairs.variances()
    assert found[0] == pytest.approx(4.0, rel=0.03)
    assert found[2] == pytest.approx(0.75, rel=0.08)  # one, less what is known


def test_a_curve_takes_over_all_spreads() -> None:
    made = LevelSpreads(1.0, 2.0, 3.0, 4.0, 5.0).of(CURVE)
    assert (made.midpoint_spread, made.height_spread, made.jitter, made.noise, made.relative_noise) == (1, 2, 3, 4, 5)
    assert (made.midpoint, made.g_max) == (250.0, 20.0)
