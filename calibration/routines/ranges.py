"""Input scale and converter range for a weight matrix: computed, with the noise of the core's own ADCs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from hwloop.calibration.routines.base import Budget, CoreTask, Routine
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.steps import Step, Work
from hwloop.chip.region import Region
from hwloop.mapping.ranges import choose_ranges


@dataclass(frozen=True)
class RangeCalibration(Routine):
    """Chooses the scales with the least clipping, rounding and noise; sends nothing to the chip."""

    name: ClassVar[str] = "ranges"
    parts: ClassVar[tuple[str, ...]] = ("ranges",)

    def budget(self, region: Region) -> Budget:
        """Return nothing."""
        return Budget()

    def steps(self, task: CoreTask) -> Work[Step, CoreCalibration]:
        """Choose the scales for the task's weights and inputs."""
        yield Step(0, 1, "ranges")
        info = task.region.backend.info
        return replace(task.known, ranges=choose_ranges(task.tile.target, info, task.inputs, task.known.adc_noise))
