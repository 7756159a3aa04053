"""The base of everything that has settings: frozen dataclasses that check themselves when they are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from hwloop.durations import parse_duration
from hwloop.errors import BadInputError
from hwloop.registry import suggest

DURATION = "duration"
"""Key of the metadata of a field that is a length of time."""

_NOTED: ContextVar[dict[str, tuple[float, float]] | None] = ContextVar("noted", default=None)
"""Where settings that are made note their ranges."""


def seconds(default: float) -> float:
    """Declare a field of seconds, which may also be given as a text such as '1.5h' or '1y'."""
    return field(default=default, metadata={DURATION: True})


@dataclass(frozen=True)
class Settings:
    """Base of algorithms and of their parts: a frozen dataclass whose fields are numbers with defaults.

    A field whose default is a whole number takes whole numbers only. Subclasses check ranges in `__post_init__` with
    `self._require(name, low, high)`.
    """

    @classmethod
    def parse(cls, pairs: Mapping[str, str]) -> Self:
        """Make one from texts by name, as `--set KEY=VALUE` gives them.

        Parameters
        ----------
        pairs
            Texts of numbers by the names of fields; fields that are not named keep their defaults.

        Raises
        ------
        BadInputError
            For an unknown name, with the known ones, and for a value of the wrong kind or outside its range.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        values: dict[str, float | str] = {}
        for name, text in pairs.items():
            if name not in known:
                none = "" if known else ", it has no settings"
                raise BadInputError(f"unknown setting '{name}'; {suggest(name, list(known))}{none}")
            if isinstance(known[name].default, str):
                values[name] = text
                continue
            if known[name].metadata.get(DURATION):
                values[name] = parse_duration(text)
                continue
            kind = int if isinstance(known[name].default, int) else float
            try:
                values[name] = kind(text)
            except ValueError:
                expected = "a whole number" if kind is int else "a number"
                raise BadInputError(f"setting {name}={text}: expected {expected}") from None
        return cls(**values)

    @classmethod
    def field_bounds(cls) -> dict[str, tuple[float, float]]:
        """Return the lowest and the highest value of every field that has such."""
        noted: dict[str, tuple[float, float]] = {}
        token = _NOTED.set(noted)
        try:
            cls()
        finally:
            _NOTED.reset(token)
        return {field.name: noted[field.name] for field in dataclasses.fields(cls) if field.name in noted}

    def _require(self, name: str, low: float, high: float) -> None:
        """Raise BadInputError unless the field `name` is a number of its kind in [low, high]; NaN is in no range."""
        if (noted := _NOTED.get()) is not None:
            noted[name] = low, high
        value = getattr(self, name)
        whole = isinstance(getattr(type(self), name), int)  # of the default
        if not isinstance(value, (int, np.integer) if whole else (int, float, np.number)):
            raise BadInputError(f"setting {name}={value!r}: expected {'a whole number' if whole else 'a number'}")
        if not low <= value <= high:
            raise BadInputError(f"setting {name}={value:g} is outside {low:g} to {high:g}")
