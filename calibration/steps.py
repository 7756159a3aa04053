"""The protocol of everything that takes long: a generator of steps, and the one driver that runs it.

A piece of work yields a `Step` whenever the chip is in a defined state: whoever runs it may show how far it is, let the
devices rest, save its state, or stop there for good. The generator's return value is the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from threadpoolctl import threadpool_limits

from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.typing import State

R = TypeVar("R")


@dataclass(frozen=True)
class Step:
    """How far a piece of work is; kinds of work add to it what they report.

    Parameters
    ----------
    done, total
        Steps behind, and steps in all as far as is known now.
    stage
        What comes next, for people.
    rest
        Seconds of chip time that the devices shall rest before the work goes on.
    wait_for_others
        Go on only when all work that runs beside this one has come as far, or has ended.
    state
        Gives what is needed to go on from here another time; None where the work cannot be gone on with.
    """

    done: int
    total: int
    stage: str = ""
    rest: float = 0.0
    wait_for_others: bool = False
    state: Callable[[], State] | None = None


S = TypeVar("S", bound=Step)
Work: TypeAlias = Generator[S, None, R]
"""A piece of work: yields steps of one kind and returns its result."""


def unwatched(number: int, step: Step) -> None:
    """Watch nothing."""


def unwatched_alone(step: Step) -> None:
    """Watch nothing of the only piece of work."""


def never() -> None:
    """Stop nothing."""


def run(
    work: Work[S, R],
    backend: Backend,
    watch: Callable[[int, S], None] = unwatched,
    check: Callable[[], None] = never,
) -> R:
    """Run one piece of work to its end and return its result; see `run_together`."""
    return run_together([work], backend, watch, check)[0]


def run_together(
    works: Sequence[Work[S, R]],
    backend: Backend,
    watch: Callable[[int, S], None] = unwatched,
    check: Callable[[], None] = never,
) -> list[R]:
    """Run pieces of work on one chip in lockstep, so that their devices rest at the same time.

    Parameters
    ----------
    works
        What to run, such as the programming of every tile.
    backend
        The chip on which the devices rest.
    watch
        Called with the number of a piece of work and each of its steps.
    check
        Called now and then while a real chip rests.

    An exception that `watch` or `check` raises, such as KeyboardInterrupt, stops all work where it is.

    Returns
    -------
    list
        The results, in the order of `works`.
    """
    try:
        # Products of a core take numpy a millisecond. The threads it would use for them wait for the next one by
        # spinning, which takes the processor from all that comes between.
        with threadpool_limits(limits=1, user_api="blas"):
            return _in_lockstep(works, backend, watch, check)
    except BaseException:
        if backend.witness is not None:
            backend.witness.leave()  # what the job still asks in order to end is no part of the work
        raise


def _in_lockstep(
    works: Sequence[Work[S, R]], backend: Backend, watch: Callable[[int, S], None], check: Callable[[], None]
) -> list[R]:
    results: dict[int, R] = {}
    active, arrived = list(range(len(works))), list[int]()
    while active:
        resting, going_on = 0.0, list[int]()
        for number in active:
            try:
                step = next(works[number])
            except StopIteration as end:
                results[number] = end.value
                continue
            (arrived if step.wait_for_others else going_on).append(number)
            resting = max(resting, step.rest)
            watch(number, step)
        if not going_on:
            going_on, arrived = sorted(arrived), []
        active = going_on
        if resting > 0.0:
            rest(backend, resting, check)
    return [results[number] for number in range(len(works))]


def exhaust(work: Work[S, R], watch: Callable[[S], None] = unwatched_alone) -> R:
    """Run one piece of work that needs no chip to its end and return its result.

    Parameters
    ----------
    work
        What to run; none of its steps rests.
    watch
        Called with each step. An exception that it raises, such as KeyboardInterrupt, stops the work where it is.
    """
    while True:
        try:
            step = next(work)
        except StopIteration as end:
            result: R = end.value
            return result
        watch(step)


SLICE = 0.2
"""Seconds of a rest at a time on a chip whose clock is real, so that a stop is answered at once."""


def rest(backend: Backend, seconds: float, check: Callable[[], None] = never) -> None:
    """Let chip time pass: at once where it is virtual, else in slices, with a call of `check` after each."""
    if Capability.STATE in backend.info.capabilities:
        backend.wait(seconds)
    else:
        backend.as_one("rest", lambda: _rest_in_slices(backend, seconds, check))


def _rest_in_slices(backend: Backend, seconds: float, check: Callable[[], None]) -> None:
    left, until = seconds, backend.now() + seconds
    while left > 0.0:
        part, began = min(left, SLICE), time.monotonic()
        backend.wait(part)
        left = until - backend.now()
        if time.monotonic() - began < part / 2 and left > 0.0:  # virtual all the same: no reason to go slice by slice
            backend.wait(left)
            return
        check()
