"""Page of a drift study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwloop import plot
from hwloop.durations import format_duration
from hwloop.pages.page import Cell, Column, Fact, Page, Picture, Table
from hwloop.pages.texts import quoted
from hwloop.units import finite

if TYPE_CHECKING:
    from hwloop.jobs.drift_result import Course, DriftResult

NOTHING = "none"
"""Name of the compensation that does nothing."""


def page_of_drift(study: DriftResult) -> Page:
    """Make the page of a drift study, of a run or of a network."""
    network = any(course.accuracy is not None for course in study.courses.values())
    tables = [_table("MVM error", study, ".4f", lambda course, at: _at(course.mvm_error, at))]
    pictures = [
        Picture(
            "error-vs-age",
            "MVM error against age",
            "Each line is one way to compensate for drift: the flatter, the better. Bars on the dotted limit are 95 % "
            "intervals of when it is passed.",
            lambda ax: plot.error_against_age(study, ax),
        )
    ]
    if network:
        tables.insert(0, _table("Accuracy", study, ".1%", _accuracy, _about_accuracies(study)))
        pictures.insert(
            0,
            Picture(
                "accuracy-vs-age",
                "Accuracy against age",
                "Each line is one way to compensate for drift; bars are 95 % intervals for other test images.",
                lambda ax: plot.accuracy_against_age(study, ax),
            ),
        )
    tables.append(_table_of_costs(study))
    stopped = () if study.status == "complete" else ("The study was stopped before its end; later times are missing.",)
    return Page(
        kind="drift study",
        title=f"Drift of {Path(study.run).name} on {study.backend}",
        verdict=_verdict(study, network),
        facts=(
            Fact("error as programmed", f"{study.mvm_error_in_run:.4f} at {format_duration(study.target_age)}"),
            Fact("limit", f"{study.limit:g}"),
            *(
                [Fact("calibration", f"outputs are read through the calibration {study.calibration}")]
                * bool(study.calibration)
            ),
            Fact("devices", f"{study.devices:,}"),
            Fact("probe vectors", f"{study.probes:,} for each tile and time"),
        ),
        tables=tuple(tables),
        pictures=tuple(pictures) if study.times else (),
        warnings=(*stopped, *study.notes),
        provenance=(
            Fact("file", study.file or "none"),
            Fact("run", study.run),
            Fact("chip", study.backend),
            Fact("calibration", study.calibration or "none"),
            Fact("seed", str(study.seed)),
            Fact("status", study.status),
        ),
        onward=_onward(study),
    )


def _onward(study: DriftResult) -> tuple[Fact, ...]:
    if not study.file:
        return ()
    name = quoted(study.file)
    if study.status != "complete":
        return (Fact(f"hwloop resume {name}", "goes on where it stopped"),)
    return (
        Fact(f"hwloop plot {name} error-vs-age --out fig.pdf", "draws the courses"),
        Fact(f"hwloop report {name} --out report.html", "makes a page with pictures"),
    )


def _about_accuracies(study: DriftResult) -> str:
    """Say how far an accuracy is known."""
    known = [one.accuracy for one in study.courses.values() if one.accuracy is not None and len(one.accuracy)]
    halves = [float(np.nanmax(one[:, 2] - one[:, 1])) / 2 for one in known if np.isfinite(one).any()]
    within = f", with 95 % intervals of up to +-{100 * max(halves):.1f} points" if halves else ""
    return f"Accuracies are those of the test images{within}; MVM errors are those of uniform random inputs."


def _verdict(study: DriftResult, network: bool) -> str:
    if network:
        last = {name: finite(_accuracy(one, len(study.times) - 1)) for name, one in study.courses.items()}
        shown = {name: f"{value:.1%}" for name, value in last.items() if value is not None}
    else:
        errors = {name: _at(one.mvm_error, len(study.times) - 1) for name, one in study.courses.items()}
        shown = {name: f"{value:.4f}" for name, value in errors.items() if value is not None}
    if not shown:
        return "No age was reached."
    what = "accuracy" if network else "MVM error"
    listed = ", ".join(f"{name} {text}" for name, text in shown.items())
    return f"After {format_duration(study.times[-1])} the {what} is: {listed}."


def _at(values: np.ndarray, at: int) -> float | None:
    return finite(values[at]) if 0 <= at < len(values) else None


def _accuracy(course: Course, at: int) -> float | None:
    return None if course.accuracy is None else _at(course.accuracy[:, 0], at)


def _table(
    title: str, study: DriftResult, style: str, value: Callable[[Course, int], float | None], note: str = ""
) -> Table:
    columns = (Column("age"), *(Column(name, style=style) for name in study.courses))
    rows: list[tuple[Cell, ...]] = [
        (format_duration(age), *(value(course, at) for course in study.courses.values()))
        for at, age in enumerate(study.times)
    ]
    return Table(title, columns, tuple(rows), note)


def _table_of_costs(study: DriftResult) -> Table:
    columns = (
        Column("compensation"),
        Column("MVM vectors"),
        Column("pulses", "a device", ".3f"),
        Column("renew by"),
        Column(f"passes {study.limit:g}"),
        Column("95 % interval"),
    )
    rows = []
    for name, course in study.courses.items():
        vectors, pulses, until = (_last(one) for one in (course.mvms, course.pulses, course.valid_until))
        passes = ["never" if not np.isfinite(age) else format_duration(age) for age in course.passes_limit or ()]
        a_device = pulses / study.devices if pulses is not None and study.devices else None
        holds = None if not len(course.valid_until) else "never" if until is None else format_duration(until)
        if name == NOTHING:  # there is nothing to renew
            holds = None
        middle, between = (passes[1], f"{passes[0]} to {passes[2]}") if passes else (None, None)
        rows.append((name, None if vectors is None else int(vectors), a_device, holds, middle, between))
    return Table("What each compensation takes, and how long it is good for", columns, tuple(rows), _about(study))


def _about(study: DriftResult) -> str:
    """Say what the ages are."""
    said = (
        "Ages count from the end of programming. Renew by: drift is expected to have made the error a tenth larger "
        f"than at the last time. Passes {study.limit:g}: the error does, although the compensation is made anew."
    )
    if any("refresh" in name for name in study.courses):
        said += " A refreshed chip rests until its targets hold before it is measured."
    return said


def _last(values: np.ndarray) -> float | None:
    return _at(values, len(values) - 1)
