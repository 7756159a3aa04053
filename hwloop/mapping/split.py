"""How the devices of a polarity share the conductance of their cell."""

from __future__ import annotations

import numpy as np

from hwloop.typing import FloatArray

SPLITS = ("fill", "even")


def split_devices(target: FloatArray, capacity: FloatArray, split: str = "fill") -> FloatArray:
    """Share the signed target of every cell among the devices of its polarity.

    Parameters
    ----------
    target
        (rows, columns) signed targets of the cells, uS.
    capacity
        (2, K, rows, columns) largest target of each device, uS.
    split
        'fill' loads device 0 up to its capacity before device 1 gets the rest; 'even' loads all to the same share of
        their capacities.

    Returns
    -------
    array
        (2, K, rows, columns) targets of the devices, uS.
    """
    polarities = np.stack([np.maximum(target, 0.0), np.maximum(-target, 0.0)])[:, None]
    if split == "even":
        total = capacity.sum(1, keepdims=True)
        return capacity * np.minimum(polarities / np.where(total > 0, total, 1.0), 1.0)
    full_below = np.cumsum(capacity, axis=1) - capacity
    filled: FloatArray = np.clip(polarities - full_below, 0.0, capacity)
    return filled
