"""Products: what multiplies the input vectors of a layer by one of its matrices.

A converted layer does not know where its matrices lie. It hands input vectors and the digital matrix to a product:
`Exact` computes in float, `Recording` besides keeps a sample of the vectors, `hwloop.nn.on_chip` sends them through a
chip, `hwloop.nn.noise_aware` adds the noise of one.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator

import torch


class Product(abc.ABC):
    """Multiplies input vectors by one matrix of a layer."""

    @abc.abstractmethod
    def __call__(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Multiply.

        Parameters
        ----------
        x
            (vectors, groups * inputs) float inputs.
        matrix
            (groups, inputs, outputs) digital weights; every group of inputs has a matrix of its own.

        Returns
        -------
        Tensor
            (vectors, groups * outputs).
        """


class Exact(Product):
    """Multiplies in float, as the digital network does."""

    def __call__(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Multiply every group of inputs by its matrix."""
        groups, inputs, outputs = matrix.shape
        if groups == 1:
            return x @ matrix[0]
        by_group = x.reshape(-1, groups, inputs).transpose(0, 1)
        return (by_group @ matrix).transpose(0, 1).reshape(-1, groups * outputs)


EXACT = Exact()
"""Of matrices that lie nowhere yet."""


class Recording(Exact):
    """Multiplies in float and keeps a uniform random sample of all input vectors that it has seen."""

    def __init__(self, vectors: int, seed: int, turns: Iterator[int]) -> None:
        """Keep at most `vectors` of them; `seed` draws which, and `turns` numbers products as they are first used."""
        self._turns, self.turn = turns, 0
        self._most = vectors
        self._random = torch.Generator().manual_seed(seed)
        self._kept: torch.Tensor | None = None
        self._keys = torch.empty(0)

    def __call__(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        """Keep vectors by random keys, the largest of all so far, and multiply."""
        if self._kept is None:
            self.turn = next(self._turns)
        keys = torch.rand(len(x), generator=self._random)
        new, self._keys = x.detach().to("cpu", torch.float32), torch.cat([self._keys, keys])
        pool = new if self._kept is None else torch.cat([self._kept, new])
        if len(pool) > self._most:
            self._keys, order = self._keys.topk(self._most)
            pool = pool[order]
        self._kept = pool
        return super().__call__(x, matrix)

    @property
    def sample(self) -> torch.Tensor | None:
        """(vectors, groups * inputs) float32 inputs; None before the first."""
        return self._kept
