"""Checks of pulsed updates, as `hwloop.chip.checks` has them for all other requests."""

from __future__ import annotations

import reprlib

import numpy as np
from numpy.typing import ArrayLike

from hwloop.chip import checks
from hwloop.chip.info import ChipInfo
from hwloop.chip.updates import PulseTrains, SteppingDevices, Updates, per_update
from hwloop.errors import BadInputError, LimitError
from hwloop.typing import CodeArray, FloatArray


def updates(info: ChipInfo, devices: SteppingDevices, x: ArrayLike, d: ArrayLike, trains: PulseTrains) -> Updates:
    """Return a batch of updates that the chip can be asked for.

    Parameters
    ----------
    info, devices
        The chip, and what it says of its devices.
    x, d
        (updates, rows) and (updates, columns) signed integers.
    trains
        How they are sent.

    Raises
    ------
    BadInputError
        For arrays of other shapes or kinds, and for trains that are none.
    LimitError
        For integers, lengths or probabilities out of bounds.
    """
    if not isinstance(trains, PulseTrains):
        raise BadInputError(f"update: trains must be PulseTrains, not {reprlib.repr(trains)}")
    if not isinstance(trains.stochastic, bool | np.bool_):
        raise BadInputError(f"update: stochastic must be true or false, not {reprlib.repr(trains.stochastic)}")
    rows, columns = _integers(x, "x", "rows", info.rows), _integers(d, "d", "columns", info.columns)
    count = len(rows)
    if len(columns) != count:
        raise BadInputError(f"update: x has {count} updates and d {len(columns)}; they must be as many")
    length = per_update(trains.length, count, "update: length", whole=True)
    _within("length", length, devices.longest)
    if length.sum() > np.iinfo(np.int32).max:
        raise LimitError("update: the trains of one batch have over 2^31 slots; send it in parts")
    sent = Updates(
        rows,
        columns,
        length.astype(np.int32),
        _probability(trains.row_probability, count, "row_probability"),
        _probability(trains.column_probability, count, "column_probability"),
        bool(trains.stochastic),
    )
    if sent.stochastic:
        for name, values in (("x", rows), ("d", columns)):
            if values.size and max(int(values.max()), -int(values.min())) > devices.levels:
                _within(name, np.abs(values.astype(np.int64)), devices.levels)
        return sent
    if np.any(sent.row_probability != 1) or np.any(sent.column_probability != 1):
        raise BadInputError("update: trains that are not stochastic have no probabilities; leave them at 1")
    for name, values in (("x", rows), ("d", columns)):
        slots = np.abs(values.astype(np.int64)).max(axis=1, initial=0)
        if np.any(slots > sent.length):
            at = int(np.argmax(slots - sent.length))
            raise LimitError(
                f"update {at}: {name} counts {slots[at]} slots of a train of {sent.length[at]}; nothing was sent"
            )
    return sent


def at_devices(info: ChipInfo, devices: SteppingDevices, steps: CodeArray) -> CodeArray:
    """Return the steps (devices_per_core,) that devices may make where their cells (rows, columns) may make these."""
    at = np.zeros(info.device_shape, np.int32)
    at[: 2 if devices.pair else 1] = steps
    return at.reshape(-1)


def reached_by(info: ChipInfo, batch: Updates, counts: CodeArray) -> CodeArray:
    """Return the part (2, K, rows, columns) of counts (devices_per_core,) that updates can reach, to be changed."""
    rows, columns = batch.reached
    return counts.reshape(info.device_shape)[:, :, rows, columns]


def within_budget(info: ChipInfo, spent: CodeArray, batch: Updates) -> bool:
    """Tell whether devices with so many pulses are within their budgets even if each fires in every slot of trains."""
    return int(spent.max(initial=0)) + batch.slots <= info.limits.pulses_per_device


def check_budget_of_trains(
    info: ChipInfo, core: int, spent: CodeArray, most: CodeArray, earlier: CodeArray | None
) -> None:
    """Check that no device (devices_per_core,) of a core exceeds its endurance budget, whatever fires.

    Parameters
    ----------
    info, core
        The chip and the core.
    spent, most
        Pulses of each device in this session, and the most that trains may add to them.
    earlier
        Pulses in earlier sessions; None where they do not count.

    Raises
    ------
    LimitError
        For the device that would exceed it most.
    """
    budget = info.limits.pulses_per_device
    before = 0 if earlier is None else int(earlier.max(initial=0))
    if int(spent.max()) + int(most.max()) + before <= budget:  # of whichever devices
        return
    reached = np.flatnonzero(most)
    total = spent[reached].astype(np.int64) + most[reached]
    checks.check_budget(info, core, reached, total, earlier)


def _integers(values: ArrayLike, name: str, axis: str, width: int) -> CodeArray:
    """Return (updates, width) integers as int32. Raises BadInputError for another shape or kind."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInputError(f"update: {name} must be an array of integers: {error}") from error
    if array.ndim != 2 or array.shape[1] != width:
        raise BadInputError(f"update: {name} must have the shape (updates, {width}) for {axis}, not {array.shape}")
    if array.dtype.kind not in "iu":
        raise BadInputError(f"update: {name} must be integers, not {array.dtype}; round them yourself")
    limits = np.iinfo(np.int32)
    narrow = np.can_cast(array.dtype, np.int32)
    if not narrow and array.size and (array.max() > limits.max or array.min() < -limits.max):
        raise LimitError(f"update: {name} has integers beyond 32 bits; nothing was sent")
    return array.astype(np.int32, copy=False)


def _probability(values: ArrayLike, count: int, name: str) -> FloatArray:
    """Return probabilities (count,). Raises BadInputError for what is none, and LimitError outside 0 to 1."""
    found = per_update(values, count, f"update: {name}", whole=False)
    _within(name, found, 1)
    return found


def _within(name: str, values: FloatArray | CodeArray, high: float) -> None:
    """Raise LimitError for a value outside 0 to `high`; NaN is outside."""
    if values.size and not (values.min() >= 0 and values.max() <= high):
        at = int(np.argmax(~((values >= 0) & (values <= high)).reshape(values.shape[0], -1).all(1)))
        raise LimitError(f"update {at}: {name} is outside 0 to {high:g}; nothing was sent")
