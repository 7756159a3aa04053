"""Several devices for each weight: their weights add up, which averages their differences and noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.nn.in_memory.weights import Weights
from hwloop.typing import CodeArray, FloatArray, IndexArray


class SeveralDevices(Weights):
    """Arrays whose weights add up, each counted by its significance.

    An update goes to one of the arrays, drawn at random: what differs between their devices averages out, and a weight
    has as many times more states (Gokmen, Onen and Haensch, Frontiers in Neuroscience 11, 538, 2017). Products of the
    arrays are added digitally.
    """

    def __init__(self, arrays: Sequence[Weights], significance: float, random: np.random.Generator) -> None:
        """Join arrays of one shape.

        Parameters
        ----------
        arrays
            Two or more.
        significance
            What an array counts over the one before it.
        random
            Draws which array an update goes to.
        """
        self.arrays, self.shape, self.step = tuple(arrays), arrays[0].shape, arrays[0].step
        self.counts_as = significance ** np.arange(len(arrays))
        """(arrays,) factor of each in the sum."""
        self._random = random

    def forward(self, x: FloatArray) -> FloatArray:
        """Multiply inputs (vectors, rows) by the sum."""
        return self._sum([one.forward(x) for one in self.arrays])

    def backward(self, d: FloatArray) -> FloatArray:
        """Multiply errors (vectors, columns) by the transposed sum."""
        return self._sum([one.backward(d) for one in self.arrays])

    def product(self, x: FloatArray) -> FloatArray:
        """Multiply inputs (vectors, rows) within -1 to 1 by the sum, with no management."""
        return self._sum([one.product(x) for one in self.arrays])

    def symmetry_points(self, calibration: Calibration) -> FloatArray:
        """Add up those of the devices."""
        return self._sum([one.symmetry_points(calibration) for one in self.arrays])

    def update(self, x: FloatArray, d: FloatArray, rate: float, length: int | None = None) -> None:
        """Give every update to one array, at a rate that changes the sum alike; see `Weights.update`."""
        which = self._random.integers(len(self.arrays), size=len(x))
        for number, one in enumerate(self.arrays):
            mine = which == number
            if mine.any():
                one.update(x[mine], d[mine], rate / float(self.counts_as[number]), length)

    def step_rows(self, rows: IndexArray, steps: CodeArray) -> None:
        """Make the steps of each row in one array, drawn at random."""
        which = self._random.integers(len(self.arrays), size=len(rows))
        for number, one in enumerate(self.arrays):
            mine = which == number
            if mine.any():
                one.step_rows(rows[mine], steps[mine])

    def weights(self, averages: int = 16) -> FloatArray:
        """Read the sum (rows, columns)."""
        return self._sum([one.weights(averages) for one in self.arrays])

    def write(self, wanted: FloatArray) -> float:
        """Write each array in turn with its share of what those before it have left."""
        missing = wanted
        for number, one in enumerate(self.arrays):
            one.write(missing / float(self.counts_as[number:].sum()))
            missing = missing - self.counts_as[number] * one.weights()
        return float(np.sqrt(np.mean(np.square(missing))))

    def refresh(self, full: float, spare: float) -> int:
        """Empty the nearly full pairs of every array."""
        return sum(one.refresh(full, spare) for one in self.arrays)

    def pulses(self) -> FloatArray:
        """Return the pulses that each weight has received, those of its devices added up."""
        return np.asarray(np.sum([one.pulses() for one in self.arrays], axis=0), np.float64)

    def _sum(self, parts: Sequence[FloatArray]) -> FloatArray:
        total = np.zeros(parts[0].shape)
        for counts_as, part in zip(self.counts_as, parts, strict=True):
            total += float(counts_as) * part
        return total
