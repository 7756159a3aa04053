"""`hwloop calibrate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from hwloop.cli.common import (
    GOAL_MISSED,
    command,
    file_option,
    force_option,
    given,
    json_option,
    leave,
    pairs,
    print_json,
    seed_option,
    watched,
)
from hwloop.cli.options import SettingsOption, layout_option, layouts_from
from hwloop.cli.screen import show_page
from hwloop.errors import BadInputError

if TYPE_CHECKING:
    from hwloop.calibration.certificate.certificate import Calibration
    from hwloop.calibration.certificate.plan import Plan
    from hwloop.calibration.settings import Settings

_HELP = {
    "all": (
        "All of the parts below.",
        "Everything: what works, what the converters do, how devices answer to pulses, the noise floor.",
    ),
    "devices": (
        "Stuck, weak and noisy devices.",
        "Stuck, weak and noisy devices, dead rows and columns: two or three pulses for every device.",
    ),
    "adc": ("The columns' ADCs.", "Offset, gain, nonlinearity and noise of every column's ADC."),
    "dac": ("The rows' DACs.", "Nonlinearity of every row's DAC, and its symmetry; the ADCs come first."),
    "wires": ("Wire and series resistance.", "Wire and series resistance."),
    "programming-curve": (
        "Conductance against pulse amplitude.",
        "Conductance against pulse amplitude, for the typical device and for each one.",
    ),
    "ranges": (
        "Input scale and converter range.",
        "Input scale and converter range for weights and inputs (--weights, --inputs).",
    ),
    "floor": ("The smallest MVM error that can be reached.", "The MVM error that perfect programming would leave."),
    "symmetry-point": (
        "Where steps up and down are equal.",
        "The symmetry point of every cell of a chip that trains in memory: alternating pulses, and the mean of reads.",
    ),
}
"""Of each command, a few words for the list of all, and a sentence."""


def backend_option(what: str) -> click.Option:
    """Make the option --backend."""
    return click.Option(["--backend"], required=True, help=what)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def calibrate() -> None:
    """Find out what a chip is, and keep it in a file for everything else to use.

    Calibrating sends pulses: all that the chip's cores hold is lost. `daily`, `check` and `show` send none.

    \b
    Example:
      hwloop calibrate all --backend "sim:hermes-core?seed=4" --out chip.cal.h5

    \b
    Then:
      hwloop calibrate show chip.cal.h5
      hwloop program data/digits_mlp.safetensors --tensor fc2.weight \\
          --backend "sim:hermes-core?seed=4" --calibration chip.cal.h5 \\
          --out calibrated.h5
    """  # noqa: D301  click needs the backspace


def _routines(options: Mapping[str, str]) -> Mapping[str, type[Settings]]:
    """Find the settings of all routines."""
    from hwloop.jobs.calibrate import ROUTINES

    return ROUTINES


@dataclass(frozen=True)
class PartOptions:
    """Options of the commands that calibrate one part, or all."""

    backend: str = given(backend_option("Chip to calibrate, such as sim:hermes-core?seed=4."))
    out: str = given(file_option("--out", "Calibration file to write (HDF5).", required=True))
    cores: tuple[int, ...] = given(
        click.Option(["--core", "cores"], multiple=True, type=click.IntRange(0), help="Only this core; repeatable.")
    )
    weights: str | None = given(file_option("--weights", "State ranges and floor for this matrix."))
    tensor: str | None = given(click.Option(["--tensor"], help="Name of the matrix in WEIGHTS."))
    layout: tuple[str, ...] = given(layout_option())
    inputs: str | None = given(
        file_option("--inputs", "Sample activations of the matrix, for the ranges: .npy or .npz.")
    )
    age: str | None = given(
        click.Option(["--age"], help="Age for which the floor is stated: 20s, 1h [default: the chip's t0].")
    )
    settings: tuple[str, ...] = given(
        SettingsOption(["--set", "settings"], _routines, "ROUTINE.KEY=VALUE", "A setting; repeatable.")
    )
    seed: int = given(seed_option(0, "all probe inputs"))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


def _plan(options: PartOptions, parts: Sequence[str]) -> Plan:
    """Make the plan of the options. Raises BadInputError for what does not go together."""
    from hwloop.files.activations import activations_from
    from hwloop.jobs.calibrate import plan_from
    from hwloop.jobs.inputs import seconds, weights_from

    plan = plan_from(parts, pairs(options.settings))
    if options.weights is None and options.tensor is not None:
        raise BadInputError(f"--tensor {options.tensor}: give the file that holds it with --weights")
    if options.weights is None and options.inputs is not None:
        raise BadInputError(
            f"--inputs {options.inputs}: sample inputs need the weights they belong to; name them with --weights"
        )
    if options.age is not None:
        plan = replace(plan, age=seconds(options.age))
    if options.weights is None:
        return plan
    matrices = weights_from(options.weights, options.tensor, layouts_from(options.layout)).matrices
    if len(matrices) > 1:
        names = ", ".join(matrix.name for matrix in matrices)
        raise BadInputError(f"{options.weights} has the matrices {names}; choose one with --tensor")
    activations = activations_from(options.inputs, matrices)
    inputs = activations[matrices[0].name] if activations is not None else None
    return replace(plan, weights=matrices[0], inputs=inputs)


def _part_command(name: str) -> click.Command:
    """Make the command that calibrates one part, or all."""

    def part(options: PartOptions) -> None:
        import hwloop
        from hwloop.calibration.certificate.plan import PARTS
        from hwloop.jobs.calibrate import CalibrationFile, calibrate_into

        plan = _plan(options, PARTS if name == "all" else (name,))
        with (
            watched("calibrating") as report,
            hwloop.connect(options.backend) as chip,
            CalibrationFile(options.out, force=options.force) as file,
        ):
            calibration = calibrate_into(
                file, chip, plan, cores=options.cores or None, seed=options.seed, report=report
            )
        finish(calibration, options.backend, str(file.path), as_json=options.as_json)

    short, text = _HELP[name]
    chip = "sim:reram-sb?seed=1&cores=1" if name == "symmetry-point" else "sim:hermes-core?seed=4"
    out = f"{'chip' if name == 'all' else name}.cal.h5"
    wrap = " \\\n     " if len(name + chip + out) > 39 else ""  # the rest of the line takes 41 letters
    example = f'\b\nExample:\n  hwloop calibrate {name} --backend "{chip}"{wrap} --out {out}'
    part.__doc__ = f"{text}\n\n{example}"
    return command(PartOptions, name, short)(part)


def finish(calibration: Calibration, backend: str, out: str, *, as_json: bool) -> None:
    """Show what came of a calibration, and leave with the exit code of one that was stopped."""
    saved = out if calibration.measured() else None
    result = {**calibration.to_json(), "backend": backend, "calibration": saved}
    if as_json:
        print_json(result)
    else:
        if saved is None:
            from hwloop.files.resume_folder import ResumeFolder
            from hwloop.pages.texts import quoted

            begun = ResumeFolder(out).exists
            onward = f"hwloop resume {quoted(out)} goes on where it stopped" if begun else "no file was written"
            click.echo(f"Stopped before the first part was done; {onward}.")
        else:
            _show(calibration, saved)
    if "interrupted" in calibration.skipped:
        leave(GOAL_MISSED)


for _name in _HELP:
    calibrate.add_command(_part_command(_name))


@dataclass(frozen=True)
class DailyOptions:
    """Options of `hwloop calibrate daily`."""

    calibration: str = given(click.Argument(["calibration"], type=click.Path()))
    backend: str = given(backend_option("The chip that was calibrated."))
    out: str = given(file_option("--out", "Calibration file to write (HDF5).", required=True))
    seed: int = given(seed_option(0, "all probe inputs"))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(DailyOptions, "daily", "Renew the converters' part, by MVMs alone.")
def daily(options: DailyOptions) -> None:
    """Renew the converters' part of CALIBRATION by MVMs alone, on what the chip holds.

    \b
    Example:
      # while hwloop serve, by its example, runs in another terminal
      hwloop calibrate all --backend "visa:TCPIP::127.0.0.1::5025::SOCKET" \\
          --out served.cal.h5
      hwloop calibrate daily served.cal.h5 \\
          --backend "visa:TCPIP::127.0.0.1::5025::SOCKET" --out today.cal.h5
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.jobs.calibrate import renew_to_file

    base = hwloop.Calibration.load(options.calibration)
    with watched("calibrating") as report, hwloop.connect(options.backend) as chip:
        fresh = renew_to_file(base, chip, options.out, seed=options.seed, force=options.force, report=report)
    result = {**fresh.to_json(), "backend": options.backend, "calibration": options.out}
    if options.as_json:
        print_json(result)
    else:
        _show(fresh, options.out)


@dataclass(frozen=True)
class CheckOptions:
    """Options of `hwloop calibrate check`."""

    calibration: str = given(click.Argument(["calibration"], type=click.Path()))
    backend: str = given(backend_option("The chip that was calibrated."))
    seed: int = given(seed_option(1, "the probe inputs"))
    as_json: bool = given(json_option())


@command(CheckOptions, "check", "Has the chip moved since?")
def check(options: CheckOptions) -> None:
    """Compare CALIBRATION with a small probe of its chip and say what has moved beyond its uncertainty.

    Exit code 1 when something has.

    \b
    Example:
      # chip.cal.h5 is what the example of hwloop calibrate all writes
      hwloop calibrate check chip.cal.h5 --backend "sim:hermes-core?seed=4"
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.jobs.calibrate import check_file

    with hwloop.connect(options.backend) as chip:
        report = check_file(options.calibration, chip, options.seed)
    if options.as_json:
        print_json(report.to_json())
    else:
        from hwloop.pages.calibrations import page_of_check

        show_page(page_of_check(report))
    if not report.holds:
        leave(GOAL_MISSED)


@dataclass(frozen=True)
class ShowOptions:
    """Options of `hwloop calibrate show`."""

    calibrations: tuple[str, ...] = given(click.Argument(["calibrations"], type=click.Path(), nargs=-1, required=True))
    as_json: bool = given(json_option())


@command(ShowOptions, "show", "Tell what is in calibration files.", logs=False)
def show(options: ShowOptions) -> None:
    """Say what a calibration tells; of several files, also how the chip has aged between them.

    \b
    Example:
      # chip.cal.h5 is what the example of hwloop calibrate all writes
      hwloop calibrate show chip.cal.h5
    """  # noqa: D301  click needs the backspace
    import hwloop

    loaded = sorted((hwloop.Calibration.load(path) for path in options.calibrations), key=lambda one: one.created)
    if options.as_json:
        print_json({"calibrations": [calibration.to_json() for calibration in loaded]})
        return
    from hwloop.pages.calibrations import page_of_calibrations
    from hwloop.pages.terminal import Extent

    show_page(page_of_calibrations(loaded), Extent(rows=None, letters=None))  # of many cores not each with all it has


for _each in (daily, check, show):
    calibrate.add_command(_each)


def _show(calibration: Calibration, file: str) -> None:
    """Show a calibration as `hwloop show` shows its file; of a single core every value."""
    from hwloop.pages.calibrations import page_of_calibration
    from hwloop.pages.terminal import AT_THE_END

    extent = replace(AT_THE_END, rows=None) if len(calibration.cores) == 1 else AT_THE_END
    show_page(page_of_calibration(calibration, file), extent)
