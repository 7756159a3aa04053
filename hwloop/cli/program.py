"""`hwloop program`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hwloop.cli.common import GOAL_MISSED, NO_MVM, Command, json_option, pairs, print_json
from hwloop.cli.options import METHOD_NAMES, make_task, observed, task_options
from hwloop.jobs.tasks import noise_floor, program_to_file


@click.command(cls=Command)
@task_options
@click.option("--method", default="gdp", show_default=True, help=f"One of {METHOD_NAMES}.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of the method; repeatable.")
@click.option("--out", required=True, type=click.Path(), help="Run file to write (HDF5).")
@json_option
@click.pass_context
def program(
    context: click.Context,
    /,
    method: str,
    settings: tuple[str, ...],
    out: str,
    as_json: bool,
    plot: str | None,
    goal: float | None,
    force: bool,
    **task_values: Any,
) -> None:
    """Program the weight matrices in WEIGHTS onto a chip and measure the MVM error.

    WEIGHTS is a .npy, .npz, .safetensors or .pt file. All its matrices are programmed, cut into tiles that fit the
    chip's cores; one-dimensional tensors (biases) stay digital.

    \b
    Example:
      hwloop program data/digits_mlp.safetensors --backend "sim:hermes-core?seed=1" --method gdp --out run.h5
    """  # noqa: D301  click needs the backspace
    task = make_task(**task_values)
    if plot:
        from hwloop.plot.runs import check_plot_path

        check_plot_path(plot, out, force=force)
    with observed(f"{method:>9}") as observer:
        result = program_to_file(task, method, out, settings=pairs(settings), force=force, observer=observer)
    if plot:
        from hwloop.plot.runs import plot_runs

        plot_runs(out, plot, floor=result["mvm_error"] if method == "exact" else noise_floor(task))
    if as_json:
        print_json(result)
    else:
        _show(result)
    if result["mvm_error"] is None or (goal is not None and result["mvm_error"] > goal):
        context.exit(GOAL_MISSED)


def _show(result: dict[str, Any]) -> None:
    click.echo(f"{result['method']} on {result['backend']}, weights {Path(result['weights']).name}\n")
    click.echo("core  tensor                 cells   MVM error        pulses per   device   MVM      cells")
    click.echo("                                     open loop  now   device       reads    vectors  given up")
    for core in result["cores"]:
        click.echo(
            f"{core['core']:>4}  {core['tensor'][:20]:<20} {core['rows']:>4} x{core['columns']:>4}"
            f"   {_number(core['mvm_error_before'])}  {_number(core['mvm_error'])}  {core['pulses_per_device']:>6.2f}"
            f"   {core['device_reads']:>9}  {core['mvms']:>7}  {core['unconverged_cells']:>6}"
        )
    click.echo()
    if result["status"] != "complete":
        click.echo(f"Stopped before the end; what was done is in {result['run']}.")
        return
    if any(core["mvm_error_from"] == "device-reads" for core in result["cores"]):
        click.echo(NO_MVM)
    for core in result["cores"]:
        if core["mvm_error_inputs"] is not None:
            click.echo(f"With its sample inputs, {core['tensor']} has the MVM error {core['mvm_error_inputs']:.4f}.")
    if result["calibration"]:
        used = result["calibration"]
        parts = ", ".join(part.replace("_", " ") for part in used["parts"])
        click.echo(f"Calibrated with {used['file']} of {used['created'][:16]} UTC: {parts}.")
    click.echo(
        f"MVM error {_number(result['mvm_error']).strip()}, measured {result['seconds_after_programming']:g} s after "
        f"programming with fresh inputs.\nRun file {result['run']}; hwloop evaluate {result['run']} measures it again."
    )


def _number(error: float | None) -> str:
    return "   -   " if error is None else f"{error:7.4f}"
