"""Figures of drift studies: every compensation, the limit, and when it will be passed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from hwloop.plot.drift import accuracy_against_age, draw_drift, error_against_age

DAY = 86400.0


@dataclass
class Course:
    passes_limit: tuple[float, float, float] | None
    measured_at: np.ndarray = field(default_factory=lambda: np.array([20.0, 3600.0]))
    mvm_error: np.ndarray = field(default_factory=lambda: np.array([0.1, 0.12]))
    pulses: np.ndarray = field(default_factory=lambda: np.zeros(2))
    accuracy: np.ndarray | None = None


@dataclass
class Study:
    courses: dict[str, Course]
    run: str = "folder/r.h5"
    backend: str = "sim:b"
    target_age: float = 20.0
    mvm_error_in_run: float = 0.1
    limit: float = 0.15


def test_passings_of_the_limit_are_in_sight() -> None:
    """One from 2 days to 9, one from 3 days on, one never: two bars, the open one with an arrow at the edge."""
    passings = {"none": (2 * DAY, 4 * DAY, 9 * DAY), "column": (3 * DAY, 30 * DAY, np.inf), "refresh": (np.inf,) * 3}
    axes = error_against_age(Study({name: Course(passing) for name, passing in passings.items()}))
    bars = [bar.get_segments()[0][:, 0] for bar in axes.collections]
    assert np.allclose(bars[0], [2 * DAY, 9 * DAY])
    assert np.allclose(bars[1], [3 * DAY, 45 * DAY])
    assert len(bars) == 2
    assert axes.get_xlim()[1] == pytest.approx(45 * DAY)
    assert [line.get_xdata() for line in axes.lines if line.get_marker() == ">"] == [[45 * DAY]]


def test_a_course_with_pulses_has_no_line() -> None:
    """A refresh is tried anew at each age: its points are no course of one chip."""
    refreshed = Course(None, pulses=np.array([0.0, 5.0]))
    lines = error_against_age(Study({"none": Course(None), "refresh": refreshed})).lines
    assert [line.get_linestyle() for line in lines[:2]] == ["-", "None"]
    assert lines[1].get_ydata().tolist() == [0.1, 0.12]


def test_labels_and_limit() -> None:
    given = Figure().subplots()
    axes = error_against_age(Study({"none": Course(None)}), given)
    assert axes is given
    assert axes.get_legend_handles_labels()[1] == ["none", "programmed", "limit 0.15"]
    assert axes.get_title().startswith("r.h5 on sim:b\n")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1min", "1h"]


def test_a_study_is_drawn_into_a_file(tmp_path: Path) -> None:
    draw_drift(Study({"none": Course(None)}), tmp_path / "d.png")
    assert imread(tmp_path / "d.png").shape[:2] == (550, 880)


def test_the_accuracy_of_a_network_has_its_interval() -> None:
    shares = np.array([[0.98, 0.96, 0.99], [0.9, 0.87, 0.92]])
    axes = accuracy_against_age(Study({"none": Course(None, accuracy=shares), "column": Course(None)}))
    (bars,) = axes.containers
    points, _, (interval,) = bars
    assert points.get_ydata().tolist() == pytest.approx([98.0, 90.0])
    assert np.array(interval.get_segments())[:, :, 1] == pytest.approx(100 * shares[:, 1:])
    assert np.allclose(points.get_xdata(), [20.0, 3600.0], rtol=0.03)


def test_right_answers_alone_have_bars_though_rounding_puts_their_interval_below() -> None:
    shares = np.array([[1.0, 0.98, 1.0 - 1e-16], [1.0, 0.98, 1.0]])
    axes = accuracy_against_age(Study({"none": Course(None, accuracy=shares)}, run=""))
    assert axes.get_title().startswith("sim:b")
    assert len(axes.containers) == 1


def test_a_network_has_two_panels(tmp_path: Path) -> None:
    shares = np.full((2, 3), 0.5)
    draw_drift(Study({"none": Course(None)}), tmp_path / "run.png")
    draw_drift(Study({"none": Course(None, accuracy=shares)}), tmp_path / "net.png")
    assert imread(tmp_path / "net.png").shape[0] > 1.5 * imread(tmp_path / "run.png").shape[0]


def test_axes_have_round_ticks_where_there_is_data() -> None:
    """Errors from 0.08 to 1.05 and ages from 20 s to an hour: ticks at round ones between, and none beside them."""
    course = Course(None, mvm_error=np.array([0.08, 1.05]))
    axes = error_against_age(Study({"none": course}))
    low, high = axes.get_ylim()
    every = [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0]
    assert [one.get_text() for one in axes.get_yticklabels()] == [f"{one:g}" for one in every if low <= one <= high]
    assert axes.get_yticks().tolist() == [one for one in every if low <= one <= high]
    assert axes.get_yticks()[-1] == 1.0
    labels = dict(zip((one.get_text() for one in axes.get_xticklabels()), axes.get_xticks(), strict=True))
    assert (labels["1min"], labels["1h"]) == (60.0, 3600.0)
    assert not len(axes.get_yticks(minor=True))
