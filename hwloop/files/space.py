"""Room on the disk: asked for before a job touches a chip, and held for its result until that is written."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from hwloop.errors import BadInputError


def check_space(path: Path, needed: int) -> None:
    """Refuse a job whose files there is no room for. Raises BadInputError where that is known.

    Parameters
    ----------
    path
        Output file.
    needed
        Bytes that the job will write there and beside it, at most.
    """
    try:
        free = shutil.disk_usage(path.absolute().parent).free
    except OSError:
        return  # a disk that does not say; whoever writes will tell
    if free < needed:
        raise BadInputError(
            f"{path}: the job will need up to {in_words(needed)} there, and {in_words(free)} are free; make room, or "
            "give a place on another disk"
        )


class Spare:
    """A file without content that holds room on the disk, to be given up when something else must be written."""

    def __init__(self, path: Path, size: int) -> None:
        """Take so many bytes. Raises OSError where there is no room; a disk that cannot say so holds nothing."""
        self.path = path
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def give_up(self) -> bool:
        """Free the room; tell whether there was any to free."""
        there = self.path.exists()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        return there


def in_words(size: int) -> str:
    """Write a number of bytes for people."""
    for unit, bound in (("GB", 10**9), ("MB", 10**6)):
        if size >= bound:
            return f"{size / bound:.3g} {unit}"
    return f"{max(size, 0) / 1000:.3g} kB"
