"""Share the conductance of a cell among the devices of its polarity."""

from __future__ import annotations

import numpy as np

from hwloop.errors import BadInputError
from hwloop.mapping.split_table import SplitTable
from hwloop.typing import FloatArray

SPLITS = ("auto", "fill", "even")


def split_devices(
    target: FloatArray, capacity: FloatArray, split: str = "fill", table: SplitTable | None = None
) -> FloatArray:
    """Share the signed target of every cell among the devices of its polarity.

    Parameters
    ----------
    target
        (rows, columns) signed targets of the cells, uS.
    capacity
        (2, K, rows, columns) largest target of each device, uS.
    split
        'fill' loads device 0 up to its capacity before device 1 gets the rest; 'even' loads all to the same share of
        their capacities; 'auto' follows `table`, and what goes beyond a device's capacity falls to the others.
    table
        For 'auto'.

    Returns
    -------
    array
        (2, K, rows, columns) targets of the devices, uS.

    Raises
    ------
    BadInputError
        For 'auto' without a table.
    """
    polarities = np.stack([np.maximum(target, 0.0), np.maximum(-target, 0.0)])[:, None]
    if split == "auto":
        if table is None:
            raise BadInputError("the split 'auto' needs its table; map the weights again with a device model")
        return _tabulated(polarities, capacity, table)
    if split == "even":
        total = capacity.sum(1, keepdims=True)
        return capacity * np.minimum(polarities / np.where(total > 0, total, 1.0), 1.0)
    full_below = np.cumsum(capacity, axis=1) - capacity
    filled: FloatArray = np.clip(polarities - full_below, 0.0, capacity)
    return filled


def _tabulated(polarities: FloatArray, capacity: FloatArray, table: SplitTable) -> FloatArray:
    """Share targets (2, 1, rows, columns) by a table, within capacities (2, K, rows, columns), all in uS."""
    shares = table.shares(polarities.sum((0, 1)))  # once for both polarities, of which one has nothing to share
    parts = np.minimum(np.where(polarities > 0, shares, 0.0), capacity)
    room = capacity - parts
    free = room.sum(1, keepdims=True)
    lacking = np.maximum(polarities - parts.sum(1, keepdims=True), 0.0)
    shared: FloatArray = parts + room * np.minimum(lacking / np.where(free > 0, free, 1.0), 1.0)
    return shared
