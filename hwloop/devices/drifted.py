"""What a device that drifts reads at some age: its coefficient is one of many, and a read has noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.devices.drift import DriftModel
from hwloop.devices.normal import normal_density, t_below, t_density
from hwloop.devices.predicted import Predicted
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class ReadScatter:
    """Noise of a single read at an age, as a drift fit has it."""

    relative: FloatArray
    """Standard deviation over the conductance (uS), at each device."""
    constant: float = 0.0
    """Standard deviation (uS) that does not depend on the conductance."""
    freedom: float = np.inf
    """Degrees of freedom of Student's t; infinite for normal noise."""
    switching: float = 0.0
    """Share of the devices that switch between two conductances; they are in the lower one half of the time."""
    step: float = 0.0
    """ln of the upper over the lower conductance of these."""


class DriftedConductance(Predicted):
    """Reads of devices some time after their reference age, at which they had the conductances `level` (uS)."""

    def __init__(self, model: DriftModel, level: FloatArray, age: FloatArray, scatter: ReadScatter) -> None:
        """Take the drift, the conductance (uS) of each device at the reference age, and the age (s) at the read."""
        level, age = np.broadcast_arrays(np.asarray(level, np.float64), np.asarray(age, np.float64))
        self.shape, self.scale = level.shape, float(np.max(level, initial=1e-9))
        x, g = np.log(age / model.t0), level / model.g_scale
        # Coefficients that stand for all, each blurred by the distance to the next: half a percent of their variance.
        unit = np.linspace(-6.0, 6.0, 161)
        self._weight = normal_density(unit) / normal_density(unit).sum()
        mean, spread = np.asarray(model.mean(g))[..., None], np.asarray(model.spread(g))[..., None]
        exponent, common = (np.asarray(part)[..., None] for part in (model.law.exponent(x), model.law.common(x)))
        self._place = level[..., None] * np.exp(-(mean + spread * unit) * exponent - common)
        blur = spread * np.abs(exponent) * (unit[1] - unit[0])
        relative = np.sqrt(np.square(scatter.relative)[..., None] + blur**2 + 1e-12)
        self._sigma = np.hypot(relative * self._place, scatter.constant)
        self.scatter = scatter
        self.positive = False

    def _states(self) -> list[tuple[float, float]]:
        """Return the share of the time, and the factor on the conductance, of each state of a device."""
        lower = 0.5 * self.scatter.switching
        return [(1.0 - lower, 1.0), *([(lower, float(np.exp(-self.scatter.step)))] if lower else [])]

    def sample(self, rng: np.random.Generator, count: int = 1) -> FloatArray:
        """Draw reads (count, *shape) in uS."""
        shape = (count, *self.shape)
        node = np.searchsorted(np.cumsum(self._weight), rng.random(shape)).clip(0, self._weight.size - 1)
        place, sigma = (
            np.take_along_axis(np.broadcast_to(part, (*shape, part.shape[-1])), node[..., None], -1)[..., 0]
            for part in (self._place, self._sigma)
        )
        freedom = self.scatter.freedom
        unit = rng.standard_t(freedom, shape) if np.isfinite(freedom) else rng.standard_normal(shape)
        lower = rng.random(shape) < 0.5 * self.scatter.switching
        return np.asarray(np.where(lower, np.exp(-self.scatter.step), 1.0) * (place + sigma * unit))

    def density(self, conductance: FloatArray | float) -> FloatArray:
        """Return the probability density (1/uS) of reads (uS)."""
        total, g = 0.0, np.asarray(conductance, np.float64)[..., None]
        for share, factor in self._states():
            sigma = factor * self._sigma
            z = (g - factor * self._place) / sigma
            total = total + share * ((t_density(z, self.scatter.freedom) / sigma) @ self._weight)
        return np.asarray(total)

    def cdf(self, conductance: FloatArray | float) -> FloatArray:
        """Return the probability to read at or below conductances (uS)."""
        total, g = 0.0, np.asarray(conductance, np.float64)[..., None]
        for share, factor in self._states():
            z = (g - factor * self._place) / (factor * self._sigma)
            total = total + share * (t_below(z, self.scatter.freedom) @ self._weight)
        return np.asarray(total)
