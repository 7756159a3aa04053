"""The front of the best networks, its hypervolume, the surrogate, and what evolves on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import optuna
import pytest
from scipy.stats import kendalltau
from torch import nn

from hwloop.errors import BadInputError
from hwloop.search import Limits, SearchSettings, Space, Trial
from hwloop.search.evolution import drawn, promising, proposed
from hwloop.search.surrogate import GaussianProcess, Surrogate
from hwloop.search.trials import Footprint, finalists, front, hypervolume, winner

SPACE = Space({"width": tuple(range(1, 13)), "depth": (1, 2, 3, 4), "kernel": (1, 3, 5)}, lambda _: nn.Identity())


def trial(genome: tuple[int, ...], accuracy: float, drop: float) -> Trial:
    takes = Footprint(int(np.prod(genome)) * 10, 1, 1e-6)
    day, month = (accuracy - drop / 2,) * 2, (accuracy - drop,) * 2
    return Trial(genome, str(genome), takes, accuracy, (accuracy,) * 2, day, month)


def truth(genome: tuple[int, ...]) -> tuple[float, float]:
    """Wide networks are accurate, deep ones lose much, and the middle kernel is the best."""
    width, depth, kernel = genome
    accuracy = 0.6 + 0.3 * np.tanh(width / 6) + 0.02 * depth - 0.02 * abs(kernel - 3)
    return float(accuracy), float(0.01 + 0.02 * depth + 0.002 * width)


def evaluated(count: int, seed: int, noise: float = 0.002) -> list[Trial]:
    rng = np.random.default_rng(seed)
    genomes = {SPACE.draw(rng) for _ in range(5 * count)}
    found = []
    for genome in sorted(genomes)[:: max(len(genomes) // count, 1)][:count]:
        accuracy, drop = truth(genome)
        found.append(trial(genome, accuracy + rng.normal(0, noise), drop + rng.normal(0, noise)))
    return found


def test_the_front_and_its_area() -> None:
    told = ((0.9, 0.1), (0.8, 0.05), (0.7, 0.2), (0.9, 0.2))
    trials = [trial((number, 1, 1), *one) for number, one in enumerate(told, 1)]
    assert front(trials) == [1, 0]
    assert hypervolume(trials) == pytest.approx(0.8 * 0.95 + 0.1 * 0.9)
    assert hypervolume(trials[:1]) == pytest.approx(0.9 * 0.9)
    assert trials[winner(trials)].genome == (1, 1, 1)
    assert hypervolume([*trials, trial((5, 1, 1), 0.95, 0.01)]) > hypervolume(trials)


def test_what_seems_to_be_gained_in_a_month_is_none() -> None:
    good, lucky = trial((1, 1, 1), 0.9, 0.0), trial((2, 1, 1), 0.2, -0.05)
    assert front([lucky, good]) == [1]
    assert hypervolume([lucky, good]) == hypervolume([good]) == pytest.approx(0.9)
    assert hypervolume([trial((3, 1, 1), 0.9, -0.1)]) == pytest.approx(0.9)


def test_a_gaussian_process_knows_what_it_saw_and_how_sure_it_is() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((60, 2))
    y = np.sin(4 * x[:, 0]) + rng.normal(0, 0.05, 60)
    model = GaussianProcess(x, y)
    asked = rng.random((200, 2))
    mean, spread = model.predict(asked)
    error = mean - np.sin(4 * asked[:, 0])
    assert np.sqrt(np.mean(error**2)) < 0.06
    assert model.lengths_[0] < model.lengths_[1]  # the second feature says nothing
    assert 0.5 < np.sqrt(np.mean((error / spread) ** 2)) < 2.0
    far = model.predict(np.array([[4.0, 4.0]]))[1][0]
    assert far > 3 * spread.mean()


def test_the_surrogate_ranks_networks_that_it_has_not_seen() -> None:
    seen, others = evaluated(60, 1), evaluated(60, 2)
    fresh = [one for one in others if one.genome not in {two.genome for two in seen}]
    model = Surrogate(SPACE, seen, [one.footprint for one in seen])
    told = model.predict([one.genome for one in fresh], [one.footprint for one in fresh])
    assert kendalltau(told["drop"][0], [truth(one.genome)[1] for one in fresh]).statistic > 0.8
    assert kendalltau(told["accuracy"][0], [truth(one.genome)[0] for one in fresh]).statistic > 0.8


def test_evolution_proposes_better_networks_within_the_limits() -> None:
    trials = evaluated(30, 3)
    settings = SearchSettings(budget=100, population=20, generations=6, seed=4)

    aloud = set[int]()

    def fits(genome: tuple[int, ...]) -> Footprint | None:
        aloud.add(optuna.logging.get_verbosity())
        takes = Footprint(int(np.prod(genome)) * 10, 1, 1e-6)
        return takes if takes.weights <= 600 else None

    known = {one.genome for one in trials}
    optuna.logging.set_verbosity(optuna.logging.INFO)
    genomes = proposed(SPACE, fits, trials, settings, 10, 1)
    assert len(set(genomes)) == 10
    assert optuna.logging.ERROR in aloud, "not every trial is told of while candidates evolve"
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert not known & set(genomes)
    assert all(fits(one) for one in genomes)
    assert genomes == proposed(SPACE, fits, trials, settings, 10, 1)  # what comes next follows from the trials alone
    rng = np.random.default_rng(5)
    chance = [hypervolume([trial(one, *truth(one)) for one in drawn(SPACE, fits, known, 10, rng)]) for _ in range(20)]
    assert hypervolume([trial(one, *truth(one)) for one in genomes]) > np.mean(chance)


def test_the_winner_is_chosen_among_those_that_were_trained_again() -> None:
    lucky, good, poor = (trial((n, 1, 1), *one) for n, one in enumerate([(0.99, 0.0), (0.98, 0.0), (0.9, 0.01)], 1))
    assert finalists([poor, good, lucky], 2) == [2, 1]
    assert winner([poor, good, lucky]) == 2
    asked = [poor, replace(good, again=(0.975, 0.98)), replace(lucky, again=(0.95, 0.96))]
    assert winner(asked) == 1
    assert asked[1].proven == pytest.approx(np.mean([0.98, 0.975, 0.98]))
    assert winner([poor, replace(good, again=(0.975,)), lucky]) == 1  # the others have not been tried as often


def test_a_network_that_was_lucky_is_not_trained_again_for_that() -> None:
    """What networks like it reached counts, too; a random search has nothing but what was measured."""
    trials = evaluated(40, 5, 0.02)
    best = max(range(40), key=lambda one: truth(trials[one].genome)[0] - truth(trials[one].genome)[1])
    poor = min(range(40), key=lambda one: trials[one].lasting)
    trials[poor] = trial(trials[poor].genome, max(one.lasting for one in trials) + 0.001, 0.0)

    def chosen(**settings: object) -> list[int]:
        asked = SearchSettings(budget=40, finalists=6, **settings)  # type: ignore[arg-type]
        return promising(SPACE, lambda genome: None, trials, asked)

    assert chosen(strategy="random") == finalists(trials, 6)
    assert poor in chosen(strategy="random")
    assert poor not in chosen()
    assert best in chosen()
    assert len(set(chosen())) == 6


def test_the_shapes_of_matrices_tell_more_than_genes() -> None:
    # Genes that say nothing of the network but by what it is made of: few trials are enough where shapes are known.
    space = Space({f"gene{n}": tuple(range(8)) for n in range(6)}, lambda _: nn.Identity())

    def made(genome: tuple[int, ...], shapes: bool) -> Trial:
        widths = [4 + 4 * one for one in genome]
        layers = tuple(zip([8, *widths], [*widths, 10], strict=True))
        takes = Footprint(sum(a * b for a, b in layers), 1, 1e-6, layers if shapes else ())
        drop = 0.3 * float(np.mean([1 / one for one in widths]))
        return replace(trial(genome, 0.98, drop), footprint=takes)

    rng = np.random.default_rng(6)
    genomes = [space.draw(rng) for _ in range(140)]
    told = {}
    for shapes in (True, False):
        trials = [made(one, shapes) for one in genomes]
        model = Surrogate(space, trials[:40], [one.footprint for one in trials[:40]])
        drop = model.predict(genomes[40:], [one.footprint for one in trials[40:]])["drop"][0]
        told[shapes] = kendalltau(drop, [one.drop_month for one in trials[40:]]).statistic
    assert told[True] > 0.8
    assert told[True] > told[False] + 0.1


def test_limits_that_nothing_keeps() -> None:
    with pytest.raises(BadInputError, match="are within the limits, fewer than the budget"):
        drawn(SPACE, lambda genome: None, set(), 3, np.random.default_rng(0))


@pytest.mark.parametrize(
    "wrong",
    [{"budget": 10}, {"strategy": "luck"}, {"day": 100.0, "month": 10.0}, {"held_out": 0.0}, {"budget": 0, "first": 2}],
)
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        SearchSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInputError):
        Limits(weights=-1)
