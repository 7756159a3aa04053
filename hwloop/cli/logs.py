"""What a command does, as it does it: on stderr where that is asked for, and in a log file of every run.

As a library hwloop says nothing of itself: its loggers, `hwloop` and below, have no handler but what their user gives
them. A command gives them a file, which is made once there is something to tell of, and with `--verbose` stderr.
"""

from __future__ import annotations

import logging
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from hwloop.custody.places import log_folder
from hwloop.errors import BadInputError, printable

META = "hwloop.logs"
"""Key under which a context keeps what was asked for."""
WIRE = "hwloop.scpi.wire_log"
"""Logger of every message to and from an instrument."""


@dataclass(frozen=True)
class LogRules:
    """What log files are like.

    Parameters
    ----------
    kept
        Files in the user's folder; older ones are deleted.
    line
        Format of a line.
    """

    kept: int = 100
    line: str = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


RULES = LogRules()


@dataclass
class Asked:
    """What is asked of a command's log.

    Parameters
    ----------
    verbose
        How often --verbose is given: what goes on, and in detail.
    path
        Log file; None for one in the user's folder.
    wire
        Whether every message to and from an instrument is in it.
    """

    verbose: int = 0
    path: str | None = None
    wire: bool = False


def log_options() -> list[click.Option]:
    """Make the options --verbose, --log and --log-wire, which are kept in the context."""

    def keep(context: click.Context, option: click.Parameter, value: int | str | bool | None) -> None:
        asked = context.meta.setdefault(META, Asked())
        setattr(asked, {"verbose": "verbose", "log": "path", "log_wire": "wire"}[str(option.name)], value)

    return [
        click.Option(
            ["--verbose", "-v"],
            count=True,
            expose_value=False,
            callback=keep,
            help="Say on stderr what goes on; -vv in detail.",
        ),
        click.Option(
            ["--log"],
            type=click.Path(dir_okay=False),
            expose_value=False,
            callback=keep,
            metavar="FILE",
            help="Log file, added to [default: one of its own in the user's folder].",
        ),
        click.Option(
            ["--log-wire"],
            is_flag=True,
            expose_value=False,
            callback=keep,
            help="Also log every message to and from an instrument.",
        ),
    ]


@contextmanager
def logged(context: click.Context, say: Callable[[str], None]) -> Iterator[None]:
    """Log what the command of a context does; `say` writes a line on stderr. Raises BadInputError for a bad file."""
    asked = context.meta.get(META)
    if not isinstance(asked, Asked):
        yield
        return
    logger, wire = logging.getLogger("hwloop"), logging.getLogger(WIRE)
    detail = logging.DEBUG if asked.verbose > 1 else logging.INFO
    file = LateFile(_path_for(context, asked.path))
    file.setFormatter(logging.Formatter(RULES.line))
    handlers: list[logging.Handler] = [file]
    if asked.verbose:
        handlers.append(Said(say))
    before = logger.level, wire.level
    logger.setLevel(detail)
    wire.setLevel(logging.DEBUG if asked.wire else logging.CRITICAL)
    for handler in handlers:
        logger.addHandler(handler)
    began = time.monotonic()
    try:
        yield
    except BaseException as error:
        logger.debug("ended with %s after %.3f s", type(error).__name__, time.monotonic() - began)
        raise
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(before[0])
        wire.setLevel(before[1])


def log_of_run() -> Path | None:
    """Return the log file of the command that runs, where there is one by now."""
    files = [one for one in logging.getLogger("hwloop").handlers if isinstance(one, LateFile)]
    return files[0].path if files and files[0].begun else None


class Said(logging.Handler):
    """Says what is logged, a line each."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Say lines by `say`."""
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Say a record, without a traceback, which the file has; what commands say themselves is not said twice."""
        if record.name == "hwloop.cli.common":
            return
        self._say(f"{record.name.removeprefix('hwloop.')}: {printable(record.getMessage())}")


class LateFile(logging.Handler):
    """A log file that is made, and begins with what was called where, at its first line."""

    def __init__(self, path: Path) -> None:
        """Write to a file, later."""
        super().__init__()
        self.path, self._lost = path, False
        self._file: logging.FileHandler | None = None

    @property
    def begun(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; a file that cannot be written is told of once, and stops no job."""
        if self._lost:
            return
        try:
            if self._file is None:
                self._file = self._begin()
            self._file.emit(record)
        except OSError as error:
            self._lost = True
            click.echo(printable(f"warning: no log is kept: {self.path}: {error.strerror}"), err=True)

    def _begin(self) -> logging.FileHandler:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(self.path, encoding="utf-8", errors="backslashreplace")
        file.setFormatter(self.formatter)
        words = " ".join(map(shlex.quote, sys.argv[1:]))
        release = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
        first = logging.LogRecord("hwloop", logging.INFO, "", 0, "%s", (f"hwloop {words} ({release})",), None)
        file.emit(first)
        return file

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        super().close()


def _path_for(context: click.Context, named: str | None) -> Path:
    """Return the log file of a command: the one that is named, or one of its own, for which old ones make room."""
    if named is not None:
        path = Path(named)
        if path.is_dir() or not path.resolve().parent.is_dir():
            raise BadInputError(f"log {path} cannot be written; give another place")
        if path.exists() and path.suffix in (".h5", ".json", ".npz", ".npy", ".safetensors", ".toml"):
            raise BadInputError(f"log {path} would be added to a file of another kind; give another name")
        return path
    folder = log_folder()
    _make_room(folder)
    out = context.params.get("out")
    words = [context.info_name or "hwloop", *([Path(out).name] if isinstance(out, str) else [])]
    return folder / f"{datetime.now():%Y-%m-%d-%H%M%S-%f}-{'-'.join(words)}.log"


def _make_room(folder: Path) -> None:
    """Delete the oldest log files beyond those that are kept; another program may do the same at once."""
    if not folder.is_dir():
        return
    for old in sorted(folder.glob("*.log"))[: -RULES.kept]:
        old.unlink(missing_ok=True)
