"""Samples of inputs whose vectors stand for others, by their weights."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.mapping.activations import Sample, of_tile, sample_of

VECTORS = np.arange(15.0).reshape(5, 3)
WEIGHTS = np.array([1.0, 2.0, 3.0, 4.0, 10.0])


def test_shares_have_a_mean_of_one() -> None:
    assert Sample(VECTORS, WEIGHTS).shares == pytest.approx(WEIGHTS / 4)
    assert Sample(VECTORS).shares.tolist() == [1.0] * 5


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        (WEIGHTS[:4], r"^5 vectors with weights of the shape \(4,\); expected one weight each$"),
        (WEIGHTS[:, None], "expected one weight each"),
        (np.array([0.0, 1.0, 1.0, 1.0, 1.0]), "weights of vectors must be finite and above zero"),
        (np.array([1.0, 1.0, 1.0, 1.0, -1.0]), "above zero"),
        (np.array([1.0, 1.0, 1.0, 1.0, np.inf]), "finite"),
        (np.array([np.nan, 1.0, 1.0, 1.0, 1.0]), "finite"),
    ],
)
def test_weights_that_cannot_be(weights: np.ndarray, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        Sample(VECTORS, weights)


def test_halves_and_inputs_keep_their_weights() -> None:
    first, second = Sample(VECTORS, WEIGHTS).halves()
    assert (first.vectors.tolist(), second.vectors.tolist()) == (VECTORS[:3].tolist(), VECTORS[3:].tolist())
    assert first.weights is not None
    assert second.weights is not None
    assert (first.weights.tolist(), second.weights.tolist()) == (WEIGHTS[:3].tolist(), WEIGHTS[3:].tolist())
    assert [one.weights for one in Sample(VECTORS).halves()] == [None, None]
    some = Sample(VECTORS, WEIGHTS).inputs(slice(1, 3))
    assert some.vectors.tolist() == VECTORS[:, 1:3].tolist()
    assert some.weights is WEIGHTS


def test_a_drawn_sample_follows_the_weights() -> None:
    rng = np.random.default_rng(0)
    sample = Sample(VECTORS, WEIGHTS)
    assert sample.drawn(5, rng) is sample
    assert len(sample.drawn(4, rng)) == 4
    rows = np.concatenate([sample.drawn(4, rng).vectors[:, 0] for _ in range(1000)]) / 3
    found = np.bincount(rows.astype(int), minlength=5) / 4000
    assert found == pytest.approx(WEIGHTS / 20, abs=4 * np.sqrt(0.25 / 4000))
    assert sample.drawn(4, rng).weights is None


def test_vectors_that_stand_for_themselves_are_drawn_once_each() -> None:
    rng = np.random.default_rng(0)
    assert sorted(Sample(VECTORS).drawn(9, rng).vectors[:, 0]) == VECTORS[:, 0].tolist()
    some = Sample(VECTORS).drawn(3, rng).vectors[:, 0].tolist()
    assert len(set(some)) == 3


def test_a_tile_has_the_inputs_of_its_rows() -> None:
    tile = SimpleNamespace(tensor="w", first_input=1, place=SimpleNamespace(rows=2))
    found = of_tile({"w": Sample(VECTORS)}, tile)
    assert found is not None
    assert found.vectors.tolist() == VECTORS[:, 1:3].tolist()
    assert of_tile({"v": Sample(VECTORS)}, tile) is None
    assert of_tile(None, tile) is None
    assert sample_of(VECTORS).vectors.tolist() == VECTORS.tolist()
    whole = Sample(VECTORS, WEIGHTS)
    assert sample_of(whole) is whole
