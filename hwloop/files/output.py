"""A file that a job writes: it has one writer at a time, and what stands under its name is replaced in one step."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeAlias

from hwloop.custody.lock import lock_file
from hwloop.errors import BadInputError, OutputWarning

Fill: TypeAlias = Callable[[IO[bytes]], object]
"""Writes the content of a file into a stream, as often as it is asked to."""
_Write: TypeAlias = Callable[[Path, bool], None]
"""Puts a file under a name; with True, only where there is none, else FileExistsError."""

LOG = logging.getLogger(__name__)


class OutputFile:
    """The sole right to write a file, from before a job's first pulse to its end.

    A file of that name which appears meanwhile, and is not of this job, is not replaced unless that was allowed: what
    the job writes then goes to a name beside it, and a warning says so.
    """

    def __init__(self, path: str | Path, *, force: bool) -> None:
        """Take the lock of a file that can be written.

        Raises
        ------
        BadInputError
            When it exists (without force), cannot be written, or is being written by somebody.
        """
        self.path = check_writable(path, force=force)
        self.moved = False
        self._force = force
        self._own: tuple[int, int, int] | None = None
        self._lock = lock_file(self.path)
        try:
            check_writable(path, force=force)  # the last writer may have finished just before the lock was taken
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def going_on(cls, path: str | Path) -> OutputFile:
        """Take the lock of a file that exists and is gone on with: it is ours to replace."""
        file = cls(path, force=True)
        file._force, file._own = False, _identity(Path(os.path.realpath(path)))
        return file

    def replace(self, content: bytes) -> None:
        """Replace what stands under the name. Raises BadInputError when that fails."""
        LOG.debug("writes %s, %d bytes", self.path, len(content))
        self._put(lambda path, new: replace_file(path, content, new=new))

    def fill(self, fill: Fill) -> None:
        """Replace what stands under the name by what a function writes. Raises BadInputError when that fails."""
        self._put(lambda path, new: _replace(path, fill, new=new))

    def place(self, finished: Path) -> None:
        """Give a finished file, in the same folder, the name; the data must have reached the disk. Raises OSError."""
        self._put(lambda path, new: _place(finished, Path(os.path.realpath(path)), new=new))

    def close(self) -> None:
        """Let others write the file; a second time does nothing."""
        self._lock.release()

    def _put(self, write: _Write) -> None:
        while True:
            real = Path(os.path.realpath(self.path))
            there = _identity(real)
            if self._force or there is None or there == self._own:
                try:
                    write(self.path, there is None and not self._force)
                except FileExistsError:
                    continue  # it appeared between the look and the write
                self._own = _identity(real)
                return
            self._move()

    def _move(self) -> None:
        """Go on beside a file that somebody else put under the name."""
        was, number = self.path, 1
        while os.path.lexists(other := was.with_name(f"{was.stem}-{number}{was.suffix}")):
            number += 1
        fresh = lock_file(other)
        self._lock.release()
        self.path, self.moved, self._lock, self._own = other, True, fresh, None
        warnings.warn(
            f"{was} was put there by somebody else meanwhile and is left as it is; this goes on in {other}",
            OutputWarning,
            stacklevel=4,
        )


def write_file(path: str | Path, content: bytes, *, force: bool) -> None:
    """Write a file in one step. Raises BadInputError when it exists (without force) or cannot be written."""
    file = OutputFile(path, force=force)
    try:
        file.replace(content)
    finally:
        file.close()


def write_in_parts(path: str | Path, fill: Fill, *, force: bool) -> None:
    """Write a file that need not fit into memory, as `write_file` does; `fill` writes its content into a stream."""
    file = OutputFile(path, force=force)
    try:
        file.fill(fill)
    finally:
        file.close()


def check_writable(path: str | Path, *, force: bool) -> Path:
    """Return the path once it is known that a file can be written there. Raises BadInputError otherwise."""
    path = Path(path)
    try:
        if path.is_dir():
            raise BadInputError(f"{path} is a folder; give a file name")
        if path.exists() and not path.is_file():
            raise BadInputError(f"{path} is a device or a pipe; give the name of a file")
        if path.exists() and not force:
            raise BadInputError(f"{path} exists; use --force to replace it, or another name")
        if not path.absolute().parent.is_dir():
            raise BadInputError(f"{path}: the folder {path.parent} does not exist; make it first")
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(os.path.realpath(path))):
            pass
    except OSError as error:
        raise _unwritable(path, error) from None
    return path


def replace_file(path: Path, content: bytes, *, new: bool = False) -> None:
    """Write `content` beside `path` and put it in its place in one step; a link to a file stays a link.

    A file that is replaced keeps its permissions, and a new one gets those that the umask leaves.

    Raises
    ------
    BadInputError
        When that fails.
    FileExistsError
        Where `new` asks for a name that no file has, and one has it.
    """
    _replace(path, lambda stream: stream.write(content), new=new)


def _replace(path: Path, fill: Fill, *, new: bool) -> None:
    """Fill a file beside `path` and put it in its place in one step, as `replace_file` says."""
    real = Path(os.path.realpath(path))
    beside = real.with_name(f".hwloop.{secrets.token_hex(8)}")
    try:
        # Not tempfile: its files are for their owner alone, whatever the umask.
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as stream:
            fill(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if real.exists():
            os.chmod(beside, real.stat().st_mode & 0o777)
        _place(beside, real, new=new)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, FileExistsError):
            raise _unwritable(path, error) from None
        raise


def _place(file: Path, real: Path, *, new: bool) -> None:
    """Rename a file; with `new`, only to a name that is free, else FileExistsError."""
    if new:
        try:
            os.link(file, real)  # unlike a rename, never replaces
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                raise
            if os.path.lexists(real):  # a file system without hard links: as sure as can be
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(real)) from None
        else:
            file.unlink()
            return
    os.replace(file, real)


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return what tells a file from another of the same name; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size


def _unwritable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(f"{path} cannot be written ({error.strerror}); give another place")
