"""Convolutions in one to three dimensions: every patch of the input is a vector for the crossbar."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, TypeAlias

import torch
from torch import nn
from torch.nn import functional

from hwloop.nn.layers.base import AnalogLayer, share

Convolution: TypeAlias = "nn.Conv1d | nn.Conv2d | nn.Conv3d"
Transposed: TypeAlias = "nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d"


class AnalogConv(AnalogLayer):
    """Stands for `nn.Conv1d`, `nn.Conv2d` and `nn.Conv3d`, with groups as matrices of their own."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    values_at_once: ClassVar[int] = 2**24
    """Numbers of all patches that are in memory at one time; images are taken in turn beyond that."""

    def __init__(self, layer: Convolution) -> None:
        """Take over the parameters of a layer."""
        super().__init__(type(layer).__name__)
        self.groups, self.padding_mode = layer.groups, layer.padding_mode
        self.kernel, self.stride = tuple(layer.kernel_size), tuple(layer.stride)
        self.dilation = tuple(layer.dilation)
        self._margins = list(layer._reversed_padding_repeated_twice)  # as torch pads: the last dimension first
        share(self, layer)

    def matrices(self) -> dict[str, torch.Tensor]:
        """Give `weight`, (groups, inputs of a patch, outputs)."""
        by_group = self.weight.reshape(self.groups, self.weight.shape[0] // self.groups, -1)
        return {"weight": by_group.transpose(1, 2)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, ...) to (batch, outputs, ...), or both without the batch."""
        if x.dim() == len(self.kernel) + 1:
            return self.forward(x[None])[0]
        if x.dim() != len(self.kernel) + 2:
            sizes = f"(batch, channels, {len(self.kernel)} sizes)"
            raise RuntimeError(f"{self.kind}: expected an input of the shape {sizes}, not {tuple(x.shape)}")
        windows = patches(self._padded(x), self.kernel, self.stride, self.dilation)
        at_once = max(1, self.values_at_once // max(1, windows[0].numel()))
        y = [self._convolved(part) for part in torch.split(windows, at_once)]
        return torch.cat(y) if len(y) > 1 else y[0]

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return functional.pad(x, self._margins, mode=mode)

    def _convolved(self, windows: torch.Tensor) -> torch.Tensor:
        d = len(self.kernel)
        vectors = windows.movedim(1, d + 1).flatten(d + 1)  # (batch, positions, channels * kernel)
        y = self.multiply("weight", vectors)
        if self.bias is not None:
            y = y + self.bias
        return y.movedim(-1, 1)


class AnalogConvSame(AnalogConv):
    """Stands for the `Conv2dSame` of the package timm: padded so that a stride of s divides the size by s, rounded up.

    This is what TensorFlow calls 'same': how much is padded depends on the image, and an odd zero goes to its end.
    """

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        margins: list[int] = []
        for size, kernel, step, far in zip(x.shape[2:], self.kernel, self.stride, self.dilation, strict=True):
            reach = (math.ceil(size / step) - 1) * step + (kernel - 1) * far + 1
            missing = max(reach - size, 0)
            margins = [missing // 2, missing - missing // 2, *margins]
        return functional.pad(x, margins)


class AnalogConvTranspose(AnalogLayer):
    """Stands for transposed convolutions: the crossbar gives every input's kernel-sized output, added up digitally."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, layer: Transposed) -> None:
        """Take over the parameters of a layer."""
        super().__init__(type(layer).__name__)
        self.groups, self.out_channels, self.kernel = layer.groups, layer.out_channels, tuple(layer.kernel_size)
        kinds = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        arithmetic: Callable[..., nn.Module] = kinds[len(self.kernel) - 1]
        self._arithmetic = partial(
            arithmetic,
            kernel_size=layer.kernel_size,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            output_padding=layer.output_padding,
            bias=False,
            device="meta",
        )
        share(self, layer)

    def matrices(self) -> dict[str, torch.Tensor]:
        """Give `weight`, (groups, input channels, output channels * kernel)."""
        channels = self.weight.shape[0]
        return {"weight": self.weight.reshape(self.groups, channels // self.groups, -1)}

    def forward(self, x: torch.Tensor, output_size: Sequence[int] | None = None) -> torch.Tensor:
        """Map (batch, channels, ...) to (batch, outputs, ...), or both without the batch."""
        if x.dim() == len(self.kernel) + 1:
            return self.forward(x[None], output_size)[0]
        columns = self.multiply("weight", x.movedim(1, -1)).movedim(-1, 1)
        adder = self._adder(columns)
        y: torch.Tensor = adder(columns, output_size) if output_size is not None else adder(columns)
        return y if self.bias is None else y + self.bias.reshape(-1, *[1] * len(self.kernel))

    def _adder(self, columns: torch.Tensor) -> nn.Module:
        """Make the transposed convolution that only adds: each of its kernels has a single one."""
        size, count = math.prod(self.kernel), self.out_channels
        adder = self._arithmetic(count * size, count, groups=count)
        ones = torch.eye(size, dtype=columns.dtype, device=columns.device)
        kernels = ones.repeat(count, 1).reshape(count * size, 1, *self.kernel)
        adder.weight = nn.Parameter(kernels, requires_grad=False)
        return adder


def patches(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> torch.Tensor:
    """View all patches of an input that a kernel meets.

    Parameters
    ----------
    x
        (batch, channels, ...) padded input.
    kernel, stride, dilation
        One number for each dimension after the channels.

    Returns
    -------
    Tensor
        (batch, channels, *positions, *kernel), a view.

    Raises
    ------
    RuntimeError
        When the kernel is larger than the input, as torch's own convolution does.
    """
    d = len(kernel)
    sizes = x.shape[2:]
    reach = [(k - 1) * step + 1 for k, step in zip(kernel, dilation, strict=True)]
    counts = [(size - far) // step + 1 for size, far, step in zip(sizes, reach, stride, strict=True)]
    if min(counts) < 1:
        raise RuntimeError(f"a kernel that reaches over {tuple(reach)} is larger than the padded input {tuple(sizes)}")
    strides = x.stride()
    moves = [strides[2 + k] * stride[k] for k in range(d)]
    inside = [strides[2 + k] * dilation[k] for k in range(d)]
    return x.as_strided((*x.shape[:2], *counts, *kernel), (*strides[:2], *moves, *inside))
