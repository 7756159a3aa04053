"""What to calibrate of a chip, in which order, and what it costs at most."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hwloop.calibration.programming.base import check_age
from hwloop.calibration.routines.base import Budget, Routine
from hwloop.calibration.routines.converters import ConverterCalibration
from hwloop.calibration.routines.devices import DeviceCalibration
from hwloop.calibration.routines.floor import FloorCalibration, reference_matrix
from hwloop.calibration.routines.programming_curve import CurveCalibration
from hwloop.calibration.routines.ranges import RangeCalibration
from hwloop.calibration.routines.symmetry import SymmetryCalibration
from hwloop.calibration.routines.trims import TrimCalibration, TrimsInUse
from hwloop.calibration.routines.wires import WireCalibration
from hwloop.chip.info import INSTEAD, Capability, ChipInfo
from hwloop.chip.region import Region
from hwloop.errors import BadInputError, MissingCapabilityError
from hwloop.mapping.activations import Sample
from hwloop.mapping.matrix import Matrix
from hwloop.mapping.partition import map_weights
from hwloop.mapping.ranges import checked_inputs
from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray, Json

ROUTINES: tuple[type[Routine], ...] = (
    DeviceCalibration,
    ConverterCalibration,
    WireCalibration,
    CurveCalibration,
    RangeCalibration,
    FloorCalibration,
    SymmetryCalibration,
)
"""The routines whose parts can be asked for, in the order in which they run."""
KNOWN = tuple(part for routine in ROUTINES for part in routine.parts)
"""What can be calibrated, in the order in which it is done."""
PARTS = tuple(part for part in KNOWN if part not in SymmetryCalibration.parts)
"""All of a chip whose devices are programmed; those of one that trains in memory have symmetry points instead."""


def _required(part: str) -> set[str]:
    """Return the parts that must be known before this one."""
    (routine,) = (routine for routine in ROUTINES if part in routine.parts)
    return {*routine.requires, *routine.parts[: routine.parts.index(part)]} & set(KNOWN)


@dataclass(frozen=True)
class Plan:
    """What to calibrate, and with which settings."""

    parts: Sequence[str] = PARTS
    """Names out of KNOWN; what they require is added."""
    devices: DeviceCalibration = DeviceCalibration()
    trims: TrimCalibration = TrimCalibration()
    converters: ConverterCalibration = ConverterCalibration()
    wires: WireCalibration = WireCalibration()
    curve: CurveCalibration = CurveCalibration()
    floor: FloorCalibration = FloorCalibration()
    symmetry: SymmetryCalibration = SymmetryCalibration()
    weights: Matrix | None = None
    """A matrix for which ranges and floor are stated; None: a standard normal one, clipped at 3 sigma."""
    inputs: FloatArray | Sample | None = None
    """(vectors, inputs) sample activations of that matrix, for the ranges; None: uniform."""
    age: float | None = None
    """Seconds after programming for which the floor is stated; None: the drift model's reference age."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.parts if name not in KNOWN]
        if unknown or not self.parts:
            raise BadInputError(f"calibrate: unknown part '{', '.join(unknown)}'; known: {', '.join(KNOWN)}")
        if self.age is not None:
            check_age(self.age)

    def wanted(self) -> list[str]:
        """List the parts and all that they require, in order."""
        needed = set(self.parts)
        while grown := {required for name in needed for required in _required(name)} - needed:
            needed |= grown
        return [name for name in KNOWN if name in needed]

    @property
    def everything(self) -> bool:
        """Whether all parts are asked for, as far as they can be done; else what cannot be done is an error."""
        return set(self.parts) == set(PARTS)

    def routines(self, info: ChipInfo) -> list[Routine]:
        """List the routines that the wanted parts take, in order, as far as the chip can run them."""
        wanted = self.wanted()
        trims = self.trims if self.converters.trims else TrimsInUse()
        converters = self.converters if "dac" in wanted else replace(self.converters, dac_vectors=0)
        chosen: list[Routine] = []
        for routine in (
            self.devices,
            converters,
            self.wires,
            self.curve,
            RangeCalibration(),
            self.floor,
            self.symmetry,
        ):
            if set(routine.parts) & set(wanted):
                chosen += [trims, routine] if routine is converters else [routine]
        return [routine for routine in chosen if routine.needs <= info.capabilities]

    def unable(self, info: ChipInfo) -> dict[str, str]:
        """Return the wanted parts that a chip cannot do, and why.

        Raises MissingCapabilityError when they were asked for by name.
        """
        unable: dict[str, str] = {}
        if info.stepping is not None and not set(self.parts) <= set(SymmetryCalibration.parts):
            raise MissingCapabilityError(
                f"{info.name}: its devices step and do not melt, so only their symmetry points are calibrated; use "
                "hwloop calibrate symmetry-point"
            )
        for routine in ROUTINES:
            missing = " and ".join(c.value for c in Capability if c in routine.needs - info.capabilities)
            for name in (part for part in routine.parts if missing and part in self.wanted()):
                if not self.everything:
                    instead = "hwloop calibrate all finds out what it can without"
                    if routine is SymmetryCalibration:
                        instead = INSTEAD[Capability.UPDATE]
                    raise MissingCapabilityError(
                        f"{info.name}: calibrating {name} needs {missing}, which this chip lacks; {instead}"
                    )
                unable[name] = f"needs {missing}, which {info.name} lacks"
        return unable

    def tile(self, info: ChipInfo) -> Tile:
        """Map the weights to core 0. Raises BadInputError when they do not fit, or the inputs do not fit them."""
        matrix = self.weights or Matrix("reference", reference_matrix(info.rows, info.columns))
        tile = map_weights([matrix], replace(info, cores=1))[0]
        if self.inputs is not None:
            checked_inputs(self.inputs, tile.place.rows)
        return tile

    def budget(self, region: Region) -> Budget:
        """Return the most that calibrating a core costs. Raises BadInputError for settings that do not suit it."""
        parts = (routine.budget(region) for routine in self.routines(region.backend.info))
        return sum(parts, Budget())

    def settings(self) -> dict[str, Json]:
        """Return the wanted parts and the settings of all routines, by name, as files record them."""
        routines = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        told: dict[str, Json] = {"parts": self.wanted()}
        return told | {name: dict(vars(one)) for name, one in routines.items() if isinstance(one, Routine)}
