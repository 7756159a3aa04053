"""Exponential steps: 1 - A exp(gamma z) for steps up and 1 - A exp(-gamma z) for steps down.

z is 2 a w / (high - low) + b, of the device's own range: ExpStepDevice of aihwkit 1.2.0. Its noise may have parts that
do not shrink with the step.
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
    """Return 1 - A exp(+-gamma z), never below zero; `shared` is A and gamma of steps down and up, a and b."""
    z = 2.0 * shared[4] * weight / (high - low) + shared[5]
    left: FloatArray = shared[2] * np.exp(shared[3] * z) if up else shared[0] * np.exp(-shared[1] * z)
    return np.maximum(1.0 - left, 0.0)


@dataclass(frozen=True, kw_only=True)
class ExponentialStep(StepLaw):
    """Steps that change exponentially with the weight."""

    form: ClassVar[int] = 2
    relative = staticmethod(relative)

    a_down: float = number("1", "A of steps down")
    gamma_down: float = number("1", "gamma of steps down")
    a_up: float = number("1", "A of steps up")
    gamma_up: float = number("1", "gamma of steps up")
    stretch: float = number("1", "a: growth of z from the middle of the range to its upper end")
    shift: float = number("1", "b: z at weight zero")
    noise_level: float = number("1", "standard deviation of a step beside that of its size, over cycle_spread, weight")
    noise_slope: float = number("1", "growth of that with the weight")

    def shared(self) -> FloatArray:
        """Return A and gamma of steps down and up, a and b."""
        return np.array([self.a_down, self.gamma_down, self.a_up, self.gamma_up, self.stretch, self.shift])

    def noise(self) -> tuple[float, float, float, float]:
        """Return the spread over the device's scale, over the mean step, and in weights: a constant and a slope."""
        spread = self.cycle_spread
        return 0.0, spread, spread * self.noise_level, spread * self.noise_slope
