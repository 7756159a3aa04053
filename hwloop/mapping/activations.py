"""Real inputs of a network's layers: ranges and fault correction are fitted to them, results are evaluated on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwloop.errors import BadInputError
from hwloop.mapping.tile import Tile
from hwloop.typing import FloatArray

CORESET = "hwloop-coreset"
"""Name of the array by which a .npz says that it is a coreset."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Vectors that stand for a larger set, each for as many of it as its weight says.

    Parameters
    ----------
    vectors
        (vectors, inputs) in the network's units.
    weights
        (vectors,) above zero; None where each vector stands for itself.

    Raises
    ------
    BadInputError
        For weights that are not above zero, or not one for each vector.
    """

    vectors: FloatArray
    weights: FloatArray | None = None

    def __post_init__(self) -> None:
        if self.weights is None:
            return
        if self.weights.shape != self.vectors.shape[:1]:
            raise BadInputError(
                f"{len(self.vectors)} vectors with weights of the shape {self.weights.shape}; expected one weight each"
            )
        if not (np.all(np.isfinite(self.weights)) and np.all(self.weights > 0)):
            raise BadInputError("weights of vectors must be finite and above zero")

    @property
    def shares(self) -> FloatArray:
        """(vectors,) weights whose mean is 1."""
        if self.weights is None:
            return np.ones(len(self.vectors))
        return np.asarray(self.weights / self.weights.mean())

    def __len__(self) -> int:
        return len(self.vectors)

    def inputs(self, which: slice) -> Sample:
        """Take some of the inputs of every vector."""
        return Sample(self.vectors[:, which], self.weights)

    def halves(self) -> tuple[Sample, Sample]:
        """Split it in the middle."""
        middle = -(-len(self) // 2)
        weights = (None, None) if self.weights is None else (self.weights[:middle], self.weights[middle:])
        return Sample(self.vectors[:middle], weights[0]), Sample(self.vectors[middle:], weights[1])

    def drawn(self, most: int, rng: np.random.Generator) -> Sample:
        """Draw at most so many vectors: a uniform sample by its weights, where it has some."""
        if self.weights is None:
            return Sample(self.vectors[rng.permutation(len(self))[:most]])
        if len(self) <= most:
            return self
        chance = self.weights / self.weights.sum()
        return Sample(self.vectors[rng.choice(len(self), most, p=chance)])


def sample_of(given: FloatArray | Sample) -> Sample:
    """Take an array as a sample in which every vector stands for itself."""
    return given if isinstance(given, Sample) else Sample(np.asarray(given, np.float64))


def of_tile(activations: Mapping[str, Sample] | None, tile: Tile) -> Sample | None:
    """Return the sample inputs (vectors, rows) of a tile, if there are any."""
    whole = (activations or {}).get(tile.tensor)
    return None if whole is None else whole.inputs(slice(tile.first_input, tile.first_input + tile.place.rows))
