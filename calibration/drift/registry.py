"""Compensations of drift by name: those of hwloop, and those that other packages install."""

from __future__ import annotations

import dataclasses

from hwloop.calibration.drift.strategy import Probing, Strategy, chain
from hwloop.errors import BadInputError
from hwloop.registry import Registry, suggest

COMPENSATIONS = Registry("hwloop.compensations", "compensation", Strategy)  # type: ignore[type-abstract]
"""Strategies that are installed."""
BY_COST = ("none", "global", "column", "predictive", "batchnorm", "refresh")
"""The order in which hwloop's own are shown."""


def compensation_names() -> list[str]:
    """List the names of all strategies: hwloop's own in the order in which they are shown, then others.

    Returns
    -------
    list
    """
    names = COMPENSATIONS.names()
    return [name for name in BY_COST if name in names] + [name for name in names if name not in BY_COST]


def compensation_from(text: str, probes: int = Probing.probes) -> Strategy:
    """Make a strategy from its name.

    Parameters
    ----------
    text
        A name, or several joined by plus signs where one follows another, such as ``refresh+column``.
    probes
        Probe vectors of each tile, for the strategies that have this setting.

    Returns
    -------
    Strategy

    Raises
    ------
    BadInputError
        For an unknown name, with those that are known.
    """
    known, parts = compensation_names(), list[Strategy]()
    for name in text.split("+"):
        if name not in known:
            raise BadInputError(
                f"compensation '{text}': '{name}' is unknown; {suggest(name, known)}, joined by + where one follows "
                "another"
            )
        kind = COMPENSATIONS.find(name)
        has_probes = any(field.name == "probes" for field in dataclasses.fields(kind))
        parts.append(kind.parse({"probes": str(probes)} if has_probes else {}))
    return parts[0] if len(parts) == 1 else chain(parts)
