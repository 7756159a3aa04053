"""Dataclasses from TOML tables, strictly: every key known, none missing, every value of its kind."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from hwloop.devices import statistics
from hwloop.errors import BadInputError

T = TypeVar("T")

STATISTICS: dict[str, type] = {
    "log-clip": statistics.LogClip,
    "power-law": statistics.PowerLaw,
    "polynomial": statistics.Polynomial,
    "piecewise": statistics.Piecewise,
    "up-to": statistics.UpTo,
}
"""Forms of a Statistic, chosen by the key `form`."""


def build(kind: type[T], table: Any, where: str) -> T:
    """Make a dataclass of a table whose keys are its fields. Raises BadInputError that begins with `where`."""
    if not isinstance(table, Mapping):
        raise BadInputError(f"{where} must be a table")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(table) - set(fields)):
        raise BadInputError(f"{where}: unknown key '{unknown[0]}'; known: {', '.join(fields)}")
    missing = dataclasses.MISSING
    required = [name for name, one in fields.items() if one.default is missing and one.default_factory is missing]
    if absent := [name for name in required if name not in table]:
        raise BadInputError(f"{where}: '{absent[0]}' is missing")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(hints[name], value, f"{where}, {name}") for name, value in table.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _value(next(kind for kind in arguments if kind is not type(None)), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise BadInputError(f"{where}: expected a list")
        return tuple(_value(arguments[0], item, where) for item in value)
    if origin is dict:
        return _options(value, where)
    if hint is statistics.Statistic:
        return _statistic(value, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str) and value.strip():
        return value
    expected = {float: "a finite number", int: "a whole number", str: "a text"}[hint]
    raise BadInputError(f"{where}: expected {expected}, not {value!r}")


def _options(value: Any, where: str) -> dict[str, str | int | float | bool]:
    """Take a table of single values, whatever their names are."""
    if not isinstance(value, Mapping):
        raise BadInputError(f"{where} must be a table")
    for name, one in value.items():
        if not isinstance(one, str | int | float):
            raise BadInputError(f"{where}, {name}: expected a text, a number, true or false, not {one!r}")
    return dict(value)


def _statistic(value: Any, where: str) -> Any:
    form = value.get("form") if isinstance(value, Mapping) else None
    if form not in STATISTICS:
        raise BadInputError(f"{where}: expected a table with form = one of {', '.join(STATISTICS)}")
    return build(STATISTICS[form], {name: item for name, item in value.items() if name != "form"}, where)
