"""Which tests come to a place of the code: each that runs its statement, itself or by what it shares with others."""

from __future__ import annotations

import ast
import builtins
from pathlib import Path

import pytest
import reach
import trial

SOURCE = """
def sign(x):
    if x > 0:
        return 1
    elif x < 0 and x == x:
        return -1
    for _ in range(0):
        x += 2
    return [x + 3 for _ in range(1)][0]
"""


def places() -> tuple[ast.Module, dict[int, ast.AST]]:
    """A place in each branch of SOURCE: the 1 that is returned, the 2, the 3, and the second comparison."""
    tree = ast.parse(SOURCE)
    numbers = {node.value: node for node in reversed(list(ast.walk(tree))) if isinstance(node, ast.Constant)}
    first = next(node.value for node in ast.walk(tree) if isinstance(node, ast.Return) and _is_number(node.value))
    second = next(node for node in ast.walk(tree) if isinstance(node, ast.BoolOp))
    return tree, {1: first, 2: numbers[2], 3: numbers[3], 4: second}


def _is_number(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant)


@pytest.mark.parametrize(("x", "reached"), [(5, {1}), (-5, {4}), (0, {3, 4}), (float("nan"), {3, 4})])
def test_a_mark_is_reached_with_its_statement(x: float, reached: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    tree, marked = places()
    reach.add_marks(tree, marked)
    seen = set[int]()
    monkeypatch.setattr(builtins, reach.MARK, seen.add, raising=False)
    within: dict[str, object] = {}
    exec(compile(ast.fix_missing_locations(tree), "source.py", "exec"), within)
    within["sign"](x)  # type: ignore[operator]
    assert seen == reached


TESTS = {
    "room/test_reach_one.py": """
import pytest, time
from marked_module import sign
@pytest.fixture(scope="module")
def shared(): return sign(0)
@pytest.fixture
def own(): return sign(5)
def test_first(shared): time.sleep(0.2)
def test_second(shared): pass
def test_third(own): pass
def test_none(): pass
def test_wrong(): assert sign(-5) == 0
""",
    "test_reach_two.py": """
import time
from marked_module import sign
def test_slow(): time.sleep(0.4); sign(5)
""",
}


def test_tests_are_listed_by_what_they_come_to_the_quick_ones_first(tmp_path: Path) -> None:
    (tmp_path / "marked_module.py").write_text(SOURCE)
    (tmp_path / "room").mkdir()
    for name, text in TESTS.items():
        (tmp_path / name).write_text(text)

    def mark() -> None:
        import marked_module

        tree, marked = places()
        reach.add_marks(tree, marked)
        code = compile(ast.fix_missing_locations(tree), "marked_module.py", "exec")
        assert trial.replace_code(Path(marked_module.__file__), "sign", trial.codes_of(code, "sign"))

    found = reach.tests_that_reach(tmp_path, [tmp_path / "room", tmp_path / "test_reach_two.py"], mark, workers=2)
    one = "room/test_reach_one.py"
    assert found[1] == [f"{one}::test_third", "test_reach_two.py::test_slow"]
    assert set(found[3]) == set(found[4]) == {f"{one}::test_first", f"{one}::test_second"}
    assert found[3][-1] == f"{one}::test_first"
    assert 2 not in found


def test_all_tests_of_the_repository_are_run() -> None:
    root = Path(__file__).parents[2]
    rooms = reach.all_rooms(root)
    for path in (root / "tests").rglob("test_*.py"):
        assert any(path == room or room in path.parents for room in rooms), path


def test_named_tests_alone_are_run_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_a(): assert 0\ndef test_b(): pass\ndef test_c(): assert 0\n")
    names = [f"test_one.py::test_{letter}" for letter in "cab"]
    assert trial.outcome(tmp_path, names, 30.0).test == names[0]
    assert trial.outcome(tmp_path, names[1:], 30.0).test == names[1]
    assert not trial.outcome(tmp_path, names[2:], 30.0).caught
    assert not trial.outcome(tmp_path, ["test_one.py::test_that_is_not_there"], 30.0).caught
