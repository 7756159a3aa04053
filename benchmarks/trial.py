"""Runs tests in copies of this process: what has been imported is imported once, and a fault stays in its copy."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType

import pytest

SPARE = 30.0
"""Seconds of CPU time beyond those given, after which tests that do not end are stopped."""
LARGEST_SHARE = 0.4
"""Share of the CPU time given that one file of tests may take: a slow one leaves some to others."""
IDLE = 120.0
"""Seconds without any CPU time of its own after which a process of tests is taken to wait for ever."""
OPTIONS = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
"""Of pytest: packages with plugins of their own, such as anyio, may have been imported before it starts."""
BROKEN = 99
"""Exit status of a process in which not the tests, but what was to run them failed."""


@dataclass(frozen=True)
class Outcome:
    """How tests ended.

    Parameters
    ----------
    told
        In words: caught, when one failed, or took too long, or else MISSED.
    test
        The test that failed, if one did.
    """

    told: str
    test: str = ""

    @property
    def caught(self) -> bool:
        """Whether the tests noticed."""
        return self.told != "MISSED"


def outcome(tree: Path, tests: Sequence[str], seconds: float, prepare: Callable[[], object] = tuple) -> Outcome:
    """Run tests up to the first failure.

    Parameters
    ----------
    tree, tests
        Root of the tree, and from there paths of files, or names of tests, in the order in which they are to be run.
    seconds
        CPU time after which no further test is begun.
    prepare
        Called in the copy of this process that then runs the tests.

    Raises
    ------
    RuntimeError
        Where the tests could not be run at all, which says nothing of a fault.
    """
    told, tell = os.pipe()
    process = os.fork()
    if process == 0:
        code = BROKEN
        try:
            enter(tree, seconds + SPARE)
            prepare()
            files = dict.fromkeys(test.partition("::")[0] for test in tests)
            code = int(pytest.main(["-x", *OPTIONS, *files], [_Watch(seconds, tell), _Chosen(tests)]))
        finally:
            os._exit(code)
    os.close(tell)
    ended = _wait_for(process)
    with open(told, encoding="utf-8") as pipe:
        failed = pipe.read()
    if ended == BROKEN:
        raise RuntimeError(f"the tests could not be run: {', '.join(tests)}")
    if ended in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        return Outcome("MISSED")
    return Outcome("caught" if ended is not None and ended != -signal.SIGXCPU else "caught by its time", failed)


def _wait_for(process: int) -> int | None:
    """Wait for a process and return its exit status; None stands for one that was stopped because it only waits.

    On a busy machine a process may take long and yet be about to end: only one that does not even try is stopped.
    """
    spent, last = 0, time.monotonic()
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        now = _cpu_ticks(process)
        if now > spent:
            spent, last = now, time.monotonic()
        elif time.monotonic() > last + IDLE:
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return None
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1])


def _cpu_ticks(process: int) -> int:
    """Read the CPU time that a process has had, in ticks of the kernel's clock."""
    user, system = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


@functools.cache
def load_tests(tree: Path, tests: tuple[str, ...]) -> None:
    """Import files of tests, and what they import, in this process."""
    os.chdir(tree)
    sys.path[:0] = [] if str(tree) in sys.path else [str(tree)]
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["--collect-only", *OPTIONS, *tests])


def replace_code(path: Path, name: str, faulty: Sequence[CodeType]) -> int:
    """Give the functions of a name in a module, in the order of their lines, other code; return how many there are."""
    place = os.path.realpath(path)
    found = [one for one in gc.get_objects() if type(one) is FunctionType and one.__code__.co_qualname == name]
    found = [one for one in found if os.path.realpath(one.__code__.co_filename) == place]
    lines = sorted({one.__code__.co_firstlineno for one in found})
    for one in found:
        one.__code__ = faulty[lines.index(one.__code__.co_firstlineno)]
    return len(found)


def codes_of(module: CodeType, name: str) -> list[CodeType]:
    """Find the code of the functions of a qualified name in that of a module, in the order of their lines."""
    return [code for code in _codes(module) if code.co_qualname == name]


def _codes(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from _codes(inner)


class _Chosen:
    """A plugin that leaves the tests that are named, in their order; all where files are named."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._order = {test: number for number, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if any("::" in test for test in self._order):
            items[:] = sorted(
                (one for one in items if one.nodeid in self._order), key=lambda one: self._order[one.nodeid]
            )


class _Watch:
    """A plugin that skips tests after some CPU time, of all and of each file, and tells which test failed first."""

    def __init__(self, seconds: float, tell: int) -> None:
        self._end, self._of_file, self._tell = time.process_time() + seconds, seconds * LARGEST_SHARE, tell
        self._file, self._end_of_file = "", 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        now, file = time.process_time(), item.nodeid.partition("::")[0]
        if file != self._file:
            self._file, self._end_of_file = file, now + self._of_file
        if now > min(self._end, self._end_of_file):
            pytest.skip("no time left")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.pytest_runtest_logreport(report)

    def pytest_runtest_logreport(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        if report.failed and self._tell >= 0:
            os.write(self._tell, report.nodeid.encode())
            os.close(self._tell)
            self._tell = -1


def enter(tree: Path, seconds: float) -> None:
    """Make this process one that runs tests from the tree's root, in silence, for a limited time."""
    os.setsid()
    limit = math.ceil(time.process_time() + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.chdir(tree)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path[:0] = [] if str(tree) in sys.path else [str(tree)]
