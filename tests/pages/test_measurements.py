"""The page of measurements says what was read of which cells, with numbers that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.fitting.checks import with_reads
from hwloop.files.measurements import Cells, Experiment, Mark, Measurement, Reads
from hwloop.pages.measurements import page_of_measurements
from hwloop.pages.page import Fact


def measured(experiment: Experiment = Experiment.DRIFT, **attributes: str) -> Measurement:
    """Four reads of three cells, of which one is stuck."""
    cells = Cells.at(np.arange(3))
    cells.mark[2] = Mark.STUCK_SET
    reads = Reads(
        cell=np.array([0, 1, 0, 1], np.int32),
        time=np.array([1.0, 1.0, 3600.0, np.nan]),
        conductance=np.array([8.0, 4.0, 6.0, np.nan]),
        temperature=np.array([300.0, 300.04, np.nan, 310.0]),
    )
    return Measurement(experiment, cells, reads, dict(attributes))


def test_reads_cells_and_ranges_are_counted() -> None:
    page = page_of_measurements([measured()], "m.h5")
    assert page.title == "Measurements of devices: drift"
    assert page.verdict == "4 reads of 3 cells in 1 experiment."
    assert page.facts == (Fact("chip temperature", "300.0 to 310.0 K"),)
    assert page.tables[0].rows == (("drift", 3, 2, 4, "1s to 1h", 4.0, 6.0, 8.0),)
    assert page.warnings == ("drift: not all cells are good: 1 stuck set.",)
    assert page.provenance == (Fact("file", "m.h5"),)
    assert [one.name for one in page.pictures] == ["conductance-vs-age", "traces"]
    assert [one.title for one in page.pictures] == ["Conductance against age", "Single cells"]
    assert [one.name for one in page.onward] == ["hwloop fit m.h5 --out model.json"]


def test_experiments_of_one_file_are_told_apart() -> None:
    two = [
        measured(chip="hermes", serial="7", started="8:00"),
        measured(Experiment.READ_NOISE, chip="hermes", serial="8"),
    ]
    page = page_of_measurements(two)
    assert page.title == "Measurements of hermes: drift, read-noise"
    assert page.verdict == "8 reads of 6 cells in 2 experiments."
    assert [(one.name, one.text) for one in page.provenance] == [
        ("file", "none"),
        ("chip", "hermes"),
        ("serial, drift", "7"),
        ("serial, read-noise", "8"),
        ("started", "8:00"),
    ]
    assert [one.name for one in page.pictures] == ["conductance-vs-age-0", "traces-0", "read-noise-1", "traces-1"]
    assert page.onward == ()


def test_moments_are_told_as_on_all_pages() -> None:
    page = page_of_measurements([measured(started="2026-11-30T12:39:46.023161+00:00", ended="noon")])
    told = {one.name: one.text for one in page.provenance}
    assert (told["started"], told["ended"]) == ("2026-11-30 12:39 UTC", "noon")


def test_what_was_stopped_at_once_says_so_and_is_gone_on_with() -> None:
    stopped = measured(status="interrupted")
    page = page_of_measurements([with_reads(stopped, np.zeros(4, bool))], "m.h5")
    assert page.verdict == "0 reads of 3 cells in 1 experiment."
    assert page.facts == (Fact("chip temperature", "not measured"),)
    assert page.tables[0].rows == (("drift", 3, 2, 0, None, None, None, None),)
    assert [one.removeprefix("drift: ") for one in page.warnings] == [
        "not all cells are good: 1 stuck set.",
        "was stopped before its end; what was measured is here.",
        "has no reads, as of a measurement that was stopped at once.",
    ]
    assert page.pictures == ()
    assert [one.name for one in page.onward] == ["hwloop resume m.h5", "hwloop fit m.h5 --out model.json"]
    assert [one.name for one in page_of_measurements([measured(status="complete")], "m.h5").onward] == [
        "hwloop fit m.h5 --out model.json"
    ]


def test_a_file_without_experiments_has_a_page() -> None:
    page = page_of_measurements([])
    assert (page.title, page.verdict) == ("Measurements of devices: none", "0 reads of 0 cells in 0 experiments.")


@pytest.mark.parametrize(
    ("experiment", "pictures"),
    [
        (Experiment.PROGRAMMING, ["programming-error"]),
        (Experiment.PROGRAMMING_CURVE, ["conductance-vs-pulse"]),
        (Experiment.PULSE_RESPONSE, ["pulse-response"]),
    ],
)
def test_only_courses_of_single_cells_are_drawn_of_what_has_them(experiment: Experiment, pictures: list[str]) -> None:
    assert [one.name for one in page_of_measurements([measured(experiment)]).pictures] == pictures


def test_cells_that_are_all_bad_are_not_drawn() -> None:
    bad = measured()
    bad.cells.mark[:2] = Mark.STUCK_RESET
    page = page_of_measurements([bad])
    assert page.pictures == ()
    assert page.warnings == ("drift: not all cells are good: 1 stuck set, 2 stuck reset.",)
