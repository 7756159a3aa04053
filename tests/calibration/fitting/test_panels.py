"""What diagrams of fits have in common, and which cells a fit leaves out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.fitting.panels import binned, ks_distance, quantile_panel
from hwloop.calibration.fitting.screening import OUTLIER, STUCK, Screening
from hwloop.files.measurements import Experiment, Mark, Measurement
from hwloop.files.models import CellCount


def test_the_distance_is_the_largest_from_the_uniform_distribution() -> None:
    """Of three values: their distribution steps from k/3 to (k+1)/3 at each."""
    assert ks_distance(np.array([0.1, 0.5, 0.6])) == pytest.approx(1 - 0.6)
    assert ks_distance(np.array([0.5, 0.6, 0.9])) == pytest.approx(0.5)


def test_quantiles_are_drawn_in_twenty_shares_with_two_standard_errors() -> None:
    quantiles = np.r_[np.full(30, 0.01), np.full(9, 0.99), 0.52]
    panel = quantile_panel(quantiles)
    seen, flat = panel.series
    assert panel.title == "Predicted quantiles (KS distance 0.740)"  # 30/40 lie at 0.01
    assert seen.x == pytest.approx(np.arange(0.025, 1.0, 0.05))
    share = np.zeros(20)
    share[[0, 10, 19]] = 30 / 2, 1 / 2, 9 / 2  # the uniform one has two of forty in each: share 1
    error = np.full(20, 1 / 2)
    error[[0, 19]] = np.sqrt(30) / 2, 3 / 2
    assert seen.y == pytest.approx(share)
    assert seen.low == pytest.approx(share - 2 * error)
    assert seen.high == pytest.approx(share + 2 * error)
    assert flat.line
    assert (flat.x.tolist(), flat.y.tolist()) == ([0.0, 1.0], [1.0, 1.0])


def test_bins_hold_equally_many_and_equal_values_share_one() -> None:
    number, centre = binned(np.array([5.0, 1.0, 2.0, 6.0, 3.0, 4.0]), 3)
    assert number.tolist() == [2, 0, 0, 2, 1, 1]
    assert centre == pytest.approx([1.5, 3.5, 5.5])
    number, centre = binned(np.array([2.0, 2.0, 2.0, 2.0, 7.0]), 4)
    assert number.tolist() == [0, 0, 0, 0, 0]
    assert centre == pytest.approx([3.0])
    assert binned(np.array([4.0, 4.0]), 5)[0].tolist() == [0, 0]
    assert binned(np.arange(100.0))[0].tolist() == (np.arange(100) // 4).tolist()


# ---- cells that are left out ---------------------------------------------------------------------------------


def measured(experiment: Experiment) -> Measurement:
    """Read one cell of every mark once."""
    marks = np.array(list(Mark), np.uint8)
    plain = Measurement.of(experiment, [1.0], np.ones((1, marks.size)), np.ones(marks.size))
    return replace(plain, cells=replace(plain.cells, mark=marks))


def test_marks_say_why_a_cell_is_left_out() -> None:
    by_mark = dict(zip(Mark, Screening.of(measured(Experiment.DRIFT)).reason.tolist(), strict=True))
    assert by_mark[Mark.GOOD] == by_mark[Mark.UNCONVERGED] == ""
    assert by_mark[Mark.STUCK_SET] == by_mark[Mark.STUCK_RESET] == STUCK
    assert by_mark[Mark.OUTLIER] == OUTLIER
    of_targets = Screening.of(measured(Experiment.PROGRAMMING)).reason[list(Mark).index(Mark.UNCONVERGED)]
    assert of_targets == "marked unconverged"


def test_a_cell_keeps_its_first_reason_and_all_are_counted() -> None:
    measurement = Measurement.of("drift", [1.0], np.ones((1, 5)))
    screening = Screening.of(measurement)
    assert screening.why() == "none was measured"
    screening.drop(np.array([True, False, True, False, False]), STUCK)
    screening.drop(np.array([True, True, False, False, False]), OUTLIER)
    screening.drop(np.array([False, False, False, False, True]), "too short")
    assert screening.kept.tolist() == [False, False, False, True, False]
    assert screening.why() == "outlier: 1, stuck: 2, too short: 1"
    address = measurement.cells.address.tolist()
    assert screening.count(measurement) == CellCount(
        5, 1, 2, 1, {"too short": 1}, (address[0], address[2]), (address[1],)
    )
