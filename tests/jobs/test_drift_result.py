"""What a drift study found, as JSON, as tables, in a line, and from its file."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from hwloop.errors import BadInputError
from hwloop.files import hdf5
from hwloop.jobs.drift_result import Course, DriftResult, read_drift

NAN, INF = math.nan, math.inf
MADE = Course(
    mvm_error=np.array([0.1, NAN]),
    tile_errors=((0.1, NAN), ()),
    measured_at=np.array([3600.0, NAN]),
    valid_until=np.array([7200.0, INF]),
    pulses=np.array([12.0, 0.0]),
    mvms=np.array([256.0, 0.0]),
    because="drift",
    passes_limit=(1.0, 2.0, INF),
)
SEEN = replace(MADE, accuracy=np.array([[0.9, 0.85, 0.95], [NAN, NAN, NAN]]))
STUDY = DriftResult(
    run="r.h5", backend="sim:x", status="complete", mvm_error_in_run=NAN, target_age=60.0, limit=0.2,
    times=(3600.0, 86400.0, 31557600.0), courses={"none": MADE}, devices=12, probes=64, seed=3, notes=("a note",),
)  # fmt: skip


def test_a_course_says_what_was_made_and_leaves_open_what_was_not() -> None:
    assert MADE.to_json() == {
        "mvm_error": [0.1, None], "tile_errors": [[0.1, None], None], "measured_at_s": [3600.0, None],
        "pulses": [12, None], "mvms": [256, None], "holds_until_s": [7200.0, None], "holds_because": "drift",
        "passes_limit": {"earliest_s": 1.0, "age_s": 2.0, "latest_s": None},
    }  # fmt: skip
    bare = replace(MADE, because="", passes_limit=None).to_json()
    assert (bare["holds_because"], bare["passes_limit"]) == (None, None)
    seen = SEEN.to_json()
    assert seen["accuracy"] == [0.9, None]
    assert seen["accuracy_interval"] == [[0.85, 0.95], [None, None]]


def test_a_study_is_an_object_of_json() -> None:
    told = STUDY.to_json()
    assert isinstance(told.pop("hwloop_version"), str)
    assert told == {
        "run": "r.h5", "backend": "sim:x", "status": "complete", "mvm_error_in_run": None,
        "seconds_after_programming": 60.0, "devices": 12, "limit": 0.2, "probes": 64, "seed": 3,
        "times_s": [3600.0, 86400.0, 31557600.0], "compensations": {"none": MADE.to_json()}, "calibration": None,
        "notes": ["a note"], "file": None,
    }  # fmt: skip


def test_a_table_has_a_row_for_each_age_that_was_reached() -> None:
    pytest.importorskip("pandas")
    rows = STUDY.to_dataframe().to_dict("records")
    assert rows[0] == {
        "compensation": "none", "time_s": 3600.0, "mvm_error": 0.1, "measured_at_s": 3600.0, "pulses": 12.0,
        "mvms": 256.0,
    }  # fmt: skip
    assert [row["time_s"] for row in rows] == [3600.0, 86400.0]


def test_ages_that_were_not_reached_are_unknown() -> None:
    both = replace(STUDY, courses={"none": MADE, "column": SEEN})
    assert both._of("mvms") == pytest.approx(np.array([[256.0, 0.0, NAN]] * 2), nan_ok=True)
    assert both._of("accuracy", 1) == pytest.approx(np.array([[NAN] * 3, [0.85, NAN, NAN]]), nan_ok=True)
    assert STUDY._of("accuracy", 0) == pytest.approx(np.array([[NAN] * 3]), nan_ok=True)
    assert repr(both) == "<DriftResult on sim:x: MVM errors at the last time none nan, column nan>"
    empty = replace(MADE, mvm_error=np.empty(0))
    assert repr(replace(STUDY, courses={"none": empty})).endswith("at the last time not reached>")


def test_a_notebook_and_a_figure_show_accuracies_where_any_is_known() -> None:
    for courses, told, drawn in (
        ({"none": MADE}, "MVM error by age", "MVM error"),
        ({"none": MADE, "column": SEEN}, "share of right answers by age", "accuracy"),
    ):
        study = replace(STUDY, courses=courses)
        html = study._repr_html_()
        assert told in html
        assert {"1h", "1d", "1y"} <= set(html.replace("<", ">").split(">"))
        assert drawn in study.plot().get_ylabel()


def test_a_file_is_read_by_its_names(tmp_path: Path) -> None:
    path = tmp_path / "d.h5"
    with hdf5.WholeFileWriter(path, hdf5.DRIFT_FORMAT) as writer:
        file = writer.file
        hdf5.put_attributes(
            file,
            {
                "compensations": "none,column,late", "run": "r.h5", "backend": "sim:x", "status": "interrupted",
                "mvm_error_in_run": 0.07, "limit": 0.2, "notes": "one\n\ntwo", "seed": 5,
            },
        )  # fmt: skip
        hdf5.put(file, "times", np.array([3600.0, 86400.0]), "s", "ages")
        hdf5.put(file, "calibrated", np.float64(60.0), "s", "age")
        for name in ("none", "column"):
            group = file.create_group(f"compensations/{name}")
            for key, unit in (
                ("mvm_error", "1"),
                ("measured_at", "s"),
                ("holds_until", "s"),
                ("pulses", "1"),
                ("mvms", "1"),
            ):
                hdf5.put(group, key, np.array([1.0, 2.0]), unit, "x")
        _put_tiles(file["compensations/column"])
        writer.commit()
    found = read_drift(path)
    assert list(found.courses) == ["none", "column"]
    assert (found.times, found.target_age, found.limit, found.seed) == ((3600.0, 86400.0), 60.0, 0.2, 5)
    assert (found.devices, found.calibration, found.notes, found.file) == (0, "", ("one", "two"), str(path))
    assert (found.courses["none"].because, found.courses["none"].passes_limit) == ("", None)
    column = found.courses["column"]
    assert column.tile_errors == ((0.25, 0.375), (0.125, 0.25), (0.5, 0.625))  # in the order of their numbers
    assert (column.because, column.passes_limit, column.accuracy) == ("late 10", (1.0, 2.0, 3.0), None)


def _put_tiles(group: h5py.Group) -> None:
    hdf5.put(group, "passes_limit", np.array([1.0, 2.0, 3.0]), "s", "x")
    for number, error in ((2, 0.125), (1, 0.25), (10, 0.5)):
        for tile in range(2):
            one = group.create_group(f"time_{number}/{tile:04}")
            one.attrs["mvm_error"] = error + 0.125 * tile
            one.attrs["holds_because"] = f"late {number}"


def test_what_is_no_drift_file_is_refused(tmp_path: Path) -> None:
    with hdf5.WholeFileWriter(tmp_path / "d.h5", hdf5.DRIFT_FORMAT) as writer:
        writer.commit()
    with pytest.raises(BadInputError, match="make it again"):
        read_drift(tmp_path / "d.h5")
