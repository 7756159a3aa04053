"""The `hwloop` command: one module per command, errors and exit codes in one place."""

from __future__ import annotations

import importlib
import importlib.metadata
import keyword

import click

# Command -> module and one-line help, so that `hwloop --help` loads no command.
COMMANDS = {
    "program": "program",
    "compare": "compare",
    "evaluate": "evaluate",
    "drift": "drift",
    "measure": "measure",
    "import": "import_",
    "calibrate": "calibrate",
    "info": "info",
    "backends": "info",
    "fit": "fit",
    "export": "export",
    "serve": "serve",
    "discover": "discover",
}


class _Commands(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"hwloop.cli.{COMMANDS[name]}")
        command: click.Command = getattr(module, f"{name}_" if keyword.iskeyword(name) else name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(importlib.metadata.version("hwloop"), prog_name="hwloop")
def main() -> None:
    """Program, calibrate and measure analog in-memory computing chips, real or simulated.

    \b
    Start here:
      hwloop program data/digits_mlp.safetensors --backend "sim:hermes-core?seed=1" --method gdp --out run.h5
      hwloop COMMAND --help      every command's help ends with an example that runs
    """  # noqa: D301  click needs the backspace
