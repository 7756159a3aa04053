"""Calls of hwloop's face as text: numbers as they are, everything else as texts, and only what is not as by default."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from hwloop.web.calls import Given, call, literal, method, numbers, saved, with_chip
from hwloop.web.fields import Form, Values, _field
from hwloop.web.folder import DataFolder
from hwloop.web.settings import HIDDEN, SETTINGS

PARAMETERS = (
    click.Argument(["weights"]),
    click.Option(["--backend"]),
    click.Option(["--seed"], type=int, default=1),
    click.Option(["--lr"], type=float),
    click.Option(["--age"]),
    click.Option(["--force"], is_flag=True),
    click.Option(["--cells"], type=int, multiple=True),
    click.Option(["--names"], multiple=True),
    click.Option(["--settings"], multiple=True),
    click.Option(["--scale"], default="column"),
    click.Option(["--clip"], type=float),
    click.Option(["--out"]),
)
FORM = Form(("work",), click.Command("work", params=list(PARAMETERS)), tuple(map(_field, PARAMETERS)))


def given(**values: tuple[str, ...]) -> Given:
    made: Values = values
    return Given(FORM, made)


@pytest.mark.parametrize("text", ["1", "-2", "+3.5", ".5", "2.", "1e-3", "-1.5E+6"])
def test_numbers_are_written_as_they_are(text: str) -> None:
    assert literal(text) == text
    assert numbers({"a": text})
    float(text)


@pytest.mark.parametrize("text", ["", "1a", "nan", "inf", "1_0", "0x1", "1 ", "--1", "e5", "__import__('os')", "1\n"])
def test_all_else_is_a_text(text: str) -> None:
    assert literal(text) == repr(text)
    assert not numbers({"a": text})


def test_settings_have_names_of_python() -> None:
    assert numbers({})
    assert not numbers({"a b": "1"})
    assert not numbers({"a": "1", "b": "x"})


def test_what_is_as_by_default_is_not_given() -> None:
    found = given(seed=("1",), lr=("0.1",), force=("",), names=("a", "b"))
    assert [name for name in ("seed", "lr", "force", "age", "names", "scale") if found.has(name)] == [
        "lr",
        "force",
        "names",
    ]
    assert given(seed=("2",)).has("seed")
    assert (found.text("seed"), found.text("scale"), found.text("age"), found.text("nothing")) == (
        "1",
        "column",
        "",
        "",
    )
    assert given(seed=("1", "5")).text("seed") == "5"


def test_values_are_written_by_their_kind() -> None:
    found = given(seed=("3",), lr=("0.1",), age=("1",), force=("",), cells=("1", "2"), names=("1", "x"))
    assert [found.python(name) for name in ("seed", "lr", "age", "force", "cells", "names", "scale")] == [
        "3", "0.1", "'1'", "True", "[1, 2]", "['1', 'x']", "'column'",
    ]  # fmt: skip
    assert given().python("force") == "False"
    assert found.named("seed", "lr", "clip", words={"lr": "rate"}) == ["seed=3", "rate=0.1"]
    assert given(age=("1h",)).read("parse_duration", "age", "seconds") == ["seconds=parse_duration('1h')"]
    assert given().read("parse_duration", "age", "seconds") == []
    assert given(names=("a , ,b",)).listed("names") == ["a", "b"]


def test_objects_of_settings_are_written_where_any_is_given() -> None:
    assert given().made("Kind", "seed") == []
    assert given(seed=("2",)).made("Kind", "seed", "lr") == ["Kind(seed=2)"]
    assert given(seed=("2",), settings=("a=1", "b=2.5")).made("Kind", "seed") == ["Kind(seed=2, a=1, b=2.5)"]
    assert given(settings=("a=1h",)).made("Kind", "seed") == ["Kind.parse({'a': '1h'})"]
    assert given(age=("1h",)).made("Kind", "age", "lr") == ["Kind.parse({'age': '1h'})"]
    assert given().made("Kind", also={"c": "3"}) == ["Kind(c=3)"]


@pytest.mark.parametrize(
    ("name", "settings", "written"),
    [
        ("gdp", {}, "'gdp'"),
        ("gdp", {"max_steps": "6", "lr": ".5"}, "hwloop.GDP(max_steps=6, lr=.5)"),
        ("iterative", {"a": "1"}, "hwloop.ProgramVerify(a=1)"),
        ("own", {"a": "1"}, "method_from('own', {'a': '1'})"),
        ("gdp", {"a": "x"}, "method_from('gdp', {'a': 'x'})"),
    ],
)
def test_methods(name: str, settings: dict[str, str], written: str) -> None:
    assert method(name, settings) == written


def test_calls_are_folded_where_they_are_long() -> None:
    assert call("f", ["a", "b"]) == "f(a, b)"
    assert call("f", ["x" * 86]) == f"f({'x' * 86})"
    assert call("f", ["x" * 86, "y"]) == f"f(\n    {'x' * 86},\n    y,\n)"
    assert call("f", ["x" * 87]) == f"f(\n    {'x' * 87},\n)"


def test_a_chip_is_open_meanwhile() -> None:
    assert with_chip(given(), "run", "f(1)") == "run = f(1)"
    assert with_chip(given(backend=("sim:x'",)), "run", "f(\n    1,\n)") == (
        'with hwloop.connect("sim:x\'") as chip:\n    run = f(\n        1,\n    )'
    )


def test_results_are_saved_where_a_file_is_asked_for() -> None:
    assert saved(given(), "run") == ""
    assert saved(given(out=("r.h5",)), "run") == "\nrun.save('r.h5')"
    assert saved(given(out=("r.h5",), force=("",)), "run", "write") == "\nrun.write('r.h5', force=True)"


# ---- the data folder -----------------------------------------------------------------------------------------


def test_files_are_listed_newest_first_and_not_too_deep(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    deep = tmp_path
    for number in range(SETTINGS.depth + 2):
        (deep / f"{number}.txt").write_text("x" * number)
        os.utime(deep / f"{number}.txt", (number, number))
        deep = deep / f"d{number}"
        deep.mkdir()
    for name in ("r.h5.resume", HIDDEN, ".git"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("x")
    (tmp_path / ".hidden").write_text("x")
    found = folder.files()
    assert [one.size for one in found] == list(range(SETTINGS.depth, -1, -1))
    assert found[-1].name == "0.txt"
    assert found[-2].name == "d0/1.txt"
    assert [one.written for one in found] == sorted((one.written for one in found), reverse=True)


def test_names_are_as_long_as_file_systems_take(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    longest = "a" * SETTINGS.name
    assert folder.path(longest) == tmp_path / longest
    for name in ("a" * (SETTINGS.name + 1), "a/" * (SETTINGS.path // 2) + "ab", "", "/a", "~a", "a\\b", "a\0", "a/.b"):
        with pytest.raises(Exception, match="is no name of a file in the data folder"):
            folder.path(name)
