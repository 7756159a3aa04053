"""Small networks to put onto a chip, each made by a function without arguments.

The weights of the digits networks stand in ``data/``, trained by ``examples/train_zoo.py``::

    network = hwloop.nn.zoo.digits_cnn()
    network.load_state_dict(safetensors.torch.load_file("data/digits_cnn.safetensors"))

All but `resnet9` take grey images as (batch, pixels) or (batch, 1, side, side). Each image is first divided by its
largest value, so pixels may count from 0 to 16 as in ``data/digits.npz``, from 0 to 255, or from 0 to 1. The outputs
are (batch, 10) scores without unit, the largest of which is the class.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwloop.errors import BadInputError

NAMES = ("digits_mlp", "digits_cnn", "digits_lstm", "digits_transformer", "small_resnet", "resnet9")
"""The networks of this module."""


def digits_mlp() -> nn.Module:
    """Make three linear layers, 64 -> 128 -> 64 -> 10, for 8 x 8 digits."""
    return DigitsMLP()


def digits_cnn() -> nn.Module:
    """Make three convolutions with batch norm and a linear layer, for 8 x 8 digits."""
    return DigitsCNN()


def digits_lstm() -> nn.Module:
    """Make an LSTM that reads the 8 rows of a digit from top to bottom, and a linear layer."""
    return DigitsLSTM()


def digits_transformer() -> nn.Module:
    """Make a transformer encoder of two blocks whose tokens are the 16 patches of 2 x 2 pixels of a digit."""
    return DigitsTransformer()


def small_resnet() -> nn.Module:
    """Make a residual network of seven layers for grey images of any size, such as MNIST's 28 x 28 or 8 x 8 digits."""
    return SmallResNet()


def resnet9() -> nn.Module:
    """Make the residual network of nine layers for CIFAR-10, which takes (batch, 3, 32, 32) images."""
    return ResNet9()


def grey_images(x: Tensor, side: int | None = None) -> Tensor:
    """Shape flat images into square ones and divide each by its largest value; black images stay black.

    Parameters
    ----------
    x
        (batch, pixels), (batch, side, side) or (batch, 1, side, side), in any unit.
    side
        Pixels in a row; any number where there is none.

    Returns
    -------
    Tensor
        (batch, 1, side, side) images whose largest magnitude is 1.

    Raises
    ------
    BadInputError
        For images that are not square, have another size, or are integers.
    """
    rows = side or math.isqrt(math.prod(x.shape[1:]))
    if not x.is_floating_point():
        raise BadInputError(f"the network takes pixels as floating numbers; got {x.dtype}, turn them with .float()")
    if not rows or x.ndim < 2 or x.shape[1:] not in ((rows * rows,), (rows, rows), (1, rows, rows)):
        wanted = f"images of {side} x {side} = {side * side} pixels" if side else "square images of one channel"
        raise BadInputError(f"the network takes {wanted}; got the shape {tuple(x.shape)}")
    pixels = x.flatten(1)
    largest = pixels.abs().amax(dim=1, keepdim=True)
    return (pixels / largest.clamp(min=torch.finfo(pixels.dtype).tiny)).reshape(-1, 1, rows, rows)


def colour_images(x: Tensor, side: int) -> Tensor:
    """Shape (batch, 3 side side) values into (batch, 3, side, side) images, and leave their scale alone.

    Raises
    ------
    BadInputError
        For images of another size.
    """
    wanted = (3, side, side)
    if x.ndim < 2 or x.shape[1:] not in (wanted, (math.prod(wanted),)):
        raise BadInputError(f"the network takes (batch, 3, {side}, {side}) images; got the shape {tuple(x.shape)}")
    return x.reshape(-1, *wanted)


# Each is one call in a traced graph, since what they do hangs on the shape.
torch.fx.wrap("grey_images")
torch.fx.wrap("colour_images")


class DigitsMLP(nn.Module):
    """Three linear layers with ReLU in between."""

    def __init__(self) -> None:
        """Make the layers with torch's own initial weights."""
        super().__init__()
        self.fc1 = nn.Linear(64, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Give the ten scores of each image."""
        x = F.relu(self.fc1(grey_images(x, 8).flatten(1)))
        scores: Tensor = self.fc3(F.relu(self.fc2(x)))
        return scores


class DigitsCNN(nn.Module):
    """Three convolutions of 3 x 3 with batch norm and ReLU, two of them followed by pooling, and a linear layer."""

    def __init__(self) -> None:
        """Make the layers with torch's own initial weights."""
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Give the ten scores of each image."""
        x = F.relu(self.bn1(self.conv1(grey_images(x, 8))))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.max_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        scores: Tensor = self.fc(x.flatten(1))
        return scores


class DigitsLSTM(nn.Module):
    """An LSTM over the rows of an image, and a linear layer on its last output."""

    def __init__(self) -> None:
        """Make the layers with torch's own initial weights."""
        super().__init__()
        self.lstm = nn.LSTM(input_size=8, hidden_size=64, batch_first=True)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Give the ten scores of each image."""
        outputs, _ = self.lstm(grey_images(x, 8).squeeze(1))
        scores: Tensor = self.fc(outputs[:, -1])
        return scores


class EncoderBlock(nn.Module):
    """One block of a transformer encoder, with layer norm before attention and before its two linear layers.

    It is written out because `torch.nn.TransformerEncoderLayer` calls, once trained, a fused kernel that reads the
    weights of its parts and would pass by layers that were replaced.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Make the layers with torch's own initial weights."""
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, 2 * width)
        self.linear2 = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, tokens, width) into the same shape."""
        tokens = self.norm1(x)
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        x = x + attended
        updated: Tensor = x + self.linear2(F.gelu(self.linear1(self.norm2(x))))
        return updated


class DigitsTransformer(nn.Module):
    """Two encoder blocks of width 48 over 16 patches with learnt positions, their mean, and a linear layer."""

    def __init__(self) -> None:
        """Make the layers with torch's own initial weights, and positions near zero."""
        super().__init__()
        self.patch = nn.Linear(4, 48)
        self.position = nn.Parameter(0.1 * torch.randn(16, 48))
        self.block1 = EncoderBlock(48, heads=4)
        self.block2 = EncoderBlock(48, heads=4)
        self.norm = nn.LayerNorm(48)
        self.fc = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Give the ten scores of each image."""
        patches = F.unfold(grey_images(x, 8), kernel_size=2, stride=2).transpose(1, 2)
        x = self.block2(self.block1(self.patch(patches) + self.position))
        scores: Tensor = self.fc(self.norm(x).mean(dim=1))
        return scores


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        """Make the layers with torch's own initial weights."""
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, inputs, height, width) into (batch, outputs, height / stride, width / stride)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class SmallResNet(nn.Module):
    """One convolution, three residual blocks of 16, 32 and 64 channels, the mean over pixels, and a linear layer."""

    def __init__(self) -> None:
        """Make the layers with torch's own initial weights."""
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(16)
        self.block1 = ResidualBlock(16, 16)
        self.block2 = ResidualBlock(16, 32, stride=2)
        self.block3 = ResidualBlock(32, 64, stride=2)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Give the ten scores of each image."""
        x = F.relu(self.bn(self.conv(grey_images(x))))
        x = self.block3(self.block2(self.block1(x)))
        scores: Tensor = self.fc(x.mean(dim=(2, 3)))
        return scores


class ConvBlock(nn.Module):
    """A convolution of 3 x 3 with batch norm and ReLU, which may halve height and width by pooling."""

    def __init__(self, inputs: int, outputs: int, pool: int = 1) -> None:
        """Make the layers with torch's own initial weights."""
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Turn (batch, inputs, height, width) into (batch, outputs, height / pool, width / pool)."""
        return F.max_pool2d(F.relu(self.bn(self.conv(x))), self.pool)


class ResNet9(nn.Module):
    """Eight convolutions, two pairs of which have a shortcut, the largest value of each channel, and a linear layer.

    The arrangement is that of David Page's "How to train your ResNet" (2018): 64, 128, 256 and 512 channels.
    """

    def __init__(self) -> None:
        """Make the layers with torch's own initial weights."""
        super().__init__()
        self.conv1 = ConvBlock(3, 64)
        self.conv2 = ConvBlock(64, 128, pool=2)
        self.residual1 = nn.Sequential(ConvBlock(128, 128), ConvBlock(128, 128))
        self.conv3 = ConvBlock(128, 256, pool=2)
        self.conv4 = ConvBlock(256, 512, pool=2)
        self.residual2 = nn.Sequential(ConvBlock(512, 512), ConvBlock(512, 512))
        self.fc = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Give the ten scores of each image."""
        x = self.conv2(self.conv1(colour_images(x, 32)))
        x = self.conv4(self.conv3(x + self.residual1(x)))
        x = x + self.residual2(x)
        scores: Tensor = self.fc(x.amax(dim=(2, 3)))
        return scores
