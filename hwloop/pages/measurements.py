"""Page of a measurement file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from hwloop import plot
from hwloop.durations import format_duration, format_elapsed
from hwloop.files.measurements import Experiment, Mark, Measurement
from hwloop.pages.page import Cell, Column, Fact, Page, Picture, Table
from hwloop.pages.texts import counted, quoted

if TYPE_CHECKING:
    from hwloop.jobs.measure import MeasurementReport


def page_of_measurements(measurements: Sequence[Measurement], name: str = "") -> Page:
    """Make the page of the measurements of a file, in the order in which they were made."""
    cells = sum(len(one.cells) for one in measurements)
    reads = sum(len(one.reads) for one in measurements)
    kinds = ", ".join(dict.fromkeys(one.experiment.value for one in measurements)) or "none"
    chip = next(
        (str(one.attributes[key]) for one in measurements for key in ("chip", "backend") if key in one.attributes), ""
    )
    pictures = [
        one for at, measurement in enumerate(measurements) for one in _pictures(measurement, at, len(measurements))
    ]
    temperatures = np.concatenate([one.reads.temperature for one in measurements]) if measurements else np.empty(0)
    known = temperatures[np.isfinite(temperatures)]
    ends = dict.fromkeys(f"{one:.1f}" for one in (known.min(), known.max())) if known.size else {}
    kelvin = f"{' to '.join(ends)} K" if ends else "not measured"
    return Page(
        kind="measurement",
        title=f"Measurements of {chip or 'devices'}: {kinds}",
        verdict=f"{counted(reads, 'read')} of {counted(cells, 'cell')} in {counted(len(measurements), 'experiment')}.",
        facts=(Fact("chip temperature", kelvin),),
        tables=(_table(measurements),),
        pictures=tuple(pictures),
        warnings=tuple(_warnings(measurements)),
        provenance=(Fact("file", name or "none"), *_attributes(measurements)),
        onward=_onward(name, measurements),
    )


def with_cost(page: Page, found: MeasurementReport) -> Page:
    """Add to the page of a measurement file what the measurement that was just made has cost."""
    counts = found.counts
    facts = (
        Fact("made now", f"{found.group}, {counted(found.reads, 'read')} of {counted(found.cells, 'cell')}"),
        Fact("pulses", f"{counts.pulses:,}"),
        Fact("chip time", format_elapsed(counts.chip_seconds)),
        Fact("computer time", format_elapsed(found.wall_seconds)),
    )
    return replace(page, facts=(*facts, *page.facts))


def _onward(name: str, measurements: Sequence[Measurement]) -> tuple[Fact, ...]:
    if not name:
        return ()
    stopped = any(one.attributes.get("status") not in (None, "complete") for one in measurements)
    resume = (Fact(f"hwloop resume {quoted(name)}", "goes on where it stopped"),) if stopped else ()
    return (*resume, Fact(f"hwloop fit {quoted(name)} --out model.json", "fits drift and noise"))


def _table(measurements: Sequence[Measurement]) -> Table:
    columns = (
        Column("experiment"),
        Column("cells"),
        Column("good"),
        Column("reads"),
        Column("ages"),
        Column("lowest", "uS", ".3g"),
        Column("median", "uS", ".3g"),
        Column("highest", "uS", ".3g"),
    )
    rows: list[tuple[Cell, ...]] = []
    for one in measurements:
        conductance, time = one.reads.conductance, one.reads.time
        known = conductance[np.isfinite(conductance)]
        ages = time[np.isfinite(time)]
        span = f"{format_duration(float(ages.min()))} to {format_duration(float(ages.max()))}" if ages.size else None
        ends = [float(known.min()), float(np.median(known)), float(known.max())] if known.size else [None, None, None]
        good = int((one.cells.mark == Mark.GOOD).sum())
        rows.append((one.experiment.value, len(one.cells), good, len(one.reads), span, *ends))
    return Table("Experiments", columns, tuple(rows))


def _warnings(measurements: Sequence[Measurement]) -> list[str]:
    found = []
    for one in measurements:
        counts = {mark.name.lower().replace("_", " "): int((one.cells.mark == mark).sum()) for mark in Mark}
        bad = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count and name != "good")
        if bad:
            found.append(f"{one.experiment.value}: not all cells are good: {bad}.")
        if one.attributes.get("status") not in (None, "complete"):
            found.append(f"{one.experiment.value}: was stopped before its end; what was measured is here.")
        if not len(one.reads):
            found.append(f"{one.experiment.value}: has no reads, as of a measurement that was stopped at once.")
    return found


TOLD = ("chip", "serial", "backend", "calibration", "source", "started", "ended", "status", "hwloop_version")
"""What a page tells of the origin of an experiment; its plan and the settings of its chip are in the file."""


def _attributes(measurements: Sequence[Measurement]) -> list[Fact]:
    """List where experiments come from, once where they agree, else each by its kind."""
    found = []
    for key in TOLD:
        values = {
            one.experiment.value: _moment(str(one.attributes[key])) for one in measurements if one.attributes.get(key)
        }
        if len(set(values.values())) == 1:
            found.append(Fact(key.replace("_", " "), next(iter(values.values()))))
        else:
            found += [Fact(f"{key.replace('_', ' ')}, {kind}", value) for kind, value in values.items()]
    return found


def _moment(text: str) -> str:
    """Write a moment of ISO 8601 as pages do, to the minute; any other text stays as it is."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(\.\d+)?)?(\+00:00|Z)", text)
    return f"{found[1]} {found[2]} UTC" if found else text


def _pictures(measurement: Measurement, at: int, of: int) -> list[Picture]:
    """List the pictures of the experiment number `at` of so many."""
    if not len(measurement.reads) or not (measurement.cells.mark[measurement.reads.cell] == Mark.GOOD).any():
        return []
    main, caption = {
        Experiment.DRIFT: (
            "conductance-vs-age",
            "Lines that fall evenly are a power law of age; bands that widen are devices that drift apart.",
        ),
        Experiment.READ_NOISE: ("read-noise", "How far the reads of a cell scatter, by its conductance."),
        Experiment.PROGRAMMING: (
            "programming-error",
            "How far cells lie from their targets at the age at which these hold; at the first read without one.",
        ),
        Experiment.PROGRAMMING_CURVE: (
            "conductance-vs-pulse",
            "Conductance after pulses of each strength; the band is the spread of devices and of pulses.",
        ),
        Experiment.PULSE_RESPONSE: (
            "pulse-response",
            "Conductance read by read, along ramps of pulses up and down; the band is the spread of devices.",
        ),
    }[measurement.experiment]
    suffix = f"-{at}" if of > 1 else ""
    title = main.replace("-vs-", " against ").replace("-", " ").capitalize()
    found = [Picture(f"{main}{suffix}", title, caption, lambda ax: plot.main_figure(measurement, ax))]
    if measurement.experiment in (Experiment.DRIFT, Experiment.READ_NOISE):
        caption = "Courses of single cells: steps are telegraph noise or jumps."
        found.append(Picture(f"traces{suffix}", "Single cells", caption, lambda ax: plot.traces(measurement, ax)))
    return found
