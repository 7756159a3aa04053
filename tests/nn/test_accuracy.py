"""Accuracy and its interval, and data that do not fit."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from hwloop.errors import BadInputError
from hwloop.nn.accuracy import Accuracy, DeployedAccuracy, accuracy_of, as_one


@pytest.mark.parametrize(("correct", "total"), [(0, 7), (7, 7), (480, 500), (31, 64)])
def test_the_interval_is_wilsons(correct: int, total: int) -> None:
    known = binomtest(correct, total).proportion_ci(method="wilson")
    assert Accuracy(correct, total).interval == pytest.approx((known.low, known.high), abs=1e-8)


def test_arrays_and_batches_count_alike() -> None:
    x, y = torch.eye(4).repeat(3, 1), torch.tensor([0, 1, 2, 0] * 3)
    whole = accuracy_of(nn.Identity(), (x, y), batch=5)
    assert whole == accuracy_of(nn.Identity(), list(zip(x.split(2), y.split(2), strict=True)))
    assert (whole.correct, whole.total, float(whole)) == (9, 12, 0.75)


def test_an_accuracy_is_short_and_has_its_json() -> None:
    assert repr(Accuracy(9, 10)) == "0.9000 (0.5958 to 0.9821)"
    told = DeployedAccuracy(Accuracy(9, 10), Accuracy(10, 10), 20.0).to_json()
    assert told["accuracy"] == 0.9
    assert told["accuracy_digital"] == 1.0
    assert told["images"] == 10


@pytest.mark.parametrize(
    ("x", "y", "complaint"),
    [
        (torch.zeros(3, 2), torch.tensor([0, 1, 2]), "labels run from 0 to 2, and the network has 2 outputs"),
        (torch.zeros(3, 2), torch.tensor([0, -1, 1]), "labels run from -1 to 1"),
        (torch.zeros(3, 2), torch.tensor([0.0, 1.0, 1.0]), "labels must be whole numbers"),
        (torch.zeros(3, 2), torch.tensor([0, 1, 1j]), "labels must be whole numbers"),
        (torch.zeros(3, 2), torch.tensor([0, 1, 2], dtype=torch.uint16), "labels run from 0 to 2"),
        (torch.zeros(3, 2), torch.tensor([0, 1]), "do not belong together"),
        (torch.full((3, 2), torch.nan), torch.tensor([0, 1, 1]), "outputs are NaN"),
        (torch.zeros(3, 2, 2), torch.tensor([0, 1, 1]), "one row of class scores"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), "no data"),
    ],
)
def test_data_that_do_not_fit(x: torch.Tensor, y: torch.Tensor, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        accuracy_of(nn.Identity(), (x, y))


def test_no_batches() -> None:
    with pytest.raises(BadInputError, match="no data"):
        as_one([])
    with pytest.raises(BadInputError, match="batch=0"):
        accuracy_of(nn.Identity(), (torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)), batch=0)
    with pytest.raises(BadInputError, match="must be a pair"):
        as_one([torch.zeros(3)])
