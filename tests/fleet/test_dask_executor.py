"""The Dask executor: the same results as in this process, bound to workers, and over the death of one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwloop.errors import BadInputError, ChipError, LimitError, LinkError
from hwloop.fleet.dask_executor import DaskExecutor
from tests.fleet import tasks

distributed = pytest.importorskip("distributed", reason="the extra hwloop[dask] is not installed")
dask = pytest.importorskip("dask")
pytestmark = pytest.mark.filterwarnings("default")  # Dask's own are not ours to mend


def never() -> None:
    """Stop nothing."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    """Two workers of one thread each, called 0 and 1."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), *([before] if before else [])])
    patient = dask.config.set({"distributed.deploy.lost-worker-timeout": "60 s"})  # workers come back, if not at once
    with (
        patient,
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as made,
    ):
        yield made
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def executor(cluster: distributed.LocalCluster) -> Iterator[DaskExecutor]:
    made = DaskExecutor(cluster.scheduler_address)
    yield made
    made.close()


def test_results_come_in_order_and_words_arrive(executor: DaskExecutor) -> None:
    heard: list[tuple[int, str]] = []
    assert executor.map(tasks.square, [0, 1, 2, 3], lambda *word: heard.append(word), never) == [0, 1, 4, 9]
    assert {(n, f"begin {n}") for n in range(4)} <= set(heard)


def test_tasks_run_on_the_workers_that_they_are_bound_to(cluster: distributed.LocalCluster) -> None:
    bound = DaskExecutor(cluster.scheduler_address, ["0", "1", "0", "1"])
    found = [one[0] for one in bound.map(tasks.process, range(4), lambda *word: None, never) if one]
    bound.close()
    assert found[0] == found[2] != found[1] == found[3]
    with pytest.raises(BadInputError, match=r"the cluster has no worker 'bench9'; it has 0, 1"):
        DaskExecutor(cluster.scheduler_address, ["0", "bench9"])


def test_a_stop_reaches_tasks(executor: DaskExecutor, tmp_path: Path) -> None:
    began, names = time.monotonic(), [str(tmp_path / name) for name in ("a", "b")]

    def check() -> None:
        if all(Path(f"{name}.pid").exists() for name in names) or time.monotonic() > began + 20:
            raise KeyboardInterrupt

    found = executor.map(tasks.endless, names, lambda *word: None, check)
    assert found == [f"{name} stopped" for name in names]


def test_an_error_is_raised_here(executor: DaskExecutor) -> None:
    with pytest.raises(LimitError, match="too much"):
        executor.map(tasks.failing, [0, 2], lambda *word: None, never)
    with pytest.raises(ChipError, match="data out of range"):
        executor.map(tasks.failing, [1], lambda *word: None, never)


def test_the_task_of_a_worker_that_died_is_begun_anew(executor: DaskExecutor, tmp_path: Path) -> None:
    (tmp_path / "deaths").write_text("1")
    assert executor.map(tasks.dying, [str(tmp_path / "deaths")], lambda *word: None, never) == ["alive"]


def test_a_bound_task_waits_for_a_worker_of_the_name_of_the_one_that_died(cluster, tmp_path: Path) -> None:
    (tmp_path / "deaths").write_text("1")
    bound = DaskExecutor(cluster.scheduler_address, ["1"])
    assert bound.map(tasks.dying, [str(tmp_path / "deaths")], lambda *word: None, never) == ["alive"]
    bound.patience = 0.0
    (tmp_path / "deaths").write_text("1")
    with pytest.raises(ChipError, match=r"the worker '1' has been gone for 0 s; start it again and resume"):
        bound.map(tasks.dying, [str(tmp_path / "deaths")], lambda *word: None, never)
    bound.close()


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    with pytest.raises(LinkError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1 "):
        DaskExecutor("tcp://127.0.0.1:1", timeout=0.5)
