"""When the MVM error of a whole chip will pass a limit, from what a drift study measured and the drift model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.drift.digital import Uncompensated
from hwloop.calibration.drift.monitor import Crossing, Expected, Monitor, Watched
from hwloop.calibration.drift.outcome import CompensationOutcome
from hwloop.calibration.drift.programmed_tile import ProgrammedTile
from hwloop.calibration.drift.strategy import Strategy
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Outlook:
    """What is to come of a chip, by a monitor."""

    tiles: Sequence[ProgrammedTile]
    """All tiles as programmed."""
    target_age: float
    """Age in seconds at which the run measured its error."""
    mvm_error_in_run: float
    """Relative MVM error that it measured."""
    monitor: Monitor
    """Predicts the crossing."""

    def crossing(self, limit: float, strategy: Strategy, outcomes: Sequence[CompensationOutcome]) -> Crossing | None:
        """Predict when a compensation, made anew whenever needed, will no longer keep the error within a limit.

        After a refresh the devices are young again: its crossing counts from its own last measurement, and what was
        measured before each refresh tells how far to trust the model.

        Parameters
        ----------
        limit
            Relative MVM error.
        strategy
            The compensation.
        outcomes
            What it reached so far; the run's own measurement counts along.

        Returns
        -------
        Crossing or None
            None where too little is known.
        """
        if strategy.changes_chip and outcomes:
            return self._after_refresh(limit, outcomes)
        watched = self._watched(outcomes)
        expected = expected_error(self.tiles, 1.0 if isinstance(strategy, Uncompensated) else None)
        if expected is None and len(watched.ages) < 2:
            return None
        return self.monitor.predict(limit, watched, expected)

    def _after_refresh(self, limit: float, outcomes: Sequence[CompensationOutcome]) -> Crossing | None:
        last = outcomes[-1]
        before, after = expected_error(self.tiles), expected_error(last.tiles)
        if before is None or after is None:
            return None
        columns_alone = [one.columns_alone for one in outcomes if one.columns_alone is not None]
        growth = self.monitor.learn(self._watched(columns_alone), before)
        pulsed_at = max(tile.pulsed_at for tile in last.tiles)
        watched = Watched([last.age], [last.mvm_error], last.age, pulsed_at)
        return self.monitor.predict(limit, watched, after, self.monitor.after_refresh(growth))

    def _watched(self, outcomes: Sequence[CompensationOutcome]) -> Watched:
        """Collect ages and MVM errors since programming."""
        later = [one for one in outcomes if one.age > self.target_age]
        ages, errors = [one.age for one in later], [one.mvm_error for one in later]
        return Watched([self.target_age, *ages], [self.mvm_error_in_run, *errors], self.target_age)


def expected_error(tiles: Sequence[ProgrammedTile], gain: float | None = None) -> Expected | None:
    """Give the MVM error over all tiles that the drift model predicts, as a function of age.

    Parameters
    ----------
    tiles
        The tiles.
    gain
        On the outputs of every column; None for the best one of each.

    Returns
    -------
    Expected or None
        None where there is no model.
    """
    forecasts = [tile.forecast for tile in tiles if tile.forecast is not None]
    if len(forecasts) < len(tiles):
        return None
    weights = shares(tiles)

    def expected(age: float) -> float:
        squares = [forecast.mvm_error(age, gain) ** 2 for forecast in forecasts]
        return float(np.sqrt(np.nansum(weights * np.array(squares))))

    return expected


def shares(tiles: Sequence[ProgrammedTile]) -> FloatArray:
    """Say how much each tile's squared error counts in that of the whole: by its outputs, and by its part of them.

    Parameters
    ----------
    tiles
        The tiles.

    Returns
    -------
    FloatArray
        (tiles,), of sum 1.
    """
    parts = [one.tile for one in tiles]
    power = np.array([float((tile.weights**2).sum()) for tile in parts])
    groups = [(tile.tensor, tile.first_output) for tile in parts]
    whole = np.array([sum(p for p, g in zip(power, groups, strict=True) if g == own) for own in groups])
    columns = np.array([tile.place.columns for tile in parts]) * power / np.where(whole > 0, whole, 1.0)
    return np.asarray(columns / max(float(columns.sum()), 1e-300))
