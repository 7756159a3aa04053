"""Input vectors for probing a crossbar: uniform random ones, and Hadamard designs that measure every cell."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.linalg import hadamard

from hwloop.typing import CodeArray, FloatArray


def uniform_inputs(rng: np.random.Generator, vectors: int, rows: int, input_max: int) -> CodeArray:
    """Draw independent uniform integers in [-input_max, input_max], shape (vectors, rows)."""
    return rng.integers(-input_max, input_max + 1, (vectors, rows), dtype=np.int32)


def hadamard_block(rows: int) -> int:
    """Return the vectors in one complete Hadamard design for so many rows: the power of two that is not smaller."""
    return 1 << max(0, rows - 1).bit_length()


def hadamard_blocks(rows: int, vectors: int) -> int:
    """Return how many complete Hadamard designs for so many rows have at least `vectors` vectors together."""
    return -(-vectors // hadamard_block(rows))


def hadamard_inputs(rng: np.random.Generator, blocks: int, rows: int, amplitude: int) -> CodeArray:
    """Draw an optimal weighing design: complete Hadamard designs with random signs.

    Within each block the rows' inputs are orthogonal, so that X^T X = blocks * n * amplitude^2 * identity and every
    cell is measured by all vectors with no cross-talk from the others (Hotelling, Ann. Math. Stat. 15, 297, 1944).

    Parameters
    ----------
    rng
        Chooses the columns of the design and the signs.
    blocks
        Complete designs of n = `hadamard_block(rows)` vectors each.
    rows
        Rows to drive.
    amplitude
        Magnitude of every input, an integer.

    Returns
    -------
    ndarray
        (blocks * n, rows) integers, all of them `amplitude` or its negative.
    """
    n = hadamard_block(rows)
    design = hadamard(n, dtype=np.int32)
    parts = []
    for _ in range(blocks):
        chosen = rng.permutation(n)[:rows]
        signs = rng.choice(np.array([-1, 1], np.int32), rows)
        flips = rng.choice(np.array([-1, 1], np.int32), (n, 1))
        parts.append(design.take(chosen, axis=1) * ((amplitude * signs) * flips))
    return np.concatenate(parts)


@dataclass(frozen=True)
class HadamardProbe:
    """A Hadamard measurement of all cells: the inputs to send, and how outputs tell each cell's conductance."""

    inputs: CodeArray
    """(vectors, rows) integers."""
    input_max: int
    """Input that stands for 1."""

    @functools.cached_property
    def drive(self) -> FloatArray:
        """Inputs as fractions of the largest, (vectors, rows)."""
        return self.inputs / self.input_max

    @functools.cached_property
    def power(self) -> float:
        """Sum of squares of one row's drive, the same for every row."""
        return float((self.drive[:, 0] ** 2).sum())

    def cells(self, outputs: FloatArray) -> FloatArray:
        """Return what each cell (rows, columns) contributes to outputs (vectors, columns), in their unit."""
        contribution: FloatArray = self.drive.T @ outputs / self.power
        return contribution
