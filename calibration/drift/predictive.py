"""Compensation by the drift model alone, where no probe can be sent."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from hwloop.calibration.drift.compensation import Compensation, CompensationWarning, far_apart
from hwloop.calibration.drift.forecast import Forecast
from hwloop.calibration.drift.programmed_tile import ProgrammedTile
from hwloop.calibration.drift.strategy import Digital
from hwloop.errors import BadInputError


@dataclass(frozen=True)
class Predicted(Digital):
    """The gain of every column that the drift model predicts from the targets and the age. Needs no probe.

    It is the gain of the smallest expected squared error, as a fit to probes would be: the spread of drift and read
    noise, which grow with age, are in it. The model has no law of temperature, so a CompensationWarning tells of a chip
    that has another one than at the calibration of its columns.
    """

    name = "predictive"

    def check(self, tile: ProgrammedTile) -> None:
        """Refuse a chip of whose devices nothing is known."""
        self._forecast(tile)

    def make(self, tile: ProgrammedTile, so_far: Compensation) -> Compensation:
        """Ask the model for the gain at the age of now."""
        made = self.extend(so_far, tile, tile.base * self._forecast(tile).gain(tile.age) / so_far.gain)
        if far_apart(tile.origin.temperature, made.made.temperature):
            warnings.warn(
                f"compensation '{self.name}' is predicted for {tile.origin.temperature:g} K and the chip is at "
                f"{made.made.temperature:g} K: the drift model knows no law of temperature; use 'global' or 'column', "
                "which measure",
                CompensationWarning,
                stacklevel=2,
            )
        return made

    def _forecast(self, tile: ProgrammedTile) -> Forecast:
        if tile.forecast is None:
            raise BadInputError(
                f"{tile.region.backend.info.name}: the compensation 'predictive' needs a drift model, and none is "
                "known of this chip; use 'global', which measures"
            )
        return tile.forecast
