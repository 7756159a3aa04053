"""Networks of three stages, residual or plain: the space of AnalogNAS (arXiv 2305.10459), for images of any size.

A network is named by its genes, and so by what a file may hold: hwloop.search.resnet_like:i1_o10_s8_b1w8k3_b2w32k3_h2
has one channel of input, ten outputs, a first convolution of 8 channels, stages of so many blocks (b), channels (w) and
kernel (k), and means over 2 x 2 parts of the image before its last layer. A stage of no blocks is left out; every stage
after the first halves the image. With p_ before all that, a block is one convolution without a shortcut, and images are
halved by the largest of 2 x 2 pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwloop.errors import BadInputError
from hwloop.nn.zoo import grey_images
from hwloop.search.space import Genome, Space


@dataclass(frozen=True)
class Choices:
    """What genes may be."""

    shortcuts: tuple[int, ...] = (0, 1)
    """Whether blocks have shortcuts."""
    stems: tuple[int, ...] = (4, 8, 12, 16, 24, 32)
    """Channels of the first convolution."""
    widths: tuple[int, ...] = (4, 8, 12, 16, 24, 32, 48, 64)
    """Channels of the blocks of a stage."""
    blocks: tuple[int, ...] = (0, 1, 2, 3)
    """Blocks of a stage; the first stage has at least one."""
    kernels: tuple[int, ...] = (1, 3, 5)
    """Sides of the kernels of a stage."""
    heads: tuple[int, ...] = (1, 2)
    """Sides of the grid of means before the last layer."""


CHOICES = Choices()
"""Those of the space."""
CODE = re.compile(r"(p_)?i(\d{1,3})_o(\d{1,5})_s(\d{1,4})((?:_b\d{1,2}w\d{1,4}k\d)+)_h(\d{1,2})")
STAGE = re.compile(r"_b(\d{1,2})w(\d{1,4})k(\d)")


def space(shape: tuple[int, ...], classes: int) -> Space:
    """Make the space for examples of a shape: (pixels,), (side, side) or (channels, side, side)."""
    channels = shape[0] if len(shape) == 3 else 1
    if len(shape) == 1 and math.isqrt(shape[0]) ** 2 != shape[0]:
        raise BadInputError(f"resnet_like takes square images; the examples have the shape {shape}")
    genes: dict[str, tuple[int, ...]] = {"shortcuts": CHOICES.shortcuts, "stem": CHOICES.stems}
    for stage in (1, 2, 3):
        genes[f"blocks{stage}"] = CHOICES.blocks[stage == 1 :]
        genes |= {f"width{stage}": CHOICES.widths, f"kernel{stage}": CHOICES.kernels}
    genes["head"] = CHOICES.heads

    def code(genome: Genome) -> str:
        shortcuts, stem, *rest, head = genome
        stages = [rest[k : k + 3] for k in range(0, len(rest), 3)]
        told = "".join(f"_b{blocks}w{width}k{kernel}" for blocks, width, kernel in stages if blocks)
        return f"{'' if shortcuts else 'p_'}i{channels}_o{classes}_s{stem}{told}_h{head}"

    def plain(genome: Genome) -> Genome:
        """Let stages of no blocks stand behind all others, with the first choices of what does not matter."""
        shortcuts, stem, *rest, head = genome
        stages = [rest[k : k + 3] for k in range(0, len(rest), 3)]
        there = [one for one in stages if one[0]]
        idle = [[0, CHOICES.widths[0], CHOICES.kernels[0]]] * (len(stages) - len(there))
        return (shortcuts, stem, *(value for one in (*there, *idle) for value in one), head)

    return Space(genes, lambda genome: network(code(genome)), lambda genome: f"{__name__}:{code(genome)}", plain)


def network(code: str) -> nn.Module:
    """Make the network of a code. Raises BadInputError for what is none."""
    found = CODE.fullmatch(code)
    if found is None:
        raise BadInputError(
            f"'{ascii(code)[1:100]}' is no network of this space; expected a code such as i1_o10_s8_b1w8k3_b1w16k3_h2"
        )
    channels, classes, stem = (int(found[number]) for number in (2, 3, 4))
    stages = [(int(blocks), int(width), int(kernel)) for blocks, width, kernel in STAGE.findall(found[5])]
    blocks = plain_blocks if found[1] else residual_blocks
    return ResNetLike(channels, classes, stem, blocks(stem, stages), int(found[6]))


def __getattr__(code: str) -> Callable[[], nn.Module]:
    """Give what makes the network of a code, as if there were a function of every such name."""
    if CODE.fullmatch(code) is None:
        raise AttributeError(f"module {__name__} has no attribute {code}")
    return lambda: network(code)


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is a convolution of 1 x 1 where the shape changes."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        """Make the layers with torch's own initial weights."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, inputs, height, width) into (batch, outputs, height / stride, width / stride)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class PlainBlock(nn.Module):
    """A convolution with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        """Make the layers with torch's own initial weights."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, inputs, height, width) into (batch, outputs, height, width)."""
        return F.relu(self.bn(self.conv(x)))


class Blocks(NamedTuple):
    """Layers of all stages, and the channels that leave them."""

    layers: nn.Sequential
    width: int


def residual_blocks(stem: int, stages: list[tuple[int, int, int]]) -> Blocks:
    """Make stages (blocks, width, kernel) of residual blocks behind a convolution of so many channels."""
    layers, width = [], stem
    for number, (count, outputs, kernel) in enumerate(stages):
        for place in range(count):
            layers.append(Block(width, outputs, kernel, 2 if number and not place else 1))
            width = outputs
    return Blocks(nn.Sequential(*layers), width)


def plain_blocks(stem: int, stages: list[tuple[int, int, int]]) -> Blocks:
    """Make stages (blocks, width, kernel) without shortcuts behind a convolution of so many channels."""
    layers: list[nn.Module] = []
    width = stem
    for number, (count, outputs, kernel) in enumerate(stages):
        layers += [nn.MaxPool2d(2, ceil_mode=True)] if number else []
        for _ in range(count):
            layers.append(PlainBlock(width, outputs, kernel))
            width = outputs
    return Blocks(nn.Sequential(*layers), width)


class ResNetLike(nn.Module):
    """A convolution, stages of blocks, means over parts of the image, and a linear layer."""

    def __init__(self, channels: int, classes: int, stem: int, blocks: Blocks, head: int) -> None:
        """Make the other layers with torch's own initial weights; the image has head x head parts."""
        super().__init__()
        self.channels, self.head = channels, head
        self.conv = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(stem)
        self.blocks = blocks.layers
        self.fc = nn.Linear(blocks.width * head**2, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Give the scores of each image."""
        images = grey_images(x) if self.channels == 1 else x
        x = F.relu(self.bn(self.conv(images)))
        scores: Tensor = self.fc(F.adaptive_avg_pool2d(self.blocks(x), self.head).flatten(1))
        return scores


def weights_of(made: nn.Module) -> int:
    """Count the weights of a network that multiply: those of convolutions and linear layers."""
    layers = (one for one in made.modules() if isinstance(one, nn.Conv2d | nn.Linear))
    return sum(one.weight.numel() for one in layers)


torch.fx.wrap("grey_images")
