"""Finds the tests that come to given places of the code: the places are marked in memory, and all tests run once."""

from __future__ import annotations

import ast
import builtins
import collections
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from trial import BROKEN, OPTIONS, enter

MARK = "_reached_a_marked_place"
"""Name of the function that marks call: among the builtins, so that every module has it."""
LONGEST_ROOM = 3600.0
"""Seconds of CPU time after which the tests of a folder are stopped."""


def add_marks(tree: ast.Module, places: Mapping[int, ast.AST]) -> None:
    """Put a call that tells a place's number before the statement that each place is in."""
    inside = {place: number for number, place in places.items()}
    for parent in list(ast.walk(tree)):
        for _, block in ast.iter_fields(parent):
            if not (isinstance(block, list) and block and isinstance(block[0], ast.stmt)):
                continue
            marked: list[ast.stmt] = []
            for statement in block:
                found = [inside[node] for node in _own_nodes(statement) if node in inside]
                marked += [ast.copy_location(_call(number), statement) for number in found]
                marked.append(statement)
            block[:] = marked


def _own_nodes(statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield a statement and its expressions, without the statements of its blocks."""
    yield statement
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from ast.walk(child)


def _call(number: int) -> ast.Expr:
    call = ast.Call(ast.Name(MARK, ast.Load()), [ast.Constant(number)], [])
    return ast.Expr(call)


class _Notes:
    """A plugin that notes for every test that passes how long it takes and which marks it comes to.

    What a fixture of a class, a file or a session comes to, all tests that use it come to.
    """

    def __init__(self) -> None:
        self.seconds = collections.defaultdict[str, float](float)
        self.marks = collections.defaultdict[str, set[int]](set)
        self.failed = set[str]()
        self._now, self._by_fixture = set[int](), collections.defaultdict[int, set[int]](set)
        setattr(builtins, MARK, lambda number: self._now.add(number))

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
        outside, self._now = self._now, set()
        try:
            return (yield)
        finally:
            if fixturedef.scope != "function":
                self._by_fixture[id(fixturedef)] |= self._now
            self._now |= outside

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Function) -> Iterator[None]:
        self._now.clear()
        result = yield
        used = getattr(item, "_fixtureinfo", None)
        for fixtures in used.name2fixturedefs.values() if used else ():
            for fixture in fixtures:
                self._now |= self._by_fixture[id(fixture)]
        self.marks[item.nodeid] |= self._now
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if not report.passed:
            self.failed.add(report.nodeid)

    def found(self) -> dict[str, tuple[float, list[int]]]:
        """Return seconds and marks of every test that passed and came to one."""
        return {
            test: (self.seconds[test], sorted(marks))
            for test, marks in self.marks.items() if marks and test not in self.failed
        }  # fmt: skip


def tests_that_reach(
    tree: Path, rooms: Sequence[Path], mark: Callable[[], object], workers: int
) -> dict[int, list[str]]:
    """Run tests once, and list for every mark the tests that come to it.

    Parameters
    ----------
    tree, rooms
        Root of the tree, and files and folders of tests.
    mark
        Called in each process that runs tests, to put marks into the functions in its memory.
    workers
        Folders of tests that are run at the same time.

    Returns
    -------
    dict
        Of each mark the names of its tests: file by file, that with the quickest test first, and quick tests first.

    Raises
    ------
    RuntimeError
        Where the tests of a folder could not be run.
    """
    left = sorted(rooms, key=_size, reverse=True)
    with tempfile.TemporaryDirectory() as folder:
        notes, running = Path(folder), dict[int, Path]()
        while left or running:
            while left and len(running) < workers:
                room = left.pop(0)
                running[_start(tree, room, notes / f"{room.name}.json", mark)] = room
            process, status = os.wait()
            room = running.pop(process)
            if os.waitstatus_to_exitcode(status) == BROKEN:
                raise RuntimeError(f"the tests of {room.relative_to(tree)} could not be run")
            print(f"ran {room.relative_to(tree)}", flush=True)
        found: dict[str, tuple[float, list[int]]] = {}
        for path in notes.iterdir():
            found |= json.loads(path.read_text(encoding="utf-8"))
    return _by_mark(found)


def all_rooms(tree: Path) -> list[Path]:
    """List the folders of tests of a tree, and the files of tests beside them."""
    found = sorted((tree / "tests").iterdir())
    return [one for one in found if one.name.startswith("test_") or (one / "__init__.py").is_file()]


def _size(room: Path) -> int:
    return sum(path.stat().st_size for path in ([room] if room.is_file() else room.rglob("test_*.py")))


def _start(tree: Path, room: Path, out: Path, mark: Callable[[], object]) -> int:
    process = os.fork()
    if process:
        return process
    code = BROKEN
    try:
        enter(tree, LONGEST_ROOM)
        notes = _Notes()  # first: what is marked may run while it is imported
        mark()
        pytest.main([*OPTIONS, str(room)], [notes])
        out.write_text(json.dumps(notes.found()), encoding="utf-8")
        code = 0
    finally:
        os._exit(code)


def _by_mark(found: Mapping[str, tuple[float, Sequence[int]]]) -> dict[int, list[str]]:
    """Sort the tests of each mark: see `tests_that_reach`."""
    tests: dict[int, list[str]] = collections.defaultdict(list)
    for test, (_, marks) in found.items():
        for number in marks:
            tests[number].append(test)
    for own in tests.values():
        first: dict[str, float] = {}
        for test in own:
            file = test.partition("::")[0]
            first[file] = min(first.get(file, found[test][0]), found[test][0])
        own.sort(key=lambda test: (first[file := test.partition("::")[0]], file, found[test][0]))
    return tests
