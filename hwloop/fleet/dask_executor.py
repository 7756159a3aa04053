"""Tasks on the computers of a Dask cluster; needs the extra `hwloop[dask]`.

Every task is bound to the worker that has its chip's link, or to any worker where its chip is not bound to one. A task
whose worker died is begun anew: by the scheduler on another worker where that may be, else once a worker of the same
name is there again, for which it is waited a while. One that failed is not. What tasks tell comes over a topic of the
cluster, and the wish to stop goes over a variable of it.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from hwloop.errors import BadInputError, ChipError, LinkError
from hwloop.fleet.executors import Executor, Work, nothing, portable

if TYPE_CHECKING:
    import distributed

T = TypeVar("T")
M = TypeVar("M")
R = TypeVar("R")


class DaskExecutor(Executor):
    """Carries out tasks on the workers of a Dask scheduler."""

    poll = 0.2
    """Seconds between two looks at what came back, and at whether to stop."""
    patience = 300.0
    """Seconds for which a worker that has the link of a chip may be away until the job ends."""
    deaths = 3
    """Times that a task is begun anew because its worker died."""

    def __init__(self, scheduler: str, workers: Sequence[str] = (), *, timeout: float = 10.0) -> None:
        """Connect to a scheduler.

        Parameters
        ----------
        scheduler
            Its address, such as tcp://host:8786.
        workers
            Names of the workers that tasks are bound to, in the order of the tasks; empty names and none bind nothing.
        timeout
            Seconds in which the scheduler must answer.

        Raises
        ------
        BadInputError
            Without the extra, and for a worker that the cluster does not have.
        LinkError
            Where no scheduler answers.
        """
        try:
            from distributed import Client
        except ImportError:
            raise BadInputError("a scheduler needs Dask: install hwloop[dask]") from None
        try:
            self._client: distributed.Client = Client(scheduler, timeout=timeout, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise LinkError(f"no Dask scheduler answers at {scheduler} ({error}); check address and network") from None
        known = self._addresses()
        for name in workers:
            if name and name not in known:
                self._client.close()
                raise BadInputError(f"the cluster has no worker '{name}'; it has {', '.join(sorted(known)) or 'none'}")
        self._workers = list(workers)

    def map(
        self,
        work: Work[T, M, R],
        tasks: Sequence[T],
        hear: Callable[[int, M], None],
        check: Callable[[], None],
        keep: Callable[[int, R], None] = nothing,
    ) -> list[R | None]:
        """Carry out the tasks; see `Executor.map`."""
        from distributed import Variable

        client, topic = self._client, f"hwloop-{secrets.token_hex(8)}"
        said: deque[tuple[int, M]] = deque()
        client.subscribe_topic(topic, lambda event: said.append(event[1]))
        stop = Variable(f"{topic}-stop", client=client)
        stop.set(False)
        bound = [_Bound(self, work, task, number, topic) for number, task in enumerate(tasks)]
        stopped, pending = False, list(bound)
        try:
            while pending:
                try:
                    while said:
                        hear(*said.popleft())
                    if not stopped:
                        check()
                    time.sleep(self.poll)
                    done = [one for one in pending if one.future.done()]
                    for one in done:
                        if one.future.status == "finished" and (result := one.future.result()) is not None:
                            keep(one.number, result)
                    pending, wrong = [one for one in pending if one not in done], any(map(_failed, done))
                    self._look_after(pending)
                except KeyboardInterrupt:
                    if stopped:
                        raise  # asked a second time: at once
                    wrong = True
                if wrong and not stopped:
                    stopped = True
                    stop.set(True)
            while said:
                hear(*said.popleft())
            return [_result(one.future) for one in bound]
        finally:
            stop.set(True)
            client.unsubscribe_topic(topic)
            client.cancel([one.future for one in bound])

    def close(self) -> None:
        """Leave the cluster."""
        self._client.close()

    def _addresses(self) -> dict[str, str]:
        """Return the addresses of the workers that the cluster has now, by name.

        Tasks are bound by address: one bound to a name of another type than the worker's own would wait for ever.
        """
        there = self._client.scheduler_info(n_workers=-1)["workers"]
        return {str(worker["name"]): address for address, worker in there.items()}

    def _look_after(self, pending: Sequence[_Bound[T, M, R]]) -> None:
        """Begin tasks anew whose worker died and is there again. Raises ChipError where one stays away, or dies on."""
        known, now = self._addresses() if any(one.name for one in pending) else {}, time.monotonic()
        for one in pending:
            if not one.name or known.get(one.name) == one.address:
                one.away_since = now
            elif one.name in known and one.begun > self.deaths:
                raise ChipError(
                    f"the worker '{one.name}' died {one.begun} times at a task of its chip; look at its log"
                )
            elif one.name in known:
                one.begin(known[one.name])
            elif now - one.away_since > self.patience:
                raise ChipError(
                    f"the worker '{one.name}' has been gone for {self.patience:g} s; start it again and resume"
                )


class _Bound(Generic[T, M, R]):
    """A task, the worker that it is bound to, if any, and what comes of it."""

    def __init__(self, executor: DaskExecutor, work: Work[T, M, R], task: T, number: int, topic: str) -> None:
        """Begin the task."""
        names = executor._workers
        self._client, self._asked = executor._client, (work, task, number, topic)
        self.number, self.name = number, names[number] if number < len(names) else ""
        self.begun, self.away_since = 0, time.monotonic()
        self.begin(executor._addresses().get(self.name, ""))

    def begin(self, address: str) -> None:
        """Give the task to the worker at an address, or to any where that is empty; forget what was before."""
        if self.begun:
            self._client.cancel([self.future])
        where = [address] if address else None
        self.address, self.begun = address, self.begun + 1
        self.future: distributed.Future = self._client.submit(_carry_out, *self._asked, workers=where, pure=False)


def _failed(one: _Bound[T, M, R]) -> bool:
    """Tell whether a task that is done ended in an error."""
    return bool(one.future.status == "error")


def _carry_out(work: Work[T, M, R], task: T, number: int, topic: str) -> R | None:
    """Carry out one task on a worker of the cluster."""
    from distributed import Variable, get_client, get_worker

    worker, stop = get_worker(), Variable(f"{topic}-stop", client=get_client())

    def tell(message: M) -> None:
        if stop.get(timeout=5):
            raise KeyboardInterrupt
        worker.log_event(topic, (number, message))

    try:
        return work(task, tell)
    except KeyboardInterrupt:
        return None
    except Exception as error:
        raise portable(error) from None


def _result(future: distributed.Future) -> R | None:
    """Return what came of a task. Raises its error; ChipError where its workers died."""
    from distributed.scheduler import KilledWorker

    try:
        found: R | None = future.result()
    except KilledWorker as error:
        raise ChipError(f"the workers of a task died again and again ({error})") from None
    return found
