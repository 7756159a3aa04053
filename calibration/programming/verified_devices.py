"""Program-and-verify of many devices at once: read, compare, step the RESET amplitude along the programming curve.

What `program_verify` does to the devices of a tile, and what a measurement does to the devices that it wants at certain
conductances.
"""

from __future__ import annotations

import abc
import math
from dataclasses import replace

import numpy as np

from hwloop.calibration.programming.base import open_loop_amplitudes
from hwloop.calibration.programming.current_error_of_devices import (
    DeviceCurrentError,
    fit_device_currents,
    scaled_currents,
)
from hwloop.calibration.programming.unresponsive import UNRESPONSIVE_PULSES, AnswerToPulses, unresponsive_streak
from hwloop.chip.cell_calibration import Devices
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.devices.drift import Aging
from hwloop.devices.model import DeviceModel
from hwloop.typing import BoolArray, FloatArray, IndexArray

DEFAULT_TOLERANCE = 0.025
"""Half width of the acceptance window over g_max, unless read noise is larger."""


def verify_noise(model: DeviceModel, conductance: FloatArray, averages: int, since_pulse: float) -> FloatArray:
    """Compute the standard deviation of averaged reads; averaging removes only what is faster than the reads.

    Parameters
    ----------
    model
        The devices.
    conductance
        (n,) uS.
    averages
        Reads that are averaged.
    since_pulse
        Seconds between the pulse and the reads.

    Returns
    -------
    ndarray
        (n,) uS.
    """
    t_read = model.read_noise.t_read
    reads = averages * t_read
    fast = math.log(max((reads + t_read) / (2 * t_read), 1.0)) / averages
    slow = math.log(max(since_pulse / reads, 1.0))
    return conductance * model.read_noise.q(conductance / model.read_noise.g_scale) * math.sqrt(fast + slow)


class VerifiedDevices(abc.ABC):
    """The devices of a region: targets, last verified values and what was done to them, flat arrays of region.size.

    Attributes
    ----------
    target
        uS that a device shall have when its target holds, see `_age_at_target`.
    value
        uS it is expected to have then, by its last verification.
    born
        When it was pulsed last, on the chip's clock.
    spent
        Pulses it received here.
    streak
        Pulses in a row that should have moved it and did not.
    gave_up
        Left alone, off target.
    seen
        Verified at least once.
    usable
        Answers to pulses, as far as is known.
    """

    def __init__(self, region: Region, known: Devices, unresponsive_pulses: int = UNRESPONSIVE_PULSES) -> None:
        """Begin with targets of zero, and nothing sent; devices known to be unusable count as seen where they stay.

        Parameters
        ----------
        region, known
            The devices, and what is known of them.
        unresponsive_pulses
            Pulses in a row without an answer after which a device is left alone.
        """
        self._region, self._known, self._model = region, known, known.model
        self._pulses_to_tell = unresponsive_pulses
        self._aging = Aging(known.model.drift)
        self.usable = known.usable.reshape(-1)
        size = region.size
        self.target = np.zeros(size)
        self.value = known.stuck_at.reshape(-1).copy()
        self.born = np.full(size, region.backend.now())
        self.spent = np.zeros(size, np.int32)
        self.streak = np.zeros(size, np.int8)
        self.gave_up = np.zeros(size, bool)
        self.seen = ~self.usable
        self._amplitude = np.zeros(size)
        self._loaded = np.zeros(size, bool)
        self._aimed_from = np.zeros(size)
        self._answer = AnswerToPulses.none(size)
        self._without_answer = np.zeros(size, bool)

    def pulse_open_loop(self, devices: IndexArray) -> int:
        """Send one pulse per device (n,), to the amplitude its curve has at its target; return the number of pulses."""
        self._pulse(devices, self._open_loop(devices))
        return len(devices)

    def verify(self, active: IndexArray, averages: int, tolerance: float) -> IndexArray:
        """Read devices (n,), those that seem on target a second time, and return the ones that are not on target.

        Parameters
        ----------
        active
            The devices.
        averages
            Reads that are averaged each time.
        tolerance
            Half width of the acceptance window, uS.
        """
        value = self._read(active, averages)
        near = np.abs(value - self.target[active]) <= tolerance
        value[near] = (value[near] + self._read(active[near], averages)) / 2
        moved, meant = value - self.value[active], self.target[active] - self._aimed_from[active]
        self.streak[active] = unresponsive_streak(self.streak[active], moved, meant, tolerance)
        self._answer.add(active, self._expected(self._amplitude)[active], value, tolerance)
        # For good: such a device is not pulsed any more, and further reads of it would only add noise.
        self._without_answer |= self._answer.missing()
        self._without_answer[active] |= (self.streak[active] >= self._pulses_to_tell) & self._implausible(active, value)
        self.value[active] = value
        self.seen[active] = True
        return active[np.abs(value - self.target[active]) > tolerance]

    def correct(self, devices: IndexArray, gain: float, max_pulses: int) -> int:
        """Step the amplitude of devices that are off target, and pulse them; return the number of pulses.

        Parameters
        ----------
        devices
            (n,) devices; those that had their pulses, or do not answer to them, are left alone.
        gain
            Fraction of the error, expressed on the programming curve, to correct.
        max_pulses
            Pulses one device may receive.
        """
        devices = devices[(self.spent[devices] < max_pulses) & ~self.unresponsive()[devices]]
        curve, target = self._model.curve, self.target[devices]
        step = gain * (curve.amplitude(target) - curve.amplitude(self.value[devices]))
        stepped = np.where(
            self._loaded[devices] & (target > 0), self._amplitude[devices] + step, self._open_loop(devices)
        )
        self._pulse(devices, stepped)
        return len(devices)

    def pulse_again(self, devices: IndexArray) -> int:
        """Send the last pulse of each device (n,) once more; return the number of pulses."""
        self._pulse(devices, self._amplitude[devices])
        return len(devices)

    def give_up(self, devices: IndexArray) -> None:
        """Record devices (n,) that are still off target; they are left alone from here on."""
        self.gave_up[devices] = True

    def unresponsive(self) -> BoolArray:
        """Tell which devices do not answer to pulses, (region.size,)."""
        return (self.streak >= self._pulses_to_tell) | self._without_answer

    def surprise(self) -> FloatArray:
        """Compute the last verified value less what the device's curve expects of its last pulse, (region.size,) uS."""
        return self.value - self._expected(self._amplitude)

    def _expected(self, amplitude: FloatArray) -> FloatArray:
        """Return what a pulse of an amplitude in uA leaves in each device by its curve, (region.size,) uS."""
        curve, height, shift = self._model.curve, self._known.height.reshape(-1), self._known.shift.reshape(-1)
        expected: FloatArray = curve.g_min + height * (curve.conductance(amplitude - shift) - curve.g_min)
        return expected

    def _implausible(self, devices: IndexArray, value: FloatArray) -> BoolArray:
        """Tell which devices (n,) read what no pulse of their last amplitude leaves on any device of a curve like this.

        Three pulses without an answer happen to a device in order, now and then, as steps are small and reads noisy;
        one that would need a curve many standard deviations away besides does not answer, and later reads, of which
        any may end the row by its noise, change nothing of that.
        """
        curve, known = self._model.curve, self._known
        height, shift, sigma = (
            part.reshape(-1)[devices] for part in (known.height, known.shift, np.hypot(known.shift_sigma, curve.jitter))
        )
        amplitude = curve.amplitude(curve.g_min + (value - curve.g_min) / height)
        away: BoolArray = np.abs(self._amplitude[devices] - shift - amplitude) > self._answer.implausible * sigma
        return away

    def current_error(self, devices: IndexArray, averages: int) -> DeviceCurrentError:
        """Fit a common error of the currents to devices (n,) that were pulsed once and verified.

        Parameters
        ----------
        devices
            The devices; those meant to be empty tell nothing, and are left out.
        averages
            Reads that were averaged to verify them.
        """
        devices = devices[self.target[devices] > 0]
        model, known = self._model, self._known
        height, shift = known.height.reshape(-1)[devices], known.shift.reshape(-1)[devices]
        value = self._aging.at_reference(self.value[devices], self._age_at_target(devices))
        rest = float(np.median(self._region.backend.now() - self.born[devices])) if len(devices) else 1.0
        middle = np.array([0.3 * model.curve.g_max])
        noise = float(verify_noise(model, middle, averages, max(rest, 1e-6))[0] / middle[0])
        drift = float(self._aging.log_spread(middle, max(rest, 1e-6), model.drift.t0)[0])
        unknown = replace(
            model.curve,
            midpoint_spread=float(np.sqrt(np.mean(known.shift_sigma**2))),
            height_spread=float(np.sqrt(np.mean(known.height_sigma**2))),
        )
        amplitude, g_min = self._amplitude[devices] - shift, model.curve.g_min
        return fit_device_currents(amplitude, g_min + (value - g_min) / height, unknown, math.hypot(noise, drift))

    def restart(self, error: float) -> None:
        """Go on with a curve whose currents are scaled by (1 + error): the next pulses are open-loop ones again."""
        self._model = replace(self._model, curve=scaled_currents(self._model.curve, error))
        self._known = replace(self._known, model=self._model)
        self._loaded[:] = False
        self.streak[:] = 0
        self._answer = AnswerToPulses.none(self._region.size)

    def _open_loop(self, devices: IndexArray) -> FloatArray:
        """Return the amplitudes (n,) in uA that the curves of devices (n,) have at their targets."""
        amplitude = open_loop_amplitudes(self._known, self.target.reshape(self._region.shape))
        return amplitude.reshape(-1)[devices]

    def _pulse(self, devices: IndexArray, amplitude: FloatArray) -> None:
        curve, limits = self._model.curve, self._region.backend.info.limits
        amplitude = np.clip(amplitude, curve.melt, limits.amplitude_max)
        self._aimed_from[devices] = self.value[devices]
        self._amplitude[devices], self.born[devices] = amplitude, self._fire(devices, amplitude, curve.width)
        self._loaded[devices] = self.target[devices] > 0
        self.spent[devices] += 1

    def _read(self, devices: IndexArray, averages: int) -> FloatArray:
        """Read conductances (n,) in uS and return what they are expected to be when the targets shall hold."""
        value, now = self._look(devices, averages)
        value, age = np.maximum(value, 0.0), now - self.born[devices]
        return value * self._aging.factor(value, self._age_at_target(devices)) / self._aging.factor(value, age)

    @abc.abstractmethod
    def _age_at_target(self, devices: IndexArray) -> FloatArray | float:
        """Return the age in seconds that devices (n,) have when their targets hold, if they are not pulsed again."""

    def _fire(self, devices: IndexArray, amplitude: FloatArray, width: float) -> FloatArray | float:
        """RESET devices and return when, on the chip's clock, for each or for all of them."""
        self._region.pulse(PulseKind.RESET, devices, amplitude, width)
        return self._region.backend.now()

    def _look(self, devices: IndexArray, averages: int) -> tuple[FloatArray, FloatArray | float]:
        """Read conductances (n,) in uS, and say when, on the chip's clock, for each or for all of them."""
        now = self._region.backend.now()
        return self._region.read(devices, averages), now
