"""Functions that take an open chip say so to those who give them its URI."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from hwloop.errors import BadInputError

P = ParamSpec("P")
R = TypeVar("R")

CHIPS = ("Backend", "Backend | None")
"""How parameters are annotated that are open chips."""


def takes_open_chips(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse a text or path where a parameter is annotated as a chip, with a line that says how one is opened."""
    parameters = inspect.signature(function).parameters
    places = [(place, name) for place, name in enumerate(parameters) if parameters[name].annotation in CHIPS]

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for place, name in places:
            value = args[place] if place < len(args) else kwargs.get(name)
            if isinstance(value, str | os.PathLike):
                raise BadInputError(
                    f"{name} is a text, {os.fspath(value)!r}, and not an open chip: open it with hwloop.connect(...)"
                )
        return function(*args, **kwargs)

    return call
