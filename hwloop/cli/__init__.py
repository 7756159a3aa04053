"""The `hwloop` command: one module per command, errors and exit codes in one place.

`hwloop --help` loads no command, and so neither torch nor scipy.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager

import click

from hwloop.cli.terminal import shown_streams
from hwloop.errors import BadInputError
from hwloop.registry import suggest

COMMANDS = {
    "program": ("program", "Put weights on a chip and measure the MVM error."),
    "deploy": ("deploy", "Put a whole trained network on a chip, and measure its accuracy."),
    "compare": ("compare", "Program the same chip with several methods, side by side."),
    "resume": ("resume", "Go on with a job that was stopped or killed."),
    "evaluate": ("evaluate", "Measure what the chip of a run holds now."),
    "drift": ("drift", "Let the chip of a run age, with each compensation."),
    "retrain": ("retrain", "Train a network for a chip, with its noise."),
    "train": ("train", "Train a network on the devices of a chip."),
    "fewshot": ("fewshot", "Learn classes from few examples, in the memory of a chip."),
    "search": ("search", "Find networks that fit a chip."),
    "coreset": ("coreset", "Summarise activations under a budget of bits."),
    "sensitivity": ("sensitivity", "Find out how much of each nonideality a network bears."),
    "calibrate": ("calibrate", "Find out what a chip is, and keep it in a file."),
    "measure": ("measure", "Measure the devices of a chip."),
    "import": ("import_", "Bring measurements made elsewhere."),
    "fit": ("fit", "Fit noise and drift models to measurements."),
    "predict": ("predict", "Predict conductances from a fitted model."),
    "export": ("export", "Write a fitted model for another simulator."),
    "show": ("show", "Show what is in any file that hwloop writes."),
    "plot": ("plot", "Draw a picture of any file that hwloop writes."),
    "report": ("report", "Write one HTML page about any file that hwloop writes."),
    "examples": ("examples", "Copy the example data into a folder."),
    "ledger": ("ledger", "Show what the devices of a chip have received in their life."),
    "info": ("info", "Show a chip: geometry, limits, parameters with sources."),
    "backends": ("info", "List the kinds of chip that can be connected to."),
    "discover": ("discover", "Look for instruments."),
    "serve": ("serve", "Serve a simulated chip as an instrument."),
    "web": ("web", "Compose, run and watch experiments in a browser."),
}
"""Module and line of help of each command."""


class Commands(click.Group):
    """All commands, each loaded when it is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        """List the names."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Load a command; None where there is none of this name."""
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"hwloop.cli.{COMMANDS[name][0]}")
        found: click.Command = getattr(module, "import_" if name == "import" else name)
        return found

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of a command line, with a suggestion where it is misspelt."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(f"there is no command '{args[0]}'; {suggest(args[0], list(COMMANDS))}", context)
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse the words before the command."""
        context.meta[WORDS] = list(args)
        with _one_line(context):
            return super().parse_args(context, args)

    def invoke(self, context: click.Context) -> None:
        """Run a command line."""
        context.color = True  # else click would take escape sequences out of what no terminal reads, and not show them
        with _one_line(context):
            super().invoke(context)


WORDS = "hwloop.words"
"""Key under which a context keeps the command line."""


@contextmanager
def _one_line(context: click.Context) -> Iterator[None]:
    """Show what a terminal would obey, and end wrong use as one line, or one JSON object, like every other error."""
    try:
        with shown_streams():
            yield
    except click.ClickException as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # click before 8.2 has none
            raise
        from hwloop.cli.common import fail

        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "hwloop"
        hint = f" ({where} --help tells more)" if isinstance(error, click.UsageError) else ""
        text = error.format_message().rstrip(".")
        fail(f"{text}{hint}", "usage", BadInputError.exit_code, as_json="--json" in context.meta[WORDS])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(importlib.metadata.version("hwloop"), prog_name="hwloop")
def main() -> None:
    """Program, calibrate and measure analog in-memory computing chips, real or simulated.

    \b
    Start here:
      hwloop examples .          copy the example data into data/
      hwloop program data/digits_mlp.safetensors \\
          --backend "sim:hermes-core?seed=1" --out run.h5
      hwloop show run.h5
      hwloop COMMAND --help      each has an example that runs, in this order
    """  # noqa: D301  click needs the backspace
