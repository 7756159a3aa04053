"""Cells that were programmed into windows: a level for each window, and its middle as the target."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.importers.windows import Windows
from tests.importers.conftest import Import

COLUMNS = "cell,time[s],conductance[uS],target_low[uS],target_high[uS]"


def test_windows_become_targets_and_levels(imported: Import) -> None:
    rows = ["7,1,5.1,4,6", "8,1,9.0,8,10", "9,1,5.4,4,6", "7,2,5.0,4,6", "6,1,3.0,,"]
    found, report = imported("\n".join(rows) + "\n", columns=COLUMNS)
    cells = found.cells
    assert cells.address.tolist() == [7, 8, 9, 6]
    assert cells.level.tolist() == [0, 1, 0, -1]
    np.testing.assert_array_equal(cells.target, [5.0, 9.0, 5.0, np.nan])
    assert not report.dropped


def test_windows_the_wrong_way_round_are_left_out(imported: Import) -> None:
    found, report = imported("1,1,5.1,6,4\n2,1,5.1,4,6\n", columns=COLUMNS)
    assert found.cells.address.tolist() == [2]
    assert [(reason, one.count) for reason, one in report.dropped.items()] == [("target_low is above target_high", 1)]


@pytest.mark.parametrize("more", ["target_low[uS]", "target_low[uS],target_high[uS],target[uS]"])
def test_half_a_window_or_a_target_beside_it_is_refused(imported: Import, more: str) -> None:
    with pytest.raises(BadInputError, match="cells have a target, or a window from target_low to target_high"):
        imported("1,1,5,4,6,5\n", columns=f"cell,time[s],conductance[uS],{more}")


def test_levels_go_on_from_block_to_block() -> None:
    windows = Windows()
    windows.of(np.array([4.0]), np.array([6.0]))
    target, level = windows.of(np.array([8.0, 4.0]), np.array([10.0, 6.0]))
    assert (target.tolist(), level.tolist()) == ([9.0, 5.0], [1, 0])
