"""What all commands share: options as one object, errors as one line, --json, --debug, progress, and a safe Ctrl-C."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar

import click

from hwloop.cli.events import Told, present
from hwloop.cli.logs import log_of_run, log_options, logged
from hwloop.cli.terminal import drawing, lines
from hwloop.errors import (
    BadInputError,
    CalibrationWarning,
    ChipError,
    HwloopError,
    LimitError,
    MissingCapabilityError,
    NeedsNote,
    OutputWarning,
    ProgrammingWarning,
    WeightsNote,
    printable,
)
from hwloop.jobs.progress import Report, TileProgress, phase, silent, tile

if TYPE_CHECKING:
    from hwloop.cli.live import Display
    from hwloop.typing import Json

O = TypeVar("O")  # noqa: E741  the options of a command
F = TypeVar("F")

LOG = logging.getLogger(__name__)
GOAL_MISSED = 1
"""Exit code: the command ran, but its goal was not reached or it was stopped."""
KINDS: dict[type[HwloopError], str] = {
    MissingCapabilityError: "missing-capability",
    LimitError: "limit",
    BadInputError: "bad-input",
    ChipError: "chip",
}
"""What `kind` says of an error in JSON."""


# ---- options -------------------------------------------------------------------------------------------------


def given(parameter: click.Parameter) -> Any:
    """Declare a field of a command's options by the click option or argument that fills it."""
    return dataclasses.field(metadata={"parameter": parameter})


def command(
    options: type[O], name: str, short_help: str | None = None, *, logs: bool = True
) -> Callable[[Callable[[O], None]], Command]:
    """Make a command of a function that takes its options as one object.

    Parameters
    ----------
    options
        Dataclass whose fields are made with `given`.
    name
        What the user types.
    short_help
        One line for the list of commands; None for the beginning of the function's docstring.
    logs
        Whether it keeps a log, and has the options of one.
    """

    def make(function: Callable[[O], None]) -> Command:
        fields = dataclasses.fields(options)  # type: ignore[arg-type]
        parameters: list[click.Parameter] = [field.metadata["parameter"] for field in fields]
        assert all(field.name == parameter.name for field, parameter in zip(fields, parameters, strict=True)), name

        def call(**values: F) -> None:
            function(options(**values))

        debug = click.Option(["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error.")
        own = {name for parameter in parameters for name in parameter.opts}
        more = [one for one in log_options() if own.isdisjoint(one.opts)] if logs else []
        params = [*parameters, *more, debug]
        return Command(name, callback=call, params=params, help=function.__doc__, short_help=short_help)

    return make


class Command(click.Command):
    """A command whose expected errors end as one line, or one JSON object, with the exit code of their class."""

    def invoke(self, context: click.Context) -> None:
        """Run the command."""
        warnings.showwarning = _show_warning
        as_json = bool(context.params.get("as_json"))
        with contextlib.ExitStack() as until_its_end:
            try:
                until_its_end.enter_context(logged(context, say))
            except BadInputError as error:
                fail(str(error), kind_of(error), error.exit_code, as_json=as_json)
            until_its_end.enter_context(stopped_by(at_once))
            self._carry_out(context, as_json=as_json)

    def _carry_out(self, context: click.Context, *, as_json: bool) -> None:
        """Run the command, and end the program with the errors that are expected."""
        try:
            super().invoke(context)
        except HwloopError as error:
            if "--debug" in sys.argv:
                raise
            text = "; ".join([str(error), *getattr(error, "__notes__", [])])
            told = logging.ERROR if error.exit_code == HwloopError.exit_code else logging.INFO
            LOG.log(told, "%s", text, exc_info=error if told == logging.ERROR else None)
            fail(with_example(text) + _where_logged(error.exit_code), kind_of(error), error.exit_code, as_json=as_json)
        except KeyboardInterrupt as stop:
            text = "; ".join(["stopped", *map(str, stop.args)])
            fail(text, "stopped", GOAL_MISSED, as_json=as_json, plain=text)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:
            if "--debug" in sys.argv:
                raise
            LOG.error("unexpected %s: %s", type(error).__name__, error, exc_info=error)
            text = (
                f"unexpected {type(error).__name__} ({error}); this is a fault of hwloop or of a driver: "
                f"run again with --debug and report what it shows{_where_logged(HwloopError.exit_code)}"
            )
            fail(text, "fault", HwloopError.exit_code, as_json=as_json)


def fail(text: str, kind: str, code: int, *, as_json: bool, plain: str | None = None) -> NoReturn:
    """End the program with an error: one line on stderr, or one object on stdout when JSON was asked for."""
    if as_json:
        print_json({"error": text, "kind": kind})
    else:
        click.echo(printable(plain if plain is not None else f"error: {text}"), err=True)
    sys.exit(code)


def _where_logged(code: int) -> str:
    """Name the log file to a failure of the chip, the link, or hwloop itself."""
    path = log_of_run() if code == HwloopError.exit_code else None
    return "" if path is None else f"; the log is {path}"


def with_example(text: str) -> str:
    """Add to an error about a missing file how to get it, where it is one of the examples."""
    from hwloop import data

    missing = re.search(r"\bdata[/\\]([^/\\]+): no such file\Z", text)
    return f"{text}; hwloop examples . copies it here" if missing and missing[1] in data.names() else text


def kind_of(error: HwloopError) -> str:
    """Return the word that stands for the class of an error in JSON."""
    return next((kind for of, kind in KINDS.items() if isinstance(error, of)), "chip")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show hwloop's own warnings as one line on stderr; those of libraries are for developers."""
    if issubclass(category, CalibrationWarning | ProgrammingWarning | OutputWarning | WeightsNote | NeedsNote):
        LOG.warning("%s", message)
    if issubclass(category, CalibrationWarning | ProgrammingWarning | OutputWarning):
        say(f"warning: {message}")
    elif issubclass(category, WeightsNote | NeedsNote):
        say(f"note: {message}")


def leave(code: int) -> NoReturn:
    """End the command with an exit code."""
    click.get_current_context().exit(code)


def json_option() -> click.Option:
    """Make the option --json, which fills the field `as_json`."""
    return click.Option(["--json", "as_json"], is_flag=True, help="One JSON object on stdout, nothing else there.")


def force_option() -> click.Option:
    """Make the option --force, which fills the field `force`."""
    return click.Option(["--force"], is_flag=True, help="Replace an existing output file.")


def seed_option(default: int, what: str) -> click.Option:
    """Make the option --seed, which fills the field `seed`."""
    return click.Option(["--seed"], type=click.IntRange(0), default=default, show_default=True, help=f"Seed of {what}.")


def file_option(name: str, text: str, *, required: bool = False) -> click.Option:
    """Make an option that names a file."""
    return click.Option([name], type=click.Path(), required=required, help=text)


def print_json(result: Json) -> None:
    """Print the one JSON object of a command."""
    # JSON escapes all that a terminal would obey but the one character that is ASCII and above the space.
    click.echo(json.dumps(result, indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def pairs(texts: tuple[str, ...]) -> dict[str, str]:
    """Split KEY=VALUE texts. Raises BadInputError for a text without an equals sign, or a key given twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadInputError(f"--set {text}: expected KEY=VALUE")
        if name in found:
            raise BadInputError(f"--set {name} is given twice")
        found[name] = value
    return found


# ---- progress ------------------------------------------------------------------------------------------------


_DISPLAY: ContextVar[Display | None] = ContextVar("display", default=None)
"""The live display, where there is one: what is said goes above it."""


def say(text: str) -> None:
    """Write a line for people on stderr, above a live display."""
    display, events = _DISPLAY.get(), present()
    if events is not None:
        events.say(text)
    if display is None:
        click.echo(lines(text), err=True)
    else:
        display.say(text)


@contextmanager
def watched(label: str) -> Iterator[Report]:
    """Give a report that shows a job live on a terminal's stderr, and stops it between steps on Ctrl-C.

    The first Ctrl-C lets the present step finish, so that the chip is left in a defined state; a second one stops at
    once. Nothing is drawn where stderr is no terminal.
    """
    with stoppable() as stop:
        if not sys.stderr.isatty():
            yield Stoppable(_also_told(silent), stop)
            return
        from hwloop.cli.live import Display

        display = Display(label, drawing(sys.stderr))
        token = _DISPLAY.set(display)
        how = "stopped"
        try:
            yield Stoppable(_also_told(display), stop)
            if not stop.asked:  # else the job has ended where it was, and so does the bar
                display(1, 1)
                how = "done"
        except HwloopError:
            how = "failed"
            raise
        finally:
            _DISPLAY.reset(token)
            display.end(how)


def _also_told(show: Report) -> Report:
    """Let a file of events know what a report is told, where there is one."""
    events = present()
    return show if events is None else Told(show, events)


@dataclasses.dataclass(frozen=True)
class Stoppable:
    """A report that shows how far a job is, and then stops it where that was asked for."""

    show: Report
    stop: Stop

    def __call__(self, done: int, total: int) -> None:
        """Tell how far the job is. Raises KeyboardInterrupt once Ctrl-C was pressed."""
        self.show(done, total)
        self.stop()

    def phase(self, text: str) -> None:
        """Tell what the job does now."""
        phase(self.show, text)

    def tile(self, number: int, progress: TileProgress) -> None:
        """Tell how far a tile is."""
        tile(self.show, number, progress)


class Stop:
    """Whether a job was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> None:
        """Raise KeyboardInterrupt once it was."""
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Give what to call between steps: it raises KeyboardInterrupt once Ctrl-C, or `kill`, asked for it."""
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        stop()
        stop.asked = True
        with contextlib.suppress(OSError):  # of a terminal that is gone
            say("stopping after this step; press Ctrl-C again to stop at once")

    with stopped_by(note):
        yield stop


STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a process to end: Ctrl-C, `kill` and a machine that shuts down, and a terminal that is closed."""


def at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Stop at once, by way of all that leaves a chip in its safe state."""
    raise KeyboardInterrupt


@contextmanager
def stopped_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let a function handle what asks the process to end, but for signals that are ignored, as nohup has it."""
    if threading.current_thread() is not threading.main_thread():  # which alone hears signals
        yield
        return
    previous = {number: signal.getsignal(number) for number in STOPS}
    heard = [number for number in STOPS if previous[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, previous[number])


def section(told: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    """Return an object within a JSON object; an empty one where it is absent."""
    found = told.get(name)
    return found if isinstance(found, Mapping) else {}
