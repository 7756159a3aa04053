"""Bounds of settings: each is taken from its lowest to its highest value, and refused beyond, with its bounds."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping

import pytest

from hwloop.calibration.settings import Settings
from hwloop.errors import BadInputError

Bounds = Mapping[type[Settings], Mapping[str, tuple[float, float, float]]]
"""Lowest value, default and highest value of each setting of each class."""


def cases(bounds: Bounds) -> list[object]:
    """List (class, name of a setting, lowest, default, highest) for `pytest.mark.parametrize`."""
    return [
        pytest.param(kind, name, *values, id=f"{kind.__name__}-{name}")
        for kind, settings in bounds.items()
        for name, values in settings.items()
    ]


def check(kind: type[Settings], name: str, low: float, default: float, high: float, **beside: float) -> None:
    """Check one setting; `beside` are others that its lowest and its highest value need, where defaults are not."""
    settings = dataclasses.replace(kind(), **beside)
    whole = isinstance(default, int)
    assert getattr(settings, name) == default
    assert isinstance(getattr(settings, name), int) == whole
    for value in (low, high):
        assert getattr(dataclasses.replace(settings, **{name: value}), name) == value
    below, above = (low - 1, high + 1) if whole else (math.nextafter(low, -math.inf), math.nextafter(high, math.inf))
    outside = re.escape(f"is outside {low:g} to {high:g}")
    for value in (below, above) if whole else (below, above, math.nan):
        with pytest.raises(BadInputError, match=f"setting {name}=.* {outside}"):
            dataclasses.replace(settings, **{name: value})
