"""What programming will take at most, from sizes alone: said and checked before a device is touched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hwloop.calibration.programming.base import Method
from hwloop.chip.info import Capability, ChipInfo
from hwloop.durations import format_duration
from hwloop.files.space import in_words
from hwloop.mapping.tile import Tile
from hwloop.typing import Json


@dataclass(frozen=True)
class NeedSettings:
    """How much a run takes, as measured on 256 x 256 cores with four devices a cell."""

    per_device: float = 10.0
    """Bytes of a run file for each device of a tile: pulses, ages, currents, and what its cell was to be and is."""
    per_device_of_state: float = 13.0
    """The same for each device of a core whose state a simulated chip keeps."""
    per_device_read: float = 56.0
    """The same besides where devices are read singly: the slow noise of each is part of the state then."""
    of_file: float = 2e5
    """Bytes of a run file whatever its size, about."""
    of_tile: float = 3e4
    """Bytes of a tile whatever its size."""
    per_device_in_memory: float = 370.0
    """Bytes of memory for each device of a tile while it is programmed."""
    of_program: float = 3.5e8
    """Bytes of memory that the program itself takes."""
    states: int = 3
    """States of a simulated chip that lie beside the run file at once, each this many bytes a device:"""
    state: float = 32.0
    """Bytes of such a state for each device, which is not compressed."""
    read: int = 8
    """Bytes of the answer to the read of a device."""
    vectors: int = 4000
    """Input vectors besides those of the method: calibration of the columns, and the measurement of the error."""
    said_seconds: float = 600.0
    """Chip time from which on a real chip is announced before it starts."""
    said_bytes: float = 1e8
    """Bytes of files from which on they are announced."""


SETTINGS = NeedSettings()
"""The numbers of every estimate."""


@dataclass(frozen=True)
class Needs:
    """What a run takes at most.

    Parameters
    ----------
    chip_seconds, pulses
        Time on the chip's clock, and pulses on a device; NaN where the method does not say.
    memory, file, beside
        Bytes of memory, of the run file, and of its resume folder until the run is complete.
    real
        Whether the time must be waited for: a simulated chip's clock is its own.
    """

    chip_seconds: float
    pulses: float
    memory: int
    file: int
    beside: int
    real: bool = True

    @classmethod
    def of(cls, tiles: Sequence[Tile], method: Method, age: float, info: ChipInfo) -> Needs:
        """Estimate what it takes to program tiles at once.

        Parameters
        ----------
        tiles
            As they lie on the chip.
        method, age
            With its settings; seconds after programming at which targets hold.
        info
            Of the chip.
        """
        told = SETTINGS
        cells = sum(tile.place.rows * tile.place.columns for tile in tiles)
        devices = 2 * info.devices_per_polarity * cells
        kept = 0
        if Capability.STATE in info.capabilities:
            kept = 2 * info.devices_per_polarity * info.rows * info.columns * len({tile.place.core for tile in tiles})
        outlook = method.outlook(max((tile.place.rows for tile in tiles), default=1), age, info)
        of_state = told.per_device_of_state + told.per_device_read * (outlook.reads != 0)
        vectors = (outlook.vectors if math.isfinite(outlook.vectors) else 0) + told.vectors
        answers = vectors * sum(tile.place.columns for tile in tiles) * math.ceil(info.output_bits / 8)
        answers += told.read * devices * (outlook.reads if math.isfinite(outlook.reads) else 0)
        return cls(
            outlook.chip_seconds + age,
            outlook.pulses,
            int(told.of_program + told.per_device_in_memory * devices),
            int(told.of_file + told.of_tile * len(tiles) + told.per_device * devices + of_state * kept),
            int(told.of_file + answers + told.states * (of_state + told.state) * kept + told.read * cells),
            Capability.STATE not in info.capabilities,
        )

    @property
    def great(self) -> bool:
        """Whether it is worth a word before it starts."""
        return self.file + self.beside >= SETTINGS.said_bytes or (
            self.real and self.chip_seconds >= SETTINGS.said_seconds
        )

    def to_json(self) -> dict[str, Json]:
        """Give every number by its name; what is not known is None."""
        return {
            "chip_seconds": self.chip_seconds if math.isfinite(self.chip_seconds) else None,
            "pulses_per_device": self.pulses if math.isfinite(self.pulses) else None,
            "memory_bytes": self.memory,
            "file_bytes": self.file,
            "beside_bytes": self.beside,
        }

    def __str__(self) -> str:
        known = math.isfinite(self.chip_seconds)
        time = f"{format_duration(self.chip_seconds)} of chip time, " if known else ""
        pulses = f"{self.pulses:.0f} pulses a device, " if math.isfinite(self.pulses) else ""
        return (
            f"up to {time}{pulses}{in_words(self.memory)} of memory, a file of {in_words(self.file)}, and "
            f"{in_words(self.beside)} beside it until the end"
        )
