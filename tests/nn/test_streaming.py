"""Networks larger than their chip, and networks tuned on what their chip gives."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import hwloop
from hwloop.errors import BadInputError
from hwloop.nn.chip_in_the_loop import Tuning, digital_parameters, tune
from hwloop.nn.streaming import StreamedNetwork
from tests.conftest import OpenChip
from tests.nn.conftest import NOISY, Deploy, difference, images, labelled, small_cnn

KINDS = (torch.int64, torch.int32)
TIGHT = "sim:pcm-ideal?adc_bits=16&dac_bits=16&rows=36&columns=16&cores=1"


def stream(chip: hwloop.Backend, network: nn.Module, **settings: object) -> StreamedNetwork:
    asked = hwloop.Deployment(passes=True, **settings)
    found = hwloop.deploy(network, chip, images(200), "exact", settings=asked)
    assert isinstance(found, StreamedNetwork)
    return found


def test_a_network_goes_through_a_small_chip_in_passes(open_chip: OpenChip) -> None:
    network, x = small_cnn(), images(50, seed=3)
    found = stream(open_chip(TIGHT), network)
    with torch.no_grad():
        assert difference(found(x), network(x)) < 2e-3
        assert found.cost().programmings == found.cost().passes == 2
        assert difference(found(x), network(x)) < 2e-3
    assert found.cost().programmings == 4
    assert found.accuracy(labelled(network)).value == 1.0
    assert found.cost().programmings == 6


def test_its_pulses_are_counted(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?rows=36&columns=16&cores=1&seed=2")
    network = small_cnn()
    found = hwloop.deploy(network, chip, images(200), hwloop.GDP(max_steps=4), settings=hwloop.Deployment(passes=True))
    assert isinstance(found, StreamedNetwork)
    found.accuracy(labelled(network))
    cost = found.cost()
    assert cost.pulses == chip.counts.pulses == cost.pulses_per_programming
    assert 0 < cost.largest_count <= chip.info.limits.pulses_per_device
    assert cost.to_json()["passes"] == 2


def test_what_fits_is_deployed_whole(deployed: Deploy) -> None:
    assert isinstance(deployed(small_cnn(), settings=hwloop.Deployment(passes=True)), hwloop.DeployedNetwork)


def test_a_matrix_larger_than_the_chip_fits_no_pass(open_chip: OpenChip) -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 100)).eval()
    with pytest.raises(BadInputError, match=r"2\.weight alone needs 9 cores and sim:pcm-ideal has 1"):
        stream(open_chip(TIGHT), network)
    with pytest.raises(BadInputError, match="has no file"):
        stream(open_chip(TIGHT), small_cnn(), out="net.h5")


# ---- the chip in the loop --------------------------------------------------------------------------------------


def test_tuning_brings_a_drifted_network_back(deployed: Deploy) -> None:
    network = small_cnn()
    with torch.no_grad():  # answers of all kinds, and sure ones
        network[5].bias -= network(images(300)).mean(0)
        network[5].weight *= 30.0
        network[5].bias *= 30.0
    found = deployed(network, "sim:pcm-90nm?rows=64&columns=64&cores=4&seed=3", "iterative")
    found.age("1y")
    before = found.accuracy(labelled(network, 300, seed=11))
    weights = found.network[0].weight.detach().clone()
    losses = tune(found, labelled(network, 300, seed=12), settings=Tuning(epochs=6, rate=3e-2, batch=50))
    after = found.accuracy(labelled(network, 300, seed=11))
    assert losses[-1] < 0.95 * losses[0]
    assert after.correct > before.correct + 20
    assert torch.equal(found.network[0].weight, weights)
    assert not any(norm.training for norm in found.network.modules())


def test_only_what_is_named_is_tuned(deployed: Deploy) -> None:
    network = small_cnn()
    found = deployed(network, NOISY)
    assert set(digital_parameters(found)) == {"0.bias", "1.weight", "1.bias", "3.bias", "5.bias"}
    tune(found, labelled(network), ["5.*"], Tuning(epochs=1))
    for name, value in digital_parameters(found).items():
        assert torch.equal(value, network.get_parameter(name)) == (name != "5.bias")


def test_a_network_in_passes_is_not_tuned_and_tells_its_cost(open_chip: OpenChip) -> None:
    found = hwloop.deploy(small_cnn(), open_chip(TIGHT), images(50), "exact", settings=hwloop.Deployment(passes=True))
    assert isinstance(found, StreamedNetwork)
    json.dumps(found.to_json(), allow_nan=False)  # nothing was programmed yet
    with pytest.raises(BadInputError, match="not whole on a chip"):
        tune(found, labelled(small_cnn()))


def test_labels_of_any_whole_number_type_tune_alike(deployed: Deploy) -> None:
    network = small_cnn()
    x, y = labelled(network)
    losses = [tune(deployed(network, NOISY), (x, y.to(kind)), settings=Tuning(epochs=1)) for kind in KINDS]
    assert losses[0] == losses[1]


def test_tuning_that_cannot_be(deployed: Deploy) -> None:
    network = small_cnn()
    found, (x, y) = deployed(network, NOISY), labelled(network)
    with pytest.raises(BadInputError, match=r"no digital parameter is called '5\.weight'"):
        tune(found, (x, y), ["5.weight"])
    with pytest.raises(BadInputError, match="labels run from"):
        tune(found, (x, y + 5))
    with pytest.raises(BadInputError, match="no digital parameter was named"):
        tune(found, (x, y), [])
    found.network[5].bias.requires_grad_(False)
    with pytest.raises(BadInputError, match=r"'5\.bias' is frozen"):
        tune(found, (x, y))
    before = {name: value.detach().clone() for name, value in digital_parameters(found).items()}
    with torch.no_grad():
        found.network[5].bias.fill_(float("inf"))
    with pytest.raises(BadInputError, match="the loss is not finite"):
        tune(found, (x, y), ["1.*"])
    assert torch.equal(found.network[1].weight, before["1.weight"])


def test_a_stream_keeps_what_was_asked_for(open_chip: OpenChip) -> None:
    """Learnt input ranges, and weights that are multiplied around the chip."""

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(36, 16), nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(self.b(self.a(x)), self.c.weight)

    settings = hwloop.Deployment(passes=True, input_ranges={"a.weight": 0.625})
    with pytest.warns(UserWarning, match=r"c\.weight"):
        found = hwloop.deploy(Around(), open_chip(TIGHT), torch.rand(50, 36), "exact", settings=settings)
    assert isinstance(found, StreamedNetwork)
    assert "c.weight" in {one.name for one in found.digital}
    found.load(0)
    product = found.network.a.products["weight"]
    assert {tile.input_scale for tile in product.tiles} == {0.625}
