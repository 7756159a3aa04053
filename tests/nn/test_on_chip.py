"""Products on a chip: exact where the chip is, and what ranges, copies and gradients do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import hwloop
from hwloop.errors import BadInputError
from hwloop.nn.on_chip import OnChip
from tests.nn.conftest import NOISY, Deploy, difference, images, small_cnn

FINE = "sim:pcm-ideal?adc_bits=16&dac_bits=16&rows=20&columns=12&cores=40"


def settings(ranges: hwloop.RangeSettings | None = None, **other: object) -> hwloop.Deployment:
    network = hwloop.NetworkSettings(ranges or hwloop.RangeSettings(), other.pop("replica_use", "average"))
    return hwloop.Deployment(network=network, **other)


@pytest.mark.parametrize("inputs", ["error", "percentile", "dynamic"])
def test_an_ideal_chip_gives_the_networks_outputs(deployed: Deploy, inputs: str) -> None:
    """Tiles of 20 x 12 cells cut every matrix, and blocks of the depthwise layer among them."""
    network, x = small_cnn(), images(200)
    ranges = hwloop.RangeSettings(inputs=inputs, percentile=100.0)
    found = deployed(network, FINE, settings=settings(ranges))
    with torch.no_grad():
        assert difference(found(x), network(x)) < 1e-3
    assert found.mapping_report().cores_used == 3


def product(network: hwloop.DeployedNetwork, number: int = 0) -> OnChip:
    user = network.placed[number].sharing[0]
    found = user.layer.products[user.own_name]
    assert isinstance(found, OnChip)
    return found


def test_the_smallest_numbers_disturb_no_other_vector(deployed: Deploy) -> None:
    """Scaled to its own largest value, a vector of the smallest single is fully driven."""
    found = product(deployed(small_cnn(), FINE, settings=settings(hwloop.RangeSettings(inputs="dynamic"))))
    matrix = small_cnn()[0].weight.flatten(1).t()[None].detach()
    x = torch.rand(3, 18)
    x[1] = 0.0
    x[1, 4] = 1e-45
    torch.testing.assert_close(found(x, matrix), x @ matrix[0], rtol=1e-2, atol=1e-3)


def test_bound_management_repeats_what_saturates(deployed: Deploy) -> None:
    network, x = small_cnn(), images(64)
    plain, bound = (
        deployed(network, FINE, settings=settings(hwloop.RangeSettings(inputs="dynamic", bound_management=times)))
        for times in (0, 6)
    )
    for one in (plain, bound):
        for tile in product(one).tiles:  # converters that cover a third of what they should
            known = tile.programmed.origin.correction
            tile.at_range(tile.region.full_scale / 3, type(known)(known.gain / 3, known.offset / 3), None)
    flat = torch.zeros(1, 18)
    flat[0] = torch.sign(plain.placed[0].sharing[0].values()[0][:, 0])  # all that drives column 0 drives it fully
    ideal = flat @ plain.placed[0].sharing[0].values()[0]
    matrix = plain.placed[0].sharing[0].values()
    cut, kept = (float(product(one)(flat, matrix)[0, 0] / ideal[0, 0]) for one in (plain, bound))
    assert cut < 0.9
    assert kept == pytest.approx(1.0, abs=1e-3)
    with torch.no_grad():
        assert difference(bound(x), network(x)) < 0.2 * difference(plain(x), network(x))


def test_copies_average_their_errors(deployed: Deploy) -> None:
    """Errors of programming and noise are independent: four copies leave half of them."""
    network, x = nn.Sequential(nn.Linear(72, 40)).eval(), torch.rand(400, 72)
    torch.manual_seed(3)
    nn.init.normal_(network[0].weight)
    errors = {}
    for copies in (1, 4):
        chip = hwloop.connect("sim:hermes-core?rows=72&columns=40&cores=4&seed=3")
        found = hwloop.deploy(network, chip, torch.rand(400, 72), settings=settings(replicas={"0": copies}))
        with torch.no_grad():
            bias, ideal = network[0].bias, network(x)
            errors[copies] = difference(found(x) - bias, ideal - bias)
        chip.close()
    # Rounding of the shared inputs stays: 0.5 would be without it.
    assert 0.4 < errors[4] / errors[1] < 0.65


@pytest.mark.parametrize("use", ["share", "random"])
def test_copies_share_out_the_vectors(deployed: Deploy, use: str) -> None:
    network, x = small_cnn(), images(30)
    found = deployed(network, FINE, settings=settings(replicas={"0": 3, "3": 2}, replica_use=use))
    with torch.no_grad():
        assert difference(found(x), network(x)) < 1e-3
    chip, tile = found.open_run.backend, product(found).replicas[1][0]
    before = tile.region.cost.mvms
    product(found)(torch.rand(90, 18), found.placed[0].sharing[0].values())
    assert tile.region.cost.mvms - before == 30
    assert chip.counts.mvms > 0


def test_gradients_are_those_of_the_digital_network(deployed: Deploy) -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 4)).eval()
    found, x = deployed(network, FINE), images(5).requires_grad_()
    weights = torch.randn(5, 4)
    (network(x) * weights).sum().backward()
    expected, x.grad = x.grad, None
    (found(x) * weights).sum().backward()
    torch.testing.assert_close(x.grad, expected, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(found.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=5e-3, atol=5e-3)


def test_no_vectors_give_no_outputs(deployed: Deploy) -> None:
    found = deployed(small_cnn())
    assert product(found)(torch.zeros(0, 18), found.placed[0].sharing[0].values()).shape == (0, 8)


def test_inputs_that_are_no_number_are_refused(deployed: Deploy) -> None:
    found, x = deployed(small_cnn(), NOISY), images(3)
    x[0, 0, 0, 0] = np.nan
    with pytest.raises(BadInputError, match="NaN or infinite"):
        found(x)
