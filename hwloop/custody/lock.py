"""A lock that one holder has at a time, that says who it is, and that is free again when the holder ends in any way.

The lock is the operating system's, on a small file of its own, so that nothing is left to clean up after a process that
was killed. What stands in the file is only for the message to whoever comes second.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import socket
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from hwloop.errors import BadInputError, printable


@dataclass(frozen=True)
class LockSettings:
    """What the files of locks are called, and what is shown of a holder."""

    longest_name: int = 200
    """Characters of a file's name that its lock may have in its own; a longer one is replaced by a digest."""
    shown: int = 160
    """Characters of a holder's command line that are shown."""
    largest: int = 2**16
    """Bytes that are read of what a holder says of itself."""


SETTINGS = LockSettings()
"""The settings of every lock."""


@dataclass(frozen=True)
class Holder:
    """Who has a lock, and since when."""

    pid: int
    host: str
    since: str
    command: str

    @classmethod
    def present(cls) -> Self:
        """Describe this process, now."""
        now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
        program = Path(sys.argv[0])
        name = program.parent.name if program.name == "__main__.py" else program.name  # python -m hwloop
        return cls(os.getpid(), socket.gethostname(), now, shlex.join([name, *sys.argv[1:]]))

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read who wrote a lock's file; None where it does not say."""
        try:
            with path.open("rb") as stream:
                told = json.loads(stream.read(SETTINGS.largest))
            return cls(int(told["pid"]), str(told["host"]), str(told["since"]), str(told["command"]))
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None

    def __str__(self) -> str:
        """Say it in words; whatever a terminal could take for a command is shown escaped."""
        command = self.command if len(self.command) <= SETTINGS.shown else self.command[: SETTINGS.shown] + "..."
        return printable(f"process {self.pid} on {self.host} since {self.since} UTC ({command})")


class Lock:
    """The sole right to something, until `release`."""

    def __init__(self, path: Path, what: str, way_out: str) -> None:
        """Take the lock, at once or not at all.

        Parameters
        ----------
        path
            File of the lock, made where there is none.
        what
            What is locked, for messages.
        way_out
            What else somebody who comes second can do, besides waiting.

        Raises
        ------
        BadInputError
            When somebody has it, with who that is, and when the file of the lock cannot be made.
        """
        self._path, self._held = path, False
        # Not bound to a thread: a chip may be closed by another one than that which opened it.
        self._lock = FileLock(path, timeout=0, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            holder = Holder.read(path) or "another process"
            raise BadInputError(f"{what} is in use by {holder}; wait for it, or {way_out}") from None
        except OSError as error:
            raise BadInputError(f"{what} cannot be locked: {path}: {error.strerror or error}") from None
        self._held = True
        self._tell()

    def _tell(self) -> None:
        """Write down who holds the lock; a full disk must not keep anybody from it."""
        try:
            self._path.write_text(json.dumps(asdict(Holder.present())), encoding="utf-8")
        except OSError:
            return

    def release(self) -> None:
        """Give the lock back; a second time does nothing."""
        if not self._held:
            return
        self._held = False
        if sys.platform != "win32":  # which deletes no file that is open
            # While it is held: later, it could be another holder's already. Who waits for the deleted file notices.
            self._path.unlink(missing_ok=True)
        self._lock.release()


def lock_file(path: Path) -> Lock:
    """Take the sole right to write a file, whatever links lead to it. Raises BadInputError where somebody has it."""
    return Lock(_lock_of(path), f"{path}", "give another name")


def file_in_use(path: Path) -> bool:
    """Tell whether somebody writes a file, or may do so; nothing is made or changed."""
    if sys.platform == "win32":
        return _lock_of(path).exists()
    import fcntl

    try:
        descriptor = os.open(_lock_of(path), os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # this file system has no locks
    finally:
        os.close(descriptor)
    return False


def _lock_of(path: Path) -> Path:
    """Return the file of the lock of a file, whatever links lead to it."""
    real = Path(os.path.realpath(path))
    name = real.name if len(real.name) <= SETTINGS.longest_name else hashlib.sha256(os.fsencode(real.name)).hexdigest()
    return real.with_name(f".{name}.lock")


def lock_named(folder: Path, what: str, way_out: str) -> Lock:
    """Take the sole right to something that is no file, such as a chip, by its name.

    Raises
    ------
    BadInputError
        Where somebody has it, and where the folder of the locks cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"{what} cannot be locked: {folder}: {error.strerror}; name a place that can be") from None
    return Lock(folder / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.lock", what, way_out)
