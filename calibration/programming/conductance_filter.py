"""What gradient-descent programming believes of a tile's devices, from the pulses it sent and the MVMs it saw.

A scalar Kalman filter per cell: a pulse widens the variance of the cell's conductance, a measurement narrows it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.column_fit import HUBER
from hwloop.calibration.evaluation import relative_error
from hwloop.calibration.probes import hadamard_inputs
from hwloop.calibration.programming.base import open_loop_amplitudes
from hwloop.chip.cell_calibration import Devices
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.devices.drift import Aging
from hwloop.mapping.tile import Tile
from hwloop.typing import BoolArray, FloatArray

DRIVE = 1.0 / np.sqrt(3.0)
"""Hadamard amplitude with the power of uniform random inputs, so that the converter range fits both."""
LEAN = 1.03
"""Mean of the column gains that corrections aim at. Above 1, more cells are found low than high, and a low cell is
topped up by the spare device on its own side, where a high one would need a device working against it."""
SURPRISE = 3.0
"""Deviations beyond this many expected standard deviations reset a cell's variance."""
SILENT_PULSES = 3
"""A device counts as stuck after this many pulses in a row that should have moved it and did not."""

DeviceIndex = tuple[NDArray[np.int64], ...]
"""Indices (n,) into each axis of a device array (D, rows, columns)."""


class ConductanceFilter:
    """What is known of the devices of a tile, from the pulses sent and the MVMs seen.

    Arrays of devices have the shape (D, rows, columns), D = 2 K, positive polarity first; conductances are those at
    the drift model's reference age.
    """

    def __init__(
        self, region: Region, tile: Tile, known: Devices, age: float, max_pulses: int, min_gain: float
    ) -> None:
        """Nothing is known yet but what a calibration, or the nominal model, tells about the devices.

        age         seconds after programming at which the targets shall hold
        max_pulses  pulses one device may receive
        min_gain    uS; a pulse must lower a cell's expected squared error by its square
        """
        self._max_pulses, self._min_gain = max_pulses, min_gain
        self._region, self._tile, self._known, self._age = region, tile, known, age
        self._model, self._aging = known.model, Aging(known.model.drift)
        info = region.backend.info
        self._limits = info.limits
        k, rows, columns = region.shape[1:]
        self._sign = np.repeat([1.0, -1.0], k)[:, None, None]
        shape = (2 * k, rows, columns)
        self.g = known.held.reshape(shape).copy()
        self._before = np.zeros(shape)
        self._born = np.full(shape, region.backend.now())
        self._amplitude = np.zeros(shape)
        self._height, self._height_variance = known.height.reshape(shape), known.height_sigma.reshape(shape) ** 2
        self._usable = known.usable.reshape(shape)
        self._g_top = 1.05 * np.where(self._usable, known.capacity(info).reshape(shape), info.g_max)
        self._shift = known.shift.reshape(shape).copy()
        self._shift_variance = known.shift_sigma.reshape(shape) ** 2
        self._spent = np.zeros(shape, np.int32)
        self._silent = np.zeros(shape, np.int8)
        self._fresh = np.zeros(shape, bool)
        self._device_variance = np.zeros(shape)
        self.variance = np.zeros((rows, columns))
        self._offset = np.zeros(columns)
        self._seen = region.backend.now()
        self._error = np.zeros((rows, columns))
        self._sensitivity: FloatArray | None = None
        self._mean_gain = 1.0
        self._loaded = np.any(tile.target != 0, axis=0)
        self.mvm_error = float("nan")

    # ---- pulses ----------------------------------------------------------------------------------------------

    def program_open_loop(self) -> int:
        """One RESET pulse per usable device, to the amplitude its curve has at its target; returns their number."""
        curve = self._model.curve
        target = self._tile.device_targets(self._region.backend.info, self._known)
        amplitude = open_loop_amplitudes(self._known, target).reshape(self.g.shape)
        target = target.reshape(self.g.shape)
        at = np.nonzero(self._usable)
        # A device that stays where it was seen is known as well as its read noise allows.
        self._device_variance = np.where(self._usable, self._pulse_variance(target), self._read_noise_variance(self.g))
        self.variance = self._device_variance.sum(0)
        self._send(at, amplitude[at], np.maximum(target, curve.g_min)[at])
        # What bad devices put out of reach is an error from the start.
        self._error = (self._sign * np.where(self._usable, target, self.g)).sum(0) - self._tile.target
        return len(at[0])

    def correct(self, remaining: float) -> int:
        """Pulse, in each cell, the device that lowers its expected squared error most; returns the number of pulses.

        remaining: seconds until the last measurement; what a young device will have drifted by then is known better.
        """
        curve = self._model.curve
        weights, effect = self._weights_at(self._region.backend.now() + remaining + self._age)
        error = self._error = weights - self._column_gain(weights) * self._tile.target
        wanted = self.g - self._sign * error / effect
        aim = np.clip(wanted, curve.g_min, self._g_top)
        left = (aim - wanted) * effect
        sigma2 = self._pulse_variance(aim) * effect**2
        wander = aim * effect * self._aging.log_spread(aim, max(remaining, 0.01 * self._age), remaining + self._age)
        # What is known of a cell is its sum: pulsing a device of doubtful share brings that doubt back.
        doubt = self._device_variance * effect**2
        quieter = self._read_noise_variance(self.g) - self._read_noise_variance(aim)
        gain = error**2 - left**2 - sigma2 - wander**2 - doubt + quieter * effect**2
        gain[self._exhausted] = -np.inf
        best = np.argmax(gain, axis=0)
        worth = np.take_along_axis(gain, best[None], 0)[0] > self._min_gain**2
        cell = np.nonzero(worth)
        at = (best[cell], *cell)
        amplitude = self._model.curve.amplitude(self._on_nominal(aim[at], at)) + self._shift[at]
        self._send(at, amplitude, aim[at])
        self._error[cell] = (self._sign * left)[at]
        self.variance[cell] += doubt[at] + sigma2[at]
        self._device_variance[at] = sigma2[at]
        return int(worth.sum())

    @property
    def unconverged(self) -> BoolArray:
        """Cells off target by more than three standard deviations of a pulse, with no device left to pulse."""
        sigma = self._model.curve.pulse_sigma(np.abs(self._tile.target)) + np.sqrt(self.variance)
        return (np.abs(self._error) > 3 * sigma) & self._exhausted.any(0)

    @property
    def stuck(self) -> BoolArray:
        """Cells with a device that did not answer to pulses."""
        stuck: BoolArray = np.any(self._silent >= SILENT_PULSES, axis=0)
        return stuck

    @property
    def _exhausted(self) -> BoolArray:
        """Devices (D, rows, columns) that are to be left alone."""
        return ~self._usable | (self._spent >= self._max_pulses) | (self._silent >= SILENT_PULSES)

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
        """Variance (uS^2) of the read noise that devices at g will have when the network runs."""
        return np.square(g * self._model.read_noise.relative_sigma(g, self._age))

    def _pulse_variance(self, aim: FloatArray) -> FloatArray:
        """Variance of the result of a pulse at each device: its noise, its unknown shift, its unknown height."""
        curve = self._model.curve
        height = self._height_variance * (aim - self.g) ** 2
        variance: FloatArray = curve.pulse_sigma(aim) ** 2 + curve.slope(aim) ** 2 * self._shift_variance + height
        return variance

    def _on_nominal(self, g: FloatArray, at: DeviceIndex) -> FloatArray:
        """Conductances (n,) that devices of nominal height would have where the devices `at` have g (n,)."""
        g_min = self._model.curve.g_min
        return g_min + (g - g_min) / self._height[at]

    # ---- measurements ----------------------------------------------------------------------------------------

    def measure(self, rng: np.random.Generator, blocks: int) -> None:
        """One Hadamard measurement of all cells, filtered into the belief."""
        region, info = self._region, self._region.backend.info
        x = hadamard_inputs(rng, blocks, self._tile.place.rows, round(DRIVE * info.input_max))
        begin = region.backend.now()
        codes = region.mvm(x)
        duration = region.backend.now() - begin
        drive, step = x / info.input_max, region.step
        weights, effect = self._weights_at(begin)
        predicted = drive @ weights + self._offset
        # A saturated code says only that the output is at least that large.
        low, high = region.span
        innovation = codes * step - np.clip(predicted, low * step, high * step)
        shift = np.median(innovation, axis=0)
        self._offset += shift
        power = float((drive[:, 0] ** 2).sum())
        observed = drive.T @ (innovation - shift) / power
        if self._sensitivity is None:
            self._sensitivity = self._fit_sensitivity(weights + observed, weights)
            found = robust_multiple(self._tile.target, self._tile.target * self._sensitivity, axis=0)[0]
            self._mean_gain = LEAN * float(found[self._loaded].mean()) if self._loaded.any() else 1.0
            observed += weights * (1.0 - self._sensitivity)
            weights, effect = weights * self._sensitivity, effect * self._sensitivity
        self._update(observed, power, effect, begin, max(duration, 1e-9))
        # Young devices are still on their way down: what would be seen now on target is what was expected, less the
        # error expected at the target age.
        self.mvm_error = relative_error(drive @ (weights + observed), drive @ (weights - self._error))

    def _fit_sensitivity(self, seen: FloatArray, expected: FloatArray) -> FloatArray:
        """What a cell's conductance contributes to its column's output, over the ideal, (rows, columns).

        Wires attenuate far cells and converters have gains: a factor per column, times a parabola along the rows, which
        a robust fit over whole columns and rows tells apart from the errors of single cells.
        """
        columns = np.broadcast_to(robust_multiple(expected, seen, axis=0), seen.shape)
        rows = robust_multiple(expected * columns, seen, axis=1)[:, 0]
        position = np.linspace(-1.0, 1.0, len(rows))
        degree = min(2, len(rows) - 1)
        profile = np.polyval(np.polyfit(position, rows, degree, w=np.sqrt((expected**2).sum(1)) + 1e-12), position)
        return columns * profile[:, None]

    def _update(self, observed: FloatArray, power: float, effect: FloatArray, begin: float, duration: float) -> None:
        """Kalman update of every cell with the observed deviation (rows, columns) from its expected conductance."""
        noise = self._model.read_noise
        flicker = ((noise.q(self.g / noise.g_scale) * self.g * effect) ** 2).sum(0)
        t_read = noise.t_read
        fast = np.log(max(duration / (2 * t_read), 1.0)) * flicker.sum(0) * DRIVE**2
        white = (2 * self._region.step**2 / 12 + fast) / power
        # The slow part of the read noise is frozen while a batch lasts, and another one when the network runs.
        slow = np.log(max(self._age / duration, 1.0)) * flicker
        age = np.maximum(begin - self._born, 1e-6)
        since = np.maximum(self._seen - self._born, 1e-6)
        wander = self.g * effect * self._aging.log_spread(self.g, np.where(since > 1e-6, since, age), age)
        wander[~self._usable] = 0.0
        self.variance += (wander**2).sum(0)
        # A deviation far beyond its expected size means that the model is wrong about this cell: believe the chip.
        expected = self.variance + white + slow
        self.variance = np.where(observed**2 > SURPRISE**2 * expected, observed**2, self.variance)
        trust = self.variance / (self.variance + white + slow)
        self.variance *= 1.0 - trust
        self._seen = begin
        # The devices share the correction as they share the doubt.
        share = self._device_variance * effect**2
        share /= np.maximum(share.sum(0), 1e-300)
        self.g = np.clip(self.g + self._sign * share * (trust * observed) / effect, 0.0, 2 * self._g_top)
        self._device_variance *= 1.0 - trust * share
        fresh = np.nonzero(self._fresh)
        self._learn_curve(fresh)
        self._note_silence(fresh)
        self._fresh[:] = False

    def _learn_curve(self, at: DeviceIndex) -> None:
        """Each freshly pulsed device tells how far its own curve is shifted along the amplitude."""
        curve = self._model.curve
        g, prior = self.g[at], self._shift_variance[at]
        shift = self._amplitude[at] - curve.amplitude(self._on_nominal(g, at))
        doubt = curve.jitter**2 + (curve.noise**2 + self._device_variance[at]) / curve.slope(g) ** 2
        trust = prior / np.maximum(prior + doubt, 1e-300)
        self._shift[at] += trust * (shift - self._shift[at])
        self._shift_variance[at] = (1.0 - trust) * prior

    def _note_silence(self, at: DeviceIndex) -> None:
        """Count pulses in a row after which a device stayed where it was although it was sent far away."""
        moved, meant = self.g[at] - self._before[at], self._aimed(at) - self._before[at]
        far = np.abs(meant) > 4 * self._model.curve.pulse_sigma(self._before[at])
        silent = far & (np.abs(moved) < 0.25 * np.abs(meant))
        self._silent[at] = np.where(silent, self._silent[at] + 1, 0)

    def _aimed(self, at: DeviceIndex) -> FloatArray:
        curve = self._model.curve
        nominal = np.asarray(curve.conductance(self._amplitude[at] - self._shift[at]), np.float64)
        return curve.g_min + self._height[at] * (nominal - curve.g_min)

    # ---- ages ------------------------------------------------------------------------------------------------

    def _weights_at(self, moment: float) -> tuple[FloatArray, FloatArray]:
        """Expected conductance of each cell (rows, columns) as outputs show it, and its change per uS of each device.

        The effect of a device (D, rows, columns) is G(then) / G(reference age), times the sensitivity of its cell.
        """
        # A device that does not answer is crystalline or open: neither drifts.
        effect = np.where(self._usable, self._aging.factor(self.g, moment - self._born), 1.0)
        if self._sensitivity is not None:
            effect = effect * self._sensitivity
        return (self._sign * self.g * effect).sum(0), effect

    def _column_gain(self, weights: FloatArray) -> FloatArray:
        """Gain (columns,) that each column may keep, because column gains are digital: its best multiple of the target.

        Only the columns' gains relative to each other are free. Their mean stays LEAN times the sensitivity that was
        found, or corrections would by and by shrink all weights towards the noise.
        """
        gain = robust_multiple(self._tile.target, weights, axis=0)[0]
        relative: FloatArray = gain * (self._mean_gain / gain[self._loaded].mean()) if self._loaded.any() else gain
        return relative


def robust_multiple(reference: FloatArray, values: FloatArray, axis: int) -> FloatArray:
    """Factors along an axis (kept, of length 1) that bring `reference` closest to `values`, with Huber weights."""
    weight = np.ones_like(reference)
    for _ in range(3):
        power = (weight * reference**2).sum(axis, keepdims=True)
        factor = (weight * reference * values).sum(axis, keepdims=True) / np.where(power > 0, power, 1.0)
        factor = np.where(power > 0, factor, 1.0)
        error = np.abs(values - factor * reference)
        scale = 1.2533 * (weight * error).mean(axis, keepdims=True) + 1e-12
        weight = np.minimum(1.0, HUBER * scale / np.maximum(error, 1e-300))
    return np.asarray(factor, np.float64)
