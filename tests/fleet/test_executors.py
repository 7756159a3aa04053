"""Executors: the same results wherever tasks run, in order, stopped at a word, and with nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwloop.errors import BadInputError, ChipError, LimitError
from hwloop.fleet.executors import Executor, InProcess
from hwloop.fleet.processes import LocalProcesses
from tests.fleet import tasks


def never() -> None:
    """Stop nothing."""


@pytest.mark.parametrize("executor", [InProcess(), LocalProcesses(2)], ids=["in-process", "processes"])
def test_results_come_in_the_order_of_the_tasks(executor: Executor) -> None:
    heard: list[tuple[int, str]] = []
    assert executor.map(tasks.square, [0, 1, 2, 3], lambda *word: heard.append(word), never) == [0, 1, 4, 9]
    assert sorted(heard) == sorted((n, f"{word} {n}") for n in range(4) for word in ("begin", "end"))
    assert executor.map(tasks.square, [], lambda *word: None, never) == []


def test_workers_are_other_processes_of_one_thread_each() -> None:
    found = LocalProcesses(2).map(tasks.process, range(6), lambda *word: None, never)
    assert 1 <= len({one[0] for one in found if one}) <= 2
    assert os.getpid() not in {one[0] for one in found if one}
    assert {one[1] for one in found if one} == {"1"}


@pytest.mark.parametrize("executor", [InProcess(), LocalProcesses(2)], ids=["in-process", "processes"])
def test_a_stop_reaches_tasks_at_their_next_word_and_what_they_did_is_kept(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    heard: list[int] = []

    def check() -> None:
        if len(heard) > 5:
            raise KeyboardInterrupt

    found = executor.map(tasks.endless, ["a", "b", "c"], lambda number, word: heard.append(number), check)
    assert found[0] == "a stopped"
    assert found[2] is None, "it had not begun"


@pytest.mark.parametrize(("wrong", "error", "text"), [(1, ChipError, "data out of range"), (2, LimitError, "too much")])
def test_an_error_of_a_task_is_raised_here(wrong: int, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        LocalProcesses(1).map(tasks.failing, [0, wrong], lambda *word: None, never)
    assert getattr(caught.value, "__notes__", []) == (["what was done is on file"] if wrong == 2 else [])


@pytest.mark.parametrize("executor", [InProcess(), LocalProcesses(2)], ids=["in-process", "processes"])
def test_what_cannot_be_kept_ends_all_tasks(executor: Executor) -> None:
    def keep(number: int, result: int) -> None:
        raise BadInputError("there is no room")

    with pytest.raises(BadInputError, match="there is no room"):
        executor.map(tasks.square, [0, 1, 2, 3], lambda *word: None, never, keep)


def test_the_task_of_a_worker_that_died_is_begun_anew_and_not_for_ever(tmp_path: Path) -> None:
    deaths = tmp_path / "deaths"
    deaths.write_text("2")
    assert LocalProcesses(1).map(tasks.dying, [str(deaths)], lambda *word: None, never) == ["alive"]
    deaths.write_text("100")
    with pytest.raises(ChipError, match=r"died 3 times at the same task \(exit code -9\)"):
        LocalProcesses(1).map(tasks.dying, [str(deaths)], lambda *word: None, never)
    assert deaths.read_text() == "97"


PARENT = """
from hwloop.fleet.processes import LocalProcesses
from tests.fleet import tasks
if __name__ == "__main__":
    LocalProcesses(1).map(tasks.endless, ["orphan"], lambda *word: None, lambda: None)
"""


def test_workers_end_with_their_parent_however_it_ends(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    with subprocess.Popen([sys.executable, "parent.py"], cwd=tmp_path, env=environment) as parent:
        told, deadline = tmp_path / "orphan.pid", time.monotonic() + 60
        while not (told.exists() and told.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        parent.send_signal(signal.SIGKILL)
    worker, deadline = int(told.read_text()), time.monotonic() + 20
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(worker)


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.parametrize("workers", [0, -1, True, 1.5])
def test_a_number_of_workers_that_cannot_be_is_refused(workers: int) -> None:
    with pytest.raises(BadInputError, match="workers must be a whole number from 1 on"):
        LocalProcesses(workers)
