"""Random numbers of a job: a generator for each tile and purpose, so that evaluation is independent of programming."""

from __future__ import annotations

import enum

import numpy as np


class Purpose(enum.IntEnum):
    """What random numbers are for; the values are part of every seed and stay as they are."""

    PROGRAM = 0
    CALIBRATE = 1
    EVALUATE = 2
    MAP = 3
    PROBE = 4
    EVALUATE_DRIFT = 5


def generator(seed: int, tile: int, purpose: Purpose) -> np.random.Generator:
    """Random numbers of one purpose for the tile with this number."""
    return np.random.default_rng([seed, tile, purpose])
