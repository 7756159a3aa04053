"""Lengths of time as people write them: '1s', '90min', '1.5h', '30d', '1y', and back."""

from __future__ import annotations

import math
import re

from hwloop.errors import BadInputError

UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "y": 365.25 * 86400.0}
"""Seconds in each unit; a year is the Julian one of 365.25 days."""

_PATTERN = re.compile(r"\s*([0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([a-z]*)\s*")


def parse_duration(text: str) -> float:
    """Seconds that a text such as '90s', '1.5 h' or '1e6' (seconds) stands for.

    Raises BadInputError for what is no number with a known unit, is negative, or is not finite.
    """
    match = _PATTERN.fullmatch(text)
    if match is None or (match[2] and match[2] not in UNITS):
        raise BadInputError(f"duration '{text}': expected a number and one of {', '.join(UNITS)}, such as 90s or 1.5h")
    seconds = float(match[1]) * UNITS[match[2] or "s"]
    if not math.isfinite(seconds):
        raise BadInputError(f"duration '{text}' is not finite; give a number of seconds or years that is")
    return seconds


def parse_durations(text: str) -> tuple[float, ...]:
    """Seconds of a comma-separated list such as '1s,1h,1d'. Raises BadInputError as `parse_duration` does."""
    return tuple(parse_duration(part) for part in text.split(","))


def format_duration(seconds: float) -> str:
    """Write a length of time short: three digits in the largest unit of which it has at least one, '1.5h'.

    A smaller unit is taken where three digits are right to 0.01 % in it alone: 200 s is '200s', not '3.33min'.
    """
    if not math.isfinite(seconds):
        return "for ever" if seconds > 0 else "-"
    # Rounding may carry over: 59.9996 s is a minute.
    rounded = [(float(f"{seconds / size:.3g}"), unit) for unit, size in reversed(UNITS.items())]
    whole = [(value, unit) for value, unit in rounded if abs(value) >= 1.0]
    exact = [
        (value, unit)
        for value, unit in whole
        if value < 1000.0 and math.isclose(value * UNITS[unit], seconds, rel_tol=1e-4)
    ]
    for value, unit in exact + whole:
        return f"{value:g}{unit}"
    return f"{seconds:.3g}s"
