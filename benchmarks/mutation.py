"""Puts single random faults into the code, one at a time, and counts those that the tests notice.

    python benchmarks/mutation.py --faults 40 --seed 1                     all rooms
    python benchmarks/mutation.py --faults 20 calibration/drift            one room, or one file
    python benchmarks/mutation.py --list --faults 10 hwloop/chip           show the faults without running anything

A fault swaps an operator, moves a bound, turns a condition round, shifts a number or drops a statement. The tests of
its room are run on a copy of the tree; a fault is caught when they fail, or take far longer than without it. What slips
through is printed with its line: a test is missing there, or the fault changes nothing that matters.
Every fault takes as long as the tests of its room, seconds to minutes.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("hwloop", "calibration", "sim_backend", "drivers")
SLOWEST = 300.0
"""Seconds that the tests of a room may take with a fault."""

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
    text
        The file with the fault in it.
    """

    path: Path
    line: int
    what: str
    text: str


def faults(path: Path) -> Iterator[Fault]:
    """Make every fault that this script knows for one file."""
    source = (ROOT / path).read_text(encoding="utf-8")
    tree = ast.parse(source)
    spots = [node for node in ast.walk(tree) if _changes(node)]
    for number, node in enumerate(spots):
        for what in _changes(node):
            changed = copy.deepcopy(tree)
            twin = [one for one in ast.walk(changed) if _changes(one)][number]
            _apply(changed, twin, what)
            yield Fault(path, getattr(node, "lineno", 0), f"{what}: {ast.unparse(node)[:70]}", ast.unparse(changed))


def _changes(node: ast.AST) -> list[str]:
    """Name the changes that can be made at a node."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        return ["comparison"]
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS and not _is_text(node):
        return ["operator"]
    if isinstance(node, ast.BoolOp):
        return ["and/or"]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        return ["sign or not"]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return ["number"]
    if isinstance(node, ast.Call) and _called(node) in TWINS:
        return ["twin function"]
    if isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return ["dropped"]
    return []


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _is_text(node: ast.BinOp) -> bool:
    """Tell whether an operation joins texts or types, where a fault means nothing."""
    parts = [one for one in ast.walk(node) if isinstance(one, ast.Constant | ast.JoinedStr)]
    return any(isinstance(one, ast.JoinedStr) or one.value is None or isinstance(one.value, str) for one in parts)


def _apply(tree: ast.Module, node: ast.AST, what: str) -> None:
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


def tests_of(path: Path) -> list[str]:
    """Find the tests of a file: those of its room, the nearest first."""
    room = Path("tests", *(path.parts[1:-1] if path.parts[0] == "hwloop" else path.parts[:-1]))
    own = room / f"test_{path.stem.strip('_')}.py"
    found = [str(own)] if (ROOT / own).exists() else []
    return [*found, str(room)] if (ROOT / room).is_dir() else found or ["tests"]


def runs_clean(tree: Path, tests: list[str], seconds: float) -> bool:
    """Run tests on a copy of the tree; False when they fail or take too long."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> None:
    """Make faults at random and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="*", default=list(ROOMS))
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    files = [
        path.relative_to(ROOT)
        for place in arguments.places
        for path in ([ROOT / place] if (ROOT / place).is_file() else sorted((ROOT / place).rglob("*.py")))
        if not any(part.is_symlink() for part in path.parents)
    ]
    every = [fault for path in files for fault in faults(path)]
    chosen = random.Random(arguments.seed).sample(every, min(arguments.faults, len(every)))
    print(f"{len(every)} faults can be made in {len(files)} files; {len(chosen)} are tried")
    if arguments.list:
        for fault in chosen:
            print(f"{fault.path}:{fault.line}  {fault.what}")
        return
    missed, usual = 0, dict[str, float]()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, symlinks=True, ignore=shutil.ignore_patterns(".venv", ".git", "*.egg-info", "demo"))
        for fault in chosen:
            tests, began = tests_of(fault.path), time.monotonic()
            key = " ".join(tests)
            if key not in usual:
                if not runs_clean(tree, tests, SLOWEST):
                    sys.exit(f"{key} fails without any fault")
                usual[key] = time.monotonic() - began
            (tree / fault.path).write_text(fault.text, encoding="utf-8")
            slipped = runs_clean(tree, tests, min(SLOWEST, 30.0 + 4.0 * usual[key]))
            shutil.copy(ROOT / fault.path, tree / fault.path)
            missed += slipped
            print(f"{'MISSED' if slipped else 'caught'}  {fault.path}:{fault.line}  {fault.what}", flush=True)
    print(f"caught {len(chosen) - missed} of {len(chosen)}, {1 - missed / max(len(chosen), 1):.0%}")


if __name__ == "__main__":
    main()
