"""Puts single random faults into the code, one at a time, and counts those that the tests notice.

    python benchmarks/mutation.py --faults 160 --seed 1                    all rooms
    python benchmarks/mutation.py --faults 60 --seed 1 --decisive          modules that decide about devices
    python benchmarks/mutation.py --faults 20 calibration/drift            one room, or one file
    python benchmarks/mutation.py --list --faults 10 hwloop/chip           show the faults without running anything

A fault swaps an operator, moves a bound, turns a condition round, shifts a number or drops a statement. Files are drawn
in proportion to their lines. The tests of the room are run on a copy of the tree, those nearest to the file first, up
to the first failure; a fault is caught when they fail, or take far longer than without it. What slips through is
printed with its line: a test is missing there, or the fault changes nothing that matters.
A fault takes seconds where it is caught, and as long as the tests of its room, up to minutes, where it is not.
"""

from __future__ import annotations

import argparse
import ast
import collections
import math
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("hwloop", "calibration", "sim_backend", "drivers")
DECISIVE = (
    "hwloop/chip/region.py",
    "calibration/programming/program_verify.py",
    "calibration/programming/verified_devices.py",
    "calibration/programming/conductance_filter.py",
    "calibration/programming/noise_scale.py",
    "calibration/programming/redraw.py",
    "calibration/programming/tables.py",
    "calibration/programming/currents.py",
    "calibration/programming/current_error.py",
    "calibration/programming/current_error_of_devices.py",
    "calibration/programming/stuck_search.py",
    "calibration/drift/refresh.py",
    "calibration/drift/forecast.py",
    "calibration/drift/monitor.py",
    "calibration/certificate",
)
"""Modules that decide whether a device is pulsed, given up or believed: a fault there costs devices."""
SLOWEST = 300.0
"""Seconds of CPU time that tests may take with a fault."""
WAIT = 4.0
"""Seconds that tests may take over those of CPU time: other work may keep the machine busy."""
LOADED_ONCE = ["h5py", "matplotlib.figure", "pandas", "pytest", "scipy.optimize", "scipy.stats", "torch"]
"""Packages that every run of tests finds loaded, so that a fault costs no start of them."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATIONS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip
TWINS = {"max": "min", "min": "max", "maximum": "minimum", "minimum": "maximum", "any": "all", "all": "any"}
"""Functions that are easily taken for each other."""


@dataclass(frozen=True)
class Fault:
    """One change of one file.

    Parameters
    ----------
    path
        The file, from the root.
    line
        Where.
    what
        The change, in words.
    number
        Which of the places of the file, in the order of the syntax tree.
    """

    path: Path
    line: int
    what: str
    number: int

    @property
    def text(self) -> str:
        """The file with the fault in it."""
        tree = ast.parse((ROOT / self.path).read_text(encoding="utf-8"))
        node = _places(tree)[self.number]
        _apply(tree, node)
        return ast.unparse(tree)


def faults(path: Path) -> Iterator[Fault]:
    """Name every fault that this script can make in one file."""
    for number, node in enumerate(_places(ast.parse((ROOT / path).read_text(encoding="utf-8")))):
        yield Fault(path, getattr(node, "lineno", 0), f"{_change(node)}: {ast.unparse(node)[:70]}", number)


def _places(tree: ast.Module) -> list[ast.AST]:
    """Find the nodes that a fault can change; annotations of types are never run."""
    kinds = [getattr(node, field, None) for node in ast.walk(tree) for field in ("annotation", "returns")]
    types = {part for kind in kinds if isinstance(kind, ast.AST) for part in ast.walk(kind)}
    return [node for node in ast.walk(tree) if node not in types and _change(node)]


def _change(node: ast.AST) -> str:
    """Name the change that can be made at a node, or nothing."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        return "comparison"
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS and not _is_text(node):
        return "operator"
    if isinstance(node, ast.BoolOp):
        return "and/or"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        return "sign or not"
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return "number"
    if isinstance(node, ast.Call) and _called(node) in TWINS:
        return "twin function"
    if isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return "dropped"
    return ""


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _is_text(node: ast.BinOp) -> bool:
    """Tell whether an operation joins texts or types, where a fault means nothing."""
    parts = [one for one in ast.walk(node) if isinstance(one, ast.Constant | ast.JoinedStr)]
    return any(isinstance(one, ast.JoinedStr) or one.value is None or isinstance(one.value, str) for one in parts)


def _apply(tree: ast.Module, node: ast.AST) -> None:
    if isinstance(node, ast.Compare):
        node.ops[0] = COMPARISONS[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp):
        node.op = OPERATIONS[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        node.value = node.value + 1 if isinstance(node.value, int) else node.value * 1.5 + 0.1
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            node.func.attr = TWINS[node.func.attr]
        elif isinstance(node.func, ast.Name):
            node.func.id = TWINS[node.func.id]
    else:
        _replace(tree, node, node.operand if isinstance(node, ast.UnaryOp) else ast.Pass())


def _replace(tree: ast.Module, old: ast.AST, new: ast.AST) -> None:
    ast.copy_location(new, old)
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
            elif isinstance(value, list) and any(item is old for item in value):
                value[:] = [new if item is old else item for item in value]


def draw(files: list[Path], count: int, seed: int) -> list[Fault]:
    """Draw different faults at random: a file in proportion to its lines, and one of its faults."""
    generator = random.Random(seed)
    left = {path: found for path in files if (found := list(faults(path)))}
    lines = {path: (ROOT / path).read_text(encoding="utf-8").count("\n") for path in left}
    chosen: list[Fault] = []
    while len(chosen) < count and left:
        (path,) = generator.choices(list(left), [lines[one] for one in left])
        chosen.append(left[path].pop(generator.randrange(len(left[path]))))
        if not left[path]:
            del left[path]
    return chosen


def room_of(path: Path) -> Path:
    """Find the folder of the tests of a file: its mirror, or the nearest folder above that."""
    room = Path("tests", *(path.parts[1:-1] if path.parts[0] == "hwloop" else path.parts[:-1]))
    while not (ROOT / room).is_dir():
        room = room.parent
    return room


def find_tests(path: Path, *, near: bool = False) -> list[str]:
    """Find the tests of a file: those in the folder that mirrors its own, the nearest first.

    Nearest are those called after the file, then those called after its folder, then those that name it. With `near`
    only the former two are given, or only the latter where there are none, or all where there are none of these.
    """
    own, word = path.stem.strip("_"), re.compile(rf"\b{path.stem}\b")
    called, named, others = list[Path](), list[Path](), list[Path]()
    for test in sorted((ROOT / room_of(path)).glob("test_*.py"), key=lambda test: test.stem != f"test_{own}"):
        if test.stem.startswith((f"test_{own}", f"test_{path.parent.name}")):
            called.append(test)
        else:
            (named if word.search(test.read_text(encoding="utf-8")) else others).append(test)
    found = (called or named or others) if near else [*called, *named, *others]
    return [str(test.relative_to(ROOT)) for test in found]


def outcome(tree: Path, tests: list[str], seconds: float) -> str:
    """Run tests on a copy of the tree: caught when they fail, or take too long, and MISSED when they pass."""
    process = multiprocessing.get_context("forkserver").Process(target=_run_tests, args=(tree, tests, seconds))
    process.start()
    process.join(WAIT * seconds)
    if process.exitcode is None and process.pid is not None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return "caught by its time"
    return {0: "MISSED", -signal.SIGXCPU: "caught by its time"}.get(process.exitcode or 0, "caught")


def _run_tests(tree: Path, tests: list[str], seconds: float) -> None:
    """Run tests in a process of its own, from the tree's root."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), math.ceil(seconds) + 1))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os.chdir(tree)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(tree))
    import pytest

    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]))


def copy_tree(tree: Path) -> None:
    """Copy the repository, every module as a fault will write it, without its comments."""
    shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns(".venv", ".git", "*.egg-info", "demo"))
    for path in modules(ROOMS):
        (tree / path).write_text(ast.unparse(ast.parse((ROOT / path).read_text(encoding="utf-8"))), encoding="utf-8")


def modules(places: tuple[str, ...]) -> list[Path]:
    """List the modules in files and folders, each once."""
    return [
        path.relative_to(ROOT)
        for place in places
        for path in ([ROOT / place] if (ROOT / place).is_file() else sorted((ROOT / place).rglob("*.py")))
        if not any(part.is_symlink() for part in path.parents)
    ]


def try_all(chosen: list[Fault], *, green: bool, near: bool) -> None:
    """Try faults one by one, and print what became of each, and counts by rooms.

    Unless the tests are known to be green, those of a room are run once without a fault, before the first in it. With
    `near` only the nearest tests are run: quicker, and stricter.
    """
    tried, caught = collections.Counter[str](), collections.Counter[str]()
    usual = dict[str, float]()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        copy_tree(tree)
        for fault in chosen:
            tests, room = find_tests(fault.path, near=near), str(room_of(fault.path))
            if room not in usual and not green:
                began = time.monotonic()
                if outcome(tree, find_tests(fault.path), SLOWEST) != "MISSED":
                    sys.exit(f"{room} fails without any fault")
                usual[room] = time.monotonic() - began
            clean = (tree / fault.path).read_text(encoding="utf-8")
            (tree / fault.path).write_text(fault.text, encoding="utf-8")
            end = outcome(tree, tests, min(SLOWEST, 30.0 + 3.0 * usual.get(room, SLOWEST)))
            (tree / fault.path).write_text(clean, encoding="utf-8")
            tried[room] += 1
            caught[room] += end != "MISSED"
            print(f"{end}  {fault.path}:{fault.line}  {fault.what}", flush=True)
    for room in sorted(tried):
        print(f"{room:30} {caught[room]:4} of {tried[room]:4}")
    print(f"caught {caught.total()} of {tried.total()}, {caught.total() / max(tried.total(), 1):.0%}")


def main() -> None:
    """Make faults at random and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="*")
    parser.add_argument("--decisive", action="store_true", help="modules that decide about devices")
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="show the faults without trying them")
    parser.add_argument("--green", action="store_true", help="all tests are known to pass: do not make sure first")
    parser.add_argument("--near", action="store_true", help="run only the nearest tests of a file")
    arguments = parser.parse_args()
    files = modules(tuple(arguments.places) or (DECISIVE if arguments.decisive else ROOMS))
    chosen = draw(files, arguments.faults, arguments.seed)
    print(f"{len(chosen)} faults are tried in {len(files)} files", flush=True)
    if arguments.list:
        for fault in chosen:
            print(f"{fault.path}:{fault.line}  {fault.what}")
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(LOADED_ONCE)
    try_all(chosen, green=arguments.green, near=arguments.near)


if __name__ == "__main__":
    main()
