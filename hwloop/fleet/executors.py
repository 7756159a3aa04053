"""Executors: one interface for carrying out tasks that do not know of each other, wherever they run.

A task says how far it is with `tell`, which is also where it learns that it shall stop: `tell` then raises
KeyboardInterrupt, at a moment at which its chip is in a defined state. What a task needs travels to it; an open chip
never does, so that no link has two users. Results come in the order of the tasks, whoever finished first.
"""

from __future__ import annotations

import abc
import pickle
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from hwloop.errors import BadInputError, ChipError, HwloopError

T = TypeVar("T")
M = TypeVar("M")
R = TypeVar("R")
Tell: TypeAlias = Callable[[M], None]
"""How a task reports; it raises KeyboardInterrupt once the task shall stop."""
Work: TypeAlias = Callable[[T, Callable[[M], None]], R]
"""Carries out one task. For other processes it must be a function of a module, and tasks and results plain data."""


def nothing(number: int, result: R) -> None:
    """Keep no result."""


class Executor(abc.ABC):
    """Carries out tasks."""

    @abc.abstractmethod
    def map(
        self,
        work: Work[T, M, R],
        tasks: Sequence[T],
        hear: Callable[[int, M], None],
        check: Callable[[], None],
        keep: Callable[[int, R], None] = nothing,
    ) -> list[R | None]:
        """Carry out all tasks and return their results, in their order.

        Parameters
        ----------
        work, tasks
            What to do with each task.
        hear
            Called with the number of a task and what it tells.
        check
            Called now and then. KeyboardInterrupt from it or from `hear` stops all tasks at their next word; what they
            return then is kept, and a task that had not begun has the result None.
        keep
            Called with the number and the result of each task as soon as it is there, also of one that was stopped.

        Raises
        ------
        HwloopError
            Of the first task that failed, once the others have stopped; ChipError where a worker died again and again.
        """

    def close(self) -> None:
        """Give back what it holds; most hold nothing."""
        return


class InProcess(Executor):
    """One task after the other, in this process."""

    def map(
        self,
        work: Work[T, M, R],
        tasks: Sequence[T],
        hear: Callable[[int, M], None],
        check: Callable[[], None],
        keep: Callable[[int, R], None] = nothing,
    ) -> list[R | None]:
        """Carry out the tasks; see `Executor.map`."""
        results: list[R | None] = [None] * len(tasks)
        stopped = False

        def tell(message: M) -> None:
            nonlocal stopped
            try:
                hear(number, message)
                check()
            except KeyboardInterrupt:
                stopped = True
                raise

        for number, task in enumerate(tasks):
            result = results[number] = work(task, tell)
            keep(number, result)
            if stopped:
                break
        return results


def check_workers(workers: int) -> int:
    """Return a number of workers that can be. Raises BadInputError for another."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise BadInputError(f"workers must be a whole number from 1 on, not {workers!r}")
    return workers


def portable(error: Exception) -> Exception:
    """Return an error that survives the way to another process, with its notes."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever a class of its own does there
        plain = ChipError(str(error)) if isinstance(error, HwloopError) else RuntimeError(repr(error))
        for note in getattr(error, "__notes__", []):
            plain.add_note(note)
        return plain
    return error
