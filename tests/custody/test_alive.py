"""A process is known by its number and its moment of start."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hwloop.custody import alive
from hwloop.custody.alive import runs, started


def test_a_process_is_the_one_it_was_until_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        since = started(process.pid)
        assert since
        assert started(process.pid) == since
        assert runs(process.pid, since)
        assert not runs(process.pid, "another")
        assert not runs(process.pid, "")
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked after it yet
        assert not runs(process.pid, since)


def test_there_is_no_process_of_no_number() -> None:
    assert [started(pid) for pid in (0, -1, 2**30)] == ["", "", ""]


def test_systems_without_a_table_of_processes_ask_ps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alive, "Path", lambda text: type("None", (), {"exists": lambda self: False})())
    said = iter(["S Mon Nov 30 12:00:00 2026\n", "Z Mon Nov 30 12:00:00 2026\n", ""])

    def answer(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 0, next(said), "")

    monkeypatch.setattr(alive.subprocess, "run", answer)
    assert [started(5), started(5), started(5)] == ["Mon Nov 30 12:00:00 2026", "", ""]
