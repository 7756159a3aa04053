"""Reads a stranger's HDF5 file once in a process of its own, because a damaged one can hang HDF5 or crash it.

The child imports nothing of hwloop: it is this file, run as a script.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrialLimits:
    """What the reading of a file may take."""

    seconds: float = 8.0
    """Time until it is given up."""
    reading: float = 3.0
    """Time for reading values; those of a larger file are read as far as that goes."""
    memory: int = 4 * 2**30
    """Bytes of address space."""
    piece: int = 2**22
    """Values read at a time."""


LIMITS = TrialLimits()
"""The limits of every trial."""


def trouble(path: str | Path) -> str:
    """Read a file in a child process and tell what goes wrong there; an empty text when nothing does.

    What h5py itself can say of a file is left to its next reader, who says it better.
    """
    command = [sys.executable, "-I", __file__, str(path)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMITS.seconds,
            check=False,
            start_new_session=True,  # Ctrl-C in a terminal goes to all of its processes, and would look like a crash
        )
    except subprocess.TimeoutExpired:
        return f"HDF5 does not come to an end with it in {LIMITS.seconds:g} s"
    except OSError:
        return ""  # no process can be started here
    if done.returncode < 0:
        return f"HDF5 crashes on it (signal {-done.returncode})"
    return done.stdout.decode("utf-8", "replace").strip()


def _read(path: str) -> str:
    import time

    import h5py
    import numpy as np

    until = time.monotonic() + LIMITS.reading

    def visit(name: str, item: h5py.HLObject) -> None:
        for key in item.attrs:
            item.attrs[key]
        if not isinstance(item, h5py.Dataset) or item.shape is None or item.is_virtual or item.external:
            return
        if not item.id.get_storage_size():
            return  # no value is in the file, however many there are said to be
        rows = max(1, LIMITS.piece // max(1, int(np.prod(item.shape[1:], dtype=np.float64))))
        for start in range(0, item.shape[0] if item.ndim else 1, rows):
            if time.monotonic() > until:
                return
            item[start : start + rows] if item.ndim else item[()]

    with h5py.File(path, "r") as file:
        for key in file.attrs:
            file.attrs[key]
        file.visititems(visit)
    return ""


def _main(path: str) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (LIMITS.memory, LIMITS.memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _read(path)
    except MemoryError:
        print("it asks for more memory than it can hold")
    except Exception:  # h5py finds it damaged, or held by another program, and will say so again
        pass


if __name__ == "__main__":
    _main(sys.argv[1])
