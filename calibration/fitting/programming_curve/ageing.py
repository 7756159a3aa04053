"""What drift makes of conductances until they are read."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hwloop.calibration.fitting.forms import sampled
from hwloop.calibration.fitting.known import KnownDrift
from hwloop.calibration.fitting.likelihood import tensor

GRID = (-9.0, 1.5, 421)
"""First and last ln g, and number of places, at which statistics of the drift are tabulated: they are looked up for
every read again and again."""


@dataclass(frozen=True)
class Aged:
    """What is left of conductances at the reads of them, before the noise of reads."""

    value: torch.Tensor
    """(points, cells, pulses, ages) mean, uS."""
    squares: torch.Tensor
    """(points, cells, pulses, ages) mean square."""
    together: torch.Tensor
    """(points, cells, pulses) mean product of the first and the last age."""


class Ageing:
    """What becomes of conductances stated at the reference age, by interpolation in tables over ln g."""

    def __init__(self, known: KnownDrift, coefficients: torch.Tensor | None = None) -> None:
        """Tabulate mean and variance of nu; `coefficients` of the drift, where they are not those of `known`."""
        g = torch.exp(torch.linspace(*GRID, dtype=torch.float64))
        mean, spread = known.statistics(tensor(known.coefficients) if coefficients is None else coefficients)
        self.known = known
        self._lowest, self._nodes = GRID[0], GRID[2]
        self._step = (GRID[1] - GRID[0]) / (GRID[2] - 1)
        self._mean, self._variance = mean(g), spread(g) ** 2

    def __call__(self, points: torch.Tensor, log_age: torch.Tensor) -> Aged:
        """Age conductances (points, cells, pulses) in uS to t0 exp(-log_age) (cells, pulses, ages)."""
        g, nu = self._at_read(points, log_age)
        squares = g**2 * torch.exp(log_age**2 * nu[..., None])
        together = g[..., 0] * g[..., -1] * torch.exp(log_age[..., 0] * log_age[..., -1] * nu)
        return Aged(g, squares, together)

    def _at_read(self, g: torch.Tensor, log_age: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean over nu (points, cells, pulses, ages) in uS, and nu's variance (points, cells, pulses)."""
        log_g = torch.log((g / self.known.g_scale).clamp(min=1e-12))
        place = ((log_g - self._lowest) / self._step).clamp(0.0, self._nodes - 1.01)
        mean, variance = (sampled(table, place) for table in (self._mean, self._variance))
        return g[..., None] * torch.exp(log_age * mean[..., None] + 0.5 * log_age**2 * variance[..., None]), variance

    def read_variances(self, log_age: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the variance of reads (cells, pulses, ages), and the covariance of the first two, over V at t0.

        1/f noise that began with the pulse: two ages t share ln((t2 + t1) / (t2 - t1)) of what grows with ln t.
        """
        time = torch.exp(-log_age)
        shared = torch.log((time[..., 1] + time[..., 0]) / (time[..., 1] - time[..., 0]))
        return (1.0 - self.known.noise_growth * log_age).clamp(min=0.1), self.known.noise_growth * shared
