"""`hwloop examples`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from hwloop.cli.common import command, force_option, given, json_option, print_json


@dataclass(frozen=True)
class ExamplesOptions:
    """Options of `hwloop examples`."""

    folder: str = given(click.Argument(["folder"], type=click.Path()))
    force: bool = given(force_option())
    as_json: bool = given(json_option())


@command(ExamplesOptions, "examples", logs=False)
def examples(options: ExamplesOptions) -> None:
    """Copy the example data into FOLDER/data: in FOLDER every example of every command runs.

    \b
    Example:
      hwloop examples first-steps
      cd first-steps
      hwloop program data/digits_mlp.safetensors \\
          --backend "sim:hermes-core?seed=1" --out run.h5
    """  # noqa: D301  click needs the backspace
    from hwloop.data import copy_examples

    written = copy_examples(options.folder, force=options.force)
    if options.as_json:
        print_json({"files": [str(one) for one in written]})
    else:
        click.echo(f"{len(written)} files in {written[0].parent}; data/README.md says what they are.")
