"""What all commands share: errors as one line, --json, --debug, progress, and a Ctrl-C that stops between steps."""

from __future__ import annotations

import json
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import click

from hwloop.errors import BadInputError, CalibrationWarning, HwloopError

Function = TypeVar("Function", bound=Callable[..., Any])

NO_MVM = "This chip has no MVM: its error is computed from device reads, without converters and wires."
GOAL_MISSED = 1
"""Exit code: the command ran, but its goal was not reached or it was stopped."""


class Command(click.Command):
    """A command whose expected errors end as one line on stderr and the exit code of their class."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error.")
        )

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        warnings.showwarning = _show_warning
        try:
            return super().invoke(context)
        except HwloopError as error:
            if "--debug" in sys.argv:
                raise
            click.echo(f"error: {'; '.join([str(error), *getattr(error, '__notes__', [])])}", err=True)
            context.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            context.exit(GOAL_MISSED)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:
            if "--debug" in sys.argv:
                raise
            click.echo(
                f"error: unexpected {type(error).__name__} ({error}); this is a fault of hwloop or of a driver: "
                "run again with --debug and report what it shows",
                err=True,
            )
            context.exit(HwloopError.exit_code)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Hwloop's own warnings as one line on stderr; those of libraries are for developers."""
    if issubclass(category, CalibrationWarning):
        click.echo(f"warning: {message}", err=True)


def json_option(function: Function) -> Function:
    """Add --json, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else there.")(
        function
    )


def print_json(result: Any) -> None:
    """Print the one JSON object of a command."""
    click.echo(json.dumps(result, indent=2, allow_nan=False))


def pairs(texts: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE texts as a dictionary. Raises BadInputError for one that is none, or a key given twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadInputError(f"--set {text}: expected KEY=VALUE")
        if name in found:
            raise BadInputError(f"--set {name} is given twice")
        found[name] = value
    return found


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total) that draws a bar with an ETA on a terminal's stderr, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with click.progressbar(length=1000, label=label, file=sys.stderr, show_pos=False) as bar:
        drawn = 0

        def show(done: int, total: int) -> None:
            nonlocal drawn
            now = 1000 * done // max(total, 1)
            bar.update(now - drawn)
            drawn = now

        yield show
        show(1, 1)


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """A function to call between steps: it raises KeyboardInterrupt once Ctrl-C was pressed.

    The first Ctrl-C lets the present step finish, so that the chip is left in a defined state; a second one stops at
    once.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        click.echo("\nstopping after this step; press Ctrl-C again to stop at once", err=True)

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
