"""Random words of 64 bits for compiled kernels: xoroshiro128+.

Blackman and Vigna, Scrambled linear pseudorandom number generators, ACM Transactions on Mathematical Software 47, 36
(2021), with the constants 24, 16 and 37. Halves of a word are compared with thresholds, and its upper sixteen bits
choose a normal number.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Bits = NDArray[np.uint64]


class Source:
    """Begins sources of random words from another one."""

    def __init__(self, generator: torch.Generator) -> None:
        """Begin from a generator of torch."""
        self._generator, self._drawn = generator, torch.zeros(2, dtype=torch.int64)
        self._state: Bits = self._drawn.numpy().view(np.uint64)
        self._least = torch.iinfo(torch.int64).min

    def begun(self) -> Bits:
        """Draw the state (2,) of a source, to be used until the next one is begun."""
        self._drawn.random_(self._least, None, generator=self._generator)
        return self._state


def following(first: np.uint64, second: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Return a word and the state after it, where numbers of 64 bits wrap around without a warning: compiled."""
    mixed = second ^ first
    moved = ((first << np.uint64(24)) | (first >> np.uint64(40))) ^ mixed ^ (mixed << np.uint64(16))
    return first + second, moved, (mixed << np.uint64(37)) | (mixed >> np.uint64(27))


def interpreted(first: np.uint64, second: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64]:
    """Return a word and the state after it, in plain Python."""
    mask, one, other = 2**64 - 1, int(first), int(second)
    mixed = other ^ one
    moved = ((one << 24 | one >> 40) ^ mixed ^ mixed << 16) & mask
    return np.uint64((one + other) & mask), np.uint64(moved), np.uint64((mixed << 37 | mixed >> 27) & mask)
