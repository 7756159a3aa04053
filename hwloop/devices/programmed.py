"""What a device reads that was programmed to a target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.devices.normal import t_below, t_density
from hwloop.devices.predicted import Predicted
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class ProgrammedConductance(Predicted):
    """Reads about a mean, normal or with the tails of Student's t."""

    mean: FloatArray
    """uS."""
    sigma: FloatArray
    """Standard deviation, uS."""
    freedom: float = np.inf
    """Degrees of freedom of Student's t, more than two; infinite for normal errors."""

    def __post_init__(self) -> None:
        """Take over shape and scale; errors do not know where zero is."""
        self._describe(np.shape(self.mean), float(np.max(self.mean, initial=1e-9)), positive=False)

    @property
    def _scale(self) -> FloatArray:
        if np.isfinite(self.freedom):
            return np.asarray(self.sigma * np.sqrt((self.freedom - 2.0) / self.freedom))
        return self.sigma

    def density(self, conductance: FloatArray | float) -> FloatArray:
        """Return the probability density (1/uS) of reads (uS)."""
        unit = (conductance - self.mean) / self._scale
        return np.asarray(t_density(unit, self.freedom) / self._scale)

    def cdf(self, conductance: FloatArray | float) -> FloatArray:
        """Return the probability to read at or below conductances (uS)."""
        return t_below((conductance - self.mean) / self._scale, self.freedom)
