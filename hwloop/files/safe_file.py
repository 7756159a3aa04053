"""A file for HDF5 that never fails: what the disk does not take is kept in memory, and told when it is asked for.

HDF5 cannot close a file whose last bytes it cannot write, and crashes the process when it tries; so it never learns of
a full disk. Whoever writes asks `SafeFile.error` after each flush, and saves the whole content elsewhere with
`copy_to`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hwloop.errors import BadInputError


class SafeFile:
    """A file that is read and written at will, as h5py takes it in place of a name."""

    def __init__(self, path: Path, *, keep: bool) -> None:
        """Open a file, empty unless what is there shall be kept. Raises OSError where that cannot be done."""
        self.path = path
        self.error: OSError | None = None
        """What the disk refused first; None where it took all."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        self._descriptor = os.open(path, flags if keep else flags | os.O_TRUNC, 0o666)
        self._size = os.fstat(self._descriptor).st_size
        self._at = 0
        self._kept: list[tuple[int, bytes]] = []  # what the disk did not take, in order

    # ---- what h5py calls -------------------------------------------------------------------------------------

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the file."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Return the place in the file."""
        return self._at

    def write(self, data: bytes | memoryview) -> int:
        """Write; what the disk refuses is kept in memory."""
        view = memoryview(data).cast("B")
        if self.error is None:
            try:
                done = 0
                while done < len(view):
                    done += os.pwrite(self._descriptor, view[done:], self._at + done)
            except OSError as error:
                self.error = error
        if self.error is not None:
            self._kept.append((self._at, bytes(view)))
        self._at += len(view)
        self._size = max(self._size, self._at)
        return len(view)

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def readinto(self, buffer: memoryview) -> int:
        """Read what was written, wherever it is."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._at))
        found = os.pread(self._descriptor, count, self._at)
        view[: len(found)] = found
        view[len(found) : count] = bytes(count - len(found))
        for at, data in self._kept:
            first, last = max(at, self._at), min(at + len(data), self._at + count)
            if first < last:
                view[first - self._at : last - self._at] = data[first - at : last - at]
        self._at += count
        return count

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file."""
        size = self._at if size is None else size
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self.error = self.error or error
        self._size = size
        return size

    def flush(self) -> None:
        """Do nothing: what is written is with the operating system."""

    # ---- what the writer calls -------------------------------------------------------------------------------

    def sync(self) -> None:
        """Wait until all is on the disk; what it refuses is in `error`."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self.error = self.error or error

    def copy_to(self, path: Path) -> None:
        """Write the whole content to a new file. Raises OSError."""
        with path.open("xb") as stream, open(self._descriptor, "rb", closefd=False) as source:
            source.seek(0)
            shutil.copyfileobj(source, stream)
            for at, data in self._kept:
                stream.seek(at)
                stream.write(data)
            stream.truncate(self._size)
            stream.flush()
            os.fsync(stream.fileno())

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def rescued(path: Path, write: Callable[[Path], None]) -> Path | None:
    """Write a file that has no room at its own path into the home folder, else the one for temporary files.

    Parameters
    ----------
    path
        Where it should be.
    write
        Writes it to a new file; what it raises is an OSError or a BadInputError.

    Returns
    -------
    Path
        Where it is now; None where no place had room.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for folder in (Path.home(), Path(tempfile.gettempdir())):
        place = folder / f"{path.stem}.rescued-{stamp}{path.suffix}"
        try:
            write(place)
        except (OSError, BadInputError):
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)
            continue
        return place
    return None


def kept_at(path: Path, place: Path | None) -> str:
    """Tell, for an error message, where what was done is."""
    if place is None:
        return f"no place was found for what was done: neither beside {path}, nor at home, nor for temporary files"
    return f"what was done is in {place}"
