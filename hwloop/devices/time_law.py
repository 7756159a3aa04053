"""How the drift of a device goes on with age: as a power law, with an onset, or with curvature in ln t."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hwloop.devices.arrays import namespace
from hwloop.typing import FloatArray

if TYPE_CHECKING:
    import torch

Ages = TypeVar("Ages", float, FloatArray, NDArray[np.floating[Any]], "torch.Tensor")
"""A number, or an array of them."""


@dataclass(frozen=True)
class TimeLaw:
    """ln G(t) = ln G(t0) - nu h - bend y^2, with y = ln((t + onset) / (t0 + onset)) and h = y + curvature y^2.

    Everything is a function of x = ln(t / t0). All zero is the power law, h = x.
    """

    onset: float = 0.0
    """Age over t0 below which a device hardly drifts."""
    curvature: float = 0.0
    """By how much a device's own drift speeds up or slows down per unit of ln t."""
    bend: float = 0.0
    """The same for all devices alike, whatever their coefficient."""

    def __post_init__(self) -> None:
        """Raise ValueError for an onset before the pulse."""
        if not self.onset >= 0.0:
            raise ValueError(f"onset {self.onset}: a drift begins at or after the pulse")

    def __str__(self) -> str:
        if self == POWER_LAW:
            return "power law"
        return f"onset {self.onset:g} t0, curvature {self.curvature:g}, bend {self.bend:g}"

    @property
    def plain(self) -> bool:
        """Whether it is the power law."""
        return not (self.onset or self.curvature or self.bend)

    def exponent(self, x: Ages) -> Ages:
        """Return h at x = ln(t / t0), of any shape."""
        y = self._since(x)
        value: Ages = y + self.curvature * y * y if self.curvature else y
        return value

    def common(self, x: Ages) -> Ages:
        """Return bend y^2 at x = ln(t / t0): what all devices have lost alike, in ln G."""
        y = self._since(x)
        value: Ages = self.bend * y * y
        return value

    def _since(self, x: Ages) -> Ages:
        if not self.onset:
            return x
        xp: Any = math if isinstance(x, float) else namespace(x)
        value: Ages = xp.log((xp.exp(x) + self.onset) / (1.0 + self.onset))
        return value


POWER_LAW = TimeLaw()
"""Drift as it is published: G(t) = G(t0) (t / t0)^-nu."""
