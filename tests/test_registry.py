"""Implementations by name: found when asked for, and a name that is none is answered with what may be meant."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from hwloop import registry
from hwloop.calibration.programming.base import Method
from hwloop.calibration.programming.gdp import GDP
from hwloop.errors import BadInputError
from hwloop.registry import Registry, suggest


class Shape:
    """A kind of thing of which implementations are looked for."""


class Circle(Shape):
    """One."""


NAME = "a function of this module"


def installed(monkeypatch: pytest.MonkeyPatch, **values: str) -> Registry[Shape]:
    """A registry in which these entry points of the group hwloop.shapes are installed."""
    points = {name: EntryPoint(name, f"{__name__}:{value}", "hwloop.shapes") for name, value in values.items()}
    monkeypatch.setattr(registry, "_installed", lambda group: points if group == "hwloop.shapes" else {})
    return Registry("hwloop.shapes", "shape", Shape)


def test_a_class_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = installed(monkeypatch, round="Circle", any="Shape")
    assert shapes.find("round") is Circle
    assert shapes.find("any") is Shape
    assert shapes.names() == ["any", "round"]


def test_an_unknown_name_is_answered_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = installed(monkeypatch, round="Circle", any="Shape")
    with pytest.raises(BadInputError, match=r"^unknown shape 'square'; known: any, round$"):
        shapes.find("square")
    with pytest.raises(BadInputError, match=r"^unknown shape 'rounf'; did you mean 'round'\? known: any, round$"):
        shapes.find("rounf")


def test_of_nothing_installed_none_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInputError, match=r"unknown shape 'round'; known: none"):
        installed(monkeypatch).find("round")


@pytest.mark.parametrize("value", ["NAME", "installed", "EntryPoint"])
def test_what_has_not_the_base_class_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    shapes = installed(monkeypatch, odd=value)
    with pytest.raises(
        BadInputError, match=rf"shape 'odd': {__name__}:{value} is no Shape; mend or remove the package"
    ):
        shapes.find("odd")


def test_nothing_is_loaded_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = installed(monkeypatch, broken="no_such_thing", round="Circle")
    assert shapes.names() == ["broken", "round"]
    assert shapes.find("round") is Circle
    with pytest.raises(AttributeError, match="no_such_thing"):
        shapes.find("broken")


def test_the_methods_are_found() -> None:
    methods: Registry[Method] = Registry("hwloop.methods", "method", Method)
    assert methods.names() == ["exact", "gdp", "iterative", "sgd"]
    assert methods.find("gdp") is GDP


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("programm", ["program", "compare"], "did you mean 'program'? known: program, compare"),
        ("x", ["program"], "known: program"),
        ("x", [], "known: none"),
        ("gpd", ["exact", "gdp", "iterative", "sgd"], "did you mean 'gdp'? known: exact, gdp, iterative, sgd"),
        ("gpd", ["sgd", "gdp"], "did you mean 'gdp'? known: sgd, gdp"),
        ("sdg", ["gdp", "sgd"], "did you mean 'sgd'? known: gdp, sgd"),
        ("programs", ["smargorp", "program"], "did you mean 'program'? known: smargorp, program"),
    ],
)
def test_suggestions(name: str, known: list[str], said: str) -> None:
    assert suggest(name, known) == said
