"""What drift will have done to a programmed tile at a later age, as a drift model and its spread predict it.

All times are seconds after the end of programming. The devices of a tile are known at one moment, that of its column
calibration, at which their conductances are taken to be the targets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hwloop.devices.arrays import Floating
from hwloop.devices.model import DeviceModel
from hwloop.errors import BadInputError
from hwloop.typing import FloatArray, IndexArray

YOUNGEST = 1e-6
"""Seconds: the age from which devices count as drifting by their law."""
HORIZON = 1e10
"""Seconds: nothing is predicted beyond three centuries."""


@dataclass(frozen=True, repr=False)
class Forecast:
    """Expected gains and MVM errors of a tile."""

    devices: Floating
    """(D, rows, columns) conductances in uS when the columns were calibrated, positive polarity first."""
    born: FloatArray
    """(D, rows, columns) seconds after the end of programming (zero or less, unless refreshed) of the last pulse."""
    target_age: float
    """Seconds after the end of programming at which the columns were calibrated."""
    scale: FloatArray
    """(columns,) weight per uS."""
    model: DeviceModel
    """Drift and read noise of the devices."""
    error: float
    """Relative MVM error that was measured after the calibration: what drift and read noise do not explain of it counts
    as deviations of the cells, which drift along with them. NaN where none was: nothing is known of deviations."""
    grid: int = 40
    """Steps, even in log time, in which a crossing is looked for; between two of them the error is interpolated."""

    def __repr__(self) -> str:
        rows, columns = self.devices.shape[1:]
        return f"<Forecast of {rows} x {columns} cells, known at {self.target_age:g} s>"

    def gain(self, age: float) -> FloatArray:
        """Predict the factor on the outputs that leaves the smallest expected squared error.

        Parameters
        ----------
        age
            Seconds after the end of programming.

        Returns
        -------
        FloatArray
            (columns,) relative to the gain of the column calibration, so that it is 1 at its age.

        Raises
        ------
        BadInputError
            For an age before the end of programming.
        """
        return np.asarray(self._best(age) / self._best_at_calibration, np.float64)

    def correction(
        self, age: float, inputs: FloatArray, shares: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Predict the factor and the offset on the outputs that leave the smallest expected squared error for inputs.

        Inputs that have a mean, such as a network's activations, see what drift takes off small and large cells as an
        offset, which no factor makes up for. What differs from cell to cell by chance adds to it as well, but nobody
        can predict that.

        Parameters
        ----------
        age
            Seconds after the end of programming.
        inputs
            (vectors, rows) sample inputs, 1 = full range.
        shares
            (vectors,) their weights; None: all the same.

        Returns
        -------
        tuple
            Factors and offsets (columns,), the latter in weight units, on top of the column calibration.

        Raises
        ------
        BadInputError
            For an age before the end of programming.
        """
        first, shift = self._affine(self.target_age, inputs, shares)
        gain, offset = self._affine(age, inputs, shares)
        return gain / first, offset - gain / first * shift

    def mvm_error(self, age: float, gain: FloatArray | float | None = None) -> float:
        """Predict the relative MVM error, for inputs of independent rows with zero mean, whose variance drops out.

        Parameters
        ----------
        age
            Seconds after the end of programming.
        gain
            (columns,) or one for all, on the outputs; None for the best one.

        Returns
        -------
        float
            NaN for a tile without weights.

        Raises
        ------
        BadInputError
            For an age before the end of programming.
        """
        factor = self._best(age) if gain is None else self._best_at_calibration * gain
        mean, variance = self._cells(age)
        wrong = ((factor * mean - self._target) ** 2 + factor**2 * variance).sum(0)
        power = float((self._target**2 * self.scale**2).sum())
        return math.sqrt(float((wrong * self.scale**2).sum()) / power) if power > 0 else math.nan

    def valid_until(self, age: float, gain: FloatArray | float, growth: float) -> float:
        """Predict when a gain chosen now lets the expected error exceed its value now by a fraction.

        Parameters
        ----------
        age
            Now, seconds after the end of programming.
        gain
            (columns,) or one for all, on the outputs, kept as it is.
        growth
            The fraction.

        Returns
        -------
        float
            Seconds after the end of programming; infinite if it does not happen within HORIZON.
        """
        allowed = self.mvm_error(age, gain) * (1.0 + growth)
        youngest = float(self.born.max())  # the time that counts for what drifts fastest
        last, error = age - youngest, self.mvm_error(age, gain)
        for later in np.geomspace(last, HORIZON, self.grid)[1:]:
            before, error = error, self.mvm_error(youngest + float(later), gain)
            if error > allowed:
                part = (allowed - before) / (error - before)
                return youngest + float(last * (later / last) ** part)
            last = float(later)
        return math.inf

    # ---- inside ----------------------------------------------------------------------------------------------

    @cached_property
    def _loaded(self) -> _Loaded:
        """The devices that hold anything: empty ones contribute nothing."""
        polarity, row, column = np.nonzero(self.devices > 0)
        conductance = self.devices[polarity, row, column].astype(np.float64)
        drift, noise = self.model.drift, self.model.read_noise
        return _Loaded(
            cell=row * self.scale.size + column,
            sign=np.where(polarity < self.devices.shape[0] // 2, 1.0, -1.0),
            conductance=conductance,
            born=self.born[polarity, row, column],
            nu=np.asarray(drift.mean(conductance / drift.g_scale)),
            nu_spread=np.asarray(drift.spread(conductance / drift.g_scale)),
            q2=np.square(noise.q(conductance / noise.g_scale)),
        )

    @cached_property
    def _target(self) -> FloatArray:
        """(rows, columns) uS."""
        return self._per_cell(self._loaded.sign * self._loaded.conductance)

    @cached_property
    def _best_at_calibration(self) -> FloatArray:
        return self._best(self.target_age)

    @cached_property
    def _deviations(self) -> float:
        """Variance (uS^2) per cell of what the measured error has beyond drift and read noise at the calibration."""
        if math.isnan(self.error):
            return 0.0
        _, variance, _ = self._devices(self.target_age)
        weight = self.scale**2
        excess = self.error**2 * (self._target**2 * weight).sum() - (self._per_cell(variance) * weight).sum()
        cells = weight.sum() * self._target.shape[0]
        return max(float(excess / cells), 0.0) if cells > 0 else 0.0

    def _best(self, age: float) -> FloatArray:
        """Find the gain (columns,) of the smallest expected squared error; 1 for columns without cells."""
        mean, variance = self._cells(age)
        power = (mean**2 + variance).sum(0)
        return np.asarray(np.where(power > 0, (mean * self._target).sum(0) / np.where(power > 0, power, 1.0), 1.0))

    def _affine(self, age: float, inputs: FloatArray, shares: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """Find factor and offset (columns,) that bring the sums of cells at an age nearest to those of the targets."""
        mean, variance = self._cells(age)
        middle = np.average(inputs, axis=0, weights=shares)
        about = inputs - middle
        if shares is not None:
            about = about * np.sqrt(shares)[:, None]
        sums, wanted = about @ mean, about @ self._target
        power = np.square(sums).sum(0) + np.square(about).sum(0) @ variance
        factor = np.where(power > 0, (sums * wanted).sum(0) / np.where(power > 0, power, 1.0), 1.0)
        factor = np.where(factor > 0, factor, 1.0)
        return factor, middle @ (self._target - factor * mean) * self.scale

    def _cells(self, age: float) -> tuple[FloatArray, FloatArray]:
        """Predict conductances (rows, columns) in uS at an age, and their variance (uS^2), read noise included."""
        mean, variance, lost = self._devices(age)
        return self._per_cell(self._loaded.sign * mean), self._per_cell(variance) + self._deviations * lost**2

    def _per_cell(self, values: FloatArray) -> FloatArray:
        """Sum values (n,) of the loaded devices over those of each cell, (rows, columns)."""
        shape = self.devices.shape[1:]
        sums = np.bincount(self._loaded.cell, values, minlength=shape[0] * shape[1])
        return np.asarray(sums.reshape(shape), np.float64)

    def _devices(self, age: float) -> tuple[FloatArray, FloatArray, float]:
        """Predict mean and variance (n,) of every loaded device (uS, uS^2), and what is left of the tile as a whole.

        The factor (age / target_age)^-nu of a device is log-normal, because its nu is normal.
        """
        if not age > 0:
            raise BadInputError(f"age {age:g} s: nothing is predicted before the end of programming")
        known, t_read = self._loaded, self.model.read_noise.t_read
        now = np.maximum(age - known.born, YOUNGEST)
        then, drift = np.maximum(self.target_age - known.born, YOUNGEST), self.model.drift
        log_time, alike = np.log(now / then), np.zeros_like(now)
        if not drift.law.plain:
            ends = [np.log(one / drift.t0) for one in (then, now)]
            log_time, alike = (f(ends[1]) - f(ends[0]) for f in (drift.law.exponent, drift.law.common))
        log_variance = np.square(known.nu_spread * log_time)
        mean = known.conductance * np.exp(log_variance / 2 - known.nu * log_time - alike)
        flicker = known.q2 * np.log((now + t_read) / (2 * t_read))
        variance = mean**2 * (np.expm1(log_variance) + np.maximum(flicker, 0.0))
        power = float((known.conductance**2).sum())
        return mean, variance, float((known.conductance * mean).sum()) / power if power > 0 else 1.0


@dataclass(frozen=True)
class _Loaded:
    """Devices that hold anything, as flat arrays (n,)."""

    cell: IndexArray
    """Which cell, counted through (rows, columns)."""
    sign: FloatArray
    """1 or -1, the polarity."""
    conductance: FloatArray
    """uS at the calibration."""
    born: FloatArray
    """Seconds after the end of programming."""
    nu: FloatArray
    """Mean of the drift coefficient."""
    nu_spread: FloatArray
    """Its standard deviation."""
    q2: FloatArray
    """Square of the read noise coefficient Q."""
