"""Counts what makes a house hard to live in: long files and functions, long parameter lists, loose types, bare numbers.

python tests/house.py            the counts
python tests/house.py --where    every place that counts, room by room
"""

from __future__ import annotations

import argparse
import ast
import functools
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("hwloop", "calibration", "drivers", "sim_backend")
FILE_LINES, FUNCTION_LINES, PARAMETERS, KEYWORDS = 450, 60, 6, 6
"""Most lines of a file and of a function, most parameters, and the parameters that `**kwargs` counts for."""
LOOSE = re.compile(r"\b(Any|object|cast)\b")


@dataclass(frozen=True)
class Place:
    """One thing that counts, and where it stands."""

    kind: str
    path: str
    line: int
    what: str
    weight: float = 1.0


def sources() -> list[Path]:
    """List the modules of the package, each once."""
    found = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    return [path for path in found if not any(part.is_symlink() for part in path.parents)]


@functools.cache
def places() -> tuple[Place, ...]:
    """Find everything that counts, once for all that ask."""
    return tuple(_places())


def _places() -> Iterator[Place]:
    for path in sources():
        text, name = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        tree = ast.parse(text)
        if path.parent == ROOT / "hwloop" and path.stem not in ("__init__", "__main__"):
            yield Place("loose module", name, 1, path.stem)
        if (lines := text.count("\n")) > FILE_LINES:
            yield Place("long file", name, 1, f"{lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _function(node, name)
        yield from _loose_types(text, name)
        yield from _constants(tree, name)


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, path: str) -> Iterator[Place]:
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    lines = (node.end_lineno or node.lineno) - first + 1
    if lines > FUNCTION_LINES:
        yield Place("long function", path, node.lineno, f"{node.name}, {lines} lines")
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    count = len(named) - bool(named and named[0].arg in ("self", "cls"))
    count += bool(arguments.vararg) + KEYWORDS * bool(arguments.kwarg and not _passed_on(arguments.kwarg))
    if count > PARAMETERS:
        yield Place("many parameters", path, node.lineno, f"{node.name}, {count}")


def _passed_on(kwarg: ast.arg) -> bool:
    """Tell whether `**kwargs: P.kwargs` passes on the parameters of the one function that a decorator wraps."""
    return isinstance(kwarg.annotation, ast.Attribute) and kwarg.annotation.attr == "kwargs"


def _loose_types(text: str, path: str) -> Iterator[Place]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.line.lstrip().startswith(("from ", "import ")):
            continue
        loose = token.type == tokenize.NAME and LOOSE.fullmatch(token.string)
        silenced = token.type == tokenize.COMMENT and "type: ignore" in token.string
        if loose or silenced:
            yield Place("loose type", path, token.start[0], token.string)


def _constants(tree: ast.Module, path: str) -> Iterator[Place]:
    """Find the numbers that modules name; one with a sentence of its own weighs the same but is marked."""
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if value is None or not _is_numeric(value):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
        told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        kind = "numeric constant" if told else "numeric constant without a sentence"
        for one in names:
            yield Place(kind, path, node.lineno, ast.unparse(one))


def _is_numeric(value: ast.expr) -> bool:
    """Tell whether an expression is made of numbers alone: literals, arithmetic, tuples, calls."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, int | float) and not isinstance(value.value, bool)
    if isinstance(value, ast.UnaryOp):
        return _is_numeric(value.operand)
    if isinstance(value, ast.BinOp):
        return _is_numeric(value.left) or _is_numeric(value.right)
    if isinstance(value, ast.Tuple):
        return bool(value.elts) and all(_is_numeric(item) for item in value.elts)
    if isinstance(value, ast.Call):
        return bool(value.args) and all(_is_numeric(item) for item in value.args)
    return False


def lines_of_code() -> int:
    """Count the lines of all modules."""
    return sum(path.read_text(encoding="utf-8").count("\n") for path in sources())


@functools.cache
def counts() -> dict[str, float]:
    """Count every kind; loose types per thousand lines."""
    found = places()
    kinds = (
        "loose module", "long file", "long function", "many parameters", "loose type", "numeric constant",
        "numeric constant without a sentence",
    )  # fmt: skip
    total = {kind: float(sum(place.kind == kind for place in found)) for kind in kinds}
    total["numeric constant"] += total["numeric constant without a sentence"]
    total["loose type"] = round(1000 * total["loose type"] / lines_of_code(), 2)
    return total


def main() -> None:
    """Print the counts, or every place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--where", action="store_true")
    parser.add_argument("rooms", nargs="*", help="Only places whose path begins so.")
    arguments = parser.parse_args()
    if arguments.where:
        for place in sorted(places(), key=lambda place: (place.kind, place.path, place.line)):
            if not arguments.rooms or place.path.startswith(tuple(arguments.rooms)):
                print(f"{place.kind:<36} {place.path}:{place.line}  {place.what}")
    for kind, count in counts().items():
        print(f"{kind:<36} {count:g}")


if __name__ == "__main__":
    main()
