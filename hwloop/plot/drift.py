"""Figures of drift studies: MVM error against age with each compensation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hwloop.durations import parse_duration
from hwloop.plot.style import SERIES, axes_of, grid, save_figure
from hwloop.typing import FloatArray

MARKERS = "os^vDPX"
AGES = ("1ms", "1s", "1min", "1h", "1d", "30d", "1y", "10y", "100y", "1000y")
"""Ticks of an axis of ages."""
ERRORS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Ticks of an axis of MVM errors."""
STAGGER = 0.012
"""Share of the limit by which the bars of two compensations are set apart."""


class DrawnCourse(Protocol):
    """What is drawn of one compensation; see `hwloop.jobs.drift_result.Course`."""

    @property
    def mvm_error(self) -> FloatArray:
        """Errors, one for each age."""

    @property
    def measured_at(self) -> FloatArray:
        """Seconds after the end of programming."""

    @property
    def pulses(self) -> FloatArray:
        """Pulses spent."""

    @property
    def passes_limit(self) -> tuple[float, float, float] | None:
        """Seconds after the end of programming: start of the interval, median, end."""

    @property
    def accuracy(self) -> FloatArray | None:
        """Accuracy of the network with its interval, (ages, 3); None without a network."""


class DrawnStudy(Protocol):
    """What is drawn of a drift study; see `hwloop.jobs.drift.DriftResult`."""

    @property
    def run(self) -> str:
        """File of the run."""

    @property
    def backend(self) -> str:
        """URI of the chip."""

    @property
    def target_age(self) -> float:
        """Age of the first measurement, seconds."""

    @property
    def mvm_error_in_run(self) -> float:
        """Error at that age."""

    @property
    def limit(self) -> float:
        """MVM error whose passing is predicted."""

    @property
    def courses(self) -> Mapping[str, DrawnCourse]:
        """By the names of the compensations."""


def draw_drift(study: DrawnStudy, path: str | Path) -> None:
    """Draw a drift study into a PNG, SVG or PDF file; of a network its accuracy comes first."""
    if any(course.accuracy is not None for course in study.courses.values()):
        figure = Figure(figsize=(8, 8.5), layout="constrained")
        top, bottom = figure.subplots(2)
        accuracy_against_age(study, top)
        error_against_age(study, bottom)
    else:
        figure = Figure(figsize=(8, 5), layout="constrained")
        error_against_age(study, figure.subplots())
    save_figure(figure, Path(path))


def accuracy_against_age(study: DrawnStudy, ax: Axes | None = None) -> Axes:
    """Draw the accuracy of a network against age with each compensation; bars are its 95 % intervals.

    Parameters
    ----------
    study
        What to draw.
    ax
        Axes to draw on; None for new ones.
    """
    axes, courses = axes_of(ax), study.courses
    for number, (name, course) in enumerate(courses.items()):
        if course.accuracy is None:
            continue
        colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
        share, low, high = 100.0 * course.accuracy.T
        # Set apart, so that the bars of one age do not hide each other.
        apart = course.measured_at * 1.04 ** (number - (len(courses) - 1) / 2)
        line = "" if np.nansum(course.pulses) else "-"
        bars = np.maximum([share - low, high - share], 0.0)  # rounding leaves -1e-14 where all answers are right
        axes.errorbar(apart, share, bars, ls=line, marker=marker, color=colour, label=name, alpha=0.85, capsize=2)
    axes.set(xlabel="time since the end of programming", ylabel="accuracy (%)", xscale="log")
    _set_age_ticks(axes)
    grid(axes)
    axes.legend(ncols=2, fontsize="small")
    run = f"{Path(study.run).name} on " if study.run else ""
    axes.set_title(f"{run}{study.backend}\nbars: 95 % interval for other test images")
    return axes


def error_against_age(study: DrawnStudy, ax: Axes | None = None) -> Axes:
    """Draw MVM error against age with each compensation, the limit, and when it will be passed.

    Parameters
    ----------
    study
        What to draw.
    ax
        Axes to draw on; None for new ones.
    """
    axes = axes_of(ax)
    for number, (name, course) in enumerate(study.courses.items()):
        colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
        # A refresh is tried anew at each age: its points are no course of one chip.
        line = "" if np.nansum(course.pulses) else "-"
        axes.plot(course.measured_at, course.mvm_error, ls=line, marker=marker, color=colour, label=name, alpha=0.85)
    axes.plot(study.target_age, study.mvm_error_in_run, "*k", ms=12, label="programmed")
    axes.axhline(study.limit, color="black", ls=":", label=f"limit {study.limit:g}")
    axes.set(xlabel="time since the end of programming", ylabel="relative MVM error", xscale="log", yscale="log")
    passings = [course.passes_limit for course in study.courses.values()]
    _draw_passings(axes, study.limit, passings)
    _set_ticks(axes)
    grid(axes)
    axes.legend(ncols=2, fontsize="small")
    axes.set_title(f"{Path(study.run).name} on {study.backend}\nbars: 95 % interval of the passing")
    return axes


def _draw_passings(axes: Axes, limit: float, passings: Sequence[tuple[float, float, float] | None]) -> None:
    """Draw a bar from the earliest to the latest passing of each compensation; an arrow where the latest is far off."""
    known = [age for ages in passings if ages is not None for age in ages if np.isfinite(age)]
    edge = max([axes.get_xlim()[1], *(1.5 * age for age in known)])
    for number, ages in enumerate(passings):
        if ages is None or not np.isfinite(ages[0]):
            continue
        height, colour = limit * (1 + STAGGER * number), SERIES[number % len(SERIES)]
        axes.hlines(height, ages[0], min(ages[2], edge), color=colour, lw=4, alpha=0.5)
        if not np.isfinite(ages[2]):
            axes.plot(edge, height, marker=">", color=colour, clip_on=False)
    axes.set_xlim(right=edge)


def _set_age_ticks(axes: Axes) -> None:
    low, high = axes.get_xlim()
    ticks = [(seconds, label) for label in AGES if low <= (seconds := parse_duration(label)) <= high]
    axes.set_xticks([seconds for seconds, _ in ticks], [label for _, label in ticks], minor=False)
    axes.set_xticks([], minor=True)


def _set_ticks(axes: Axes) -> None:
    _set_age_ticks(axes)
    bottom, top = axes.get_ylim()
    marks = [error for error in ERRORS if bottom <= error <= top]
    axes.set_yticks(marks, [f"{error:g}" for error in marks])
    axes.set_yticks([], minor=True)
