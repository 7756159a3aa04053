"""An evaluation beside the interval of its run."""

from __future__ import annotations

import math

import pytest

from hwloop.jobs.evaluate import Evaluation


def found(error: float, interval: tuple[float, float]) -> Evaluation:
    return Evaluation(
        run="r.h5", backend="sim:x", method="gdp", mvm_error=error, mvm_error_from="mvm", mvm_error_in_run=0.1,
        chip_clock=0.0, calibration="", tiles=(), mvm_error_interval_in_run=interval,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "moved"), [(0.089, True), (0.09, False), (0.1, False), (0.11, False), (0.111, True), (math.nan, None)]
)
def test_an_error_has_moved_beyond_either_end_of_the_interval(error: float, moved: bool | None) -> None:
    assert found(error, (0.09, 0.11)).moved is moved


@pytest.mark.parametrize("interval", [(math.nan, 0.11), (0.09, math.nan), (0.09, math.inf)])
def test_nothing_is_known_without_both_ends(interval: tuple[float, float]) -> None:
    assert found(0.5, interval).moved is None
