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

_LOOSE = frozenset({"arcp", "contract"})
"""Divisions by the same number may become products, and a product and a sum one operation."""


def compiled(function: F, kept: bool = False, loose: frozenset[str] = _LOOSE) -> F:
    """Return the function, compiled where that is possible, and `kept` on disk; `loose` is what may be rearranged."""
    if numba is None:
        return function
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(loose)}
    try:
        done: F = numba.njit(function, cache=kept, **options)
    except RuntimeError:  # there is no folder to keep in what is compiled
        done = numba.njit(function, **options)
    return done


def exact(function: F) -> F:
    """Return the function, compiled where that is possible, with each operation rounded as numpy rounds it."""
    return compiled(function, loose=frozenset())


def kept(function: F) -> F:
    """Return the function as `exact` does, kept on disk; it calls nothing that is compiled in another file.

    What is kept is found again by the time at which the function's own file was written.
    """
    return compiled(function, kept=True, loose=frozenset())
