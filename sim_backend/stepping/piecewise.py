"""Piecewise linear steps, as they are measured: given at nodes evenly spaced from the lower to the upper bound.

PiecewiseStepDevice of aihwkit 1.2.0. `hwloop fit` makes such devices of a measured pulse response.
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
    """Interpolate between the nodes; `shared` is those of steps down and then those of steps up."""
    nodes = len(shared) // 2
    first = nodes if up else 0
    at = np.minimum(np.maximum((weight - low) / (high - low), 0.0), 1.0) * (nodes - 1)
    found = 0.0 * at
    for k in range(nodes):  # a sum of tents, so that it works on numbers and on arrays
        found = found + shared[first + k] * np.maximum(1.0 - np.abs(at - k), 0.0)
    return found


@dataclass(frozen=True, kw_only=True)
class PiecewiseStep(StepLaw):
    """Steps interpolated between nodes."""

    form: ClassVar[int] = 4
    relative = staticmethod(relative)

    down_nodes: tuple[float, ...] = number("1", "steps down over the nominal step, from the lower bound to the upper")
    up_nodes: tuple[float, ...] = number("1", "steps up over the nominal step, from the lower bound to the upper")

    def shared(self) -> FloatArray:
        """Return the nodes of steps down, and those of steps up."""
        return np.array([*self.down_nodes, *self.up_nodes])
