"""A tile: a part of a weight matrix on a rectangle of cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwloop.chip.cell_calibration import Devices
from hwloop.chip.info import ChipInfo
from hwloop.chip.region import Place
from hwloop.mapping.split import split_devices
from hwloop.typing import FloatArray, IndexArray


@dataclass(frozen=True)
class Tile:
    """A part of one matrix and where it lies.

    tensor        name of the matrix
    place         rectangle of cells on the chip
    first_input   first row of the matrix in this tile
    first_output  first column of the matrix in this tile
    target        (rows, columns) signed conductances, uS, to be reached at the target age
    scale         (columns,) weight per uS
    full_scale    converter range for this tile, uS
    split         how the devices of a polarity share a cell's target, 'fill' or 'even'
    order         (columns,) output of the tile that each of its columns computes; None: in their own order
    lean          (rows, columns) uS by which targets differ from the weights, to make up for cells out of reach
    """

    tensor: str
    place: Place
    first_input: int
    first_output: int
    target: FloatArray
    scale: FloatArray
    full_scale: float
    split: str = "fill"
    order: IndexArray | None = None
    lean: FloatArray | None = None

    def in_output_order(self, values: FloatArray) -> FloatArray:
        """Values (..., columns) as the columns give them, in the order of the matrix's outputs."""
        return values if self.order is None else values[..., np.argsort(self.order)]

    def device_targets(self, info: ChipInfo, devices: Devices | None = None) -> FloatArray:
        """Targets of the devices, (2, K, rows, columns) in uS.

        Where devices are known to be bad, the others of their cell make up for them as far as they reach.
        """
        if devices is None:
            shape = (2, info.devices_per_polarity, *self.target.shape)
            return split_devices(self.target, np.full(shape, info.g_max), self.split)
        stays = devices.held.sum(1)
        return split_devices(self.target - (stays[0] - stays[1]), devices.capacity(info), self.split)

    @property
    def weights(self) -> FloatArray:
        """The weights this tile stands for, (rows, columns)."""
        return (self.target if self.lean is None else self.target - self.lean) * self.scale
