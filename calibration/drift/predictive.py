"""Compensation by the drift model alone, where no probe can be sent."""

from __future__ import annotations

import warnings

from hwloop.calibration.drift.base import Compensation, CompensationWarning, ProgrammedTile, Strategy, far_apart
from hwloop.errors import BadInputError


class Predicted(Strategy):
    """The gain of every column that the drift model foretells from the targets and the age. Needs no probe.

    It is the gain of the smallest expected squared error, as a fit to probes would be: the spread of drift and read
    noise, which grow with age, are in it. The model has no law of temperature, so a CompensationWarning tells of a chip
    that has another one than at the calibration of its columns.
    """

    name = "predictive"
    probed = False

    def check(self, held: ProgrammedTile) -> None:
        """Refuse a chip of whose devices nothing is known."""
        if held.forecast is None:
            raise BadInputError(
                f"{held.region.backend.info.name}: the compensation 'predictive' needs a drift model, and none is "
                "known of this chip; use 'global', which measures"
            )

    def make(self, held: ProgrammedTile, sofar: Compensation) -> Compensation:
        """Look into the model."""
        assert held.forecast is not None
        made = self._made(held, sofar, held.base * held.forecast.gain(held.age) / sofar.gain, 0.0)
        if far_apart(held.temperature, made.made.temperature):
            warnings.warn(
                f"compensation '{self.name}' is foretold for {held.temperature:g} K and the chip is at "
                f"{made.made.temperature:g} K: the drift model knows no law of temperature; use 'global' or 'column', "
                "which measure",
                CompensationWarning,
                stacklevel=2,
            )
        return made
