"""What a model says of a conductance that nobody has measured yet: a distribution, to be asked and drawn from."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

from hwloop.devices.normal import t_density
from hwloop.errors import BadInputError
from hwloop.typing import FloatArray


class Predicted(abc.ABC):
    """The distribution of the conductance of one device, or of each of many; arrays broadcast against `shape`."""

    shape: tuple[int, ...]
    """Shape of the devices: () for one."""
    scale: float
    """A conductance (uS) of the order of what is predicted, from which a search for quantiles begins."""
    positive: bool = True
    """Whether no conductance lies below zero."""
    halvings: ClassVar[int] = 60
    """Halvings of the range in which a quantile is sought."""
    doublings: ClassVar[int] = 60
    """Doublings, at most, of the range until it holds the quantile."""

    @abc.abstractmethod
    def density(self, conductance: FloatArray | float) -> FloatArray:
        """Return the probability density (1/uS) at conductances (uS)."""

    @abc.abstractmethod
    def cdf(self, conductance: FloatArray | float) -> FloatArray:
        """Return the probability to be at or below conductances (uS)."""

    def quantile(self, probability: FloatArray | float) -> FloatArray:
        """Return the conductance (uS) that is not exceeded with a probability between 0 and 1.

        Raises BadInputError for a probability that is not.
        """
        wanted = np.broadcast_to(probability, np.broadcast_shapes(np.shape(probability), self.shape)).astype(np.float64)
        if not ((wanted > 0) & (wanted < 1)).all():
            raise BadInputError("a quantile is of a probability between 0 and 1")
        high = np.full(wanted.shape, self.scale)
        low = np.zeros(wanted.shape) if self.positive else -high
        for _ in range(self.doublings):
            short, far = self.cdf(high) < wanted, (self.cdf(low) > wanted) & (not self.positive)
            if not (short.any() or far.any()):
                break
            high, low = np.where(short, 2.0 * high, high), np.where(far, 2.0 * low, low)
        for _ in range(self.halvings):
            middle = 0.5 * (low + high)
            below = self.cdf(middle) < wanted
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(0.5 * (low + high))

    def sample(self, rng: np.random.Generator, count: int = 1) -> FloatArray:
        """Draw conductances (count, *shape) in uS."""
        drawn = rng.random((count, *self.shape))
        return self.quantile(np.clip(drawn, 1e-12, 1.0 - 1e-12))

    def _describe(self, shape: tuple[int, ...], scale: float, *, positive: bool) -> None:
        """Set what follows from the parts of a frozen dataclass, while it is made."""
        vars(self).update(shape=shape, scale=scale, positive=positive)

    def outside(self, low: float, high: float) -> FloatArray:
        """Return the probability to be below `low` or above `high` (uS)."""
        return self.cdf(low) + 1.0 - self.cdf(high)


@dataclass(frozen=True)
class Blend(Predicted):
    """Several models that describe the measured data alike, each as likely as the others."""

    parts: Sequence[Predicted]

    def __post_init__(self) -> None:
        """Take over shape and scale."""
        parts = self.parts
        self._describe(parts[0].shape, max(one.scale for one in parts), positive=all(one.positive for one in parts))

    def density(self, conductance: FloatArray | float) -> FloatArray:
        """Return the mean of the parts' densities (1/uS)."""
        return np.asarray(np.mean([one.density(conductance) for one in self.parts], axis=0))

    def cdf(self, conductance: FloatArray | float) -> FloatArray:
        """Return the mean of the parts' probabilities."""
        return np.asarray(np.mean([one.cdf(conductance) for one in self.parts], axis=0))


@dataclass(frozen=True)
class Conditioned(Predicted):
    """The same devices, of each of which an earlier read is known: ranks of reads hang together (a t copula)."""

    of: Predicted
    score: FloatArray | float
    """Student's t that has the rank of the earlier read among what was predicted of it."""
    correlation: FloatArray | float
    """Of that score with the one of the read to come."""
    freedom: float
    """Degrees of freedom of scores: few where reads far out follow others far out."""

    def __post_init__(self) -> None:
        """Take over shape and scale."""
        shape = np.broadcast_shapes(self.of.shape, np.shape(self.score), np.shape(self.correlation))
        self._describe(shape, self.of.scale, positive=self.of.positive)

    def _over(self, score: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return how far scores are from what is expected of them, over their width, and that width."""
        rest = 1.0 - np.square(self.correlation)
        width = np.sqrt((self.freedom + np.square(self.score)) * rest / (self.freedom + 1.0))
        return (score - np.multiply(self.correlation, self.score)) / width, width

    def density(self, conductance: FloatArray | float) -> FloatArray:
        """Return the probability density (1/uS) at conductances (uS)."""
        score = t_score(self.of.cdf(conductance), self.freedom)
        over, width = self._over(score)
        factor = t_density(over, self.freedom + 1.0) / (width * t_density(score, self.freedom))
        return np.asarray(self.of.density(conductance) * factor)

    def cdf(self, conductance: FloatArray | float) -> FloatArray:
        """Return the probability to be at or below conductances (uS)."""
        over, _ = self._over(t_score(self.of.cdf(conductance), self.freedom))
        return np.asarray(special.stdtr(self.freedom + 1.0, over))


def t_score(probability: FloatArray, freedom: float) -> FloatArray:
    """Return the numbers that have these probabilities below them under Student's t; the outermost are held."""
    return np.asarray(special.stdtrit(freedom, np.clip(probability, 1e-9, 1.0 - 1e-9)))
