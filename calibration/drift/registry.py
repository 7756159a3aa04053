"""Compensations of drift by name."""

from __future__ import annotations

from hwloop.calibration.drift import digital, predictive
from hwloop.calibration.drift.base import (
    Strategy,
    chain,
)
from hwloop.calibration.drift.refresh import Refresh
from hwloop.errors import BadInputError

COMPENSATIONS: dict[str, type[Strategy]] = {
    "none": digital.Uncompensated,
    "global": digital.GlobalFactor,
    "column": digital.ColumnAffine,
    "predictive": predictive.Predicted,
    "refresh": Refresh,
}


def make_compensation(text: str) -> Strategy:
    """A compensation by name, or several in a row joined by plus signs. Raises BadInputError for an unknown one."""
    parts = text.split("+")
    for part in parts:
        if part not in COMPENSATIONS:
            raise BadInputError(
                f"compensation '{text}': '{part}' is unknown; known: {', '.join(COMPENSATIONS)}, joined by + where one "
                "follows another"
            )
    return COMPENSATIONS[text]() if len(parts) == 1 else chain([COMPENSATIONS[part]() for part in parts])
