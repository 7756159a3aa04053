"""The weights of a torch module: its layers tell what each tensor is, and the matrix multiplies as the layer does."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from hwloop.errors import BadInputError, WeightsNote
from hwloop.jobs.inputs import weights_from


def matrices(module: nn.Module) -> tuple[dict[str, np.ndarray], str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", WeightsNote)
        found = {one.name: one.values for one in weights_from(module).matrices}
    return found, "\n".join(str(one.message) for one in caught)


def product(layer: nn.Module, sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Give inputs of one patch, and what a layer without bias makes of them."""
    x = torch.randn(4, *sizes, generator=torch.Generator().manual_seed(1))
    return x.flatten(1).numpy(), layer(x).detach().flatten(1).numpy()


@pytest.mark.parametrize(
    ("layer", "sizes"),
    [
        (nn.Linear(8, 6, bias=False), (8,)),
        (nn.Conv2d(3, 6, 3, bias=False), (3, 3, 3)),
        (nn.Conv2d(8, 8, 3, groups=8, bias=False), (8, 3, 3)),
        (nn.Conv2d(8, 16, 3, groups=4, bias=False), (8, 3, 3)),
        (nn.Conv1d(6, 9, 4, groups=3, bias=False), (6, 4)),
        (nn.ConvTranspose2d(4, 3, 2, bias=False), (4, 1, 1)),
        (nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False), (4, 1, 1)),
    ],
)
def test_the_matrix_multiplies_as_the_layer_does(layer: nn.Module, sizes: tuple[int, ...]) -> None:
    x, y = product(layer, sizes)
    found, noted = matrices(layer)
    assert np.allclose(x @ found["weight"], y, atol=1e-5)
    assert not noted


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "make",
    [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.orthogonal],
)
def test_computed_weights_are_computed(make) -> None:
    layer = make(nn.Linear(8, 6, bias=False))
    with torch.no_grad():
        next(iter(layer.parameters())).mul_(1.5)
    x, y = product(layer, (8,))
    assert np.allclose(x @ matrices(layer)[0]["weight"], y, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("make", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.parametrize(
    ("layer", "sizes"),
    [(nn.ConvTranspose2d(4, 4, 2, bias=False), (4, 1, 1)), (nn.Conv1d(6, 6, 4, groups=3, bias=False), (6, 4))],
)
def test_computed_weights_keep_the_reading_of_their_layer(make, layer: nn.Module, sizes: tuple[int, ...]) -> None:
    parted = make(copy.deepcopy(layer))
    x, y = product(parted, sizes)
    assert np.allclose(x @ matrices(parted)[0]["weight"], y, atol=1e-5)


class Everything(nn.Module):
    """A network with layers that hold no weights, with a tied head and a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        self.head.weight = self.words.weight
        self.norm, self.fc = nn.LayerNorm((4, 8)), nn.Linear(8, 8)
        self.attention, self.memory = nn.MultiheadAttention(8, 2), nn.LSTM(8, 5)
        self.register_buffer("mask", torch.ones(6, 6))
        self.prototypes = nn.Parameter(torch.ones(3, 8))


def test_only_weights_of_layers_are_taken() -> None:
    found, noted = matrices(Everything())
    assert list(found) == [
        "head.weight", "fc.weight", "attention.in_proj_weight", "attention.out_proj.weight",
        "memory.weight_ih_l0", "memory.weight_hh_l0",
    ]  # fmt: skip
    assert "words.weight: the same as head.weight" in noted
    assert "mask, " in noted or "mask: buffer" in noted
    assert "prototypes" in noted


def test_wrapped_modules_have_plain_names() -> None:
    assert list(matrices(nn.DataParallel(nn.Sequential(nn.Linear(3, 2))))[0]) == ["0.weight"]


def test_a_module_without_values_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of torch say that lazy layers may change
        layer = nn.LazyLinear(4)
    with pytest.raises(BadInputError, match="run the network once"):
        weights_from(layer)
