"""How candidates of a search are sized up, trained and told apart, each step against a calculation by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from hwloop.errors import BadInputError
from hwloop.jobs import candidates
from hwloop.jobs.candidates import (
    Evaluator,
    accuracies,
    dealt,
    footprint_of,
    in_float_of,
    states_of,
    trained,
    twins_of,
)
from hwloop.nn.noisy_accuracy import Images
from hwloop.search import Limits, SearchSettings, Space
from hwloop.sim_backend.statistical.chip import StatisticalChip

CHIP = "sim:hermes-core?rows=8&columns=8&cores=3"
WIDTHS = Space({"width": (4, 8, 12)}, lambda genome: nn.Linear(8, genome[0], bias=False))
"""Networks of one matrix: 8 inputs, and 4, 8 or 12 outputs, which take one core, one core and two."""


@pytest.fixture(scope="module")
def chip() -> Iterator[StatisticalChip]:
    with twins_of(CHIP) as found:
        yield found


def images(count: int = 24, classes: int = 3) -> Images:
    inputs = torch.randn(count, 8, generator=torch.Generator().manual_seed(0))
    return Images(inputs, torch.arange(count) % classes)


def evaluator(chip: StatisticalChip, count: int = 24, classes: int = 3, **limits: float) -> Evaluator:
    return Evaluator(WIDTHS, images(count, classes), chip, SearchSettings(held_out=0.5), Limits(**limits))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [("visa:a", "evaluated on twins of a chip"), (f"{CHIP}&level=pulse", "give level=statistical, or no level")],
)
def test_only_simulated_chips_have_twins(uri: str, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint), twins_of(uri):
        pass


@pytest.mark.parametrize("uri", ["sim:hermes-core", "sim:hermes-core?rows=8", "sim:hermes-core?level=statistical"])
def test_the_statistical_level_is_chosen_by_itself(uri: str) -> None:
    with twins_of(uri) as found:
        assert found.info.rows == (8 if "rows" in uri else 256)


def test_what_a_network_takes_is_counted_from_its_shapes(chip: StatisticalChip) -> None:
    each = chip.info.read_modes[0].seconds
    found = [footprint_of(nn.Linear(8, width, bias=False), chip, torch.zeros(1, 8)) for width in (4, 8, 12)]
    assert [(one.weights, one.cores) for one in found] == [(32, 1), (64, 1), (96, 2)]
    assert [one.latency / each for one in found] == pytest.approx([1, 1, 1])
    two = footprint_of(nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 4, bias=False)), chip, torch.zeros(1, 8))
    assert (two.weights, two.cores, two.latency) == (96, 2, pytest.approx(2 * each))


@pytest.mark.parametrize(
    ("limits", "fitting"),
    [
        ({}, [4, 8, 12]),
        ({"weights": 31}, []),
        ({"weights": 32}, [4]),
        ({"weights": 64}, [4, 8]),
        ({"cores": 1}, [4, 8]),
        ({"cores": 2}, [4, 8, 12]),
        ({"cores": 99}, [4, 8, 12]),
        ({"weights": 64, "cores": 2}, [4, 8]),
        ({"latency": 1.0}, [4, 8, 12]),
        ({"latency": 1e-12}, []),
    ],
)
def test_a_limit_is_kept_by_what_just_reaches_it(
    chip: StatisticalChip, limits: dict[str, float], fitting: list[int]
) -> None:
    one = evaluator(chip, **limits)
    for _ in range(2):  # known from then on
        assert [width for width in (4, 8, 12) if one.fits((width,)) is not None] == fitting


def test_a_latency_that_is_just_reached_is_kept(chip: StatisticalChip) -> None:
    each = chip.info.read_modes[0].seconds
    assert evaluator(chip, latency=each).fits((4,)) is not None
    assert evaluator(chip, latency=each * 0.999).fits((4,)) is None


@pytest.mark.parametrize(("count", "share", "refused"), [(20, 0.5, False), (19, 0.5, True), (30, 0.3, True)])
def test_ten_images_are_left_on_either_side(chip: StatisticalChip, count: int, share: float, refused: bool) -> None:
    settings = SearchSettings(held_out=share)
    if refused:
        with pytest.raises(BadInputError, match=f"needs 20 training images or more; the data have {count}"):
            Evaluator(WIDTHS, images(count), chip, settings)
    else:
        one = Evaluator(WIDTHS, images(count), chip, settings)
        assert (len(one.training), len(one.held_out)) == (10, 10)


def test_no_image_is_both_learnt_and_asked(chip: StatisticalChip) -> None:
    one = evaluator(chip, 25)
    assert (len(one.training), len(one.held_out)) == (12, 13)  # a half, rounded up
    both = torch.cat([one.training.inputs, one.held_out.inputs])
    assert len({tuple(row.tolist()) for row in both}) == 25


def test_as_many_scores_as_classes_are_enough(chip: StatisticalChip) -> None:
    assert evaluator(chip, classes=4).footprint((4,)).weights == 32
    with pytest.raises(BadInputError, match=r"gives \(2, 4\) for two examples; expected scores for 5 classes"):
        evaluator(chip, classes=5).footprint((4,))


def test_twins_and_trainings_have_seeds_of_their_own(chip: StatisticalChip) -> None:
    one = Evaluator(WIDTHS, images(), chip, SearchSettings(seed=3, held_out=0.5))
    assert [one._twin(number) for number in range(3)] == [1_003_000, 1_003_001, 1_003_002]


def by_hand(network: nn.Linear, data: Images, settings: SearchSettings) -> torch.Tensor:
    """The weights after one step of AdamW with the gradient at the noisy weights.

    Of the two rates of a cycle, whose peak lies at 0.3 of 2 steps less one, the first is the one after 0.4 of the 1.4
    steps of its fall.
    """
    was = network.weight.detach().clone()
    order = torch.randperm(len(data))
    noise = torch.randn_like(was) * (settings.weight_noise * was.abs().max())
    at = (was + noise).requires_grad_()
    nn.functional.cross_entropy(data.inputs[order] @ at.T, data.labels[order]).backward()
    rate = settings.lr * (1 + math.cos(math.pi * 0.4 / 1.4)) / 2
    return was * (1 - rate * 0.01) - rate * at.grad / (at.grad.abs() + 1e-8)


def test_a_step_goes_from_the_weights_with_the_gradient_of_noisy_ones() -> None:
    data, settings = images(), SearchSettings(epochs=1, images_a_step=24, weight_noise=0.2)
    networks = []
    for _ in range(2):
        torch.manual_seed(1)
        networks.append(nn.Linear(8, 3, bias=False))
    torch.manual_seed(2)
    expected = by_hand(networks[0], data, settings)
    torch.manual_seed(2)
    trained(networks[1].eval(), data, settings)
    assert torch.allclose(networks[1].weight, expected, rtol=0, atol=1e-6)
    assert not networks[1].training


def test_a_batch_of_one_image_is_left_out() -> None:
    """Batch norm would have no statistics of it."""
    network = nn.Sequential(nn.Linear(8, 3), nn.BatchNorm1d(3))
    trained(network, images(25), SearchSettings(epochs=2, images_a_step=8))
    assert network[1].num_batches_tracked == 2 * 3


def test_how_weights_lie_in_memory_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for lay_out in (candidates._lay_out, lambda network, order: None):
        monkeypatch.setattr(candidates, "_lay_out", lay_out)
        torch.manual_seed(1)
        network = nn.Sequential(
            nn.Unflatten(1, (1, 2, 4)), nn.Conv2d(1, 3, (2, 3)), nn.Conv2d(3, 4, (1, 2)), nn.Flatten()
        )
        trained(network, images(), SearchSettings(epochs=2, images_a_step=24, weight_noise=0.0))
        found.append([one.weight for one in network[1:3]])
    for one, other in zip(*found, strict=True):
        assert one.is_contiguous()
        assert torch.allclose(one, other, rtol=0, atol=1e-5)


def test_networks_are_asked_at_the_ages_that_are_wanted(chip: StatisticalChip) -> None:
    settings = SearchSettings(method="exact", images=12, vectors=64)
    network = nn.Linear(8, 3, bias=False).eval()
    for ages in ((0.0,), (3600.0,), (0.0, 600.0, 7200.0)):
        asked = accuracies(network, chip, [(5, images()), (6, images()[:7])], images(), settings, ages)
        assert [len(one) for one in asked] == [len(ages)] * 2
        for (first, *_), count in zip(asked, (24, 7), strict=True):  # each of the images that it was given
            assert first * count == pytest.approx(round(first * count))


def test_accuracy_in_float_is_the_share_of_right_answers() -> None:
    network = nn.Linear(8, 3, bias=False).eval()
    answers = [int(network(one).argmax()) for one in images().inputs]
    right = sum(one == label for one, label in zip(answers, images().labels.tolist(), strict=True))
    assert in_float_of(network, images()) == pytest.approx(right / 24)


@pytest.mark.parametrize(
    ("twins", "asked_on", "found"),
    [
        (2, 2, [[0, 1, 2, 3, 4]] * 2),
        (2, 1, [[0, 2, 4], [1, 3]]),
        (4, 2, [[0, 1, 4], [1, 2], [2, 3], [0, 3, 4]]),
        (4, 9, [[0, 1, 2, 3, 4]] * 4),
        (6, 2, [[0, 1, 2, 3, 4]] * 6),
    ],
)
def test_images_are_dealt_out_among_the_twins(twins: int, asked_on: int, found: list[list[int]]) -> None:
    five = Images(torch.arange(5.0)[:, None], torch.arange(5))
    parts = dealt(five, SearchSettings(twins=twins, asked_on=asked_on))
    assert [one.labels.tolist() for one in parts] == found


def test_states_are_copies() -> None:
    made = np.ones((2, 3), np.float32)
    state = states_of({"w": made})
    made[:] = 2
    assert state["w"].tolist() == [[1.0] * 3] * 2
    assert not math.isnan(float(state["w"].sum()))
