"""Ages of reads where the source has moments of a clock, or no times at all."""

from __future__ import annotations

import numpy as np

from hwloop.importers.checks import Rows
from hwloop.typing import FloatArray, IndexArray


class Origins:
    """What ages count from: the first read of each cell, whether or not its conductance can be used."""

    def __init__(self, start: float, interval: float | None = None) -> None:
        """Begin without cells.

        Parameters
        ----------
        start
            Age of the first read of every cell, seconds.
        interval
            Seconds from read to read of a cell; None takes the times that rows have.
        """
        self._start, self._interval = start, interval
        self._keys = np.empty(0, np.int64)  # sorted, with the first moment, or the number of reads, of each beside it
        self._value = np.empty(0)

    def ages(self, keys: IndexArray, rows: Rows) -> FloatArray:
        """Return the ages (rows,) of rows, in seconds; `keys` (rows,) tell cells apart."""
        which, inverse = np.unique(keys, return_inverse=True)
        if self._interval is None:
            return self._start + rows["time"] - self._first_moments(which, inverse, rows["time"])[inverse]
        before = self._known(which, np.zeros(which.size))
        order = np.argsort(inverse, kind="stable")
        count = np.bincount(inverse, minlength=which.size)
        place = np.empty(keys.size)
        place[order] = np.arange(keys.size) - np.repeat(np.cumsum(count) - count, count)
        self._remember(which, before + count)
        return self._start + self._interval * (before[inverse] + place)

    def _first_moments(self, which: IndexArray, inverse: IndexArray, time: FloatArray) -> FloatArray:
        """Return the first moment of each cell, of those that are numbers."""
        finite = np.flatnonzero(np.isfinite(time))
        first = np.full(which.size, -1)
        first[inverse[finite][::-1]] = finite[::-1]  # the earliest row is written last
        here = np.where(first >= 0, time[first], np.nan)
        known = self._known(which, np.full(which.size, np.nan))
        moments = np.where(np.isnan(known), here, known)
        self._remember(which, moments)
        return moments

    def _known(self, which: IndexArray, missing: FloatArray) -> FloatArray:
        at = np.searchsorted(self._keys, which)
        found = np.isin(which, self._keys, assume_unique=True)
        values = missing
        values[found] = self._value[at[found]]
        return values

    def _remember(self, which: IndexArray, values: FloatArray) -> None:
        at = np.searchsorted(self._keys, which)
        new = ~np.isin(which, self._keys, assume_unique=True)
        self._value[at[~new]] = values[~new]
        self._keys = np.insert(self._keys, at[new], which[new])
        self._value = np.insert(self._value, at[new], values[new])
