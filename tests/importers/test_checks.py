"""What is asked about numbers that can hardly be meant: each question is asked beyond its bound, and not within it."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.importers.checks import Plausible
from tests.importers.test_collect import collector, rows


@pytest.mark.parametrize(
    ("name", "fair", "doubtful", "question"),
    [
        ("conductance", 0.001, 0.0009, "conductance below 0.001 uS: is it in another unit?"),
        ("conductance", -5000.0, -5001.0, "conductance above 5000 uS: is it in another unit?"),
        ("time", 3.2e8, 3.2001e8, "age over 10 years: is it in another unit?"),
        ("temperature", 273.15, 273.14, "temperature below 273.15 K: is it in degrees C?"),
        ("temperature", 550.0, 550.01, "temperature above 550 K: is it in K, not degrees C?"),
    ],
)
def test_what_is_hardly_meant_is_asked_about(name: str, fair: float, doubtful: float, question: str) -> None:
    both = {"conductance": np.full(2, 5.0), "time": np.full(2, 60.0), "temperature": np.full(2, 300.0)}
    both[name] = np.array([fair, doubtful])
    asked = {text: found.tolist() for text, found in Plausible().questions(both) if found.any()}
    assert asked == {question: [False, True]}


def test_a_table_without_temperatures_is_asked_nothing_about_them() -> None:
    fine = {"conductance": np.full(2, 5.0), "time": np.full(2, 60.0)}
    assert [found.any() for _, found in Plausible().questions(fine)] == [False] * 3


@pytest.mark.parametrize(("first", "last", "asked"), [(2000, 2300, True), (2000, 2500, False), (900, 1000, False)])
def test_ages_that_hardly_grow_may_be_times_of_a_clock(first: float, last: float, asked: bool) -> None:
    taken, _ = collector()
    taken.take(*rows(cell=[1, 1], time=[first, last], conductance=[5, 4]))
    taken._look_at_ages()
    assert any("are they times of a clock?" in note for note in taken.report.notes) == asked


@pytest.mark.parametrize(("time", "kept"), [(1e9 - 1, 1), (1e9 + 1, 0)])
def test_times_since_1970_are_no_ages(time: float, kept: int) -> None:
    taken, memory = collector()
    taken.take(*rows(cell=[1], time=[time], conductance=[5]))
    assert len(memory.column("time")) == kept
