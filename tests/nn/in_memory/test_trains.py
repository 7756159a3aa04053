"""Update management: which pulse trains an outer product becomes, and what they do in the mean."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from hwloop.errors import ProgrammingWarning
from hwloop.nn.in_memory.settings import Periphery
from hwloop.nn.in_memory.trains import Trains, TrainWarning, trains_of

RNG = np.random.default_rng(5)
X, D = RNG.uniform(-1, 1, (6, 7)), RNG.uniform(-1, 1, (6, 4))
LEVELS = 32767


def mean_coincidences(trains: Trains) -> np.ndarray:
    """(updates, rows, columns) signed mean number of coincidences, from the probabilities alone."""
    rows = trains.rows[:, None] * trains.x / LEVELS
    columns = trains.columns[:, None] * trains.d / LEVELS
    return trains.length[:, None, None] * rows[:, :, None] * columns[:, None, :]


@pytest.mark.parametrize(("managed", "length"), [(0, 0), (1, 0), (1, 1)])
def test_the_mean_is_the_outer_product(managed: int, length: int) -> None:
    settings = Periphery(update_management=managed, length_management=length)
    trains = trains_of(X, D, 2.5, LEVELS, 31, settings)
    wanted = 2.5 * X[:, :, None] * D[:, None, :]
    assert np.allclose(mean_coincidences(trains), wanted, atol=2.5 * 2 / LEVELS)


def test_without_management_the_larger_side_may_fire_always() -> None:
    trains = trains_of(10 * X, D / 10, 2.5, LEVELS, 31, Periphery(update_management=0))
    assert trains.rows.max() == 1.0
    assert trains.columns.max() < 0.2
    assert np.abs(mean_coincidences(trains)).max() < 2.5 * np.abs(X).max() * np.abs(D).max()


def test_to_descend_turns_the_sign() -> None:
    up, down = (trains_of(X, D, sign * 2.5, LEVELS, 31, Periphery()) for sign in (1, -1))
    assert np.allclose(mean_coincidences(up), -mean_coincidences(down))


def test_both_sides_fire_alike_however_small_errors_are() -> None:
    trains = trains_of(X, 1e-6 * D, 2e5, LEVELS, 31, Periphery())
    assert np.array_equal(trains.rows, trains.columns)
    assert np.all(np.abs(trains.d).max(1) == LEVELS)  # the whole resolution is used


def test_trains_are_no_longer_than_the_strongest_pair_needs() -> None:
    trains = trains_of(X, D, 2.5, LEVELS, 31, Periphery())
    wanted = 2.5 * np.abs(X).max(1) * np.abs(D).max(1)
    assert np.array_equal(trains.length, np.ceil(wanted))


def test_nothing_is_sent_for_zeros() -> None:
    trains = trains_of(np.vstack([X[:1], 0 * X[:1]]), D[:2], 2.5, LEVELS, 31, Periphery())
    assert trains.some.tolist() == [True, False]


def test_too_many_pulses_are_warned_of_once_with_the_number() -> None:
    warning = TrainWarning("fc1")
    wanted = trains_of(np.ones((1, 2)), np.ones((1, 2)), 74.0, LEVELS, 31, Periphery())
    with pytest.warns(ProgrammingWarning, match="fc1: its learning rate asks for 74 pulses where a train has 31"):
        warning.note(wanted.wanted, 31)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warning.note(wanted.wanted, 31)
    assert np.all(mean_coincidences(wanted) == 31)
