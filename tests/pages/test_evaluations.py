"""What the page of an evaluation says of results that a simulated chip seldom gives."""

from __future__ import annotations

import math

from hwloop.jobs.evaluate import Evaluation, TileEvaluation
from hwloop.pages.evaluations import page_of_evaluation, with_interval
from hwloop.pages.runs import NO_MVM

TILES = (TileEvaluation(3, "w", 0.1), TileEvaluation(4, "v", math.nan))


def found(
    source: str = "mvm",
    calibration: str = "",
    then: float = 0.09,
    interval: tuple[float, float] = (math.nan, math.nan),
) -> Evaluation:
    return Evaluation(
        run="runs/a.h5", backend="sim:x", method="gdp", mvm_error=0.1, mvm_error_from=source, mvm_error_in_run=then,
        chip_clock=0.0, calibration=calibration, tiles=TILES, mvm_error_interval_in_run=interval,
    )  # fmt: skip


def test_an_error_from_device_reads_is_said_to_be_one() -> None:
    assert NO_MVM not in [fact.text for fact in page_of_evaluation(found()).facts]
    assert NO_MVM in [fact.text for fact in page_of_evaluation(found("device-reads")).facts]


def test_what_is_known_is_said_and_no_more() -> None:
    page = page_of_evaluation(found())
    assert page.title == "What a.h5 left on sim:x"
    assert page.verdict == "MVM error 0.1000 now; 0.0900 when it was programmed."
    assert page.tables[0].rows == (("w", "3", 0.1), ("v", "4", None))
    assert page_of_evaluation(found(then=math.nan)).verdict.endswith("now; the run was stopped before it was measured.")
    moved, same = ((0.085, 0.095), (0.085, 0.11))
    assert page_of_evaluation(found(interval=moved)).verdict.endswith(
        "0.0900 (95 %: 0.0850 to 0.0950) when it was programmed, so it has moved."
    )
    assert page_of_evaluation(found(interval=same)).verdict.endswith("so there is no change beyond noise.")
    (fact,) = page_of_evaluation(found(calibration="c.h5")).facts
    assert fact.text == "outputs are read through the calibration c.h5"


def test_an_error_has_its_interval_where_both_ends_are_known() -> None:
    assert with_interval(0.1, (0.09, 0.11)) == "0.1000 (95 %: 0.0900 to 0.1100)"
    assert with_interval(0.1, (0.09, math.inf)) == with_interval(0.1, (math.nan, 0.11)) == "0.1000"
    assert with_interval(math.nan, (math.nan, math.nan)) == "unknown"
