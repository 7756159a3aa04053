"""A network on a chip behind a socket is, bit for bit, that on the simulated chip itself."""

from __future__ import annotations

from collections.abc import Callable

import torch

import hwloop
from hwloop.drivers.visa_chip import VisaChip
from tests.conftest import OpenChip
from tests.drivers.conftest import Serve
from tests.nn.conftest import images, labelled, small_cnn

CHIP = "sim:hermes-core?rows=48&columns=48&seed=3"


def test_a_network_through_a_link(serve: Serve, open_visa: Callable[..., VisaChip], open_chip: OpenChip) -> None:
    network = small_cnn()
    settings = hwloop.Deployment(test=labelled(network))
    outputs, accuracies = [], []
    for chip in (open_chip(CHIP), open_visa(serve(CHIP))):
        net = hwloop.deploy(network, chip, images(100), hwloop.GDP(max_steps=4), settings=settings)
        assert isinstance(net, hwloop.DeployedNetwork)
        net.age(chip.now() - net.open_run.end + 60)
        net.compensate("column+batchnorm")
        with torch.no_grad():
            outputs.append(net(images(30, seed=9)))
        accuracies.append(net.tested)
    assert torch.equal(*outputs)
    assert accuracies[0] == accuracies[1]
