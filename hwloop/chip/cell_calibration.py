"""What a calibration knows of a rectangle of cells: its converters and its devices.

Programming methods take this instead of the chip's nominal numbers. It says nothing of how it was found out; that is
in `hwloop.calibration.certificate.certificate`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwloop.chip.info import ChipInfo
from hwloop.devices.model import DeviceModel
from hwloop.typing import FloatArray

INVERSIONS = 4
"""Fixed-point steps that invert a transfer curve; each shrinks the error by the relative bend, a few per cent."""
CUBIC_PEAK: float = 2.0 / math.sqrt(27.0)
"""Largest magnitude of u^3 - u on [-1, 1]."""

WEAK_HEIGHT = 0.8
"""A device below this height is weak: device-to-device spread alone, some 5 %, does not reach that far down."""
REACH_WEAK = 0.9
"""Share of its fully SET conductance up to which a weak device is used: above, its curve is flat."""
REACH, OVERDRIVE = 0.95, 1.05
"""A device that makes up for another is used up to this share of its SET conductance and this multiple of g_max."""


def square(u: FloatArray) -> FloatArray:
    """Second-order deviation of a converter: its coefficient is the deviation at both ends of the scale."""
    return np.square(u)


def cubic(u: FloatArray) -> FloatArray:
    """Third-order deviation of a converter with peak 1, zero at zero and at both ends of the scale."""
    return (u * u - 1.0) * u / CUBIC_PEAK


def bend(u: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Deviation in LSB at u = (value / full scale): coefficients[0] * square(u) + coefficients[1] * cubic(u)."""
    deviation: FloatArray = coefficients[0] * square(u) + coefficients[1] * cubic(u)
    return deviation


@dataclass(frozen=True)
class Converters:
    """Transfer curves of the converters around a rectangle of cells, and their digital inverse.

    An ADC makes of a column sum that is worth L codes on an ideal converter
        code = L' + bend(L' / code_max, column_bend),  L' = gain * L + offset,
    and a DAC drives its row, for the integer x, with (x + bend(x / input_max, row_bend)) / input_max.
    """

    input_max: int
    code_max: int
    offset: FloatArray
    """(columns,) code at zero input, LSB."""
    gain: FloatArray
    """(columns,) relative to the reference that the calibration names."""
    column_bend: FloatArray
    """(2, columns) second- and third-order deviation of the ADCs, LSB."""
    row_bend: FloatArray
    """(2, rows) second- and third-order deviation of the DACs, LSB."""

    def inputs_to_send(self, x: NDArray[np.integer]) -> NDArray[np.int32]:
        """Integers (batch, rows) that drive the rows closest to what ideal DACs would make of x (batch, rows).

        Where a DAC cannot reach far enough, its last code is the closest.
        """
        if not self.row_bend.any():
            return x.astype(np.int32, copy=False)
        wanted = x.astype(np.float64)
        sent = wanted
        for _ in range(INVERSIONS):
            sent = wanted - bend(sent / self.input_max, self.row_bend[:, None])
        return np.clip(np.rint(sent), -self.input_max, self.input_max).astype(np.int32)

    def ideal_codes(self, codes: NDArray[Any]) -> FloatArray:
        """What ideal converters of unlimited resolution would have answered, for codes (batch, columns)."""
        values = codes.astype(np.float64)
        if self.column_bend.any():
            straight = values
            for _ in range(INVERSIONS):
                straight = values - bend(straight / self.code_max, self.column_bend[:, None])
            values = straight
        return (values - self.offset) / self.gain

    @property
    def span(self) -> tuple[FloatArray, FloatArray]:
        """(columns,) each: what the lowest and the highest code stand for; beyond, a column saturates."""
        ends = self.ideal_codes(np.array([[-self.code_max], [self.code_max]]) + np.zeros(len(self.offset)))
        return ends[0], ends[1]


@dataclass(frozen=True)
class Devices:
    """What is known of the devices of a rectangle of cells; arrays have the shape (2, K, rows, columns).

    A device follows the model's programming curve with its own height and its own shift along the amplitude:
    G(I) = g_min + height * (g_max - g_min) / (1 + exp((I - shift - midpoint) / steepness)).
    """

    model: DeviceModel
    height: FloatArray
    """Relative to the model's."""
    height_sigma: FloatArray
    shift: FloatArray
    """uA."""
    shift_sigma: FloatArray
    usable: NDArray[np.bool_]
    """False: the device does not answer to pulses, or not as it should, and is to be left alone."""
    held: FloatArray
    """Conductance in uS at which an unusable device stays; zero for usable ones."""

    @classmethod
    def nominal(cls, model: DeviceModel, shape: tuple[int, ...]) -> Devices:
        """Devices of which nothing but the model is known."""
        curve = model.curve
        return cls(
            model,
            height=np.ones(shape),
            height_sigma=np.full(shape, curve.height_spread),
            shift=np.zeros(shape),
            shift_sigma=np.full(shape, curve.midpoint_spread),
            usable=np.ones(shape, bool),
            held=np.zeros(shape),
        )

    def capacity(self, info: ChipInfo) -> FloatArray:
        """Largest conductance (uS) to aim at on each device: g_max, less where a weak device does not reach it."""
        curve = self.model.curve
        reach = curve.g_min + self.height * (curve.g_max - curve.g_min)
        capacity = np.where(self.height < WEAK_HEIGHT, np.minimum(REACH_WEAK * reach, info.g_max), info.g_max)
        # Beside a bad device, the others are driven as far as their curves go: noisier, but better than out of reach.
        beside_bad = ~self.usable.all((0, 1))
        driven = np.clip(REACH * reach, capacity, OVERDRIVE * capacity)
        return np.where(self.usable, np.where(beside_bad, driven, capacity), 0.0)


@dataclass(frozen=True)
class CellCalibration:
    """All that a calibration tells about a rectangle of cells; None where it was not measured."""

    converters: Converters | None = None
    devices: Devices | None = None
