"""1/f noise of reads."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwloop.devices.arrays import Array
from hwloop.devices.statistics import PowerLaw, Statistic


@dataclass(frozen=True)
class ReadNoiseModel:
    """1/f read noise: sigma / G = Q(g) * sqrt(ln((t + t_read) / (2 t_read))), g = G / g_scale."""

    t_read: float
    """Duration of one read, seconds."""
    g_scale: float
    """Conductance that counts as g = 1, uS."""
    q: Statistic

    def relative_sigma(self, conductance: Array, age: float) -> Array:
        """Return the standard deviation over G of one read of devices (uS) that were programmed `age` seconds ago."""
        return self.q(conductance / self.g_scale) * math.sqrt(math.log((age + self.t_read) / (2 * self.t_read)))


PUBLISHED_READ_NOISE = ReadNoiseModel(t_read=250e-9, g_scale=25.0, q=PowerLaw(0.0088, -0.65, 0.2))
"""Read noise of a million devices in 90-nm technology: Joshi et al., Nature Communications 11, 2473 (2020)."""
