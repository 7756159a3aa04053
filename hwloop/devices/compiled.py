"""Functions that numba compiles when they are first called, for arithmetic on all devices of a core.

A chain of numpy's operations passes over its arrays once an operation; a compiled loop passes once. What is compiled
is kept on disk, beside the code or in the user's folder for caches, so that only the first use ever waits for it.
Without numba the same functions run as they stand, which is much slower.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

numba: Any = None
with suppress(ImportError):
    numba = importlib.import_module("numba")

_LOOSE = {"arcp", "contract"}
"""Divisions by the same number may become products, and a product and a sum one operation."""


def compiled(function: F, kept: bool = False) -> F:
    """Return the function, compiled where that is possible, and `kept` on disk."""
    if numba is None:
        return function
    try:
        done: F = numba.njit(function, cache=kept, nogil=True, error_model="numpy", fastmath=_LOOSE)
    except RuntimeError:  # there is no folder to keep in what is compiled
        done = numba.njit(function, nogil=True, error_model="numpy", fastmath=_LOOSE)
    return done


def kept(function: F) -> F:
    """Return the function, compiled and kept on disk, where that is possible; it calls nothing of another file.

    What is kept is found again by the time at which the function's own file was written.
    """
    return compiled(function, kept=True)
