"""Stochastic Hamiltonian descent: the weights follow a momentum that lives in a second array, at every step at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hwloop.nn.in_memory.weights import Weights
from hwloop.optim.rule import DigitalWork, Rule, Saved, Updater
from hwloop.typing import AnyArray, FloatArray, IndexArray

if TYPE_CHECKING:
    from hwloop.nn.in_memory.matrix import TrainedMatrix


@dataclass(frozen=True)
class HamiltonianRule(Rule):
    """Stochastic Hamiltonian descent (Onen et al., arXiv 2201.13377, 2022), as implemented here.

    Two arrays as in Tiki-Taka. The gradient goes into the momentum array A, whose asymmetry pulls it back to its
    symmetry point, which must be its zero: friction. Again and again the weights C take A up in parallel: a vector u of
    random signs on the rows is multiplied by A, and C gets the pulsed outer product of u with what comes out. Its mean
    is A, because the signs of different rows are independent; what other rows add is noise that averages out. Rows take
    part in an order drawn at random, all of them before the first does again, so that none lags behind by chance. So A
    is the momentum and C the position of a dissipative Hamiltonian system, which comes to rest where A and the mean
    gradient are zero. The paper was known from its abstract and from papers that follow it, not its details.
    """

    name: ClassVar[str] = "shd"
    lr: ClassVar[float] = 0.3

    momentum_lr: float = 1.0
    """Learning rate of the momentum array, over that of the optimiser."""
    transfer_lr: float = 0.125
    """Learning rate of the weights, over that of the optimiser."""
    active_rows: int = 1
    """Rows of u that are not zero, drawn at random: more of them move more weights in a step, with more noise."""
    transfer_every: float = 1.0
    """Update vectors from one vector u to the next; those of a batch are sent at its end. Many small transfers move the
    weights as far as few large ones, and keep within the length of a pulse train."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("momentum_lr", 0.0, 1e6), ("transfer_lr", 0.0, 1e6), ("active_rows", 1, 1_000_000),
            ("transfer_every", 1e-3, 1e6),
        ):  # fmt: skip
            self._require(name, low, high)

    def start(self, matrix: TrainedMatrix, weights: Weights) -> Updater:
        """Begin on one replica of a matrix, and take cells for the momentum."""
        return _Updater(self, matrix, weights)

    def digital_work(self, rows: int, columns: int) -> DigitalWork:
        """Count nothing: the signs are drawn by the pulse generators, and what is read goes back to them."""
        return DigitalWork(0.0, 0)


class _Updater(Updater):
    def __init__(self, rule: HamiltonianRule, matrix: TrainedMatrix, weights: Weights) -> None:
        super().__init__(matrix, weights)
        self._rule, self._momentum = rule, matrix.more("momentum")
        self._due = 0.0
        self._order: IndexArray = np.zeros(0, np.int64)
        """Rows that have not taken part in this round, in the order in which they will."""

    def update(self, x: FloatArray, d: FloatArray, lr: float) -> None:
        """Let the gradients change the momentum, and the momentum the weights."""
        rule = self._rule
        self._momentum.update(x, d, -lr * rule.momentum_lr)
        self._due += len(x) / rule.transfer_every
        due = int(self._due)
        self._due -= due
        if not due:
            return
        u = self._signs(due)
        self.weights.update(u, self._momentum.probe(u), lr * rule.transfer_lr)

    def _signs(self, count: int) -> FloatArray:
        """Draw vectors u (count, rows)."""
        random, rows = self.matrix.random, self.weights.shape[0]
        active = min(self._rule.active_rows, rows)
        while len(self._order) < count * active:
            self._order = np.concatenate([self._order, random.permutation(rows)])
        which, self._order = self._order[: count * active], self._order[count * active :]
        u = np.zeros((count, rows))
        u[np.repeat(np.arange(count), active), which] = random.choice([-1.0, 1.0], count * active)
        return u

    def state(self) -> dict[str, AnyArray]:
        """Give the transfers that are due, and the rows whose turn has not come."""
        return {"due": np.array([self._due]), "order": self._order.copy()}

    def restore(self, saved: Saved) -> None:
        """Take back what `state` gave."""
        self._due = float(saved["due"][0])
        self._order = np.array(saved.get("order", ()), np.int64)  # files of before have no order of rows

    def arrays(self) -> dict[str, Weights]:
        """Give weights and momentum."""
        return {"weights": self.weights, "momentum": self._momentum}
