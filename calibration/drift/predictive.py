"""Compensation by the drift model alone, where no probe can be sent."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np

from hwloop.calibration.drift.aged_filter import AgedConductanceFilter, PulseLimits
from hwloop.calibration.drift.compensation import Compensation, CompensationWarning, far_apart
from hwloop.calibration.drift.forecast import Forecast
from hwloop.calibration.drift.programmed_tile import ProgrammedTile
from hwloop.calibration.drift.strategy import Digital
from hwloop.calibration.programming.base import known_devices
from hwloop.errors import BadInputError


@dataclass(frozen=True)
class Predicted(Digital):
    """The gain of every column that the drift model predicts from the targets and the age. Needs no probe.

    What programming by pulses leaves on the devices of a cell is not how targets are split over them, and it drifts
    otherwise: where a record of the last pulses is known, the devices are what these pulses left. Where sample inputs
    are known, as those of a network are, it is the gain for these, and an offset goes with it.

    It is the gain of the smallest expected squared error, as a fit to probes would be: the spread of drift and read
    noise, which grow with age, are in it. The model has no law of temperature, so a CompensationWarning tells of a chip
    that has another one than at the calibration of its columns.
    """

    name = "predictive"

    def check(self, tile: ProgrammedTile) -> None:
        """Refuse a chip of whose devices nothing is known."""
        self._forecast(tile)

    def make(self, tile: ProgrammedTile, so_far: Compensation) -> Compensation:
        """Ask the model for the gain at the age of now, and for the offset where the inputs are known."""
        forecast, offset = _as_left(tile, self._forecast(tile)), np.zeros(tile.tile.place.columns)
        gain = forecast.gain(tile.age)
        if tile.sample is not None:
            inputs = tile.sample / tile.region.backend.info.input_max
            gain, offset = forecast.correction(tile.age, inputs, tile.shares)
            offset = offset - so_far.offset * tile.base * gain / so_far.gain  # it takes the place of what was there
        made = self.extend(so_far, tile, tile.base * gain / so_far.gain, offset)
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


def _as_left(tile: ProgrammedTile, forecast: Forecast) -> Forecast:
    """Put the devices where the record of the last pulses says that they were left, if there is one."""
    if tile.pulses is None or tile.pulses.reached is None:
        return forecast
    recalled = AgedConductanceFilter(tile, known_devices(tile.region), PulseLimits(0, 1, 0.0))
    return replace(forecast, devices=recalled.at_calibration(tile))
