"""Recurrent layers compute as torch's own, with every option."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from hwloop.nn.convert import convert
from tests.nn.compare import assert_same, counting

KINDS = {
    "lstm": (nn.LSTM, {}),
    "projected lstm": (nn.LSTM, {"proj_size": 3}),
    "gru": (nn.GRU, {}),
    "tanh": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
}
CELLS = {
    "lstm": (nn.LSTMCell, {}),
    "gru": (nn.GRUCell, {}),
    "tanh": (nn.RNNCell, {}),
    "relu": (nn.RNNCell, {"nonlinearity": "relu"}),
}
OPTIONS = [
    {"num_layers": layers, "bidirectional": both, "bias": bias}
    for layers, both, bias in itertools.product((1, 2), (False, True), (True, False))
]
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def made(kind: str, **options: object) -> nn.RNNBase:
    torch.manual_seed(0)
    layer, more = KINDS[kind]
    return layer(5, 7, **more, **options)


def states(layer: nn.RNNBase, *batch: int) -> torch.Tensor | tuple[torch.Tensor, ...]:
    count = layer.num_layers * (1 + layer.bidirectional)
    hidden = torch.randn(count, *batch, layer.proj_size or 7)
    return (hidden, torch.randn(count, *batch, 7)) if layer.mode == "LSTM" else hidden


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_layer_computes_as_torchs(kind: str, options: dict[str, object]) -> None:
    assert_same(made(kind, **options), torch.randn(4, 3, 5))


@pytest.mark.parametrize("kind", KINDS)
def test_states_to_begin_with(kind: str) -> None:
    layer = made(kind, num_layers=2, bidirectional=True, batch_first=True)
    assert_same(layer, torch.randn(3, 4, 5), states(layer, 3))


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_single_sequence_without_a_batch(kind: str, begun: bool) -> None:
    layer = made(kind, bidirectional=True, batch_first=True)
    assert_same(layer, torch.randn(4, 5), *([states(layer)] if begun else []))


@pytest.mark.parametrize("lengths", [(4, 3, 1), (2, 5, 1, 5), (3,), (2, 2)], ids=str)
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_of_different_lengths(kind: str, begun: bool, lengths: tuple[int, ...]) -> None:
    layer = made(kind, num_layers=2, bidirectional=True)
    packed = pack_sequence([torch.randn(length, 5) for length in lengths], enforce_sorted=False)
    converted = assert_same(layer, packed, *([states(layer, len(lengths))] if begun else []))
    given, expected = converted.network(packed)[0], layer(packed)[0]
    assert torch.equal(given.batch_sizes, expected.batch_sizes)
    assert torch.equal(given.unsorted_indices, expected.unsorted_indices)


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch", [(), (3,)], ids=["single", "batch"])
@pytest.mark.parametrize("kind", CELLS)
def test_cell_computes_as_torchs(kind: str, batch: tuple[int, ...], bias: bool, begun: bool) -> None:
    torch.manual_seed(0)
    cell, options = CELLS[kind]
    state = torch.randn(*batch, 7)
    given = (state, torch.randn(*batch, 7)) if cell is nn.LSTMCell else state
    assert_same(cell(5, 7, bias=bias, **options), torch.randn(*batch, 5), *([given] if begun else []))


def test_dropout_acts_between_layers_in_training_alone() -> None:
    layer = made(
        "lstm", num_layers=2, dropout=1.0
    )  # so that the second layer sees nothing but zeros, whatever is drawn
    for training in (True, False):
        assert_same(layer.train(training), torch.randn(4, 3, 5))
    assert not torch.allclose(layer.train()(torch.ones(4, 3, 5))[0], layer.eval()(torch.ones(4, 3, 5))[0])


def test_inputs_of_all_steps_are_multiplied_at_once_and_hidden_states_step_by_step() -> None:
    converted = convert(made("projected lstm", num_layers=2, bidirectional=True))
    counts = counting(converted)
    converted.network(torch.randn(4, 3, 5))
    assert len(counts) == 2 * 2 * 3
    for name, count in counts.items():
        assert count.vectors == 4 * 3
        assert count.calls == (1 if "weight_ih" in name else 4), name


def test_networks_may_ask_a_layer_for_its_sizes() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(5, 7, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.lstm.flatten_parameters()
            zeros = torch.zeros(self.lstm.num_layers, len(x), self.lstm.hidden_size)
            return self.lstm(x, (zeros, zeros))[0][:, -1]

    assert_same(Reader(), torch.randn(3, 4, 5))


@pytest.mark.parametrize(
    ("shape", "state", "message"),
    [
        ((4, 3, 6), None, "the last of 5 features"),
        ((0, 3, 5), None, "none empty"),
        ((4,), None, "2 or 3 dimensions"),
        ((4, 3, 5), (1, 2, 7), r"hx has the shapes \[\(1, 3, 7\)\], and not \[\(1, 2, 7\)\]"),
        ((4, 3, 5), (3, 7), "hx has the shapes"),
    ],
)
def test_wrong_shapes_are_named(shape: tuple[int, ...], state: tuple[int, ...] | None, message: str) -> None:
    network = convert(made("gru")).network
    with pytest.raises(RuntimeError, match=message):
        network(torch.randn(shape), None if state is None else torch.randn(state))
