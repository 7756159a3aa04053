"""A matrix of a network that is trained in memory: the arrays that hold it, and what waits to be written into them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from hwloop.nn.convert import MatrixOf
from hwloop.nn.in_memory.weights import Weights
from hwloop.typing import FloatArray, IndexArray


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
