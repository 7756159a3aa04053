"""`hwloop compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hwloop.cli.common import GOAL_MISSED, NO_MVM, Command, json_option, pairs, print_json
from hwloop.cli.options import METHOD_NAMES, make_task, observed, task_options
from hwloop.errors import BadInputError
from hwloop.jobs.tasks import compare_to_file


@click.command(cls=Command)
@task_options
@click.option("--methods", default="iterative,gdp,exact", show_default=True, help=f"Any of {METHOD_NAMES}.")
@click.option(
    "--set", "settings", multiple=True, metavar="METHOD.KEY=VALUE", help="A setting of one method; repeatable."
)
@click.option("--repeats", type=click.IntRange(1), default=1, show_default=True, help="Runs of each method in a row.")
@click.option("--out", required=True, type=click.Path(), help="Comparison file to write (HDF5).")
@json_option
@click.pass_context
def compare(
    context: click.Context,
    /,
    methods: str,
    settings: tuple[str, ...],
    repeats: int,
    out: str,
    as_json: bool,
    plot: str | None,
    goal: float | None,
    force: bool,
    **task_values: Any,
) -> None:
    """Program the same chip with several methods and show them side by side.

    `exact` places every conductance on target and so shows the noise floor of a simulated chip.

    \b
    Example:
      hwloop compare data/digits_mlp.safetensors --backend "sim:hermes-64?seed=1" \\
          --methods iterative,gdp,exact --out cmp.h5 --plot cmp.png
    """  # noqa: D301  click needs the backspace
    names = [name.strip() for name in methods.split(",")]
    task = make_task(**task_values)
    by_method = _settings_by_method(pairs(settings), names)
    if plot:
        from hwloop.plot.runs import check_plot_path

        check_plot_path(plot, out, force=force)
    with observed("comparing", jobs=len(names) * repeats) as observer:
        result = compare_to_file(task, names, out, settings=by_method, repeats=repeats, force=force, observer=observer)
    if plot:
        from hwloop.plot.runs import plot_runs

        plot_runs(out, plot, floor=result["noise_floor"])
    if as_json:
        print_json(result)
    else:
        _show(result)
    errors = [method["mvm_error"] for method in result["methods"].values()]
    if result["status"] != "complete" or (goal is not None and any(error > goal for error in errors)):
        context.exit(GOAL_MISSED)


def _settings_by_method(values: dict[str, str], names: list[str]) -> dict[str, dict[str, str]]:
    chosen: dict[str, dict[str, str]] = {}
    for name, value in values.items():
        method, dot, key = name.partition(".")
        if not dot or method not in names:
            raise BadInputError(f"--set {name}: expected METHOD.KEY=VALUE with a method out of {', '.join(names)}")
        chosen.setdefault(method, {})[key] = value
    return chosen


def _show(result: dict[str, Any]) -> None:
    click.echo(f"{Path(result['weights']).name} on {result['backend']}\n")
    click.echo("method      MVM error   over the   excess over   pulses per   reads per   MVM vectors   chip time")
    click.echo("                        floor      the floor     device       device      per core      s")
    for name, method in result["methods"].items():
        cores = method["cores"]
        devices = sum(core["devices"] for core in cores)
        per_device = sum(core["pulses_per_device"] * core["devices"] for core in cores) / devices
        reads = sum(core["device_reads"] for core in cores) / devices
        vectors = sum(core["mvms"] for core in cores) / len({core["core"] for core in cores})
        click.echo(
            f"{name:<11} {_number(method['mvm_error'], 9)}  {_number(method['over_floor'], 6, 3)} x"
            f"   {_number(method['excess_over_floor'], 8)}      {per_device:>6.2f}       {reads:>6.1f}"
            f"     {vectors:>9.0f}     {max(core['chip_seconds'] for core in cores):>7.1f}"
        )
    click.echo()
    first = next(iter(result["methods"].values()))
    computed = any(core["mvm_error_from"] == "device-reads" for core in first["cores"])
    if computed:
        click.echo(NO_MVM)
    click.echo(
        f"MVM errors are measured {first['seconds_after_programming']:g} s after programming, with fresh inputs"
        f"{'' if computed else ', after periphery calibration'}."
    )
    if result["status"] != "complete":
        click.echo("Stopped before the end; the table has what was finished.")
    click.echo(f"Comparison file {result['run']}.")


def _number(value: float | None, width: int, digits: int = 4) -> str:
    return "-".rjust(width) if value is None else f"{value:{width}.{digits}f}"
