"""Tasks on the computers of a Dask cluster; needs the extra `hwloop[dask]`.

Every task is bound to the worker that has its chip's link, or to any worker where its chip is not bound to one. A task
whose worker died is begun anew by the scheduler, on another worker where that may be; one that failed is not. What
tasks tell comes over a topic of the cluster, and the wish to stop goes over a variable of it.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

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
        there = self._client.scheduler_info(n_workers=-1)["workers"]
        # By address: a task that is bound to a name of another type than the worker's own would wait for ever.
        known = {str(worker["name"]): address for address, worker in there.items()}
        for name in workers:
            if name and name not in known:
                self._client.close()
                raise BadInputError(f"the cluster has no worker '{name}'; it has {', '.join(sorted(known)) or 'none'}")
        self._workers = [known.get(name, "") for name in workers]

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
        futures = [self._submit(work, task, number, topic) for number, task in enumerate(tasks)]
        stopped, pending = False, set(futures)
        try:
            while pending:
                try:
                    while said:
                        hear(*said.popleft())
                    if not stopped:
                        check()
                    time.sleep(self.poll)
                    done = {future for future in pending if future.done()}
                    for future in done:
                        if future.status == "finished" and (result := future.result()) is not None:
                            keep(futures.index(future), result)
                    pending, wrong = pending - done, any(future.status == "error" for future in done)
                except KeyboardInterrupt:
                    if stopped:
                        raise  # asked a second time: at once
                    wrong = True
                if wrong and not stopped:
                    stopped = True
                    stop.set(True)
            while said:
                hear(*said.popleft())
            return [_result(future) for future in futures]
        finally:
            stop.set(True)
            client.unsubscribe_topic(topic)
            client.cancel(futures)

    def close(self) -> None:
        """Leave the cluster."""
        self._client.close()

    def _submit(self, work: Work[T, M, R], task: T, number: int, topic: str) -> distributed.Future:
        bound = self._workers[number] if number < len(self._workers) else ""
        return self._client.submit(
            _carry_out, work, task, number, topic, workers=[bound] if bound else None, pure=False
        )


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
