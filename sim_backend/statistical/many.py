"""Many chips and times in one call: the cells of a network on chips that differ by their seeds, for error bars."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from hwloop.chip.targets import Programmer, Targets
from hwloop.errors import BadInputError
from hwloop.sim_backend.statistical.chip import StatisticalChip


def cells_of_chips(
    chip: StatisticalChip, targets: Targets, age: float, by: Programmer, seeds: Sequence[int], times: Sequence[float]
) -> NDArray[np.float32]:
    """Program the same targets on many chips of a kind, and look at their cells as time goes on.

    Parameters
    ----------
    chip
        One of them, which is left as it is.
    targets
        What to program, on which of its cores and where.
    age, by
        As for `Backend.program_targets`.
    seeds
        Of the chips: each one is the chip that its URI with this seed opens.
    times
        Seconds after programming, ascending.

    Returns
    -------
    ndarray
        (chips, times, rows, columns) signed conductances in uS, without read noise.

    Raises
    ------
    BadInputError
        For times that are negative, not finite or not ascending.
    """
    moments = np.asarray(times, np.float64)
    if moments.ndim != 1 or not np.all(np.isfinite(moments)) or np.any(np.diff(moments, prepend=0.0) < 0):
        raise BadInputError("times must be finite seconds from 0 on, in ascending order")
    height, width = targets.cells.shape
    rows, columns = slice(targets.row, targets.row + height), slice(targets.column, targets.column + width)
    cells = np.empty((len(seeds), len(moments), *targets.cells.shape), np.float32)

    def fill(number: int) -> None:
        with chip.sibling(seeds[number]) as other:
            other.program_targets([targets], age, by)
            for k, wait in enumerate(np.diff(moments, prepend=0.0)):
                other.wait(float(wait))
                cells[number, k] = other.conductances(targets.core)[rows, columns]

    if len(seeds):
        fill(0)  # what must be rehearsed is rehearsed before threads wait for it
    with ThreadPoolExecutor(max(torch.get_num_threads(), 1)) as pool:
        list(pool.map(fill, range(1, len(seeds))))
    return cells
