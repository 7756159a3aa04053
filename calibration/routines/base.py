"""What all calibration routines share: their one interface, what they are given, and what they may spend."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.settings import Settings
from hwloop.calibration.steps import Step, Work
from hwloop.chip.backend import Backend
from hwloop.chip.cell_calibration import CellCalibration
from hwloop.chip.info import Capability
from hwloop.chip.region import Place, Region
from hwloop.mapping.activations import Sample
from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class Budget:
    """The most that a routine spends."""

    pulses_per_device: int = 0
    reads_per_device: int = 0
    mvms: int = 0

    def __add__(self, other: Budget) -> Budget:
        return Budget(
            self.pulses_per_device + other.pulses_per_device,
            self.reads_per_device + other.reads_per_device,
            self.mvms + other.mvms,
        )


@dataclass(frozen=True)
class CoreTask:
    """What a routine is given: a core, what is known of it so far, and what for it is calibrated."""

    region: Region
    """The whole core, with nothing corrected."""
    known: CoreCalibration
    """What the routines before have found out."""
    tile: Tile
    """The weights for which ranges and floor are stated, placed on this core."""
    inputs: FloatArray | Sample | None
    """(vectors, rows) sample activations of these weights; None: uniform."""
    age: float
    """Seconds after programming for which the floor is stated."""
    rng: np.random.Generator
    """The source of all probe inputs, one for the whole core."""


@dataclass(frozen=True)
class Routine(Settings, abc.ABC):
    """One calibration routine: its fields are its settings, and `steps` runs it."""

    name: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]
    """What one can ask for that this routine finds out, in the order in which it does."""
    needs: ClassVar[frozenset[Capability]] = frozenset()
    """Without these a chip cannot run the routine, and a full calibration leaves it out and says so."""
    requires: ClassVar[tuple[str, ...]] = ()
    """Parts that must be known before; trims as far as the chip has them."""

    @abc.abstractmethod
    def budget(self, region: Region) -> Budget:
        """Return the most that the routine spends. Raises BadInputError for settings that do not suit the core."""

    @abc.abstractmethod
    def steps(self, task: CoreTask) -> Work[Step, CoreCalibration]:
        """Run on a core: yield a step before every stage, and return what is known of the core afterwards.

        Raises ChipError for a core on which it cannot be done.
        """


def whole_core(backend: Backend, core: int) -> Region:
    """Return all cells of a core as a region, with nothing known of them."""
    return Region(backend, Place(core, 0, 0, backend.info.rows, backend.info.columns), calibration=CellCalibration())
