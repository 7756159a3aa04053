"""The conductance filter of a tile whose devices were programmed long ago: where a refresh starts from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.drift.compensation import Compensation
from hwloop.calibration.drift.forecast import Forecast
from hwloop.calibration.drift.programmed_tile import ProgrammedTile, PulseRecord
from hwloop.calibration.programming.base import RESET_MARGIN
from hwloop.calibration.programming.cell_gains import robust_multiple
from hwloop.calibration.programming.conductance_filter import ConductanceFilter
from hwloop.calibration.programming.device_curves import DeviceIndex
from hwloop.calibration.programming.filter_settings import FilterSettings
from hwloop.calibration.programming.redraw import cost_of_pulse
from hwloop.chip.cell_calibration import Devices
from hwloop.typing import BoolArray, FloatArray

SMALLEST_VARIANCE = 1e-4
"""uS^2: programming never leaves a cell better known than this."""
CHI2_MEDIAN = 0.4549
"""Median of the square of a standard normal number: a robust variance is the median square over this."""


@dataclass(frozen=True)
class PulseLimits:
    """What a refresh may spend on a tile."""

    pulses: int
    """Pulses on all devices together."""
    pulses_per_device: int
    """Pulses one device may receive."""
    min_gain: float
    """A pulse must lower a cell's expected squared error by (this many per cent of g_max) squared."""


@dataclass(frozen=True)
class PulsePlan:
    """Pulses worth sending to hold the weights at a scale, n devices, and what follows for their cells."""

    scale: float
    """Conductances per conductance of the targets."""
    at: DeviceIndex
    """Indices (n,) of the devices into (D, rows, columns)."""
    aim: FloatArray
    """(n,) uS at the reference age."""
    error: FloatArray
    """(rows, columns) uS of error before the pulses."""
    left: FloatArray
    """(n,) uS of error that remains because an aim is out of reach."""
    pulse_variance: FloatArray
    """(n,) uS^2 of the pulses' results."""
    device_variance: FloatArray
    """(n,) uS^2: what of the cells' variance was the pulsed device's own."""
    expected_error: float
    """Relative MVM error that is to be expected afterwards, of the cells alone."""
    expected_without: float
    """The same if nothing is pulsed."""


@dataclass(frozen=True)
class _Pulse:
    """One pulse to each device (D, rows, columns) as if it were the only one of its cell, in uS and uS^2."""

    aim: FloatArray
    left: FloatArray
    variance: FloatArray
    device_variance: FloatArray
    young: FloatArray
    """What the device contributes afterwards, over its conductance at the reference age."""
    read_noise: FloatArray
    """Of the device as it is, at the target age."""
    worth: FloatArray
    """Expected decrease of the cell's squared error."""


class AgedConductanceFilter(ConductanceFilter):
    """What is known of the devices of a tile that was programmed long ago, and which of them to pulse."""

    def __init__(self, tile: ProgrammedTile, known: Devices, limits: PulseLimits, rounds: int = 1) -> None:
        """Start from the record of programming.

        Parameters
        ----------
        tile
            The tile, with a record of its pulses.
        known
            Its devices, by a calibration or the nominal model.
        limits
            What may be spent on it.
        rounds
            Rounds of pulses, in the later ones of which a result that is not good can be drawn again.
        """
        settings = FilterSettings(max_pulses_per_device=limits.pulses_per_device, min_gain=limits.min_gain)
        super().__init__(tile.region, tile.tile, known, tile.origin.target_age, settings)
        self._left_to_spend, self._rounds_left = limits.pulses, rounds - 1
        self._may_ask[:] = False  # a refresh is no time to look for stuck devices
        assert tile.pulses is not None
        self._recall(tile.pulses, tile.origin.end)

    def _recall(self, pulses: PulseRecord, end: float) -> None:
        """Set the devices to where programming left them, by their last pulses, the targets, and the map made then.

        A last pulse says little, because every device has a curve of its own. The sum of a cell is known far better:
        it was close to its target, by as much as the map's deviations from the targets exceed read noise.
        """
        curve, tile, shape = self._model.curve, self._tile, self.g.shape
        assert pulses.reached is not None
        empty = curve.midpoint + RESET_MARGIN * curve.steepness
        self._amplitude = np.where(np.isfinite(pulses.amplitude), pulses.amplitude, empty).reshape(shape)
        self._born = end - np.nan_to_num(pulses.age).reshape(shape)
        self._seen = end + self._age
        every = np.nonzero(np.ones(shape, bool))
        self.g = np.where(self._usable, self._curves.conductance(self._amplitude[every], every).reshape(shape), self.g)
        self._left = np.zeros(shape)
        self._device_variance = np.where(self._usable, self._pulse_variance(self.g), 0.0)
        self.variance = self._device_variance.sum(0)
        weights, effect = self._weights_at(self._seen)
        read_noise = np.square(self._relative_noise(self.g, self._seen - self._born) * self.g * effect).sum(0)
        known, variance = known_then(tile.target, pulses.reached, read_noise)
        observed = robust_multiple(tile.target, weights, axis=0) * known - weights
        trust = self.variance / np.maximum(self.variance + variance, 1e-300)  # ideal devices have no variance at all
        self._take_in(trust * observed, trust, effect)
        self._learn_curve(np.nonzero(self._usable))
        self._left = self.g.copy()
        # Slow noise has been there since programming, not since it is looked at.
        self._noise.grow(self._age, self._statistics.flicker(self.g, effect))

    def _relative_noise(self, g: FloatArray, age: FloatArray | float) -> FloatArray:
        """Compute read noise over conductance of devices at g (uS) that were pulsed `age` seconds ago."""
        noise = self._model.read_noise
        log_time = np.log((np.maximum(age, 2 * noise.t_read) + noise.t_read) / (2 * noise.t_read))
        return np.asarray(noise.q(g / noise.g_scale) * np.sqrt(log_time), np.float64)

    def _pulse_variance(self, aim: FloatArray) -> FloatArray:
        """Compute it as the base does, but a device's height is known where its last pulse left it."""
        return self._curves.pulse_variance(aim, self._left)

    # ---- pulses ----------------------------------------------------------------------------------------------

    def plans(self, scales: Sequence[float] | FloatArray, remaining: float) -> list[PulsePlan]:
        """Plan one round of pulses for each of several scales.

        Parameters
        ----------
        scales
            Scales over the one at which programming left the weights.
        remaining
            Seconds until the last round.

        Returns
        -------
        list
        """
        assert self._sensitivity is not None
        sensitivity = float(self._sensitivity[:, self._loaded].mean()) if self._loaded.any() else 1.0
        return [self.plan(float(scale) * sensitivity, remaining) for scale in scales]

    def refresh(self, scale: float, remaining: float) -> int:
        """Send one pulse to each cell whose expected gain is worth it.

        Parameters
        ----------
        scale
            Conductances per conductance of the targets, `PulsePlan.scale`.
        remaining
            Seconds until the last round.

        Returns
        -------
        int
            Number of pulses.
        """
        plan = self.plan(scale, remaining)
        self._send(plan.at, self._curves.amplitude(plan.aim, plan.at), plan.aim)
        cell = plan.at[1:]
        self._left[plan.at] = plan.aim
        self._error = plan.error
        self._error[cell] = plan.left
        self.variance[cell] += plan.device_variance + plan.pulse_variance
        self._device_variance[plan.at] = plan.pulse_variance
        self._left_to_spend -= len(plan.aim)
        self._rounds_left = max(self._rounds_left - 1, 0)
        return len(plan.aim)

    def plan(self, scale: float, remaining: float) -> PulsePlan:
        """Choose which device of which cell to pulse, to hold the weights at a scale within the budget.

        Parameters
        ----------
        scale
            Conductances per conductance of the targets.
        remaining
            Seconds until the last round.

        Returns
        -------
        PulsePlan
        """
        when = self._region.backend.now() + remaining + self._age
        weights, effect = self._weights_at(when)
        gain = robust_multiple(self._tile.target, weights, axis=0)[0]
        gain = gain * (scale / gain[self._loaded].mean()) if self._loaded.any() else gain
        error = weights - gain * self._tile.target
        pulse = self._weigh(error, effect, when, remaining)
        best = np.argmax(pulse.worth, axis=0)
        worth = np.take_along_axis(pulse.worth, best[None], 0)[0]
        chosen: BoolArray = worth > max(self._min_gain**2, self._affordable(worth))
        cell = np.nonzero(chosen)
        at = (best[cell], *cell)
        squares = float((error**2 + self.variance + pulse.read_noise.sum(0)).sum())
        power = max(float(((scale * self._tile.target) ** 2).sum()), 1e-300)
        return PulsePlan(
            scale=scale,
            at=at,
            aim=pulse.aim[at],
            error=error,
            left=(self._sign * pulse.left)[at],
            pulse_variance=pulse.variance[at] / pulse.young[at] ** 2,
            device_variance=pulse.device_variance[at],
            expected_error=math.sqrt(max(squares - float(worth[chosen].sum()), 0.0) / power),
            expected_without=math.sqrt(squares / power),
        )

    def _weigh(self, error: FloatArray, effect: FloatArray, when: float, remaining: float) -> _Pulse:
        """Weigh what a pulse to each device would do to its cell's squared error at the target age.

        error: (rows, columns) uS; effect: (D, rows, columns) as of `_weights_at`; when: clock time of the target age.
        """
        curve, age = self._model.curve, self._age
        present = self.g * effect
        wanted = present - self._sign * error
        # A pulse makes the device young again: what it contributes is no longer what an old one would.
        young = self._aging.factor(np.maximum(wanted, curve.g_min), remaining + age)
        young = young * (self._sensitivity if self._sensitivity is not None else 1.0)
        aim = np.clip(wanted / young, curve.g_min, self._g_top)
        left = aim * young - wanted
        variance = self._pulse_variance(aim) * young**2
        drift = aim * young * self._aging.log_spread(aim, max(remaining, 0.01 * age), remaining + age)
        device_variance = self._device_variance * effect**2
        read_noise = np.square(self._relative_noise(self.g, when - self._born) * present)
        young_read_noise = np.square(self._relative_noise(aim, remaining + age) * aim * young)
        redraws = np.minimum(self._rounds_left, self._settings.max_pulses_per_device - 1 - self._spent)
        unresolved = self._unresolved / (self._rounds_left + 1)  # by all measurements to come
        drawn = cost_of_pulse(self._redraw, redraws, variance + device_variance, unresolved, self._min_gain**2)
        worth = error**2 - left**2 - drawn - drift**2 + read_noise - young_read_noise
        worth[self._exhausted] = -np.inf
        return _Pulse(aim, left, variance, device_variance, young, read_noise, worth)

    def _affordable(self, worth: FloatArray) -> float:
        """Find the smallest expected gain that the budget of pulses still pays for."""
        if self._left_to_spend <= 0:
            return math.inf
        if worth.size <= self._left_to_spend:
            return -math.inf
        return float(np.partition(worth.reshape(-1), -self._left_to_spend - 1)[-self._left_to_spend - 1])

    # ---- afterwards ------------------------------------------------------------------------------------------

    def at_calibration(self, tile: ProgrammedTile) -> FloatArray:
        """Give the devices (D, rows, columns) in uS as they were when the columns were calibrated after programming."""
        then = tile.origin.end + tile.origin.target_age
        present: FloatArray = self.g * self._aging.factor(self.g, np.maximum(then - self._born, 1e-6))
        return present

    def forecast(self, tile: ProgrammedTile, made: Compensation) -> Forecast:
        """Predict what drift will do from here on, with the devices' own ages.

        Parameters
        ----------
        tile
            The tile as it is now.
        made
            The compensation that was just made for it, from probes.

        Returns
        -------
        Forecast
        """
        now = self._region.backend.now()
        present = self.g * self._aging.factor(self.g, np.maximum(now - self._born, 1e-6))
        error = tile.probe_error(made, made.made.vectors)
        return Forecast(present, self._born - tile.origin.end, tile.age, tile.tile.scale, self._model, error)


def known_then(target: FloatArray, reached: FloatArray, read_noise: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Estimate what the cells held after programming, between their targets and the map that was measured then.

    The variance by which programming missed the targets is the median square of the map's deviations, less read noise.

    Parameters
    ----------
    target, reached
        (rows, columns) uS; column gains have matched the map to the targets.
    read_noise
        (rows, columns) uS^2, variance of the map.

    Returns
    -------
    tuple
        Conductances (rows, columns) in units of the targets, and their variance in uS^2.
    """
    deviation = reached - target
    missed = max(float(np.median(deviation**2) / CHI2_MEDIAN - np.median(read_noise)), SMALLEST_VARIANCE)
    total = np.maximum(read_noise + missed, 1e-300)
    return (target * read_noise + reached * missed) / total, read_noise * missed / total
