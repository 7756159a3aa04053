"""`hwloop export`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from hwloop.cli.common import command, file_option, force_option, given, json_option, print_json
from hwloop.cli.options import tensor_option
from hwloop.cli.terminal import wrapped


@dataclass(frozen=True)
class ExportOptions:
    """Options of `hwloop export`."""

    file: str = given(click.Argument(["file"], type=click.Path()))
    to: str = given(
        click.Option(
            ["--to"], required=True, help="Of a model: aihwkit or crosssim. Of a run: npz, csv or safetensors."
        )
    )
    out: str = given(file_option("--out", "File to write.", required=True))
    tensor: tuple[str, ...] = given(tensor_option("Of a run: write this tensor alone"))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(ExportOptions, "export", logs=False)
def export(options: ExportOptions) -> None:
    """Write a fitted model as code for another simulator, or what a run has programmed for a chip's own tools.

    FILE is a model of hwloop fit (a noise model for aihwkit, a device for CrossSim), or a run of hwloop program or a
    network of hwloop deploy (targets, reached conductances, where every device lies, scales, column corrections).

    \b
    Examples:
      # model.json and run.h5: of the examples of hwloop fit and program
      hwloop export model.json --to aihwkit --out noise_model.py
      hwloop export run.h5 --to npz --out run.npz
    """  # noqa: D301  click needs the backspace
    import hwloop
    from hwloop.exporters.export import Export

    result = hwloop.export(options.file, options.to, options.out, tensor=options.tensor, force=options.force)
    if options.as_json:
        print_json(result.to_json())
    elif isinstance(result, Export):
        fits = ", ".join(result.fits)
        click.echo(wrapped(f"{options.out}: {fits} for {options.to}. Its first lines say how to use it."))
    else:
        click.echo(
            f"{options.out}: {result.devices} devices in {result.tiles} tile(s) of {len(result.tensors)} tensor(s)"
        )
