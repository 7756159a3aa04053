"""How devices and pulses spread about the typical curve, from what cells show beyond it after two pulses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from hwloop.calibration.routines.level_maps import LeveledPulses
from hwloop.calibration.routines.robust import robust_variance
from hwloop.devices.programming_curve import ProgrammingCurve
from hwloop.typing import BoolArray, FloatArray


@dataclass(frozen=True)
class LevelSpreads:
    """Standard deviations of devices and of pulses."""

    midpoint: float
    """Between devices, uA."""
    height: float
    """Between devices, relative."""
    jitter: float
    """Between pulses, uA."""
    noise: float
    """Between pulses, uS."""
    relative_noise: float
    """Between pulses, relative; the slow read noise of the look is in it."""

    def of(self, curve: ProgrammingCurve) -> ProgrammingCurve:
        """Return a curve with these spreads."""
        return replace(
            curve,
            midpoint_spread=self.midpoint,
            height_spread=self.height,
            jitter=self.jitter,
            noise=self.noise,
            relative_noise=self.relative_noise,
        )


@dataclass(frozen=True)
class DevicePlaces:
    """Where each device lies about the typical curve, arrays (2, K, rows, columns)."""

    shift: FloatArray
    """uA."""
    shift_sigma: FloatArray
    """uA."""
    height: FloatArray
    height_sigma: FloatArray


@dataclass(frozen=True)
class LeveledCells:
    """Two pulses of every device of a core, and what its cells show of them."""

    curve: ProgrammingCurve
    """The typical one."""
    amplitude: FloatArray
    """(levels,) uA."""
    rounds: Sequence[LeveledPulses]
    """The two pulses."""
    left: Sequence[FloatArray]
    """(rows, columns) each: what cells show beyond the typical, uS; NaN in cells that do not count."""
    map_variance: float
    """Variance of a cell in a map of a core that does not change, uS^2."""
    outliers: float
    """Robust standard deviations beyond which a cell is left out where spreads are computed."""

    def spreads(self) -> LevelSpreads:
        """Tell the spreads of devices, which both pulses share, from those of pulses, which they do not."""
        kept = np.logical_and(*(np.isfinite(one) & ~self._far(one) for one in self.left))
        slope, g = ([values[:, kept] for values in of_pulse] for of_pulse in (self._slope, self._conductance))
        of_pulses = [_powers(one, other) for one, other in zip(slope, g, strict=True)]
        shared = np.stack([(slope[0] * slope[1]).sum(0), (g[0] * g[1]).sum(0)], axis=1)
        pairs = _Pairs(np.stack([one[kept] for one in self.left]), np.stack(of_pulses), shared, self.map_variance)
        return LevelSpreads(*(float(np.sqrt(value)) for value in pairs.variances()))

    def places(self, devices: ProgrammingCurve, pulses: LevelSpreads) -> DevicePlaces:
        """Estimate shift and height of each device from what its cell shows, by the linear theory of both pulses.

        Parameters
        ----------
        devices
            How the devices spread.
        pulses
            How what a pulse leaves, as a map shows it, scatters.
        """
        count = self.rounds[0].level.shape[0] * self.rounds[0].level.shape[1]
        sign = np.repeat([1.0, -1.0], count // 2)[:, None, None]
        noise = np.array([pulses.jitter**2, pulses.noise**2, pulses.relative_noise**2])
        known = [np.isfinite(one) for one in self.left]
        effect = np.stack([
            np.concatenate([sign * slope, sign * g]) * seen
            for slope, g, seen in zip(self._slope, self._conductance, known, strict=True)
        ])  # fmt: skip
        variance = np.stack([
            (_powers(slope.reshape(count, -1), g.reshape(count, -1)) @ noise).reshape(seen.shape)
            for slope, g, seen in zip(self._slope, self._conductance, known, strict=True)
        ])  # fmt: skip
        prior = np.repeat([devices.midpoint_spread**2, devices.height_spread**2], count)[:, None, None]
        seen = np.stack([np.nan_to_num(one) for one in self.left])
        # A cell that is far off has a device that is no member of the population, or one that did not answer.
        off = np.any([self._far(one) for one in self.left], axis=0)
        covariance = np.einsum("adrc,bdrc->abrc", effect * prior, effect)
        covariance[[0, 1], [0, 1]] += np.maximum(variance + self.map_variance, 1e-12)
        weight = np.linalg.inv(covariance.transpose(2, 3, 0, 1))
        weight[off] = 0.0
        gain = np.einsum("adrc,rcab->bdrc", effect * prior, weight)
        found = (gain * seen[:, None]).sum(0)
        sigma = np.sqrt(np.maximum(prior - (gain * effect * prior).sum(0), 0.0))
        shape = self.rounds[0].level.shape
        shift, height = found[:count].reshape(shape), 1.0 + found[count:].reshape(shape)
        return DevicePlaces(shift, sigma[:count].reshape(shape), height, sigma[count:].reshape(shape))

    @property
    def _conductance(self) -> list[FloatArray]:
        """(2 K, rows, columns) what the typical device conducts after each pulse, uS."""
        return [np.asarray(self.curve.conductance(self._sent(one)), np.float64) for one in self.rounds]

    @property
    def _slope(self) -> list[FloatArray]:
        """(2 K, rows, columns) of the typical curve at each pulse, uS / uA."""
        return [np.asarray(self.curve.slope(g), np.float64) for g in self._conductance]

    def _sent(self, pulses: LeveledPulses) -> FloatArray:
        """Return the amplitudes (2 K, rows, columns) of a pulse, uA."""
        sent: FloatArray = self.amplitude[pulses.level].reshape(-1, *pulses.level.shape[2:])
        return sent

    def _far(self, left: FloatArray) -> BoolArray:
        """Tell which cells (rows, columns) are far off."""
        sigma = np.sqrt(robust_variance(left[np.isfinite(left)]))
        far: BoolArray = np.abs(np.nan_to_num(left)) > self.outliers * sigma
        return far


def _powers(slope: FloatArray, g: FloatArray) -> FloatArray:
    """Return what variances of jitter, flat noise and relative noise add to those of cells, (cells, 3)."""
    return np.stack([(slope**2).sum(0), np.full(slope.shape[1], float(len(slope))), (g**2).sum(0)], axis=1)


@dataclass(frozen=True)
class _Pairs:
    """What n cells show beyond the typical after either of two pulses, and what variances would add to that."""

    left: FloatArray
    """(2, n) uS."""
    of_pulses: FloatArray
    """(2, n, 3) of jitter, flat noise and relative noise; the first and the last also of shifts and heights."""
    shared: FloatArray
    """(n, 2) of shifts and heights to the covariance of both."""
    constant: float
    """Variance that is known, uS^2."""

    def variances(self) -> FloatArray:
        """Return the likeliest variances of shifts, heights, jitter, flat noise and relative noise."""
        own = self.of_pulses[:, :, [0, 2, 0, 1, 2]]
        size = np.maximum(own.mean((0, 1)), 1e-12)
        own = own / size
        shared = np.pad(self.shared / size[:2], ((0, 0), (0, 3)))
        total = float((self.left**2).mean())

        def cost(theta: FloatArray) -> tuple[float, FloatArray]:
            (v1, v2), c = own @ theta + self.constant + 1e-6 * total, shared @ theta
            r1, r2 = self.left
            det = v1 * v2 - c**2
            quadratic = (v2 * r1**2 - 2.0 * c * r1 * r2 + v1 * r2**2) / det
            by_v1 = (v2 + r2**2 - quadratic * v2) / det
            by_v2 = (v1 + r1**2 - quadratic * v1) / det
            by_c = -2.0 * (c + r1 * r2 - quadratic * c) / det
            slope = by_v1 @ own[0] + by_v2 @ own[1] + by_c @ shared
            return float((np.log(det) + quadratic).mean()), slope / len(r1)

        start = np.full(5, total / 5.0)
        best = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * 5)
        return np.asarray(best.x / size, np.float64)
