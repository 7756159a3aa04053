"""How limits are looked for, and whether known weak spots are found."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

import hwloop
from hwloop.nn.convert import convert
from hwloop.nn.noise_aware import ChipNoise, NoisyNetwork
from hwloop.nn.noisy_accuracy import Images
from hwloop.nn.nonidealities import Drift, InputRounding, OutputRounding, ProgrammingNoise, ReadNoise
from hwloop.nn.sensitivity import (
    Drop,
    Limit,
    SensitivitySettings,
    crossing,
    limits_of_layers,
    limits_of_parts,
    search,
    weakest,
)

BRIEF = SensitivitySettings(draws=4, age=200.0, halvings=2)


@pytest.mark.parametrize("limit", [0.03, 0.7, 5.0, 300.0])
def test_a_known_limit_is_found(limit: float) -> None:
    tried: list[float] = []

    def measure(factor: float) -> Drop:
        tried.append(factor)
        return Drop(0.01 * factor / limit, 0.001)

    low, value, high = search(measure, SensitivitySettings(halvings=5))
    assert value == pytest.approx(limit, rel=0.02)
    assert low < limit < high
    # 0.00196 of the loss of 0.01 to both sides, by what is interpolated between factors that were tried
    assert low == pytest.approx(limit * (1 - 0.196), rel=0.12)
    assert high == pytest.approx(limit * (1 + 0.196), rel=0.12)
    assert len(tried) == len(set(tried)) < 20


def test_what_is_borne_to_the_end_has_no_limit() -> None:
    found = search(lambda factor: Drop(0.0, 0.0), SensitivitySettings(doublings=3))
    assert all(math.isnan(one) for one in found)
    found = search(lambda factor: None if factor > 4 else Drop(0.0, 0.0), SensitivitySettings())
    assert all(math.isnan(one) for one in found)


def test_what_is_never_borne_has_no_limit() -> None:
    found = search(lambda factor: Drop(0.5, 0.01), SensitivitySettings(doublings=3))
    assert all(math.isnan(one) for one in found)


def test_crossings() -> None:
    at = np.array([0.0, 1.0, 2.0, 3.0])
    assert crossing(at, np.array([0.0, 0.5, 0.2, 1.0]), 0.75) == pytest.approx(2.5)
    assert crossing(at, np.array([0.0, 0.5, 0.5, 1.0]), 0.25) == pytest.approx(0.5)
    assert math.isnan(crossing(at, np.array([0.0, 0.5, 0.5, 0.6]), 0.75))
    assert math.isnan(crossing(at, np.array([0.9, 1.0, 1.0, 1.0]), 0.75))


def test_the_weakest_is_among_what_compares() -> None:
    def limit(name: str, factor: float, comparable: bool = True) -> Limit:
        return Limit(name, "1", 1.0, factor, 0.0, 0.0, factor, 0.9, comparable)

    assert weakest([limit("a", 3.0), limit("b", 2.0), limit("c", 1.0, False), limit("d", math.nan)]) == limit("b", 2.0)
    assert weakest([limit("d", math.nan)]) is None


def test_some_images() -> None:
    data = Images(torch.arange(50.0)[:, None], torch.arange(50))
    few = data.some(20, 1)
    assert len(few) == 20 == len(set(few.labels.tolist()))
    assert torch.equal(few.inputs[:, 0].long(), few.labels)
    assert data.some(50, 1) is data


# ---- weak spots --------------------------------------------------------------------------------------------------


def signs(count: int = 400) -> Images:
    """Inputs of 16 random signs; the class says whether the first eight hold more ones than the others."""
    x = torch.randint(0, 2, (count, 16), generator=torch.Generator().manual_seed(5)).float() * 2 - 1
    score = x[:, :8].sum(1) - x[:, 8:].sum(1)
    return Images(x[score != 0], (score[score != 0] > 0).long())


class WeakSpot(nn.Module):
    """Three linear layers that pass on what the first finds; one of them adds a large number and takes it off again."""

    def __init__(self, spot: str) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(16, 2), nn.Linear(4, 4), nn.Linear(4, 2)
        with torch.no_grad():
            for layer in (self.first, self.middle, self.last):
                layer.weight.zero_()
                layer.bias.zero_()
            self.first.weight[0, :8], self.first.weight[0, 8:] = 0.25, -0.25
            self.first.weight[1] = -self.first.weight[0]
            self.middle.weight.copy_(torch.eye(4))
            self.last.weight[0, 1] = self.last.weight[1, 0] = 1.0
            self.bulk = 0.0
            if spot == "middle":  # two large inputs that cancel out
                self.middle.weight[:2, 2], self.middle.weight[:2, 3] = 1.0, -1.0
                self.bulk = 40.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        bulk = torch.full_like(first, self.bulk)
        middle = self.middle(torch.cat([first, bulk], 1))
        scores: torch.Tensor = self.last(torch.cat([middle[:, :2], torch.zeros_like(first)], 1))
        return scores


@pytest.fixture(scope="module")
def chip() -> ChipNoise:
    with hwloop.connect("sim:hermes-core") as opened:
        return ChipNoise.of(opened.info, (200.0,), parameters=opened.parameters(), corrected=True)


def noisy_network(spot: str, chip: ChipNoise) -> NoisyNetwork:
    made = NoisyNetwork(convert(WeakSpot(spot)), chip, seed=1)
    made.fit_ranges(signs().inputs)
    return made


def test_the_one_weak_layer_is_found(chip: ChipNoise) -> None:
    found = list(limits_of_layers(noisy_network("middle", chip), signs(), BRIEF))
    assert [one.name for one in found] == ["first.weight", "middle.weight", "last.weight"]
    spot = weakest(found)
    assert spot is not None
    assert spot.name == "middle.weight"
    assert spot.factor < 0.5 * min(one.factor for one in found if one.name != "middle.weight")


def test_without_the_spot_the_layer_bears_more(chip: ChipNoise) -> None:
    with_it, without = (
        next(one for one in limits_of_layers(noisy_network(spot, chip), signs(), BRIEF) if one.name == "middle.weight")
        for spot in ("middle", "nowhere")
    )
    assert without.factor > 3 * with_it.factor


def test_the_bits_that_matter_are_found(chip: ChipNoise) -> None:
    """Inputs of plus and minus one need no more than three levels; small scores beside a bulk of 40 need many."""
    fine = chip.only(InputRounding(8.0), OutputRounding(12.0), ProgrammingNoise(1e-3), Drift(1.0), ReadNoise(1e-3))
    network = noisy_network("middle", fine)
    found = {one.name: one for one in limits_of_parts(network, signs(), BRIEF)}
    spot = weakest(list(found.values()))
    assert spot is not None
    assert spot.name == "input bits"
    # Scores are multiples of 0.5, from 0.5 on; steps of 40 / top lose them from 40 / top = 1 on: 6.4 bits.
    assert found["input bits"].value == pytest.approx(math.log2(41) + 1, abs=0.5)
    assert found["input bits"].low <= found["input bits"].value <= found["input bits"].high
    assert found["input bits"].accuracy == 1.0
    assert math.isnan(found["drift"].value)  # at its reference age nothing has drifted


def test_afterwards_the_network_is_as_it_was(chip: ChipNoise) -> None:
    network = noisy_network("middle", chip)
    with torch.no_grad():
        before = network.network(signs().inputs)
        list(limits_of_parts(network, signs(), BRIEF))
        list(limits_of_layers(network, signs(), BRIEF))
        network.redraw(200.0, chip, 1)
        assert network.noise is chip
        assert torch.equal(network.network(signs().inputs), before)


@pytest.mark.parametrize(
    ("settings", "complaint"), [({"loss": 0.0}, "loss=0 is outside"), ({"draws": 1}, "draws=1 is outside")]
)
def test_settings_that_are_none(settings: dict[str, float], complaint: str) -> None:
    with pytest.raises(hwloop.BadInputError, match=complaint):
        dataclasses.replace(BRIEF, **settings)
