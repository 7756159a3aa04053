"""What all calibration routines share: their interface, what they may spend, and pooling over rows and columns."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from hwloop.chip.info import Capability
from hwloop.chip.region import Region

Tick = Callable[[str], None]
"""Called between stages with what comes next; it may raise KeyboardInterrupt, and the chip is in a defined state."""


def quiet(stage: str) -> None:
    """Tells nobody what comes next."""


@dataclass(frozen=True)
class Budget:
    """The most that a routine spends."""

    pulses_per_device: int = 0
    reads_per_device: int = 0
    mvms: int = 0


class Routine(abc.ABC):
    """One calibration routine."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Capability]]
    """Without these a chip cannot run the routine, and a full calibration leaves it out and says so."""

    @abc.abstractmethod
    def budget(self, region: Region) -> Budget:
        """The most that the routine spends."""
