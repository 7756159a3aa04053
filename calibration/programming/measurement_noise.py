"""The noise of what a Hadamard measurement shows of cells: the converters', fast read noise, and slow read noise.

What averages out within a measurement is rounding by the converters, whose own noise is taken to be as large, and the
fast part of the read noise of all cells of a column. A cell's own noise that is slower than the batch is frozen while
it lasts; part of that is new in the next measurement, and part lasts (`slow_noise`).
"""

from __future__ import annotations

import math

import numpy as np

from hwloop.calibration.programming.filter_settings import Observation
from hwloop.calibration.programming.noise_scale import NoiseScale
from hwloop.calibration.programming.slow_noise import SlowNoise
from hwloop.devices.read_noise import ReadNoiseModel
from hwloop.typing import BoolArray, FloatArray


class MeasurementNoise:
    """Variances of what measurements show of the cells (rows, columns) of a tile, uS^2."""

    def __init__(self, model: ReadNoiseModel, age: float, drive: float, cells: tuple[int, int]) -> None:
        """Start from the model of a device's read noise.

        Parameters
        ----------
        model
            Of the devices.
        age
            Seconds after programming at which the targets shall hold.
        drive
            Amplitude of the Hadamard inputs over the largest input.
        cells
            Rows and columns.
        """
        self._t_read, self._age, self._drive = model.t_read, age, drive
        self._scale = NoiseScale()
        self.slow = SlowNoise(age, cells)

    @property
    def running(self) -> float:
        """Units of log time for which read noise counts when the network runs, by the noise that measurements show."""
        return self._scale.read * math.log((self._age + self._t_read) / (2 * self._t_read))

    def fresh(self, shown: Observation, step: float, flicker: FloatArray) -> FloatArray:
        """Return what a measurement has of its own, by converters with this step in uS.

        flicker is the cells' read noise per unit of log time, uS^2.
        """
        converters, read = self._parts(shown, step, flicker)
        total: FloatArray = self._scale.converters * converters + self._scale.read * read
        return total

    def lasting(self, shown: Observation, flicker: FloatArray) -> FloatArray:
        """Return what more there is in a measurement of devices of the target age."""
        units = math.log(max(self._age / shown.duration, 1.0)) - self.slow.between(shown.duration)
        return self._scale.read * max(units, 0.0) * flicker

    def grow(self, elapsed: float, flicker: FloatArray) -> None:
        """Let slow noise grow for some seconds."""
        self.slow.grow(elapsed, self._scale.read * flicker)

    def learn(
        self, shown: Observation, step: float, flicker: FloatArray, cells: tuple[FloatArray, FloatArray, BoolArray]
    ) -> FloatArray:
        """Learn how much noise there really is; return by how much more than was believed.

        Parameters
        ----------
        shown, step, flicker
            As in `fresh`.
        cells
            What cells deviate by from what was expected, uS, the variance of what was expected, uS^2, and whether
            they were measured before and have not been pulsed since.
        """
        converters, read = self._parts(shown, step, flicker)
        before = self._scale.converters, self._scale.read
        off, known, calm = cells
        self._scale.learn(off, known, converters, read, calm)
        more = (self._scale.converters - before[0]) * converters + (self._scale.read - before[1]) * read
        return np.maximum(more, 0.0)

    def _parts(self, shown: Observation, step: float, flicker: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the variances of converters and of read noise that a measurement has of its own, by the model."""
        fast = math.log(max(shown.duration / (2 * self._t_read), 1.0)) * flicker.sum(0) * self._drive**2
        converters = np.full(flicker.shape, 2 * step**2 / 12 / shown.power)
        return converters, fast / shown.power + self.slow.between(shown.duration) * flicker
