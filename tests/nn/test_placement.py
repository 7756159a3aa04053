"""Which tensors hold a network, and whether they fit, from shapes alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import hwloop
from hwloop.chip.info import ChipInfo
from hwloop.errors import BadInputError
from hwloop.nn.convert import convert
from hwloop.nn.placement import check_fit, cores_needed, place


@pytest.fixture(scope="module")
def info() -> ChipInfo:
    with hwloop.connect("sim:hermes-core?rows=64&columns=32&cores=2") as chip:
        return chip.info


def test_groups_go_on_a_diagonal_as_many_as_a_core_has_room_for(info: ChipInfo) -> None:
    layer = nn.Conv2d(16, 32, 3, groups=16)  # 9 inputs and 2 outputs a group: 7 groups fill 63 rows
    (matrix,) = place(convert(layer), info)
    assert [(block.first, block.groups) for block in matrix.replicas[0]] == [(0, 7), (7, 7), (14, 2)]
    assert [tensor.name for tensor in matrix.tensors()] == ["weight[0:7]", "weight[7:14]", "weight[14:16]"]
    first = matrix.tensors()[0].values
    assert first.shape == (63, 14)
    weights = layer.weight.detach().numpy().reshape(16, 2, 9)
    for group in range(7):
        block = first[9 * group : 9 * group + 9, 2 * group : 2 * group + 2]
        np.testing.assert_array_equal(block, weights[group].T)
    assert np.count_nonzero(first) == np.count_nonzero(weights[:7])


def test_a_group_larger_than_a_core_is_cut_like_any_matrix(info: ChipInfo) -> None:
    (matrix,) = place(convert(nn.Conv1d(200, 10, 1, groups=2)), info)
    assert [tensor.values.shape for tensor in matrix.tensors()] == [(100, 5), (100, 5)]


def test_copies_have_names_and_values_of_their_own(info: ChipInfo) -> None:
    network = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    first, second = place(convert(network), info, {"0": 3})
    assert [tensor.name for tensor in first.tensors()] == ["0.weight", "0.weight@2", "0.weight@3"]
    assert len(second.tensors()) == 1
    for tensor in first.tensors():
        np.testing.assert_array_equal(tensor.values, first.tensors()[0].values)


def test_tied_weights_are_placed_once(info: ChipInfo) -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    network[2].weight = network[0].weight
    (matrix,) = place(convert(network), info)
    assert [user.name for user in matrix.sharing] == ["0.weight", "2.weight"]


def test_what_does_not_fit_is_said_with_numbers(info: ChipInfo) -> None:
    with torch.device("meta"):  # no weights exist at all
        network = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 40))
    placed = place(convert(network), info)
    assert cores_needed(placed, info) == 4
    told = r"needs 4 cores of 64 x 32 cells \(6656 cells in 4 tiles\) and sim:hermes-core has 2.*largest matrix is 0.w"
    with pytest.raises(BadInputError, match=told):
        check_fit(placed, info)
    check_fit(placed, dataclasses.replace(info, cores=4))


@pytest.mark.parametrize(
    ("replicas", "complaint"),
    [
        ({"fc": 2}, "no analog layer 'fc'"),
        ({"0": 0}, "whole number from 1"),
        ({"0": 1.5}, "whole number from 1"),
        ({"0": True}, "whole number from 1"),
        ({"0": 10**12}, "copies of 0.weight"),
    ],
)
def test_copies_of_nothing(info: ChipInfo, replicas: dict, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        place(convert(nn.Sequential(nn.Linear(3, 2))), info, replicas)
