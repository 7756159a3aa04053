"""What a training in memory is compared with, and what is around it: descent written out, and shares by counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from hwloop.nn.noisy_accuracy import Images
from hwloop.optim.settings import Training
from hwloop.optim.training import part, seeded, train_in_float


def some_images(count: int) -> Images:
    rng = np.random.default_rng(5)
    labels = torch.tensor(rng.integers(0, 2, count))
    return Images(torch.tensor(rng.normal(0, 1, (count, 3)), dtype=torch.float32), labels)


def test_a_network_in_float_descends_with_momentum_along_a_cosine() -> None:
    """Velocity 0.9 v + gradient, and steps of 0.025 (1 + cos(pi t / T)) of it: three batches in each of two epochs."""
    images, settings = some_images(7), Training(epochs=2, batch=3, seed=11)
    with seeded(1):
        network = nn.Linear(3, 2)
    weight, bias = (one.detach().clone().requires_grad_() for one in (network.weight, network.bias))
    told = list(train_in_float(network, images, settings))
    assert told == [(step, 6) for step in range(6)]
    assert not network.training
    velocities = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for step in range(6):
        order = np.random.default_rng([11, step // 3]).permutation(7)[3 * (step % 3) : 3 * (step % 3) + 3]
        loss = functional.cross_entropy(images.inputs[order] @ weight.T + bias, images.labels[order])
        for index, gradient in enumerate(torch.autograd.grad(loss, [weight, bias])):
            velocities[index] = 0.9 * velocities[index] + gradient
        with torch.no_grad():
            for one, velocity in zip((weight, bias), velocities, strict=True):
                one -= 0.025 * (1 + math.cos(math.pi * step / 6)) * velocity
    assert network.weight.detach().numpy() == pytest.approx(weight.detach().numpy(), rel=1e-4, abs=1e-6)
    assert network.bias.detach().numpy() == pytest.approx(bias.detach().numpy(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("asked", "steps"), [(-1, 8), (0, 0), (1, 2)])
def test_it_learns_as_long_as_on_the_chip_or_as_long_as_asked_for(asked: int, steps: int) -> None:
    settings = Training(epochs=4, batch=4, reference_epochs=asked)
    network = nn.Linear(3, 2)
    network.bias.requires_grad_(False)
    before = network.bias.clone()
    assert len(list(train_in_float(network, some_images(6), settings))) == steps
    assert torch.equal(network.bias, before), "what is frozen stays"


def test_images_are_held_out_by_their_share_and_each_is_in_one_part() -> None:
    images = some_images(10)
    learnt, held_out = part(images, Training(held_out=0.34, seed=2))
    assert held_out is not None
    assert (len(learnt), len(held_out)) == (7, 3)
    both = torch.cat([learnt.inputs, held_out.inputs])
    assert sorted(both[:, 0].tolist()) == sorted(images.inputs[:, 0].tolist())
    again = part(images, Training(held_out=0.34, seed=2))[1]
    other = part(images, Training(held_out=0.34, seed=3))[1]
    assert again is not None
    assert other is not None
    assert torch.equal(again.inputs, held_out.inputs)
    assert not torch.equal(other.inputs, held_out.inputs)
    assert part(images, Training(held_out=0.04)) == (images, None), "a share of less than half an image is none"


def test_random_numbers_go_on_after_a_seeded_part_as_if_there_had_been_none() -> None:
    with seeded(7):
        first = torch.rand(3)
        with seeded(8):
            inner = torch.rand(3)
        second = torch.rand(3)
    with seeded(7):
        assert torch.equal(torch.cat([first, second]), torch.rand(6))
    assert not torch.equal(inner, first)


def test_rates_fall_along_half_a_cosine_or_stay() -> None:
    assert [Training().rate(step, 4) for step in (0, 1, 2, 4)] == pytest.approx([1.0, 0.5 + math.sqrt(0.125), 0.5, 0.0])
    assert Training().rate(0, 0) == 1.0
    assert Training(schedule="constant").rate(3, 4) == 1.0
