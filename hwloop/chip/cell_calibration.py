"""What a calibration knows of a rectangle of cells: its converters and its devices.

Programming methods take this instead of the chip's nominal numbers. It says nothing of how it was found out; that is
in `hwloop.calibration.certificate.certificate`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwloop.chip.info import ChipInfo
from hwloop.devices.model import DeviceModel
from hwloop.typing import AnyArray, FloatArray

INVERSIONS = 4
"""Fixed-point steps that invert a transfer curve; each shrinks the error by a few per cent, the nonlinearity."""
CUBIC_PEAK: float = 2.0 / math.sqrt(27.0)
"""Largest magnitude of u^3 - u on [-1, 1]."""


@dataclass(frozen=True)
class CapacityRule:
    """How far devices are driven that are weak, or make up for one that cannot be used."""

    weak_below: float = 0.8
    """A device below this height is weak: device-to-device spread alone, some 5 %, does not reach that far down."""
    weak_reach: float = 0.9
    """Share of its fully SET conductance up to which a weak device is used: above, its curve is flat."""
    reach: float = 0.95
    """Share of its SET conductance up to which a device is used that makes up for another."""
    overdrive: float = 1.05
    """Multiple of g_max up to which it is used."""


CAPACITY = CapacityRule()
"""The rule for every chip."""


def second_order(u: FloatArray) -> FloatArray:
    """Return the second-order deviation of a converter at u: its coefficient is that at both ends of the scale."""
    return np.square(u)


def third_order(u: FloatArray) -> FloatArray:
    """Return the third-order deviation of a converter at u, with peak 1, zero at zero and at both ends of the scale."""
    return (u * u - 1.0) * u / CUBIC_PEAK


def nonlinearity(u: FloatArray, coefficients: FloatArray) -> FloatArray:
    """Return the deviation in LSB at u = (value / full scale).

    It is coefficients[0] * second_order(u) + coefficients[1] * third_order(u).
    """
    deviation: FloatArray = coefficients[0] * second_order(u) + coefficients[1] * third_order(u)
    return deviation


@dataclass(frozen=True)
class Converters:
    """Transfer curves of the converters around a rectangle of cells, and their digital inverse.

    An ADC makes of a column sum that is worth L codes on an ideal converter
        code = L' + nonlinearity(L' / code_max, column_nonlinearity),  L' = gain * L + offset,
    and a DAC drives its row, for the integer x, with (x + nonlinearity(x / input_max, row_nonlinearity)) / input_max.
    """

    input_max: int
    code_max: int
    offset: FloatArray
    """(columns,) code at zero input, LSB."""
    gain: FloatArray
    """(columns,) relative to the reference that the calibration names."""
    column_nonlinearity: FloatArray
    """(2, columns) second- and third-order deviation of the ADCs, LSB."""
    row_nonlinearity: FloatArray
    """(2, rows) second- and third-order deviation of the DACs, LSB."""

    def inputs_to_send(self, x: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return integers (batch, rows) that drive the rows closest to what ideal DACs would make of x (batch, rows).

        Where a DAC cannot reach far enough, its last code is the closest.
        """
        if not self.row_nonlinearity.any():
            return x.astype(np.int32, copy=False)
        wanted = x.astype(np.float64)
        sent = wanted
        for _ in range(INVERSIONS):
            sent = wanted - nonlinearity(sent / self.input_max, self.row_nonlinearity[:, None])
        return np.clip(np.rint(sent), -self.input_max, self.input_max).astype(np.int32)

    def ideal_codes(self, codes: AnyArray) -> FloatArray:
        """Return what ideal converters of unlimited resolution would have answered, for codes (batch, columns)."""
        values = codes.astype(np.float64)
        if self.column_nonlinearity.any():
            straight = values
            for _ in range(INVERSIONS):
                straight = values - nonlinearity(straight / self.code_max, self.column_nonlinearity[:, None])
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
    stuck_at: FloatArray
    """Conductance in uS at which an unusable device stays; zero for usable ones."""

    @classmethod
    def nominal(cls, model: DeviceModel, shape: tuple[int, ...]) -> Devices:
        """Make devices of which nothing but the model is known."""
        curve = model.curve
        return cls(
            model,
            height=np.ones(shape),
            height_sigma=np.full(shape, curve.height_spread),
            shift=np.zeros(shape),
            shift_sigma=np.full(shape, curve.midpoint_spread),
            usable=np.ones(shape, bool),
            stuck_at=np.zeros(shape),
        )

    def capacity(self, info: ChipInfo) -> FloatArray:
        """Return the largest conductance (uS) to aim at on each device: g_max, less where a weak one ends below."""
        curve = self.model.curve
        reach = curve.g_min + self.height * (curve.g_max - curve.g_min)
        weak = self.height < CAPACITY.weak_below
        capacity = np.where(weak, np.minimum(CAPACITY.weak_reach * reach, info.g_max), info.g_max)
        # Beside a bad device, the others are driven as far as their curves go: noisier, but better than out of reach.
        beside_bad = ~self.usable.all((0, 1))
        driven = np.clip(CAPACITY.reach * reach, capacity, CAPACITY.overdrive * capacity)
        return np.where(self.usable, np.where(beside_bad, driven, capacity), 0.0)


@dataclass(frozen=True)
class CellCalibration:
    """All that a calibration tells about a rectangle of cells; None where it was not measured."""

    converters: Converters | None = None
    devices: Devices | None = None
