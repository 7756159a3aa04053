"""Tasks in processes of this computer, of one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from typing import Generic, TypeVar

from hwloop.errors import ChipError, HwloopError
from hwloop.fleet.executors import Executor, Work, check_workers, nothing, portable

T = TypeVar("T")
M = TypeVar("M")
R = TypeVar("R")

SAID, DONE, FAILED = "said", "done", "failed"
"""Kinds of what a worker sends."""


@dataclass(frozen=True)
class ProcessSettings:
    """How workers are looked after."""

    attempts: int = 3
    """Times that a task is begun, where the worker that had it died."""
    poll: float = 0.2
    """Seconds between two looks at whether to stop."""
    patience: float = 60.0
    """Seconds that an orphaned worker has to leave its chip in a safe state."""


SETTINGS = ProcessSettings()
"""The settings of all local processes."""


class LocalProcesses(Executor):
    """So many worker processes, which end with this one.

    They are started anew for each call of `map`, compute with one thread each, and are replaced when they die: the task
    of a worker that died is begun anew.
    """

    def __init__(self, workers: int) -> None:
        """Start nothing yet. Raises BadInputError for a number that cannot be."""
        self.workers = check_workers(workers)

    def map(
        self,
        work: Work[T, M, R],
        tasks: Sequence[T],
        hear: Callable[[int, M], None],
        check: Callable[[], None],
        keep: Callable[[int, R], None] = nothing,
    ) -> list[R | None]:
        """Carry out the tasks; see `Executor.map`."""
        return _Crew[T, M, R](work, tasks, self.workers, keep).run(hear, check)


class _Crew(Generic[T, M, R]):
    """The workers of one call of `map`."""

    def __init__(self, work: Work[T, M, R], tasks: Sequence[T], workers: int, keep: Callable[[int, R], None]) -> None:
        self._keep = keep
        self._context = multiprocessing.get_context("spawn")  # torch does not survive a fork
        self._work, self._tasks = work, tasks
        self._stop = self._context.Event()
        self._waiting = deque(range(len(tasks)))
        self._begun = [0] * len(tasks)
        self._results: list[R | None] = [None] * len(tasks)
        self._failure: Exception | None = None
        self._size = min(workers, len(tasks))
        self._workers: dict[Connection, _Worker] = {}

    def run(self, hear: Callable[[int, M], None], check: Callable[[], None]) -> list[R | None]:
        """Carry out all tasks."""
        try:
            for _ in range(self._size):
                self._start()
            while self._workers:
                stopping = self._stop.is_set()
                try:
                    self._listen(hear)
                    if not stopping:
                        check()
                except KeyboardInterrupt:
                    if stopping:
                        raise  # a second Ctrl-C ends it at once
                    self._stop.set()
                    self._waiting.clear()
                except HwloopError as error:  # what was told or done cannot be kept: chips are left as after a stop
                    self._fail(error)
        finally:
            self._stop.set()
            for worker in self._workers.values():
                worker.process.kill()
        if self._failure is not None:
            raise self._failure
        return self._results

    def _start(self) -> None:
        """Start a worker and give it a task."""
        here, there = self._context.Pipe()
        with _one_thread():
            process = self._context.Process(target=_serve, args=(there, self._stop, self._work), daemon=True)
            process.start()
        there.close()
        self._workers[here] = _Worker(process)
        self._assign(here)

    def _assign(self, link: Connection) -> None:
        """Give a worker the next task, or let it go."""
        worker = self._workers[link]
        worker.task = self._waiting.popleft() if self._waiting else None
        if worker.task is None:
            del self._workers[link]
            link.close()
            worker.process.join()
            return
        self._begun[worker.task] += 1
        link.send((worker.task, self._tasks[worker.task]))

    def _listen(self, hear: Callable[[int, M], None]) -> None:
        """Take what workers have to say, for a moment."""
        for link in wait(list(self._workers), SETTINGS.poll):
            assert isinstance(link, Connection)
            try:
                kind, number, content = link.recv()
            except (EOFError, OSError):
                self._bury(link)
                continue
            if kind == SAID:
                hear(number, content)
                continue
            try:
                if kind == DONE:
                    self._results[number] = content
                    if content is not None:
                        self._keep(number, content)
                else:
                    self._fail(content)
            except HwloopError as error:  # the worker waits for a task all the same, or to be let go
                self._fail(error)
            self._assign(link)

    def _fail(self, error: Exception) -> None:
        """Let all workers stop at their next word, because of an error; the first one counts."""
        self._failure = self._failure or error
        self._stop.set()
        self._waiting.clear()

    def _bury(self, link: Connection) -> None:
        """Begin the task of a worker that died anew, with another one."""
        worker = self._workers.pop(link)
        link.close()
        worker.process.join()
        task = worker.task
        if task is None or self._stop.is_set():
            return
        if self._begun[task] >= SETTINGS.attempts:
            self._fail(
                ChipError(
                    f"a worker process died {SETTINGS.attempts} times at the same task (exit code "
                    f"{worker.process.exitcode}); look at its memory, or use fewer --workers"
                )
            )
            return
        self._waiting.appendleft(task)
        self._start()


@dataclass
class _Worker:
    process: SpawnProcess
    task: int | None = None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that are started in the body compute with one thread: more of them would wait for each other."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(link: Connection, stop: Event, work: Work[T, M, R]) -> None:
    """Carry out tasks that come over a link, until it closes."""
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)  # they go to a whole group of processes; the parent says when to stop
    threading.Thread(target=_follow_parent, args=(stop,), daemon=True).start()
    while True:
        try:
            number, task = link.recv()
        except (EOFError, OSError):
            return

        def tell(message: M, number: int = number) -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            try:
                link.send((SAID, number, message))
            except OSError:  # the parent has ended
                raise KeyboardInterrupt from None

        try:
            link.send(_answer(work, number, task, tell))
        except OSError:
            return


def _answer(
    work: Work[T, M, R], number: int, task: T, tell: Callable[[M], None]
) -> tuple[str, int, R | Exception | None]:
    """Carry out a task and say what came of it."""
    try:
        return DONE, number, work(task, tell)
    except KeyboardInterrupt:
        return DONE, number, None
    except Exception as error:
        return FAILED, number, portable(error)


def _follow_parent(stop: Event) -> None:
    """Stop at the next word once the parent has ended in whatever way, and end in any case a while later."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    over = threading.Timer(SETTINGS.patience, os._exit, (1,))
    over.daemon = True
    over.start()
    stop.set()
