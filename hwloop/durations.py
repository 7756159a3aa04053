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

    >>> parse_duration("1.5 h")
    5400.0
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


NEAR = 5e-4
"""Relative rounding that is too small to speak of."""


def format_elapsed(seconds: float) -> str:
    """Write how long something took or will take, in one or two whole units that grow steadily: '59s', '1min 30s'.

    Below a second it is written as `format_duration` does. What is spoken of, such as the age of a device, is written
    by that; elapsed time grows before one's eyes, and must not go from '200s' to '3.34min' and back.

    >>> format_elapsed(200.3)
    '3min 20s'
    """
    if not 1.0 <= seconds < math.inf:
        return format_duration(seconds)
    names = ("y", "d", "h", "min", "s")
    left = int(seconds + 0.5)
    parts: list[str] = []
    for name in names:
        count, left = divmod(left, int(UNITS[name]))
        if count or parts:
            parts.append(f"{count}{name}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part[0] != "0")


def format_duration(seconds: float) -> str:
    """Write a length of time short: three digits in the largest unit of which it has at least one, '1.5h'.

    A smaller unit is taken where it hardly needs rounding: 200 s is '200s', not '3.33min'.

    >>> format_duration(5400.0), format_duration(31_557_600.0)
    ('1.5h', '1y')
    """
    if not math.isfinite(seconds):
        return "for ever" if seconds > 0 else "-"
    # Rounding may carry over: 59.9996 s is a minute.
    rounded = [(float(f"{seconds / size:.3g}"), unit) for unit, size in reversed(UNITS.items())]
    whole = [(value, unit) for value, unit in rounded if abs(value) >= 1.0]
    near = [(v, unit) for v, unit in whole if v < 1000.0 and math.isclose(v * UNITS[unit], seconds, rel_tol=NEAR)]
    for value, unit in near + whole:
        return f"{value:g}{unit}"
    return f"{seconds:.3g}s"
