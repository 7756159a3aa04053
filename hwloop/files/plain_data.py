"""Objects as plain values and arrays, and back: what a file can hold without holding code.

Only dataclasses whose classes the reader names are made again, and of these only the fields that they have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np

from hwloop.files.journal import Entry
from hwloop.files.resume_folder import listed, plain
from hwloop.typing import AnyArray, Json

Plain: TypeAlias = Any
"""A dataclass, an array, a moment, a number, a text or None, and tuples and dictionaries of such."""
ARRAY, MOMENT, OBJECT, FIELDS, SEVERAL, NAMED = "array", "moment", "object", "fields", "several", "named"
"""Keys of what stands for a value that JSON does not have."""


def entry_of(value: Plain) -> Entry:
    """Return a record that holds a value. Raises TypeError for one that is not plain."""
    arrays: list[AnyArray] = []
    return Entry({"value": _told(value, arrays)}, arrays)


def value_of(entry: Entry, classes: Sequence[type]) -> Plain:
    """Make again what `entry_of` was given, of these dataclasses.

    Raises LookupError, TypeError or ValueError for a record that is not such.
    """
    return _again(entry.told["value"], entry.arrays, {one.__name__: one for one in classes})


def _told(value: Plain, arrays: list[AnyArray]) -> Json:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {ARRAY: len(arrays) - 1}
    if isinstance(value, np.generic):
        return _told(value.item(), arrays)
    if isinstance(value, datetime):
        return {MOMENT: value.isoformat()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {item.name: _told(getattr(value, item.name), arrays) for item in dataclasses.fields(value)}
        return {OBJECT: type(value).__name__, FIELDS: fields}
    if isinstance(value, tuple):
        return {SEVERAL: [_told(one, arrays) for one in value]}
    if isinstance(value, Mapping):
        return {NAMED: {str(name): _told(one, arrays) for name, one in value.items()}}
    raise TypeError(f"{type(value).__name__} is no plain value")


def _again(told: Json, arrays: Sequence[AnyArray], classes: Mapping[str, type]) -> Plain:
    if not isinstance(told, Mapping):
        return told
    if ARRAY in told:
        return np.array(arrays[int(str(told[ARRAY]))])
    if MOMENT in told:
        return datetime.fromisoformat(str(told[MOMENT]))
    if SEVERAL in told:
        return tuple(_again(one, arrays, classes) for one in listed(told[SEVERAL]))
    if NAMED in told:
        return {name: _again(one, arrays, classes) for name, one in plain(told[NAMED]).items()}
    fields = {name: _again(one, arrays, classes) for name, one in plain(told[FIELDS]).items()}
    return classes[str(told[OBJECT])](**fields)
