"""Estimate the conductances of a tile's devices from the pulses sent and the MVMs seen, with a Kalman filter per cell.

A pulse widens the variance of a cell's conductance, a measurement narrows it. What a cell holds decides whether, and
on which of its devices, another pulse is worth its noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.evaluation import relative_error
from hwloop.calibration.probes import HadamardProbe, hadamard_inputs
from hwloop.calibration.programming.base import open_loop_amplitudes
from hwloop.calibration.programming.cell_gains import cell_sensitivity, robust_multiple
from hwloop.calibration.programming.device_curves import DeviceCurves, DeviceIndex
from hwloop.calibration.programming.unresponsive import UNRESPONSIVE_PULSES, unresponsive_streak
from hwloop.calibration.settings import Settings
from hwloop.chip.cell_calibration import Devices
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.devices.drift import Aging
from hwloop.mapping.tile import Tile
from hwloop.typing import AnyArray, BoolArray, FloatArray


@dataclass(frozen=True)
class FilterSettings(Settings):
    """What steers a conductance filter."""

    max_pulses_per_device: int = 8
    """Pulses one device may receive, the first included."""
    min_gain: float = 1.5
    """A pulse must lower a cell's expected squared error by (this many per cent of g_max) squared."""
    drive: float = 1.0 / math.sqrt(3.0)
    """Amplitude of the Hadamard inputs over the largest input; the default has the power of uniform random inputs, so
    that the converter range fits both."""
    mean_gain: float = 1.03
    """Mean of the column gains that corrections aim at, over the one that the first measurement shows. Above 1, more
    cells are found low than high, and a low cell is topped up by the spare device on its own side, where a high one
    would need a device working against it."""
    outlier: float = 3.0
    """A deviation beyond this many expected standard deviations resets a cell's variance."""
    unresponsive_pulses: int = UNRESPONSIVE_PULSES
    """Pulses in a row without an answer after which a device counts as stuck and is left alone."""

    def __post_init__(self) -> None:
        self._require("max_pulses_per_device", 1, 1_000_000)
        self._require("min_gain", 0, 100)
        self._require("drive", 0.01, 1)
        self._require("mean_gain", 0.1, 10)
        self._require("outlier", 0.1, 1000)
        self._require("unresponsive_pulses", 1, 100)


class ConductanceFilter:
    """Estimated conductances of the devices of a tile, and how well they are known.

    Arrays of devices have the shape (D, rows, columns), D = 2 K, positive polarity first; conductances are those at
    the drift model's reference age.
    """

    def __init__(self, region: Region, tile: Tile, known: Devices, age: float, settings: FilterSettings) -> None:
        """Start from what a calibration, or the nominal model, tells about the devices.

        Parameters
        ----------
        region, tile
            The cells and their targets.
        known
            The devices.
        age
            Seconds after programming at which the targets shall hold.
        settings
            What steers the filter.
        """
        info, now = region.backend.info, region.backend.now()
        self._settings, self._min_gain = settings, settings.min_gain / 100 * info.g_max
        self._region, self._tile, self._known, self._age = region, tile, known, age
        self._model, self._aging = known.model, Aging(known.model.drift)
        self._limits = info.limits
        k, rows, columns = region.shape[1:]
        self._sign = np.repeat([1.0, -1.0], k)[:, None, None]
        shape = (2 * k, rows, columns)
        self._curves = DeviceCurves(known, shape)
        self._usable = known.usable.reshape(shape)
        self._g_top = 1.05 * np.where(self._usable, known.capacity(info).reshape(shape), info.g_max)
        self.g = known.stuck_at.reshape(shape).copy()
        """(D, rows, columns) estimated conductances, uS."""
        self.variance = np.zeros((rows, columns))
        """(rows, columns) variance of each cell's conductance, uS^2."""
        self._device_variance = np.zeros(shape)  # each device's own, as if the others of its cell were known
        self._before, self._amplitude = np.zeros(shape), np.zeros(shape)  # of the last pulse
        self._born = np.full(shape, now)
        self._spent = np.zeros(shape, np.int32)
        self._streak = np.zeros(shape, np.int8)  # pulses in a row without an answer
        self._fresh = np.zeros(shape, bool)  # pulsed since the last measurement
        self._offset = np.zeros(columns)
        self._seen = now
        self._error = np.zeros((rows, columns))
        self._sensitivity: FloatArray | None = None
        self._mean_gain = 1.0
        self._loaded = np.any(tile.target != 0, axis=0)
        self.mvm_error = float("nan")
        """Relative MVM error that the last measurement showed."""

    # ---- pulses ----------------------------------------------------------------------------------------------

    def program_open_loop(self) -> int:
        """Send one RESET pulse per usable device, to the amplitude its curve has at its target; return their number."""
        target = self._tile.device_targets(self._region.backend.info, self._known)
        amplitude = open_loop_amplitudes(self._known, target).reshape(self.g.shape)
        target = target.reshape(self.g.shape)
        at = np.nonzero(self._usable)
        # A device that stays where it was seen is known as well as its read noise allows.
        self._device_variance = np.where(self._usable, self._pulse_variance(target), self._read_noise_variance(self.g))
        self.variance = self._device_variance.sum(0)
        self._send(at, amplitude[at], np.maximum(target, self._model.curve.g_min)[at])
        # What bad devices put out of reach is an error from the start.
        self._error = (self._sign * np.where(self._usable, target, self.g)).sum(0) - self._tile.target
        return len(at[0])

    def correct(self, remaining: float) -> int:
        """Pulse, in each cell, the device that lowers its expected squared error most.

        Parameters
        ----------
        remaining
            Seconds until the last measurement: what a young device will have drifted by then is known better.

        Returns
        -------
        int
            The number of pulses.
        """
        weights, effect = self._weights_at(self._region.backend.now() + remaining + self._age)
        error = self._error = weights - self._column_gain(weights) * self._tile.target
        wanted = self.g - self._sign * error / effect
        aim = np.clip(wanted, self._model.curve.g_min, self._g_top)
        left = (aim - wanted) * effect
        noise = self._pulse_variance(aim) * effect**2
        drift = aim * effect * self._aging.log_spread(aim, max(remaining, 0.01 * self._age), remaining + self._age)
        # What is known of a cell is its sum: pulsing a device whose share is uncertain brings that variance back.
        unshared = self._device_variance * effect**2
        quieter = self._read_noise_variance(self.g) - self._read_noise_variance(aim)
        gain = error**2 - left**2 - noise - drift**2 - unshared + quieter * effect**2
        gain[self._exhausted] = -np.inf
        best = np.argmax(gain, axis=0)
        worth = np.take_along_axis(gain, best[None], 0)[0] > self._min_gain**2
        cell = np.nonzero(worth)
        at = (best[cell], *cell)
        self._send(at, self._curves.amplitude(aim[at], at), aim[at])
        self._error[cell] = (self._sign * left)[at]
        self.variance[cell] += unshared[at] + noise[at]
        self._device_variance[at] = noise[at]
        return int(worth.sum())

    @property
    def unconverged(self) -> BoolArray:
        """Cells off target by more than three standard deviations of a pulse, with no device left to pulse."""
        sigma = self._model.curve.pulse_sigma(np.abs(self._tile.target)) + np.sqrt(self.variance)
        return (np.abs(self._error) > 3 * sigma) & self._exhausted.any(0)

    @property
    def stuck(self) -> BoolArray:
        """Cells with a device that did not answer to pulses."""
        stuck: BoolArray = np.any(self._unresponsive, axis=0)
        return stuck

    @property
    def _unresponsive(self) -> BoolArray:
        return self._streak >= self._settings.unresponsive_pulses

    @property
    def _exhausted(self) -> BoolArray:
        """Devices (D, rows, columns) that are to be left alone."""
        return ~self._usable | (self._spent >= self._settings.max_pulses_per_device) | self._unresponsive

    def _send(self, at: DeviceIndex, amplitude: FloatArray, aim: FloatArray) -> None:
        """RESET the devices `at` with amplitudes (n,) in uA that should bring them to `aim` (n,) in uS."""
        curve = self._model.curve
        amplitude = np.clip(amplitude, curve.melt, self._limits.amplitude_max)
        self._region.pulse(PulseKind.RESET, np.ravel_multi_index(at, self.g.shape), amplitude, curve.width)
        self._amplitude[at], self._before[at] = amplitude, self.g[at]
        self.g[at], self._born[at] = aim, self._region.backend.now()
        self._spent[at] += 1
        self._fresh[:] = False
        self._fresh[at] = True

    def _read_noise_variance(self, g: FloatArray) -> FloatArray:
        """Compute the variance (uS^2) of the read noise that devices at g will have when the network runs."""
        return np.square(g * self._model.read_noise.relative_sigma(g, self._age))

    def _pulse_variance(self, aim: FloatArray) -> FloatArray:
        """Compute the variance (uS^2) of the result of a pulse at each device."""
        return self._curves.pulse_variance(aim, self.g)

    # ---- measurements ----------------------------------------------------------------------------------------

    def measure(self, rng: np.random.Generator, blocks: int) -> None:
        """Measure all cells with `blocks` complete Hadamard designs, and update the filter with what they show."""
        region, info = self._region, self._region.backend.info
        amplitude = round(self._settings.drive * info.input_max)
        probe = HadamardProbe(hadamard_inputs(rng, blocks, self._tile.place.rows, amplitude), info.input_max)
        begin = region.backend.now()
        codes = region.mvm(probe.inputs)
        duration = max(region.backend.now() - begin, 1e-9)
        weights, effect = self._weights_at(begin)
        observed = self._deviations(probe, codes, weights)
        if self._sensitivity is None:
            self._sensitivity = cell_sensitivity(weights + observed, weights)
            self._mean_gain = self._first_mean_gain(self._sensitivity)
            observed += weights * (1.0 - self._sensitivity)
            weights, effect = weights * self._sensitivity, effect * self._sensitivity
        self._update(observed, probe.power, effect, begin, duration)
        # Young devices are still on their way down: what would be seen now on target is what was expected, less the
        # error expected at the target age.
        self.mvm_error = relative_error(probe.drive @ (weights + observed), probe.drive @ (weights - self._error))

    def _deviations(self, probe: HadamardProbe, codes: AnyArray, weights: FloatArray) -> FloatArray:
        """Find by how much cells (rows, columns) differ from `weights`, in uS, and follow the columns' offsets."""
        predicted = probe.drive @ weights + self._offset
        # A saturated code says only that the output is at least that large.
        low, high = self._region.span
        step = self._region.step
        innovation = codes * step - np.clip(predicted, low * step, high * step)
        shift = np.median(innovation, axis=0)
        self._offset += shift
        return probe.cells(innovation - shift)

    def _first_mean_gain(self, sensitivity: FloatArray) -> float:
        """Compute the mean of the column gains that corrections shall keep, from the sensitivity that was found."""
        if not self._loaded.any():
            return 1.0
        found = robust_multiple(self._tile.target, self._tile.target * sensitivity, axis=0)[0]
        return self._settings.mean_gain * float(found[self._loaded].mean())

    def _update(self, observed: FloatArray, power: float, effect: FloatArray, begin: float, duration: float) -> None:
        """Update every cell with its observed deviation (rows, columns) in uS from what was expected.

        power is the sum of squares of a row's drive, and effect as in `_weights_at`; the measurement began at `begin`
        on the chip's clock and took `duration` seconds.
        """
        white, slow = self._measurement_noise(power, effect, duration)
        self.variance += self._drift_variance(effect, begin)
        # A deviation far beyond its expected size means that the filter is wrong about this cell: trust the chip.
        expected = self.variance + white + slow
        outlier = observed**2 > self._settings.outlier**2 * expected
        self.variance = np.where(outlier, observed**2, self.variance)
        trust = self.variance / (self.variance + white + slow)
        self._seen = begin
        self._take_in(trust * observed, trust, effect)
        fresh = np.nonzero(self._fresh)
        self._learn_curve(fresh)
        self._note_unresponsive(fresh)
        self._fresh[:] = False

    def _measurement_noise(self, power: float, effect: FloatArray, duration: float) -> tuple[FloatArray, FloatArray]:
        """Compute the variances (uS^2) of observed cells: (columns,) what averages out, (rows, columns) what does not.

        The first is rounding by the converters, whose own noise is taken to be as large, and the fast part of the read
        noise of all cells of a column. The slow part of a cell's own read noise is frozen while a batch lasts, and
        another one when the network runs.
        """
        noise = self._model.read_noise
        flicker = ((noise.q(self.g / noise.g_scale) * self.g * effect) ** 2).sum(0)
        fast = np.log(max(duration / (2 * noise.t_read), 1.0)) * flicker.sum(0) * self._settings.drive**2
        white = (2 * self._region.step**2 / 12 + fast) / power
        return white, np.log(max(self._age / duration, 1.0)) * flicker

    def _drift_variance(self, effect: FloatArray, begin: float) -> FloatArray:
        """Compute what unknown drift since the last measurement adds to the cells' variances, (rows, columns) uS^2."""
        age = np.maximum(begin - self._born, 1e-6)
        since = np.maximum(self._seen - self._born, 1e-6)
        drift = self.g * effect * self._aging.log_spread(self.g, np.where(since > 1e-6, since, age), age)
        drift[~self._usable] = 0.0
        variance: FloatArray = (drift**2).sum(0)
        return variance

    def _take_in(self, correction: FloatArray, trust: FloatArray, effect: FloatArray) -> None:
        """Move the devices by a correction of their cell (rows, columns) in uS, shared as they share its variance."""
        self.variance = self.variance * (1.0 - trust)
        share = self._device_variance * effect**2
        share /= np.maximum(share.sum(0), 1e-300)
        moved = self.g + self._sign * share * correction / effect
        self.g = np.asarray(np.clip(moved, 0.0, 2 * self._g_top), np.float64)
        self._device_variance = self._device_variance * (1.0 - trust * share)

    def _learn_curve(self, at: DeviceIndex) -> None:
        """Learn from the devices `at` how far their own curves are shifted along the amplitude."""
        self._curves.learn(at, self._amplitude[at], self.g[at], self._device_variance[at])

    def _note_unresponsive(self, at: DeviceIndex) -> None:
        """Count, for freshly pulsed devices, the pulses in a row that they did not answer to."""
        moved = self.g[at] - self._before[at]
        meant = self._curves.conductance(self._amplitude[at], at) - self._before[at]
        noise = np.asarray(self._model.curve.pulse_sigma(self._before[at]), np.float64)
        self._streak[at] = unresponsive_streak(self._streak[at], moved, meant, noise)

    # ---- ages ------------------------------------------------------------------------------------------------

    def _weights_at(self, moment: float) -> tuple[FloatArray, FloatArray]:
        """Predict the conductance of each cell (rows, columns) as outputs show it, and its change per uS of a device.

        The effect of a device (D, rows, columns) is G(then) / G(reference age), times the sensitivity of its cell.
        """
        # A device that does not answer is crystalline or open: neither drifts.
        effect = np.where(self._usable, self._aging.factor(self.g, moment - self._born), 1.0)
        if self._sensitivity is not None:
            effect = effect * self._sensitivity
        return (self._sign * self.g * effect).sum(0), effect

    def _column_gain(self, weights: FloatArray) -> FloatArray:
        """Choose the gain (columns,) that each column may keep: its best multiple of the target.

        Column gains are digital, so only their values relative to each other are free. Their mean stays where the
        first measurement put it, or corrections would by and by shrink all weights towards the noise.
        """
        gain = robust_multiple(self._tile.target, weights, axis=0)[0]
        relative: FloatArray = gain * (self._mean_gain / gain[self._loaded].mean()) if self._loaded.any() else gain
        return relative
