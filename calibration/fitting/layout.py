"""Where the coefficients of a family lie in its parameter vector, and what each of them is.

A family names its coefficients once, in blocks such as those of one statistic. Its likelihood, predictions and figures
take blocks by name out of a vector, and reports say what every element means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from hwloop.devices.statistics import Statistic
from hwloop.files.models import Form, coefficient_meanings
from hwloop.typing import FloatArray

Vector = TypeVar("Vector", FloatArray, torch.Tensor)
"""Numbers as numpy or torch has them: what is given in one comes back in the same."""


def exp(values: Vector) -> Vector:
    """Return e to the power of every value."""
    return torch.exp(values) if isinstance(values, torch.Tensor) else np.exp(values)


def apply(statistic: Statistic, g: Vector) -> Vector:
    """Return a statistic at g (n,)."""
    found = statistic(g)
    return found if isinstance(found, torch.Tensor) else np.asarray(found, np.float64)


@dataclass(frozen=True)
class Coefficient:
    """One element of a parameter vector."""

    name: str
    """As reports call it, such as "mean.slope"."""
    unit: str
    meaning: str
    """What it says, for people."""
    log: bool = False
    """Whether the vector holds the logarithm of the value, which is then positive."""
    start: float = 0.0
    """Element of the vector from which a search begins, where the family does not look for a better one."""
    note: str = ""
    """Why it is held at its value, where that is nothing to warn of."""
    widest: float = math.inf
    """Width of an interval beyond which the data do not tell it: more than it could be at all."""


@dataclass(frozen=True)
class Block:
    """Coefficients that belong together, and lie side by side."""

    name: str
    coefficients: tuple[Coefficient, ...]
    shown: bool = True
    """Whether reports show them; what is fitted along and means nothing to people stands at the end of the vector."""

    @classmethod
    def of_statistic(
        cls, name: str, form: Form, quantity: str, g_scale: float, *, log: bool = False, widest: float = math.inf
    ) -> Block:
        """Make the block of the coefficients of a statistic of the normalised conductance.

        Parameters
        ----------
        name
            Of the statistic.
        form
            Its shape.
        quantity
            What it is a statistic of, for people.
        g_scale
            Conductance (uS) that counts as 1.
        log
            Whether the vector holds logarithms of the coefficients.
        widest
            See `Coefficient`.
        """
        meanings = coefficient_meanings(form, quantity, g_scale)
        rows = (Coefficient(f"{name}.{one}", "1", text, log, widest=widest) for one, text in meanings.items())
        return cls(name, tuple(rows))


@dataclass(frozen=True)
class Layout:
    """The blocks of a parameter vector, in their order."""

    blocks: tuple[Block, ...]

    @classmethod
    def single(cls, coefficients: Iterable[Coefficient]) -> Layout:
        """Lay out coefficients that are a block each, called as they are."""
        return cls(tuple(Block(one.name, (one,)) for one in coefficients))

    def __len__(self) -> int:
        return sum(len(block.coefficients) for block in self.blocks)

    def at(self, name: str) -> slice:
        """Return where a block lies in the vector."""
        first = 0
        for block in self.blocks:
            if block.name == name:
                return slice(first, first + len(block.coefficients))
            first += len(block.coefficients)
        raise KeyError(f"no block '{name}' among {', '.join(block.name for block in self.blocks)}")

    def index(self, name: str) -> int:
        """Return where a single coefficient, or the first of a block, lies in the vector."""
        for k, item in enumerate(item for block in self.blocks for item in block.coefficients):
            if item.name == name:
                return k
        return int(self.at(name).start)

    def part(self, theta: Vector, name: str) -> Vector:
        """Return the elements of a block."""
        found: Vector = theta[self.at(name)]
        return found

    def one(self, theta: Vector, name: str) -> Vector:
        """Return the only element of a block, as a scalar."""
        found: Vector = theta[self.at(name).start]
        return found

    @property
    def shown(self) -> list[Coefficient]:
        """Coefficients that reports show."""
        return [item for block in self.blocks if block.shown for item in block.coefficients]

    @property
    def start(self) -> FloatArray:
        """Vector from which a search begins, by the coefficients' own starting values."""
        return np.array([item.start for block in self.blocks for item in block.coefficients])

    def vector(self, parts: Mapping[str, FloatArray | float]) -> FloatArray:
        """Return the vector of which these are the blocks.

        Raises ValueError when a block is missing, unknown, or of another size.
        """
        names = [block.name for block in self.blocks]
        if sorted(parts) != sorted(names):
            raise ValueError(f"blocks {sorted(parts)} given for {sorted(names)}")
        found = [np.atleast_1d(np.asarray(parts[name], np.float64)) for name in names]
        for block, values in zip(self.blocks, found, strict=True):
            if values.size != len(block.coefficients):
                raise ValueError(f"{values.size} values given for the {len(block.coefficients)} of '{block.name}'")
        return np.concatenate(found)
