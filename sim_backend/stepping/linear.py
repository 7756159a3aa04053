"""Linear steps: 1 + slope w of the device's own step, with a slope of its own for each direction.

Steps up shrink by the share `fall_up` from weight zero to the nominal upper bound, steps down by `fall_down` to the
lower one: LinearStepDevice of aihwkit 1.2.0 with `mean_bound_reference`.
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
    """Return 1 + slope w, of which `own` is the slope."""
    return 1.0 + own * weight


@dataclass(frozen=True, kw_only=True)
class LinearStep(StepLaw):
    """Steps that shrink linearly towards the bounds, and are more than zero there."""

    form: ClassVar[int] = 0
    relative = staticmethod(relative)

    fall_up: float = number("1", "share by which steps up shrink from weight zero to the upper bound")
    fall_down: float = number("1", "share by which steps down shrink from weight zero to the lower bound")
    fall_spread: float = number("1", "device-to-device standard deviation of both")

    def own(self, specimen: np.random.Generator, bounds: FloatArray) -> FloatArray:
        """Draw the slopes of steps down and up."""
        falls = np.empty_like(bounds)
        falls[0], falls[1] = self.fall_down, self.fall_up
        falls += self.fall_spread * specimen.standard_normal(falls.shape)
        nominal = np.array([self.low, self.high]).reshape(2, *(1 for _ in falls.shape[1:]))
        slopes: FloatArray = -np.abs(falls) / nominal
        return slopes
