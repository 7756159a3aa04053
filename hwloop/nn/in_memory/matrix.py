"""A matrix of a network that is trained in memory: the arrays that hold it, and what waits to be written into them."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.nn.convert import MatrixOf
from hwloop.typing import CodeArray, FloatArray, IndexArray


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
    def pulses(self) -> FloatArray:
        """Return the pulses that each weight has received (rows, columns), those of several devices added up."""


@dataclass
class Waiting:
    """Inputs and errors of one replica, in the order of the updates to come."""

    x: list[FloatArray] = field(default_factory=list)
    d: list[FloatArray] = field(default_factory=list)

    def add(self, x: FloatArray, d: FloatArray) -> None:
        """Keep inputs (vectors, rows) and errors (vectors, columns)."""
        self.x.append(x)
        self.d.append(d)

    def take(self) -> tuple[FloatArray, FloatArray] | None:
        """Give all that waits, and keep nothing; None where nothing does."""
        x, d, self.x, self.d = self.x, self.d, [], []
        if not x:
            return None
        return (x[0], d[0]) if len(x) == 1 else (np.concatenate(x), np.concatenate(d))


@dataclass
class TrainedMatrix:
    """A matrix of a network on devices that are trained.

    Parameters
    ----------
    source
        Its layer, and what it is called there; the digital values are those of the beginning, or of the last readout.
    replicas
        What holds it; several replicas share the vectors out among themselves at random.
    scale
        Weight of the network that stands for 1.0 on the chip.
    more
        Takes cells for a further array of the same shape, with a name for messages.
    random
        Source of all that is drawn outside of the chip.
    train_length
        Slots of a pulse train at most.
    """

    source: MatrixOf
    replicas: list[Weights]
    scale: float
    more: Callable[[str], Weights]
    random: np.random.Generator
    train_length: int
    waiting: list[Waiting] = field(init=False)

    def __post_init__(self) -> None:
        self.waiting = [Waiting() for _ in self.replicas]

    @property
    def name(self) -> str:
        """Path of the layer and name of the matrix."""
        return self.source.name

    @property
    def parameter(self) -> nn.Parameter:
        """What stands for it in the network."""
        return self.source.layer.parameter_of(self.source.own_name)

    @property
    def shape(self) -> tuple[int, int]:
        """(inputs, outputs)."""
        return self.replicas[0].shape

    @property
    def digital(self) -> FloatArray:
        """The digital values (inputs, outputs)."""
        values: FloatArray = self.source.values()[0].to(torch.float64).numpy(force=True)
        return values

    def read(self) -> FloatArray:
        """Read the matrix from the devices, (inputs, outputs); of replicas, their mean. The parameter becomes this."""
        found: FloatArray = self.scale * np.mean([one.weights() for one in self.replicas], axis=0)
        self.source.values()[0].copy_(torch.from_numpy(found))
        return found

    def write(self, transfer_noise: float) -> None:
        """Write the digital values into the devices.

        Parameters
        ----------
        transfer_noise
            Standard deviation of an error of every weight, over the largest of them.
        """
        wanted = self.digital / self.scale
        noise = transfer_noise * float(np.abs(wanted).max(initial=0.0))
        for one in self.replicas:
            one.write(wanted + noise * self.random.standard_normal(wanted.shape))

    def share_out(self, vectors: int) -> IndexArray:
        """Draw which replica each of the vectors goes to, so that all have their part."""
        which = np.arange(vectors) % len(self.replicas)
        self.random.shuffle(which)
        return which


def one_hot(rows: IndexArray, count: int) -> FloatArray:
    """Return vectors (n, count), each with a 1 at one row."""
    made = np.zeros((len(rows), count))
    made[np.arange(len(rows)), rows] = 1.0
    return made
