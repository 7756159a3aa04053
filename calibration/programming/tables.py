"""Statistics of devices as tables: looked up for all devices of a tile many times, where a polynomial would be slow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hwloop.calibration.programming.filter_kernels import Lookup
from hwloop.devices.arrays import Array, namespace
from hwloop.devices.drift import DriftModel
from hwloop.devices.statistics import Statistic
from hwloop.typing import FloatArray

HIGHEST = 3.0
"""Largest normalised conductance in a table; beyond, its last value is taken."""
ENTRIES = 8192
"""Entries of a table: neighbours differ by 0.04 % of the range, far less than any statistic is known."""


@dataclass(frozen=True)
class Table:
    """A statistic at evenly spaced normalised conductances, of which the nearest one is taken."""

    values: FloatArray
    """(ENTRIES,) from 0 to HIGHEST."""

    @classmethod
    def of(cls, statistic: Statistic) -> Table:
        """Tabulate a statistic."""
        return cls(np.asarray(statistic(np.linspace(0.0, HIGHEST, ENTRIES)), np.float64))

    def __call__(self, g: Array) -> Array:
        """Return the value at g (any shape), a normalised conductance."""
        # Of the type that indexing wants, or it would be converted again.
        place = (np.asarray(g) * ((ENTRIES - 1) / HIGHEST) + 0.5).astype(np.intp)
        value: Array = namespace(g).take(self.values, place, mode="clip")
        return value

    def lookup(self, unit: float) -> Lookup:
        """Return the table for compiled loops, over conductances in uS; `unit` is the one that counts as g = 1."""
        return Lookup(self.values, (ENTRIES - 1) / HIGHEST / unit)


def tabulated_drift(drift: DriftModel) -> DriftModel:
    """Return a drift model that looks its statistics up."""
    return replace(drift, mean=Table.of(drift.mean), spread=Table.of(drift.spread))
