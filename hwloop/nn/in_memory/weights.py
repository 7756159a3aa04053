"""What holds a matrix that is trained: the arrays of devices behind one interface, without a word of torch."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import numpy as np

from hwloop.typing import CodeArray, FloatArray, IndexArray

if TYPE_CHECKING:
    from hwloop.calibration.certificate.certificate import Calibration


class Weights(abc.ABC):
    """What holds a matrix on a chip: one array of devices, or several whose weights add up."""

    shape: tuple[int, int]
    """(rows, columns): inputs and outputs."""
    step: float
    """Weight of one nominal step in the middle of the range."""
    zero: FloatArray | None = None
    """Weights (rows, columns) that `probe` takes off in digital: the symmetry points, where they were calibrated."""

    @abc.abstractmethod
    def forward(self, x: FloatArray) -> FloatArray:
        """Multiply inputs (vectors, rows): (vectors, columns)."""

    @abc.abstractmethod
    def backward(self, d: FloatArray) -> FloatArray:
        """Multiply errors (vectors, columns) by the transposed weights: (vectors, rows)."""

    @abc.abstractmethod
    def product(self, x: FloatArray) -> FloatArray:
        """Multiply inputs (vectors, rows) within -1 to 1 by the weights, with no management: (vectors, columns)."""

    def probe(self, x: FloatArray) -> FloatArray:
        """Multiply as `product` does by the weights less their zeros."""
        found = self.product(x)
        return found if self.zero is None else found - x @ self.zero

    @abc.abstractmethod
    def symmetry_points(self, calibration: Calibration) -> FloatArray:
        """Look up the weights (rows, columns) at which steps up and down are equal. Raises BadInputError without."""

    @abc.abstractmethod
    def update(self, x: FloatArray, d: FloatArray, rate: float, length: int | None = None) -> None:
        """Add `rate` times the outer products of x (updates, rows) and d (updates, columns), in the mean of pulses.

        Parameters
        ----------
        x, d
            Numbers of rows and columns, applied in order.
        rate
            Learning rate, in weights.
        length
            Slots of a train at most; None for the settings' own.
        """

    @abc.abstractmethod
    def step_rows(self, rows: IndexArray, steps: CodeArray) -> None:
        """Make whole numbers of steps (n, columns) in rows (n,), no row twice, signed by their direction."""

    def read_rows(self, rows: IndexArray) -> FloatArray:
        """Read rows (n,) of weights, (n, columns), each by a product with an input on that row alone."""
        return self.probe(one_hot(rows, self.shape[0]))

    @abc.abstractmethod
    def weights(self, averages: int = 16) -> FloatArray:
        """Read all weights (rows, columns)."""

    @abc.abstractmethod
    def write(self, wanted: FloatArray) -> float:
        """Bring weights (rows, columns) near what is wanted; return the root mean square of what is left."""

    @abc.abstractmethod
    def refresh(self, full: float, spare: float) -> int:
        """Empty the pairs of devices that have both filled up, and write them anew.

        Devices of a pair step up alone, so both fill up while their difference, the weight, goes to and fro. The
        weight is read, both are reset, and the weight is written into the empty pair, by counted pulses. Devices that
        step both ways need none of it.

        Parameters
        ----------
        full, spare
            Shares of a device's range beyond which one device of a pair, and the other one, must be.

        Returns
        -------
        int
            Pairs that were emptied.
        """

    @abc.abstractmethod
    def pulses(self) -> FloatArray:
        """Return the pulses that each weight has received (rows, columns), those of several devices added up."""


def one_hot(rows: IndexArray, count: int) -> FloatArray:
    """Return vectors (n, count), each with a 1 at one row."""
    made = np.zeros((len(rows), count))
    made[np.arange(len(rows)), rows] = 1.0
    return made
