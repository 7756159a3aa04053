"""Exact placement: every conductance on its target, which measures the noise floor of a simulated chip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.programming.base import Method, Step
from hwloop.calibration.settings import Settings
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.mapping.tile import Tile


@dataclass(frozen=True)
class ExactSettings(Settings):
    """Exact placement has nothing to set."""


class Exact(Method):
    """Puts every device on target; needs a chip with exact placement, which only a simulated one has."""

    name = "exact"
    settings: ExactSettings

    def __init__(self, settings: ExactSettings | None = None) -> None:
        """Settings are empty; the argument is there so that all methods are made alike."""
        self.settings = settings or ExactSettings()

    def rounds(self, region: Region) -> int:
        """No step beyond the first."""
        return 0

    def check(self, region: Region, tile: Tile, age: float) -> None:
        """Refuse a chip on which nothing can be placed."""
        region.backend.require(Capability.EXACT_PLACEMENT, "the method 'exact'")

    def steps(self, region: Region, tile: Tile, age: float, rng: np.random.Generator) -> Iterator[Step]:
        """One step."""
        region.place_exactly(tile.device_targets(region.backend.info), age)
        nothing = np.zeros(tile.target.shape, bool)
        yield Step(0, float("nan"), 0, 0.0, nothing, nothing)
