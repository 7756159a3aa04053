"""Puts single random faults into the code, one at a time, and counts those that the tests notice.

    python benchmarks/mutation.py --faults 160 --seed 1                    all rooms
    python benchmarks/mutation.py --faults 80 --seed 1 --decisive          modules that decide about devices
    python benchmarks/mutation.py --faults 20 calibration/drift            one room, or one file
    python benchmarks/mutation.py --list --faults 10 hwloop/chip           show the faults without running anything
    python benchmarks/mutation.py --faults 160 --seed 1 --all-tests        the figure: all tests have their chance

A fault swaps an operator, moves a bound, turns a condition round, shifts a number or drops a statement. Files are drawn
in proportion to their lines. A fault is caught when a test fails, or does not end. Which tests are run, up to the first
failure or for LONGEST, is a guess without `--all-tests`: those that import the file and those in the folder that
mirrors its own, the nearest first. With it all tests are run once before, without a fault, and each fault has those
that came to its statement, the quick ones first. What slips through is printed with its line: a test is missing there,
or the fault changes nothing that matters.

A fault in a function is put into a copy of this process, in which everything has been imported before; one that runs at
import into a copy of the tree, where the guess alone is run. Processes that tests start themselves do not see the
former. A fault takes seconds where it is caught, and LONGEST where it is not.
"""

from __future__ import annotations

import argparse
import ast
import collections
import functools
import importlib
import random
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reach import add_marks, all_rooms, tests_that_reach
from trial import Outcome, codes_of, load_tests, outcome, replace_code

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
COMPILED = (
    "sim_backend/stepping/kernel.py",
    "calibration/programming/filter_kernels.py",
    "calibration/programming/pulse_kernels.py",
)
"""Files whose functions numba compiles: what is changed in memory is not run, so they are written anew."""
SLOWEST = 300.0
"""Seconds of CPU time that a test may take without a fault."""
LOADED_ONCE = ["h5py", "matplotlib.figure", "pandas", "scipy.optimize", "scipy.stats", "torch"]
"""Packages that are imported before anything of a tree."""
LONGEST = 20.0
"""Seconds of CPU time after which no further test of a fault is begun, of those that are a guess."""
LONGEST_OF_ALL = 60.0
"""Of those that came to its statement."""
FAR_FILES = 10
"""Files of tests of a fault that have no more to do with its file than to import what imports it."""
FILES = 6
"""Files of tests that are run at most where each has to be imported anew for a fault."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATIONS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip
IMPORT = re.compile(r"^[ \t]*(?:from ([\w.]+) )?import (\([^)]*|[^\n#]+)", re.MULTILINE)
"""An import: the module that names are taken from, if there is one, and the names."""
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
    within
        Qualified name of the function that it is in, or else of the class, or else of the constant.
    at_import
        Whether the place runs when the file is imported, and not when a function is called, or is compiled then.
    """

    path: Path
    line: int
    what: str
    number: int
    within: str
    at_import: bool

    @property
    def tree(self) -> ast.Module:
        """The file with the fault in it."""
        tree = ast.parse((ROOT / self.path).read_text(encoding="utf-8"))
        _apply(tree, _places(tree)[self.number])
        return tree

    @property
    def text(self) -> str:
        """The file with the fault in it, as text without comments."""
        return ast.unparse(self.tree)

    def take_place(self) -> None:
        """Make the function in this process's memory a faulty one."""
        module = compile(ast.fix_missing_locations(self.tree), str(self.path), "exec")
        importlib.import_module(module_name(self.path))
        if not replace_code(ROOT / self.path, self.within, codes_of(module, self.within)):
            raise LookupError(f"{self.path} has no function {self.within}")


def faults(path: Path) -> Iterator[Fault]:
    """Name every fault that this script can make in one file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    owners = {node: (name, at_import) for node, name, at_import in _owners(tree, "")}
    for number, node in enumerate(_places(tree)):
        what = f"{_change(node)}: {ast.unparse(node)[:70]}"
        within, at_import = owners[node]
        yield Fault(path, getattr(node, "lineno", 0), what, number, within, at_import or str(path) in COMPILED)


def _owners(node: ast.AST, name: str) -> Iterator[tuple[ast.AST, str, bool]]:
    """Tell for every node below one what it is in, and whether it runs at import."""
    for child in ast.iter_child_nodes(node):
        own = name
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own = f"{name}.{child.name}" if name else child.name
        elif isinstance(child, ast.Assign | ast.AnnAssign) and not name:
            target = child.targets[0] if isinstance(child, ast.Assign) else child.target
            own = target.id if isinstance(target, ast.Name) else ""
        yield child, own, True
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _owners(child, own)
            continue
        later = {below for statement in child.body for below in ast.walk(statement)}
        yield from ((below, own, below not in later) for below in ast.walk(child) if below is not child)


def _places(tree: ast.Module) -> list[ast.AST]:
    """Find the nodes that a fault can change.

    Annotations of types are never run, and to `reshape` every negative number means what is left.
    """
    kinds = [getattr(node, field, None) for node in ast.walk(tree) for field in ("annotation", "returns")]
    same = {part for kind in kinds if isinstance(kind, ast.AST) for part in ast.walk(kind)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "reshape":
            same |= {part.operand for part in node.args if isinstance(part, ast.UnaryOp)}
    return [node for node in ast.walk(tree) if node not in same and _change(node)]


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
    elif isinstance(node, ast.UnaryOp):
        _replace(tree, node, node.operand)
    elif isinstance(node, ast.stmt):  # never run, and yet there: a function keeps the names that it closes over
        _replace(tree, node, ast.If(ast.Constant(False), [node], []))


def _replace(tree: ast.Module, old: ast.AST, new: ast.AST) -> None:
    ast.copy_location(new, old)
    for parent in list(ast.walk(tree)):  # as it was before, for the new node may hold the old one
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


def module_name(path: Path) -> str:
    """Return the name under which a file is imported."""
    parts = path.with_suffix("").parts
    return ".".join(("hwloop", *parts) if parts[0] != "hwloop" else parts).removesuffix(".__init__")


@functools.cache
def imported_by(file: Path) -> frozenset[str]:
    """List the modules, and what may be modules, that a file imports itself."""
    names = set[str]()
    for module, what in IMPORT.findall((ROOT / file).read_text(encoding="utf-8")):
        own = [one.split()[0] for one in what.strip("( ").split(",") if one.strip()]
        names |= {module, *(f"{module}.{one}" for one in own)} if module else {*own}
    return frozenset(names)


@functools.cache
def imported_in_common(test: Path) -> frozenset[str]:
    """List the modules that a file of tests imports with what it has in common with other tests."""
    names = [name for name in imported_by(test) if name.startswith("tests.")]
    paths = [path for name in names if (ROOT / (path := Path(*name.split(".")).with_suffix(".py"))).is_file()]
    return frozenset().union(*(imported_by(path) for path in paths))


@functools.cache
def _users() -> dict[str, set[str]]:
    """List for every module those that import it."""
    users: dict[str, set[str]] = collections.defaultdict(set)
    for path in modules(ROOMS):
        for name in imported_by(path):
            users[name].add(module_name(path))
    return users


@functools.cache
def all_users(path: Path) -> frozenset[str]:
    """List the modules that import a file, or what imports it, and so on; the file itself among them."""
    seen, left = {module_name(path)}, [module_name(path)]
    for name in left:
        new = _users().get(name, set()) - seen
        seen |= new
        left += new
    return frozenset(seen)


@functools.cache
def _used() -> dict[str, frozenset[str]]:
    """List for every module those that it imports itself."""
    return {module_name(path): imported_by(path) for path in modules(ROOMS)}


@functools.cache
def breadth(test: Path) -> int:
    """Count the modules that a file of tests loads: the fewer, the nearer it is to each of them."""
    left = list(imported_by(test) & _used().keys())
    seen = set(left)
    for name in left:
        new = (_used()[name] & _used().keys()) - seen
        seen |= new
        left += new
    return len(seen)


def mark_places(chosen: Sequence[Fault]) -> None:
    """Make the functions in this process's memory tell when they come to the statement of a fault, by its number."""
    for path in dict.fromkeys(fault.path for fault in chosen if not fault.at_import):
        own = {number: one for number, one in enumerate(chosen) if one.path == path and not one.at_import}
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        places = _places(tree)
        add_marks(tree, {number: places[fault.number] for number, fault in own.items()})
        module = compile(ast.fix_missing_locations(tree), str(path), "exec")
        importlib.import_module(module_name(path))
        for name in {fault.within for fault in own.values()}:
            replace_code(ROOT / path, name, codes_of(module, name))


def find_tests(fault: Fault) -> list[str]:
    """Find the files of tests that may notice a fault, the nearest first.

    First those called after its file or its folder, in the folder of tests that mirrors its own, but for what runs at
    import those of settings before them, and tables that name its file among them; then those there that import or
    name its file; those elsewhere that import it; the others there; those that import it in common with others; and of
    those that import what imports it those that load the fewest modules. Of equal ones those come first that say the
    name of the function.
    """
    path, room = fault.path, room_of(fault.path)
    owner, _, name = fault.within.rpartition(".")
    function = re.compile(rf"\b{(owner or path.stem) if name.startswith('__') or not name else name}\b")
    stem, starts = re.compile(rf"\b{path.stem}\b"), [f"test_{path.stem.strip('_')}", f"test_{path.parent.name}"]
    starts[:0] = ["test_settings"] if fault.at_import or name == "__post_init__" else []
    users, ranks = all_users(path), dict[str, tuple[int, bool, bool]]()
    for test in sorted(one.relative_to(ROOT) for one in (ROOT / "tests").rglob("test_*.py")):
        text, mirrors = (ROOT / test).read_text(encoding="utf-8"), test.parent == room
        named = f'"{module_name(path).removeprefix("hwloop.")}.' in text
        imports = module_name(path) in imported_by(test) or named
        if mirrors:
            near = imports or stem.search(text) is not None
            rank = 0 if test.stem.startswith(tuple(starts)) else 1 if near else 3
        elif imports or module_name(path) in imported_in_common(test):
            rank = (0 if fault.at_import and named else 2) if imports else 4
        elif users & imported_by(test):
            rank = 5 + breadth(test)
        else:
            continue
        ranks[str(test)] = rank, test.stem != starts[0], not function.search(text)
    nearest = sorted(ranks, key=lambda test: ranks[test])
    return nearest[: sum(rank <= 4 for rank, *_ in ranks.values()) + FAR_FILES]


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


def try_one(fault: Fault, tree: Path, reaching: Sequence[str] | None) -> Outcome:
    """Run the tests of a fault, in memory, or on a copy of the tree where it would not be seen after an import.

    No test notices a fault to whose statement none comes; `reaching` is None where it is not known which do.
    """
    if reaching is not None and not fault.at_import:
        load_tests(ROOT, tuple(dict.fromkeys(test.partition("::")[0] for test in reaching)))
        return outcome(ROOT, reaching, LONGEST_OF_ALL, fault.take_place) if reaching else Outcome("MISSED")
    tests = find_tests(fault)
    if not tests:
        return Outcome("MISSED")
    if not fault.at_import:
        load_tests(ROOT, tuple(tests))
        return outcome(ROOT, tests, LONGEST, fault.take_place)
    clean = (tree / fault.path).read_text(encoding="utf-8")
    (tree / fault.path).write_text(fault.text, encoding="utf-8")
    end = outcome(tree, tests[:FILES], LONGEST)
    (tree / fault.path).write_text(clean, encoding="utf-8")
    return end


def try_all(chosen: Sequence[Fault], reaching: Mapping[Fault, Sequence[str]] | None) -> None:
    """Try faults one by one, each with the tests that reach it, and print what became of each, and counts by rooms."""
    tried, caught = collections.Counter[str](), collections.Counter[str]()
    green = set[str]()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "tree"
        copy_tree(tree)
        # Those first that meet an interpreter which has not imported the package yet.
        for fault in sorted(chosen, key=lambda fault: not fault.at_import):
            end = try_one(fault, tree, None if reaching is None else reaching.get(fault, ()))
            room = str(room_of(fault.path))
            if end.test not in {"", *green}:
                if outcome(tree if fault.at_import else ROOT, [end.test], SLOWEST).caught:
                    end = Outcome("MISSED", f"{end.test} fails without any fault")
                green.add(end.test)
            tried[room] += 1
            caught[room] += end.caught
            print(f"{end.told}  {fault.path}:{fault.line}  {fault.what}  {end.test}", flush=True)
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
    parser.add_argument("--all-tests", action="store_true", help="run all tests once, to find those that reach a fault")
    parser.add_argument("--workers", type=int, default=2, help="folders of tests at the same time in that run")
    parser.add_argument("--list", action="store_true", help="show the faults without trying them")
    arguments = parser.parse_args()
    files = modules(tuple(arguments.places) or (DECISIVE if arguments.decisive else ROOMS))
    chosen = draw(files, arguments.faults, arguments.seed)
    print(f"{len(chosen)} faults are tried in {len(files)} files", flush=True)
    if arguments.list:
        for fault in chosen:
            print(f"{fault.path}:{fault.line}  {fault.what}")
        return
    for package in LOADED_ONCE:
        importlib.import_module(package)
    if not arguments.all_tests:
        try_all(chosen, None)
        return
    found = tests_that_reach(ROOT, all_rooms(ROOT), lambda: mark_places(chosen), arguments.workers)
    try_all(chosen, {chosen[number]: tests for number, tests in found.items()})


if __name__ == "__main__":
    main()
