"""What is known of the symmetry points of a core's stepping devices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.typing import FloatArray, Json
from hwloop.units import finite, value


@dataclass(frozen=True)
class SymmetryResult:
    """Where steps up and down of each cell's device are equally large, arrays (rows, columns)."""

    point: FloatArray = value("uS", "signed conductance of the cell, device less reference, at its symmetry point")
    point_sigma: FloatArray = value("uS", "standard uncertainty of point")
    reference: FloatArray = value("uS", "conductance of the reference device")
    half_range: float = value("uS", "half the range of a nominal cell: one unit of weight")
    pairs: float = value("1", "pulses up and down that each device received, in pairs")
    reads: float = value("1", "reads of each device")
    moving: float = value("uS", "mean change of a device from the first to the second half of its reads")

    def __repr__(self) -> str:
        mean, spread = self.point.mean() / self.half_range, self.point.std() / self.half_range
        return f"<SymmetryResult: {self.point.size} points, {mean:.3g} +- {spread:.2g} of half the range>"

    @property
    def weights(self) -> FloatArray:
        """Symmetry points (rows, columns) in units of weight, over half the range."""
        found: FloatArray = self.point / self.half_range
        return found

    def to_json(self) -> dict[str, Json]:
        """Say where the points are, how well that is known, and what it cost."""
        return {
            "mean": finite(float(self.weights.mean())),
            "spread": finite(float(np.sqrt(max(self.weights.var() - self.variance, 0.0)))),
            "sigma": finite(float(np.sqrt(self.variance))),
            "mean_uS": finite(float(self.point.mean())),
            "sigma_uS": finite(float(np.sqrt(np.mean(self.point_sigma**2)))),
            "half_range_uS": self.half_range,
            "pairs_per_device": self.pairs,
            "reads_per_device": self.reads,
        }

    @property
    def variance(self) -> float:
        """Mean variance of one point, over the square of half the range."""
        return float(np.mean(np.square(self.point_sigma))) / self.half_range**2
