"""Jobs have the chips that they work on to themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import ParamSpec, TypeVar

from hwloop.chip.backend import Backend
from hwloop.chip.opened import takes_open_chips
from hwloop.jobs.run import Run

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")


def exclusive(job: Callable[P, R]) -> Callable[P, R]:
    """Let a job have every chip that it is given, or whose run it is given, to itself.

    Other threads that call such a chip meanwhile get a ChipError, and so does the job where another thread uses one.
    A URI in the place of an open chip is a BadInputError.
    """

    @takes_open_chips
    @functools.wraps(job)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with ExitStack() as held:
            for chip in _chips([*args, *kwargs.values()]):
                held.enter_context(chip.alone(job.__name__))
            return job(*args, **kwargs)

    return call


def _chips(values: Iterable[V]) -> list[Backend]:
    """Find the chips among the arguments of a job, each once."""
    found: list[Backend] = []
    for value in values:
        chip = value.chip if isinstance(value, Run) else value
        if isinstance(chip, Backend) and not any(chip is other for other in found):
            found.append(chip)
    return found
