"""Measurements of devices in memory: which cells were measured, and every single read of them.

Both are tables of columns rather than rectangles of cells by times: real data lacks some cells at some times, and a
table can be appended to while the measurement runs. Conductance in uS, time in seconds, current in uA, width in ns,
temperature in kelvin.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from hwloop.errors import BadInputError


class Experiment(enum.Enum):
    """The kinds of measurement; the value is the name used in commands and files."""

    PROGRAMMING_CURVE = "programming-curve"
    """Reads after single pulses of known amplitude."""
    PROGRAMMING = "programming"
    """Cells programmed to targets: accepted verify read and relaxed re-reads."""
    DRIFT = "drift"
    """Cells programmed once and read at growing ages."""
    READ_NOISE = "read-noise"
    """Cells left alone and read continuously."""


class Mark(enum.IntEnum):
    """Why a cell is not to be trusted; a fit leaves it out, UNCONVERGED only where the target matters."""

    GOOD = 0
    STUCK_SET = 1
    STUCK_RESET = 2
    UNCONVERGED = 3
    """Program-and-verify gave up on it."""
    WILD = 4
    """Its reads contradict every model of a device."""
    SPENT = 5
    """Its pulse budget ran out."""


@dataclass(frozen=True)
class Cells:
    """The measured cells, one entry each; shapes are all (cells,)."""

    address: NDArray[np.int64]
    """Name of the cell: the flat device index on a chip, or the number used where the data comes from."""
    core: NDArray[np.int32]
    target: NDArray[np.float64]
    """Conductance that programming aimed at, uS; NaN where there was no target."""
    verify: NDArray[np.float64]
    """Accepted verify read, uS, biased by its own selection; NaN where there was none."""
    level: NDArray[np.int32]
    """Index of the programmed level; -1 where there are no levels."""
    mark: NDArray[np.uint8]
    """One of `Mark`."""

    def __post_init__(self) -> None:
        """Raise BadInputError unless all columns have the same length."""
        _same_length(self, "cells")

    def __len__(self) -> int:
        return int(self.address.size)

    @classmethod
    def at(cls, address: NDArray[np.integer], **columns: NDArray[np.generic]) -> Cells:
        """Cells by address; columns that are not given say that there is nothing to tell."""
        n = address.size
        known: dict[str, NDArray[np.generic]] = {
            "core": np.zeros(n, np.int32),
            "target": np.full(n, np.nan),
            "verify": np.full(n, np.nan),
            "level": np.full(n, -1, np.int32),
            "mark": np.zeros(n, np.uint8),
        }
        return cls(address=np.asarray(address, np.int64), **(known | columns))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Reads:
    """Every read, in the order in which it was taken; shapes are all (reads,)."""

    cell: NDArray[np.int32]
    """Index into the cells."""
    time: NDArray[np.float64]
    """True age: seconds between the cell's last pulse and this read."""
    conductance: NDArray[np.float64]
    """uS; may be slightly negative, because converters have noise."""
    temperature: NDArray[np.float64]
    """K; NaN where it was not measured."""
    amplitude: NDArray[np.float64] | None = None
    """Programming curves alone: peak current of the pulse before this read, uA."""
    width: NDArray[np.float64] | None = None
    """Programming curves alone: duration of that pulse, ns."""
    voltage: NDArray[np.float64] | None = None
    """Programming curves of chips driven by voltage: peak voltage of that pulse, V; NaN before the first pulse."""
    nominal: NDArray[np.float64] | None = None
    """The age that was aimed at, s, where that is known: what a plan called these reads, never used as a time."""

    def __post_init__(self) -> None:
        """Raise BadInputError unless all columns have the same length."""
        _same_length(self, "reads")

    def __len__(self) -> int:
        return int(self.cell.size)


@dataclass(frozen=True)
class Measurement:
    """One experiment: what was measured, on which cells, with what came out."""

    experiment: Experiment
    cells: Cells
    reads: Reads
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    """Where it comes from: chip, backend, UTC, settings; for people and for the fingerprint of a fit."""

    def __post_init__(self) -> None:
        """Raise BadInputError when reads name cells that do not exist."""
        index = self.reads.cell
        if index.size and (index.min() < 0 or index.max() >= len(self.cells)):
            raise BadInputError(
                f"{self.experiment.value}: reads name cells {index.min()} to {index.max()}, "
                f"but there are {len(self.cells)} cells"
            )


def _same_length(table: Cells | Reads, name: str) -> None:
    sizes = {f.name: getattr(table, f.name).shape for f in fields(table) if getattr(table, f.name) is not None}
    if len(set(sizes.values())) > 1 or any(len(shape) != 1 for shape in sizes.values()):
        raise BadInputError(f"{name}: columns must be one-dimensional and equally long, not {sizes}")
