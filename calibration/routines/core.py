"""What is known of one core: the results of the routines that have run on it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, fields

import numpy as np

from hwloop.calibration.routines.results import (
    ConverterResult,
    CurveResult,
    DeviceResult,
    DriftResult,
    FloorResult,
    GainResult,
    PartResult,
    TrimResult,
    WireResult,
)
from hwloop.calibration.routines.symmetry_result import SymmetryResult
from hwloop.chip.cell_calibration import CellCalibration, Converters, Devices
from hwloop.chip.info import ChipInfo
from hwloop.chip.region import Place
from hwloop.mapping.ranges import RangeResult
from hwloop.typing import FloatArray, Json


@dataclass(frozen=True)
class CoreCalibration:
    """What is known of one core; None for what was not measured."""

    devices: DeviceResult | None = None
    converters: ConverterResult | None = None
    gains: GainResult | None = None
    trims: TrimResult | None = None
    wires: WireResult | None = None
    programming_curve: CurveResult | None = None
    drift: DriftResult | None = None
    ranges: RangeResult | None = None
    floor: FloorResult | None = None
    symmetry_point: SymmetryResult | None = None

    def __repr__(self) -> str:
        return f"<CoreCalibration: {', '.join(self.parts()) or 'nothing'}>"

    def parts(self) -> dict[str, PartResult]:
        """Return what was measured, by name."""
        return {f.name: part for f in fields(self) if (part := getattr(self, f.name)) is not None}

    @property
    def adc_noise(self) -> float:
        """Noise of the ADCs before rounding, LSB; 0 where it is not known."""
        noise = self.converters.adc_noise if self.converters is not None else 0.0
        return noise if math.isfinite(noise) else 0.0

    def of_cells(self, place: Place, info: ChipInfo) -> CellCalibration:
        """Return what this tells about a rectangle of the core's cells."""
        return CellCalibration(_converters(self, place, info), _devices(self, place, info))

    def to_json(self) -> dict[str, Json]:
        """Summarise every part; see the results' own `to_json`."""
        return {name: part.to_json() for name, part in self.parts().items()}


def _converters(core: CoreCalibration, place: Place, info: ChipInfo) -> Converters | None:
    if core.converters is None:
        return None
    columns = slice(place.column, place.column + place.columns)
    whole = core.converters.converters(info, _gain(core, info))
    return dataclasses.replace(
        whole,
        offset=whole.offset[columns],
        gain=whole.gain[columns],
        column_nonlinearity=whole.column_nonlinearity[:, columns],
        row_nonlinearity=whole.row_nonlinearity[:, place.row : place.row + place.rows],
    )


def _gain(core: CoreCalibration, info: ChipInfo) -> FloatArray:
    return core.gains.gain if core.gains else np.ones(info.columns)


def _devices(core: CoreCalibration, place: Place, info: ChipInfo) -> Devices | None:
    """Return the devices of a rectangle; of a core whose curve was not measured, the faults with the nominal model."""
    found, curve, nominal = core.devices, core.programming_curve, info.device_model
    if found is None:
        return None
    gain = _gain(core, info)
    if curve is not None:
        whole = curve.devices(info, found, gain, core.drift)
    elif nominal is not None:
        whole = Devices.nominal(nominal, found.fault.shape)
        whole = dataclasses.replace(whole, usable=found.usable, stuck_at=found.stuck_at(gain))
    else:
        return None
    rows, columns = slice(place.row, place.row + place.rows), slice(place.column, place.column + place.columns)
    names = ("height", "height_sigma", "shift", "shift_sigma", "usable", "stuck_at")
    return dataclasses.replace(whole, **{name: getattr(whole, name)[:, :, rows, columns] for name in names})
