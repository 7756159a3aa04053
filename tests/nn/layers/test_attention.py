"""Attention computes as torch's own, with every option, and torch's fused operations never pass it by."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hwloop.nn.convert import convert
from tests.nn.compare import assert_same, counting

OPTIONS = {
    "plain": {},
    "without bias": {"bias": False},
    "biased keys": {"add_bias_kv": True},
    "zero attention": {"add_zero_attn": True},
    "both": {"add_bias_kv": True, "add_zero_attn": True},
    "other sizes": {"kdim": 6, "vdim": 10},
    "other values": {"vdim": 10, "bias": False},
    "batch first": {"batch_first": True},
}
LENGTHS = {"queries": 3, "keys": 5, "batch": 2, "heads": 4}


def made(**options: object) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, LENGTHS["heads"], **options)
    for name, parameter in layer.named_parameters():  # biases start at zero, and would not show
        if "bias" in name:
            nn.init.normal_(parameter)
    return layer


def inputs(layer: nn.MultiheadAttention, batch: int | None = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    def one(length: int, features: int) -> torch.Tensor:
        if batch is None:
            return torch.randn(length, features)
        x = torch.randn(length, batch, features)
        return x.transpose(0, 1) if layer.batch_first else x

    return one(3, 8), one(5, layer.kdim), one(5, layer.vdim)


@pytest.mark.parametrize("need", [{"need_weights": False}, {}, {"average_attn_weights": False}], ids=str)
@pytest.mark.parametrize("batch", [2, None], ids=["batch", "single"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_layer_computes_as_torchs(options: dict[str, object], batch: int | None, need: dict[str, bool]) -> None:
    layer = made(**options)
    assert_same(layer, *inputs(layer, batch), **need)


def masks(kind: str) -> dict[str, torch.Tensor]:
    allowed = torch.tensor([[0, 0, 1, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.bool)
    padded = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]], dtype=torch.bool)
    by_head = torch.rand(8, 3, 5) < 0.3
    by_head[..., 0] = False
    return {
        "boolean": {"attn_mask": allowed},
        "float": {"attn_mask": torch.randn(3, 5)},
        "by head": {"attn_mask": by_head},
        "padding": {"key_padding_mask": padded},
        "float padding": {"key_padding_mask": torch.zeros(2, 5).masked_fill(padded, -math.inf)},
        "both": {"attn_mask": allowed, "key_padding_mask": padded},
    }[kind]


@pytest.mark.parametrize("need", [False, True])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", ["boolean", "float", "by head", "padding", "float padding", "both"])
def test_masks(kind: str, options: dict[str, object], need: bool) -> None:
    layer = made(**options)
    assert_same(layer, *inputs(layer), **masks(kind), need_weights=need)


def test_masks_of_a_single_sequence() -> None:
    layer = made(add_zero_attn=True)
    assert_same(layer, *inputs(layer, None), key_padding_mask=masks("padding")["key_padding_mask"][0])


@pytest.mark.parametrize("need", [False, True])
def test_a_causal_mask_with_its_hint(need: bool) -> None:
    layer, x = made(), torch.randn(5, 2, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    assert_same(layer, x, x, x, attn_mask=mask, is_causal=True, need_weights=need)


def test_dropout_acts_on_the_attention_in_training_alone() -> None:
    layer = made(dropout=1.0)  # nothing is left, whatever is drawn
    for training in (True, False):
        assert_same(layer.train(training), *inputs(layer))
        assert_same(layer.train(training), *inputs(layer), need_weights=False)


@pytest.mark.parametrize(
    ("same", "vectors"), [("all", 6), ("key and value", 6 + 10), ("query and value", 6 + 6), ("none", 6 + 10 + 10)]
)
def test_an_input_that_is_given_twice_is_multiplied_once(same: str, vectors: int) -> None:
    converted = convert(made())
    counts = counting(converted)
    query, key, value = inputs(made())
    given = {
        "all": (query, query, query),
        "key and value": (query, key, key),
        "query and value": (query, query.clone(), query),
        "none": (query, key, value),
    }[same]
    converted.network(*given)
    assert counts["in_proj_weight"].vectors == vectors
    assert counts["out_proj.weight"].vectors == 6
    assert counts.keys() == {"in_proj_weight", "out_proj.weight"}


def test_the_output_projection_alone_may_stay_digital() -> None:
    layer = nn.Sequential(made())
    converted = convert(layer, exclude=["0.out_proj"])
    assert list(converted.layers) == ["0"]
    x = torch.randn(3, 2, 8)
    torch.testing.assert_close(converted.network[0](x, x, x), layer[0](x, x, x))


BUILT = {
    "encoder layer": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
    "norm first": lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, activation="gelu"),
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("exclude", [[], ["*self_attn"], ["*linear*"]], ids=str)
@pytest.mark.parametrize("name", BUILT)
def test_no_fused_operation_passes_the_layers_of_an_encoder_by(name: str, exclude: list[str]) -> None:
    torch.manual_seed(0)
    network = BUILT[name]().eval()
    converted = convert(network, exclude)
    counts = counting(converted)
    x, padded = torch.randn(3, 5, 8), torch.arange(5) >= torch.tensor([5, 3, 1])[:, None]
    with torch.no_grad():
        expected, found = network(x, src_key_padding_mask=padded), converted.network(x, src_key_padding_mask=padded)
    torch.testing.assert_close(found[~padded], expected[~padded], rtol=1e-5, atol=2e-6)
    assert counts
    assert all(count.vectors == 15 for count in counts.values())


def test_the_other_values_at_padded_places_of_an_encoder_are_told() -> None:
    converted = convert(BUILT["encoder"]())
    told = [digital for digital in converted.digital if digital.kind == "TransformerEncoder"]
    assert ["those of training" in digital.reason for digital in told] == [True]
    x, padded = torch.randn(2, 5, 8), torch.arange(5) >= torch.tensor([5, 2])[:, None]
    network = BUILT["encoder"]().eval()
    ours = convert(network).network
    torch.testing.assert_close(ours(x, src_key_padding_mask=padded), network(x, src_key_padding_mask=padded))


def test_a_whole_transformer() -> None:
    torch.manual_seed(0)
    network = nn.Transformer(8, 2, 2, 2, 16, batch_first=True).eval()
    source, target = torch.randn(2, 5, 8), torch.randn(2, 4, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    converted = assert_same(network, source, target, tgt_mask=mask)
    counts = counting(converted)
    with torch.no_grad():
        torch.testing.assert_close(converted.network(source, target), network(source, target), rtol=1e-5, atol=2e-6)
    assert len(counts) == 2 * 4 + 2 * 6
    assert all(count.calls for count in counts.values())


def test_attention_of_another_kind_stays_digital_with_its_output_projection() -> None:
    class Own(nn.MultiheadAttention):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.multi_head_attention_forward(
                x, x, x, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, None, None, False, 0.0,
                self.out_proj.weight, self.out_proj.bias,
            )[0]  # fmt: skip

    converted = assert_same(nn.Sequential(Own(8, 2), nn.Linear(8, 3)), torch.randn(3, 2, 8))
    assert list(converted.layers) == ["1"]
    reasons = {digital.name: digital.reason for digital in converted.digital}
    assert "computes otherwise than MultiheadAttention" in reasons["0"]
    assert "reads its weights" in reasons["0.out_proj"]


def test_attention_made_of_linear_layers() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
            return self.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    assert list(assert_same(Attention(), torch.randn(2, 5, 8)).layers) == ["qkv", "proj"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attn_mask": torch.zeros(3, 4)}, r"attn_mask has the shape \(3, 5\), and not \(3, 4\)"),
        ({"attn_mask": torch.zeros(2, 3, 5)}, r"attn_mask has the shape \(8, 3, 5\)"),
        ({"key_padding_mask": torch.zeros(5, 2)}, r"key_padding_mask has the shape \(2, 5\)"),
        (
            {"key_padding_mask": torch.zeros(2, 5, dtype=torch.int)},
            "masks are boolean or of floats, and not torch.int32",
        ),
        ({"is_causal": True}, "is_causal is a hint about attn_mask"),
        ({"key": torch.zeros(5, 8)}, "query, key and value all have 2 or 3 dimensions"),
    ],
)
def test_wrong_requests_are_named(change: dict[str, object], message: str) -> None:
    layer = made()
    given = dict(zip(("query", "key", "value"), inputs(layer), strict=True))
    with pytest.raises(RuntimeError, match=message):
        convert(layer).network(**{**given, **change})
