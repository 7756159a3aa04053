"""How finely the statistical chip learns from a rehearsal, and how it draws from what it learnt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RehearsalSettings:
    """What is programmed in a rehearsal, and how cells are drawn from its outcome."""

    cells: int = 2**16
    """Cells that are programmed; the statistics of a chip are known as well as those of so many cells."""
    zeros: float = 0.04
    """Share of cells with a target of zero."""
    largest: float = 0.004
    """Share of cells with the largest target, of each sign: with a scale for each column, every column has one."""
    uniform: float = 0.1
    """Share of the other cells whose targets are uniform; those of the rest are normal, as wide as what is wanted."""
    width_step: float = 1.25
    """Ratio of two widths that are told apart: what a method leaves depends a little on the other cells' targets."""
    widths: tuple[int, int] = (-13, -4)
    """Least and largest power of that ratio, the width in units of the largest target; wider ones count as uniform."""
    window: int = 256
    """A cell becomes one of so many of the rehearsal whose targets are nearest to its own; one random byte chooses."""
    grid: int = 2**13
    """Steps of the table that finds them by the target."""
    fewest_rows: int = 16
    """Rows of a rehearsal at least; shorter columns are drawn from it too."""
    fewest_columns: int = 16
    """Columns of a rehearsal at least."""
    stuck_rate: float = 2e-3
    """Least rate of stuck devices in a rehearsal for a chip that has any, so that there are enough to learn from."""
    stuck_window: int = 8
    """A cell with a stuck device becomes one of so many such cells with the nearest targets."""
    seed: int = 20_201
    """Seed of the rehearsing specimen and of the places of its targets."""
    kept: int = 16
    """Rehearsals that are kept in memory, some 20 MB each."""
    block: int = 2**15
    """Cells that are worked on at a time: so few fit a core's cache, and torch leaves them to one thread."""
    at_once: float = 0.01
    """Seconds that two ages may differ by and count as the same."""
    unchanged: float = 1e-3
    """Share of an age by which another may differ and count as the same: drift changes a cell by less than a ten
    thousandth of its conductance in it."""
    moments: int = 8
    """Ages at which a rehearsal's cells are kept in memory."""

    def rows(self, wanted: int, most: int) -> int:
        """Choose the rows of a rehearsal for columns of `wanted` cells on a chip with `most` rows.

        All rows, a quarter of them, a sixteenth and so on: what is left depends but little on the length of a column.
        """
        rows = most
        while rows // 4 >= max(wanted, self.fewest_rows):
            rows //= 4
        return rows

    def width(self, cells: NDArray[np.floating], largest: float) -> int:
        """Tell how wide targets (rows, columns) in uS are, those of zero apart, as a power of `width_step`."""
        count = np.count_nonzero(cells)
        if not count:
            return self.widths[0]
        share = math.sqrt(float(np.vdot(cells, cells)) / count) / largest
        power = round(math.log(share) / math.log(self.width_step))
        return min(max(power, self.widths[0]), self.widths[1] + 1)


SETTINGS = RehearsalSettings()
"""Those of every statistical chip."""
