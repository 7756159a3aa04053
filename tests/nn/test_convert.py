"""Networks are converted layer by layer, whatever their nesting, and compute as before."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from hwloop.errors import BadInputError
from hwloop.nn.convert import convert, matrices_of
from hwloop.nn.layers.base import AnalogLayer, share
from hwloop.nn.layers.linear import AnalogConv1D, AnalogLinear
from hwloop.nn.products import Product
from tests.nn.compare import assert_same, counting


def reasons(network: nn.Module, **options: object) -> dict[str, str]:
    return {digital.name: digital.reason for digital in convert(network, **options).digital}


def test_the_original_is_left_alone() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))
    before = copy.deepcopy(network)
    convert(network)
    assert str(network) == str(before)
    assert network[1].activation_relu_or_gelu == before[1].activation_relu_or_gelu
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in network.state_dict().items())


def test_lists_and_dictionaries_of_layers() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Sequential(nn.Linear(4, 4))})])
            self.missing = None
            self.register_module("nothing", None)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.blocks[0]["b"](self.blocks[0]["a"](x))

    assert list(assert_same(Nested(), torch.randn(3, 4)).layers) == ["blocks.0.a", "blocks.0.b.0"]


def test_a_network_that_is_one_layer() -> None:
    converted = assert_same(nn.Linear(4, 3), torch.randn(2, 4))
    assert list(converted.layers) == [""]
    assert [[matrix.name for matrix in sharing] for sharing in matrices_of(converted)] == [["weight"]]


def test_what_stays_digital_is_listed_with_the_reason() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1, 4, 1, 1))

    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.ones(4, 4))

    network = nn.ModuleDict(
        {
            "embed": nn.Embedding(5, 4), "bag": nn.EmbeddingBag(5, 4), "norm": nn.LayerNorm(4), "bn": nn.BatchNorm1d(4),
            "act": nn.ReLU(), "same": nn.Identity(), "scale": Scale(), "mixer": Mixer(), "two": nn.Bilinear(2, 2, 2),
            "complex": nn.Linear(4, 4, dtype=torch.complex64), "head": nn.Linear(4, 2),
        }
    )  # fmt: skip
    found = reasons(network)
    assert found == {
        "embed": "looked up, not multiplied",
        "bag": "looked up, not multiplied",
        "norm": "its parameters act element by element",
        "bn": "batch norm: one factor and offset per channel, applied with those of the columns",
        "act": "has no weights",
        "scale": "its parameters act element by element",
        "mixer": "no conversion is known for Mixer; its own arithmetic stays digital",
        "two": "no conversion is known for Bilinear; its own arithmetic stays digital",
        "complex": "its weights are complex numbers",
    }


# What is excluded, and what users add.


def stack() -> nn.Module:
    return nn.Sequential(
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4)), nn.Linear(4, 2)
    )


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (["2"], ["0.0", "0.1", "1.0"]),
        (["0"], ["1.0", "2"]),
        (["*.0"], ["0.1", "2"]),
        (["0.1", "[12]"], ["0.0"]),
    ],
    ids=str,
)
def test_patterns_exclude_layers_and_what_lies_below(exclude: list[str], left: list[str]) -> None:
    converted = convert(stack(), exclude)
    assert list(converted.layers) == left
    assert "excluded" in {digital.reason for digital in converted.digital}


def test_a_pattern_that_names_nothing_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"exclude: the network has no layer '0\.2'"):
        convert(stack(), ["0.2"])


def test_a_network_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(BadInputError, match="no layer of it can lie on a chip; convertible are Linear, Conv1d"):
        convert(stack(), ["*"])


class Doubled(nn.Module):
    """A layer of a user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.halved = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (2 * self.halved)


class AnalogDoubled(AnalogLayer):
    """What a user writes for it."""

    halved: nn.Parameter

    def __init__(self, layer: Doubled) -> None:
        super().__init__("Doubled")
        share(self, layer)

    def matrices(self) -> dict[str, torch.Tensor]:
        return {"halved": 2 * self.halved[None]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.multiply("halved", x)


def test_users_add_conversions_and_replace_known_ones() -> None:
    class Other(AnalogLinear):
        pass

    network = nn.Sequential(Doubled(), nn.Linear(4, 2))
    converted = convert(network, conversions={Doubled: AnalogDoubled, nn.Linear: Other})
    assert [type(layer) for layer in converted.layers.values()] == [AnalogDoubled, Other]
    x = torch.randn(3, 4)
    torch.testing.assert_close(converted.network(x), network(x))


def test_a_subclass_is_converted_when_it_computes_as_its_base() -> None:
    class Named(nn.Linear):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(inputs, outputs)
            self.purpose = "head"

        def extra_repr(self) -> str:
            return "named"

    converted = assert_same(nn.Sequential(Named(4, 3)), torch.randn(2, 4))
    assert converted.network[0].purpose == "head"


def derived(layer: type[nn.Module], *sizes: int, **options: object) -> nn.Module:
    """Make a layer of a class that is derived from torch's, with a constructor of its own."""

    def begin(self: nn.Module) -> None:
        layer.__init__(self, *sizes, **options)

    return type("Derived", (layer,), {"__init__": begin})()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (derived(nn.Linear, 4, 3), (2, 4)),
        (derived(nn.Conv2d, 4, 3, 2), (1, 4, 3, 3)),
        (derived(nn.ConvTranspose1d, 4, 3, 2), (1, 4, 3)),
        (derived(nn.LSTM, 4, 3), (2, 1, 4)),
        (derived(nn.LSTMCell, 4, 3), (2, 4)),
        (derived(nn.GRUCell, 4, 3), (2, 4)),
        (derived(nn.RNNCell, 4, 3, nonlinearity="relu"), (2, 4)),
    ],
    ids=lambda value: type(value).__mro__[1].__name__,
)
def test_derived_layers_with_constructors_of_their_own(layer: nn.Module, shape: tuple[int, ...]) -> None:
    assert list(assert_same(layer, torch.randn(shape)).layers) == [""]


class OtherForward(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class OtherStep(nn.Conv2d):
    """As weight standardisation is often written."""

    def _conv_forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        return super()._conv_forward(x, weight - weight.mean(), bias)


class OtherWeight(nn.Linear):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.raw = self._parameters.pop("weight")

    @property
    def weight(self) -> torch.Tensor:
        return self.raw.sign()


def test_a_subclass_that_computes_otherwise_stays_digital() -> None:
    network = nn.Sequential(OtherForward(4, 4), OtherWeight(4, 4), nn.Unflatten(1, (1, 2, 2)), OtherStep(1, 1, 1))
    network.append(nn.Flatten()).append(nn.Linear(4, 2))
    converted = assert_same(network, torch.randn(3, 4))
    assert list(converted.layers) == ["5"]
    told = {digital.name: digital.reason for digital in converted.digital}
    assert "computes otherwise than Conv2d" in told["3"]


def test_a_layer_whose_forward_was_put_in_its_place_stays_digital() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    network[0].forward = lambda x: x
    assert list(convert(network).layers) == ["1"]


# Weights that layers share.


def placed(network: nn.Module) -> list[list[str]]:
    return [[matrix.name for matrix in sharing] for sharing in matrices_of(convert(network))]


def test_two_layers_with_one_parameter_are_placed_once() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    network[2].weight = network[0].weight
    assert placed(network) == [["0.weight", "2.weight"], ["1.weight"]]
    converted = assert_same(network, torch.randn(3, 4))
    assert converted.layers["0"].weight is converted.layers["2"].weight


def test_a_matrix_that_another_layer_reads_turned_is_another_matrix() -> None:
    network = nn.Sequential(nn.Linear(4, 4), Turned(4))
    network[1].weight = network[0].weight
    converted = convert(network, conversions={Turned: AnalogConv1D})
    assert [[matrix.name for matrix in sharing] for sharing in matrices_of(converted)] == [["0.weight"], ["1.weight"]]


class Turned(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(size, size)), nn.Parameter(torch.zeros(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


def test_an_embedding_tied_with_the_output_is_placed_with_the_output() -> None:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.head(self.embed(tokens))

    converted = assert_same(Language(), torch.arange(5))
    assert list(converted.layers) == ["head"]
    assert converted.network.head.weight is converted.network.embed.weight


def test_a_layer_at_several_places_is_converted_once_for_all_of_them() -> None:
    one, block = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    converted = assert_same(nn.Sequential(one, nn.ReLU(), one, block, nn.Sequential(block, one)), torch.randn(3, 4))
    assert list(converted.layers) == ["0", "3.0"]
    assert converted.network[0] is converted.network[2] is converted.network[4][1]
    assert [digital.name for digital in converted.digital] == ["1", "3.1"]
    counts = counting(converted)
    converted.network(torch.randn(3, 4))
    assert {name: count.calls for name, count in counts.items()} == {"0.weight": 3, "3.0.weight": 2}


def test_a_layer_that_is_excluded_at_one_of_its_places_is_excluded_at_all() -> None:
    one = nn.Linear(4, 4)
    converted = convert(nn.Sequential(one, nn.Linear(4, 4), one), exclude=["2"])
    assert list(converted.layers) == ["1"]


# Weights that are made anew in every pass.


FOLDED = {
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "own": lambda layer: parametrize.register_parametrization(layer, "weight", nn.Tanh()),
    "two": lambda layer: parametrizations.spectral_norm(parametrizations.weight_norm(layer)),
    "old weight norm": weight_norm,
    "old spectral norm": spectral_norm,
    "pruned": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated", "ignore:.*spectral_norm.* is deprecated")
@pytest.mark.parametrize("run", [False, True])
@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv2d(2, 4, 3), nn.ConvTranspose1d(3, 4, 3)], ids=str)
@pytest.mark.parametrize("way", FOLDED)
def test_reparametrised_weights_are_folded(way: str, layer: nn.Module, run: bool) -> None:
    torch.manual_seed(0)
    shape = {"Linear": (2, 6), "Conv2d": (2, 2, 5, 5), "ConvTranspose1d": (2, 3, 4)}[type(layer).__name__]
    network = nn.Sequential(FOLDED[way](copy.deepcopy(layer)))
    if run:  # some of them leave a weight behind that cannot be copied
        network(torch.randn(shape)).sum().backward()
    network.eval()
    converted = convert(network)
    assert set(converted.network.state_dict()) == {"0.weight", "0.bias"}
    x = torch.randn(shape)
    torch.testing.assert_close(converted.network(x), network(x), rtol=1e-5, atol=2e-6)
    converted.network(x).sum().backward()
    assert converted.network[0].weight.grad is not None


def test_spectral_norm_is_folded_as_it_stands_in_training_too() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 5)))
    nn.init.normal_(network[0].parametrizations.weight.original)  # after which a step of the norm would move it far
    stands = copy.deepcopy(network).eval()[0].weight
    torch.testing.assert_close(convert(network.train()).network[0].weight, nn.Parameter(stands))


def test_folding_leaves_the_original_alone() -> None:
    network, x = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3))), torch.randn(2, 4)
    before = network(x)
    convert(network)
    assert parametrize.is_parametrized(network[0])
    assert torch.equal(network(x), before)


def test_a_reparametrised_recurrent_layer() -> None:
    network = nn.LSTM(4, 5)
    parametrizations.weight_norm(network, "weight_hh_l0")
    converted, x = convert(network), torch.randn(3, 2, 4)
    assert list(converted.layers[""].matrices()) == ["weight_ih_l0", "weight_hh_l0"]
    torch.testing.assert_close(converted.network(x)[0], network(x)[0])


def test_what_makes_the_weights_of_a_digital_layer_is_not_converted() -> None:
    network = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 2))
    parametrize.register_parametrization(network[0], "weight", nn.Linear(4, 4))
    converted = assert_same(network, torch.arange(3))
    assert list(converted.layers) == ["1"]
    assert {digital.name: digital.kind for digital in converted.digital} == {"0": "Embedding"}


# Hooks, number types, modes, devices.


def test_hooks_stay() -> None:
    network, seen = nn.Sequential(nn.Linear(4, 3)), []
    network[0].register_forward_hook(lambda module, given, y: seen.append("after"))
    network[0].register_forward_hook(lambda module, given, named, y: y + 1, with_kwargs=True)
    network[0].register_forward_pre_hook(lambda module, given: (2 * given[0],))
    network[0].register_full_backward_hook(lambda module, into, out: seen.append("backward"))
    converted, x = convert(network).network, torch.randn(2, 4, requires_grad=True)
    torch.testing.assert_close(converted(x), network(x))
    converted(x).sum().backward()
    assert seen == ["after", "after", "after", "backward"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_a_network_goes_on_computing_in_its_own_number_type(dtype: torch.dtype) -> None:
    class Single(Product):
        """Computes in float32, as a chip's does."""

        def __call__(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
            return x.float() @ matrix[0].float()

    network = nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), nn.LSTM(6, 5)).to(dtype)
    converted, x = convert(network), torch.randn(3, 2, 8).to(dtype)
    close = {"rtol": 4 * torch.finfo(dtype).eps, "atol": 8 * torch.finfo(dtype).eps}
    torch.testing.assert_close(converted.network(x)[0], network(x)[0], **close)
    for layer in converted.layers.values():
        layer.products = dict.fromkeys(layer.matrices(), Single())
    assert converted.network(x)[0].dtype == dtype


@pytest.mark.parametrize("training", [True, False])
def test_layers_stay_in_their_mode(training: bool) -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.MultiheadAttention(4, 2)).train(training)
    network[1].eval()
    converted = convert(network).network
    modes = [module.training for module in network.modules()]
    assert [module.training for module in converted.modules()] == modes
    assert all(module.training for module in converted.train().modules())


def test_a_network_without_memory_is_converted_for_its_shapes() -> None:
    with torch.device("meta"):
        network = nn.ModuleList(
            [
                parametrizations.weight_norm(nn.Linear(4000, 3000)), nn.Conv2d(6, 8, 3, groups=2),
                nn.ConvTranspose2d(6, 8, 3, groups=2), nn.LSTM(5, 4, bidirectional=True), nn.GRUCell(5, 4),
                nn.MultiheadAttention(8, 2), parametrizations.spectral_norm(nn.Linear(3, 3)),
            ]
        )  # fmt: skip
    converted = convert(network)
    shapes = {matrix.name: tuple(matrix.values().shape) for matrix, *_ in matrices_of(converted)}
    assert shapes == {
        "0.weight": (1, 4000, 3000), "1.weight": (2, 27, 4), "2.weight": (2, 3, 36),
        "3.weight_ih_l0": (1, 5, 16), "3.weight_hh_l0": (1, 4, 16),
        "3.weight_ih_l0_reverse": (1, 5, 16), "3.weight_hh_l0_reverse": (1, 4, 16),
        "4.weight_ih": (1, 5, 12), "4.weight_hh": (1, 4, 12),
        "5.in_proj_weight": (1, 8, 24), "5.out_proj.weight": (1, 8, 8), "6.weight": (1, 3, 3),
    }  # fmt: skip
    assert converted.network[5](*[torch.randn(3, 2, 8, device="meta")] * 3)[0].shape == (3, 2, 8)
    assert converted.network[2](torch.randn(1, 6, 4, 4, device="meta")).shape == (1, 8, 6, 6)


def test_layers_whose_size_is_not_known_yet_are_named() -> None:
    network = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(BadInputError, match="0: its size is not known yet; run the network once on data"):
        convert(network)
    x = torch.randn(2, 1, 5, 5)
    network(x)
    assert list(assert_same(network, x).layers) == ["0", "2"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
def test_compiled_networks_are_refused() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with pytest.raises(BadInputError, match="TopLevelTracedModule: it is compiled"):
        convert(torch.jit.trace(network, torch.randn(3, 4)))
    with pytest.raises(BadInputError, match="0: it is compiled, and its layers cannot be replaced any more"):
        convert(nn.Sequential(torch.jit.trace(network[0], torch.randn(3, 4)), network[1]))


def test_a_converted_network_is_copied_and_saved_as_any_other() -> None:
    network = nn.Sequential(nn.ConvTranspose1d(2, 3, 3), nn.Flatten(0), nn.Linear(15, 4))
    converted, x = convert(network).network, torch.randn(1, 2, 3)
    other = copy.deepcopy(converted)
    other.load_state_dict({name: 2 * value for name, value in network.state_dict().items()})
    assert not torch.equal(other(x), converted(x))
    assert torch.equal(converted(x), convert(network).network(x))


# Layers of packages that hwloop does not need are known by their names.


def test_the_linear_layer_of_gpt2() -> None:
    Conv1D = type("Conv1D", (Turned,), {"__module__": "transformers.pytorch_utils"})
    converted = assert_same(nn.Sequential(Conv1D(4)), torch.randn(3, 4))
    assert isinstance(converted.layers["0"], AnalogConv1D)
    assert torch.equal(next(matrices_of(converted))[0].values()[0], converted.network[0].weight)


def test_the_linear_layer_of_timm() -> None:
    def forward(self: nn.Linear, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.weight, self.bias)

    Linear = type("Linear", (nn.Linear,), {"__module__": "timm.layers.linear", "forward": forward})
    assert list(assert_same(nn.Sequential(Linear(4, 3)), torch.randn(3, 4)).layers) == ["0"]


@pytest.mark.parametrize("size", [(7, 8), (5, 6), (9, 4)], ids=str)
@pytest.mark.parametrize("kernel", [3, 1])
@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": (2, 3), "dilation": 2}, {}, {"groups": 2}], ids=str)
def test_the_convolution_of_timm_that_pads_as_tensorflow_does(
    options: dict[str, object], size: tuple[int, int], kernel: int
) -> None:
    def forward(self: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        """Pad so much that the output has the size of the input over the stride, more of it at the end."""
        pads = []
        for d in (1, 0):
            outputs = -(-x.shape[2 + d] // self.stride[d])
            wanted = (outputs - 1) * self.stride[d] + self.dilation[d] * (self.kernel_size[d] - 1) + 1
            total = max(wanted - x.shape[2 + d], 0)
            pads += [total // 2, total - total // 2]
        x = functional.pad(x, pads)
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    Conv2dSame = type("Conv2dSame", (nn.Conv2d,), {"__module__": "timm.layers.conv2d_same", "forward": forward})
    torch.manual_seed(0)
    assert len(assert_same(nn.Sequential(Conv2dSame(2, 4, kernel, **options)), torch.randn(2, 2, *size)).layers) == 1


@pytest.mark.parametrize(("moves", "stays"), [((True, False), True), ((False, False), False), ((True, True), True)])
def test_a_folded_weight_is_trained_if_anything_of_it_was(moves: tuple[bool, bool], stays: bool) -> None:
    layer = parametrizations.weight_norm(nn.Linear(4, 3))
    for part, trained in zip(layer.parametrizations.weight.parameters(), moves, strict=True):
        part.requires_grad_(trained)
    assert convert(nn.Sequential(layer)).network[0].weight.requires_grad == stays
