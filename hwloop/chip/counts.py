"""The cost of working with a chip: what was sent to it, and the pulses that every device has received."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray


@dataclass
class Counts:
    """The cost of everything since the backend was opened."""

    pulses: int = 0
    device_reads: int = 0
    mvms: int = 0
    """Input vectors sent through a core."""
    chip_seconds: float = 0.0
    """Time on the chip's clock."""
    updates: int = 0
    """Outer products sent to a core as pulse trains; the steps of devices are among the pulses."""
    link_bytes: int = 0
    """Bytes on the wire in both directions; zero in the simulator."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def __sub__(self, earlier: Counts) -> Counts:
        return Counts(**{f.name: getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)})

    def copy(self) -> Counts:
        """Return the counts as they are now."""
        return self - Counts()


@dataclass
class PulseLedger:
    """Pulses that every device of every touched core has received, (devices_per_core,) each."""

    size: int
    cores: dict[int, NDArray[np.int32]] = field(default_factory=dict)

    def of(self, core: int) -> NDArray[np.int32]:
        """Return the pulses of each device of a core, (devices_per_core,); the caller may add to them."""
        return self.cores.setdefault(core, np.zeros(self.size, np.int32))
