"""What is known of each device's own programming curve, and how its answers to pulses teach it."""

from __future__ import annotations

from types import EllipsisType
from typing import TypeAlias

import numpy as np

from hwloop.calibration.programming.pulse_kernels import Curve, Lessons, learn_curves
from hwloop.chip.cell_calibration import Devices
from hwloop.typing import BoolArray, FloatArray, IndexArray

DeviceIndex: TypeAlias = tuple[IndexArray, ...]
"""Indices (n,) into each axis of a device array (D, rows, columns)."""
SMALLEST = 0.05
"""Height over the nominal one below which none is believed."""


def indices(chosen: BoolArray) -> DeviceIndex:
    """Return the indices (n,) of the devices that are chosen; quick where they are few."""
    return np.unravel_index(np.flatnonzero(chosen), chosen.shape)


class DeviceCurves:
    """The nominal programming curve, and how far each device's own is shifted along the amplitude and how high it is.

    Arrays of devices have the shape (D, rows, columns), D = 2 K, positive polarity first.
    """

    def __init__(self, known: Devices, shape: tuple[int, int, int]) -> None:
        """Start from what a calibration, or the nominal model, tells.

        Parameters
        ----------
        known
            The devices.
        shape
            (D, rows, columns).
        """
        self.nominal = known.model.curve
        self.height = known.height.reshape(shape).copy()
        """Over the nominal one."""
        self.height_variance = known.height_sigma.reshape(shape) ** 2
        self.shift = known.shift.reshape(shape).copy()
        """uA."""
        self.shift_variance = known.shift_sigma.reshape(shape) ** 2
        """uA^2."""

    def amplitude(self, g: FloatArray, at: DeviceIndex) -> FloatArray:
        """Return the RESET amplitudes (n,) in uA that should bring the devices `at` to conductances (n,) in uS."""
        amplitude: FloatArray = self.nominal.amplitude(self._on_nominal(g, at)) + self.shift[at]
        return amplitude

    def conductance(self, amplitude: FloatArray, at: DeviceIndex) -> FloatArray:
        """Return the conductances (n,) in uS to which RESET amplitudes (n,) in uA should bring the devices `at`."""
        g_min = self.nominal.g_min
        nominal = np.asarray(self.nominal.conductance(amplitude - self.shift[at]), np.float64)
        return g_min + self.height[at] * (nominal - g_min)

    def pulse_variance(self, aim: FloatArray, before: FloatArray, at: IndexArray | None = None) -> FloatArray:
        """Compute the variance of the results of pulses: of their noise, the unknown shift and the unknown height.

        Parameters
        ----------
        aim
            (D, rows, columns) conductance that a pulse should lead to, uS.
        before
            (D, rows, columns) conductance of which the device's height is known, uS.
        at
            (n,) flat indices of the devices to which alone `aim` and `before`, then (n,), belong.

        Returns
        -------
        ndarray
            uS^2, of the shape of `aim`.
        """
        curve, height, shift = self.nominal, self.height_variance, self.shift_variance
        if at is not None:
            height, shift = height.reshape(-1)[at], shift.reshape(-1)[at]
        pulse = (curve.jitter**2 + shift) * curve.slope(aim) ** 2 + curve.flat_variance(aim)
        variance: FloatArray = pulse + height * (aim - before) ** 2
        return variance

    @property
    def weakest(self) -> float:
        """Amplitude of the weakest pulse that is sure to melt something, uA: one that does not changes nothing."""
        return self.nominal.melt + self.nominal.midpoint_spread

    def reach(self, at: DeviceIndex | EllipsisType = ...) -> FloatArray:
        """Return the highest conductances in uS to which pulses can bring the devices `at`, or all of them."""
        g_min = self.nominal.g_min
        top = float(np.asarray(self.nominal.conductance(np.array(self.weakest))))
        return np.asarray(g_min + self.height[at] * (top - g_min), np.float64)

    def learn(self, at: DeviceIndex, amplitude: FloatArray, g: FloatArray, variance: FloatArray) -> None:
        """Update the shifts and heights of the devices `at` with what their last pulses led to.

        Parameters
        ----------
        at
            The devices.
        amplitude
            (n,) of their last pulses, uA.
        g
            (n,) conductances that these led to, as far as is known, uS.
        variance
            (n,) of `g`, uS^2.
        """
        believed = self.shift[at], self.shift_variance[at], self.height[at], self.height_variance[at]
        learn_curves(Lessons(*believed, amplitude, g, variance), Curve.of(self.nominal), SMALLEST)
        self.shift[at], self.shift_variance[at], self.height[at], self.height_variance[at] = believed

    def _on_nominal(self, g: FloatArray, at: DeviceIndex) -> FloatArray:
        """Return what devices of nominal height would conduct (n,) where the devices `at` conduct g (n,), in uS."""
        g_min = self.nominal.g_min
        return g_min + (g - g_min) / self.height[at]
