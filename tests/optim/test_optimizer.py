"""Optimisers as users of torch know them: a loop of one's own, schedulers, checkpoints."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import hwloop
from hwloop.optim.optimizer import OPTIMIZERS
from tests.optim.conftest import URI, network, points


def learn(net: hwloop.AnalogNetwork, opt: torch.optim.Optimizer, epochs: int) -> float:
    x, y = points(200, 1)
    for _ in range(epochs):
        for part in torch.split(torch.arange(200), 40):
            opt.zero_grad()
            functional.cross_entropy(net(x[part]), y[part]).backward()
            opt.step()
    return net.accuracy(points(300, 2)).value


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_algorithm_learns(name: str, chip: hwloop.Backend) -> None:
    net = hwloop.nn.analog(network(), chip)
    before = net.accuracy(points(300, 2)).value
    opt = OPTIMIZERS[name](net, lr=0.2)
    assert learn(net, opt, 4) > max(before + 0.1, 0.7)


def test_only_pulses_change_weights(chip: hwloop.Backend) -> None:
    net = hwloop.nn.analog(network(), chip)
    opt = hwloop.optim.AnalogSGD(net, lr=0.1)
    given = {name: one.clone() for name, one in net.network.named_parameters()}
    pulses = chip.counts.pulses
    learn(net, opt, 1)
    assert chip.counts.pulses > pulses
    assert torch.equal(net.network[0].weight, given["0.weight"])  # as it was given; the devices have moved on
    assert not torch.equal(net.network[0].bias, given["0.bias"])
    read = net.read_weights()["0.weight"]
    assert np.allclose(net.network[0].weight.detach().numpy(), read.T, atol=1e-6)


def test_gradients_that_were_cleared_are_not_written(chip: hwloop.Backend) -> None:
    net = hwloop.nn.analog(network(), chip)
    opt = hwloop.optim.AnalogSGD(net, lr=0.1)
    x, y = points(20, 1)
    functional.cross_entropy(net(x), y).backward()
    opt.zero_grad()
    pulses = chip.counts.pulses
    opt.step()
    assert chip.counts.pulses == pulses


def test_a_scheduler_sets_the_rate(chip: hwloop.Backend) -> None:
    net = hwloop.nn.analog(network(), chip)
    opt = hwloop.optim.AnalogSGD(net, lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda epoch: 0.0)
    x, y = points(20, 1)
    functional.cross_entropy(net(x), y).backward()
    pulses, bias = chip.counts.pulses, net.network[0].bias.clone()
    opt.step()
    schedule.step()
    assert chip.counts.pulses == pulses
    assert torch.equal(net.network[0].bias, bias)


def test_frozen_layers_get_no_pulse(chip: hwloop.Backend) -> None:
    model = network()
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    net = hwloop.nn.analog(model, chip)
    opt = hwloop.optim.ChoppedTTv2(net, lr=0.3)
    first = net.matrices["0.weight"].replicas[0]
    pulses, last = first.pulses(), net.matrices["2.weight"].replicas[0].pulses()
    learn(net, opt, 2)
    assert np.array_equal(first.pulses(), pulses)
    assert np.any(net.matrices["2.weight"].replicas[0].pulses() > last)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with hwloop.connect(URI) as other, pytest.raises(hwloop.BadInputError, match="all of them are frozen"):
        hwloop.optim.AGAD(hwloop.nn.analog(model, other))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_checkpoint_goes_on_to_the_last_bit(name: str) -> None:
    ends = []
    for stops in (False, True):
        with hwloop.connect(URI) as chip:
            net = hwloop.nn.analog(network(), chip)
            opt = OPTIMIZERS[name](net, lr=0.1)
            learn(net, opt, 1)
            if not stops:
                learn(net, opt, 1)
                ends.append(chip.export_state())
                continue
            saved = io.BytesIO()
            torch.save({"opt": opt.state_dict(), "net": net.network.state_dict()}, saved)
            state = chip.export_state()
        saved.seek(0)
        kept = torch.load(saved, weights_only=True)
        with hwloop.connect(URI) as chip:
            net = hwloop.nn.analog(network(), chip)
            opt = OPTIMIZERS[name](net, lr=0.05)
            chip.import_state(state)
            net.network.load_state_dict(kept["net"])
            opt.load_state_dict(kept["opt"])
            assert opt.param_groups[0]["lr"] == 0.1
            learn(net, opt, 1)
            ends.append(chip.export_state())
    assert ends[0].keys() == ends[1].keys()
    assert all(np.array_equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_the_state_of_another_algorithm_is_refused(chip: hwloop.Backend) -> None:
    net = hwloop.nn.analog(network(), chip)
    agad, mixed = hwloop.optim.AGAD(net), hwloop.optim.MixedPrecision(net)
    with pytest.raises(hwloop.BadInputError, match="not of a AGAD"):
        agad.load_state_dict(mixed.state_dict())
    with pytest.raises(hwloop.BadInputError, match="AGAD takes a AGADRule, not a TTv2Rule"):
        hwloop.optim.AGAD(net, rule=hwloop.optim.TTv2Rule())
    with pytest.raises(hwloop.BadInputError, match="lr=nan is no learning rate"):
        hwloop.optim.AGAD(net, lr=float("nan"))


def test_digital_work_is_what_the_papers_say(chip: hwloop.Backend) -> None:
    net = hwloop.nn.analog(nn.Sequential(nn.Linear(16, 8)), chip)
    work = {name: made(net).digital_work()["0.weight"] for name, made in OPTIMIZERS.items()}
    assert [work[name].operations for name in ("sgd", "tiki-taka", "shd")] == [0.0, 0.0, 0.0]
    assert 0 < work["ttv2"].operations < work["agad"].operations < work["mixed-precision"].operations == 2 * 16 * 8
    assert work["agad"].numbers > work["c-ttv2"].numbers > work["ttv2"].numbers == 16 * 8
