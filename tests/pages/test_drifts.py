"""The page of a drift study: errors by age, what each compensation takes, and how long it is good for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from hwloop.pages.drifts import page_of_drift

HOUR, DAY = 3600.0, 86400.0


def course(error: list[float], **more: object) -> SimpleNamespace:
    made = {
        "mvm_error": np.array(error),
        "accuracy": None,
        "mvms": np.array([256.0, 512.0]),
        "pulses": np.array([0.0, 30.0]),
        "valid_until": np.array([HOUR, 30 * DAY]),
        "passes_limit": (DAY, 2 * DAY, np.inf),
    }
    return SimpleNamespace(**made | more)


def study(**more: object) -> SimpleNamespace:
    made = {
        "courses": {"none": course([0.1, 0.2]), "column": course([0.08, 0.09])},
        "status": "complete",
        "run": "a/run.h5",
        "backend": "sim:x",
        "mvm_error_in_run": 0.07,
        "target_age": 60.0,
        "limit": 0.15,
        "calibration": None,
        "devices": 12,
        "probes": 256,
        "times": [HOUR, DAY],
        "notes": (),
        "file": "d.h5",
        "seed": 4,
    }
    return SimpleNamespace(**made | more)


def test_errors_by_age_and_what_they_take() -> None:
    page = page_of_drift(study())
    assert page.title == "Drift of run.h5 on sim:x"
    assert page.verdict == "After 1d the MVM error is: none 0.2000, column 0.0900."
    assert page.tables[0].rows == (("1h", 0.1, 0.08), ("1d", 0.2, 0.09))
    assert page.tables[1].rows == (
        ("none", 512, 2.5, None, "2d", "1d to never"),
        ("column", 512, 2.5, "30d", "2d", "1d to never"),
    )
    facts = {one.name: one.text for one in page.facts}
    assert facts == {
        "error as programmed": "0.0700 at 1min",
        "limit": "0.15",
        "devices": "12",
        "probe vectors": "256 for each tile and time",
    }
    assert {one.name: one.text for one in page.provenance}["seed"] == "4"
    assert page.warnings == ()
    assert [one.name.split()[1] for one in page.onward] == ["plot", "report"]
    assert "refreshed chip" not in page.tables[1].note


def test_a_network_has_its_accuracy_first() -> None:
    seen = np.array([[0.9, 0.88, 0.92], [0.8, 0.77, 0.83]])
    page = page_of_drift(study(courses={"none": course([0.1, 0.2], accuracy=seen), "refresh": course([0.1, 0.1])}))
    assert page.verdict == "After 1d the accuracy is: none 80.0%."
    assert [one.title for one in page.tables[:2]] == ["Accuracy", "MVM error"]
    assert page.tables[0].rows == (("1h", 0.9, None), ("1d", 0.8, None))
    assert "intervals of up to +-3.0 points" in page.tables[0].note
    assert [one.name for one in page.pictures] == ["accuracy-vs-age", "error-vs-age"]
    assert page.tables[2].note.endswith("A refreshed chip rests until its targets hold before it is measured.")


def test_a_study_that_was_stopped_shows_what_it_has() -> None:
    none = np.zeros(0)
    empty = course([], mvms=none, pulses=none, valid_until=none, passes_limit=None)
    page = page_of_drift(study(courses={"column": empty}, times=[], status="interrupted"))
    assert page.verdict == "No age was reached."
    assert page.tables[1].rows == (("column", None, None, None, None, None),)
    assert page.pictures == ()
    assert page.warnings == ("The study was stopped before its end; later times are missing.",)
    assert [one.name for one in page.onward] == ["hwloop resume d.h5"]


def test_what_never_fails_is_good_for_ever() -> None:
    lasting = course([0.1, 0.1], valid_until=np.array([1.0, np.inf]), passes_limit=(np.inf, np.inf, np.inf))
    page = page_of_drift(study(courses={"column": lasting}, file="", calibration="c.h5", notes=("a note",)))
    assert page.tables[1].rows == (("column", 512, 2.5, "never", "never", "never to never"),)
    assert page.warnings == ("a note",)
    assert page.onward == ()
    assert {one.name: one.text for one in page.facts}["calibration"].endswith("through the calibration c.h5")
