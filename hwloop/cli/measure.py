"""`hwloop measure`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hwloop.calibration.experiments.base import Spending
from hwloop.calibration.experiments.cells import Levels, ListedLevels
from hwloop.calibration.experiments.programming_curve import CurveSettings
from hwloop.calibration.experiments.read_noise import ReadNoiseSettings
from hwloop.calibration.experiments.scheduled import ScheduledSettings, log_ages
from hwloop.calibration.settings import Settings
from hwloop.chip.info import ChipInfo
from hwloop.cli.common import GOAL_MISSED, Command, Function, json_option, print_json, progress_bar, stoppable
from hwloop.durations import format_duration, parse_duration, parse_durations
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment
from hwloop.jobs.measure import MeasurementJob, measure_to_file


@click.group()
def measure() -> None:
    """Measure the devices of a chip, into a measurement file that `hwloop fit` reads.

    A file that exists gets one more experiment. Every measurement can be stopped with Ctrl-C and gone on with by
    giving the same command again with --resume.

    \b
    Example:
      hwloop measure drift --backend "sim:hermes-core?seed=3" --cells 20000 --levels 16 --until 1d --out meas.h5
    """  # noqa: D301  click needs the backspace


def _common(function: Function) -> Function:
    """Options of all experiments."""
    decorators: list[Callable[[Any], Any]] = [
        click.option("--backend", required=True, help="Chip to measure, such as sim:hermes-core?seed=1."),
        click.option("--cores", default="", help="Cores to use, such as 0,3 [default: as few as hold the cells]."),
        click.option("--averages", type=int, default=16, show_default=True, help="Reads averaged for each value."),
        click.option("--calibration", type=click.Path(), help="Calibration file of this chip (hwloop calibrate)."),
        click.option("--temperature", type=float, help="Kelvin, for a chip that cannot measure its temperature."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of what is chosen."),
        click.option("--out", required=True, type=click.Path(), help="Measurement file to write or append to (HDF5)."),
        click.option("--resume", is_flag=True, help="Go on with the unfinished experiment of this kind."),
        click.option("--force", is_flag=True, help="Replace the file instead of appending to it."),
        json_option,
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def _placed(cells: int, levels: int, settle: str) -> Callable[[Function], Function]:
    """Options of the experiments that bring devices to levels."""

    def add(function: Function) -> Function:
        decorators: list[Callable[[Any], Any]] = [
            click.option("--cells", type=int, default=cells, show_default=True, help="Devices to measure."),
            click.option(
                "--levels",
                default=str(levels),
                show_default=True,
                help="Number of target conductances, evenly spaced, or their list in uS: 0.3,0.3,4.5,12.",
            ),
            click.option("--low", type=float, default=0.0, help="Lowest level, uS [default: 2.5 % of g_max]."),
            click.option("--high", type=float, default=0.0, help="Highest level, uS [default: g_max]."),
            click.option("--age", default="0s", help="Age at which targets hold [default: the chip's t0]."),
            click.option("--settle", default=settle, show_default=True, help="Rest between pulse and verification."),
            click.option("--tolerance", type=float, default=0.0, help="Verified to, uS [default: 2.5 % of g_max]."),
            click.option(
                "--max-pulses", type=int, default=15, show_default=True, help="Pulses a device may receive at most."
            ),
        ]
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return add


def _placed_values(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of `PlacedSettings` out of the options, which keep the rest."""
    return {
        "cells": options.pop("cells"),
        "levels": _levels(options.pop("levels"), options.pop("low"), options.pop("high")),
        "cores": _cores(options.pop("cores")),
        "averages": options.pop("averages"),
        "tolerance": options.pop("tolerance"),
        "max_pulses_per_device": options.pop("max_pulses"),
        "settle": parse_duration(options.pop("settle")),
        "age": parse_duration(options.pop("age")),
    }


def _levels(text: str, low: float, high: float) -> Levels | ListedLevels:
    try:
        if "," not in text:
            return Levels(int(text), low, high)
        listed = ListedLevels(tuple(float(value) for value in text.split(",")))
    except ValueError:
        raise BadInputError(f"--levels {text}: expected how many, or uS with commas between") from None
    if low or high:
        raise BadInputError("--low and --high do not go with a list of levels")
    return listed


@measure.command(cls=Command)
@_placed(cells=10_000, levels=16, settle="0.1s")
@click.option("--from", "first", default="1s", show_default=True, help="First age to read at.")
@click.option("--until", default="1d", show_default=True, help="Last age to read at.")
@click.option("--per-decade", type=int, default=4, show_default=True, help="Reads of every device per decade of time.")
@_common
@click.pass_context
def drift(context: click.Context, /, first: str, until: str, per_decade: int, **options: Any) -> None:
    """Bring devices to levels, leave them alone, and read them at ages evenly spaced in log time.

    \b
    Example:
      hwloop measure drift --backend "sim:hermes-core?seed=3" --cells 20000 --levels 16 --until 1d --out meas.h5
    """  # noqa: D301  click needs the backspace
    ages = log_ages(parse_duration(first), parse_duration(until), per_decade)
    _run(context, Experiment.DRIFT, ScheduledSettings(**_placed_values(options), ages=ages), **options)


@measure.command(cls=Command)
@_placed(cells=10_000, levels=32, settle="1s")
@click.option(
    "--ages", default="2s,20s,200s,2000s", show_default=True, help="Ages of the re-reads, from the end of programming."
)
@_common
@click.pass_context
def programming(context: click.Context, /, ages: str, **options: Any) -> None:
    """Bring devices to targets over the whole range and re-read them when they have relaxed.

    Target, accepted verify read and re-reads are kept apart.

    \b
    Example:
      hwloop measure programming --backend "sim:hermes-core?seed=3" --cells 10000 --out meas.h5
    """  # noqa: D301  click needs the backspace
    settings = ScheduledSettings(**_placed_values(options), ages=parse_durations(ages))
    _run(context, Experiment.PROGRAMMING, settings, **options)


@measure.command("read-noise", cls=Command)
@_placed(cells=64, levels=8, settle="0.1s")
@click.option("--samples", type=int, default=4096, show_default=True, help="Reads of every device.")
@click.option("--interval", default="1ms", show_default=True, help="Time from one read to the next.")
@click.option("--start", default="10s", show_default=True, help="Rest after programming before the first sample.")
@click.option("--sample-averages", type=int, default=1, show_default=True, help="Reads averaged for each sample.")
@_common
@click.pass_context
def read_noise(
    context: click.Context, /, samples: int, interval: str, start: str, sample_averages: int, **options: Any
) -> None:
    """Bring devices to levels and read them continuously: time series, with the true time of every sample.

    \b
    Example:
      hwloop measure read-noise --backend "sim:hermes-core?seed=3" --cells 64 --samples 1024 --out meas.h5
    """  # noqa: D301  click needs the backspace
    settings = ReadNoiseSettings(
        **_placed_values(options),
        samples=samples,
        interval=parse_duration(interval),
        start=parse_duration(start),
        sample_averages=sample_averages,
    )
    _run(context, Experiment.READ_NOISE, settings, **options)


@measure.command("programming-curve", cls=Command)
@click.option("--cells", type=int, default=1000, show_default=True, help="Devices to measure.")
@click.option("--points", type=int, default=24, show_default=True, help="Amplitudes per sweep.")
@click.option("--repeats", type=int, default=4, show_default=True, help="Sweeps.")
@click.option("--low", type=float, default=0.0, help="Smallest amplitude, uA [default: 1 % above melting].")
@click.option("--high", type=float, default=0.0, help="Largest amplitude, uA [default: RESETs a device fully].")
@click.option("--width", type=float, default=0.0, help="Width of the RESET pulses, ns [default: the chip's].")
@click.option("--set-amplitude", type=float, default=0.0, help="SET pulse, uA [default: 60 % of the melting current].")
@click.option("--set-width", type=float, default=0.0, help="SET pulse, ns [default: the longest of the chip].")
@click.option("--settle", default="1s", show_default=True, help="Rest between pulse and read.")
@click.option("--early", default="0.1s", show_default=True, help="Rest before a first read; 0s: a single read.")
@_common
@click.pass_context
def programming_curve(context: click.Context, /, cores: str, settle: str, early: str, **options: Any) -> None:
    """Sweep single RESET pulses of rising amplitude from the SET state, and read twice after each.

    What two reads of one pulse have in common is the pulse's own; the rest is read noise.

    \b
    Example:
      hwloop measure programming-curve --backend "sim:hermes-core?seed=3" --cells 1000 --out meas.h5
    """  # noqa: D301  click needs the backspace
    names = ("cells", "points", "repeats", "low", "high", "width", "set_amplitude", "set_width", "averages")
    values = {name: options.pop(name) for name in names}
    settings = CurveSettings(**values, cores=_cores(cores), settle=parse_duration(settle), early=parse_duration(early))
    _run(context, Experiment.PROGRAMMING_CURVE, settings, **options)


def _cores(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise BadInputError(f"--cores {text}: expected whole numbers, such as 0,3") from None


def _run(
    context: click.Context,
    experiment: Experiment,
    settings: Settings,
    *,
    backend: str,
    calibration: str | None,
    temperature: float | None,
    seed: int,
    out: str,
    resume: bool,
    force: bool,
    as_json: bool,
) -> None:
    if resume and force:
        raise BadInputError("--resume goes on with what --force would delete; give one of them")
    job = MeasurementJob(backend, experiment, settings, seed, temperature, calibration)
    with progress_bar(experiment.value) as draw, stoppable() as check:

        def show(done: int, total: int) -> None:
            draw(done, total)
            check()

        result = measure_to_file(job, out, force=force, resume=resume, announce=_announce, show=show)
    if as_json:
        print_json(result)
    else:
        _report(result)
    if result["status"] != "complete":
        context.exit(GOAL_MISSED)


def _announce(info: ChipInfo, spending: Spending) -> None:
    click.echo(
        f"{info.name} {info.serial}: up to {spending.pulses_per_device} of {info.limits.pulses_per_device} pulses per "
        f"device, {spending.pulses:,} in all; up to {spending.device_reads:,} reads; "
        f"at least {format_duration(spending.chip_seconds)} of chip time",
        err=True,
    )


def _report(result: dict[str, Any]) -> None:
    bad = ", ".join(f"{count} {name}" for name, count in result["marks"].items() if count and name != "GOOD")
    click.echo(
        f"{result['experiment']}: {result['reads']:,} reads of {result['cells']:,} cells "
        f"({bad or 'all of them good'}), {result['pulses']:,} pulses, "
        f"{format_duration(result['chip_seconds'])} of chip time"
    )
    if result["status"] == "complete":
        click.echo(f"It is {result['group']} in {result['out']}.")
    else:
        click.echo(f"Stopped before the end; what was measured is in {result['out']}. Give --resume to go on.")
