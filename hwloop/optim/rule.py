"""What every algorithm of training in memory is made of: a rule with its settings, and its state for one matrix."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np

from hwloop.calibration.settings import Settings
from hwloop.nn.in_memory.weights import Weights
from hwloop.typing import AnyArray, FloatArray

if TYPE_CHECKING:
    from hwloop.nn.in_memory.matrix import TrainedMatrix

Saved: TypeAlias = Mapping[str, AnyArray]
"""Digital state of an algorithm for one matrix, as named arrays."""


@dataclass(frozen=True)
class DigitalWork:
    """What an algorithm computes and keeps in digital beside the chip, for a matrix of some size.

    Forward and backward passes are not counted: they are the same for all.

    Parameters
    ----------
    operations
        Additions and multiplications for one update vector, in the mean.
    numbers
        Numbers in memory.
    """

    operations: float
    numbers: int


class Updater(abc.ABC):
    """An algorithm at work on one replica of a matrix: its further arrays, and its digital state."""

    def __init__(self, matrix: TrainedMatrix, weights: Weights) -> None:
        """Begin with the weights as they are; `matrix` gives out further cells."""
        self.matrix, self.weights = matrix, weights

    @abc.abstractmethod
    def update(self, x: FloatArray, d: FloatArray, lr: float) -> None:
        """Descend along a batch of gradients, the outer products of inputs and errors.

        Parameters
        ----------
        x
            (updates, rows) inputs of the layer.
        d
            (updates, columns) gradients of the loss for its outputs, over the scale of the matrix: with them, plain
            descent by `lr` moves the network's weights as it should.
        lr
            Learning rate.
        """

    def state(self) -> dict[str, AnyArray]:
        """Give the digital state, copied; nothing by default."""
        return {}

    def restore(self, saved: Saved) -> None:  # noqa: B027  some have no digital state
        """Take back what `state` gave."""

    def arrays(self) -> dict[str, Weights]:
        """Give the arrays of devices by what they are for; the weights alone by default."""
        return {"weights": self.weights}


@dataclass(frozen=True)
class Rule(Settings):
    """Base of the algorithms: frozen settings, which start an updater for each matrix."""

    name: ClassVar[str]
    """What commands call it."""
    lr: ClassVar[float] = 0.1
    """Learning rate unless another is given."""

    @abc.abstractmethod
    def start(self, matrix: TrainedMatrix, weights: Weights) -> Updater:
        """Begin on one replica of a matrix, and take the cells that it needs."""

    @abc.abstractmethod
    def digital_work(self, rows: int, columns: int) -> DigitalWork:
        """Tell what is computed beside the chip for a matrix of this size."""


def in_turn(first: int, count: int, rows: int) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return the next `count` rows of a matrix from `first` on, round and round, in parts without repetition."""
    parts = []
    while count > 0:
        size = min(count, rows)
        parts.append((first + np.arange(size)) % rows)
        first, count = (first + size) % rows, count - size
    return parts
