"""Page of a calibration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hwloop import plot
from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.results import Fault
from hwloop.durations import format_elapsed
from hwloop.errors import BadInputError
from hwloop.pages.calibration_values import table_of_values
from hwloop.pages.page import Column, Fact, Page, Picture, Table
from hwloop.pages.texts import counted, quoted
from hwloop.units import finite

if TYPE_CHECKING:
    from hwloop.jobs.calibrate import CheckReport


def page_of_calibration(calibration: Calibration, name: str = "") -> Page:
    """Make the page of a calibration.

    Parameters
    ----------
    calibration
        What is known of a chip.
    name
        Its file; empty for none.
    """
    chip, cost = calibration.chip, calibration.cost
    parts = [one.replace("_", " ") for one in calibration.measured()]
    devices = [core.devices for core in calibration.cores.values() if core.devices is not None]
    bad = sum(one.fault.size - one.count(Fault.GOOD) for one in devices)
    of_bad = f"; {bad:,} of {sum(one.fault.size for one in devices):,} devices are not good" if devices else ""
    facts = [
        Fact("geometry", f"{counted(chip.cores, 'core')} of {chip.rows} x {chip.columns} cells"),
        Fact("calibrated", f"core {', '.join(map(str, sorted(calibration.cores)))}"),
        Fact("pulses", f"{cost.get('pulses', 0):,.0f}"),
        Fact("device reads", f"{cost.get('device_reads', 0):,.0f}"),
        Fact("MVM vectors", f"{cost.get('mvms', 0):,.0f}"),
        Fact("chip time", format_elapsed(cost.get("chip_seconds", 0.0))),
    ]
    if calibration.temperature == calibration.temperature:  # known
        facts.append(Fact("chip temperature", f"{calibration.temperature:.1f} K"))
    skipped = [f"Not done: {part.replace('_', ' ')}: {why}." for part, why in calibration.skipped.items()]
    return Page(
        kind="calibration",
        title=f"Calibration of {chip.name} {chip.serial}".rstrip(),
        verdict=f"Measured on {calibration.created:%Y-%m-%d %H:%M} UTC: {', '.join(parts) or 'nothing'}{of_bad}.",
        facts=tuple(facts),
        tables=(_table_of_parts(calibration), *_tables_of_cores(calibration)),
        pictures=tuple(_pictures(calibration)),
        warnings=(*skipped, *(f"Out of date: {one}." for one in calibration.out_of_date())),
        provenance=(
            Fact("file", name or "none"),
            Fact("seed", str(calibration.seed)),
            Fact("settings", json.dumps(dict(calibration.settings)) if calibration.settings else "defaults"),
            Fact("hwloop", calibration.hwloop_version),
        ),
        onward=_onward(calibration, name),
    )


def _onward(calibration: Calibration, name: str) -> tuple[Fact, ...]:
    if not name:
        return ()
    file = quoted(name)
    if calibration.skipped.keys() & {"interrupted", "unfinished"}:
        return (Fact(f"hwloop resume {file}", "goes on where it stopped"),)
    return (
        Fact(f"hwloop calibrate check {file} --backend URI", "has the chip moved since?"),
        Fact(f"hwloop report {file} --out report.html", "makes a page with pictures"),
    )


def page_of_calibrations(calibrations: Sequence[Calibration]) -> Page:
    """Make the page of the latest of several calibrations of a chip, with what has changed over them."""
    ordered = sorted(calibrations, key=lambda one: one.created)
    page = page_of_calibration(ordered[-1])
    if len(ordered) == 1:
        return page
    if len({one.chip for one in ordered}) > 1:
        raise BadInputError("these calibrations are of different chips; show one chip's alone")
    columns = (
        Column("measured (UTC)"),
        Column("core"),
        Column("bad devices"),
        Column("ADC offset", "LSB rms", ".3g"),
        Column("gain spread", "%", ".3g"),
        Column("ADC noise", "LSB", ".3g"),
        Column("curve midpoint", "uA", ".5g"),
        Column("floor", style=".4f"),
        Column("chip", "K", ".1f"),
    )
    rows = []
    for one in ordered:
        for core, bad, offset, gain, noise, midpoint, _, floor in _table_of_cores(one).rows:
            moment = f"{one.created:%Y-%m-%d %H:%M}"
            rows.append((moment, core, bad, offset, gain, noise, midpoint, floor, finite(one.temperature)))
    return replace(page, tables=(Table("History", columns, tuple(rows)), *page.tables))


def page_of_check(report: CheckReport) -> Page:
    """Make the page of a comparison of a calibration with a probe of its chip."""
    columns = (
        Column("core"),
        Column("what"),
        Column("compared"),
        Column("moved"),
        Column("worst", "sigma", ".1f"),
    )
    rows = tuple(
        ("-" if one.core is None else str(one.core), one.what, one.compared, one.moved, one.worst)
        for one in report.findings
    )
    verdict = "holds" if report.holds else "no longer holds; calibrate again"
    return Page(
        kind="check of a calibration",
        title="Calibration beside a probe of its chip",
        verdict=f"The calibration of {report.created[:16]} UTC {verdict}.",
        facts=(),
        tables=(Table("Findings", columns, rows, "Moved are values that differ by more than chance explains."),),
        warnings=tuple(report.warnings),
    )


def _table_of_parts(calibration: Calibration) -> Table:
    rows = tuple(
        (
            name.replace("_", " "),
            f"{calibration.dates[name]:%Y-%m-%d %H:%M}",
            f"{calibration.valid_until(name):%Y-%m-%d}",
        )
        for name in calibration.measured()
    )
    return Table("Parts", (Column("part"), Column("measured (UTC)"), Column("should hold until")), rows)


def _tables_of_cores(calibration: Calibration) -> tuple[Table, ...]:
    """Make the table of cores, and one of every value of each core; that of a single core says all."""
    several = len(calibration.cores) > 1
    values = [table_of_values(core, index, detail=several) for index, core in sorted(calibration.cores.items())]
    return (_table_of_cores(calibration), *values) if several else tuple(values)


def _table_of_cores(calibration: Calibration) -> Table:
    columns = (
        Column("core"),
        Column("bad devices"),
        Column("ADC offset", "LSB rms", ".3g"),
        Column("gain spread", "%", ".3g"),
        Column("ADC noise", "LSB", ".3g"),
        Column("curve midpoint", "uA", ".4g"),
        Column("wires", "ohm a cell", ".3g"),
        Column("floor of the MVM error", style=".4f"),
    )
    rows = []
    for index, core in sorted(calibration.cores.items()):
        devices, converters, gains = core.devices, core.converters, core.gains
        rows.append(
            (
                str(index),
                None if devices is None else devices.fault.size - devices.count(Fault.GOOD),
                None if converters is None else float((converters.offset**2).mean() ** 0.5),
                None if gains is None else 100 * float(gains.gain.std()),
                None if converters is None else converters.adc_noise,
                None if core.programming_curve is None else core.programming_curve.midpoint,
                None if core.wires is None else core.wires.resistance,
                None if core.floor is None else core.floor.error,
            )
        )
    return Table("Cores", columns, tuple(rows))


def _pictures(calibration: Calibration) -> list[Picture]:
    found = []
    for index, core in sorted(calibration.cores.items()):
        found += _of_core(core, index, "" if len(calibration.cores) == 1 else f"-core{index}")
    return found


def _of_core(core: CoreCalibration, index: int, suffix: str) -> list[Picture]:
    """List the pictures of a core; `suffix` tells their names from those of other cores."""
    where = f" of core {index}" if suffix else ""
    every = (
        core.devices
        and Picture(
            f"faults{suffix}",
            f"Faults of devices{where}",
            "Grey cells are good; whole coloured lines are dead rows or columns, dots are single devices.",
            lambda ax: plot.device_faults(core, ax),
        ),
        core.converters
        and Picture(
            f"offsets{suffix}",
            f"ADC offsets{where}",
            "What each column gives for no input; an outlier is a column to trim.",
            lambda ax: plot.adc_offsets(core, ax),
        ),
        core.gains
        and Picture(
            f"gains{suffix}",
            f"Gains of columns{where}",
            "How much each column amplifies, over the mean of all.",
            lambda ax: plot.column_gains(core, ax),
        ),
        core.programming_curve
        and Picture(
            f"programming-curve{suffix}",
            f"Programming curve{where}",
            "Conductance after a RESET pulse against its amplitude; the band is one spread of the devices.",
            lambda ax: plot.mean_programming_curve(core, ax),
        ),
        core.programming_curve
        and Picture(
            f"shifts{suffix}",
            f"Shifts of devices{where}",
            "How far each device's programming curve lies from the typical one's; a second hump is a second kind.",
            lambda ax: plot.device_shifts(core, ax),
        ),
    )
    return [one for one in every if isinstance(one, Picture)]
