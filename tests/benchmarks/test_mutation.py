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


def test_annotations_are_no_places_for_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    (tmp_path / "types.py").write_text(
        "def f(x: int | str, *, y: list[int | str] = 0) -> str | bytes:\n    z: int | str\n"
    )
    assert [fault.what for fault in mutation.faults(Path("types.py"))] == ["number: 0"]


def test_the_tests_of_a_file_are_those_of_its_room_and_the_nearest_come_first() -> None:
    found = mutation.find_tests(Path("hwloop/jobs/compare.py"))
    assert found[0] == "tests/jobs/test_compare.py"
    assert set(found) == {f"tests/jobs/{path.name}" for path in (mutation.ROOT / "tests/jobs").glob("test_*.py")}
    assert mutation.find_tests(Path("calibration/steps.py"))[0] == "tests/calibration/test_steps.py"
    # A folder without tests of its own: those called after it come first, out of the folder above.
    drift = mutation.find_tests(Path("calibration/fitting/drift/growth.py"))
    assert all(path.startswith("tests/calibration/fitting/test_drift") for path in drift[:4])
    assert "tests/calibration/fitting/test_selection.py" in drift[4:]


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("hwloop/chip/region.py", ["tests/chip/test_region.py", "tests/chip/test_region_calibration.py"]),
        ("hwloop/chip/counts.py", None),  # no test is called after it: those that name it
        ("hwloop/testing/pulse_tests.py", None),  # nor names it: all of the room
    ],
)
def test_near_tests_are_called_after_the_file_or_name_it(path: str, near: list[str] | None) -> None:
    found, everything = (mutation.find_tests(Path(path), near=one) for one in (True, False))
    assert found == everything[: len(found)]
    if near is not None:
        assert found == near
    for test in found if "counts" in path else []:
        assert "counts" in (mutation.ROOT / test).read_text()
    assert (len(found) == len(everything)) == ("pulse_tests" in path)


def test_draws_differ_and_are_repeatable_and_long_files_are_drawn_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    (tmp_path / "long.py").write_text("x = 1\n" * 900)
    (tmp_path / "short.py").write_text("x = 1 + 2 + 3 + 4\n" * 100)
    files = mutation.modules((".",))
    assert [str(path) for path in files] == ["long.py", "short.py"]
    drawn = mutation.draw(files, 200, seed=1)
    assert drawn == mutation.draw(files, 200, seed=1) != mutation.draw(files, 200, seed=2)
    assert len(set(drawn)) == 200
    # 20 of 200 are expected, with a binomial deviation of 4.
    assert 8 <= sum(fault.path.name == "short.py" for fault in drawn) <= 32
    assert len(mutation.draw(files, 10_000, seed=1)) == sum(len(list(mutation.faults(path))) for path in files)


def test_modules_are_listed_once_and_not_through_links() -> None:
    files = mutation.modules(mutation.ROOMS)
    assert len(set(files)) == len(files)
    assert Path("calibration/steps.py") in files
    assert not any(str(path).startswith("hwloop/calibration") for path in files)
    assert set(mutation.modules(mutation.DECISIVE)) < set(files)


@pytest.mark.parametrize(
    ("test", "end"),
    [
        ("def test_it(): pass", "MISSED"),
        ("def test_it(): assert False", "caught"),
        ("def test_it():\n    while True: pass", "caught by its time"),
    ],
)
def test_a_fault_is_caught_by_a_failure_or_by_its_time(tmp_path: Path, test: str, end: str) -> None:
    (tmp_path / "test_one.py").write_text(test)
    assert mutation.outcome(tmp_path, ["test_one.py"], 6.0) == end


def test_faults_of_the_package_itself_compile() -> None:
    """On a file of each room, so that no construct of the language trips the fault maker."""
    for name in ("hwloop/registry.py", "calibration/steps.py", "drivers/discover.py", "sim_backend/converters.py"):
        original = ast.unparse(ast.parse((mutation.ROOT / name).read_text()))
        found = list(mutation.faults(Path(name)))
        assert found
        for fault in found:
            compile(fault.text, name, "exec")
            assert fault.text != original, (name, fault.what)
