"""Mixed precision: gradients add up in digital, and whole steps of them go to the devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hwloop.nn.in_memory.weights import Weights
from hwloop.optim.rule import DigitalWork, Rule, Saved, Updater
from hwloop.typing import AnyArray, FloatArray

if TYPE_CHECKING:
    from hwloop.nn.in_memory.matrix import TrainedMatrix


@dataclass(frozen=True)
class MixedPrecisionRule(Rule):
    """Mixed-precision training (Nandakumar et al., Frontiers in Neuroscience 14, 406, 2020).

    The outer products of a batch are added to a digital matrix chi. Whatever of it is a whole number of steps goes to
    the devices, row by row, and is taken off chi. Defaults after MixedPrecisionCompound of aihwkit 1.2.0, but
    for the granularity and that transfers come batch by batch.
    """

    name: ClassVar[str] = "mixed-precision"
    lr: ClassVar[float] = 0.3

    granularity: float = 50.0
    """Steps of a device that a change must reach before it is written. On devices whose every pulse draws its noise
    anew, few long writes leave less of it than many single steps, which are what the paper has (1)."""
    transfer_every: int = 1
    """Batches from one transfer to the next."""
    most_writes: int = 31
    """Such changes of a weight in one transfer at most; what is beyond waits."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("granularity", 1e-3, 1e6), ("transfer_every", 1, 1_000_000), ("most_writes", 1, 1_000_000),
        ):  # fmt: skip
            self._require(name, low, high)

    def start(self, matrix: TrainedMatrix, weights: Weights) -> Updater:
        """Begin on one replica of a matrix; no further cells are needed."""
        return _Updater(self, matrix, weights)

    def digital_work(self, rows: int, columns: int) -> DigitalWork:
        """Count O(rows columns): the outer product in digital, and a number for every weight."""
        return DigitalWork(2.0 * rows * columns, rows * columns)


class _Updater(Updater):
    def __init__(self, rule: MixedPrecisionRule, matrix: TrainedMatrix, weights: Weights) -> None:
        super().__init__(matrix, weights)
        self._rule, self._batches = rule, 0
        self._chi = np.zeros(weights.shape)

    def update(self, x: FloatArray, d: FloatArray, lr: float) -> None:
        """Add the gradients up, and write what has become whole steps."""
        rule, size = self._rule, self._rule.granularity * self.weights.step
        self._chi -= lr * (x.T @ d)
        self._batches += 1
        if self._batches % rule.transfer_every:
            return
        units = np.clip(np.trunc(self._chi / size), -rule.most_writes, rule.most_writes)
        steps = np.rint(units * rule.granularity).astype(np.int32)
        self._chi -= steps * self.weights.step
        rows = np.flatnonzero(steps.any(1))
        self.weights.step_rows(rows, steps[rows])

    def state(self) -> dict[str, AnyArray]:
        """Give chi, and the batches so far."""
        return {"chi": self._chi.copy(), "batches": np.array([self._batches])}

    def restore(self, saved: Saved) -> None:
        """Take back what `state` gave."""
        self._chi, self._batches = np.array(saved["chi"], np.float64), int(saved["batches"][0])
