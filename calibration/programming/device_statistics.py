"""What the conductance filter computes of all devices of a tile from its model of them, in compiled loops."""

from __future__ import annotations

import numpy as np

from hwloop.calibration.programming import filter_kernels
from hwloop.calibration.programming.filter_kernels import Reach
from hwloop.calibration.programming.pulse_kernels import Curve, Known, Redraws, costs_of_pulses
from hwloop.calibration.programming.tables import Table, tabulated_drift
from hwloop.devices.drift import Aging
from hwloop.devices.model import DeviceModel
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.typing import BoolArray, FloatArray, IndexArray


class DeviceStatistics:
    """Drift and read noise of the devices of a tile; arrays of devices have the shape (D, rows, columns)."""

    def __init__(self, model: DeviceModel, sign: FloatArray) -> None:
        """Tabulate what depends on the conductance.

        Parameters
        ----------
        model
            Of the devices.
        sign
            (D,) their polarity.
        """
        drift, noise = tabulated_drift(model.drift), model.read_noise
        self.aging = Aging(drift)
        self._sign = sign
        self._mean, self._spread = (Table.of(one).lookup(drift.g_scale) for one in (drift.mean, drift.spread))
        self._q = Table.of(noise.q).lookup(noise.g_scale)

    def weights(
        self, g: FloatArray, age: FloatArray, drifts: BoolArray, sensitivity: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Predict the conductance of each cell (rows, columns) as outputs show it, and its change per uS of a device.

        Parameters
        ----------
        g
            Conductances at the reference age, uS.
        age
            Of the devices, seconds.
        drifts
            Devices that drift.
        sensitivity
            (rows, columns) what cells contribute over the ideal.

        Returns
        -------
        tuple
            Weights (rows, columns) in uS, and effects (D, rows, columns) per uS.
        """
        exponent, common = self.aging.exponents(age)
        weights, effect = np.empty(g.shape[1:]), np.empty(g.shape)
        filter_kernels.losses(g.reshape(-1), exponent.reshape(-1), drifts.reshape(-1), self._mean, effect.reshape(-1))
        if common is not None:
            effect -= np.where(drifts, common, 0.0)
        np.exp(effect, out=effect)
        filter_kernels.seen_together(_flat(g), _flat(effect), sensitivity.reshape(-1), self._sign, weights.reshape(-1))
        return weights, effect

    def drift_variance(
        self, g: FloatArray, effect: FloatArray, ages: tuple[FloatArray, FloatArray], usable: BoolArray
    ) -> FloatArray:
        """Compute the variance (rows, columns) in uS^2 of what cells have drifted by between two ages of their devices.

        Parameters
        ----------
        g, effect
            Conductances at the reference age in uS, and what devices contribute over that.
        ages
            Seconds, each of the shape of g: the earlier and the later one. A device that was pulsed between is known
            as well as its pulse.
        usable
            Devices that answer to pulses: the others do not drift.
        """
        earlier, later = ages
        out = np.empty(g.shape[1:])
        apart = self.aging.apart(earlier, later)
        filter_kernels.drift_powers(
            _flat(g),
            _flat(effect),
            _flat(apart),
            _flat(usable & (earlier > self.aging.youngest)),
            self._spread,
            out.reshape(-1),
        )
        return out

    def flicker(self, g: FloatArray, effect: FloatArray) -> FloatArray:
        """Compute the read noise (rows, columns) in uS^2 per unit of log time; g and effect as in `drift_variance`."""
        out = np.empty(g.shape[1:])
        filter_kernels.noise_powers(_flat(g), _flat(effect), self._q, out.reshape(-1))
        return out

    def read_noise_power(self, g: FloatArray) -> FloatArray:
        """Compute the variance in uS^2 of the read noise of devices at g (any shape, uS), per unit of log time."""
        place = (g * self._q.per_unit + 0.5).astype(np.intp)
        power: FloatArray = np.square(g * self._q.values.take(place, mode="clip"))
        return power

    def move(
        self,
        devices: tuple[FloatArray, FloatArray],
        effect: FloatArray,
        top: FloatArray,
        correction: FloatArray,
        trust: FloatArray,
    ) -> None:
        """Move devices by a correction of their cells, shared as they share its variance.

        Parameters
        ----------
        devices
            Conductances in uS and their variances in uS^2, which change.
        effect
            What devices contribute over their conductances.
        top
            Highest conductances; none beyond the double is believed.
        correction, trust
            (rows, columns) uS, and trust in the measurement that it comes from.
        """
        (g, variance), cells = devices, (correction.reshape(-1), trust.reshape(-1), np.empty(correction.size))
        filter_kernels.move(_flat(g), _flat(variance), _flat(effect), self._sign, _flat(top), cells)

    def prospects(
        self,
        g: FloatArray,
        effect: FloatArray,
        error: FloatArray,
        reach: tuple[float, FloatArray, BoolArray],
        noise: float,
    ) -> tuple[FloatArray, FloatArray]:
        """Compute where a pulse should bring each device to correct its cell, and what that wins but for its noise.

        Parameters
        ----------
        g, effect
            Conductances at the reference age in uS, and what devices contribute over that.
        error
            (rows, columns) what cells show beyond their targets, uS.
        reach
            The lowest conductance of all and the highest of each device in uS, and devices that are to be left alone.
        noise
            Units of log time for which read noise counts.

        Returns
        -------
        tuple
            Aims in uS, and what is won in uS^2, minus infinity for devices to be left alone: (D, rows, columns).
        """
        lowest, top, closed = reach
        out = np.empty((2, *g.shape))
        bounds = Reach(self._sign, lowest, _flat(top), _flat(closed))
        filter_kernels.prospects(
            _flat(g), _flat(effect), error.reshape(-1), bounds, (self._q, noise), out.reshape(2, len(g), -1)
        )
        return out[0], out[1]

    def costs(
        self,
        pulses: tuple[IndexArray, FloatArray, FloatArray],
        known: Known,
        curve: ProgrammingCurve,
        ages: tuple[float, float],
        redraws: Redraws,
    ) -> tuple[FloatArray, FloatArray]:
        """Compute the variances of pulses as their cells show them, and the squared errors they leave, (n,) in uS^2.

        Parameters
        ----------
        pulses
            (n,) flat indices of the devices; (devices,) aims in uS, and what devices contribute over that.
        known, curve, redraws
            The devices, their nominal curve, and what results are worth that can be drawn again.
        ages
            Seconds between which the drift of a device is not known any better.
        """
        out, apart = np.empty((2, len(pulses[0]))), float(self.aging.apart(*ages))
        costs_of_pulses(pulses, known, Curve.of(curve), (self._spread, apart), redraws, out)
        return out[0], out[1]


def best_of_cells(devices: IndexArray, worth: FloatArray, least: float, cells: tuple[int, int]) -> IndexArray:
    """Find the device of each cell whose pulse is worth most.

    Parameters
    ----------
    devices, worth
        (n,) flat indices of devices, ascending, and what a pulse of each is worth.
    least
        What it must be worth more than.
    cells
        Rows and columns.

    Returns
    -------
    ndarray
        (rows, columns) its polarity and number, -1 where there is none.
    """
    best = np.empty(cells, np.int64)
    filter_kernels.best_of_cells(devices, worth, least, best.reshape(-1))
    return best


def _flat(devices: np.ndarray) -> np.ndarray:
    """Return a view (D, cells) of an array of devices."""
    return devices.reshape(len(devices), -1)
