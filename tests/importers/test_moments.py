"""Moments of a clock, against the datetime module; and ages that count from first reads."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from hwloop.importers.ages import Origins
from hwloop.importers.moments import seconds

MOMENT = datetime.datetime(2023, 11, 14, 22, 13, 20, 500_000, datetime.UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "form", "value"),
    [
        ("2023-11-14 22:13:20.5", "iso", MOMENT),
        ("2023-11-14T22:13:20.500Z", "iso", MOMENT),
        ("2023-11-14T23:13:20.5+01:00", "iso", MOMENT),
        ("2023-11-15T03:43:20.5+05:30", "iso", MOMENT),
        ("2023-11-14 18:43:20.5 -0330", "iso", MOMENT),
        ("2023-11-14 22:13:20.5 UTC", "iso", MOMENT),
        ("2023-11-14 23:59:59", "iso", MOMENT - 80_000.5 + 86_399),
        ("2023-11-14 23:59:60", "iso", MOMENT - 80_000.5 + 86_400),
        ("2023/11/14", "iso", MOMENT - 80_000.5),
        ("14.11.2023 22:13:20,5", "dmy", MOMENT),
        ("14-Nov-23 22:13:20.5", "dmy", MOMENT),
        ("11/14/2023 10:13:20.5 PM", "mdy", MOMENT),
        ("Nov 14, 2023 10:13:20.5 pm", "mdy", MOMENT),
        ("22:13:20.5", "hms", 80_000.5),
        ("12:00:00 AM", "hms", 0.0),
        ("1:00:00 a.m.", "hms", 3600.0),
        ("12:00:00 PM", "hms", 43_200.0),
        ("11:00:00 PM", "hms", 82_800.0),
        ("1-Jan-1970", "dmy", 0.0),
        ("2-Dec-70 00:01", "dmy", 36_860 * 86_400.0 + 60),
        ("125:00:01", "hms", 450_001.0),
    ],
)
def test_moments(text: str, form: str, value: float) -> None:
    values, good = seconds(np.array([text.encode()]), form)
    assert good.all()
    assert values[0] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("14.13.2023 10:00:00", "dmy"), ("11/31/2023", "mdy"), ("2023-11-14 25:00:00", "iso"), ("", "iso"),
        ("3:20", "hms"), ("10:60:00", "hms"), ("13:00:00 PM", "hms"), ("0:00:00 PM", "hms"), ("10:00:61", "hms"),
        ("2023-11-14 24:00:00", "iso"), ("yesterday", "iso"), ("14-Foo-2023", "dmy"),
    ],
)  # fmt: skip
def test_what_is_no_moment(text: str, form: str) -> None:
    assert not seconds(np.array([text.encode()]), form)[1].any()


def test_ages_count_from_the_first_moment_of_each_cell_over_all_chunks() -> None:
    origins = Origins(2.0)
    rows = {"time": np.array([np.nan, 100.0, 130.0, 50.0])}
    np.testing.assert_array_equal(origins.ages(np.array([7, 7, 7, 3]), rows), [np.nan, 2, 32, 2])
    later = {"time": np.array([60.0, 101.0, 500.0])}
    np.testing.assert_array_equal(origins.ages(np.array([3, 7, 5]), later), [12, 3, 2])


def test_ages_by_rows_count_within_each_cell() -> None:
    origins = Origins(1.0, interval=0.5)
    assert origins.ages(np.array([7, 3, 7]), {}).tolist() == [1, 1, 1.5]
    assert origins.ages(np.array([3, 7, 9]), {}).tolist() == [1.5, 2, 1]
