"""`hwloop calibrate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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
from hwloop.cli.options import layout_option, layouts_from
from hwloop.errors import BadInputError, printable

if TYPE_CHECKING:
    from hwloop.calibration.certificate.certificate import Calibration
    from hwloop.calibration.certificate.plan import Plan

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
      hwloop calibrate all --backend "sim:hermes-core?seed=4&stuck_rate=0.01" --out chip.cal.h5

    \b
    Then:
      hwloop calibrate show chip.cal.h5
      hwloop program data/digits_mlp.safetensors --tensor fc2.weight \\
          --backend "sim:hermes-core?seed=4&stuck_rate=0.01" --calibration chip.cal.h5 --out run.h5
    """  # noqa: D301  click needs the backspace


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
        click.Option(["--set", "settings"], multiple=True, metavar="ROUTINE.KEY=VALUE", help="A setting; repeatable.")
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
    example = f'\b\nExample:\n  hwloop calibrate {name} --backend "{chip}" --out chip.cal.h5'
    part.__doc__ = f"{text}\n\n{example}"
    return command(PartOptions, name, short)(part)


def finish(calibration: Calibration, backend: str, out: str, *, as_json: bool) -> None:
    """Show what came of a calibration, and leave with the exit code of one that was stopped."""
    saved = out if calibration.measured() else None
    result = {**calibration.to_json(), "backend": backend, "calibration": saved}
    if as_json:
        print_json(result)
    else:
        _show(result)
        _say_file(saved)
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
      hwloop calibrate daily chip.cal.h5 --backend "visa:TCPIP::127.0.0.1::5025::SOCKET" --out today.cal.h5
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
        _show(result)
        _say_file(options.out)


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
      hwloop calibrate check chip.cal.h5 --backend "sim:hermes-core?seed=4"
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.jobs.calibrate import check_file

    with hwloop.connect(options.backend) as chip:
        report = check_file(options.calibration, chip, options.seed)
    if options.as_json:
        print_json(report.to_json())
    else:
        for text in report.warnings:
            click.echo(printable(f"warning: {text}"), err=True)
        click.echo("core  what                             compared   moved   worst (sigma)")
        for found in report.findings:
            core = "-" if found.core is None else found.core
            click.echo(f"{core:>4}  {found.what:<32} {found.compared:>7} {found.moved:>7}   {found.worst:>8.1f}")
        verdict = "holds." if report.holds else "no longer holds; calibrate again."
        click.echo(f"\nThe calibration of {report.created[:16]} UTC {verdict}")
    if not report.holds:
        leave(GOAL_MISSED)


@dataclass(frozen=True)
class ShowOptions:
    """Options of `hwloop calibrate show`."""

    calibrations: tuple[str, ...] = given(click.Argument(["calibrations"], type=click.Path(), nargs=-1, required=True))
    as_json: bool = given(json_option())


@command(ShowOptions, "show", "Tell what is in calibration files.")
def show(options: ShowOptions) -> None:
    """Say what a calibration tells; of several files, also how the chip has aged between them.

    \b
    Example:
      hwloop calibrate show chip.cal.h5
    """  # noqa: D301  click needs the backspace
    import hwloop

    loaded = sorted((hwloop.Calibration.load(path) for path in options.calibrations), key=lambda one: one.created)
    told = [calibration.to_json() for calibration in loaded]
    if options.as_json:
        print_json({"calibrations": told})
        return
    _show(told[-1])
    if len(told) > 1:
        _show_history(told)


for _each in (daily, check, show):
    calibrate.add_command(_each)


def _show(told: dict[str, Any]) -> None:
    chip, cost = told["chip"], told["cost"]
    kelvin = told["temperature_kelvin"]
    where = "" if kelvin is None else f" at {kelvin:.1f} K"
    click.echo(printable(f"{chip['name']} {chip['serial']}, calibrated {told['created'][:16]} UTC{where}"))
    click.echo(
        f"cost: {cost['pulses']:,.0f} pulses, {cost['device_reads']:,.0f} device reads, {cost['mvms']:,.0f} "
        f"MVM vectors, {cost['chip_seconds']:.0f} s of chip time"
    )
    for core in told["cores"]:
        click.echo(f"\ncore {core['core']}")
        for line in _lines(core):
            click.echo(f"  {line}")
    for name, reason in told["skipped"].items():
        click.echo(f"\nnot done: {name}: {reason}")
    until = "; ".join(f"{n.replace('_', ' ')} {p['holds_until'][:10]}" for n, p in told["parts"].items())
    if until:
        click.echo(f"\nshould hold until: {until}")
    for text in told["out_of_date"]:
        click.echo(f"out of date: {text}")


def _say_file(file: str | None) -> None:
    if file is None:
        click.echo("\nStopped before the first part was done; no file was written.")
    else:
        click.echo(f"\nCalibration file {file}; pass it on with --calibration {file}.")


def _lines(core: dict[str, Any]) -> Iterator[str]:
    """Tell what is known of a core, a label of 19 characters before each line."""
    if "devices" in core:
        d = core["devices"]
        bad = ", ".join(f"{d[name]} {name.replace('_', ' ')}" for name in d if name not in ("good", "typical_high_uS"))
        yield f"devices            {d['good']} good, {bad}"
        yield f"                   a SET device conducts {d['typical_high_uS']:.2f} uS"
    if "trims" in core:
        t = core["trims"]
        offset, gain = _value(t["offset_lsb_rms"]), _value(t["gain_rms"], 100)
        yield f"trims              offsets of {offset} LSB rms and gains of {gain} % rms in the registers;"
        yield "                   what follows is what they leave"
    if "converters" in core:
        c = core["converters"]
        yield f"ADC offset         {_spread(c['offset_lsb'])} LSB"
        yield f"ADC nonlinearity   second order {_spread(c['square_lsb'])}, third {_spread(c['cubic_lsb'])} LSB"
        if c["row_cubic_lsb"]["rms"] is not None:
            second, third = _spread(c["row_square_lsb"]), _spread(c["row_cubic_lsb"])
            yield f"DAC nonlinearity   second order {second}, third {third} LSB"
        yield f"ADC noise          {_value(c['adc_noise_lsb'])} LSB before rounding"
        yield f"                   outputs scatter by {_value(c['noise_lsb'])} LSB about their curves"
        if c["silent_columns"]:
            yield f"                   {c['silent_columns']} columns conduct too little to show their converters"
    if "gains" in core:
        g = core["gains"]
        yield f"ADC gain           spread {_value(g['spread'], 100)} %, each to {_value(g['sigma'], 100)} %"
        yield "                   known as a product with the column's SET devices, taken to be alike on average;"
        yield "                   a row's level is not told apart from its devices at all"
    if "wires" in core:
        w = core["wires"]
        yield f"wires              {w['resistance']:.3f} +- {w['resistance_sigma']:.3f} ohm per cell"
        yield f"                   {w['series']:.1f} +- {w['series_sigma']:.1f} ohm in series with each line"
    if "programming_curve" in core:
        p = core["programming_curve"]
        middle = f"{p['midpoint']:.2f} +- {p['midpoint_sigma']:.2f} uA, melting at {p['melt']:.0f} uA"
        yield f"programming curve  {p['g_max']:.2f} to {p['g_min']:.2f} uS about {middle}"
        spread = f"devices spread by {p['midpoint_spread']:.1f} uA, each known to {p['shift_sigma']:.1f} uA"
        yield f"                   steepness {p['steepness']:.2f} uA; {spread}; pulses jitter by {p['jitter']:.1f} uA"
    if "drift" in core:
        d = core["drift"]
        law = f"exponent {d['nu_low']:.3f} to {d['nu_high']:.3f} from {d['at_low'] * d['g_scale']:.1f} uS up"
        onset = f"from {d['onset']:.3g} +- {d['onset_sigma']:.1g} s on" if d["onset"] else "from the first look on"
        yield f"drift              {law}, {onset}"
        yield f"                   seen from {d['first_look']:.2g} to {d['last_look']:.3g} s after a pulse, by MVMs"
    if "symmetry_point" in core:
        yield from _symmetry(core["symmetry_point"])
    if "ranges" in core:
        r = core["ranges"]
        yield f"ranges             inputs {r['input_scale']:.3g} at full scale, converters {r['full_scale']:.0f} uS"
        yield f"                   both converters' error {r['error']:.3g}"
    if "floor" in core:
        f = core["floor"]
        error = f"{f['error']:.3g} +- {f['error_sigma']:.1g}"
        yield f"floor              {error} MVM error, {f['age']:g} s after perfect programming"
        parts = f"fast noise {f['fast_noise']:.3g}, slow noise {f['slow_noise']:.3g}, static {f['static']:.3g}"
        yield f"                   {parts}; rounding {f['rounding']:.3g} is in them"


def _symmetry(found: dict[str, Any]) -> Iterator[str]:
    spread = f"mean {found['mean']:.3f}, spread {found['spread']:.3f}, each known to {found['sigma']:.3f}"
    yield f"symmetry points    {spread} of half the range ({found['half_range_uS']:.3g} uS)"
    pairs, reads = found["pairs_per_device"], found["reads_per_device"]
    yield f"                   {pairs:,.0f} pairs of pulses and {reads:,.0f} reads for each device"


def _show_history(told: list[dict[str, Any]]) -> None:
    click.echo("\nhistory   core  good devices   ADC offset   gain spread   ADC noise   midpoint     floor    kelvin")
    for calibration in told:
        kelvin = calibration["temperature_kelvin"]
        for core in calibration["cores"]:
            cells = (
                core.get("devices", {}).get("good"),
                core.get("converters", {}).get("offset_lsb", {}).get("rms"),
                core.get("gains", {}).get("spread"),
                core.get("converters", {}).get("adc_noise_lsb"),
                core.get("programming_curve", {}).get("midpoint"),
                core.get("floor", {}).get("error"),
                kelvin,
            )
            texts = ["-" if cell is None else f"{cell:.5g}" for cell in cells]
            click.echo(
                f"{calibration['created'][:10]} {core['core']:>3} {texts[0]:>13} {texts[1]:>12} {texts[2]:>13} "
                f"{texts[3]:>11} {texts[4]:>10} {texts[5]:>9} {texts[6]:>9}"
            )


def _spread(value: dict[str, float | None]) -> str:
    return f"{_value(value['rms'])} rms, each to {_value(value['sigma'])}"


def _value(number: float | None, factor: float = 1.0) -> str:
    return "-" if number is None else f"{number * factor:.3g}"
