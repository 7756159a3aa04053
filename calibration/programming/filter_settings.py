"""What steers a conductance filter, and what it is told of the chip."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.programming.unresponsive import UNRESPONSIVE_PULSES
from hwloop.calibration.settings import Settings
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class FilterSettings(Settings):
    """What steers a conductance filter."""

    max_pulses_per_device: int = 8
    """Pulses one device may receive, the first included."""
    min_gain: float = 0.85
    """A pulse must lower a cell's expected squared error by (this many per cent of g_max) squared in the last round,
    by more before, and by less where targets are small: see `PulsePrice`."""
    patience: float = 2.0
    """By how much more in the first round, as a multiple of `min_gain`; from there it falls evenly. What is known of a
    cell early is known better a round later, and the pulse can still be sent then."""
    usual_targets: float = 0.33
    """Root mean square of a tile's targets over the largest of a cell, from which on `min_gain` counts as it stands.
    Smaller ones lower it in proportion: what is left counts relative to them."""
    least_gain: float = 0.25
    """Share of `min_gain` below which small targets do not lower it."""
    chased: float = 0.1
    """Share of the variance that a measurement leaves unresolved, for less than which no pulse is sent on account of
    small targets: it would follow noise."""
    drive: float = 1.0 / math.sqrt(3.0)
    """Amplitude of the Hadamard inputs over the largest input; the default has the power of uniform random inputs, so
    that the converter range fits both."""
    mean_gain: float = 1.05
    """Mean of the column gains that corrections aim at, over the one that the first measurement shows. Above 1, more
    cells are found low than high, and a low cell is topped up by the spare device on its own side, where a high one
    would need a device working against it."""
    anchor: float = 4.0
    """Full cells that hold a column's gain at the mean of all, beside those of the column. A single large cell of a
    sparse column would otherwise take the gain along wherever a bad pulse sends it, and the other cells after it."""
    outlier: float = 3.0
    """A deviation beyond this many expected standard deviations resets a cell's variance."""
    unresponsive_pulses: int = UNRESPONSIVE_PULSES
    """Pulses in a row without an answer after which a device counts as stuck and is left alone."""
    redraws: int = 10
    """Redraws of a pulse's result that are thought ahead at most: more of them change its value by a hundredth."""

    def __post_init__(self) -> None:
        self._require("max_pulses_per_device", 1, 1_000_000)
        self._require("min_gain", 0, 100)
        self._require("patience", 0, 100)
        self._require("usual_targets", 1e-6, 1)
        self._require("least_gain", 0, 1)
        self._require("chased", 0, 100)
        self._require("drive", 0.01, 1)
        self._require("mean_gain", 0.1, 10)
        self._require("anchor", 0, 1e6)
        self._require("outlier", 0.1, 1000)
        self._require("unresponsive_pulses", 1, 100)
        self._require("redraws", 0, 100)


@dataclass(frozen=True)
class Observation:
    """What a Hadamard measurement showed of the cells of a tile."""

    seen: FloatArray
    """(rows, columns) signed conductances as outputs show them, uS."""
    power: float
    """Sum of squares of a row's drive."""
    begin: float
    """Start on the chip's clock, seconds."""
    duration: float
    """Seconds."""


@dataclass(frozen=True)
class PulsePrice:
    """Squared error that a pulse must take off a cell: less where targets are small, unless noise hides it.

    Parameters
    ----------
    usual, lowered
        What it is for large targets and, but for noise, for those of this tile, uS^2, in the last round.
    patience
        By how much its root is larger in the first round, as a multiple of that.
    chased
        Share of what measurements leave unresolved, for less than which it is not lowered.
    """

    usual: float
    lowered: float
    patience: float
    chased: float

    @classmethod
    def of(cls, settings: FilterSettings, targets: FloatArray, g_max: float, devices: int) -> PulsePrice:
        """Set the price of a tile.

        Parameters
        ----------
        settings
            What steers the filter.
        targets
            (rows, columns) uS, signed.
        g_max, devices
            Largest conductance of a device, uS, and devices of one polarity in a cell.
        """
        full = settings.min_gain / 100 * g_max
        size = float(np.sqrt((targets**2).mean())) / (devices * g_max * settings.usual_targets)
        lowered = full * min(max(size, settings.least_gain), 1.0)
        return cls(full**2, lowered**2, settings.patience, settings.chased)

    def __call__(self, unresolved: FloatArray, left: float) -> float:
        """Return the price in uS^2.

        Parameters
        ----------
        unresolved
            (rows, columns) variances that measurements leave, uS^2.
        left
            Share of the rounds that is left, from 1 down to 0.
        """
        early = (1.0 + self.patience * left) ** 2
        return min(self.usual * early, max(self.lowered * early, self.chased * float(unresolved.mean())))
