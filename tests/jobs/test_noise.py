"""What stands for a chip and for data at the door of jobs that compute with noise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import hwloop
from hwloop.errors import BadInputError
from hwloop.files.models import Model
from hwloop.jobs.noise import images_of, name_of, noise_of

CHIP = "sim:hermes-core?rows=16&columns=16"
X, Y = np.random.default_rng(0).random((6, 4), np.float32), np.array([0, 1, 2, 0, 1, 2])
FOUR = {"x_train": X, "y_train": Y, "x_test": X[:3], "y_test": Y[:3]}


def network(outputs: int = 3) -> nn.Module:
    return nn.Linear(4, outputs).double()


def test_a_pair_has_no_test_images_and_four_arrays_have() -> None:
    training, test = images_of((X, Y), network())
    assert test is None
    assert training.inputs.dtype is torch.float64  # as the network has it
    assert training.labels.tolist() == Y.tolist()
    training, test = images_of(FOUR, network())
    assert test is not None
    assert (len(training), len(test)) == (6, 3)


def test_weights_of_a_coreset_come_along_where_they_are_heeded() -> None:
    given = FOUR | {"weights": [1, 2, 3, 4, 5, 6]}
    training, test = images_of(given, network(), weighted=True)
    assert training.weights is not None
    assert test is not None
    assert (training.weights.tolist(), test.weights) == ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], None)
    with pytest.raises(BadInputError, match="the data are a coreset, whose weights this does not heed"):
        images_of(given, network())
    for weights in ([1] * 5, [0, 1, 1, 1, 1, 1], [np.inf, 1, 1, 1, 1, 1]):
        with pytest.raises(BadInputError, match="need one weight above zero for each of 6 examples"):
            images_of(FOUR | {"weights": weights}, network(), weighted=True)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (
            {"x_train": X, "y_train": Y, "x_test": X},
            r"^the data lack y_test; give x_train, y_train, x_test, y_test, or",
        ),
        ((X, Y, Y), "data must be a data set, its .npz file, or a pair"),
        ((X, Y[:5]), r"inputs \(6, 4\) and labels \(5,\) do not belong together"),
        ((X, Y[:, None]), "do not belong together"),
        ((X[:0], Y[:0]), "do not belong together"),
        ((np.float32(1.0), np.array(1)), "do not belong together"),
        ((X * np.nan, Y), "the inputs contain NaN or infinity"),
        ((X + np.float32(np.inf), Y), "the inputs contain NaN or infinity"),
        ((["a"], Y[:1]), "the data are no arrays"),
        ((X[:, :3], Y), r"the network does not take the data \(6, 3\)"),
        ((X, Y + 1), "3"),
    ],
)
def test_data_that_do_not_fit_are_refused(data: object, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        images_of(data, network())  # type: ignore[arg-type]


class Odd(nn.Module):
    """Gives what it is told to."""

    def __init__(self, scores: object) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, _: torch.Tensor) -> object:
        return self.scores


@pytest.mark.parametrize(
    ("scores", "complaint"),
    [
        ([1, 2], "must give one row of class scores for each input"),
        (torch.zeros(2), "must give one row"),
        (torch.zeros(3, 4), "must give one row"),
        (torch.full((2, 4), torch.nan), "outputs are NaN or infinite"),
    ],
)
def test_networks_that_score_nothing_are_refused(scores: object, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        images_of((X, Y), Odd(scores))


def test_a_network_stays_in_the_mode_that_it_was_in() -> None:
    for training in (True, False):
        one = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).train(training)
        images_of((X, Y), one)
        assert one.training is training
        assert one[1].num_batches_tracked == 0


def test_a_chip_its_description_and_its_uri_have_the_same_noise() -> None:
    with hwloop.connect(CHIP) as chip:
        by_chip, by_uri = noise_of(chip, [60.0]), noise_of(CHIP, [60.0])
        assert np.array_equal(by_chip.cell.shares, by_uri.cell.shares)
        assert np.array_equal(by_chip.cell.programming, by_uri.cell.programming)
        assert by_chip.ages == (60.0,)
        assert noise_of(chip.info, [60.0]).ages == (60.0,)
        assert name_of(chip) == CHIP
    later = noise_of(by_chip, [1.0, 2.0])
    assert later.ages == (1.0, 2.0)
    with pytest.raises(BadInputError, match="int is no chip; give an open one, a URI, or a fitted model"):
        noise_of(3, [60.0])  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match=r"none\.json"):
        noise_of("none.json", [60.0])


def test_chips_have_names() -> None:
    assert name_of(Model({}, {"chip": "hermes"}, {}, "2026-01-01T00:00:00")) == "twin of hermes"
    assert name_of(Model({}, {}, {}, "2026-01-01T00:00:00")) == "twin of a measured chip"
    assert name_of("sim:x") == "sim:x"
    assert name_of(Path("m.json")) == "m.json"
    assert name_of(SimpleNamespace(uri="", name="n")) == "n"  # type: ignore[arg-type]
    assert name_of(3) == "int"  # type: ignore[arg-type]
