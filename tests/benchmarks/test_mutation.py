"""The fault maker: each fault compiles, changes the file, and is the one change that it says."""

from __future__ import annotations

import ast
import functools
import os
import re
import sys
from pathlib import Path

import mutation
import pytest
import trial

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
        lines = re.sub(r"if False:\s+", "if False: ", fault.text).splitlines()
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
        ("dropped: total += value", "if False:"),
        ("sign or not: not keep", "if keep or total == 0:"),
        ("sign or not: -1.5", "return 1.5"),
        ("operator: total / len(values)", "return max(total * len(values), LIMIT)"),
        ("twin function: max(total / len(values), LIMIT)", "return min(total / len(values), LIMIT)"),
    ],
)
def test_a_fault_does_what_it_says(made: list[mutation.Fault], what: str, line: str) -> None:
    (fault,) = [fault for fault in made if fault.what == what]
    assert line in [part.strip() for part in fault.text.splitlines()]


def test_a_method_from_which_its_super_is_dropped_can_still_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    (tmp_path / "module.py").write_text("class A(B):\n    def close(self):\n        super().close()\n")
    (fault,) = mutation.faults(Path("module.py"))
    faulty = mutation.codes_of(compile(fault.text, "module.py", "exec"), "A.close")
    assert faulty[0].co_freevars == ("__class__",)


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


def test_every_negative_number_means_the_same_to_reshape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    (tmp_path / "shapes.py").write_text("y = x.reshape(-1, 3) + x[-1]\n")
    made = sorted(fault.what for fault in mutation.faults(Path("shapes.py")))
    assert made == ["number: 1", "number: 3", "operator: x.reshape(-1, 3) + x[-1]", *["sign or not: -1"] * 2]


def test_a_fault_knows_the_function_that_it_is_in(made: list[mutation.Fault]) -> None:
    places = {fault.line: (fault.within, fault.at_import) for fault in made}
    assert places.pop(4) == ("LIMIT", True)
    assert places.pop(7) == ("mean", True)  # a default is computed when the function is defined
    assert set(places.values()) == {("mean", False)}


METHODS = """
class Box:
    size: int = 3

    @property
    def half(self):
        return self.size / 2

    @half.setter
    def half(self, value):
        self.size = max(2 * value, 0)

    def scaled(self, by=1):
        def inner(x):
            return x * by
        return inner(self.size) + 0
"""


def test_what_a_fault_of_a_class_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    (tmp_path / "box.py").write_text(METHODS)
    found = [(fault.what, fault.within, fault.at_import) for fault in mutation.faults(Path("box.py"))]
    assert ("number: 3", "Box", True) in found
    assert ("number: 1", "Box.scaled", True) in found
    assert ("operator: x * by", "Box.scaled", False) in found
    assert ("operator: self.size / 2", "Box.half", False) in found


def nearest(path: str, within: str = "", at_import: bool = False) -> list[str]:
    return mutation.find_tests(mutation.Fault(Path(path), 1, "", 0, within, at_import))


def test_the_nearest_tests_of_a_file_come_first() -> None:
    found = nearest("hwloop/jobs/compare.py")
    assert found[0] == "tests/jobs/test_compare.py"
    assert set(found) >= {f"tests/jobs/{path.name}" for path in (mutation.ROOT / "tests/jobs").glob("test_*.py")}
    assert nearest("calibration/steps.py")[0] == "tests/calibration/test_steps.py"
    # A folder without tests of its own: those called after it come first, out of the folder above.
    drift = nearest("calibration/fitting/drift/growth.py")
    assert all(path.startswith("tests/calibration/fitting/test_drift") for path in drift[:4])
    assert "tests/calibration/fitting/test_selection.py" in drift[4:]
    # A table names the module.
    assert "tests/test_numbers.py" in nearest("drivers/selftest.py", "SelfTestSettings", at_import=True)[:6]
    # Fields of settings have a table of their own.
    assert nearest("calibration/drift/refresh.py", "Refresh", at_import=True)[:2] == [
        "tests/calibration/drift/test_settings.py", "tests/calibration/drift/test_refresh.py"
    ]  # fmt: skip


def test_tests_of_other_folders_count_when_they_import_the_file() -> None:
    found = nearest("calibration/programming/stuck_hypotheses.py")
    assert found[0] == "tests/calibration/programming/test_stuck_hypotheses.py"
    importing = [test for test in nearest("hwloop/testing/faults.py") if not test.startswith("tests/testing/")]
    assert importing
    for test in importing:
        own, common = mutation.imported_by(Path(test)), mutation.imported_in_common(Path(test))
        assert "hwloop.testing.faults" in own | common
    # What tests have in common counts as well, after everything else.
    shared = mutation.imported_in_common(Path("tests/calibration/drift/test_forecast.py"))
    assert shared >= mutation.imported_by(Path("tests/calibration/drift/specimen.py"))
    layout = nearest("hwloop/importers/layout.py", "_Lines.__init__")
    assert layout[0].startswith("tests/importers/")
    assert "tests/cli/test_fit.py" not in layout[:5]


def test_of_equal_tests_those_come_first_that_name_the_function() -> None:
    room = [f"tests/calibration/programming/test_conductance_filter{end}.py" for end in ("", "_currents")]
    assert nearest("calibration/programming/conductance_filter.py", "ConductanceFilter.assume_currents")[:2] == room
    others = nearest("calibration/programming/conductance_filter.py", "ConductanceFilter.correct")[2:]
    named = [bool(mutation.re.search(r"\bcorrect\b", (mutation.ROOT / test).read_text())) for test in others]
    near = [mutation.re.search(r"\bconductance_filter\b", (mutation.ROOT / test).read_text()) for test in others]
    first = near.index(None)
    assert named[:first] == sorted(named[:first], reverse=True)


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
        ("def test_it(): pass", trial.Outcome("MISSED")),
        ("def test_it(): assert False", trial.Outcome("caught", "test_one.py::test_it")),
        ("import nothing_like_this", trial.Outcome("caught", "test_one.py")),
        ("def test_it():\n    while True: pass", trial.Outcome("caught by its time")),
        ("import time\ndef test_it(): time.sleep(1e6)", trial.Outcome("caught by its time")),
    ],
)
def test_a_fault_is_caught_by_a_failure_or_by_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test: str, end: trial.Outcome
) -> None:
    monkeypatch.setattr(trial, "SPARE", 0.5)
    monkeypatch.setattr(trial, "IDLE", 3.0)
    (tmp_path / "test_one.py").write_text(test)
    assert trial.outcome(tmp_path, ["test_one.py"], 0.5) == end
    assert end.caught == (end.told != "MISSED")


def test_no_test_is_begun_after_the_time_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(
        "import time\n"
        "def test_long():\n    end = time.process_time() + 0.4\n    while time.process_time() < end: pass\n"
        "def test_next(): assert False\n"
    )
    (tmp_path / "test_two.py").write_text("def test_other(): assert False\n")
    assert not trial.outcome(tmp_path, ["test_one.py", "test_two.py"], 0.3).caught
    # A file has two fifths of the time; the other one has its turn.
    assert trial.outcome(tmp_path, ["test_one.py", "test_two.py"], 0.75).test == "test_two.py::test_other"
    assert trial.outcome(tmp_path, ["test_one.py", "test_two.py"], 30.0).test == "test_one.py::test_next"


def test_a_faulty_function_stays_in_the_process_that_runs_the_tests(tmp_path: Path) -> None:
    name = "fault_in_memory"
    (tmp_path / f"{name}.py").write_text(METHODS)
    (tmp_path / "test_box.py").write_text(
        f"import {name}\n"
        "def test_half():\n"
        f"    box = {name}.Box()\n    box.half = 3\n    assert (box.half, box.scaled(3)) == (3, 18)\n"
    )
    here = [os.getcwd(), *sys.path]
    try:
        trial.load_tests(tmp_path, ("test_box.py",))
        for function, faulty in (("half", "2 * value"), ("scaled", "x * by")):
            assert not trial.outcome(tmp_path, ["test_box.py"], 30.0).caught
            text = METHODS.replace(faulty, faulty.replace("*", "+").replace("/", "-"))
            codes = trial.codes_of(compile(text, "box.py", "exec"), f"Box.{function}")
            assert len(codes) == 1 + (function == "half")
            replace = functools.partial(trial.replace_code, tmp_path / f"{name}.py", f"Box.{function}", codes)
            assert trial.outcome(tmp_path, ["test_box.py"], 30.0, replace).test == "test_box.py::test_half"
    finally:
        os.chdir(here[0])
        sys.path[:] = here[1:]
        for module in (name, "test_box"):
            sys.modules.pop(module, None)


def test_faults_of_the_package_itself_compile() -> None:
    """On a file of each room, so that no construct of the language trips the fault maker."""
    for name in ("hwloop/registry.py", "calibration/steps.py", "drivers/discover.py", "sim_backend/converters.py"):
        original = ast.unparse(ast.parse((mutation.ROOT / name).read_text()))
        found = list(mutation.faults(Path(name)))
        assert found
        for fault in found:
            compile(fault.text, name, "exec")
            assert fault.text != original, (name, fault.what)
