"""Tiki-Taka: a fast array gathers the gradient, and its rows are added to the weights in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hwloop.nn.in_memory.weights import Weights, one_hot
from hwloop.optim.rule import DigitalWork, Rule, Saved, Updater, in_turn
from hwloop.typing import AnyArray, FloatArray

if TYPE_CHECKING:
    from hwloop.nn.in_memory.matrix import TrainedMatrix


@dataclass(frozen=True)
class TikiTakaRule(Rule):
    """Tiki-Taka (Gokmen and Haensch, Frontiers in Neuroscience 14, 103, 2020; arXiv 1909.07908).

    The gradient goes into a fast array, whose devices fall back to their symmetry points where up and down steps
    balance: these must be their zeros. Now and then one row of it is read, in turn, and goes into the weights as a
    pulsed update. Learning rates after TransferCompound of aihwkit 1.2.0.
    """

    name: ClassVar[str] = "tiki-taka"
    lr: ClassVar[float] = 0.3

    fast_lr: float = 1.0
    """Learning rate of the fast array, over that of the optimiser."""
    transfer_lr: float = 1.0
    """Learning rate of the transfer, over that of the optimiser."""
    transfer_every: float = 8.0
    """Update vectors from the transfer of one row to that of the next; those of a batch are made at its end."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("fast_lr", 0.0, 1e6), ("transfer_lr", 0.0, 1e6), ("transfer_every", 1e-3, 1e6),
        ):  # fmt: skip
            self._require(name, low, high)

    def start(self, matrix: TrainedMatrix, weights: Weights) -> Updater:
        """Begin on one replica of a matrix, and take cells for the fast array."""
        return _Updater(self, matrix, weights)

    def digital_work(self, rows: int, columns: int) -> DigitalWork:
        """Count nothing but the counter of rows: what is read goes back to the pulse generators."""
        return DigitalWork(0.0, 1)


class _Updater(Updater):
    def __init__(self, rule: TikiTakaRule, matrix: TrainedMatrix, weights: Weights) -> None:
        super().__init__(matrix, weights)
        self._rule, self._fast = rule, matrix.more("fast array")
        self._row, self._due = 0, 0.0

    def update(self, x: FloatArray, d: FloatArray, lr: float) -> None:
        """Gather the gradients, and transfer rows when it is time."""
        rule, rows = self._rule, self.weights.shape[0]
        self._fast.update(x, d, -lr * rule.fast_lr)
        self._due += len(x) / rule.transfer_every
        due = int(self._due)
        for which in in_turn(self._row, due, rows):
            self.weights.update(one_hot(which, rows), self._fast.read_rows(which), lr * rule.transfer_lr)
        self._row, self._due = (self._row + due) % rows, self._due - due

    def state(self) -> dict[str, AnyArray]:
        """Give the row that comes next, and the transfers that are due."""
        return {"turn": np.array([self._row, self._due], np.float64)}

    def restore(self, saved: Saved) -> None:
        """Take back what `state` gave."""
        self._row, self._due = int(saved["turn"][0]), float(saved["turn"][1])

    def arrays(self) -> dict[str, Weights]:
        """Give weights and fast array."""
        return {"weights": self.weights, "fast array": self._fast}
