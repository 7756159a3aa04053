"""`hwloop export`."""

from __future__ import annotations

import click

from hwloop.cli.common import Command, json_option, print_json
from hwloop.exporters.models import TARGETS, export_model


@click.command(cls=Command)
@click.argument("model", type=click.Path())
@click.option("--to", "simulator", required=True, help=f"Simulator to write for: {' or '.join(TARGETS)}.")
@click.option("--out", required=True, type=click.Path(), help="Python file to write.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@json_option
def export(model: str, simulator: str, out: str, force: bool, as_json: bool) -> None:
    """Write a fitted model as code for another simulator: a noise model for aihwkit, a device for CrossSim.

    \b
    Example:
      hwloop export model.json --to aihwkit --out noise_model.py
    """  # noqa: D301  click needs the backspace
    result = export_model(model, simulator, out, force=force)
    if as_json:
        print_json(result)
    else:
        click.echo(f"{out}: {', '.join(result['fits'])} for {simulator}. Its first lines say how to use it.")
