"""Whole networks with random weights compute on exact products as torch does, and every layer of theirs is called."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from hwloop.nn.bypass import Watch
from hwloop.nn.convert import Converted, convert


class Residual(nn.Module):
    """A residual block, with a projection where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        return (y + self.shortcut(x)).relu()


def resnet() -> nn.Module:
    blocks = [Residual(8, 8, 1), Residual(8, 16, 2), Residual(16, 32, 2)]
    first = [nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*first, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


class Inverted(nn.Module):
    """An inverted residual block: wider, depthwise, squeezed and excited, narrower."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inputs
        self.widen = nn.Sequential(nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish())
        depthwise = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False)
        self.depthwise = nn.Sequential(depthwise, nn.BatchNorm2d(wide), nn.Hardswish())
        self.squeeze, self.excite = nn.Conv2d(wide, wide // 4, 1), nn.Conv2d(wide // 4, wide, 1)
        self.narrow = nn.Sequential(nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.keeps = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.depthwise(self.widen(x))
        y = y * functional.hardsigmoid(self.excite(self.squeeze(y.mean((2, 3), keepdim=True)).relu()))
        return x + self.narrow(y) if self.keeps else self.narrow(y)


def mobilenet() -> nn.Module:
    blocks = [Inverted(8, 8, 3, 1), Inverted(8, 12, 5, 2), Inverted(12, 12, 5, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(12, 10)]
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Hardswish(), *blocks, *head)


class VisionTransformer(nn.Module):
    """Patches, a class token, positions, an encoder of torch, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, 8)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(16), enable_nested_tensor=False)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.place
        return self.head(self.encoder(tokens)[:, 0])


class Causal(nn.Module):
    """A block of a language model, its projections fused in one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.proj = nn.Linear(16, 48, bias=False), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class Language(nn.Module):
    """A small language model whose output is tied to its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(20, 16), nn.Embedding(12, 16)
        self.blocks, self.head = nn.ModuleList([Causal(), Causal()]), nn.Linear(16, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.place(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class UNet(nn.Module):
    """Down with strides, up with transposed convolutions, and across."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.down1, self.down2 = (
            nn.Conv2d(1, 4, 3, 1, 1),
            nn.Conv2d(4, 8, 3, 2, 1),
            nn.Conv2d(8, 16, 3, 2, 1),
        )
        self.up2, self.up1 = nn.ConvTranspose2d(16, 8, 2, 2), nn.ConvTranspose2d(16, 4, 4, 2, 1)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.into(x).relu()
        second = self.down1(first).relu()
        y = self.up2(self.down2(second).relu()).relu()
        y = self.up1(torch.cat([y, second], 1)).relu()
        return self.out(torch.cat([y, first], 1))


class Speech(nn.Module):
    """Convolutions over time, a bidirectional recurrent layer, a cell that goes on by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 10, 5, stride=2, padding=2)
        self.rnn = nn.GRU(10, 8, 2, batch_first=True, bidirectional=True)
        self.cell, self.out = nn.LSTMCell(16, 12), nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, state = self.rnn(self.conv(x).relu().transpose(1, 2))[0], None
        for step in y.unbind(1):
            state = self.cell(step, state)
        return self.out(state[0])


ARCHITECTURES = {
    "resnet": (resnet, lambda: torch.randn(2, 3, 32, 32), 10),
    "mobilenet": (mobilenet, lambda: torch.randn(2, 3, 32, 32), 17),
    "vision transformer": (VisionTransformer, lambda: torch.randn(2, 3, 32, 32), 10),
    "language model": (Language, lambda: torch.arange(24).reshape(2, 12) % 20, 9),
    "u-net": (UNet, lambda: torch.randn(2, 1, 16, 16), 6),
    "speech": (Speech, lambda: torch.randn(2, 6, 24), 4),
}
"""Network, input, and how many of its layers lie on a chip."""


def made(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network as it might be after training: none of its parameters, some of which start at zero, is simple."""
    torch.manual_seed(0)
    network = build()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, 0, 0.1)
    return network.eval()


def assert_same_outputs(network: nn.Module, x: torch.Tensor) -> Converted:
    converted = convert(network)
    assert list(converted.network.state_dict()) == list(network.state_dict())
    with torch.no_grad():
        expected = network(x)
        with Watch(converted) as watch:
            found = converted.network(x)
    assert (watch.never_called, watch.bypassed) == ((), ())
    assert torch.linalg.norm(found - expected) < 1e-5 * torch.linalg.norm(expected)
    return converted


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_whole_networks(name: str) -> None:
    build, inputs, count = ARCHITECTURES[name]
    assert len(assert_same_outputs(made(build), inputs()).layers) == count


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_32", "convnext_tiny", "maxvit_t"])
def test_networks_of_torchvision(name: str) -> None:
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    assert_same_outputs(made(lambda: models.get_model(name, weights=None)), torch.randn(1, 3, 224, 224))


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "mixer_s32_224", "tf_efficientnet_b0", "mobilenetv3_small_100"]
)
def test_networks_of_timm(name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    assert_same_outputs(made(lambda: timm.create_model(name, pretrained=False)), torch.randn(1, 3, 224, 224))
