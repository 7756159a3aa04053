"""Exact placement: every conductance on its target, which measures the noise floor of a simulated chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from hwloop.calibration.programming.base import Method, Outlook, ProgrammingStep
from hwloop.calibration.steps import Work
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.region import Region
from hwloop.mapping.tile import Tile


@dataclass(frozen=True)
class Exact(Method):
    """Puts every device on target; needs a chip with exact placement, which only a simulated one has."""

    name: ClassVar[str] = "exact"

    def check(self, region: Region, tile: Tile, age: float) -> None:
        """Refuse a chip on which nothing can be placed."""
        region.backend.require(Capability.EXACT_PLACEMENT, "the method 'exact'")

    def outlook(self, rows: int, age: float, info: ChipInfo) -> Outlook:
        """Tell that placing takes nothing."""
        return Outlook(0, 0, 0, 0)

    def within(self, chip_seconds: float, age: float, info: ChipInfo) -> Self:
        """Return the method as it is: placing takes no time."""
        return self

    def steps(self, region: Region, tile: Tile, age: float, rng: np.random.Generator) -> Work[ProgrammingStep, None]:
        """Place all devices in one step."""
        region.place_exactly(tile.device_targets(region.backend.info), age)
        nothing = np.zeros(tile.target.shape, bool)
        yield ProgrammingStep(0, 0, mvm_error=float("nan"), pulses=0, unconverged=nothing, stuck=nothing)
