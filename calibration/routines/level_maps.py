"""Programming curve and drift of the typical device by MVMs alone: all devices pulsed at once, each at a random level.

A map shows the sum of a cell's devices. Their levels are independent of each other, so that a regression of the maps
on the levels tells what the typical device conducts at each level, at each age at which a map was made. Nothing is
extrapolated from young devices, and what the core held before does not count: a pulse that melts erases it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwloop.calibration.routines.observe import MapObserver
from hwloop.calibration.routines.robust import robust_variance
from hwloop.calibration.settings import Settings
from hwloop.calibration.steps import Step, Work
from hwloop.chip.pulses import PulseKind
from hwloop.errors import ChipError
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class LeveledPulses:
    """One pulse for every usable device at a level of its own, and maps of the cells at several ages after it."""

    level: IndexArray
    """(2, K, rows, columns) number of each device's level; 0, the one that empties it, for those not pulsed."""
    pulsed: BoolArray
    """(2, K, rows, columns) devices that were pulsed."""
    ages: FloatArray
    """(n,) seconds after the pulses, ascending."""
    maps: FloatArray
    """(n, rows, columns) signed conductances of the cells, uS."""

    @property
    def whole(self) -> BoolArray:
        """Cells (rows * columns,) all of whose devices were pulsed; others tell nothing."""
        whole: BoolArray = self.pulsed.all((0, 1)).reshape(-1)
        return whole


@dataclass(frozen=True)
class LevelMeans:
    """What the typical device conducts at each level and age."""

    ages: FloatArray
    """(n,) seconds."""
    mean: FloatArray
    """(n, levels) uS."""
    sigma: FloatArray
    """(levels,) standard uncertainty of all ages together, uS."""
    change_sigma: FloatArray
    """(n, levels) standard uncertainty of the change from each age to the last one, uS."""
    map_variance: float
    """Of a cell in one map, uS^2: half of what the cells change from one look to the next beside the typical."""
    left: Sequence[FloatArray]
    """For each pulse, (rows, columns) what cells show at the last age beyond the typical, uS; NaN where unknown."""


@dataclass(frozen=True)
class LevelMaps(Settings):
    """How levels are pulsed and maps are made, on chips without device reads."""

    looks: int = 6
    """Maps after each of the two pulses of every device, evenly spaced in the logarithm of the age."""
    first_look: float = 0.01
    """Age of the first of these maps, seconds."""
    longest_rest: float = 60.0
    """Age of the last of these maps, seconds, where the reference age is not younger."""
    map_outliers: float = 4.0
    """Cells that are so many robust standard deviations off are left out of the regression."""

    def __post_init__(self) -> None:
        self._require("looks", 2, 100)
        self._require("first_look", 1e-6, 1e4)
        self._require("longest_rest", 1e-6, 1e6)
        self._require("map_outliers", 1, 1000)

    def pulse_levels(
        self, observer: MapObserver, levels: FloatArray, width: float, usable: BoolArray, at: Step
    ) -> Work[Step, LeveledPulses]:
        """Pulse all usable devices at random levels, and map the cells at several ages.

        Parameters
        ----------
        observer
            Of the whole core.
        levels
            (levels,) amplitudes, uA; the first one empties a device.
        width
            Of the pulses, ns.
        usable
            (2, K, rows, columns) devices to pulse.
        at
            What the rests are told as.
        """
        region = observer.region
        level = np.where(usable, observer.rng.integers(0, len(levels), usable.shape), 0)
        devices = np.flatnonzero(usable)
        region.pulse(PulseKind.RESET, devices, levels[level.reshape(-1)[devices]], width)
        born, ages, maps = region.backend.now(), [], []
        for age in self.look_ages(region.backend.info.reference_age):
            yield replace(at, rest=max(born + age - region.backend.now(), 0.0))
            ages.append(max(region.backend.now() - born, 1e-6))
            maps.append(observer.map())
        return LeveledPulses(level, usable, np.array(ages), np.stack(maps))

    def look_ages(self, reference_age: float) -> FloatArray:
        """Return the ages (looks,) at which the cells are mapped, seconds."""
        last = min(self.longest_rest, reference_age)
        return np.geomspace(min(self.first_look, last / 2), last, self.looks)

    def level_means(self, rounds: Sequence[LeveledPulses], levels: int, empty: float) -> LevelMeans:
        """Compute the means at each level by regression of the maps on the levels.

        Parameters
        ----------
        rounds
            What was pulsed and seen.
        levels
            Number of levels.
        empty
            What a device at the first level conducts, uS: a conductance that all devices share shows in no map.
        """
        designs = [_design(one, levels) for one in rounds]
        seen = [one.maps.reshape(len(one.maps), -1)[:, one.whole] for one in rounds]
        kept = [np.ones(len(design), bool) for design in designs]
        for _ in range(2):
            inner = np.sum([design[k].T @ design[k] for design, k in zip(designs, kept, strict=True)], axis=0)
            if np.linalg.matrix_rank(inner[1:, 1:]) < levels - 1:
                raise ChipError("programming curve: too few devices answer to tell levels of amplitude apart")
            inverse = np.linalg.inv(inner[1:, 1:])
            outer = np.sum(
                [
                    (maps - empty * design[:, 0])[:, k] @ design[k, 1:]
                    for design, k, maps in zip(designs, kept, seen, strict=True)
                ],
                axis=0,
            )
            mean = np.concatenate([np.full((len(outer), 1), empty), outer @ inverse], axis=1)
            left = [maps - mean @ design.T for design, maps in zip(designs, seen, strict=True)]
            kept = [np.abs(one[-1]) < self.map_outliers * math.sqrt(robust_variance(one[-1])) for one in left]
        scale = np.sqrt(np.append(0.0, np.diag(inverse)))
        last = math.sqrt(robust_variance(np.concatenate([one[-1] for one in left])))
        change = [
            math.sqrt(robust_variance(np.concatenate([one[number] - one[-1] for one in left])))
            for number in range(len(mean))
        ]
        return LevelMeans(
            ages=np.mean([one.ages for one in rounds], axis=0),
            mean=mean,
            sigma=last * scale,
            change_sigma=np.multiply.outer(change, scale),
            map_variance=min(
                robust_variance(np.concatenate([np.diff(one, axis=0)[number] for one in left])) / 2
                for number in range(len(mean) - 1)
            ),
            left=[_spread_out(values[-1], one) for values, one in zip(left, rounds, strict=True)],
        )


def _design(pulses: LeveledPulses, levels: int) -> FloatArray:
    """Count the devices of each whole cell at each level, with their polarity as sign: (cells, levels)."""
    level = pulses.level
    chosen = level.reshape(2, level.shape[1], -1)[:, :, pulses.whole]
    design = np.zeros((chosen.shape[2], levels))
    cells = np.arange(chosen.shape[2])
    for sign, polarity in zip((1.0, -1.0), chosen, strict=True):
        for device in polarity:
            design[cells, device] += sign
    return design


def _spread_out(values: FloatArray, pulses: LeveledPulses) -> FloatArray:
    """Put values of whole cells in their places (rows, columns), NaN elsewhere."""
    cells = np.full(len(pulses.whole), np.nan)
    cells[pulses.whole] = values
    return cells.reshape(pulses.level.shape[2:])
