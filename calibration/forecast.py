"""What drift will have done to a programmed tile at a later age, as a drift model and its spread foretell it.

All times are seconds after the end of programming. The devices of a tile are known at one moment, that of its column
calibration, at which their conductances are taken to be the targets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwloop.contract import FloatArray
from hwloop.device_models import DeviceModel
from hwloop.errors import BadInputError

YOUNGEST = 1e-6
"""Seconds: the age from which devices count as drifting by their law."""
HORIZON = 1e10
"""Seconds: nothing is foretold beyond three centuries."""
GRID = 200
"""Steps, even in log time, in which a crossing is looked for; between two of them the error is interpolated."""


@dataclass(frozen=True)
class Forecast:
    """Expected gains and MVM errors of a tile.

    devices     (D, rows, columns) conductances in uS when the columns were calibrated, positive polarity first
    born        (D, rows, columns) seconds after the end of programming (zero or less) of each device's last pulse
    calibrated  seconds after the end of programming of the column calibration
    scale       (columns,) weight per uS
    model       drift and read noise of the devices
    error       relative MVM error that was measured after the calibration: what drift and read noise do not explain of
                it counts as deviations of the cells, which drift along with them
    """

    devices: FloatArray
    born: FloatArray
    calibrated: float
    scale: FloatArray
    model: DeviceModel
    error: float

    def gain(self, age: float) -> FloatArray:
        """Factor (columns,) on the outputs at this age that leaves the smallest expected squared error.

        Relative to the gain of the column calibration, so that it is 1 at its age.
        """
        best: FloatArray = self._best(age) / self._best(self.calibrated)
        return best

    def mvm_error(self, age: float, gain: FloatArray | float | None = None) -> float:
        """Expected relative MVM error at this age with a gain (columns,) on the outputs; None for the best one.

        For inputs of independent rows with zero mean, whose variance drops out.
        """
        factor = self._best(age) if gain is None else self._best(self.calibrated) * gain
        mean, variance = self._cells(age)
        wrong = ((factor * mean - self._target) ** 2 + factor**2 * variance).sum(0)
        return float(np.sqrt((wrong * self.scale**2).sum() / (self._target**2 * self.scale**2).sum()))

    def holds_until(self, age: float, gain: FloatArray | float, growth: float) -> float:
        """Age in seconds at which a gain chosen now lets the expected error exceed its value now by this fraction.

        Infinite if that does not happen within HORIZON.
        """
        allowed = self.mvm_error(age, gain) * (1.0 + growth)
        ages = np.geomspace(age, HORIZON, GRID)
        errors = np.array([self.mvm_error(float(later), gain) for later in ages[1:]])
        beyond = np.nonzero(errors > allowed)[0]
        if not beyond.size:
            return math.inf
        k = int(beyond[0])
        before = self.mvm_error(float(ages[k]), gain)
        part = (allowed - before) / max(errors[k] - before, 1e-300)
        return float(ages[k] * (ages[k + 1] / ages[k]) ** part)

    # ---- inside ----------------------------------------------------------------------------------------------

    @property
    def _sign(self) -> FloatArray:
        return np.repeat([1.0, -1.0], self.devices.shape[0] // 2)[:, None, None]

    @property
    def _target(self) -> FloatArray:
        """(rows, columns) uS."""
        target: FloatArray = (self._sign * self.devices).sum(0)
        return target

    def _best(self, age: float) -> FloatArray:
        """The gain (columns,) of the smallest expected squared error, over the gain of perfect cells; 1 without any."""
        mean, variance = self._cells(age)
        power = (mean**2 + variance).sum(0)
        return np.asarray(np.where(power > 0, (mean * self._target).sum(0) / np.where(power > 0, power, 1.0), 1.0))

    def _cells(self, age: float) -> tuple[FloatArray, FloatArray]:
        """Expected conductances (rows, columns) in uS at this age, and their variance, read noise included."""
        mean, variance, shrink = self._devices(age)
        deviations = self._deviations() * shrink**2
        return (self._sign * mean).sum(0), variance.sum(0) + deviations

    def _deviations(self) -> float:
        """Variance (uS^2) per cell of what the measured error has beyond drift and read noise at the calibration."""
        _, variance, _ = self._devices(self.calibrated)
        weight = self.scale**2
        excess = self.error**2 * (self._target**2 * weight).sum() - (variance.sum(0) * weight).sum()
        cells = weight.sum() * self._target.shape[0]
        return max(float(excess / cells), 0.0) if cells > 0 else 0.0

    def _devices(self, age: float) -> tuple[FloatArray, FloatArray, float]:
        """Mean and variance of every device (uS, uS^2), and the factor by which the tile as a whole has shrunk.

        The factor (age / calibrated)^-nu of a device is log-normal, because its nu is normal.
        """
        if age <= 0:
            raise BadInputError(f"age {age:g} s: nothing is foretold before the end of programming")
        drift, noise = self.model.drift, self.model.read_noise
        now = np.maximum(age - self.born, YOUNGEST)
        log_time = np.log(now / np.maximum(self.calibrated - self.born, YOUNGEST))
        g = self.devices / drift.g_scale
        mean_nu, spread = np.asarray(drift.mean(g)), np.asarray(drift.spread(g)) * log_time
        factor = np.exp(-mean_nu * log_time + spread**2 / 2)
        mean = self.devices * factor
        flicker = noise.q(self.devices / noise.g_scale) ** 2 * np.log((now + noise.t_read) / (2 * noise.t_read))
        variance = mean**2 * (np.expm1(spread**2) + np.maximum(flicker, 0.0))
        whole = float((self.devices * mean).sum() / max(float((self.devices**2).sum()), 1e-300))
        return mean, variance, whole
