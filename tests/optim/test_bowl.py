"""A quadratic bowl on devices whose steps up and down differ: where each algorithm comes to rest.

Every one of 64 weights learns y = 0.4 x from noisy samples on its own. The devices balance up and down at their
symmetry point, which is the reference, away from the minimum.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import hwloop
from hwloop.optim.rule import Rule

TARGET = 0.4
URI = (
    "sim:reram-sb?seed=2&rows=4&columns=64&cores=8&write_noise=0&cycle_spread=0.3&states=200&up_down=0.3"
    "&symmetry_point_mean={offset}&symmetry_point_spread=0"
)


def rest(rule: Rule, lr: float, offset: float = 0.0, batches: int = 60) -> np.ndarray:
    """Return the weights at the end, averaged over the last third of the way."""
    random = np.random.default_rng(7)
    model = nn.Linear(1, 64, bias=False)
    nn.init.zeros_(model.weight)
    found = []
    with hwloop.connect(URI.format(offset=offset)) as chip:
        net = hwloop.nn.analog(model, chip)
        opt = hwloop.optim.OPTIMIZERS[rule.name](net, lr, rule)
        for batch in range(batches):
            x = torch.tensor(random.choice([-1.0, 1.0], (25, 1)), dtype=torch.float32)
            y = TARGET * x + torch.tensor(random.standard_normal((25, 64)), dtype=torch.float32)
            loss = 0.5 * (net(x) - y).square().sum(1).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            if batch >= batches * 2 // 3:
                found.append(net.matrices["weight"].replicas[0].weights()[0])
    return np.mean(found, axis=0)


def test_descent_stops_between_minimum_and_symmetry_point() -> None:
    assert rest(hwloop.optim.SGDRule(), 0.3).mean() < 0.8 * TARGET


def test_hamiltonian_descent_and_tiki_taka_find_the_minimum() -> None:
    for rule in (hwloop.optim.HamiltonianRule(), hwloop.optim.TikiTakaRule()):
        reached = rest(rule, 0.3, batches=120)
        assert abs(reached.mean() - TARGET) < 0.15 * TARGET, rule


def test_a_wrong_reference_misleads_them_but_not_agad() -> None:
    assert abs(rest(hwloop.optim.TikiTakaRule(), 0.3, 0.2, batches=120).mean() - TARGET) > 0.3 * TARGET
    agad = hwloop.optim.AGADRule(chop_period=20, stride=2, granularity=30.0)
    assert abs(rest(agad, 0.1, 0.2, batches=90).mean() - TARGET) < 0.2 * TARGET


def test_choppers_take_out_what_a_wrong_reference_adds() -> None:
    plain = hwloop.optim.TTv2Rule(stride=2, granularity=30.0)
    chopped = hwloop.optim.ChoppedTTv2Rule(chop_probability=0.01, stride=2, granularity=30.0)
    assert abs(rest(plain, 0.1, 0.2, batches=60).mean() - TARGET) > 0.3 * TARGET
    assert abs(rest(chopped, 0.1, 0.2, batches=90).mean() - TARGET) < 0.2 * TARGET


def test_mixed_precision_finds_the_minimum_wherever_the_reference_is() -> None:
    for offset in (0.0, 0.2):
        reached = rest(hwloop.optim.MixedPrecisionRule(granularity=2.0), 0.1, offset)
        assert abs(reached.mean() - TARGET) < 0.2 * TARGET, offset
