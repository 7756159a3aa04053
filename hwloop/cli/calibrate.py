"""`hwloop calibrate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.plan import PARTS
from hwloop.calibration.certificate.session import Observer, Progress
from hwloop.cli.common import GOAL_MISSED, Command, json_option, pairs, print_json, progress_bar, stoppable
from hwloop.jobs.calibrate import calibrate_to_file, check_file, make_plan, renew_to_file, summary

_HELP = {
    "all": (
        "All of the parts below.",
        "Everything: what works, what the converters do, how devices answer to pulses, the floor to hope for.",
    ),
    "devices": (
        "Stuck, weak and noisy devices.",
        "Stuck, weak and noisy devices, dead rows and columns: two or three pulses for every device.",
    ),
    "adc": ("The columns' ADCs.", "Offset, gain, non-linearity and noise of every column's ADC."),
    "dac": ("The rows' DACs.", "Non-linearity of every row's DAC, and its symmetry; the ADCs come first."),
    "wires": ("Wire and series resistance.", "Wire and series resistance."),
    "programming-curve": (
        "Conductance against pulse amplitude.",
        "Conductance against pulse amplitude, for the typical device and for each one.",
    ),
    "ranges": (
        "Input scale and converter range.",
        "Input scale and converter range for weights and inputs (--weights, --inputs).",
    ),
    "floor": ("The smallest MVM error to hope for.", "The MVM error that perfect programming would leave."),
}
"""Of each command, a few words for the list of all, and a sentence."""


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


def _part_command(name: str) -> click.Command:
    """The command that calibrates one part, or all."""

    @click.option("--backend", required=True, help="Chip to calibrate, such as sim:hermes-core?seed=4.")
    @click.option("--out", required=True, type=click.Path(), help="Calibration file to write (HDF5).")
    @click.option("--core", "cores", multiple=True, type=click.IntRange(0), help="Only this core; repeatable.")
    @click.option("--weights", type=click.Path(), help="State ranges and floor for this matrix.")
    @click.option("--tensor", help="Name of the matrix in WEIGHTS.")
    @click.option("--inputs", type=click.Path(), help="Sample activations of the matrix, for the ranges: .npy or .npz.")
    @click.option("--age", type=float, help="Age in seconds for which the floor is stated [default: the chip's t0].")
    @click.option("--set", "settings", multiple=True, metavar="ROUTINE.KEY=VALUE", help="A setting; repeatable.")
    @click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all probe inputs.")
    @click.option("--force", is_flag=True, help="Replace an existing output file.")
    @json_option
    @click.pass_context
    def command(
        context: click.Context,
        backend: str,
        out: str,
        cores: tuple[int, ...],
        weights: str | None,
        tensor: str | None,
        inputs: str | None,
        age: float | None,
        settings: tuple[str, ...],
        seed: int,
        force: bool,
        as_json: bool,
    ) -> None:
        parts = PARTS if name == "all" else (name,)
        plan = make_plan(parts, pairs(settings), weights=weights, tensor=tensor, inputs=inputs, age=age)
        with _observed() as observer:
            result = calibrate_to_file(
                plan, backend, out, cores=cores or None, seed=seed, force=force, observer=observer
            )
        if as_json:
            print_json(result)
        else:
            _show(result)
            _say_file(result)
        if "interrupted" in result["skipped"]:
            context.exit(GOAL_MISSED)

    example = f'\b\nExample:\n  hwloop calibrate {name} --backend "sim:hermes-core?seed=4" --out chip.cal.h5'
    short, text = _HELP[name]
    return click.command(name, cls=Command, help=f"{text}\n\n{example}", short_help=short)(command)


for _name in ("all", *PARTS):
    calibrate.add_command(_part_command(_name))


@calibrate.command(cls=Command, short_help="Renew the converters' part, by MVMs alone.")
@click.argument("calibration", type=click.Path())
@click.option("--backend", required=True, help="The chip that was calibrated.")
@click.option("--out", required=True, type=click.Path(), help="Calibration file to write (HDF5).")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all probe inputs.")
@click.option("--force", is_flag=True, help="Replace an existing output file.")
@json_option
def daily(calibration: str, backend: str, out: str, seed: int, force: bool, as_json: bool) -> None:
    """Renew the converters' part of CALIBRATION by MVMs alone, on what the chip holds.

    \b
    Example:
      hwloop calibrate daily chip.cal.h5 --backend "visa:TCPIP::127.0.0.1::5025::SOCKET" --out today.cal.h5
    """  # noqa: D301  click needs the backspace
    with _observed() as observer:
        result = renew_to_file(calibration, backend, out, seed=seed, force=force, observer=observer)
    if as_json:
        print_json(result)
    else:
        _show(result)
        _say_file(result)


@calibrate.command(cls=Command, short_help="Has the chip moved since?")
@click.argument("calibration", type=click.Path())
@click.option("--backend", required=True, help="The chip that was calibrated.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of the probe inputs.")
@json_option
@click.pass_context
def check(context: click.Context, calibration: str, backend: str, seed: int, as_json: bool) -> None:
    """Compare CALIBRATION with a small probe of its chip and say what has moved beyond its uncertainty.

    Exit code 1 when something has.

    \b
    Example:
      hwloop calibrate check chip.cal.h5 --backend "sim:hermes-core?seed=4"
    """  # noqa: D301  click needs the backspace
    result = check_file(calibration, backend, seed)
    if as_json:
        print_json(result)
    else:
        for text in result["warnings"]:
            click.echo(f"warning: {text}", err=True)
        click.echo("core  what                             compared   moved   worst (sigma)")
        for found in result["findings"]:
            core = "-" if found["core"] is None else found["core"]
            numbers = f"{found['compared']:>7} {found['moved']:>7}   {found['worst_sigmas']:>8.1f}"
            click.echo(f"{core:>4}  {found['what']:<32} {numbers}")
        click.echo(
            f"\nThe calibration of {result['created'][:16]} UTC "
            + ("holds." if result["holds"] else "no longer holds; calibrate again.")
        )
    if not result["holds"]:
        context.exit(GOAL_MISSED)


@calibrate.command(cls=Command, short_help="Tell what is in calibration files.")
@click.argument("calibrations", type=click.Path(), nargs=-1, required=True)
@json_option
def show(calibrations: tuple[str, ...], as_json: bool) -> None:
    """Say what a calibration tells; of several files, also how the chip has aged between them.

    \b
    Example:
      hwloop calibrate show chip.cal.h5
    """  # noqa: D301  click needs the backspace
    loaded = sorted((Calibration.load(path) for path in calibrations), key=lambda c: c.created)
    told = [summary(calibration) for calibration in loaded]
    if as_json:
        print_json({"calibrations": told})
        return
    _show(told[-1])
    if len(told) > 1:
        _show_history(told)


@contextmanager
def _observed() -> Iterator[Observer]:
    with progress_bar("calibrating") as draw, stoppable() as stop:

        def observe(progress: Progress) -> None:
            draw(progress.done, progress.stages)
            stop()

        yield observe


def _show(told: dict[str, Any]) -> None:
    chip, cost = told["chip"], told["cost"]
    kelvin = told["temperature_kelvin"]
    where = "" if kelvin is None else f" at {kelvin:.1f} K"
    click.echo(f"{chip['name']} {chip['serial']}, calibrated {told['created'][:16]} UTC{where}")
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


def _say_file(result: dict[str, Any]) -> None:
    file = result["calibration"]
    if file is None:
        click.echo("\nStopped before the first part was done; no file was written.")
    else:
        click.echo(f"\nCalibration file {file}; pass it on with --calibration {file}.")


def _lines(core: dict[str, Any]) -> Iterator[str]:
    """What is known of a core, a label of 19 characters before each line."""
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
        yield f"ADC non-linearity  second order {_spread(c['square_lsb'])}, third {_spread(c['cubic_lsb'])} LSB"
        if c["row_cubic_lsb"]["rms"] is not None:
            second, third = _spread(c["row_square_lsb"]), _spread(c["row_cubic_lsb"])
            yield f"DAC non-linearity  second order {second}, third {third} LSB"
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
