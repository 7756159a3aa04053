"""Power steps: u^gamma for steps up and (1 - u)^gamma for steps down, u = (high - w) / (high - low).

PowStepDevice of aihwkit 1.2.0; gamma is drawn for each device and direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwloop.sim_backend.periphery import number
from hwloop.sim_backend.stepping.law import StepLaw
from hwloop.typing import FloatArray


def relative(
    weight: FloatArray, up: bool, low: FloatArray, high: FloatArray, own: FloatArray, shared: FloatArray
) -> FloatArray:
    """Return the share of the range that is left in this direction to the power `own`."""
    left = np.minimum(np.maximum((high - weight) / (high - low), 0.0), 1.0)
    if up:
        return left**own
    return (1.0 - left) ** own


@dataclass(frozen=True, kw_only=True)
class PowerStep(StepLaw):
    """Steps that are a power of what is left of the range."""

    form: ClassVar[int] = 3
    relative = staticmethod(relative)

    power: float = number("1", "gamma of the nominal device")
    power_spread: float = number("1", "device-to-device standard deviation of gamma")

    def own(self, specimen: np.random.Generator, bounds: FloatArray) -> FloatArray:
        """Draw gamma of steps down and up."""
        drawn: FloatArray = np.abs(self.power + self.power_spread * specimen.standard_normal(bounds.shape))
        return drawn
