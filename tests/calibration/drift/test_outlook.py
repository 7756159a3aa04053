"""The expected error of a whole chip, from those of its tiles."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hwloop.calibration.drift.outlook import expected_error, shares
from hwloop.chip.region import Place
from hwloop.mapping.tile import Tile


def tile(tensor: str, first_output: int, weight: float, columns: int = 2, error: float | None = 0.1) -> SimpleNamespace:
    """A tile of three rows and equal weights, whose forecast is one error, twice as large without a gain."""
    target = np.full((3, columns), weight)
    forecast = None
    if error is not None:
        forecast = SimpleNamespace(mvm_error=lambda age, gain: error * age * (1.0 if gain is None else 2.0))
    part = Tile(tensor, Place(0, 0, 0, 3, columns), 0, first_output, target, np.ones(columns), 1.0)
    return SimpleNamespace(tile=part, forecast=forecast)


def test_a_tile_counts_by_its_outputs_and_by_its_part_of_them() -> None:
    # Two tiles add up to the outputs 0 and 1 of 'a', in the ratio of their squares; another has the outputs 2 to 5, and
    # one of another tensor six.
    tiles = [tile("a", 0, 1.0), tile("a", 0, 2.0), tile("a", 2, 9.0, columns=4), tile("b", 0, 0.1, columns=6)]
    assert shares(tiles) == pytest.approx(np.array([2 * 0.2, 2 * 0.8, 4, 6]) / 12)


def test_tiles_without_weights_do_not_count() -> None:
    assert shares([tile("a", 0, 0.0), tile("a", 2, 1.0)]) == pytest.approx([0.0, 1.0])
    assert shares([tile("a", 0, 0.0)]) == pytest.approx([0.0])


def test_squares_add_up() -> None:
    tiles = [tile("a", 0, 1.0, error=0.1), tile("b", 0, 1.0, columns=6, error=0.3)]
    expected = expected_error(tiles)
    assert expected is not None
    assert expected(2.0) == pytest.approx(2.0 * np.sqrt(0.25 * 0.01 + 0.75 * 0.09))
    kept = expected_error(tiles, 1.0)
    assert kept is not None
    assert kept(2.0) == pytest.approx(2 * expected(2.0))


def test_an_error_that_is_none_is_left_out() -> None:
    tiles = [tile("a", 0, 1.0, error=0.1), tile("b", 0, 0.0, error=np.nan)]
    expected = expected_error(tiles)
    assert expected is not None
    assert expected(1.0) == pytest.approx(0.1)


def test_one_tile_without_a_model_leaves_nothing_to_expect() -> None:
    assert expected_error([tile("a", 0, 1.0), tile("b", 0, 1.0, error=None)]) is None
