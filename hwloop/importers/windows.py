"""Windows that cells were programmed into: each counts as a level, whose target is its middle."""

from __future__ import annotations

import numpy as np

from hwloop.typing import FloatArray, IndexArray

LOW, HIGH = "target_low", "target_high"
"""What the columns with their ends are called."""


class Windows:
    """Numbers of windows, in the order in which a file names them."""

    def __init__(self) -> None:
        """Begin without any."""
        self._number: dict[tuple[float, float], int] = {}

    def of(self, low: FloatArray, high: FloatArray) -> tuple[FloatArray, IndexArray]:
        """Return target (uS) and level of cells with windows (cells,) from `low` to `high`; -1 and NaN without one."""
        ends = np.stack([low, high], axis=1)
        unique, first, inverse = np.unique(ends, axis=0, return_index=True, return_inverse=True)
        for k in np.argsort(first).tolist():
            if np.isfinite(unique[k]).all():
                self._number.setdefault((float(unique[k, 0]), float(unique[k, 1])), len(self._number))
        number = np.array([self._number.get((a, b), -1) for a, b in unique.tolist()], np.int64)
        return (low + high) / 2, number[inverse.reshape(-1)]
