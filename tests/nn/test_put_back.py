"""A training is put back to what it was, and networks whose sizes are not known yet are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import hwloop
from hwloop.errors import BadInputError
from hwloop.nn.checkpoint import put_back, tensors_of
from hwloop.nn.convert import convert
from hwloop.nn.noise_aware import ChipNoise, NoisyNetwork


def trained(seed: int) -> tuple[NoisyNetwork, torch.optim.Optimizer]:
    """A network after one step of a training with noise."""
    torch.manual_seed(seed)
    with hwloop.connect("sim:hermes-core?rows=16&columns=16") as chip:
        noise = ChipNoise.of(chip.info, (60.0,), parameters=chip.parameters())
    noisy = NoisyNetwork(convert(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))), noise, seed)
    x = torch.randn(20, 6)
    noisy.fit_ranges(x)
    optimizer = torch.optim.Adam(noisy.network.parameters(), lr=0.1)
    noisy.network(x).square().sum().backward()
    optimizer.step()
    return noisy, optimizer


def told(noisy: NoisyNetwork, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    best = {name: one.clone() for name, one in noisy.network.state_dict().items()}
    found = tensors_of(noisy, (best, [torch.tensor(1.5)]), optimizer)
    return {name: one.detach().clone() for name, one in found.items()}


def test_network_ranges_optimiser_and_random_numbers_are_put_back() -> None:
    first, second = trained(1), trained(2)
    wanted, before = told(*first), told(*second)
    assert wanted.keys() == before.keys()
    kinds = {name.partition("/")[0] for name in wanted}
    assert kinds == {"now", "range", "best", "best range", "random", "optimizer", "global random"}
    put_back(wanted, *second)
    assert torch.equal(torch.get_rng_state(), wanted["global random"])
    after = told(*second)
    for name, one in wanted.items():
        assert torch.equal(after[name], one), name
    changed = {name.partition("/")[0] for name, one in wanted.items() if not torch.equal(before[name], one)}
    assert {"now", "range", "random", "optimizer"} <= changed


def half_known() -> nn.Linear:
    """A layer that knows the size of its weight, and not that of its bias."""
    layer = nn.Linear(2, 2)
    layer.bias = nn.parameter.UninitializedParameter()
    return layer


@pytest.mark.parametrize("layer", [nn.LazyLinear(3), half_known()])
def test_a_layer_of_which_any_size_is_unknown_is_refused(layer: nn.Module) -> None:
    with pytest.raises(BadInputError, match=r"^1.*: its size is not known yet; run the network once on data"):
        convert(nn.Sequential(nn.ReLU(), layer))
