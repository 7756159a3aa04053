"""Units that files may carry, and their conversion to the ones that hwloop uses everywhere.

hwloop itself knows one unit per quantity: uS, s, K, uA, ns, ohm, V. Whatever else a file or a column map names is
converted when it is read, and a unit that is not in the table is an error, never a guess.
"""

from __future__ import annotations

import math
import re
from dataclasses import field
from typing import Any

from hwloop.errors import BadInputError

BOLTZMANN = 8.617333262e-5
"""Boltzmann constant, eV/K (CODATA 2018)."""

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0, "d": 86400.0}

_AMPERES = {"A": 1e6, "mA": 1e3, "uA": 1.0, "nA": 1e-3, "pA": 1e-6, "fA": 1e-9}

_TABLE: dict[str, dict[str, tuple[float, float]]] = {
    "uS": {name: (factor, 0.0) for name, factor in {"S": 1e6, "mS": 1e3, "uS": 1.0, "nS": 1e-3, "pS": 1e-6}.items()},
    "s": {name: (factor, 0.0) for name, factor in _SECONDS.items()},
    "ns": {name: (1e9 * factor, 0.0) for name, factor in _SECONDS.items() if factor <= 1},
    "K": {"K": (1.0, 0.0), "degC": (1.0, 273.15)},
    "uA": {name: (factor, 0.0) for name, factor in _AMPERES.items()},
    "ohm": {name: (factor, 0.0) for name, factor in {"ohm": 1.0, "kohm": 1e3, "Mohm": 1e6, "Gohm": 1e9}.items()},
    "V": {"V": (1.0, 0.0), "mV": (1e-3, 0.0), "uV": (1e-6, 0.0), "kV": (1e3, 0.0)},
    "1": {"1": (1.0, 0.0)},
}
"""Unit of hwloop -> compatible unit -> (factor, offset): value * factor + offset is in hwloop's unit."""


def conversion(unit: str, base: str) -> tuple[float, float]:
    """Factor and offset that turn values in `unit` into hwloop's unit `base` (value * factor + offset).

    'µS' and the like count as 'uS'. Raises BadInputError for a unit of another quantity, or an unknown one.
    """
    known = _TABLE[base]
    spelled = unit.strip().replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")
    if spelled not in known:
        raise BadInputError(f"the unit '{unit}' cannot be read as {base}; use one of {', '.join(known)}")
    return known[spelled]


def parse_conductance(text: str) -> float:
    """Return the conductance (uS) that a text such as '12uS', '0.1 mS' or '12' (uS) stands for.

    Raises BadInputError for what is no finite number with a known unit.

    >>> parse_conductance("0.1 mS")
    100.0
    """
    match = re.fullmatch(r"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*(\S*)\s*", text)
    if match is None:
        raise BadInputError(f"conductance '{text}': expected a number and a unit, such as 12uS")
    factor, _ = conversion(match[2] or "uS", "uS")
    found = factor * float(match[1])
    if not math.isfinite(found):
        raise BadInputError(f"conductance '{text}' is not finite")
    return found


def value(unit: str, meaning: str, stored: str = "", absent: float | None = None) -> Any:
    """Describe a field of a result by its unit and a sentence on what it is; both go into the file it is saved to.

    Parameters
    ----------
    unit, meaning
        The unit, '1' for a bare number, and what the value is.
    stored
        Name of the value in files and in JSON, where that is not the field's own.
    absent
        What to take for it in files of before there was such a value; None where all files have it.
    """
    metadata = {"unit": unit, "meaning": meaning, "stored": stored}
    return field(metadata=metadata) if absent is None else field(metadata=metadata, default=absent)


def finite(value: float | None) -> float | None:
    """Return the value, or None for one that JSON has no number for."""
    return float(value) if value is not None and math.isfinite(value) else None


def finite_interval(interval: tuple[float, float]) -> list[float] | None:
    """Return [low, high] for JSON, or None where an end is not a number."""
    return [float(end) for end in interval] if all(map(math.isfinite, interval)) else None
