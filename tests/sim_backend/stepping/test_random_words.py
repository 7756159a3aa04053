"""Random words: the compiled and the plain form are the published generator, and begin from torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwloop.sim_backend.stepping.random_words import Source, following, interpreted


def published(state: tuple[int, int], count: int) -> list[int]:
    """Words of xoroshiro128+ as its authors wrote it down, with rotations by 24, 16 and 37 bits."""
    one, other, words = *state, []
    rotated = lambda x, k: ((x << k) | (x >> (64 - k))) % 2**64  # noqa: E731
    for _ in range(count):
        words.append((one + other) % 2**64)
        other ^= one
        one, other = rotated(one, 24) ^ other ^ (other << 16) % 2**64, rotated(other, 37)
    return words


@pytest.mark.parametrize("step", [following, interpreted])
@pytest.mark.parametrize("state", [(1, 2), (2**63 + 12345, 2**64 - 3), (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9)])
def test_words_are_those_of_the_published_generator(step, state) -> None:
    first, second, found = np.uint64(state[0]), np.uint64(state[1]), []
    with np.errstate(over="ignore"):
        for _ in range(200):
            word, first, second = step(first, second)
            assert {type(one) for one in (word, first, second)} == {np.uint64}
            found.append(int(word))
    assert found == published(state, 200)


def test_sources_begin_anew_from_a_generator_of_torch() -> None:
    source, again = (Source(torch.Generator().manual_seed(3)) for _ in range(2))
    first, second = source.begun().copy(), source.begun().copy()
    assert first.dtype == np.uint64
    assert not np.array_equal(first, second)
    assert [again.begun().tolist() for _ in range(2)] == [first.tolist(), second.tolist()]
