"""Files of the shared folder of cases import to the values of its plain one, with what their refusals name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwloop.errors import BadInputError
from tests.importers.conftest import Import

FOLDER = Path(os.environ.get("HWLOOP_SHARED_CASES", Path(__file__).parents[3] / "shared" / "cases"))

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the folder of cases is not there")


@pytest.mark.parametrize(
    ("name", "options", "named", "digits", "missing"),
    [
        ("t01_decimal_comma_semicolon.csv", {"columns": "auto"}, "--columns auto", 1e-6, 0),
        ("t02_utf8_greek.csv", {}, "", 5e-6, 0),
        ("t03_overflow_9.9e37.csv", {}, "", 1e-6, 39),
        ("t03_resistance_9.9e37.csv", {}, "", 1e-6, 39),
        ("t04_epoch.csv", {"start": 1.0}, "--start-age", 1e-6, 0),
        ("t05_wide.csv", {"columns": "auto"}, "--columns auto", 5e-6, 0),
        ("t09_quoted.csv", {"columns": "auto"}, "--columns auto", 1e-6, 0),
        ("t10_unicode_minus.csv", {}, "", 1e-6, 0),
        ("t11_negative_current.csv", {"reverse_current": True}, "--reverse-current", 1e-6, 0),
        ("t11_picoamps.csv", {}, "", 5e-6, 0),
        ("t13_pymeasure.csv", {"columns": "auto"}, "--columns auto", 1e-6, 0),
        ("t15_names.csv", {"columns": "auto"}, "--columns auto", 5e-6, 0),
        ("t17_one_file_each", {"columns": "auto", "start": 1.0}, "--columns auto", 1e-6, 0),
    ],
)
def test_the_values_are_those_of_the_plain_file(
    imported: Import, name: str, options: dict[str, Any], named: str, digits: float, missing: int
) -> None:
    path: Any = FOLDER / "text" / name
    path = sorted(path.iterdir()) if path.is_dir() else [path]
    if named:
        with pytest.raises(BadInputError) as caught:
            imported(path)
        assert named in str(caught.value)
    found, report = imported(path, **options)
    plain = np.loadtxt(FOLDER / "text" / "t00_control.csv", delimiter=",", skiprows=1)
    ages = plain[:13, 1]
    truth = (1e6 * plain[:, 2] / plain[:, 3]).reshape(120, 13)[: len(found.cells)]
    place = np.abs(np.log(found.reads.time[:, None] / ages)).argmin(axis=1)
    np.testing.assert_allclose(found.reads.time, ages[place], rtol=3e-4)
    np.testing.assert_allclose(found.reads.conductance, truth[found.reads.cell, place], rtol=digits)
    assert report.reads == truth.size - missing


def test_sweeps_of_a_parameter_analyser(imported: Import) -> None:
    found, report = imported(FOLDER / "text" / "t06_easyexpert.csv", "auto", where=("voltage=0.2",))
    np.testing.assert_allclose(found.reads.conductance, [11.8537, 12.09615, 11.928], rtol=1e-9)
    assert found.reads.time.tolist() == [1, 61, 121]
    assert report.dropped["not where voltage=0.2"].count == 60


@pytest.mark.parametrize(("name", "reads"), [("real_stamps", 24_000), ("true_times", 2400)])
def test_all_reads_of_arc2control_come_in(imported: Import, name: str, reads: int) -> None:
    found, report = imported(FOLDER / "hdf5" / f"h01_arc2_retention_{name}.h5")
    assert (report.reads, report.dropped) == (reads, {})
    elapsed = found.reads.time.reshape(40, -1)
    assert np.all(np.diff(elapsed, axis=1) >= 0)
    np.testing.assert_allclose(elapsed, np.tile(np.arange(elapsed.shape[1]), (40, 1)), atol=3.0)
