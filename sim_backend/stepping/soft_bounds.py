"""Soft bounds: steps shrink linearly and vanish at the device's own bound, 1 - w / bound.

SoftBoundsReferenceDevice of aihwkit 1.2.0; the symmetry point of such a device is
(a_up - a_down) / (a_up / high - a_down / low) (Kim et al. 2019, arXiv 1907.10228). The reference that is subtracted
from its weight belongs to the cell: `symmetry_point_mean` and `symmetry_point_spread` of the chip say where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwloop.sim_backend.stepping import linear
from hwloop.sim_backend.stepping.law import StepLaw
from hwloop.typing import FloatArray


@dataclass(frozen=True, kw_only=True)
class SoftBounds(StepLaw):
    """Steps that vanish at the device's bounds."""

    form: ClassVar[int] = linear.LinearStep.form
    relative = staticmethod(linear.relative)

    def own(self, specimen: np.random.Generator, bounds: FloatArray) -> FloatArray:
        """Return the slopes of steps down and up, which follow from the bounds."""
        return -1.0 / bounds
