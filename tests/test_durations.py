"""Durations: what people type, and what they are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwloop.durations import UNITS, format_duration, format_elapsed, parse_duration, parse_durations
from hwloop.errors import BadInputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("90", 90.0),
        ("1min", 60.0),
        ("1.5h", 5400.0),
        (" 2 d ", 172800.0),
        ("30d", 30 * 86400.0),
        ("1y", 365.25 * 86400.0),
        ("1e3s", 1000.0),
        (".5s", 0.5),
        ("250ns", 250e-9),
        ("20us", 20e-6),
        ("0s", 0.0),
    ],
)
def test_what_people_type(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("text", ["", "h", "1m", "1 hour", "-1s", "nan", "inf", "1e999y", "1s1h", "1,5h", "\u0661s"])
def test_what_is_no_duration_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadInputError, match=r"duration '.*'"):
        parse_duration(text)


def test_a_list() -> None:
    assert parse_durations("1s,1h, 1d") == (1.0, 3600.0, 86400.0)
    with pytest.raises(BadInputError, match="duration ''"):
        parse_durations("1s,,1d")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.0, "1s"),
        (59.9996, "1min"),
        (5400.0, "1.5h"),
        (200.0, "200s"),
        (200.3, "3.34min"),
        (5000 * UNITS["y"], "5000y"),
        (30 * 86400.0, "30d"),
        (UNITS["y"], "1y"),
        (0.02, "20ms"),
        (2.5e-7, "250ns"),
        (0.0, "0s"),
        (float("inf"), "for ever"),
    ],
)
def test_what_people_are_shown(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"), (0.02, "20ms"), (1.4, "1s"), (59.4, "59s"), (59.6, "1min"), (90.0, "1min 30s"),
        (200.3, "3min 20s"),
        (3599.7, "1h"), (3661.0, "1h 1min"), (86400.0 * 1.5, "1d 12h"), (UNITS["y"] * 4.11, "4y 40d"),
        (float("inf"), "for ever"),
    ],
)  # fmt: skip
def test_elapsed_time_is_told_in_whole_units(seconds: float, text: str) -> None:
    assert format_elapsed(seconds) == text


@given(st.floats(1e-8, 1e11))
def test_what_is_shown_can_be_typed(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=6e-3)
