"""A small task that every algorithm learns in a second: two classes of points in a plane."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

import hwloop

URI = "sim:rpu-baseline?seed=4&rows=16&columns=16&cores=16"


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(3, 10), nn.ReLU(), nn.Linear(10, 2))


def points(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = np.random.default_rng(seed).uniform(-1, 1, (count, 2))
    y = (np.abs(x[:, 0]) > x[:, 1]).astype(np.int64)
    return torch.tensor(np.column_stack([x, np.ones(count)]), dtype=torch.float32), torch.tensor(y)


@pytest.fixture
def chip() -> Iterator[hwloop.Backend]:
    with hwloop.connect(URI) as opened:
        yield opened
