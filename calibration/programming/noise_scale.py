"""Estimate how noisy measurements really are, from cells that nothing has been done to since the one before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from hwloop.typing import BoolArray, FloatArray

MEDIAN_SQUARE = 0.4549
"""Median of the square of a standard normal number: a robust variance is the median square over this."""


@dataclass(frozen=True)
class NoiseRule:
    """When noise is believed to be other than the model says."""

    groups: int = 8
    """Groups of cells by their expected read noise, which tell read noise from the converters'."""
    cells: int = 25
    """Cells of a group at least; below, the model is believed."""
    sample: int = 8192
    """Cells that are looked at, at most: a group's variance is then known to a fifteenth, and one of many to less."""
    surprise: float = 3.0
    """Multiple of a variance below which the model is believed."""
    memory: float = 0.7
    """Share of the last estimate in the next one."""


RULE = NoiseRule()
"""The rule for every chip."""


class NoiseScale:
    """Multiples of the expected variances of converter noise and of read noise that measurements show, 1 or more."""

    def __init__(self) -> None:
        """Believe the model."""
        self.converters, self.read = 1.0, 1.0
        self._found: FloatArray | None = None

    def learn(
        self, off: FloatArray, known: FloatArray, converters: FloatArray, read: FloatArray, calm: BoolArray
    ) -> None:
        """Learn from what cells deviated by from what was expected.

        Parameters
        ----------
        off
            (rows, columns) deviations, uS.
        known
            (rows, columns) variance of what was expected, uS^2.
        converters, read
            (rows, columns) variances of a measurement by the model, uS^2.
        calm
            (rows, columns) cells that were measured before and have not been pulsed since.
        """
        at = np.flatnonzero(calm)
        if len(at) > RULE.sample:
            at = at[np.linspace(0, len(at) - 1, RULE.sample).astype(np.intp)]
        size = len(at) // RULE.groups
        if size < RULE.cells:
            return
        # The order within a group does not matter.
        bounds = size * np.arange(1, RULE.groups + 1) - 1
        order = np.argpartition(read.reshape(-1)[at], bounds)[: size * RULE.groups]
        group = at[order].reshape(RULE.groups, size)
        seen = np.median(np.square(off.reshape(-1)[group]), axis=1) / MEDIAN_SQUARE
        if not np.all(seen > 0):  # converters so coarse that most cells show nothing at all say nothing of noise
            return
        parts = np.stack([part.reshape(-1)[group].mean(1) for part in (converters, read)], axis=1)
        extra = seen - known.reshape(-1)[group].mean(1)
        found, _ = nnls(parts / seen[:, None], np.maximum(extra, 0.0) / seen)
        self._found = found if self._found is None else RULE.memory * self._found + (1.0 - RULE.memory) * found
        believed = np.where(self._found > RULE.surprise, self._found, 1.0)
        self.converters, self.read = float(believed[0]), float(believed[1])
