"""The fault maker: each fault compiles, changes the file, and is the one change that it says."""

from __future__ import annotations

import ast
from pathlib import Path

import mutation
import pytest

SOURCE = '''
"""A module."""

LIMIT = 3


def mean(values, start=0, *, keep=True):
    """Compute a mean."""
    total = start
    for value in values:
        if value is not None and value >= 0:
            total += value
    print("done " + str(total))
    if not keep or total == 0:
        return -1.5
    return max(total / len(values), LIMIT)
'''


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[mutation.Fault]:
    """All faults of SOURCE."""
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    (tmp_path / "module.py").write_text(SOURCE)
    return list(mutation.faults(Path("module.py")))


def test_every_fault_compiles_and_differs(made: list[mutation.Fault]) -> None:
    original = ast.unparse(ast.parse(SOURCE))
    for fault in made:
        compile(fault.text, "module.py", "exec")
        assert fault.text != original, fault.what
    assert len({fault.text for fault in made}) == len(made)


def test_a_fault_changes_one_place(made: list[mutation.Fault]) -> None:
    original = ast.unparse(ast.parse(SOURCE)).splitlines()
    for fault in made:
        lines = fault.text.splitlines()
        assert len(lines) == len(original), fault.what
        assert sum(line != other for line, other in zip(lines, original, strict=True)) == 1, fault.what


def test_every_kind_of_fault_is_made(made: list[mutation.Fault]) -> None:
    told = {(fault.line, fault.what) for fault in made}
    assert {what.partition(":")[0] for _, what in told} == {
        "number", "comparison", "and/or", "dropped", "sign or not", "operator", "twin function",
    }  # fmt: skip
    assert (11, "and/or: value is not None and value >= 0") in told
    assert (12, "dropped: total += value") in told
    assert (16, "operator: total / len(values)") in told
    assert len(made) == len(told)


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("number: 3", "LIMIT = 4"),
        ("comparison: value >= 0", "if value is not None and value > 0:"),
        ("comparison: value is not None", "if value is None and value >= 0:"),
        ("and/or: not keep or total == 0", "if not keep and total == 0:"),
        ("dropped: total += value", "pass"),
        ("sign or not: not keep", "if keep or total == 0:"),
        ("sign or not: -1.5", "return 1.5"),
        ("operator: total / len(values)", "return max(total * len(values), LIMIT)"),
        ("twin function: max(total / len(values), LIMIT)", "return min(total / len(values), LIMIT)"),
    ],
)
def test_a_fault_does_what_it_says(made: list[mutation.Fault], what: str, line: str) -> None:
    (fault,) = [fault for fault in made if fault.what == what]
    assert line in [part.strip() for part in fault.text.splitlines()]


def test_texts_are_left_alone(made: list[mutation.Fault]) -> None:
    assert not [fault for fault in made if fault.what.startswith("operator: 'done '")]


def test_types_and_literals_are_no_places_for_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    (tmp_path / "types.py").write_text("x: int | None = None\nname = f'{x}' + 'y'\nflag = True\n")
    assert list(mutation.faults(Path("types.py"))) == []


def test_the_tests_of_a_file_are_those_of_its_room() -> None:
    assert mutation.tests_of(Path("hwloop/jobs/compare.py")) == ["tests/jobs/test_compare.py", "tests/jobs"]
    assert mutation.tests_of(Path("calibration/steps.py")) == ["tests/calibration/test_steps.py", "tests/calibration"]


def test_faults_of_the_package_itself_compile() -> None:
    """On a file of each room, so that no construct of the language trips the fault maker."""
    for name in ("hwloop/registry.py", "calibration/steps.py", "drivers/discover.py", "sim_backend/converters.py"):
        original = ast.unparse(ast.parse((mutation.ROOT / name).read_text()))
        found = list(mutation.faults(Path(name)))
        assert found
        for fault in found:
            compile(fault.text, name, "exec")
            assert fault.text != original, (name, fault.what)
