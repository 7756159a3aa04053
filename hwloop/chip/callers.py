"""One caller of a chip at a time: calls from several threads wait for each other, and a job has the chip to itself.

A chip has one clock, one converter range per core and one link. Two threads that take turns on it, call by call, would
each get results that the other's calls went into, and costs that are both of theirs: so a job refuses other threads.
"""

from __future__ import annotations

import functools
import logging
import reprlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from hwloop.errors import ChipError


class Callers:
    """Gives the threads of a process their turns on one chip."""

    poll: float = 0.05
    """Seconds after which a thread that waits for its turn looks whether a job has begun."""

    def __init__(self, chip: str) -> None:
        """Nobody uses the chip, which `chip` names in messages."""
        self._chip, self._lock = chip, threading.RLock()
        self._job: str | None = None

    def begin(self) -> None:
        """Have the chip for one call, until `end`. Raises ChipError while a job of another thread has it."""
        while not self._lock.acquire(timeout=self.poll):
            if self._job is not None:
                raise self._in_use()

    def end(self) -> None:
        """Leave the chip to others."""
        self._lock.release()

    @contextmanager
    def alone(self, job: str) -> Iterator[None]:
        """Have the chip for a job, which may use others. Raises ChipError when another thread has a job or a call."""
        if not self._lock.acquire(blocking=False):
            raise self._in_use()
        outer, self._job = self._job, self._job or f"{job} in {threading.current_thread().name}"
        try:
            yield
        finally:
            self._job = outer
            self._lock.release()

    def _in_use(self) -> ChipError:
        user = self._job or "another thread"
        return ChipError(
            f"{self._chip} is in use by {user}; a chip has one user at a time: wait for it, or connect to another chip"
        )


LOG = logging.getLogger(__name__)


class Called(Protocol):
    """What has a chip's turns to give."""

    _callers: Callers


C = TypeVar("C", bound=Called)
P = ParamSpec("P")
R = TypeVar("R")


def one_caller(method: Callable[Concatenate[C, P], R]) -> Callable[Concatenate[C, P], R]:
    """Let a method of a chip be in use by one thread at a time."""

    @functools.wraps(method)
    def call(chip: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if LOG.isEnabledFor(logging.DEBUG):
            LOG.debug("%s(%s)", method.__name__, reprlib.repr(args)[1:-1])
        callers = chip._callers
        callers.begin()
        try:
            return method(chip, *args, **kwargs)
        finally:
            callers.end()

    return call
