"""Which devices are chosen, and their levels."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.experiments.cells import Levels, ListedLevels, choose_cells, spread_levels
from hwloop.errors import BadInputError
from tests.calibration.experiments.conftest import SlowChip

INFO = SlowChip().info


def test_devices_are_different_sorted_and_spread_over_the_cores() -> None:
    chosen = choose_cells(INFO, 101, (1, 0), np.random.default_rng(0))
    assert len(chosen) == 101
    assert [(core, here.stop - here.start) for core, here in chosen.cores()] == [(0, 50), (1, 51)]
    for _, here in chosen.cores():
        assert np.all(np.diff(chosen.device[here]) > 0)
    assert chosen.device.max() < INFO.devices_per_core


def test_as_few_cores_as_hold_the_cells() -> None:
    rng = np.random.default_rng(0)
    assert {core for core, _ in choose_cells(INFO, 128, (), rng).cores()} == {0}
    assert {core for core, _ in choose_cells(INFO, 129, (), rng).cores()} == {0, 1}


def test_every_level_equally_often_and_in_random_places() -> None:
    level = spread_levels(1000, 10, np.random.default_rng(0))
    assert np.bincount(level).tolist() == [100] * 10
    assert abs(np.corrcoef(level, np.arange(1000))[0, 1]) < 4 / np.sqrt(1000)


def test_levels_span_the_range() -> None:
    np.testing.assert_allclose(Levels(3).targets(INFO), [0.5, 10.25, 20])
    np.testing.assert_allclose(Levels(3, 2, 4).targets(INFO), [2, 3, 4])
    np.testing.assert_allclose(Levels(1, 0, 4).targets(INFO), [4])


def test_listed_levels_are_given_out_as_often_as_they_are_named() -> None:
    levels = ListedLevels((3.0, 3.0, 12.0))
    target = levels.targets(INFO)[spread_levels(300, levels.count, np.random.default_rng(0))]
    assert [np.sum(target == value) for value in (3.0, 12.0)] == [200, 100]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda rng: ListedLevels((1.0, 20.5)).targets(INFO), "level 20.5 uS: expected 0 to 20 uS"),
        (lambda rng: ListedLevels((float("nan"), 2.0)).targets(INFO), "level nan uS"),
        (lambda rng: choose_cells(INFO, 0, (), rng), "cells=0: expected at least 1"),
        (lambda rng: choose_cells(INFO, 300, (), rng), "300 cells: 2 core"),
        (lambda rng: choose_cells(INFO, 3, (2,), rng), "core 2 does not exist"),
        (lambda rng: choose_cells(INFO, 3, (1, 1), rng), "name each once"),
        (lambda rng: Levels(4, 0, 21).targets(INFO), "highest <= 20 uS"),
        (lambda rng: Levels(4, 5, 4).targets(INFO), "levels from 5 to 4 uS"),
        (lambda rng: Levels(0).targets(INFO), "levels=0"),
    ],
)
def test_what_the_chip_does_not_have_is_refused(ask: object, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        ask(np.random.default_rng(0))  # type: ignore[operator]
