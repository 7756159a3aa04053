"""`hwloop drift`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import numpy as np

from hwloop.cli.common import (
    GOAL_MISSED,
    command,
    file_option,
    force_option,
    given,
    json_option,
    leave,
    number,
    print_json,
    seed_option,
    watched,
)
from hwloop.cli.options import installed
from hwloop.durations import format_duration, parse_durations
from hwloop.errors import printable
from hwloop.units import finite

if TYPE_CHECKING:
    from hwloop.jobs.drift_asked import NetworkFile
    from hwloop.jobs.drift_result import Course, DriftResult
    from hwloop.nn.accuracy import Batches

FIRST = ("none", "global", "column", "predictive", "batchnorm", "refresh")
COMPENSATION_NAMES = installed("hwloop.compensations", FIRST)


@dataclass(frozen=True)
class DriftOptions:
    """Options of `hwloop drift`."""

    run: str = given(click.Argument(["run"], type=click.Path()))
    times: str = given(
        click.Option(
            ["--times"],
            default="1s,1h,1d,30d,1y",
            show_default=True,
            help="Ages, counted from the end of programming, rising.",
        )
    )
    compensation: str = given(
        click.Option(
            ["--compensation"],
            default="none,global,column,predictive",
            show_default=True,
            help=f"Any of {COMPENSATION_NAMES}, side by side; a plus sign puts one on top of another, as "
            "refresh+column. Only refresh pulses cells.",
        )
    )
    out: str = given(file_option("--out", "Drift file to write (HDF5).", required=True))
    backend: str | None = given(
        click.Option(["--backend"], help="Chip of the run [default: the simulated one the run was made on].")
    )
    calibration: str | None = given(
        file_option("--calibration", "Calibration file [default: the one used to program, beside the run].")
    )
    network: str | None = given(
        click.Option(
            ["--network"],
            metavar="MODULE:FACTORY",
            help="Makes the network of RUN, where it is not of hwloop.nn.zoo; also FILE.py:FACTORY.",
        )
    )
    dataset: str | None = given(
        file_option("--dataset", "Test a network on this D.npz [default: the images it was deployed with].")
    )
    model: str | None = given(
        file_option("--model", "Model file whose fitted drift predictions go by [default: nominal].")
    )
    limit: float = given(
        click.Option(["--limit"], default=0.15, show_default=True, help="MVM error whose passing is predicted.")
    )
    probes: int = given(
        click.Option(
            ["--probes"],
            type=click.IntRange(3),
            default=256,
            show_default=True,
            help="Probe vectors of each tile.",
        )
    )
    seed: int = given(seed_option(1, "probes and inputs"))
    plot: str | None = given(file_option("--plot", "Also draw the result, FILE.png, .svg or .pdf."))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(DriftOptions, "drift")
def drift(options: DriftOptions) -> None:
    """Let the chip of RUN age, and show its MVM error at each time with each compensation.

    RUN is a run file, or a network file: its accuracy on the test images is shown as well.

    On a simulated chip a year passes on its virtual clock; a real one is waited for. Durations: 1s, 90min, 1h, 30d, 1y.

    \b
    Example:
      hwloop drift run.h5 --times 1s,1h,1d,30d,1y --compensation none,global,column,predictive,refresh --out drift.h5
    """  # noqa: D301  click needs the backspace
    import hwloop

    if options.plot:
        from hwloop.plot.style import check_figure_path

        check_figure_path(options.plot, options.out, force=options.force)
    times = parse_durations(options.times)
    names = [name.strip() for name in options.compensation.split(",")]
    opened = hwloop.connect(options.backend) if options.backend else contextlib.nullcontext()
    with watched("drift") as report, opened as chip:
        result = hwloop.drift(
            _named(options),
            chip,
            times,
            names,
            calibration=options.calibration,
            model=options.model,
            data=_test_data(options.dataset),
            limit=options.limit,
            probes=options.probes,
            seed=options.seed,
            out=options.out,
            force=options.force,
            progress=report,
        )
    if options.plot and result.file:
        from hwloop.plot.drift import draw_drift

        draw_drift(result, options.plot)
    finish(result, as_json=options.as_json)


def finish(result: DriftResult, *, as_json: bool) -> None:
    """Show what came of a study, and leave with the exit code of one that was stopped."""
    for note in result.notes:
        click.echo(printable(f"note: {note}"), err=True)
    if as_json:
        print_json(result.to_json())
    else:
        _show(result)
    if result.status != "complete":
        leave(GOAL_MISSED)


def _named(options: DriftOptions) -> NetworkFile | str:
    """Name what ages: a run, and a network of the zoo, are opened by their file alone."""
    if options.network is None:
        return options.run
    from hwloop.jobs.drift_asked import NetworkFile
    from hwloop.nn.factory import network_from

    return NetworkFile(options.run, network_from(options.network))


def _test_data(path: str | None) -> Batches | None:
    if path is None:
        return None
    from hwloop.nn.datasets import read_dataset

    dataset = read_dataset(path)
    return dataset.x_test, dataset.y_test


def _show(result: DriftResult) -> None:
    courses = result.courses
    width = max(10, *(len(name) for name in courses))
    click.echo(printable(f"{result.run} on {result.backend}"))
    if result.calibration:
        click.echo(printable(f"outputs are read through the calibration {result.calibration}"))
    click.echo()
    click.echo("MVM error     " + "  ".join(name.rjust(width) for name in courses))
    for index, age in enumerate(result.times):
        errors = [finite(one.mvm_error[index]) if index < len(one.mvm_error) else None for one in courses.values()]
        click.echo(f"{format_duration(age):<12}  " + "  ".join(number(error).rjust(width) for error in errors))
    if any(one.accuracy is not None for one in courses.values()):
        _show_accuracies(result, width)
    click.echo("\nat the last time")
    every = list(courses.values())
    rows = (
        ("MVM vectors", [_whole(_last(one.mvms)) for one in every]),
        ("pulses/device", [_per_device(_last(one.pulses), result.devices) for one in every]),
        ("holds for", [_holds(one) for one in every]),
        (f"passes {result.limit:g}", [_when(one, 1) for one in every]),
        ("  from", [_when(one, 0) for one in every]),
        ("  to", [_when(one, 2) for one in every]),
    )
    for label, cells in rows:
        click.echo(f"{label:<13} " + "  ".join(cell.rjust(width) for cell in cells))
    click.echo(
        f"\nTimes count from the end of programming; the error was {number(finite(result.mvm_error_in_run))} at "
        f"{format_duration(result.target_age)}.\n"
        "A compensation holds until drift is expected to make its error a tenth larger.\n"
        "The limit is passed at the age shown, with its 95 % interval, although the\n"
        "compensation is made anew."
    )
    if any(one.accuracy is not None for one in courses.values()):
        click.echo(_about_accuracies(result))
    if any("refresh" in name for name in courses):
        click.echo(
            "A refreshed chip rests until its targets hold and is measured then, as after\n"
            "programming; times with a plus sign count from there."
        )
    if result.status != "complete":
        click.echo("Stopped before the end; the table has what was finished.")
    if result.file:
        click.echo(f"Drift file {result.file}.")


def _show_accuracies(result: DriftResult, width: int) -> None:
    every = [one.accuracy for one in result.courses.values()]
    click.echo("\naccuracy      " + "  ".join(name.rjust(width) for name in result.courses))
    for index, age in enumerate(result.times):
        shares = [None if one is None or index >= len(one) else finite(one[index, 0]) for one in every]
        cells = ["-" if share is None else f"{share:.1%}" for share in shares]
        click.echo(f"{format_duration(age):<12}  " + "  ".join(cell.rjust(width) for cell in cells))


def _about_accuracies(result: DriftResult) -> str:
    """Say what the figures are those of, and how far an accuracy is known."""
    known = [one.accuracy for one in result.courses.values() if one.accuracy is not None and len(one.accuracy)]
    halves = [np.nanmax(one[:, 2] - one[:, 1]) / 2 for one in known if np.isfinite(one).any()]
    within = f",\n95 % intervals up to +-{100 * max(halves):.1f} points" if halves else ""
    return f"MVM errors are those of uniform random inputs, accuracies of the test images{within}."


def _last(values: np.ndarray) -> float | None:
    return finite(values[-1]) if len(values) else None


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _per_device(pulses: float | None, devices: int) -> str:
    return "-" if pulses is None else f"{pulses / devices:.3f}"


def _holds(course: Course) -> str:
    at = _last(course.measured_at)
    if at is None:
        return "-"
    until = _last(course.valid_until)
    return "for ever" if until is None else format_duration(max(until - at, 0.0))


def _when(course: Course, which: int) -> str:
    """Write one of the ages at which the limit is passed: 0 the earliest, 1 the median, 2 the latest."""
    if course.passes_limit is None:
        return "-"
    value, at = finite(course.passes_limit[which]), _last(course.measured_at)
    if value is None:
        return "never"
    if not _last(course.pulses) or at is None:
        return format_duration(value)
    return "+" + format_duration(max(value - at, 0.0))
