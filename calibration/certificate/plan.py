"""What to calibrate of a chip, in which order, and what it costs at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hwloop.calibration.programming.base import check_age
from hwloop.calibration.routines.base import Budget, Routine
from hwloop.calibration.routines.converters import (
    ConverterCalibration,
    ConverterSettings,
)
from hwloop.calibration.routines.devices import DeviceCalibration, DeviceSettings
from hwloop.calibration.routines.floor import FloorCalibration, FloorSettings, reference_matrix
from hwloop.calibration.routines.programming_curve import CurveCalibration, CurveSettings
from hwloop.calibration.routines.trims import TrimCalibration
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.region import Region
from hwloop.errors import (
    BadInputError,
)
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.partition import map_weights
from hwloop.mapping.ranges import checked_inputs
from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray

PARTS = ("devices", "adc", "dac", "wires", "programming-curve", "ranges", "floor")
"""What can be calibrated, in the order in which it is done."""
_REQUIRES: dict[str, tuple[str, ...]] = {
    "adc": ("devices",),
    "dac": ("devices", "adc"),
    "wires": ("devices", "adc"),
    "programming-curve": ("devices",),
    "floor": ("devices", "programming-curve", "ranges"),
}


@dataclass(frozen=True)
class Plan:
    """What to calibrate, and with which settings.

    parts     names out of PARTS; what they require is added
    devices, converters, curve, floor: settings of the routines
    weights   a matrix for which ranges and floor are stated; None: a standard normal one, clipped at 3 sigma
    inputs    (vectors, inputs) sample activations of that matrix, for the ranges; None: uniform
    age       seconds after programming for which the floor is stated; None: the drift model's reference age
    """

    parts: Sequence[str] = PARTS
    devices: DeviceSettings = field(default_factory=DeviceSettings)
    converters: ConverterSettings = field(default_factory=ConverterSettings)
    curve: CurveSettings = field(default_factory=CurveSettings)
    floor: FloorSettings = field(default_factory=FloorSettings)
    weights: Matrix | None = None
    inputs: FloatArray | None = None
    age: float | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.parts if name not in PARTS]
        if unknown or not self.parts:
            raise BadInputError(f"calibrate: unknown part '{', '.join(unknown)}'; known: {', '.join(PARTS)}")
        if self.age is not None:
            check_age(self.age)

    def wanted(self) -> list[str]:
        """The parts and all that they require, in order."""
        needed = set(self.parts)
        while grown := {part for name in needed for part in _REQUIRES.get(name, ())} - needed:
            needed |= grown
        return [name for name in PARTS if name in needed]

    def trims(self, backend: Backend) -> bool:
        """Whether the converters are trimmed before they are measured."""
        return bool(self.converters.trims) and Capability.TRIMS in backend.info.capabilities

    @property
    def everything(self) -> bool:
        """Whether all parts are asked for, as far as they can be done; else what cannot be done is an error."""
        return set(self.parts) == set(PARTS)

    def tile(self, info: ChipInfo) -> Tile:
        """The weights on core 0. Raises BadInputError when they do not fit, or the inputs do not fit them."""
        matrix = self.weights or Matrix("reference", reference_matrix(info.rows, info.columns))
        tile = map_weights([matrix], replace(info, cores=1))[0]
        if self.inputs is not None:
            checked_inputs(self.inputs, tile.place.rows)
        return tile

    def budget(self, region: Region) -> Budget:
        """The most that calibrating one core costs. Raises BadInputError for settings that do not suit the core."""
        routines: dict[str, Routine] = {
            "devices": DeviceCalibration(self.devices),
            "adc": ConverterCalibration(self.converters),
            "programming-curve": CurveCalibration(self.curve),
            "floor": FloorCalibration(self.floor),
        }
        parts = [routines[name].budget(region) for name in self.wanted() if name in routines]
        if "adc" in self.wanted() and self.trims(region.backend):
            parts.append(TrimCalibration().budget(region))
        return Budget(
            sum(part.pulses_per_device for part in parts),
            sum(part.reads_per_device for part in parts),
            sum(part.mvms for part in parts),
        )
