"""Noise beyond the model is found from cells left alone, and told apart by whether it grows with conductance."""

from __future__ import annotations

import numpy as np
import pytest

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
