"""Dataclasses from TOML tables: every kind of field, and every way to get it wrong, named by its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from hwloop.devices.statistics import LogClip, Polynomial, Statistic
from hwloop.drivers.bench.tables import STATISTICS, build
from hwloop.errors import BadInputError


@dataclass(frozen=True)
class Inner:
    """A table in a table."""

    number: float


@dataclass(frozen=True)
class Outer:
    """One field of every kind."""

    text: str
    whole: int
    number: float
    inner: Inner
    form: Statistic
    many: tuple[tuple[str, ...], ...] = ()
    maybe: Inner | None = None
    options: dict[str, str | int | float | bool] = field(default_factory=dict)


TABLE: dict[str, Any] = {
    "text": "a", "whole": 3, "number": 2, "inner": {"number": 0.5},
    "form": {"form": "polynomial", "coefficients": [1, 2.5]},
}  # fmt: skip


def test_every_kind_of_field_is_made() -> None:
    found = build(Outer, TABLE, "file")
    assert found == Outer("a", 3, 2.0, Inner(0.5), Polynomial((1.0, 2.5)))
    assert type(found.number) is float
    more = TABLE | {
        "many": [["x", "y"], []],
        "maybe": {"number": 1},
        "options": {"a": 1, "b": True, "c": "x", "d": 0.5},
    }
    found = build(Outer, more, "file")
    assert (found.many, found.maybe) == ((("x", "y"), ()), Inner(1.0))
    assert found.options == {"a": 1, "b": True, "c": "x", "d": 0.5}
    assert STATISTICS["log-clip"] is LogClip


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"odd": 1}, "file: unknown key 'odd'; known: text, whole, number, inner, form, many, maybe, options"),
        ({"text": 3}, "file, text: expected a text, not 3"),
        ({"text": "  "}, "file, text: expected a text, not '  '"),
        ({"whole": 3.0}, "file, whole: expected a whole number, not 3.0"),
        ({"whole": True}, "file, whole: expected a whole number, not True"),
        ({"number": "2"}, "file, number: expected a finite number, not '2'"),
        ({"number": False}, "file, number: expected a finite number, not False"),
        ({"number": float("inf")}, "file, number: expected a finite number, not inf"),
        ({"inner": 3}, "file, inner must be a table"),
        ({"inner": {}}, "file, inner: 'number' is missing"),
        ({"maybe": {"number": "x"}}, "file, maybe, number: expected a finite number, not 'x'"),
        ({"many": "x"}, "file, many: expected a list"),
        ({"many": [["x"], "y"]}, "file, many: expected a list"),
        ({"many": [[3]]}, "file, many: expected a text, not 3"),
        ({"options": 3}, "file, options must be a table"),
        ({"options": {"a": [1]}}, "file, options, a: expected a text, a number, true or false, not"),
        ({"form": {"coefficients": [1]}}, "file, form: expected a table with form = one of log-clip, power-law,"),
        ({"form": {"form": "odd"}}, "file, form: expected a table with form = one of"),
        ({"form": "polynomial"}, "file, form: expected a table with form = one of"),
        ({"form": {"form": "polynomial"}}, "file, form: 'coefficients' is missing"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(changed: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadInputError) as caught:
        build(Outer, TABLE | changed, "file")
    assert str(caught.value).startswith(complaint)


def test_what_has_no_default_must_be_there() -> None:
    for name in ("text", "whole", "number", "inner", "form"):
        with pytest.raises(BadInputError, match=f"^file: '{name}' is missing$"):
            build(Outer, {key: value for key, value in TABLE.items() if key != name}, "file")
    with pytest.raises(BadInputError, match=r"^file must be a table$"):
        build(Outer, [], "file")
