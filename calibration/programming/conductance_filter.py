"""Estimate the conductances of a tile's devices from the pulses sent and the MVMs seen, with a Kalman filter per cell.

A pulse widens the variance of a cell's conductance, a measurement narrows it. What a cell holds decides whether, and
on which of its devices, another pulse is worth its noise.
"""

from __future__ import annotations

import dataclasses
from types import EllipsisType

import numpy as np

from hwloop.calibration.evaluation import relative_error
from hwloop.calibration.probes import HadamardProbe, hadamard_inputs
from hwloop.calibration.programming.base import open_loop_amplitudes
from hwloop.calibration.programming.cell_gains import (
    SMALLEST_SENSITIVITY,
    cell_sensitivity,
    column_medians,
    column_multiples,
    reachable_gain,
    robust_multiple,
)
from hwloop.calibration.programming.current_error import (
    CurrentError,
    CurrentErrorFit,
    PulsedCells,
    chosen_cells,
    fit_current_error,
    scaled_curve,
)
from hwloop.calibration.programming.device_curves import DeviceCurves, DeviceIndex, indices
from hwloop.calibration.programming.device_statistics import DeviceStatistics, best_of_cells
from hwloop.calibration.programming.filter_settings import FilterSettings, Observation, PulsePrice
from hwloop.calibration.programming.measurement_noise import MeasurementNoise
from hwloop.calibration.programming.pulse_kernels import Known
from hwloop.calibration.programming.redraw import RedrawTable
from hwloop.calibration.programming.stuck_search import RULE, Look, StuckSearch
from hwloop.chip.cell_calibration import Devices
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.mapping.tile import Tile
from hwloop.typing import AnyArray, BoolArray, FloatArray, IndexArray


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
        self._price = PulsePrice.of(settings, tile.target, info.g_max, region.shape[1])
        self._redraw, self._rounds = RedrawTable(settings.redraws), 0  # rounds of corrections, once known
        self._region, self._tile, self._known, self._age = region, tile, known, age
        self._model, self._limits = known.model, info.limits
        k, rows, columns = region.shape[1:]
        self._sign = np.repeat([1.0, -1.0], k)[:, None, None]
        self._statistics = DeviceStatistics(known.model, self._sign[:, 0, 0])
        self._aging = self._statistics.aging
        shape = self._shape = (2 * k, rows, columns)
        self._curves = DeviceCurves(known, shape)
        self._usable = known.usable.reshape(shape)
        self._most = 1.05 * np.where(self._usable, known.capacity(info).reshape(shape), info.g_max)
        self._g_top = self._most.copy()
        self._reach_of: DeviceCurves | None = None  # the curves whose reach `_g_top` knows
        self.g = known.stuck_at.reshape(shape).copy()
        """(D, rows, columns) estimated conductances, uS."""
        self.variance = np.zeros((rows, columns))
        """(rows, columns) variance of each cell's conductance, uS^2."""
        self._device_variance = np.zeros(shape)  # each device's own, as if the others of its cell were known
        self._before, self._amplitude = np.zeros(shape), np.zeros(shape)  # of the last pulse
        self._born = np.full(shape, now)
        self._spent = np.zeros(shape, np.int32)
        self._born_before = np.full(shape, now)
        self._added = np.zeros((rows, columns))  # variance that the last pulses brought
        self._fresh = np.zeros(shape, bool)  # pulsed since the last measurement
        self._plain = np.zeros(shape, bool)  # of these, the ones that were to correct something
        self._may_ask = self._usable.copy()  # devices that may be asked whether they answer
        self._search = StuckSearch(shape, self._sign, info.g_max, known.model.curve.g_max, settings.unresponsive_pulses)
        self._offset, self._seen = np.zeros(columns), now
        self._error = np.zeros((rows, columns))
        self._noise = MeasurementNoise(self._model.read_noise, age, settings.drive, (rows, columns))
        self._trust: FloatArray | None = None  # with which the last measurement was taken in; None before any
        self._unresolved = np.zeros((rows, columns))  # variance of what the last measurement showed
        self._sensitivity: FloatArray | None = None
        self._foreseen: tuple[FloatArray, FloatArray] | None = None  # weights and effects of the last observation
        self._mean_gain = 1.0
        self._loaded = np.any(tile.target != 0, axis=0)
        power = (tile.target**2).sum(0)
        self._free = power / np.maximum(power + settings.anchor * (k * info.g_max) ** 2, 1e-300)
        self.mvm_error = float("nan")
        """Relative MVM error that the last measurement showed."""

    # ---- pulses ----------------------------------------------------------------------------------------------

    def program_open_loop(self, rows: BoolArray | bool = True) -> int:
        """Pulse devices that were not, of some rows (rows, 1), to their targets by their curves; return how many."""
        target = self._tile.device_targets(self._region.backend.info, self._known)
        amplitude = open_loop_amplitudes(self._known, target).reshape(self.g.shape)
        target = target.reshape(self.g.shape)
        at = np.nonzero(self._usable & (self._spent == 0) & rows)
        # A device that stays where it was seen is known as well as its read noise allows.
        self._device_variance = np.where(self._usable, self._pulse_variance(target), self._read_noise_variance(self.g))
        self.variance = self._device_variance.sum(0)
        self._send(at, amplitude[at], np.maximum(target, self._model.curve.g_min)[at])
        self._fresh = self._spent > 0
        # What bad devices put out of reach is an error from the start.
        self._error = (self._sign * np.where(self._usable, target, self.g)).sum(0) - self._tile.target
        return len(at[0])

    def correct(self, remaining: float, rounds: int = 0) -> int:
        """Pulse, in each cell, the device that lowers its expected squared error most.

        Parameters
        ----------
        remaining
            Seconds until the last measurement: what a young device will have drifted by then is known better.
        rounds
            Rounds that follow, in which a result that is not good can be drawn again.

        Returns
        -------
        int
            The number of pulses.
        """
        weights, effect = self._weights_at(self._region.backend.now() + remaining + self._age)
        error = self._error = weights - self._column_gain(weights) * self._tile.target
        error += self._noise.slow.later(remaining + self._age)
        exhausted, reach = self._exhausted, (self._model.curve.g_min, self._g_top)
        aim, gain = self._statistics.prospects(self.g, effect, error, (*reach, exhausted), self._noise.running)
        worth = np.flatnonzero(gain > (price := self._price_with(rounds)))  # noise takes more away
        _, lost = self._noise_of_pulses(worth, aim, effect, remaining, rounds)
        # A suspect needs pulses and rounds to come back from where it is sent.
        spare = self._settings.max_pulses_per_device - self._spent
        self._may_ask = ~exhausted & (spare > RULE.pulses_left) & (rounds > RULE.rounds_left)
        asked, levels = self._search.questions(self._may_ask, self._g_top)
        best = best_of_cells(worth, gain.reshape(-1)[worth] - lost, price, error.shape)
        best[asked[1:]] = -1
        cell = np.nonzero(best >= 0)
        at = (best[cell], *cell)
        every: DeviceIndex = tuple(np.concatenate([one, other]) for one, other in zip(at, asked, strict=True))
        sent, shows = np.concatenate([aim[at], levels]), effect[every]
        self._error[every[1:]] += self._sign[every[0], 0, 0] * (sent - self.g[every]) * shows
        drawn = self._curves.pulse_variance(sent, self.g[every], np.ravel_multi_index(every, self._shape))
        if len(levels):
            self._search.sent(asked, levels, drawn[len(cell[0]) :])
        self._forget_noise(every, effect)
        self._send(every, self._curves.amplitude(sent, every), sent)
        self._plain[at] = True
        noise = drawn * shows**2
        self._added[every[1:]] = self._device_variance[every] * shows**2 + noise
        self.variance[every[1:]] += self._added[every[1:]]
        self._device_variance[every] = noise
        return len(sent)

    def _forget_noise(self, at: DeviceIndex, effect: FloatArray) -> None:
        """Let pulses of the devices `at` make an end of their parts of their cells' slow noise."""
        all_of_cell = self._statistics.flicker(self.g, effect)[at[1:]]
        own = self._statistics.read_noise_power(self.g[at]) * effect[at] ** 2
        self._noise.slow.forget(at[1:], np.minimum(own / np.maximum(all_of_cell, 1e-300), 1.0))

    def _noise_of_pulses(
        self, at: IndexArray, aim: FloatArray, effect: FloatArray, remaining: float, rounds: int
    ) -> tuple[FloatArray, FloatArray]:
        """Compute the variances of pulses on devices (n,), flat indices, and the squared errors they leave, uS^2."""
        curves, unresolved, spent = self._curves, self._unresolved.reshape(-1), self._spent.reshape(-1)
        g, own = self.g.reshape(-1), self._device_variance.reshape(-1)
        known = Known(g, own, curves.height_variance.reshape(-1), curves.shift_variance.reshape(-1), unresolved, spent)
        redraws = self._redraw.after(rounds, self._settings.max_pulses_per_device, self._price_with(rounds))
        ages = max(remaining, 0.01 * self._age), remaining + self._age
        pulses = at, aim.reshape(-1), effect.reshape(-1)
        return self._statistics.costs(pulses, known, curves.nominal, ages, redraws)

    def _price_with(self, rounds: int) -> float:
        """Return the price of a pulse, uS^2, with some rounds left; most are left at the first call."""
        self._rounds = max(self._rounds, rounds)
        return self._price(self._unresolved, rounds / max(self._rounds, 1))

    def current_error(self, shown: Observation, settings: CurrentErrorFit) -> CurrentError | None:
        """Fit the common error of the currents of open-loop pulses to the first measurement after them."""
        at = chosen_cells((self._tile.target != 0) & self._usable.all(0) & (self._spent > 0).all(0), settings.cells)
        if not len(at[0]):
            return None
        flicker = self._statistics.flicker(self.g, (self._foreseen or self._weights_at(shown.begin))[1])
        noise = self._noise.fresh(shown, self._region.step, flicker) + self._noise.lasting(shown, flicker)
        age = max(shown.begin - float(self._born.max()), 1e-6)
        cells = PulsedCells.of(at, shown.seen, noise, self._amplitude, self._curves, age)
        return fit_current_error(cells, self._curves.nominal, self._aging, settings)

    def assume_currents(self, error: float) -> None:
        """Believe that devices need (1 + error) times the currents believed until now, and what follows of their state.

        Call it after open-loop pulses, before any answer to them was taken in.
        """
        curve = scaled_curve(self._model.curve, error)
        model = dataclasses.replace(self._model, curve=curve)
        self._known = dataclasses.replace(self._known, model=model)
        self._model, self._curves = model, DeviceCurves(self._known, self._shape)
        self._foreseen = None
        at = np.nonzero(self._usable)
        self.g[at] = self._curves.conductance(self._amplitude[at], at)
        self._device_variance[at] = self._curves.pulse_variance(self.g, np.zeros(self._shape))[at]
        self.variance = self._device_variance.sum(0)

    def repeat_open_loop(self) -> int:
        """Pulse the devices again that, as is believed now, open-loop pulses did not bring near their targets."""
        target = self._tile.device_targets(self._region.backend.info, self._known)
        amplitude = open_loop_amplitudes(self._known, target).reshape(self._shape)
        target = np.maximum(target.reshape(self._shape), self._model.curve.g_min)
        at = np.nonzero(self._usable & (np.abs(self.g - target) > self._model.curve.noise))
        self._send(at, amplitude[at], target[at])
        self._device_variance[at] = self._curves.pulse_variance(target, np.zeros(self._shape))[at]
        self.variance = self._device_variance.sum(0)
        self._error = (self._sign * self.g).sum(0) - self._tile.target
        return len(at[0])

    @property
    def unconverged(self) -> BoolArray:
        """Cells off target by more than three standard deviations of a pulse, with no device left to pulse."""
        size, known = np.abs(self._error), np.sqrt(self.variance)
        far: BoolArray = size > 3 * known
        row, column = at = np.nonzero(far)  # few: most are known to be near
        sigma = self._model.curve.pulse_sigma(np.abs(self._tile.target[at])) + known[at]
        far[at] = (size[at] > 3 * sigma) & self._exhausted[:, row, column].any(0)
        return far

    @property
    def stuck(self) -> BoolArray:
        """(D, rows, columns) devices that did not answer to pulses."""
        return self._search.stuck

    @property
    def _exhausted(self) -> BoolArray:
        """Devices (D, rows, columns) that are to be left alone."""
        return ~self._usable | (self._spent >= self._settings.max_pulses_per_device) | self._search.stuck

    def _send(self, at: DeviceIndex, amplitude: FloatArray, aim: FloatArray) -> None:
        """RESET the devices `at` with amplitudes (n,) in uA that should bring them to `aim` (n,) in uS."""
        curve = self._model.curve
        amplitude = np.clip(amplitude, self._curves.weakest, self._limits.amplitude_max)
        self._region.pulse(PulseKind.RESET, np.ravel_multi_index(at, self.g.shape), amplitude, curve.width)
        self._amplitude[at], self._before[at], self._born_before[at] = amplitude, self.g[at], self._born[at]
        self.g[at], self._born[at] = aim, self._region.backend.now()
        self._spent[at] += 1
        self._fresh[:] = self._plain[:] = False
        self._fresh[at] = True

    def _read_noise_variance(self, g: FloatArray) -> FloatArray:
        """Compute the variance (uS^2) of the read noise that devices at g will have when the network runs."""
        return self._noise.running * self._statistics.read_noise_power(g)

    def _pulse_variance(self, aim: FloatArray) -> FloatArray:
        """Compute the variance (uS^2) of the result of a pulse at each device."""
        return self._curves.pulse_variance(aim, self.g)

    # ---- measurements ----------------------------------------------------------------------------------------

    def measure(self, rng: np.random.Generator, blocks: int) -> None:
        """Measure all cells with `blocks` complete Hadamard designs, and update the filter with what they show."""
        self.update(self.observe(rng, blocks))

    def observe(self, rng: np.random.Generator, blocks: int) -> Observation:
        """Measure all cells with `blocks` complete Hadamard designs; the filter follows the columns' offsets alone."""
        region, info = self._region, self._region.backend.info
        amplitude = round(self._settings.drive * info.input_max)
        probe = HadamardProbe(hadamard_inputs(rng, blocks, self._tile.place.rows, amplitude), info.input_max)
        begin = region.backend.now()
        codes = region.mvm(probe.inputs)
        duration = max(region.backend.now() - begin, 1e-9)
        weights, _ = self._foreseen = self._weights_at(begin)
        return Observation(weights + self._deviations(probe, codes, weights), probe.power, begin, duration)

    def update(self, shown: Observation) -> None:
        """Update the filter with what a measurement showed."""
        weights, effect = self._foreseen or self._weights_at(shown.begin)
        self._foreseen = None
        observed = shown.seen - weights
        if self._sensitivity is None:
            self._sensitivity = self._found_sensitivity(weights + observed, weights)
            self._mean_gain = self._first_mean_gain(self._sensitivity)
            observed += weights * (1.0 - self._sensitivity)
            weights, effect = weights * self._sensitivity, effect * self._sensitivity
        self._update(observed, effect, shown)
        # Young devices are still on their way down: what would be seen now on target is what was expected, less the
        # error expected at the target age.
        # An orthogonal design keeps norms: the error of the outputs is that of the cells.
        self.mvm_error = relative_error(weights + observed, weights - self._error)

    def _deviations(self, probe: HadamardProbe, codes: AnyArray, weights: FloatArray) -> FloatArray:
        """Find by how much cells (rows, columns) differ from `weights`, in uS, and follow the columns' offsets."""
        predicted = probe.drive @ weights + self._offset
        # A saturated code says only that the output is at least that large.
        low, high = self._region.span
        step = self._region.step
        innovation = codes * step - np.clip(predicted, low * step, high * step)
        shift = column_medians(innovation)
        self._offset += shift
        return probe.cells(innovation - shift)

    def _found_sensitivity(self, seen: FloatArray, weights: FloatArray) -> FloatArray:
        """Return the sensitivities (rows, columns) that the first measurement shows, and give up columns without any.

        A loaded column that shows nothing is not connected: no pulse there would be seen to do anything.
        """
        sensitivity = cell_sensitivity(seen, weights)
        dead = self._loaded & (np.abs(sensitivity).max(0) < SMALLEST_SENSITIVITY)
        self._usable = self._usable & ~dead
        self._loaded = self._loaded & ~dead
        self.g = np.where(dead, 0.0, self.g)
        return np.where(np.abs(sensitivity) < SMALLEST_SENSITIVITY, 1.0, sensitivity)

    def _first_mean_gain(self, sensitivity: FloatArray) -> float:
        """Compute the mean of the column gains that corrections shall keep, from the sensitivity that was found."""
        if not self._loaded.any():
            return 1.0
        # Cells meant to conduct their targets at the reference age will have drifted from them at the target age.
        devices, target = self._tile.device_targets(self._region.backend.info, self._known), self._tile.target
        devices, most = devices.reshape(self._shape), self._g_top * (self._sign * target > 0)
        aged, reach = (one * self._aging.factor(one, self._age) for one in (devices, most))
        found = robust_multiple(target, (self._sign * aged).sum(0) * sensitivity, axis=0)[0]
        sigma = float(np.sqrt(self._curves.height_variance.mean())) * self._region.backend.info.g_max
        gain = reachable_gain(target, reach.sum(0), sigma, self._settings.mean_gain)
        return gain * float(found[self._loaded].mean())

    def _update(self, observed: FloatArray, effect: FloatArray, shown: Observation) -> None:
        """Update every cell with its observed deviation (rows, columns) in uS from what was expected.

        effect is as in `_weights_at`.
        """
        self.variance += self._drift_variance(effect, shown.begin)
        noise, flicker = self._noise, self._statistics.flicker(self.g, effect)
        noise.grow(shown.begin - self._seen, flicker)
        observed = observed - noise.slow.seen
        if self._trust is not None:
            calm: BoolArray = ~np.any(self._fresh, axis=0)
            cells = observed, noise.slow.spread(self.variance), calm
            # What was taken in before was less certain than it seemed.
            self.variance += calm * self._trust**2 * noise.learn(shown, self._region.step, flicker, cells)
        own = noise.fresh(shown, self._region.step, flicker)
        self._unresolved = own + noise.lasting(shown, flicker)
        observed = self._judge_answers(observed, effect, shown.begin)
        # A deviation far beyond its expected size means that the filter is wrong about this cell: trust the chip.
        outlier = observed**2 > self._settings.outlier**2 * (noise.slow.spread(self.variance) + own)
        self.variance = np.where(outlier, observed**2, self.variance)
        correction, self._trust = noise.slow.take_in(observed, self.variance, own)
        self._seen = shown.begin
        self._take_in(correction, self._trust, effect)
        self._believe_examined(effect)
        self._learn_curve(indices(self._fresh & ~self._search.doubtful & ~self._search.stuck))
        self._fresh[:] = False

    def _drift_variance(self, effect: FloatArray, begin: float) -> FloatArray:
        """Compute what unknown drift since the last measurement adds to the cells' variances, (rows, columns) uS^2."""
        ages = self._seen - self._born, begin - self._born
        return self._statistics.drift_variance(self.g, effect, ages, self._usable)

    def _take_in(self, correction: FloatArray, trust: FloatArray, effect: FloatArray) -> None:
        """Move the devices by a correction of their cell (rows, columns) in uS, shared as they share its variance."""
        self.variance = self.variance * (1.0 - trust)
        self._statistics.move((self.g, self._device_variance), effect, self._g_top, correction, trust)

    def _learn_curve(self, at: DeviceIndex) -> None:
        """Learn from the devices `at` how far their own curves are shifted along the amplitude."""
        self._curves.learn(at, self._amplitude[at], self.g[at], self._device_variance[at])
        where: DeviceIndex | EllipsisType = at if self._reach_of is self._curves else ...
        self._g_top[where] = np.minimum(self._most[where], self._curves.reach(where))
        self._reach_of = self._curves

    def _judge_answers(self, observed: FloatArray, effect: FloatArray, begin: float) -> FloatArray:
        """Look for devices that do not answer; return what the other cells (rows, columns) deviate by, in uS."""
        search, sensitivity = self._search, self._cell_sensitivity
        floor = (RULE.known * self._region.backend.info.g_max) ** 2
        noise = self._unresolved / sensitivity**2 + floor
        look = Look(observed / sensitivity, noise, self.g, self._device_variance, effect / sensitivity)
        search.hear(look)
        if self._trust is None:
            search.first_look(look, self._may_ask)
            return np.where(search.examined, 0.0, observed)
        variance = self.variance / sensitivity**2 + look.noise
        self._weigh_pulses(look, variance, begin)
        search.suspect(look, variance, self._may_ask, self._fresh)
        return np.where(search.examined, 0.0, observed)

    def _weigh_pulses(self, look: Look, variance: FloatArray, begin: float) -> None:
        """Weigh whether devices that were to correct something stayed where they were."""
        search, sensitivity = self._search, self._cell_sensitivity
        at = indices(self._plain & ~search.stuck & ~search.examined)
        cell, before = at[1:], self._before[at]
        before = before * self._aging.factor(before, begin - self._born_before[at])
        calm = np.maximum(variance[cell] - self._added[cell] / sensitivity[cell] ** 2, look.noise[cell])
        search.weigh_pulses(at, look.off[cell], look.g[at] * look.effect[at] - before, calm, variance[cell])

    def _believe_examined(self, effect: FloatArray) -> None:
        """Take over what the search believes of the cells that it examines."""
        sensitivity = self._cell_sensitivity
        cells, g, own, variance = self._search.beliefs(effect / sensitivity)
        row, column = cells
        self.g[:, row, column], self._device_variance[:, row, column] = np.maximum(g, 0.0), own
        self.variance[cells] = variance * sensitivity[cells] ** 2

    @property
    def _cell_sensitivity(self) -> FloatArray:
        """(rows, columns) what cells contribute over the ideal, as far as is known."""
        if self._sensitivity is None:
            return np.ones(self.variance.shape)
        return self._sensitivity

    # ---- ages ------------------------------------------------------------------------------------------------

    def _weights_at(self, moment: float) -> tuple[FloatArray, FloatArray]:
        """Predict the conductance of each cell (rows, columns) as outputs show it, and its change per uS of a device.

        The effect of a device (D, rows, columns) is G(then) / G(reference age), times the sensitivity of its cell.
        """
        # A device that does not answer is crystalline or open: neither drifts.
        drifts = self._usable & ~self._search.stuck
        return self._statistics.weights(self.g, moment - self._born, drifts, self._cell_sensitivity)

    def _column_gain(self, weights: FloatArray) -> FloatArray:
        """Choose the gain (columns,) that each column may keep: near its best multiple of the target.

        Column gains are digital, so only their values relative to each other are free. Their mean stays where the
        first measurement put it, or corrections would by and by shrink all weights towards the noise.
        """
        if not self._loaded.any():
            return np.ones(len(self._loaded))
        gain, sensitivity = column_multiples(self._tile.target, weights), self._cell_sensitivity.mean(0)
        usual = sensitivity / sensitivity[self._loaded].mean() * gain[self._loaded].mean()
        gain = usual + self._free * (gain - usual)
        return np.asarray(gain * (self._mean_gain / gain[self._loaded].mean()), np.float64)
