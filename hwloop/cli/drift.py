"""`hwloop drift`."""

from __future__ import annotations

from typing import Any

import click

from hwloop.calibration.drift.base import PROBES
from hwloop.calibration.drift.registry import COMPENSATIONS
from hwloop.cli.common import GOAL_MISSED, Command, json_option, print_json, progress_bar, stoppable
from hwloop.durations import format_duration, parse_durations
from hwloop.jobs.drift import LIMIT, hold_file

TIMES = "1s,1h,1d,30d,1y"


@click.command(cls=Command)
@click.argument("run", type=click.Path())
@click.option("--times", default=TIMES, show_default=True, help="Ages, counted from the end of programming, rising.")
@click.option(
    "--compensation",
    default="none,global,column,predictive",
    show_default=True,
    help=f"Any of {', '.join(COMPENSATIONS)}, judged side by side; a plus sign puts one on top of another, as "
    "refresh+column. Only refresh pulses cells.",
)
@click.option("--out", required=True, type=click.Path(), help="Drift file to write (HDF5).")
@click.option("--backend", help="Chip to hold [default: the simulated one the run was made on].")
@click.option(
    "--calibration", type=click.Path(), help="Calibration file [default: the one used to program, beside the run]."
)
@click.option("--model", type=click.Path(), help="Model file whose fitted drift is forecast by [default: nominal].")
@click.option("--limit", default=LIMIT, show_default=True, help="MVM error whose passing is foretold.")
@click.option("--probes", type=click.IntRange(3), default=PROBES, show_default=True, help="Probe vectors of each tile.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of probes and inputs.")
@click.option("--plot", type=click.Path(), help="Also draw the result, FILE.png or FILE.svg.")
@click.option("--force", is_flag=True, help="Replace an existing output file.")
@json_option
@click.pass_context
def drift(
    context: click.Context,
    /,
    run: str,
    times: str,
    compensation: str,
    out: str,
    backend: str | None,
    calibration: str | None,
    model: str | None,
    limit: float,
    probes: int,
    seed: int,
    plot: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Let the chip of RUN age, and show its MVM error at each time with each compensation.

    On a simulated chip a year passes on its virtual clock; a real one is waited for. Durations: 1s, 90min, 1h, 30d, 1y.

    \b
    Example:
      hwloop drift run.h5 --times 1s,1h,1d,30d,1y --compensation none,global,column,predictive,refresh --out drift.h5
    """  # noqa: D301  click needs the backspace
    if plot:
        from hwloop.plot.runs import check_plot_path

        check_plot_path(plot, out, force=force)
    names = [name.strip() for name in compensation.split(",")]
    with progress_bar("drift") as show, stoppable() as check:

        def observe(done: int, total: int) -> None:
            show(done, total)
            check()

        result = hold_file(
            run,
            parse_durations(times),
            names,
            out,
            backend=backend,
            calibration=calibration,
            model=model,
            limit=limit,
            probes=probes,
            seed=seed,
            force=force,
            observer=observe,
        )
    if plot and result["file"]:
        from hwloop.plot.runs import plot_drift

        plot_drift(out, plot)
    for note in result["notes"]:
        click.echo(f"note: {note}", err=True)
    if as_json:
        print_json(result)
    else:
        _show(result)
    if result["status"] != "complete":
        context.exit(GOAL_MISSED)


def _show(result: dict[str, Any]) -> None:
    entries: dict[str, dict[str, Any]] = result["compensations"]
    width = max(10, *(len(name) for name in entries))
    click.echo(f"{result['run']} on {result['backend']}")
    if result["calibration"]:
        click.echo(f"outputs are read through the calibration {result['calibration']}")
    click.echo()
    click.echo("MVM error     " + "  ".join(name.rjust(width) for name in entries))
    for number, age in enumerate(result["times_s"]):
        errors = [_at(entry["mvm_error"], number) for entry in entries.values()]
        click.echo(f"{format_duration(age):<12}  " + "  ".join(_number(error).rjust(width) for error in errors))
    click.echo("\nat the last time")
    rows = (
        ("MVM vectors", [str(_last(entry["mvms"])) for entry in entries.values()]),
        ("pulses/device", [_per_device(_last(entry["pulses"]), result["devices"]) for entry in entries.values()]),
        ("holds for", [_holds(entry) for entry in entries.values()]),
        (f"passes {result['limit']:g}", [_when(entry, "age_s") for entry in entries.values()]),
        ("  from", [_when(entry, "earliest_s") for entry in entries.values()]),
        ("  to", [_when(entry, "latest_s") for entry in entries.values()]),
    )
    for label, cells in rows:
        click.echo(f"{label:<13} " + "  ".join(cell.rjust(width) for cell in cells))
    click.echo(
        f"\nTimes count from the end of programming; the error was {_number(result['mvm_error_in_run'])} at "
        f"{format_duration(result['seconds_after_programming'])}.\n"
        "A compensation holds until drift is expected to make its error a tenth larger. The limit is passed at the\n"
        "age shown, with its 95 % interval, although the compensation is made anew."
    )
    if "refresh" in "".join(entries):
        click.echo(
            "A refreshed chip rests until its targets hold and is measured then, as after programming; times with a\n"
            "plus sign count from there."
        )
    if result["status"] != "complete":
        click.echo("Stopped before the end; the table has what was finished.")
    if result["file"]:
        click.echo(f"Drift file {result['file']}.")


def _at(values: list[Any], number: int) -> Any:
    return values[number] if number < len(values) else None


def _last(values: list[Any]) -> Any:
    return values[-1] if values and values[-1] is not None else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _per_device(pulses: Any, devices: int) -> str:
    return "-" if pulses == "-" else f"{pulses / devices:.3f}"


def _holds(entry: dict[str, Any]) -> str:
    until, at = _last(entry["holds_until_s"]), _last(entry["measured_at_s"])
    if at == "-":
        return "-"
    return "for ever" if until == "-" else format_duration(max(until - at, 0.0))


def _when(entry: dict[str, Any], key: str) -> str:
    if entry["passes_limit"] is None:
        return "-"
    value: float | None = entry["passes_limit"][key]
    if value is None:
        return "never"
    if _last(entry["pulses"]) in ("-", 0):
        return format_duration(value)
    return "+" + format_duration(max(value - _last(entry["measured_at_s"]), 0.0))
