"""Input vectors for probing a crossbar."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard

IntInputs = NDArray[np.int32]


def uniform_inputs(rng: np.random.Generator, vectors: int, rows: int, input_max: int) -> IntInputs:
    """Independent uniform integers in [-input_max, input_max], shape (vectors, rows)."""
    return rng.integers(-input_max, input_max + 1, (vectors, rows), dtype=np.int32)


def hadamard_block(rows: int) -> int:
    """Vectors in one complete Hadamard design for this many rows: the power of two that is not smaller."""
    return 1 << max(0, rows - 1).bit_length()


def hadamard_inputs(rng: np.random.Generator, blocks: int, rows: int, amplitude: int) -> IntInputs:
    """Optimal weighing design: `blocks` complete Hadamard designs with random signs, (blocks * n, rows) integers.

    Within each block the rows' inputs are orthogonal, so that X^T X = blocks * n * amplitude^2 * identity and every
    cell is measured by all vectors with no cross-talk from the others (Hotelling, Ann. Math. Stat. 15, 297, 1944).
    """
    n = hadamard_block(rows)
    design = hadamard(n, dtype=np.int32)
    parts = []
    for _ in range(blocks):
        chosen = rng.permutation(n)[:rows]
        signs = rng.choice(np.array([-1, 1], np.int32), rows)
        flips = rng.choice(np.array([-1, 1], np.int32), (n, 1))
        parts.append(amplitude * design[:, chosen] * signs * flips)
    return np.concatenate(parts)
