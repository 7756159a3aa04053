"""Noise beyond the model is found from cells left alone, and told apart by whether it grows with conductance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hwloop.calibration.programming.noise_scale import NoiseScale

pytestmark = pytest.mark.numerical

SHAPE = (64, 64)


def learnt(converters: float, read: float) -> NoiseScale:
    rng = np.random.default_rng(1)
    white, slow, known = np.full(SHAPE, 0.2), rng.uniform(0.05, 2.0, SHAPE), np.full(SHAPE, 0.1)
    scale = NoiseScale()
    for _ in range(8):
        off = rng.standard_normal(SHAPE) * np.sqrt(known + converters * white + read * slow)
        scale.learn(off, known, white, slow, np.ones(SHAPE, bool))
    return scale


@pytest.mark.parametrize(("converters", "read"), [(40.0, 1.0), (1.0, 20.0), (40.0, 20.0)])
def test_each_noise_is_found(converters: float, read: float) -> None:
    scale = learnt(converters, read)
    for found, true in ((scale.converters, converters), (scale.read, read)):
        # A noise that drowns in the other one is only known to be no larger.
        assert found == pytest.approx(true, rel=0.25) or (true == 1.0 and found < 6.0)


def test_the_model_is_believed_where_it_is_right() -> None:
    scale = learnt(1.0, 1.0)
    assert (scale.converters, scale.read) == (1.0, 1.0)


def test_few_cells_change_nothing() -> None:
    scale = NoiseScale()
    off = np.full((5, 5), 100.0)
    scale.learn(off, np.ones((5, 5)), np.ones((5, 5)), np.ones((5, 5)), np.ones((5, 5), bool))
    assert (scale.converters, scale.read) == (1.0, 1.0)


def test_cells_that_show_nothing_at_all_teach_nothing() -> None:
    scale = NoiseScale()
    white = np.full(SHAPE, 0.2)
    scale.learn(np.zeros(SHAPE), white, white, white, np.ones(SHAPE, bool))
    assert (scale.converters, scale.read) == (1.0, 1.0)


def test_one_group_that_shows_nothing_is_enough_to_teach_nothing() -> None:
    scale = NoiseScale()
    slow = np.arange(4096.0).reshape(SHAPE)
    off = np.where(slow < 512, 0.0, 1000.0)
    scale.learn(off, np.zeros(SHAPE), np.full(SHAPE, 0.2), slow, np.ones(SHAPE, bool))
    assert (scale.converters, scale.read) == (1.0, 1.0)


# ---- to the digit: cells all as far off as the median of their group should be -----------------------------------

WHITE, KNOWN = 0.2, 0.1


def level(cells: int, converters: float, read: float, groups: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Deviations (cells, 1) of these multiples of the noises, and the read noise (cells, 1) that grows by groups."""
    slow = np.repeat(np.arange(1.0, groups + 1), cells // groups)
    slow = np.random.default_rng(1).permutation(slow)[:, None]
    return np.sqrt(stats.chi2.median(1) * (KNOWN + converters * WHITE + read * slow)), slow


def learn(scale: NoiseScale, off: np.ndarray, slow: np.ndarray, calm: np.ndarray | None = None) -> None:
    everywhere = np.ones(off.shape, bool) if calm is None else calm
    scale.learn(off, np.full(off.shape, KNOWN), np.full(off.shape, WHITE), slow, everywhere)


def test_multiples_are_found_exactly_and_remembered() -> None:
    scale = NoiseScale()
    learn(scale, *level(400, 12.0, 5.0))
    assert (scale.converters, scale.read) == (pytest.approx(12.0, rel=1e-3), pytest.approx(5.0, rel=1e-3))
    learn(scale, *level(400, 22.0, 4.0))
    # Seven tenths of the last estimate remain.
    assert (scale.converters, scale.read) == (pytest.approx(15.0, rel=1e-3), pytest.approx(4.7, rel=1e-3))
    learn(scale, *level(400, 0.0, 0.0))
    assert (scale.converters, scale.read) == (pytest.approx(10.5, rel=1e-3), pytest.approx(3.29, rel=1e-3))
    learn(scale, *level(400, 0.0, 0.0))
    assert (scale.converters, scale.read) == (pytest.approx(7.35, rel=1e-3), 1.0)  # 2.3 is no surprise


@pytest.mark.parametrize(("read", "believed"), [(2.9, 1.0), (3.1, 3.1)])
def test_less_than_three_times_the_noise_is_no_surprise(read: float, believed: float) -> None:
    scale = NoiseScale()
    learn(scale, *level(400, 0.0, read))
    assert (scale.converters, scale.read) == (1.0, pytest.approx(believed, rel=1e-3))


@pytest.mark.parametrize(("cells", "learns"), [(192, False), (200, True), (207, True)])
def test_each_of_eight_groups_needs_twenty_five_cells(cells: int, learns: bool) -> None:
    scale = NoiseScale()
    off, slow = level(cells - cells % 8, 9.0, 4.0)
    off, slow = np.pad(off, ((0, cells % 8), (0, 0)), "edge"), np.pad(slow, ((0, cells % 8), (0, 0)), "edge")
    learn(scale, off, slow)
    assert (scale.read > 1.0) == learns


def test_cells_that_were_pulsed_are_left_out() -> None:
    scale, (off, slow) = NoiseScale(), level(400, 12.0, 5.0)
    calm = np.arange(800)[:, None] % 2 == 0
    both, loud = np.repeat(slow, 2, axis=0), np.repeat(off, 2, axis=0)
    loud[~calm] = 1000.0
    learn(scale, loud, both, calm)
    assert (scale.converters, scale.read) == (pytest.approx(12.0, rel=1e-3), pytest.approx(5.0, rel=1e-3))
