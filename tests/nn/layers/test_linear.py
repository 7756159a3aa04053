"""Fully connected layers compute as torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.nn.compare import assert_same


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (0, 4), (2, 0, 3, 4)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_layer_computes_as_torchs(bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    converted = assert_same(nn.Linear(4, 5, bias=bias), torch.randn(shape))
    assert converted.layers[""].matrices()["weight"].shape == (1, 4, 5)


def test_networks_may_ask_a_layer_for_its_sizes() -> None:
    network = assert_same(nn.Linear(4, 5), torch.randn(2, 4)).network
    assert (network.in_features, network.out_features) == (4, 5)
