"""Follow the slow part of each cell's read noise, which lasts from one measurement to the next.

1/f noise is a sum of processes of all speeds. What is faster than the time between measurements averages out over them;
what is slower does not: it starts from nothing when a device is pulsed, grows, and is there, in part, when the network
runs. Were measurements taken for independent, a cell would seem known better than it is, and each would count the same;
in truth the first one after a pulse says most of the conductance, and the last ones say most of the noise. Here one
process of relaxation, a decade of 1/f noise wide, stands for all that is slow: of what independent measurements lose
against the best linear estimate, over 45 rounds in 0.9 or 4.5 target ages, it wins back 70 and 88 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.programming.filter_kernels import weigh_noise
from hwloop.typing import FloatArray, IndexArray


@dataclass(frozen=True)
class SlowNoiseRule:
    """How slow the process is that stands for slow noise."""

    time: float = 1.5
    """Its correlation time over the target age."""


RULE = SlowNoiseRule()
"""The rule of every chip."""


class SlowNoise:
    """The slow noise of all cells of a tile, as far as measurements show it; arrays have the shape (rows, columns)."""

    def __init__(self, age: float, cells: tuple[int, int]) -> None:
        """Start without noise.

        Parameters
        ----------
        age
            Seconds after programming at which the targets shall hold.
        cells
            Rows and columns.
        """
        self._time = RULE.time * age
        self.seen = np.zeros(cells)
        """What it adds to each cell, uS."""
        self._variance = np.zeros(cells)  # of that, uS^2
        self._shared = np.zeros(cells)  # covariance with the error of the cell's conductance, uS^2

    def between(self, duration: float) -> float:
        """Return the noise, in units of log time, that is slower than a batch of some seconds and faster than this."""
        return math.log(max(self._time / math.sqrt(10.0) / duration, 1.0))

    def grow(self, elapsed: float, flicker: FloatArray) -> None:
        """Let some seconds pass, with noise of this power per unit of log time, uS^2."""
        kept = math.exp(-max(elapsed, 0.0) / self._time)
        self.seen *= kept
        self._shared *= kept
        self._variance *= kept**2
        self._variance += math.log(10.0) * (1.0 - kept**2) * flicker  # a decade is so many units of log time

    def forget(self, cells: tuple[IndexArray, ...], share: FloatArray) -> None:
        """Let pulses make an end of a share (n,) of the noise of n different cells."""
        for one in (self.seen, self._shared, self._variance):
            one[cells] *= 1.0 - share

    def later(self, seconds: float) -> FloatArray:
        """Predict what will be left of it after some seconds, uS."""
        left: FloatArray = math.exp(-seconds / self._time) * self.seen
        return left

    def spread(self, variance: FloatArray) -> FloatArray:
        """Return the variance of what cells show but for the noise of a measurement, given their own, uS^2."""
        return variance + 2.0 * self._shared + self._variance

    def take_in(self, off: FloatArray, variance: FloatArray, noise: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Update with a measurement.

        Parameters
        ----------
        off
            What cells deviate by from conductances and noise as expected, uS.
        variance
            Of their conductances, uS^2.
        noise
            Of the measurement, without slow noise, uS^2.

        Returns
        -------
        tuple
            By how much the conductances are off, uS, and the share of their variances that the measurement resolves.
        """
        out = np.empty((2, *off.shape))
        state = self.seen.reshape(-1), self._variance.reshape(-1), self._shared.reshape(-1)
        weigh_noise(off.reshape(-1), variance.reshape(-1), noise.reshape(-1), state, out.reshape(2, -1))
        return out[0], out[1]
