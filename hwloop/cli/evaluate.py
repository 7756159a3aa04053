"""`hwloop evaluate`."""

from __future__ import annotations

import click

from hwloop.cli.common import NO_MVM, Command, json_option, print_json
from hwloop.jobs.tasks import evaluate_file


@click.command(cls=Command)
@click.argument("run", type=click.Path())
@click.option("--backend", help="Chip to measure [default: the simulated one the run was made on].")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of probes and inputs.")
@click.option(
    "--calibration", type=click.Path(), help="Calibration file [default: the one used to program, beside the run]."
)
@json_option
def evaluate(run: str, backend: str | None, seed: int, calibration: str | None, as_json: bool) -> None:
    """Measure the MVM error of what the chip of RUN holds now.

    A simulated chip is brought back to the state in which the run left it; a real chip is measured as it is.

    \b
    Example:
      hwloop evaluate run.h5
    """  # noqa: D301  click needs the backspace
    result = evaluate_file(run, backend, seed, calibration)
    if as_json:
        print_json(result)
        return
    for core in result["cores"]:
        click.echo(f"core {core['core']:>3}  {core['tensor']:<24} MVM error {_number(core['mvm_error'])}")
    if result["calibration"]:
        click.echo(f"Outputs are read through the calibration {result['calibration']}.")
    if result["mvm_error_from"] == "device-reads":
        click.echo(NO_MVM)
    before = result["mvm_error_in_run"]
    then = "the run was stopped before it was measured" if before is None else f"{before:.4f} when it was programmed"
    click.echo(f"\nMVM error {_number(result['mvm_error'])} now; {then}.")


def _number(error: float | None) -> str:
    return "-" if error is None else f"{error:.4f}"
