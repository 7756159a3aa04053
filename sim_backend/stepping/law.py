"""What every kind of stepping device has: steps up and down, their spreads, and bounds.

A weight is a number in units of half the usual range: a nominal device goes from about -1 to 1. Each kind is a file of
its own with one function, the mean step over that of the nominal device as a function of the weight, which works on
numbers, on arrays, and compiled in the kernel that applies pulses.

The parameters and the way in which devices are drawn are those of `PulsedDevice` of aihwkit 1.2.0 (Rasch et al., IEEE
AICAS 2021, arXiv 2104.02184): of a device with the normal numbers n1 and n2, a step up is
step (1 + step_spread n1 + min(up_down, 0) + up_down_spread n2), a step down
step (1 + step_spread n1 - max(up_down, 0) - up_down_spread n2); a negative one turns positive. Bounds spread by
factors.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np

from hwloop.sim_backend.periphery import number
from hwloop.typing import FloatArray


@dataclass(frozen=True, kw_only=True)
class StepLaw:
    """Numbers of one kind of stepping device, in units of weight."""

    form: ClassVar[int]
    """Number of the kind in the kernel."""

    @staticmethod
    def relative(
        weight: FloatArray, up: bool, low: FloatArray, high: FloatArray, own: FloatArray, shared: FloatArray
    ) -> FloatArray:
        """Return the mean step over the device's own scale.

        Parameters
        ----------
        weight, low, high
            Of each device: where it is, and its bounds.
        up
            Whether the step is one up.
        own
            The number that the kind knows of each device, in this direction.
        shared
            The numbers of the kind.
        """
        raise NotImplementedError

    step: float = number("1", "nominal size of a step, weight")
    step_spread: float = number("1", "device-to-device relative standard deviation of the step")
    cycle_spread: float = number("1", "step-to-step standard deviation of a step, over the device's own")
    up_down: float = number("1", "nominal step up less step down at weight zero, over the larger one")
    up_down_spread: float = number("1", "device-to-device standard deviation of half that difference")
    low: float = number("1", "smallest weight of the nominal device")
    high: float = number("1", "largest weight of the nominal device")
    low_spread: float = number("1", "device-to-device relative standard deviation of the smallest weight")
    high_spread: float = number("1", "device-to-device relative standard deviation of the largest weight")
    write_noise: float = number("1", "noise on the weight that each pulse leaves to be seen, over the nominal step")
    additive: bool = number("", "whether the step-to-step spread stays the same where the mean step shrinks")
    least_bound: float = number("1", "share of its nominal bound that a device has at least (assumed)")

    @property
    def half_range(self) -> float:
        """Half the way from the smallest to the largest weight."""
        return (self.high - self.low) / 2

    def own(self, specimen: np.random.Generator, bounds: FloatArray) -> FloatArray:
        """Draw the number (2, *shape) that each device has of its own for steps down and up; here there is none.

        `bounds` (2, *shape) are the smallest and the largest weight of each.
        """
        return np.zeros_like(bounds)

    def shared(self) -> FloatArray:
        """Return the numbers (n,) of the kind that all devices share."""
        return np.zeros(1)

    def noise(self) -> tuple[float, float, float, float]:
        """Return the step-to-step standard deviation by parts.

        Over the device's scale, over its mean step, and in weights: a constant, and a slope with the weight.
        """
        return (self.cycle_spread, 0.0, 0.0, 0.0) if self.additive else (0.0, self.cycle_spread, 0.0, 0.0)


@dataclass(frozen=True)
class Devices:
    """Devices that were drawn, all arrays of one shape, less those that have one for steps down and up, in this order.

    scale  (2, *shape) size of a step at which the kind's relative step is 1
    low    smallest weight
    high   largest weight
    own    (2, *shape) what the kind knows of each device beside
    """

    law: StepLaw
    scale: FloatArray
    low: FloatArray
    high: FloatArray
    own: FloatArray

    @classmethod
    def draw(cls, law: StepLaw, specimen: np.random.Generator, shape: tuple[int, ...]) -> Devices:
        """Draw devices of a kind."""
        gain = 1.0 + law.step_spread * specimen.standard_normal(shape)
        skew = law.up_down_spread * specimen.standard_normal(shape)
        down = law.step * (gain - max(law.up_down, 0.0) - skew)
        up = law.step * (gain + min(law.up_down, 0.0) + skew)
        low, high = (
            bound * np.maximum(1.0 + spread * specimen.standard_normal(shape), law.least_bound)
            for bound, spread in ((law.low, law.low_spread), (law.high, law.high_spread))
        )
        return cls(law, np.abs(np.stack([down, up])), low, high, law.own(specimen, np.stack([low, high])))

    @classmethod
    def nominal(cls, law: StepLaw) -> Devices:
        """Return one nominal device, with arrays of the shape (1,)."""
        none = {item.name: 0.0 for item in fields(law) if item.name.endswith("_spread")}
        return cls.draw(replace(law, **none), np.random.default_rng(0), (1,))  # type: ignore[arg-type]

    def mean_step(self, weight: FloatArray, up: bool) -> FloatArray:
        """Return the mean size of a step from these weights, one for each device, up or down."""
        side = int(up)
        relative = self.law.relative(weight, up, self.low, self.high, self.own[side], self.law.shared())
        size: FloatArray = self.scale[side] * np.maximum(relative, 0.0)
        return size

    def symmetry_points(self, halvings: int = 50) -> FloatArray:
        """Return the weight at which each device's steps up and down are equally large, by bisection.

        Steps up shrink and steps down grow with the weight, or do not change. A device without such a point is driven
        to one of its bounds by as many pulses up as down, and has it there.
        """
        below, above = self.low.copy(), self.high.copy()
        for _ in range(halvings):
            middle = (below + above) / 2
            rises = self.mean_step(middle, True) > self.mean_step(middle, False)
            below, above = np.where(rises, middle, below), np.where(rises, above, middle)
        found: FloatArray = (below + above) / 2
        return found
