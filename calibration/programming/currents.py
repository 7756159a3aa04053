"""Correct the currents that a chip's model names, where the first measurements show that they are wrong."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

from hwloop.calibration.programming.conductance_filter import ConductanceFilter
from hwloop.calibration.programming.current_error import CurrentErrorFit
from hwloop.calibration.programming.filter_settings import Observation
from hwloop.chip.region import Region
from hwloop.errors import BadInputError, ProgrammingWarning
from hwloop.typing import BoolArray


def pilot_rows(region: Region, cells: int) -> BoolArray | None:
    """Choose the rows (rows, 1) whose devices are pulsed first, to try a calibration on about so many cells.

    None where no calibration of the devices is used, or the tile is too small for it to save pulses.
    """
    place = region.place
    if region.calibration.devices is None or not 0 < 4 * cells <= place.rows * place.columns:
        return None
    chosen = np.linspace(0, place.rows - 1, -(-cells // place.columns)).astype(np.intp)
    return np.isin(np.arange(place.rows), chosen)[:, None]


class Currents:
    """What the open-loop passes of one tile showed of the currents."""

    def __init__(self, region: Region, passes: int, settings: CurrentErrorFit | None = None) -> None:
        """Know nothing yet; up to `passes` times, `wrong` asks for another pass."""
        self._region, self._passes, self._settings = region, passes, settings or CurrentErrorFit()
        self._done, self._factor = False, 1.0

    def wrong(self, cells: ConductanceFilter, shown: Observation) -> bool:
        """Tell whether the open-loop pass is to be repeated with other currents, which `cells` believe in from now on.

        Parameters
        ----------
        cells
            The filter, after open-loop pulses that it has not seen the answer to.
        shown
            The first measurement after them.

        Raises
        ------
        BadInputError
            When a calibration of these devices contradicts what the chip shows.
        """
        if self._done:
            return False
        found = cells.current_error(shown, self._settings)
        settings = self._settings if self._factor == 1.0 else replace(self._settings, smallest=0.0)
        if found is not None and found.significant(settings):
            self._factor *= 1.0 + found.value
            self._check_calibration(self._factor)
            cells.assume_currents(found.value)
            if abs(found.value) > self._settings.repeat and self._passes:
                self._passes -= 1
                return True
        self._done = True
        if self._factor != 1.0:
            warnings.warn(
                f"devices need {_told(self._factor)} than their model says; programming went on with that; measure "
                "their curve with hwloop calibrate programming-curve",
                ProgrammingWarning,
                stacklevel=2,
            )
        return False

    def refuse_calibration(self, cells: ConductanceFilter, shown: Observation) -> None:
        """Refuse a calibration that the first cells to be pulsed contradict, before the others are.

        Parameters
        ----------
        cells
            The filter, after open-loop pulses of a few rows.
        shown
            The first measurement after them.

        Raises
        ------
        BadInputError
            When a calibration of these devices contradicts what the chip shows.
        """
        found = cells.current_error(shown, self._settings)
        if found is not None and found.significant(self._settings):
            self._check_calibration(1.0 + found.value)

    def _check_calibration(self, factor: float) -> None:
        if self._region.calibration.devices is not None and abs(factor - 1.0) > self._settings.contradiction:
            raise BadInputError(
                f"the calibration contradicts the chip: devices need {_told(factor)} than their measured curves say; "
                "was it made of this chip? Measure again with hwloop calibrate programming-curve"
            )


def _told(factor: float) -> str:
    percent = 100.0 * (factor - 1.0)
    return f"{abs(percent):.1f} % {'more' if percent > 0 else 'less'} current"
