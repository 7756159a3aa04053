"""A tile: a part of a weight matrix on a rectangle of cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.chip.cell_calibration import Devices
from hwloop.chip.info import ChipInfo
from hwloop.chip.region import Place
from hwloop.mapping.clip import Clipping
from hwloop.mapping.split import split_devices
from hwloop.mapping.split_table import SplitTable
from hwloop.typing import FloatArray, IndexArray


@dataclass(frozen=True)
class Tile:
    """A part of one matrix and where it lies."""

    tensor: str
    """Name of the matrix."""
    place: Place
    """Rectangle of cells on the chip."""
    first_input: int
    """First row of the matrix in this tile."""
    first_output: int
    """First column of the matrix in this tile."""
    target: FloatArray
    """(rows, columns) signed conductances, uS, to be reached at the target age."""
    scale: FloatArray
    """(columns,) weight per uS."""
    full_scale: float
    """Converter range for this tile, uS."""
    split: str = "fill"
    """How the devices of a polarity share a cell's target, 'auto', 'fill' or 'even'."""
    order: IndexArray | None = None
    """(columns,) output of the tile that each of its columns computes; None: in their own order."""
    lean: FloatArray | None = None
    """(rows, columns) uS by which targets differ from the weights, because they were clipped or make up for
    cells out of reach; None: nowhere."""
    table: SplitTable | None = None
    """How targets are shared where the split is 'auto'."""
    clipping: Clipping | None = None
    """What clipping the weights costs; None where they were not to be clipped."""

    def in_output_order(self, values: FloatArray) -> FloatArray:
        """Bring values (..., columns) from the order of the columns to that of the matrix's outputs."""
        return values if self.order is None else values[..., np.argsort(self.order)]

    def device_targets(self, info: ChipInfo, devices: Devices | None = None) -> FloatArray:
        """Return the targets of the devices, (2, K, rows, columns) in uS.

        Where devices are known to be bad, the others of their cell make up for them as far as they reach.
        """
        if devices is None:
            shape = (2, info.devices_per_polarity, *self.target.shape)
            return split_devices(self.target, np.full(shape, info.g_max), self.split, self.table)
        stays = devices.stuck_at.sum(1)
        signed = self.target - (stays[0] - stays[1])
        return split_devices(signed, devices.capacity(info), self.split, self.table)

    @property
    def weights(self) -> FloatArray:
        """Weights that this tile stands for, (rows, columns)."""
        return (self.target if self.lean is None else self.target - self.lean) * self.scale
