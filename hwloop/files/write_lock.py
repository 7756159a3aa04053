"""A lock on a file that is being written, which the operating system lifts when its process ends, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hwloop.errors import BadInputError


class WriteLock:
    """Sole right to write a file, which is made where there is none; a file system without locks grants it to all."""

    def __init__(self, path: Path, meant: Path) -> None:
        """Take the lock.

        Parameters
        ----------
        path
            File to lock; a symbolic link is not followed.
        meant
            File that the user knows, for messages.

        Raises
        ------
        BadInputError
            When another process, or this one, has it.
        OSError
            When the file cannot be opened.
        """
        self._descriptor = -1
        while self._descriptor < 0:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
            try:
                _lock(descriptor)
                if _is(descriptor, path):  # else its writer has just finished and moved it away
                    self._descriptor = descriptor
            except BlockingIOError:
                raise BadInputError(
                    f"{meant} is being written by another process; wait for it, or use another name"
                ) from None
            finally:
                if self._descriptor < 0:
                    os.close(descriptor)

    def release(self) -> None:
        """Give the lock back; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_locked(path: Path) -> bool:
    """Tell whether somebody has the lock of a file, or may have it; the file is neither made nor changed."""
    if sys.platform == "win32":
        return path.exists()
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
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


def _lock(descriptor: int) -> None:
    """Lock without waiting. Raises BlockingIOError where somebody else has the lock."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return  # this file system has no locks


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
