"""Mapping around bad devices: outputs are assigned to columns anew, and other cells make up for what is missed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from hwloop.chip.cell_calibration import Devices
from hwloop.chip.info import ChipInfo
from hwloop.mapping.activations import Sample, sample_of
from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray

MISSED = 0.01
"""A cell counts as out of reach when bad devices keep it this share of g_max from its target."""
RIDGE = 1e-3
"""Variance added to every input, over the mean one: sample activations do not show all that a network will see."""


def avoid_bad_devices(tile: Tile, devices: Devices, info: ChipInfo) -> Tile:
    """Assign the outputs of a tile to its columns so that bad devices put the least of the weights out of reach.

    A bad device costs a weight nothing as long as the others of its cell reach the target. Which output a column
    computes is free, so the assignment of least summed squared loss is taken (Kuhn 1955, by scipy).

    Parameters
    ----------
    tile
        The tile with its columns in their own order.
    devices
        What is known of the devices under it.
    info
        The chip.

    Returns
    -------
    Tile
        The same weights with `order`; the tile itself where all devices are good.
    """
    if devices.usable.all():
        return tile
    capacity, stays = devices.capacity(info).sum(1), devices.stuck_at.sum(1)
    high = stays[0] - stays[1] + capacity[0]
    low = stays[0] - stays[1] - capacity[1]
    bad = np.any(~devices.usable, axis=(0, 1))
    loss = np.zeros((tile.place.columns, tile.place.columns))
    for column in np.flatnonzero(bad.any(0)):
        rows = bad[:, column]
        target = tile.target[rows]
        beyond = np.maximum(target - high[rows, column, None], 0.0) + np.maximum(low[rows, column, None] - target, 0.0)
        loss[:, column] = np.square(beyond).sum(0)
    # Of columns that lose nothing, a small reward keeps every output where it was.
    outputs, columns = linear_sum_assignment(loss - 1e-9 * info.g_max**2 * np.eye(len(loss)))
    order = outputs[np.argsort(columns)]
    lean = None if tile.lean is None else tile.lean[:, order]
    return replace(tile, target=tile.target[:, order], scale=tile.scale[order], order=order, lean=lean)


def compensate_with_neighbours(tile: Tile, devices: Devices, info: ChipInfo, inputs: FloatArray | Sample) -> Tile:
    """Change the targets of a tile so that the other cells of a column make up for those out of reach.

    With the second moments C of the inputs, the mean squared error of the outputs is e^T C e for errors e of a column's
    cells. Where bad devices fix e on some cells F, it is least for e = P[:, F] P[F, F]^-1 e[F] with P = C^-1. Where
    inputs are uncorrelated no other cell can help, and nothing is changed.

    Parameters
    ----------
    tile
        The tile, its columns in their final order.
    devices
        What is known of the devices under it.
    info
        The chip.
    inputs
        (vectors, rows) sample activations, which may be weighted.

    Returns
    -------
    Tile
        With other targets, and with `lean`, by how much they differ, (rows, columns) in uS.
    """
    capacity, stays = devices.capacity(info).sum(1), devices.stuck_at.sum(1)
    high, low = stays[0] - stays[1] + capacity[0], stays[0] - stays[1] - capacity[1]
    reached = np.clip(tile.target, low, high)
    missed = reached - tile.target
    sample = sample_of(inputs)
    moments = (sample.vectors * sample.shares[:, None]).T @ sample.vectors / len(sample)
    ridge = RIDGE * float(np.trace(moments)) / len(moments)
    precision = np.linalg.inv(moments + ridge * np.eye(len(moments)))
    target = tile.target.copy()
    for column in np.flatnonzero(np.any(np.abs(missed) > MISSED * info.g_max, axis=0)):
        out = np.flatnonzero(np.abs(missed[:, column]) > MISSED * info.g_max)
        error = precision[:, out] @ np.linalg.solve(precision[np.ix_(out, out)], missed[out, column])
        error[out] = 0.0  # what is out of reach is still aimed at, as near as it goes
        moved = np.clip(tile.target[:, column] + error, low[:, column], high[:, column]) - tile.target[:, column]
        moved[out] = missed[out, column]
        before, after = missed[:, column], moved
        if after @ moments @ after < before @ moments @ before:
            target[:, column] += np.where(np.isin(np.arange(len(moved)), out), 0.0, moved)
    lean = target - tile.target if tile.lean is None else tile.lean + (target - tile.target)
    return replace(tile, target=target, lean=lean)
