"""Who works on the parts of a job, by what is given."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hwloop.errors import BadInputError
from hwloop.fleet.chips import Fleet, FleetMember
from hwloop.fleet.executors import InProcess
from hwloop.fleet.processes import LocalProcesses
from hwloop.fleet.team import Team

FLEET = Fleet("f.toml", (FleetMember("sim:a", "one"), FleetMember("sim:b", "two")))


def test_nothing_given_is_no_team(tmp_path: Path) -> None:
    assert Team.of(None, None, None) is None
    assert Team.of(None, 2, None) == Team(2)
    file = tmp_path / "f.toml"
    file.write_text('[[chip]]\nbackend = "sim:a"\n')
    team = Team.of(file, None, None)
    assert team is not None
    assert team.fleet is not None
    assert (team.fleet.members, team.workers, team.scheduler) == ((FleetMember("sim:a"),), None, "")
    scheduled = Team.of(file, None, "tcp://x:1")
    assert scheduled is not None
    assert scheduled.scheduler == "tcp://x:1"


@pytest.mark.parametrize("words", [(None, None, "tcp://x:1"), (2, FLEET, "tcp://x:1")])
def test_a_scheduler_works_on_a_fleet_with_workers_of_its_own(words: tuple[int | None, Fleet | None, str]) -> None:
    with pytest.raises(BadInputError, match="--scheduler works on a --fleet, with the workers of its own cluster"):
        Team(*words)


def test_workers_are_one_or_more() -> None:
    with pytest.raises(BadInputError, match="0"):
        Team(0)
    assert Team(1).workers == 1


def test_tasks_are_carried_out_here_in_processes_or_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(Team().executor(), InProcess)
    assert isinstance(Team(fleet=FLEET).executor(), InProcess)
    executor = Team(1).executor()
    assert isinstance(executor, LocalProcesses)
    executor.close()
    asked: list[tuple[str, list[str]]] = []
    dask = SimpleNamespace(DaskExecutor=lambda scheduler, workers: asked.append((scheduler, workers)))
    monkeypatch.setitem(sys.modules, "hwloop.fleet.dask_executor", dask)
    Team(fleet=FLEET, scheduler="tcp://x:1").executor()
    assert asked == [("tcp://x:1", ["one", "two"])]
