"""A small transformer with shifted windows that knows five digits and is to learn five others."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

import hwloop
from hwloop.nn.zoo import EncoderBlock

OLD = 5
"""Classes below this one are those that the network knows."""
Arrays = Mapping[str, NDArray[np.float32] | NDArray[np.int64]]


def new_digits(path: str) -> Arrays:
    """Return images and labels, from 0 on, of the classes of a file that the network does not know."""
    return _digits(path, False)


def _digits(path: str, old: bool) -> Arrays:
    with np.load(path) as file:
        images, labels = file["images"].astype(np.float32), file["labels"].astype(np.int64)
        parts = {name: file[f"{name}_index"] for name in ("train", "test")}
    found: dict[str, NDArray[np.float32] | NDArray[np.int64]] = {}
    for name, index in parts.items():
        mine = index[(labels[index] < OLD) == old]
        found |= {f"x_{name}": images[mine], f"y_{name}": labels[mine] - (0 if old else OLD)}
    return found


class ShiftedWindows(nn.Module):
    """Patches of 2 x 2, attention within windows of 2 x 2 patches, then within windows that are shifted by one."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patch, self.position = nn.Linear(4, width), nn.Parameter(0.1 * torch.randn(4, 4, width))
        self.block1, self.block2 = EncoderBlock(width, heads=2), EncoderBlock(width, heads=2)
        self.norm, self.fc = nn.LayerNorm(width), nn.Linear(width, OLD)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give the scores of images."""
        pixels = x.reshape(-1, 1, 8, 8) / x.flatten(1).amax(1)[:, None, None, None]
        patches = functional.unfold(pixels, kernel_size=2, stride=2).transpose(1, 2)
        x = torch.unflatten(self.patch(patches), 1, (4, 4)) + self.position
        x = within_windows(self.block1, x)
        x = within_windows(self.block2, x.roll((1, 1), (1, 2))).roll((-1, -1), (1, 2))
        scores: torch.Tensor = self.fc(self.norm(x).mean((1, 2)))
        return scores


def within_windows(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Send each window of 2 x 2 of (images, 4, 4, width) tokens through a block of its own."""
    windows = torch.unflatten(torch.unflatten(x, 1, (2, 2)), 3, (2, 2)).transpose(2, 3)
    done: torch.Tensor = block(windows.flatten(3, 4).flatten(0, 2)).reshape(windows.shape)
    return done.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def learnt() -> nn.Module:
    """Train the network in float on the old classes, and give it a new last layer."""
    network, data = ShiftedWindows(), _digits(str(hwloop.data.path("digits.npz")), True)
    x, y = torch.from_numpy(data["x_train"]), torch.from_numpy(data["y_train"])
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(30):
        for mine in torch.split(torch.randperm(len(x)), 32):
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(network(x[mine]), y[mine]))
            optimizer.step()
    network.fc.reset_parameters()
    return network
