"""`hwloop measure`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from hwloop.cli.common import (
    GOAL_MISSED,
    command,
    file_option,
    given,
    json_option,
    leave,
    print_json,
    say,
    seed_option,
    watched,
)
from hwloop.cli.screen import show_page
from hwloop.cli.terminal import wrapped
from hwloop.durations import format_elapsed, parse_duration, parse_durations
from hwloop.errors import BadInputError

if TYPE_CHECKING:
    from hwloop.calibration.experiments.base import Spending
    from hwloop.calibration.experiments.cells import Levels, ListedLevels
    from hwloop.chip.info import ChipInfo
    from hwloop.jobs.measure import MeasurementReport, Setting


def number_option(name: str, default: float, text: str, *, shown: bool = True) -> click.Option:
    """Make an option for a number, whole where its default is."""
    return click.Option([name], type=type(default), default=default, show_default=shown, help=text)


def text_option(name: str, default: str, text: str, *, shown: bool = True) -> click.Option:
    """Make an option for a text."""
    return click.Option([name], default=default, show_default=shown, help=text)


@dataclass(frozen=True)
class CommonOptions:
    """Options of all experiments."""

    backend: str = given(click.Option(["--backend"], required=True, help="Chip to measure, as sim:hermes-core?seed=1."))
    cores: str = given(
        text_option("--cores", "", "Cores to use, such as 0,3 [default: as few as hold the cells].", shown=False)
    )
    averages: int = given(number_option("--averages", 16, "Reads averaged for each value."))
    calibration: str | None = given(file_option("--calibration", "Calibration file of this chip (hwloop calibrate)."))
    temperature: float | None = given(
        click.Option(["--temperature"], type=float, help="Kelvin, for a chip that cannot measure its temperature.")
    )
    seed: int = given(seed_option(0, "what is chosen"))
    out: str = given(file_option("--out", "Measurement file to write or append to (HDF5).", required=True))
    resume: bool = given(
        click.Option(["--resume"], is_flag=True, help="Go on with the unfinished experiment of this kind.")
    )
    force: bool = given(click.Option(["--force"], is_flag=True, help="Replace the file instead of appending to it."))
    as_json: bool = given(json_option())


LEVELS = "Number of target conductances, evenly spaced, or their list in uS: 0.3,0.3,4.5,12."


@dataclass(frozen=True)
class TargetOptions(CommonOptions):
    """Options of the experiments that bring devices to levels."""

    cells: int = given(number_option("--cells", 10_000, "Devices to measure."))
    levels: str = given(text_option("--levels", "16", LEVELS))
    low: float = given(number_option("--low", 0.0, "Lowest level, uS [default: 2.5 % of g_max].", shown=False))
    high: float = given(number_option("--high", 0.0, "Highest level, uS [default: g_max].", shown=False))
    age: str = given(text_option("--age", "0s", "Age at which targets hold [default: the chip's t0].", shown=False))
    settle: str = given(text_option("--settle", "0.1s", "Rest between pulse and verification."))
    tolerance: float = given(
        number_option("--tolerance", 0.0, "Verified to, uS [default: 2.5 % of g_max].", shown=False)
    )
    max_pulses: int = given(number_option("--max-pulses", 15, "Pulses a device may receive at most."))

    def values(self) -> dict[str, Setting]:
        """Give the settings that these options stand for."""
        return {
            "cells": self.cells,
            "levels": _levels(self.levels, self.low, self.high),
            "cores": _cores(self.cores),
            "averages": self.averages,
            "tolerance": self.tolerance,
            "max_pulses_per_device": self.max_pulses,
            "settle": parse_duration(self.settle),
            "target_age": parse_duration(self.age),
        }


@dataclass(frozen=True)
class DriftOptions(TargetOptions):
    """Options of `hwloop measure drift`."""

    first: str = given(click.Option(["--from", "first"], default="1s", show_default=True, help="First age to read at."))
    until: str = given(text_option("--until", "1d", "Last age to read at."))
    per_decade: int = given(number_option("--per-decade", 4, "Reads of every device per decade of time."))


@dataclass(frozen=True)
class ProgrammingOptions(TargetOptions):
    """Options of `hwloop measure programming`."""

    levels: str = given(text_option("--levels", "32", LEVELS))
    settle: str = given(text_option("--settle", "1s", "Rest between pulse and verification."))
    ages: str = given(text_option("--ages", "2s,20s,200s,2000s", "Ages of the re-reads, from the end of programming."))


@dataclass(frozen=True)
class ReadNoiseOptions(TargetOptions):
    """Options of `hwloop measure read-noise`."""

    cells: int = given(number_option("--cells", 64, "Devices to measure."))
    levels: str = given(text_option("--levels", "8", LEVELS))
    samples: int = given(number_option("--samples", 4096, "Reads of every device."))
    interval: str = given(text_option("--interval", "1ms", "Time from one read to the next."))
    start: str = given(text_option("--start", "10s", "Rest after programming before the first sample."))
    sample_averages: int = given(number_option("--sample-averages", 1, "Reads averaged for each sample."))


@dataclass(frozen=True)
class CurveOptions(CommonOptions):
    """Options of `hwloop measure programming-curve`."""

    cells: int = given(number_option("--cells", 1000, "Devices to measure."))
    points: int = given(number_option("--points", 24, "Amplitudes per sweep."))
    repeats: int = given(number_option("--repeats", 4, "Sweeps."))
    low: float = given(number_option("--low", 0.0, "Smallest amplitude, uA [default: 1 % above melting].", shown=False))
    high: float = given(
        number_option("--high", 0.0, "Largest amplitude, uA [default: RESETs a device fully].", shown=False)
    )
    width: float = given(
        number_option("--width", 0.0, "Width of the RESET pulses, ns [default: the chip's].", shown=False)
    )
    set_amplitude: float = given(
        number_option("--set-amplitude", 0.0, "SET pulse, uA [default: 60 % of the melting current].", shown=False)
    )
    set_width: float = given(
        number_option("--set-width", 0.0, "SET pulse, ns [default: the longest of the chip].", shown=False)
    )
    settle: str = given(text_option("--settle", "1s", "Rest between pulse and read."))
    early: str = given(text_option("--early", "0.1s", "Rest before a first read; 0s: a single read."))


@dataclass(frozen=True)
class PulseResponseOptions(CommonOptions):
    """Options of `hwloop measure pulse-response`."""

    cells: int = given(number_option("--cells", 400, "Devices to measure."))
    pulses: int = given(number_option("--pulses", 1000, "Pulses of each ramp."))
    read_every: int = given(number_option("--read-every", 10, "Pulses between two reads."))
    cycles: int = given(number_option("--cycles", 1, "Ramps up, each followed by one down."))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def measure() -> None:
    """Measure the devices of a chip, into a measurement file that `hwloop fit` reads.

    A file that exists gets one more experiment. Every measurement can be stopped with Ctrl-C and gone on with by
    giving the same command again with --resume.

    \b
    Example:
      hwloop measure drift --backend "sim:hermes-core?seed=3" \\
          --cells 20000 --levels 16 --until 1d --out meas.h5
    """  # noqa: D301  click needs the backspace


@command(DriftOptions, "drift")
def drift(options: DriftOptions) -> None:
    """Bring devices to levels, leave them alone, and read them at ages evenly spaced in log time.

    \b
    Example:
      hwloop measure drift --backend "sim:hermes-core?seed=3" \\
          --cells 20000 --levels 16 --until 1d --out meas.h5
    """  # noqa: D301  click needs the backspace
    ages: dict[str, Setting] = {
        "first": parse_duration(options.first),
        "until": parse_duration(options.until),
        "per_decade": options.per_decade,
    }
    _run("drift", options, options.values() | ages)


@command(ProgrammingOptions, "programming")
def programming(options: ProgrammingOptions) -> None:
    """Bring devices to targets over the whole range and re-read them when they have relaxed.

    Target, accepted verify read and re-reads are kept apart.

    \b
    Example:
      hwloop measure programming --backend "sim:hermes-core?seed=3" \\
          --cells 10000 --out meas.h5
    """  # noqa: D301  click needs the backspace
    _run("programming", options, options.values() | {"ages": tuple(parse_durations(options.ages))})


@command(ReadNoiseOptions, "read-noise")
def read_noise(options: ReadNoiseOptions) -> None:
    """Bring devices to levels and read them continuously: time series, with the true time of every sample.

    \b
    Example:
      hwloop measure read-noise --backend "sim:hermes-core?seed=3" \\
          --cells 64 --samples 1024 --out meas.h5
    """  # noqa: D301  click needs the backspace
    series: dict[str, Setting] = {
        "samples": options.samples,
        "interval": parse_duration(options.interval),
        "start": parse_duration(options.start),
        "sample_averages": options.sample_averages,
    }
    _run("read-noise", options, options.values() | series)


@command(CurveOptions, "programming-curve")
def programming_curve(options: CurveOptions) -> None:
    """Sweep single RESET pulses of rising amplitude from the SET state, and read twice after each.

    What two reads of one pulse have in common is the pulse's own; the rest is read noise.

    \b
    Example:
      hwloop measure programming-curve --backend "sim:hermes-core?seed=3" \\
          --cells 1000 --out meas.h5
    """  # noqa: D301  click needs the backspace
    names = ("cells", "points", "repeats", "low", "high", "width", "set_amplitude", "set_width", "averages")
    values: dict[str, Setting] = {name: getattr(options, name) for name in names}
    rests: dict[str, Setting] = {"settle": parse_duration(options.settle), "early": parse_duration(options.early)}
    _run("programming-curve", options, values | rests | {"cores": _cores(options.cores)})


@command(PulseResponseOptions, "pulse-response")
def pulse_response(options: PulseResponseOptions) -> None:
    """Send ramps of pulses up and down to devices that step, and read them every few pulses.

    \b
    Example:
      hwloop measure pulse-response --backend "sim:reram-sb?seed=3" \\
          --cells 400 --out response.h5
    """  # noqa: D301  click needs the backspace
    names = ("cells", "pulses", "read_every", "cycles", "averages")
    values: dict[str, Setting] = {name: getattr(options, name) for name in names}
    _run("pulse-response", options, values | {"cores": _cores(options.cores)})


for _each in (drift, programming, read_noise, programming_curve, pulse_response):
    measure.add_command(_each)


def _levels(text: str, low: float, high: float) -> Levels | ListedLevels:
    from hwloop.calibration.experiments.cells import Levels, ListedLevels

    try:
        if "," not in text:
            return Levels(int(text), low, high)
        listed = ListedLevels(tuple(float(value) for value in text.split(",")))
    except ValueError:
        raise BadInputError(f"--levels {text}: expected how many, or uS with commas between") from None
    if low or high:
        raise BadInputError("--low and --high do not go with a list of levels")
    return listed


def _cores(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise BadInputError(f"--cores {text}: expected whole numbers, such as 0,3") from None


def _run(name: str, options: CommonOptions, settings: Mapping[str, Setting]) -> None:
    import hwloop
    from hwloop.jobs.inputs import calibration_from
    from hwloop.jobs.measure import Into, MeasurementTask, experiment_from, measure_to_file

    if options.resume and options.force:
        raise BadInputError("--resume goes on with what --force would delete; give one of them")
    into = Into.RESUME if options.resume else Into.REPLACE if options.force else Into.ADD
    calibration = calibration_from(options.calibration)
    task = MeasurementTask(experiment_from(name, settings), options.seed, options.temperature, calibration)
    with watched(name) as report, hwloop.connect(options.backend) as chip:
        found = measure_to_file(task, chip, options.out, into=into, announce=_announce, show=report)
    finish(found, as_json=options.as_json)


def finish(found: MeasurementReport, *, as_json: bool) -> None:
    """Show what came of a measurement, and leave with the exit code of one that was stopped."""
    if as_json:
        print_json(found.to_json())
    else:
        from hwloop.pages import page_of
        from hwloop.pages.measurements import with_cost

        show_page(with_cost(page_of(found.out), found))
    if found.status != "complete":
        leave(GOAL_MISSED)


def _announce(info: ChipInfo, spending: Spending) -> None:
    said = (
        f"{info.name} {info.serial}: up to {spending.pulses_per_device} of {info.limits.pulses_per_device} pulses per "
        f"device, {spending.pulses:,} in all; up to {spending.device_reads:,} reads; "
        f"about {format_elapsed(spending.chip_seconds)} of chip time"
    )
    say(wrapped(said, "", "  "))
