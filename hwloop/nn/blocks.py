"""Matrices cut into blocks that columns add up in one go, and the digital correction of those columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Blocks:
    """How a matrix (groups, inputs, outputs) is cut into blocks that a column adds up in one go."""

    groups: int
    inputs: int
    outputs: int
    tiles: int
    rows: int

    @classmethod
    def of(cls, shape: Sequence[int], rows: int) -> Blocks:
        """Cut a matrix of a shape into tiles of at most `rows` inputs."""
        groups, inputs, outputs = shape
        tiles = max(1, math.ceil(inputs / rows))
        return cls(groups, inputs, outputs, tiles, inputs if tiles == 1 else rows)

    @property
    def _missing(self) -> int:
        return self.tiles * self.rows - self.inputs

    def cut(self, matrix: torch.Tensor) -> torch.Tensor:
        """Cut (groups, inputs, outputs) into (blocks, rows, outputs); rows that are missing hold zeros."""
        whole = functional.pad(matrix, (0, 0, 0, self._missing)) if self._missing else matrix
        return whole.reshape(self.groups * self.tiles, self.rows, self.outputs)

    def cut_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """Cut (vectors, groups * inputs) into (blocks, vectors, rows)."""
        by_group = x.reshape(len(x), self.groups, self.inputs)
        whole = functional.pad(by_group, (0, self._missing)) if self._missing else by_group
        return whole.reshape(len(x), -1, self.rows).transpose(0, 1)

    def join(self, y: torch.Tensor) -> torch.Tensor:
        """Add up tiles of (blocks, vectors, outputs): (vectors, groups * outputs)."""
        added = y.reshape(self.groups, self.tiles, -1, self.outputs).sum(1)
        return added.transpose(0, 1).reshape(-1, self.groups * self.outputs)


def per_weight(weights: torch.Tensor, largest: float) -> torch.Tensor:
    """Give the conductance of a unit weight (blocks, 1, columns), uS: the largest of a column takes `largest` uS."""
    most = weights.abs().amax(1, keepdim=True)
    return torch.where(most > 0, largest / most.clamp(min=torch.finfo(most.dtype).tiny), 1.0)


@dataclass(frozen=True)
class Affine:
    """A gain and an offset of every column, from column sums to weight units.

    Parameters
    ----------
    gain, offset
        (blocks, 1, columns), weight units per uS, and weight units.
    """

    gain: torch.Tensor
    offset: torch.Tensor | float

    def __call__(self, sums: torch.Tensor) -> torch.Tensor:
        """Correct sums (blocks, vectors, columns), uS."""
        return sums * self.gain + self.offset

    @classmethod
    def of(cls, cells: torch.Tensor, weights: torch.Tensor, scale: torch.Tensor, sample: torch.Tensor | None) -> Affine:
        """Fit columns by least squares.

        Parameters
        ----------
        cells, weights
            (blocks, rows, columns) conductances in uS, and what they should do.
        scale
            (blocks, 1, columns) conductance of a unit weight as it was programmed, uS, for columns that tell nothing.
        sample
            (blocks, vectors, rows) inputs; None: independent ones without a mean, for which there is no offset.
        """
        plain = fitted(cells, weights, 1.0 / scale)
        if sample is None:
            return cls(plain, 0.0)
        sums, wanted = sample @ cells, sample @ weights
        mean, aim = sums.mean(1, keepdim=True), wanted.mean(1, keepdim=True)
        gain = fitted(sums - mean, wanted - aim, plain)
        return cls(gain, aim - gain * mean)

    def with_factor(self, cells: torch.Tensor, weights: torch.Tensor, sample: torch.Tensor | None) -> Affine:
        """Multiply what it gives by one factor for each block, which brings these cells nearest to the weights."""
        inputs = torch.eye(cells.shape[1], dtype=cells.dtype, device=cells.device) if sample is None else sample
        now, wanted = self(inputs @ cells).flatten(1)[..., None], (inputs @ weights).flatten(1)[..., None]
        factor = fitted(now, wanted, torch.ones_like(now[:, :1]))
        return replace(self, gain=self.gain * factor, offset=self.offset * factor)


def fitted(values: torch.Tensor, wanted: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
    """Give the factors (blocks, 1, columns) of least squares from values to what is wanted, (blocks, n, columns) each.

    A factor that is not above zero, or that nothing tells of, is that of `otherwise`.
    """
    power, shared = values.square().sum(1, keepdim=True), (values * wanted).sum(1, keepdim=True)
    tells = (power > torch.finfo(power.dtype).tiny) & (shared > 0)
    return torch.where(tells, shared / power.clamp(min=torch.finfo(power.dtype).tiny), otherwise)
