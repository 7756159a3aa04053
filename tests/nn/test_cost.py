"""The cost of an inference, against sums by hand on a chip whose figures are round."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
import torch
from torch import nn

import hwloop
from hwloop.chip.info import ReadMode
from hwloop.errors import BadInputError
from hwloop.nn.cost import shown
from hwloop.nn.ranges import RangeSettings
from hwloop.nn.settings import NetworkSettings
from tests.conftest import OpenChip

CHIP = "sim:hermes-core?rows=64&columns=32&cores=8"
SLOW, FAST = ReadMode("four-phase", 4e-6, 8e-9, "made up"), ReadMode("one-phase", 1e-6, 2e-9, "made up")

Put = Callable[..., hwloop.DeployedNetwork]


@pytest.fixture
def put(open_chip: OpenChip) -> Put:
    """`put(network, inputs, ...)` deploys on cores of 64 x 32 cells with MVMs of 4 us and 8 nJ, or 1 us and 2 nJ."""

    def deployed(
        model: nn.Module, inputs: torch.Tensor, uri: str = CHIP, settings: hwloop.Deployment | None = None
    ) -> hwloop.DeployedNetwork:
        chip = open_chip(uri)
        chip._info = dataclasses.replace(chip.info, read_modes=(SLOW, FAST))
        found = hwloop.deploy(model.eval(), chip, inputs, "exact", settings=settings)
        assert isinstance(found, hwloop.DeployedNetwork)
        return found

    return deployed


def mlp() -> nn.Sequential:
    """Four tiles that fill a core each, and one more."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32))


def test_tiles_work_at_once_and_matrices_in_sequence(put: Put) -> None:
    cost = put(mlp(), torch.rand(80, 128)).cost()
    assert [(one.name, one.vectors, one.mvms, one.cores) for one in cost.matrices] == [
        ("0.weight", 1, 4, 4),
        ("2.weight", 1, 1, 1),
    ]
    assert cost.mvms == 5
    assert cost.latency_seconds == pytest.approx(4e-6 + 4e-6)
    assert cost.interval_seconds == pytest.approx(4e-6)
    assert cost.energy_joules == pytest.approx(5 * 8e-9)
    assert cost.unknown == ()


def test_digital_work_stands_apart(put: Put) -> None:
    """Two row tiles add up to each of the 64 outputs of the first layer; the network itself adds biases and clips."""
    cost = put(mlp(), torch.rand(80, 128)).cost()
    assert cost.digital_operations == {
        "input codes": 4 * 64 + 64,
        "column corrections": 2 * (4 * 32 + 32),
        "partial sums": 64,
        "add": 64 + 32,
        "relu": 64,
    }


def test_each_core_costs_what_its_read_mode_does(put: Put) -> None:
    """All in the fast one: a quarter. One core in the slow one holds up its matrix."""
    net = put(mlp(), torch.rand(80, 128))
    chip, slow = net.open_run.backend, net.cost()
    for core in range(5):
        chip.set_read_mode(core, "one-phase")
    fast = net.cost()
    assert fast.latency_seconds == pytest.approx(slow.latency_seconds / 4)
    assert fast.energy_joules == pytest.approx(slow.energy_joules / 4)
    chip.set_read_mode(net.mapping_report().layers[0].cores[1], "four-phase")
    mixed = net.cost()
    assert mixed.latency_seconds == pytest.approx(4e-6 + 1e-6)
    assert mixed.energy_joules == pytest.approx(4 * 2e-9 + 8e-9)
    assert sum("made up" in sentence for sentence in mixed.assumptions) == 2


def test_a_convolution_takes_a_vector_for_every_position(put: Put) -> None:
    cost = put(nn.Sequential(nn.Conv2d(1, 8, 3)), torch.rand(80, 1, 6, 6)).cost()
    (conv,) = cost.matrices
    assert (conv.vectors, conv.mvms) == (16, 16)
    assert cost.latency_seconds == pytest.approx(16 * 4e-6)


def test_tiles_on_one_core_take_turns_in_a_stream_and_within_a_matrix(put: Put) -> None:
    """On a chip of one core, both layers keep it busy: the next input waits for all of this one."""
    network = nn.Sequential(nn.Linear(20, 10), nn.Linear(10, 5))
    cost = put(network, torch.rand(80, 20), uri=CHIP.replace("cores=8", "cores=1")).cost()
    assert cost.interval_seconds == pytest.approx(cost.latency_seconds)
    assert cost.latency_seconds == pytest.approx(2 * 4e-6)


@pytest.mark.parametrize(("use", "longest", "mvms"), [("average", 10, 30), ("share", 4, 10), ("random", 4, 10)])
def test_copies_share_out_the_vectors_of_a_call_or_average(put: Put, use: str, longest: int, mvms: int) -> None:
    """Ten tokens over three copies, each of which fills a core: 4, 3 and 3 vectors, or ten each."""
    network = nn.Sequential(nn.Linear(64, 32))
    settings = hwloop.Deployment(network=NetworkSettings(replica_use=use), replicas={"0": 3})
    cost = put(network, torch.rand(40, 10, 64), settings=settings).cost()
    assert (cost.matrices[0].vectors, cost.mvms, cost.matrices[0].cores) == (10, mvms, 3)
    assert cost.latency_seconds == pytest.approx(longest * 4e-6)
    assert cost.energy_joules == pytest.approx(mvms * 8e-9)
    assert cost.digital_operations.get("means over copies", 0) == (10 * 32 if use == "average" else 0)
    assert cost.digital_operations.get("partial sums", 0) == (2 * 10 * 32 if use == "average" else 0)


class Twice(nn.Module):
    """Uses one layer twice, one vector at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(self.layer(x))
        return y


def test_a_layer_that_is_used_twice_is_counted_twice_and_copies_cannot_share_single_vectors(put: Put) -> None:
    settings = hwloop.Deployment(network=NetworkSettings(replica_use="share"), replicas={"layer": 2})
    cost = put(Twice(), torch.rand(80, 32), settings=settings).cost()
    assert (cost.matrices[0].vectors, cost.mvms) == (2, 2)
    assert cost.latency_seconds == pytest.approx(2 * 4e-6)


def test_a_recurrent_layer_takes_a_vector_for_every_step(put: Put) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(16, 8, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.lstm(x)[0][:, -1]
            return y

    cost = put(Last(), torch.rand(80, 5, 16)).cost()
    assert [one.vectors for one in cost.matrices] == [5, 5]
    assert {"sigmoid", "tanh"} <= set(cost.digital_operations)


def test_a_chip_that_publishes_nothing_gives_no_figure_and_the_reason(open_chip: OpenChip) -> None:
    chip = open_chip("sim:pcm-90nm?rows=64&columns=32&cores=8")
    cost = hwloop.deploy(mlp(), chip, torch.rand(80, 128), "exact").cost()
    assert (cost.latency_seconds, cost.interval_seconds, cost.energy_joules) == (None, None, None)
    assert cost.mvms == 5
    assert "sim:pcm-90nm does not tell what an MVM takes and consumes" in cost.unknown[0]
    assert "unknown" in str(cost)


def test_an_energy_that_was_published_for_another_core_is_not_used(open_chip: OpenChip) -> None:
    cost = hwloop.deploy(mlp(), open_chip(CHIP), torch.rand(80, 128), "exact").cost()
    assert cost.latency_seconds == pytest.approx(2 * 521e-9)
    assert cost.energy_joules is None
    assert cost.unknown == (
        "sim:hermes-core does not tell the energy of an MVM of a core of 64 x 32 cells in four-phase mode.",
    )


def test_a_chip_with_one_way_of_an_mvm_needs_no_read_mode(open_chip: OpenChip) -> None:
    chip = open_chip("sim:pcm-90nm?rows=64&columns=32&cores=8")
    chip._info = dataclasses.replace(chip.info, read_modes=(SLOW,))
    assert hwloop.deploy(mlp(), chip, torch.rand(80, 128), "exact").cost().energy_joules == pytest.approx(40e-9)


def test_counting_leaves_chip_and_network_as_they_are(put: Put) -> None:
    net = put(mlp(), torch.rand(80, 128))
    chip, products = net.open_run.backend, [dict(layer.products) for layer in (net.network[0], net.network[2])]
    before = chip.counts
    first = net.cost()
    assert chip.counts == before
    assert [layer.products for layer in (net.network[0], net.network[2])] == products
    assert net.cost() == first


def test_assumptions_name_what_this_network_does(put: Put) -> None:
    settings = hwloop.Deployment(network=NetworkSettings(RangeSettings(bound_management=3)), replicas={"2": 2})
    cost = put(mlp(), torch.rand(80, 128), settings=settings).cost()
    text = " ".join(cost.assumptions)
    for expected in ("(128,)", "repeated up to 3 times", "they save no time", "4 us and 8 nJ (made up)", "Left out"):
        assert expected in text
    assert all(sentence.endswith(".") for sentence in cost.assumptions)


def test_it_is_shown_within_80_columns_and_told_as_json(put: Put) -> None:
    network = nn.Sequential()
    network.add_module("a_name_that_is_longer_than_its_column", nn.Sequential(nn.Linear(128, 64)))
    net = put(network, torch.rand(80, 128))
    text = str(net.cost())
    assert max(map(len, text.splitlines())) <= 80
    assert "4 us" in text
    assert "32 nJ" in text
    told = json.loads(json.dumps(net.to_json()))["cost"]
    assert told["latency_seconds"] == pytest.approx(4e-6)
    assert told["energy_joules"] == pytest.approx(32e-9)
    assert told["assumptions"] == list(net.cost().assumptions)
    assert told["matrices"][0]["vectors"] == 1
    assert repr(net.cost()).startswith("<Cost of one inference: 4 us, 32 nJ, 4 MVMs, ")


def test_without_an_input_nothing_can_be_counted(put: Put) -> None:
    net = put(mlp(), torch.rand(80, 128))
    net.inputs = net.inputs[:0]
    with pytest.raises(BadInputError, match="no calibration input"):
        net.cost()


@pytest.mark.parametrize(
    ("value", "text"),
    [(5.21e-7, "521 ns"), (2.136e-5, "21.4 us"), (3.0, "3 s"), (4000.0, "4e+03 s"), (1.2e-13, "0.12 ps"), (0.0, "0 s")],
)
def test_values_have_three_digits_and_a_prefix(value: float, text: str) -> None:
    assert shown(value, "s") == text
