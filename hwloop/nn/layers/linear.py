"""Fully connected layers."""

from __future__ import annotations

import torch
from torch import nn

from hwloop.nn.layers.base import AnalogLayer, share


class AnalogLinear(AnalogLayer):
    """Stands for `nn.Linear`: y = x W^T + b, the bias added digitally."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, layer: nn.Linear) -> None:
        """Take over the parameters of a layer."""
        super().__init__("Linear")
        self.in_features, self.out_features = layer.in_features, layer.out_features
        share(self, layer)

    def matrices(self) -> dict[str, torch.Tensor]:
        """Give `weight`, (1, inputs, outputs)."""
        return {"weight": self.weight.t()[None]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., inputs) to (..., outputs)."""
        y = self.multiply("weight", x)
        return y if self.bias is None else y + self.bias


class AnalogConv1D(AnalogLayer):
    """Stands for the `Conv1D` of GPT-2 in the package transformers: a linear layer that stores (inputs, outputs)."""

    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, layer: nn.Module) -> None:
        """Take over the parameters of a layer."""
        super().__init__("Conv1D")
        share(self, layer)
        self.nx, self.nf = self.weight.shape

    def matrices(self) -> dict[str, torch.Tensor]:
        """Give `weight`, (1, inputs, outputs)."""
        return {"weight": self.weight[None]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return self.multiply("weight", x) + self.bias
