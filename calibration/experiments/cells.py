"""Which devices are measured, and at which conductances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hwloop.chip.info import ChipInfo
from hwloop.errors import BadInputError
from hwloop.files.measurements import Cells
from hwloop.typing import FloatArray, IndexArray


@dataclass(frozen=True)
class Levels:
    """Evenly spaced target conductances."""

    lowest_share: ClassVar[float] = 0.025
    """The lowest level over g_max where none is given: the half width of the window of program-and-verify."""

    count: int
    """Number of levels."""
    low: float = 0.0
    """Lowest level, uS; 0 chooses 2.5 % of g_max."""
    high: float = 0.0
    """Highest level, uS; 0 chooses g_max."""

    def targets(self, info: ChipInfo) -> FloatArray:
        """Return the target of each level, (count,) in uS.

        Raises
        ------
        BadInputError
            For levels that the chip's range does not have.
        """
        low, high = self.low or self.lowest_share * info.g_max, self.high or info.g_max
        if self.count < 1:
            raise BadInputError(f"levels={self.count}: expected at least 1")
        if not 0 <= low < high <= info.g_max:
            raise BadInputError(
                f"levels from {low:g} to {high:g} uS: expected 0 <= lowest < highest <= {info.g_max:g} uS, "
                "the largest conductance that this chip programs"
            )
        return np.linspace(low, high, self.count) if self.count > 1 else np.array([high])


@dataclass(frozen=True)
class ListedLevels:
    """Target conductances one by one; one that is named twice gets twice as many devices."""

    values: tuple[float, ...]
    """The levels, uS."""

    @property
    def count(self) -> int:
        """Number of levels."""
        return len(self.values)

    def targets(self, info: ChipInfo) -> FloatArray:
        """Return the target of each level, (count,) in uS.

        Raises
        ------
        BadInputError
            For levels that the chip's range does not have.
        """
        if beyond := [value for value in self.values if not 0 <= value <= info.g_max]:
            raise BadInputError(
                f"level {beyond[0]:g} uS: expected 0 to {info.g_max:g} uS, the most that this chip programs"
            )
        return np.array(self.values)


@dataclass(frozen=True)
class Chosen:
    """The devices of a measurement, sorted by core and index, (n,) each."""

    core: NDArray[np.int32]
    device: IndexArray

    def __len__(self) -> int:
        return int(self.device.size)

    def cores(self) -> Iterator[tuple[int, slice]]:
        """Yield each core with the slice of the devices that are on it."""
        found, starts = np.unique(self.core, return_index=True)
        stops = [*starts[1:].tolist(), len(self)]
        for core, start, stop in zip(found.tolist(), starts.tolist(), stops, strict=True):
            yield core, slice(start, stop)

    def as_cells(self, target: FloatArray | None = None, level: NDArray[np.integer] | None = None) -> Cells:
        """Return the cells of a measurement file, named by flat device index; `target` (n,) is in uS."""
        return Cells.at(self.device, core=self.core, target=target, level=level)


def choose_cells(info: ChipInfo, count: int, cores: tuple[int, ...], rng: np.random.Generator) -> Chosen:
    """Choose `count` devices at random, spread evenly over `cores`; no cores given: as few as hold them, from core 0.

    Raises
    ------
    BadInputError
        For cores that do not exist, and for more cells than there are devices.
    """
    if count < 1:
        raise BadInputError(f"cells={count}: expected at least 1")
    size = info.devices_per_core
    used = cores or tuple(range(min(-(-count // size), info.cores)))
    if bad := [core for core in used if not 0 <= core < info.cores]:
        raise BadInputError(f"core {bad[0]} does not exist; {info.name} has cores 0 to {info.cores - 1}")
    if len(set(used)) < len(used):
        raise BadInputError(f"cores {','.join(map(str, used))}: name each once")
    if count > size * len(used):
        raise BadInputError(
            f"{count} cells: {len(used)} core(s) of {info.name} have {size * len(used)} devices; ask for fewer"
        )
    shares = [count // len(used) + (k < count % len(used)) for k in range(len(used))]
    picked = [np.sort(rng.choice(size, share, replace=False)) for share in shares]
    order = np.argsort(used)
    return Chosen(
        np.repeat(np.array(used, np.int32)[order], np.array(shares)[order]),
        np.concatenate([picked[k] for k in order]).astype(np.int64),
    )


def spread_levels(count: int, levels: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Return a level for each of `count` cells, (count,): every level equally often, in random places."""
    return rng.permutation(np.arange(count, dtype=np.int32) % levels).astype(np.int32)
