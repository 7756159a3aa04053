"""The programming curve with the spread of devices: the family `logistic`.

settings    thresholds, sizes and tolerances
table       sweeps of all devices as rectangles
ageing      what drift makes of conductances until they are read
folding     noise that folds over at a conductance of zero
curve       what reads of devices with parameters of their own show
family      the family itself
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hwloop.calibration.fitting.programming_curve.family import Logistic as Logistic


def __getattr__(name: str) -> type:
    """Load the family when it is first asked for."""
    if name != "Logistic":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    found: type = getattr(importlib.import_module(f"{__name__}.family"), name)
    return found
