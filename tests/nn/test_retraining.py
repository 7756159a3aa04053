"""Noise-aware training: a small network that suffers from noise, and recovers."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

import hwloop
from hwloop.nn.clipping import clip_columns
from hwloop.nn.convert import convert, matrices_of
from hwloop.nn.noise_aware import ChipNoise, NoisyNetwork
from hwloop.nn.noisy_accuracy import Images, right_exactly, right_under_noise, scores_under_noise
from hwloop.nn.nonidealities import ProgrammingNoise
from hwloop.nn.retraining import Retraining, train

BRIEF = Retraining(
    epochs=6, clip_sigmas=3.0, batch=50, lr=5e-3, draws=3, youngest=200.0, oldest=200.0, distillation=1.0, keep="better"
)


def blobs(count: int, seed: int) -> Images:
    """Four classes in the plane, as signs of two coordinates, spread over 32 inputs with noise."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=random)
    signs = torch.stack([labels % 2 * 2 - 1, labels // 2 * 2 - 1], 1).float()
    spread = 0.25 * torch.randn(2, 32, generator=torch.Generator().manual_seed(77))
    return Images(signs @ spread + 0.7 * torch.randn(count, 32, generator=random), labels)


def trained() -> nn.Module:
    """A network that is right."""
    torch.manual_seed(1)
    made = nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 4))
    data, optimizer = blobs(1000, 0), torch.optim.Adam(made.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(data.inputs), data.labels).backward()
        optimizer.step()
    return made


def brittle() -> nn.Module:
    """The same with two hidden units whose large weights cancel out, and take up the range of all others."""
    made = trained()
    with torch.no_grad():
        first, last = made[0], made[2]
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        first.weight[:2] = 0.0
        first.weight[:2, 0] = 1.0
        last.weight[:, 0], last.weight[:, 1] = 60.0, -60.0
        first.bias[:2] = 4.0
    return made


@pytest.fixture(scope="module")
def noise() -> ChipNoise:
    with hwloop.connect("sim:hermes-core") as chip:
        return ChipNoise.of(chip.info, parameters=chip.parameters())


def noisy_network(noise: ChipNoise, network: nn.Module | None = None) -> NoisyNetwork:
    made = NoisyNetwork(convert(network or trained()), noise, seed=3)
    made.fit_ranges(blobs(200, 5).inputs)
    return made


class Failing(nn.Module):
    """Gives NaN in training, once it was called so many times."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= self.training
        return x if self.left > 0 else x * math.nan


def silent(done: int, total: int) -> None:
    """Watch nothing."""


def test_what_noise_costs_is_regained(noise: ChipNoise) -> None:
    noisy, test = noisy_network(noise, brittle()), blobs(1000, 9)
    before = float(right_under_noise(noisy, test, 10, 1)[0].double().mean())
    digital = float(right_exactly(noisy, test).double().mean())
    course = train(noisy, blobs(1000, 0), dataclasses.replace(BRIEF, mixing=0.0), silent)
    after = float(right_under_noise(noisy, test, 10, 1)[0].double().mean())
    assert course.status == "complete"
    assert before < 0.5 < 0.85 < digital
    assert after > digital - 0.05
    assert len(course.epochs) == 7
    assert course.epochs[course.best].noisy_loss == min(epoch.noisy_loss for epoch in course.epochs)


def test_the_same_seed_gives_the_same_network(noise: ChipNoise) -> None:
    made = []
    for seed in (0, 0, 1):
        noisy = noisy_network(noise, brittle())
        train(noisy, blobs(300, 0), dataclasses.replace(BRIEF, epochs=2, seed=seed), silent)
        made.append({name: value.clone() for name, value in noisy.network.state_dict().items()})
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert not all(torch.equal(made[0][name], made[2][name]) for name in made[0])


def test_the_global_random_state_does_not_matter(noise: ChipNoise) -> None:
    noisy, state = noisy_network(noise), torch.get_rng_state()
    train(noisy, blobs(200, 0), dataclasses.replace(BRIEF, epochs=1), silent)
    assert torch.equal(torch.get_rng_state(), state)


def test_ranges_are_learnt_unless_told_otherwise(noise: ChipNoise) -> None:
    for rate, same in ((0.01, False), (0.0, True)):
        noisy = noisy_network(noise, brittle())
        before = noisy.input_ranges()
        train(noisy, blobs(300, 0), dataclasses.replace(BRIEF, epochs=2, range_lr=rate), silent)
        assert (noisy.input_ranges() == before) is same


@pytest.mark.parametrize(("batch_norm", "same"), [("kept", True), ("learnt", False)])
def test_batch_norm_keeps_its_statistics(noise: ChipNoise, batch_norm: str, same: bool) -> None:
    norm = nn.BatchNorm1d(24)
    noisy = noisy_network(noise, nn.Sequential(nn.Linear(32, 24), norm, nn.ReLU(), nn.Linear(24, 4)))
    train(noisy, blobs(200, 0), dataclasses.replace(BRIEF, epochs=3, distillation=0.0, batch_norm=batch_norm), silent)
    state = noisy.network.state_dict()
    assert torch.equal(state["1.running_mean"], norm.running_mean) is same
    assert not torch.equal(state["1.weight"], norm.weight)


def test_where_there_is_nothing_to_gain_nothing_is_changed(noise: ChipNoise) -> None:
    """On a chip without noise a trained network cannot become better by more than its standard error allows for."""
    noisy = noisy_network(noise.only())
    before = {name: value.clone() for name, value in noisy.network.state_dict().items()}
    course = train(noisy, blobs(400, 3), dataclasses.replace(BRIEF, lr=1e-3, range_lr=0.0), silent)
    assert course.best == 0
    assert all(epoch.gain <= 2 * epoch.gain_error for epoch in course.epochs)
    assert all(torch.equal(before[name], value) for name, value in noisy.network.state_dict().items())


def test_an_epoch_must_be_better_by_more_than_its_error(noise: ChipNoise) -> None:
    for certainty, kept in ((2.0, True), (100.0, False)):
        noisy = noisy_network(noise, brittle())
        course = train(noisy, blobs(400, 0), dataclasses.replace(BRIEF, certainty=certainty), silent)
        last = course.epochs[-1]
        assert 0 < 2 * last.gain_error < last.gain < 100 * last.gain_error
        assert (course.best > 0) is kept


def test_no_epochs_change_nothing(noise: ChipNoise) -> None:
    noisy = noisy_network(noise)
    before = {name: value.clone() for name, value in noisy.network.state_dict().items()}
    course = train(noisy, blobs(200, 0), dataclasses.replace(BRIEF, epochs=0), silent)
    assert (course.best, len(course.epochs)) == (0, 1)
    assert math.isnan(course.epochs[0].loss)
    assert all(torch.equal(before[name], value) for name, value in noisy.network.state_dict().items())


def test_sgd_and_distillation_alone(noise: ChipNoise) -> None:
    noisy = noisy_network(noise)
    settings = dataclasses.replace(BRIEF, optimizer="sgd", lr=0.01, distillation=1.0, clip_sigmas=0.0, held_out=0.0)
    course = train(noisy, blobs(500, 0), settings, silent)
    assert course.status == "complete"
    assert course.epochs[-1].loss < 0.01  # it began as its own teacher
    assert course.epochs[course.best].noisy_loss <= course.epochs[0].noisy_loss


def test_a_loss_that_is_no_number_ends_it(noise: ChipNoise) -> None:
    noisy = noisy_network(noise, nn.Sequential(trained(), Failing(8)))
    course = train(noisy, blobs(300, 0), BRIEF, silent)
    assert course.status == "diverged"
    assert len(course.epochs) == 2
    assert all(torch.isfinite(value).all() for value in noisy.network.state_dict().values())


def test_ctrl_c_keeps_the_best_so_far(noise: ChipNoise) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 6 * 17
        if done == 40:
            raise KeyboardInterrupt

    noisy = noisy_network(noise)
    course = train(noisy, blobs(1000, 0), BRIEF, stop)
    assert course.status == "interrupted"
    assert len(course.epochs) == 3
    right, _ = right_under_noise(noisy, blobs(1000, 9), 5, 1)
    assert float(right.double().mean()) > 0.9 * float(course.epochs[course.best].noisy)


class Watching(nn.Module):
    """Notes what it is given in training."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(x.detach().clone())
        return x.float()


@pytest.mark.parametrize("mixing", [0.0, 0.3, 1.0])
def test_images_are_mixed_with_others(noise: ChipNoise, mixing: float) -> None:
    network = nn.Sequential(Watching(), nn.Linear(32, 4))
    noisy, data = noisy_network(noise, network), blobs(60, 0)
    train(noisy, data, dataclasses.replace(BRIEF, epochs=1, batch=60, held_out=0.0, mixing=mixing), silent)
    first = noisy.network[0]
    assert isinstance(first, Watching)
    (seen,) = first.seen
    far = torch.cdist(seen, data.inputs).min(1).values
    if mixing == 0:
        assert float(far.max()) < 0.01  # cdist rounds
    else:
        shares = far / torch.cdist(data.inputs, data.inputs).mean()
        assert 0.05 < float(shares.mean()) < 0.6 * mixing


def test_whole_numbers_are_not_mixed(noise: ChipNoise) -> None:
    network = nn.Sequential(Watching(), nn.Linear(4, 2))
    tokens = Images(torch.arange(40).reshape(10, 4), torch.arange(10) % 2)
    noisy = NoisyNetwork(convert(network), noise, seed=3)
    noisy.fit_ranges(tokens.inputs)
    train(noisy, tokens, dataclasses.replace(BRIEF, epochs=1, held_out=0.0), silent)
    first = noisy.network[0]
    assert isinstance(first, Watching)
    assert {tuple(row) for row in first.seen[0].tolist()} == {tuple(row) for row in tokens.inputs.tolist()}


# ---- comparison of epochs ----------------------------------------------------------------------------------------


def test_epochs_are_compared_by_how_far_noise_takes_answers_from_the_digital_ones(noise: ChipNoise) -> None:
    """The first entry is the network as it was: its loss under noise, computed here by torch's own functions."""
    network, data = trained(), blobs(200, 3)
    noisy = noisy_network(noise, network)
    settings = dataclasses.replace(BRIEF, epochs=0, held_out=0.0, distillation=0.75, temperature=3.0)
    first = train(noisy, data, settings, silent).epochs[0]
    scores = scores_under_noise(noisy, data, settings.draws, settings.seed + 1)
    with torch.no_grad():
        digital = (network(data.inputs) / 3.0).log_softmax(1).expand_as(scores)
    far = nn.functional.kl_div((scores / 3.0).log_softmax(2), digital, reduction="none", log_target=True).sum(2).mean()
    of_labels = nn.functional.cross_entropy(scores.flatten(0, 1), data.labels.repeat(settings.draws))
    assert first.noisy_loss == pytest.approx(float(0.25 * of_labels + 0.75 * 9.0 * far), rel=1e-4)
    assert (first.gain, first.gain_error) == (0.0, 0.0)


def test_with_distillation_alone_labels_have_no_part(noise: ChipNoise) -> None:
    """A network that learns from its digital self alone comes out the same whatever the labels are."""
    made = []
    for turn in (0, 1):
        noisy, data = noisy_network(noise, brittle()), blobs(300, 0)
        labels = (data.labels + turn) % 4
        train(noisy, Images(data.inputs, labels), dataclasses.replace(BRIEF, epochs=2), silent)
        made.append(noisy.network.state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_a_training_is_undone_whose_answers_are_no_better(noise: ChipNoise) -> None:
    """A lower loss is no better answer: this one falls by 2.5 standard errors, and answers gain two thirds of one."""
    for certainty, kept in ((1.2, False), (0.3, True)):
        noisy = noisy_network(noise)
        before = {name: value.clone() for name, value in noisy.network.state_dict().items()}
        ranges = noisy.input_ranges()
        settings = dataclasses.replace(BRIEF, lr=1e-3, temperature=8.0, certainty=certainty)
        course = train(noisy, blobs(400, 0), settings, silent)
        answers = course.answers
        assert answers is not None
        assert any(epoch.gain > 1.2 * epoch.gain_error for epoch in course.epochs)
        assert (answers.gain > certainty * answers.gain_error) is kept
        assert (course.best > 0) is kept
        same = all(torch.equal(before[name], value) for name, value in noisy.network.state_dict().items())
        assert same is not kept
        assert (noisy.input_ranges() == ranges) is not kept


def test_the_last_epoch_is_kept_where_that_is_wanted(noise: ChipNoise) -> None:
    """Of a chip without noise no epoch is better than the network as it was, and the last one is left all the same."""
    settings = dataclasses.replace(BRIEF, epochs=3, distillation=0.5, keep="last")
    noisy = noisy_network(noise.only())
    course = train(noisy, blobs(200, 3), settings, silent)
    assert (course.best, len(course.epochs)) == (3, 4)
    assert course.answers is None
    again = noisy_network(noise.only())
    best = train(again, blobs(200, 3), dataclasses.replace(settings, keep="better", certainty=100.0), silent)
    assert best.best == 0
    now, before = noisy.network.state_dict(), again.network.state_dict()
    assert not any(torch.equal(now[name], before[name]) for name in now)


def test_no_two_epochs_have_the_same_noise(noise: ChipNoise) -> None:
    """Epochs are compared under the same noise, which must not come back in their training."""
    noisy = noisy_network(noise)
    product = next(iter(noisy.products.values()))
    seen: list[torch.Tensor] = []

    def watch(done: int, total: int) -> None:
        seen.append(product.random_state)

    train(noisy, blobs(200, 0), dataclasses.replace(BRIEF, epochs=3), watch)
    assert len(seen) == 3 * 4
    assert not any(torch.equal(one, other) for number, one in enumerate(seen) for other in seen[:number])


def test_answers_are_asked_between_images(noise: ChipNoise) -> None:
    """The share of right answers before is that of mixtures, which noise turns sooner than the images themselves."""
    shares = {}
    for mixing in (0.0, 1.0):
        noisy = noisy_network(noise, brittle())
        course = train(noisy, blobs(400, 0), dataclasses.replace(BRIEF, mixing=mixing), silent)
        assert course.answers is not None
        assert course.answers.after > course.answers.before + 0.3
        shares[mixing] = course.answers.after
    assert shares[1.0] < shares[0.0]


# ---- parts -------------------------------------------------------------------------------------------------------


def test_columns_are_clipped_at_their_own_sigmas() -> None:
    convolution = nn.Conv2d(4, 6, 3, groups=2, bias=False)
    with torch.no_grad():
        convolution.weight[3, 0, 0, 0] = 5.0
    converted = convert(nn.Sequential(convolution))
    ((matrix,),) = list(matrices_of(converted))
    before = matrix.values().clone()
    limit = 2.0 * before.std(1, correction=0, keepdim=True)
    clip_columns(matrix, 2.0)
    assert matrix.values() == pytest.approx(torch.minimum(torch.maximum(before, -limit), limit))
    assert float(before.max()) == 5.0 > float(matrix.values().max())


def test_evaluations_use_the_same_noise_each_time(noise: ChipNoise) -> None:
    noisy, data = noisy_network(noise.only(ProgrammingNoise(10.0))), blobs(300, 9)
    first, entropy = right_under_noise(noisy, data, 4, 1)
    again, same = right_under_noise(noisy, data, 4, 1)
    other, _ = right_under_noise(noisy, data, 4, 2)
    assert first.shape == (4, 300)
    assert torch.equal(first, again)
    assert entropy == same
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"epochs": -1}, "epochs=-1 is outside"),
        ({"epochs": 1.5}, "epochs=1.5: expected a whole number"),
        ({"lr": float("nan")}, "lr=nan is outside"),
        ({"optimizer": "adam"}, "optimizer='adam': did you mean 'adamw'"),
        ({"keep": "lost"}, "keep='lost': did you mean 'last'"),
        ({"youngest": 10.0, "oldest": 1.0}, "the wrong way round"),
        ({"distillation": 1.5}, "distillation=1.5 is outside 0 to 1"),
    ],
)
def test_settings_that_are_none(settings: dict[str, float | str], complaint: str) -> None:
    with pytest.raises(hwloop.BadInputError, match=complaint):
        Retraining(**settings)


def test_settings_from_texts() -> None:
    assert Retraining.parse({"optimizer": "sgd", "epochs": "3", "oldest": "1e4"}) == Retraining(
        optimizer="sgd", epochs=3, oldest=1e4
    )
    with pytest.raises(hwloop.BadInputError, match="unknown setting 'epoch'; did you mean 'epochs'"):
        Retraining.parse({"epoch": "3"})
