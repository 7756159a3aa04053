"""`hwloop export`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from hwloop.cli.common import command, file_option, force_option, given, json_option, print_json


@dataclass(frozen=True)
class ExportOptions:
    """Options of `hwloop export`."""

    model: str = given(click.Argument(["model"], type=click.Path()))
    simulator: str = given(
        click.Option(["--to", "simulator"], required=True, help="Simulator to write for: aihwkit or crosssim.")
    )
    out: str = given(file_option("--out", "Python file to write.", required=True))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(ExportOptions, "export")
def export(options: ExportOptions) -> None:
    """Write a fitted model as code for another simulator: a noise model for aihwkit, a device for CrossSim.

    \b
    Example:
      hwloop export model.json --to aihwkit --out noise_model.py
    """  # noqa: D301  click needs the backspace
    import hwloop

    result = hwloop.export(options.model, options.simulator, options.out, force=options.force)
    if options.as_json:
        print_json(result.to_json())
    else:
        fits = ", ".join(result.fits)
        click.echo(f"{options.out}: {fits} for {options.simulator}. Its first lines say how to use it.")
