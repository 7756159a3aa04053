"""Algorithms with a digital buffer between a fast array and the weights: TTv2, c-TTv2 and AGAD.

The gradient gathers in the fast array A. After every update vector one row of A is read, in turn, and added to a
digital buffer H; where H has reached a whole step, the weights are pulsed once. The buffer averages over reads, so that
devices with few states and much noise will do (Gokmen, Frontiers in Artificial Intelligence 4, 699148, 2021).

The reads of a batch are made together at its end, which is the same but that they all see the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hwloop.nn.in_memory.weights import Weights
from hwloop.optim.rule import DigitalWork, Rule, Saved, Updater, in_turn
from hwloop.typing import AnyArray, FloatArray, IndexArray

if TYPE_CHECKING:
    from hwloop.nn.in_memory.matrix import TrainedMatrix


@dataclass(frozen=True)
class BufferedRule(Rule):
    """What TTv2, c-TTv2 and AGAD have in common; defaults after ChoppedTransferCompound of aihwkit 1.2.0."""

    fast_lr: float = 0.5
    """Share of a full pulse train that the fast array gets from a typical update: its learning rate follows the running
    means of the largest inputs and errors."""
    mean_memory: float = 0.99
    """Share of these means that an update vector leaves as it was."""
    transfer_every: float = 1.0
    """Update vectors from the read of one row to that of the next."""
    granularity: float = 1000.0
    """A buffered weight makes a step when rows x granularity readings of one step have come together; over the number
    of rows, so that it takes as many update vectors in large and small matrices."""
    stride: int = 20
    """Steps that a weight makes at once when its buffered number is whole. On devices whose every pulse draws its noise
    anew, few long strides leave less of it than many single steps."""
    momentum: float = 0.1
    """Share of a buffered number that is left after its step."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("fast_lr", 0.0, 1e3), ("mean_memory", 0.0, 1.0), ("transfer_every", 1e-3, 1e6), ("granularity", 1e-3, 1e9),
            ("stride", 1, 4096), ("momentum", 0.0, 1.0),
        ):  # fmt: skip
            self._require(name, low, high)

    def start(self, matrix: TrainedMatrix, weights: Weights) -> Updater:
        """Begin on one replica of a matrix, and take cells for the fast array."""
        return Buffered(self, matrix, weights)

    def digital_work(self, rows: int, columns: int) -> DigitalWork:
        """Count O(columns): a row is scaled, added and compared; the buffer has a number for every weight."""
        return DigitalWork(3.0 * columns / self.transfer_every, rows * columns)


@dataclass(frozen=True)
class TTv2Rule(BufferedRule):
    """TTv2 (Gokmen, Frontiers in Artificial Intelligence 4, 699148, 2021).

    The zero of the fast array is its symmetry point: it must be known, and the reference must lie there.
    """

    name: ClassVar[str] = "ttv2"


@dataclass(frozen=True)
class ChoppedTTv2Rule(BufferedRule):
    """Chopped TTv2 (Rasch et al., Nature Communications 15, 7133, 2024; arXiv 2303.04721).

    The gradients of a row are gathered with a sign, the chopper, which is taken out again when the row is read, and
    changes at random: what an offset of the reference adds is averaged out.
    """

    name: ClassVar[str] = "c-ttv2"

    momentum: float = 0.0
    chop_probability: float = 0.05
    """Probability that the chopper of a row changes when it was read. Short trainings need more changes than the 0.01
    of the preset: a row of 64 is read 470 times in 20 epochs of 1 500 images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("chop_probability", 0.0, 1.0)

    def start(self, matrix: TrainedMatrix, weights: Weights) -> Updater:
        """Begin on one replica of a matrix, and take cells for the fast array."""
        return _Chopped(self, matrix, weights)

    def digital_work(self, rows: int, columns: int) -> DigitalWork:
        """Count as for TTv2, and a sign for every row."""
        return DigitalWork(3.0 * columns / self.transfer_every + 1.0, rows * columns + rows)


@dataclass(frozen=True)
class AGADRule(BufferedRule):
    """Analog gradient accumulation with dynamic reference (the same paper).

    Choppers change regularly, and the mean of the reads before a change is the reference after it: nothing needs to be
    known of symmetry points, and the fast array needs no reference of its own.
    """

    name: ClassVar[str] = "agad"

    momentum: float = 0.0
    chop_period: int = 50
    """Reads of a row from one change of its chopper to the next."""
    tail: float = 5.0
    """How much the last reads of a period count in the reference: it is a running mean over 1 / tail of the period."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("chop_period", 1, 1_000_000)
        self._require("tail", 1e-3, 1e6)

    def start(self, matrix: TrainedMatrix, weights: Weights) -> Updater:
        """Begin on one replica of a matrix, and take cells for the fast array."""
        return _Dynamic(self, matrix, weights)

    def digital_work(self, rows: int, columns: int) -> DigitalWork:
        """Count as for TTv2, with the reference taken off and followed: three numbers for every weight."""
        return DigitalWork(7.0 * columns / self.transfer_every + 1.0, 3 * rows * columns + 2 * rows)


class Buffered(Updater):
    """A fast array and a buffer."""

    def __init__(self, rule: BufferedRule, matrix: TrainedMatrix, weights: Weights) -> None:
        """Begin with an empty buffer."""
        super().__init__(matrix, weights)
        self._rule, self._fast = rule, matrix.more("fast array")
        self._buffer = np.zeros(weights.shape)
        self._signs = np.ones(weights.shape[0])
        self._counters = np.zeros(4)
        """Row that comes next, reads that are due, and the running means of the largest inputs and errors."""

    def update(self, x: FloatArray, d: FloatArray, lr: float) -> None:
        """Gather the gradients, and transfer the rows whose turn it is."""
        rule = self._rule
        rate = self._fast_rate(x, d)
        if rate > 0:
            self._fast.update(x * self._signs, d, -rate)
        self._counters[1] += len(x) / rule.transfer_every
        due = int(self._counters[1])
        self._counters[1] -= due
        rows = self.weights.shape[0]
        for which in in_turn(int(self._counters[0]), due, rows):
            self._transfer(which, lr)
        self._counters[0] = (self._counters[0] + due) % rows

    def _fast_rate(self, x: FloatArray, d: FloatArray) -> float:
        """Return the learning rate of the fast array, after taking a batch into the running means."""
        found = np.array([np.abs(x).max(1).mean(), np.abs(d).max(1).mean()])
        means, left = self._counters[2:], self._rule.mean_memory ** len(x)
        means[:] = np.where(means > 0, left * means + (1 - left) * found, found)
        product = float(means.prod())
        full = self._rule.fast_lr * self.matrix.train_length * self._fast.step
        return full / product if product > 0 else 0.0

    def _transfer(self, which: IndexArray, lr: float) -> None:
        """Read rows of the fast array, and step the weights where the buffer has become whole."""
        rule = self._rule
        size = rule.granularity * self._fast.step / (self.weights.shape[0] * rule.transfer_every)
        found = self._signs[which, None] * self._reading(which)
        buffer = self._buffer[which] + found * (lr / size)
        whole = np.clip(np.trunc(buffer), -1.0, 1.0)
        self._buffer[which] = np.where(whole != 0, rule.momentum * buffer, buffer)
        self.weights.step_rows(which, (rule.stride * whole).astype(np.int32))
        self._chop(which)

    def _reading(self, which: IndexArray) -> FloatArray:
        """Read rows (n,) of the fast array, (n, columns), less what is no gradient."""
        return self._fast.read_rows(which)

    def _chop(self, which: IndexArray) -> None:
        """Change the choppers of rows that were read, where it is time."""

    def state(self) -> dict[str, AnyArray]:
        """Give buffer, choppers and counters."""
        return {"buffer": self._buffer.copy(), "signs": self._signs.copy(), "counters": self._counters.copy()}

    def restore(self, saved: Saved) -> None:
        """Take back what `state` gave."""
        self._buffer, self._signs = np.array(saved["buffer"], np.float64), np.array(saved["signs"], np.float64)
        self._counters = np.array(saved["counters"], np.float64)

    def arrays(self) -> dict[str, Weights]:
        """Give weights and fast array."""
        return {"weights": self.weights, "fast array": self._fast}


class _Chopped(Buffered):
    _rule: ChoppedTTv2Rule

    def _chop(self, which: IndexArray) -> None:
        change = self.matrix.random.random(len(which)) < self._rule.chop_probability
        self._signs[which[change]] *= -1.0


class _Dynamic(Buffered):
    _rule: AGADRule

    def __init__(self, rule: AGADRule, matrix: TrainedMatrix, weights: Weights) -> None:
        super().__init__(rule, matrix, weights)
        self._mean, self._reference = np.zeros(weights.shape), np.zeros(weights.shape)
        self._reads = np.zeros(weights.shape[0], np.int64)

    def _reading(self, which: IndexArray) -> FloatArray:
        share = min(self._rule.tail / self._rule.chop_period, 1.0)
        found = super()._reading(which)
        self._mean[which] += share * (found - self._mean[which])
        known = self._reads[which] >= self._rule.chop_period  # before the first change there is no reference
        return np.where(known[:, None], found - self._reference[which], 0.0)

    def _chop(self, which: IndexArray) -> None:
        self._reads[which] += 1
        over = which[self._reads[which] % self._rule.chop_period == 0]
        self._signs[over] *= -1.0
        self._reference[over] = self._mean[over]

    def state(self) -> dict[str, AnyArray]:
        own = {"mean": self._mean.copy(), "reference": self._reference.copy(), "reads": self._reads.copy()}
        return super().state() | own

    def restore(self, saved: Saved) -> None:
        super().restore(saved)
        self._mean, self._reference = np.array(saved["mean"], np.float64), np.array(saved["reference"], np.float64)
        self._reads = np.array(saved["reads"], np.int64)
