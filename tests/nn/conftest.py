"""Small networks and chips on which they compute exactly, or nearly so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import hwloop
from tests.conftest import OpenChip

IDEAL = "sim:pcm-ideal?adc_bits=16&dac_bits=16&rows=64&columns=32&cores=8"
NOISY = "sim:hermes-core?rows=64&columns=64&cores=4&seed=3"

Deploy = Callable[..., hwloop.DeployedNetwork]


def small_cnn() -> nn.Sequential:
    """A convolution with batch norm, a depthwise one, and a linear layer, for (batch, 2, 6, 6)."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8, stride=2),
        nn.Flatten(),
        nn.Linear(32, 5),
    )
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean, norm.running_var = 0.2 * torch.randn(8), 0.5 + torch.rand(8)
    return network.eval()


def images(number: int, seed: int = 1) -> torch.Tensor:
    """Images for `small_cnn`."""
    return torch.rand(number, 2, 6, 6, generator=torch.Generator().manual_seed(seed))


def labelled(network: nn.Module, number: int = 100, seed: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Images with the network's own answers as labels, so that the digital network is always right."""
    x = images(number, seed)
    with torch.no_grad():
        return x, network(x).argmax(1)


@pytest.fixture
def deployed(open_chip: OpenChip) -> Deploy:
    """`deployed(network, uri, method, settings)` puts a network on a chip that is closed at the end of the test."""

    def put(
        network: nn.Module,
        uri: str = IDEAL,
        method: str = "exact",
        settings: hwloop.Deployment | None = None,
        exclude: tuple[str, ...] = (),
    ) -> hwloop.DeployedNetwork:
        found = hwloop.deploy(network, open_chip(uri), images(200), method, exclude=exclude, settings=settings)
        assert isinstance(found, hwloop.DeployedNetwork)
        return found

    return put


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """||found - expected|| / ||expected||."""
    return float((found - expected).norm() / expected.norm())
