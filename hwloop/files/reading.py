"""What all readers of files share: whatever a damaged file lets fail becomes one line that names the file."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hwloop.errors import BadInputError, said

DAMAGE = (
    LookupError, ArithmeticError, ValueError, TypeError, AttributeError, OSError, RuntimeError, SystemError, EOFError,
    MemoryError, RecursionError, AssertionError,
)  # fmt: skip
"""What reading can raise for content that makes no sense, in Python, numpy and h5py."""


@contextmanager
def whole(path: str | Path, what: str, way_out: str) -> Iterator[None]:
    """Tell of whatever a damaged file lets fail in one line.

    Parameters
    ----------
    path
        The file, or what it is called.
    what
        What it should be, such as 'run file'.
    way_out
        What to do instead, such as 'program again'.

    Raises
    ------
    BadInputError
        For anything in `DAMAGE`.
    """
    try:
        yield
    except BadInputError:
        raise
    except DAMAGE as error:
        raise BadInputError(f"{path} is not a whole {what} ({said(error)}); {way_out}") from error


def held(path: str | Path) -> bool:
    """Tell whether another program has locked a file, as HDF5 does while it writes one. Raises OSError."""
    if sys.platform == "win32":
        return False
    import fcntl

    with open(path, "rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False  # this file system has no locks
    return False


def held_by_another(path: str | Path) -> BadInputError:
    """Make the error for a file that another program has locked."""
    return BadInputError(
        f"{path} is held open by another program, which may be writing it; wait until it is done, or close it there"
    )


def refusal(path: str | Path, error: BaseException) -> BadInputError:
    """Make the error for a file that HDF5 does not open: held by another program, damaged, or of another kind."""
    text = said(error)
    if getattr(error, "errno", None) in (errno.EAGAIN, errno.EACCES) or "unable to lock file" in text:
        if isinstance(error, PermissionError) and "lock" not in text:
            return BadInputError(f"{path} cannot be read: permission denied")
        return held_by_another(path)
    if "already open for write" in text:
        return BadInputError(
            f"{path} was not closed by the program that wrote it, or is still open there; close it there, or, if that "
            "program has died, run h5clear -s on a copy"
        )
    return BadInputError(
        f"{path} is not a readable HDF5 file ({text}); it is another kind of file, or damaged or cut off: copy it "
        "again, or make it anew"
    )
