"""Trims of the column converters: what their registers take over from the digital correction.

An offset that is trimmed away costs no code at one end of the converter's range, and columns of equal gain make equal
use of it. What the registers are too coarse for, or do not reach, is left to the digital correction.

Offsets are trimmed by whole LSB, and their fractions stay. They cost no range, and with every column in the middle of a
code, noise below half an LSB would show nowhere: not to the calibration of the converters, nor to a later check.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hwloop.calibration.routines.base import Budget, CoreTask, Routine
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.results import DeviceResult, GainResult, TrimResult, column_gains
from hwloop.calibration.steps import Step, Work
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.typing import FloatArray

PHASES = (0.0, 0.25, 0.5, 0.75)
"""LSB by which idle outputs are shifted in turn, so that the rounding of all of them says more than that of one."""


@dataclass(frozen=True)
class TrimCalibration(Routine):
    """Cancels the whole LSB of the columns' offsets and makes their gains equal, as far as the registers go."""

    name: ClassVar[str] = "trims"
    parts: ClassVar[tuple[str, ...]] = ("trims",)
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.MVM, Capability.TRIMS})
    requires: ClassVar[tuple[str, ...]] = ("devices",)

    passes: int = 2
    """Looks at the offsets. The second is near zero, where the converters' nonlinearity does not matter."""
    idle_vectors: int = 64
    """Idle vectors of one phase."""

    def __post_init__(self) -> None:
        self._require("passes", 1, 100)
        self._require("idle_vectors", 1, 1e7)

    def budget(self, region: Region) -> Budget:
        """Count idle vectors alone."""
        return Budget(mvms=self.passes * len(PHASES) * self.idle_vectors)

    def steps(self, task: CoreTask) -> Work[Step, CoreCalibration]:
        """Write the trims, and restate the devices as their columns show them now."""
        yield Step(0, 1, "trims")
        found = task.known.devices
        assert found is not None  # required
        before = TrimResult.in_use(task.region.backend, task.region.place.core)
        trims = self.write(task.region, column_gains(found))
        return replace(task.known, devices=seen_through(found, before, trims), trims=trims)

    def write(self, region: Region, gains: GainResult) -> TrimResult:
        """Write the trims, whatever the cells hold; `gains` are those of the columns under the trims in use."""
        backend, core = region.backend, region.place.core
        limits = backend.info.trims
        assert limits is not None  # a chip with the capability has them
        before = TrimResult.in_use(backend, core)
        gain = np.clip((1.0 + before.gain) / gains.gain - 1.0, -limits.gain_max, limits.gain_max)
        offset = before.offset
        for _ in range(self.passes):
            own = self._own_offsets(region, offset, gain, limits.offset_max)
            offset = np.clip(-np.rint(own), -limits.offset_max, limits.offset_max)
        backend.set_trims(core, offset, gain)
        return TrimResult.in_use(backend, core)

    def _own_offsets(self, region: Region, offset: FloatArray, gain: FloatArray, reach: float) -> FloatArray:
        """Measure the converters' offsets (columns,) without trims, LSB, with trims near `offset`."""
        backend, core = region.backend, region.place.core
        idle = np.zeros((self.idle_vectors, region.place.rows), np.int32)
        seen = []
        for phase in PHASES:
            shifted = offset - np.copysign(phase, offset)  # towards zero, away from the register's end
            backend.set_trims(core, np.clip(shifted, -reach, reach), gain)
            seen.append(region.mvm(idle).mean(0) - backend.trims(core)[0])
        own: FloatArray = np.mean(seen, axis=0)
        return own


@dataclass(frozen=True)
class TrimsInUse(Routine):
    """Notes the trims that are in the registers, and leaves them alone."""

    name: ClassVar[str] = "trims"
    parts: ClassVar[tuple[str, ...]] = ("trims",)
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TRIMS})

    def budget(self, region: Region) -> Budget:
        """Return nothing: registers are read for free."""
        return Budget()

    def steps(self, task: CoreTask) -> Work[Step, CoreCalibration]:
        """Read the registers."""
        yield Step(0, 1, "trims")
        return replace(task.known, trims=TrimResult.in_use(task.region.backend, task.region.place.core))


def seen_through(devices: DeviceResult, before: TrimResult, after: TrimResult) -> DeviceResult:
    """Restate what the devices' columns show for other trims than those they were seen through."""
    factor = (1.0 + after.gain) / (1.0 + before.gain)
    return replace(devices, low=devices.low * factor, high=devices.high * factor, pattern=devices.pattern * factor)
