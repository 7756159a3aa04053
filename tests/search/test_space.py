"""Spaces of architectures, and networks that are named by their genes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwloop.errors import BadInputError
from hwloop.nn.factory import network_from, zoo_network
from hwloop.search import Space, resnet_like
from hwloop.search.space import space_from

NAME = "hwloop.search.resnet_like:i1_o10_s8_b1w8k3_b2w16k1_h2"


@pytest.mark.parametrize(("shape", "channels"), [((64,), 1), ((8, 8), 1), ((1, 8, 8), 1), ((3, 12, 12), 3)])
def test_every_network_of_the_space_takes_the_data_and_is_named(shape: tuple[int, ...], channels: int) -> None:
    space, rng = resnet_like.space(shape, 7), np.random.default_rng(1)
    for _ in range(8):
        genome = space.draw(rng)
        network = space.network(genome).eval()
        with torch.no_grad():
            assert network(torch.rand(2, *shape)).shape == (2, 7)
        name = space.named(genome)
        again = zoo_network(name)
        assert f":{'' if genome[0] else 'p_'}i{channels}_o7_s{genome[1]}_" in name
        assert [one.shape for one in again.parameters()] == [one.shape for one in network.parameters()]


def test_a_code_is_a_network_for_commands_and_for_files() -> None:
    for made in (network_from(NAME), zoo_network(NAME)):
        assert resnet_like.weights_of(made) == 72 + 2 * 576 + (128 + 256 + 128) + 2 * 256 + 640
    for wrong in ("i1_o10_s8_h2", "i1_o10_s8_b1w8k3", "__import__", "i1_o10_s8_b1w8k3_h2\n"):
        with pytest.raises(BadInputError):
            zoo_network(f"hwloop.search.resnet_like:{wrong}")
    with pytest.raises(BadInputError, match="no 'i1_nonsense' in hwloop"):
        network_from("hwloop.search.resnet_like:i1_nonsense")
    with pytest.raises(BadInputError, match="is not one of hwloop"):
        zoo_network("hwloop.search.space:Space")


def test_one_genome_stands_for_all_of_the_same_network() -> None:
    """Stages of no blocks are left out, so that it matters neither which they are nor what their genes say."""
    space = resnet_like.space((64,), 10)
    alike = [(1, 8, 1, 4, 3, 0, 48, 5, 2, 16, 1, 1), (1, 8, 1, 4, 3, 2, 16, 1, 0, 64, 3, 1)]
    assert len({space.named(one) for one in alike}) == 1
    (plain,) = {space.one_of_its_kind(one) for one in alike}
    assert space.named(plain) == space.named(alike[0])
    assert space.check(plain) == plain == space.one_of_its_kind(plain)
    rng = np.random.default_rng(3)
    drawn = [space.draw(rng) for _ in range(2000)]
    assert len(set(drawn)) == len({space.named(one) for one in drawn}) < len(drawn)


def test_plain_networks_have_no_shortcuts_and_halve_by_the_largest_pixel() -> None:
    network = zoo_network("hwloop.search.resnet_like:p_i1_o10_s16_b1w32k3_b2w24k1_h2").eval()
    assert resnet_like.weights_of(network) == 144 + 16 * 9 * 32 + 32 * 24 + 24 * 24 + 24 * 4 * 10
    kinds = [type(one).__name__ for one in network.blocks]
    assert kinds == ["PlainBlock", "MaxPool2d", "PlainBlock", "PlainBlock"]
    with torch.no_grad():
        assert network(torch.rand(2, 1, 7, 7)).shape == (2, 10)


def test_genomes_are_places_among_choices() -> None:
    space = Space({"width": (4, 8, 16), "depth": (1, 2)}, lambda genome: nn.Linear(genome[0], genome[1]))
    assert space.features([(4, 1), (8, 2), (16, 1)]).tolist() == [[0, 0], [0.5, 1], [1, 0]]
    assert space.written((8, 2)) == "width=8, depth=2"
    assert space.check((8, 2)) == (8, 2)
    for wrong in ((5, 1), (4,)):
        with pytest.raises(BadInputError, match="is not of this space"):
            space.check(wrong)


@pytest.mark.parametrize(
    ("genes", "complaint"), [({}, "no genes"), ({"a": ()}, "has the choices"), ({"a": (1, 1)}, "each once")]
)
def test_genes_without_choices(genes: dict[str, tuple[int, ...]], complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        Space(genes, lambda genome: nn.Identity())


def test_spaces_that_make_no_network() -> None:
    def fails(genome: tuple[int, ...]) -> nn.Module:
        raise ValueError("no such width\nat all")

    with pytest.raises(BadInputError, match="the space makes no network of a=1: no such width"):
        Space({"a": (1, 2)}, fails).network((1,))
    with pytest.raises(BadInputError, match=r"made a int of a=1, no torch.nn.Module"):
        Space({"a": (1, 2)}, lambda genome: 3).network((1,))  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nowhere.at_all", "no such module"),
        ("hwloop.search.trials", r"has no function space\(shape, classes\)"),
        ("", "no such module"),
    ],
)
def test_names_that_are_no_space(name: str, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        space_from(name, (64,), 10)


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(BadInputError, match="square images"):
        space_from("hwloop.search.resnet_like", (60,), 10)
