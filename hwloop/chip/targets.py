"""What a chip is given that programs conductance targets by itself, instead of pulses.

Such a chip must know what programming leaves behind. It learns it once for each way of programming, on a chip that
takes pulses and is of the same kind otherwise: a rehearsal.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwloop.errors import BadInputError
from hwloop.typing import FloatArray

if TYPE_CHECKING:
    from hwloop.chip.backend import Backend


@dataclass(frozen=True)
class Targets:
    """Signed conductances that a rectangle of cells shall have.

    Parameters
    ----------
    core
        Core of the chip, counted from 0.
    row, column
        First row and column of the rectangle.
    cells
        (rows, columns) uS, of single or double precision: positive less negative devices of each cell.

    Raises
    ------
    BadInputError
        For what is no matrix of floating-point numbers.
    """

    core: int
    row: int
    column: int
    cells: NDArray[np.floating]

    def __post_init__(self) -> None:
        """Check the kind of the array; whether it fits is for the chip that it is meant for."""
        if not isinstance(self.cells, np.ndarray) or self.cells.dtype.kind != "f" or self.cells.ndim != 2:
            raise BadInputError(
                f"targets: cells must be a matrix of floating-point numbers in uS, not {reprlib.repr(self.cells)}"
            )


@dataclass(frozen=True)
class Programmer:
    """A way of programming by pulses, from which a chip that takes targets learns what it leaves.

    Parameters
    ----------
    key
        Two programmers with one key leave the same on chips of the same kind, so that it is learnt once.
    program
        Called with a chip that takes pulses, of one core, signed targets (rows, columns) in uS for all of its cells,
        and the age in seconds, counted from the end of the call, at which they shall hold.
    """

    key: Hashable
    program: Callable[[Backend, FloatArray, float], None]
