"""Stochastic gradient descent on the weights themselves, by pulses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hwloop.nn.in_memory.weights import Weights
from hwloop.optim.rule import DigitalWork, Rule, Updater
from hwloop.typing import FloatArray

if TYPE_CHECKING:
    from hwloop.nn.in_memory.matrix import TrainedMatrix


@dataclass(frozen=True)
class SGDRule(Rule):
    """Pulsed stochastic gradient descent: every gradient goes into the weights as one pulsed outer product.

    On devices whose steps up and down differ, random pulses pull each weight to its symmetry point, and the descent
    does not end at the minimum (Gokmen and Vlasov, Frontiers in Neuroscience 10, 333, 2016).
    """

    name: ClassVar[str] = "sgd"

    def start(self, matrix: TrainedMatrix, weights: Weights) -> Updater:
        """Begin on one replica of a matrix; no further cells are needed."""
        return _Updater(matrix, weights)

    def digital_work(self, rows: int, columns: int) -> DigitalWork:
        """Count nothing: O(1) of pulse generators alone."""
        return DigitalWork(0.0, 0)


class _Updater(Updater):
    def update(self, x: FloatArray, d: FloatArray, lr: float) -> None:
        """Send the gradients to the weights."""
        self.weights.update(x, d, -lr)
