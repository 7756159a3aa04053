"""Settings of algorithms: frozen dataclasses, validated when they are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from hwloop.errors import BadInputError


@dataclass(frozen=True)
class Settings:
    """Base of every method's settings: a frozen dataclass, validated when it is made."""

    @classmethod
    def parse(cls, pairs: Mapping[str, str]) -> Self:
        """Settings from texts by name, as `--set KEY=VALUE` gives them.

        Raises BadInputError for an unknown name (listing the known ones) or a value of the wrong kind.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for name, text in pairs.items():
            if name not in known:
                raise BadInputError(
                    f"unknown setting '{name}'; known: {', '.join(known) or 'none, it has no settings'}"
                )
            kind = int if isinstance(known[name].default, int) else float
            try:
                values[name] = kind(text)
            except ValueError:
                expected = "a whole number" if kind is int else "a number"
                raise BadInputError(f"setting {name}={text}: expected {expected}") from None
        return cls(**values)

    def _require(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        whole = isinstance(getattr(type(self), name), int)  # of the default
        if not isinstance(value, (int, np.integer) if whole else (int, float, np.number)):
            raise BadInputError(f"setting {name}={value!r}: expected {'a whole number' if whole else 'a number'}")
        if not low <= value <= high:
            raise BadInputError(f"setting {name}={value:g} is outside {low:g} to {high:g}")
