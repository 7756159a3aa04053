"""The conductance filter of a tile whose devices were programmed long ago: where a refresh starts from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.drift.base import Compensation, ProgrammedTile, Pulsed
from hwloop.calibration.drift.forecast import Forecast
from hwloop.calibration.programming.base import RESET_MARGIN
from hwloop.calibration.programming.conductance_filter import ConductanceFilter, DeviceIndex, robust_multiple
from hwloop.calibration.settings import Settings
from hwloop.chip.cell_calibration import Devices
from hwloop.typing import FloatArray

SCALES = np.linspace(0.5, 1.15, 14)
"""Scales tried, over the one at which programming left the weights."""
WORTHWHILE = 0.05
"""A refresh must lower the expected error by this fraction: pulses wear, and restart the drift of what they touch."""
SMALLEST_VARIANCE = 1e-4
"""uS^2: programming never leaves a cell better known than this."""


@dataclass(frozen=True)
class RefreshSettings(Settings):
    """Settings of a refresh."""

    min_gain: float = 2.6
    """A pulse must lower a cell's expected squared error by (this many per cent of g_max) squared."""
    pulses_per_device: float = 0.65
    """Pulses that may be spent, over the number of devices."""
    max_pulses_on_a_device: int = 8
    """Pulses one device may receive."""
    max_steps: int = 8
    """Rounds of correction."""
    measurements: int = 6
    """Hadamard measurements after each round, spread over its rest."""
    settle: float = 0.5
    """Rest after each round, in units of the target age."""

    def __post_init__(self) -> None:
        self._require("min_gain", 0, 100)
        self._require("pulses_per_device", 0, 1000)
        self._require("max_pulses_on_a_device", 1, 1_000_000)
        self._require("max_steps", 1, 10_000)
        self._require("measurements", 1, 1000)
        self._require("settle", 0, 100)


class AgedConductanceFilter(ConductanceFilter):
    """What is known of the devices of a tile that was programmed long ago."""

    def __init__(self, held: ProgrammedTile, known: Devices, settings: RefreshSettings) -> None:
        """Start from the record of programming."""
        region, tile, age = held.region, held.tile, held.calibrated
        g_max = region.backend.info.g_max
        super().__init__(region, tile, known, age, settings.max_pulses_on_a_device, settings.min_gain / 100 * g_max)
        self._left_to_spend = int(settings.pulses_per_device * region.size)
        assert held.pulsed is not None
        self._recall(held.pulsed, held.end)

    def _recall(self, pulsed: Pulsed, end: float) -> None:
        """Where programming left each device: by its last pulse, by the targets, and by the map measured then.

        A last pulse says little, because every device has a curve of its own. The sum of a cell is known far better:
        it was close to its target, by as much as the map's deviations from the targets exceed read noise.
        """
        curve, tile, shape = self._model.curve, self._tile, self.g.shape
        assert pulsed.reached is not None
        empty = curve.midpoint + RESET_MARGIN * curve.steepness
        self._amplitude = np.where(np.isfinite(pulsed.amplitude), pulsed.amplitude, empty).reshape(shape)
        self._born = end - np.nan_to_num(pulsed.age).reshape(shape)
        self._seen = end + self._age
        every = np.nonzero(np.ones(shape, bool))
        self.g = np.where(self._usable, self._aimed(every).reshape(shape), self.g)
        self._left = np.zeros(shape)
        self._device_variance = np.where(self._usable, self._pulse_variance(self.g), 0.0)
        self.variance = self._device_variance.sum(0)
        weights, effect = self._weights_at(self._seen)
        read_noise = np.square(self._relative_noise(self.g, self._seen - self._born) * self.g * effect).sum(0)
        deviation = pulsed.reached - tile.target
        missed = max(float(np.median(deviation**2) / 0.4549 - np.median(read_noise)), SMALLEST_VARIANCE)
        # Both are in units of the target, which column gains have matched to what the cells really hold.
        known = (tile.target * read_noise + pulsed.reached * missed) / np.maximum(read_noise + missed, 1e-300)
        observed = robust_multiple(tile.target, weights, axis=0) * known - weights
        doubt = read_noise * missed / np.maximum(read_noise + missed, 1e-300)
        trust = self.variance / np.maximum(self.variance + doubt, 1e-300)  # ideal devices leave no doubt at all
        self._believe(trust * observed, trust, effect)
        self._learn_curve(np.nonzero(self._usable))
        self._left = self.g.copy()

    def _believe(self, correction: FloatArray, trust: FloatArray, effect: FloatArray) -> None:
        """Move the devices by a correction of their cell (rows, columns), shared as they share the doubt."""
        self.variance = self.variance * (1.0 - trust)
        share = self._device_variance * effect**2
        share = share / np.maximum(share.sum(0), 1e-300)
        moved = self.g + self._sign * share * correction / effect
        self.g = np.asarray(np.clip(moved, 0.0, 2 * self._g_top), np.float64)
        self._device_variance = self._device_variance * (1.0 - trust * share)

    def _relative_noise(self, g: FloatArray, age: FloatArray | float) -> FloatArray:
        """Read noise over conductance of devices at g (uS) that were pulsed `age` seconds ago."""
        noise = self._model.read_noise
        log_time = np.log((np.maximum(age, 2 * noise.t_read) + noise.t_read) / (2 * noise.t_read))
        return np.asarray(noise.q(g / noise.g_scale) * np.sqrt(log_time), np.float64)

    def _pulse_variance(self, aim: FloatArray) -> FloatArray:
        """As the base's, but a device's height is known where its last pulse left it, not where it drifted to."""
        curve = self._model.curve
        height = self._height_variance * (aim - self._left) ** 2
        variance = curve.pulse_sigma(aim) ** 2 + curve.slope(aim) ** 2 * self._shift_variance + height
        return np.asarray(variance, np.float64)

    # ---- pulses ----------------------------------------------------------------------------------------------

    def best_scale(self, remaining: float, measured: float) -> float | None:
        """The scale of SCALES with the smallest expected relative error after one round of pulses.

        None where the cells as they are would do nearly as well at a scale of their own, by what is believed of them or
        by the MVM error that was measured with the columns calibrated.
        """
        assert self._sensitivity is not None
        sensitivity = float(self._sensitivity[:, self._loaded].mean()) if self._loaded.any() else 1.0
        plans = [self._plan(float(scale) * sensitivity, remaining) for scale in SCALES]
        best = min(plans, key=lambda plan: plan.expected_error)
        as_it_is = min(measured, *(plan.expected_without for plan in plans))
        return best.scale if as_it_is > (1.0 + WORTHWHILE) * best.expected_error else None

    def refresh(self, scale: float, remaining: float) -> int:
        """One pulse to each cell whose expected gain is worth it; returns the number of pulses.

        remaining: seconds until the last round.
        """
        plan = self._plan(scale, remaining)
        amplitude = self._model.curve.amplitude(self._on_nominal(plan.aim, plan.at)) + self._shift[plan.at]
        self._send(plan.at, amplitude, plan.aim)
        cell = plan.at[1:]
        self._left[plan.at] = plan.aim
        self._error = plan.error
        self._error[cell] = plan.left
        self.variance[cell] += plan.doubt + plan.noise
        self._device_variance[plan.at] = plan.noise
        self._left_to_spend -= len(plan.aim)
        return len(plan.aim)

    def _plan(self, scale: float, remaining: float) -> _Plan:
        """Which device of which cell to pulse, to hold the weights at a scale, when the budget is not exceeded."""
        curve, age = self._model.curve, self._age
        when = self._region.backend.now() + remaining + age
        weights, effect = self._weights_at(when)
        gain = robust_multiple(self._tile.target, weights, axis=0)[0]
        gain = gain * (scale / gain[self._loaded].mean()) if self._loaded.any() else gain
        error = weights - gain * self._tile.target
        present = self.g * effect
        wanted = present - self._sign * error
        # A pulse makes the device young again: what it contributes is no longer what an old one would.
        young = self._aging.factor(np.maximum(wanted, curve.g_min), remaining + age)
        young = young * (self._sensitivity if self._sensitivity is not None else 1.0)
        aim = np.clip(wanted / young, curve.g_min, self._g_top)
        left = aim * young - wanted
        noise = self._pulse_variance(aim) * young**2
        wander = aim * young * self._aging.log_spread(aim, max(remaining, 0.01 * age), remaining + age)
        doubt = self._device_variance * effect**2
        loud = np.square(self._relative_noise(self.g, when - self._born) * present)
        quiet = np.square(self._relative_noise(aim, remaining + age) * aim * young)
        worth = error**2 - left**2 - noise - wander**2 - doubt + loud - quiet
        worth[self._exhausted] = -np.inf
        best = np.argmax(worth, axis=0)
        worth = np.take_along_axis(worth, best[None], 0)[0]
        chosen = worth > max(self._min_gain**2, self._affordable(worth))
        cell = np.nonzero(chosen)
        at = (best[cell], *cell)
        squares = float((error**2 + self.variance + loud.sum(0)).sum())
        power = max(float(((scale * self._tile.target) ** 2).sum()), 1e-300)
        return _Plan(
            scale,
            at,
            aim[at],
            error,
            left=(self._sign * left)[at],
            noise=noise[at] / young[at] ** 2,
            doubt=doubt[at],
            expected_error=math.sqrt(max(squares - float(worth[chosen].sum()), 0.0) / power),
            expected_without=math.sqrt(squares / power),
        )

    def _affordable(self, worth: FloatArray) -> float:
        """The smallest expected gain that the budget of pulses still pays for."""
        if self._left_to_spend <= 0:
            return math.inf
        if worth.size <= self._left_to_spend:
            return -math.inf
        return float(np.partition(worth.reshape(-1), -self._left_to_spend - 1)[-self._left_to_spend - 1])

    # ---- afterwards ------------------------------------------------------------------------------------------

    def forecast(self, held: ProgrammedTile, made: Compensation) -> Forecast:
        """What drift will do from here on, with the devices' own ages."""
        now = self._region.backend.now()
        present = self.g * self._aging.factor(self.g, np.maximum(now - self._born, 1e-6))
        return Forecast(present, self._born - held.end, held.age, held.tile.scale, self._model, held.probe_error(made))


@dataclass(frozen=True)
class _Plan:
    """Pulses worth sending: devices (n), aims in uS, and what follows for their cells."""

    scale: float
    at: DeviceIndex
    aim: FloatArray
    error: FloatArray
    """(rows, columns) uS, before."""
    left: FloatArray
    """(n,) uS of error that remains because an aim is out of reach."""
    noise: FloatArray
    """(n,) uS^2: variance of the pulses' results."""
    doubt: FloatArray
    """(n,) uS^2: what of the cells' variance was the pulsed device's own."""
    expected_error: float
    """Relative MVM error that is to be expected afterwards, of the cells alone."""
    expected_without: float
    """The same if nothing is pulsed."""
