"""Shared by all tests: one thread per process, and small chips that are quick to program."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

import hwloop

# Tests run in parallel processes; threads of torch on top of that wait for each other.
torch.set_num_threads(1)

# The same commit always meets the same examples, and a busy machine is no failure. Random ones, by the million, are the
# business of benchmarks/scpi_coverage.py.
settings.register_profile("hwloop", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hwloop")

OpenChip = Callable[..., hwloop.Backend]


@pytest.fixture
def open_chip() -> Iterator[OpenChip]:
    """Open chips by URI; all are closed after the test."""
    chips: list[hwloop.Backend] = []

    def open_one(uri: str) -> hwloop.Backend:
        chips.append(hwloop.connect(uri))
        return chips[-1]

    yield open_one
    for chip in chips:
        chip.close()


def gaussian(outputs: int, inputs: int, seed: int = 0) -> np.ndarray:
    """Normal weights clipped at three sigma, (outputs, inputs)."""
    return np.clip(np.random.default_rng(seed).standard_normal((outputs, inputs)), -3, 3)
