"""Trims of the column converters: what their registers take over from the digital correction.

An offset that is trimmed away costs no code at one end of the converter's range, and columns of equal gain make equal
use of it. What the registers are too coarse for, or do not reach, is left to the digital correction.

Offsets are trimmed by whole LSB, and their fractions stay. They cost no range, and with every column in the middle of a
code, noise below half an LSB would show nowhere: not to the calibration of the converters, nor to a later check.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np

from hwloop.calibration.routines.base import Budget, Routine, Tick, quiet
from hwloop.calibration.routines.converters import GainResult
from hwloop.calibration.routines.devices import DeviceResult
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.typing import FloatArray
from hwloop.units import value

PHASES = (0.0, 0.25, 0.5, 0.75)
"""LSB by which idle outputs are shifted in turn, so that the rounding of all of them says more than that of one."""
PASSES = 2
"""The second look is near zero, where the converters' bend does not matter."""
IDLE_VECTORS = 64
"""Idle vectors of one phase."""


@dataclass(frozen=True)
class TrimResult:
    """Trims with which the converters were measured; without them in place, that measurement is not true."""

    offset: FloatArray = value("LSB", "offset in each column's trim register")
    gain: FloatArray = value("1", "relative gain in each column's trim register")

    @classmethod
    def in_use(cls, backend: Backend, core: int) -> TrimResult:
        """Those in the registers now. Raises MissingCapabilityError on a chip without."""
        return cls(*backend.trims(core))


class TrimCalibration(Routine):
    """Cancels the whole LSB of the columns' offsets and makes their gains equal, as far as the registers go."""

    name = "trims"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.MVM, Capability.TRIMS})

    def budget(self, region: Region) -> Budget:
        """Idle vectors alone."""
        return Budget(mvms=PASSES * len(PHASES) * IDLE_VECTORS)

    def run(self, region: Region, gains: GainResult, tick: Tick = quiet) -> TrimResult:
        """Write the trims, whatever the cells hold; `gains` are those of the columns under the trims in use."""
        backend, core = region.backend, region.place.core
        limits = backend.info.trims
        assert limits is not None  # a chip with the capability has them
        tick("trims")
        before = TrimResult.in_use(backend, core)
        gain = np.clip((1.0 + before.gain) / gains.gain - 1.0, -limits.gain_max, limits.gain_max)
        offset = before.offset
        for _ in range(PASSES):
            own = _own_offsets(region, offset, gain, limits.offset_max)
            offset = np.clip(-np.rint(own), -limits.offset_max, limits.offset_max)
        backend.set_trims(core, offset, gain)
        return TrimResult.in_use(backend, core)


def _own_offsets(region: Region, offset: FloatArray, gain: FloatArray, reach: float) -> FloatArray:
    """The converters' offsets (columns,) without trims, LSB, seen with trims near `offset`."""
    backend, core = region.backend, region.place.core
    idle = np.zeros((IDLE_VECTORS, region.place.rows), np.int32)
    seen = []
    for phase in PHASES:
        shifted = offset - np.copysign(phase, offset)  # towards zero, away from the register's end
        backend.set_trims(core, np.clip(shifted, -reach, reach), gain)
        seen.append(region.mvm(idle).mean(0) - backend.trims(core)[0])
    own: FloatArray = np.mean(seen, axis=0)
    return own


def seen_through(devices: DeviceResult, before: TrimResult, after: TrimResult) -> DeviceResult:
    """What the devices' columns would have shown of them under other trims than those they were seen through."""
    factor = (1.0 + after.gain) / (1.0 + before.gain)
    by_column = {
        item.name: array * factor
        for item in fields(devices)
        if item.metadata["unit"] == "uS" and isinstance(array := getattr(devices, item.name), np.ndarray)
    }
    return replace(devices, **by_column)  # type: ignore[arg-type]
