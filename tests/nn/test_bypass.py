"""Weights that are multiplied by around the chip, or never, are found in a pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from hwloop.nn.bypass import Watch
from hwloop.nn.convert import Converted, convert
from hwloop.nn.products import Recording

Without = type[torch.no_grad] | type[torch.enable_grad] | type[torch.inference_mode]


class Tied(nn.Module):
    """A language model whose output multiplies by its embedding, without a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(11, 8), nn.Linear(8, 8)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.mix(self.embed(tokens)), self.embed.weight)


class Reader(nn.Module):
    """Multiplies by the weights of its layer itself."""

    def __init__(self, multiply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.multiply = nn.Linear(8, 8), nn.Linear(8, 8), multiply

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.multiply(self.first(x), self.second.weight)


WAYS = {
    "linear": functional.linear,
    "operator": lambda x, w: x @ w.t(),
    "vector": lambda x, w: torch.stack([w @ one for one in x]),
    "batches": lambda x, w: torch.bmm(x[None], w.t()[None]),
    "einsum": lambda x, w: torch.einsum("bi,oi->bo", x, w),
    "convolution": lambda x, w: functional.conv1d(x[..., None], w[..., None]),
    "slice": lambda x, w: functional.linear(x, w[2:]),
}


def watched(converted: Converted, *inputs: torch.Tensor, without: Without = torch.no_grad) -> Watch:
    with Watch(converted) as watch, without():
        converted.network(*inputs)
    return watch


@pytest.mark.parametrize("without", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("way", WAYS)
def test_weights_that_code_around_a_layer_reads_are_named(way: str, without: Without) -> None:
    watch = watched(convert(Reader(WAYS[way])), torch.randn(3, 8), without=without)
    assert [(found.name, found.kind) for found in watch.never_called] == [("second.weight", "Linear")]
    assert "no pass multiplied by it" in watch.never_called[0].reason
    assert [found.name for found in watch.bypassed] == ["second.weight"]


def test_an_embedding_that_the_output_multiplies_by_is_named() -> None:
    watch = watched(convert(Tied()), torch.arange(5))
    assert watch.never_called == ()
    assert [(found.name, found.kind) for found in watch.bypassed] == [("embed.weight", "Embedding")]
    assert "multiplied by in float" in watch.bypassed[0].reason


def test_layers_below_a_module_that_reads_their_weights_are_named_beside_its_own() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.table = nn.Linear(8, 8), nn.Parameter(torch.randn(8, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.linear(x, self.qkv.weight, self.qkv.bias) @ self.table

    watch = watched(convert(nn.Sequential(nn.Linear(8, 8), Windows())), torch.randn(3, 8))
    assert [found.name for found in watch.bypassed] == ["1.qkv.weight"]  # that of the table is known: '1' is digital
    assert [found.name for found in watch.never_called] == ["1.qkv.weight"]


def test_modules_that_are_listed_as_digital_are_not_named_again() -> None:
    network = nn.Sequential(nn.Linear(8, 8), Reader(functional.linear))
    for exclude in (["1.second"], ["1"]):
        watch = watched(convert(network, exclude), torch.randn(3, 8))
        assert (watch.never_called, watch.bypassed) == ((), ())


def test_a_fused_operation_of_torch_that_reads_all_weights_is_found() -> None:
    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.MultiheadAttention(8, 2), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            into, out = self.inner, self.inner.out_proj
            given = (x, x, x, 8, 2, into.in_proj_weight, into.in_proj_bias, out.weight, out.bias)
            return self.head(torch._native_multi_head_attention(*given, need_weights=False)[0])

    watch = watched(convert(Fused()), torch.randn(3, 5, 8))
    names = {"inner.in_proj_weight", "inner.out_proj.weight"}
    assert {found.name for found in watch.never_called} == {found.name for found in watch.bypassed} == names


def test_every_layer_of_an_ordinary_network_is_called_and_nothing_else() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(2), nn.LSTM(36, 6, batch_first=True))
    watch = watched(convert(network), torch.randn(2, 1, 8, 8))
    assert (watch.never_called, watch.bypassed) == ((), ())


def test_layers_that_one_pass_leaves_out_may_be_called_by_the_next() -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sides = nn.ModuleDict({"left": nn.Linear(8, 2), "right": nn.Linear(8, 2)})

        def forward(self, x: torch.Tensor, side: str) -> torch.Tensor:
            return self.sides[side](x)

    converted, x = convert(Either()), torch.randn(3, 8)
    with Watch(converted) as watch:
        converted.network(x, "left")
        assert [found.name for found in watch.never_called] == ["sides.right.weight"]
        converted.network(x, "right")
    assert watch.never_called == ()


def test_products_are_at_work_while_watched_and_are_put_back() -> None:
    converted = convert(nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2)))
    recording = Recording(10, 0, itertools.count())
    converted.layers["0"].products["weight"] = recording
    watched(converted, torch.randn(3, 8))
    assert recording.sample is not None
    assert len(recording.sample) == 3
    assert converted.layers["0"].products == {"weight": recording}
    assert converted.layers["1"].products == {}


def test_products_are_put_back_after_an_error() -> None:
    converted = convert(nn.Sequential(nn.Linear(8, 4)))
    with pytest.raises(RuntimeError):
        watched(converted, torch.randn(3, 7))
    assert converted.layers["0"].products == {}
