"""Accuracy of a small residual network by each programming method, on the same chips.

    python benchmarks/resnet.py [--backend "sim:pcm-90nm?stuck_rate=0.02"] [--chips 20] [--first-seed 841]

The network is trained here, on the training images of data/digits.npz, as users bring them: knowing nothing of a chip.
Losses are points below the digital network on the 500 test images, means over the chips with their standard errors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from machine import machine
from networks import mean_and_error
from torch import Tensor, nn
from torch.nn import functional as F

import hwloop
from hwloop.nn.datasets import Dataset, read_dataset
from hwloop.nn.zoo import ResidualBlock, grey_images


class NarrowResNet(nn.Module):
    """As `hwloop.nn.zoo.small_resnet`, of 6, 12 and 24 channels: 11 thousand weights."""

    def __init__(self) -> None:
        """Make the layers with torch's own initial weights."""
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.blocks = nn.Sequential(ResidualBlock(6, 6), ResidualBlock(6, 12, 2), ResidualBlock(12, 24, 2))
        self.fc = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Give the ten scores of each image."""
        scores: Tensor = self.fc(self.blocks(F.relu(self.bn(self.conv(grey_images(x))))).mean(dim=(2, 3)))
        return scores


def trained(data: Dataset, epochs: int = 30) -> nn.Module:
    """Train the network."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, generator = NarrowResNet(), torch.Generator().manual_seed(0)
    images, labels = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.split(torch.randperm(len(images), generator=generator), 64):
            loss = F.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    return network.eval()


def loss(network: nn.Module, data: Dataset, uri: str, method: str) -> float:
    """Deploy the network on one chip; return points below digital."""
    test = (torch.from_numpy(data.x_test), torch.from_numpy(data.y_test))
    with hwloop.connect(uri) as chip:
        net = hwloop.deploy(network, chip, data.x_train[:300], method, settings=hwloop.Deployment(test=test))
        assert net.tested is not None
        return 100 * (net.tested.digital.value - net.tested.on_chip.value)


def main() -> None:
    """Deploy the network on every chip with every method, and print the losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="sim:pcm-90nm?stuck_rate=0.02")
    parser.add_argument("--methods", default="gdp,iterative")
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=841)
    arguments = parser.parse_args()
    methods, joint = arguments.methods.split(","), "&" if "?" in arguments.backend else "?"
    print(machine())
    data = read_dataset(Path(__file__).parent.parent / "data" / "digits.npz")
    network, losses = trained(data), {method: list[float]() for method in methods}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.chips):
        for method in methods:
            losses[method].append(loss(network, data, f"{arguments.backend}{joint}seed={seed}", method))
        print(f"chip {seed}: " + ", ".join(f"{method} {losses[method][-1]:.1f}" for method in methods), flush=True)
    for method in methods:
        print(f"{method:<12} {mean_and_error(losses[method])} points below digital")
    gains = [one - other for one, other in zip(losses[methods[-1]], losses[methods[0]], strict=True)]
    print(f"{methods[0]} is better than {methods[-1]} by {mean_and_error(gains)} points")


if __name__ == "__main__":
    main()
