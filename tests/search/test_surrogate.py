"""The surrogate by the formulas of Gaussian processes, and small parts of a search by their definition."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from torch import nn

from hwloop.errors import BadInputError
from hwloop.search import Space
from hwloop.search.evolution import ATTEMPTS, _front_of, drawn
from hwloop.search.settings import SearchSettings, counted, first_of
from hwloop.search.surrogate import PRIOR, GaussianProcess, Surrogate, _stretched, _stretched_drop
from hwloop.search.trials import Footprint, Trial, hypervolume, winner

SPACE = Space({"width": (2, 4, 8), "depth": (5,)}, lambda _: nn.Identity())


def matern(one: np.ndarray, other: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Matern 5/2 of each pair of points, one at a time."""
    apart = np.array([[math.dist(a / lengths, b / lengths) for b in other] for a in one])
    return (1 + math.sqrt(5) * apart + 5 * apart**2 / 3) * np.exp(-math.sqrt(5) * apart)


def line(one: np.ndarray, other: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Covariance of a line with slopes of variance 1 for each of two features, which vary by 1 over the points x."""
    a, b = ((points - x.mean(0)) / x.std(0) for points in (one, other))
    return np.array([[sum(p * q) / 2 for q in b] for p in a])


@pytest.fixture(scope="module")
def model() -> tuple[GaussianProcess, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.random((12, 2))
    y = 5.0 + 2.0 * np.sin(3 * x[:, 0]) + rng.normal(0, 0.1, 12)
    return GaussianProcess(x, y), x, y


def test_a_prediction_is_the_conditional_normal_distribution(
    model: tuple[GaussianProcess, np.ndarray, np.ndarray],
) -> None:
    made, x, y = model
    asked = np.array([[0.2, 0.4], [0.9, 0.1], [3.0, 3.0]])

    def covariance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return matern(one, other, made.lengths_) + made.slope_**2 * line(one, other, x)

    cov = covariance(x, x) + (made.noise_**2 + 1e-8) * np.eye(12)
    between = covariance(asked, x)
    mean = y.mean() + between @ np.linalg.solve(cov, y - y.mean())
    variance = np.diag(covariance(asked, asked) - between @ np.linalg.solve(cov, between.T))
    found = made.predict(asked)
    assert found[0] == pytest.approx(mean)
    assert found[1] == pytest.approx(y.std() * np.sqrt(variance))


def test_the_loss_is_the_likelihood_with_normal_priors_of_logarithms(
    model: tuple[GaussianProcess, np.ndarray, np.ndarray],
) -> None:
    made, x, y = model
    z, apart = (y - y.mean()) / y.std(), np.square(x[:, None] - x[None])

    def posterior(at: np.ndarray) -> float:
        cov = matern(x, x, np.exp(at[:2])) + math.exp(2 * at[2]) * line(x, x, x)
        cov += (math.exp(2 * at[3]) + 1e-8) * np.eye(12)
        prior = ((at[:2] - math.log(PRIOR.length)) ** 2).sum() / PRIOR.length_spread**2
        prior += (at[2] - math.log(PRIOR.slope)) ** 2 / PRIOR.slope_spread**2
        prior += (at[3] - math.log(PRIOR.noise)) ** 2 / PRIOR.noise_spread**2
        return float(multivariate_normal(np.zeros(12), cov).logpdf(z)) - 0.5 * float(prior)

    def loss(*at: float) -> float:
        return made._loss(np.array(at), apart, line(x, x, x), z)[0]

    one, other = np.array([0.3, -0.4, 0.5, -1.0]), np.array([1.0, 0.5, -1.0, -2.0])
    assert loss(*other) - loss(*one) == pytest.approx(posterior(one) - posterior(other))
    best = np.log([*made.lengths_, made.slope_, made.noise_])
    for step in np.concatenate([0.05 * np.eye(4), -0.05 * np.eye(4)]):
        assert loss(*(best + step)) > loss(*best)
    # Far out nothing changes but the priors.
    priors = [(9, math.log(3)), (5, math.log(0.5)), (5, math.log(0.4))]
    assert loss(9.0, 0.0, 5.0, 5.0) - loss(8.0, 0.0, 4.0, 4.0) == pytest.approx(
        sum(0.5 * ((far - middle) ** 2 - (far - 1 - middle) ** 2) for far, middle in priors)
    )


@pytest.mark.parametrize(
    "at", [(0.3, -0.4, 0.5, -1.0), (1.0, 0.5, -1.0, -2.0), (9.0, 0.2, 5.0, 5.0), (-6.0, 0.2, -9.0, -9.0)]
)
def test_the_gradient_is_that_of_the_loss(
    model: tuple[GaussianProcess, np.ndarray, np.ndarray], at: tuple[float, ...]
) -> None:
    made, x, y = model
    z, apart, step = (y - y.mean()) / y.std(), np.square(x[:, None] - x[None]), 1e-5
    both = [[made._loss(at + sign * one, apart, line(x, x, x), z)[0] for sign in (1, -1)] for one in step * np.eye(4)]
    found = made._loss(np.array(at), apart, line(x, x, x), z)[1]
    assert found == pytest.approx(np.array([(up - down) / (2 * step) for up, down in both]), rel=1e-5, abs=1e-5)


def test_values_that_are_all_alike_have_a_model() -> None:
    made = GaussianProcess(np.array([[0.0], [1.0]]), np.array([3.0, 3.0]))
    assert made.predict(np.array([[0.5]]))[0] == pytest.approx([3.0])


def test_features_are_places_among_choices_and_the_order_of_the_size() -> None:
    trials = [trial((2, 5), 0.9, 0.1), trial((8, 5), 0.8, 0.2)]
    sizes = [Footprint(count, 1, 1e-6) for count in (10**6, 0)]
    model = Surrogate(SPACE, trials, sizes)
    assert model._features([(4, 5), (8, 5)], sizes).tolist() == [[0.5, 0.0, 1.0], [1.0, 0.0, 0.0]]


def test_a_line_goes_on_where_no_point_is() -> None:
    """Far from all points a process goes back to the mean, and a line on."""
    x = np.random.default_rng(5).random((30, 4))
    made = GaussianProcess(x, x @ [3.0, 0.0, -2.0, 0.0])
    far, unsure = made.predict(np.array([[4.0, 0.5, 0.5, 0.5], [0.5, 0.5, 4.0, 0.5], [0.5] * 4]))
    assert far[0] > 5.0
    assert far[1] < -2.0
    assert unsure[0] > 3 * unsure[2]


def test_shapes_count_the_least_of_inner_inputs_and_outputs() -> None:
    takes = Footprint(1000, 1, 1e-6, ((9, 10), (90, 5), (45, 100), (100, 7)))
    model = Surrogate(SPACE, [trial((2, 5), 0.9, 0.1), trial((8, 5), 0.8, 0.2)], [takes, takes])
    width, depth, size, *shapes = model._features([(4, 5)], [takes])[0]
    assert (width, depth, size) == (0.5, 0.0, 0.5)
    inputs, outputs = np.array([90, 45, 100]), np.array([10, 5, 100])
    assert shapes == pytest.approx(
        [
            4 / 20, math.log(4) / 3,
            math.log10((1 / inputs).sum()) / 3, math.log10((1 / outputs).sum()) / 3,
            math.log10(45) / 2, math.log10(5) / 2,
            np.log10(inputs).mean() / 2, np.log10(outputs).mean() / 2,
            2 / 3, 2 / 3,
            np.log10([9, 9]).mean(), math.log10(1 + 8 + 8) / 2, 0,
        ]
    )  # fmt: skip
    single = model._features([(4, 5)], [Footprint(70, 1, 1e-6, ((10, 7),))])[0][3:]
    seven = math.log10(7)
    assert single == pytest.approx([0.05, 0, -1 / 3, -seven / 3, 0.5, seven / 2, 0.5, seven / 2, 1 / 3, 1 / 3, 0, 0, 1])
    narrow = model._features([(4, 5)], [Footprint(70, 1, 1e-6, ((9, 40), (40, 8), (8, 30), (30, 10)))])[0][3:]
    assert narrow[-3:] == pytest.approx([0, 0, 1])


def test_drops_have_a_model_of_their_own_over_a_day_and_a_month() -> None:
    """Accuracies that go their own way do not matter: what is lost is fitted, as the mean of both ages, in decades."""
    trials = [
        dataclasses.replace(trial((width, 5), accuracy, 0.0), day=(accuracy - 0.5 * drop,), month=(accuracy - drop,))
        for width, accuracy, drop in ((2, 0.9, 0.1), (4, 0.6, 0.2), (8, 0.99, 0.4))
    ]
    takes = [Footprint(100, 1, 1e-6)] * 3
    model = Surrogate(SPACE, trials, takes)
    asked = [(2, 5), (8, 5)]
    told = model.predict(asked, takes[:2])
    assert told.keys() == {"accuracy", "month", "drop"}
    x, at = model._features([one.genome for one in trials], takes), model._features(asked, takes[:2])
    mean, spread = GaussianProcess(x, np.log10([0.095, 0.17, 0.32])).predict(at)  # 0.02 more than each
    assert told["drop"][0] == pytest.approx(10**mean - 0.02)
    assert told["drop"][1] == pytest.approx(math.log(10) * spread * 10**mean)
    assert 0.0 < told["drop"][0][0] < told["drop"][0][1] < 0.4


@pytest.mark.parametrize(("accuracy", "stretched"), [(0.0, 0.0), (0.9, 1.0), (0.999, 3.0), (1.0, 3.0)])
def test_near_one_the_share_of_errors_counts(accuracy: float, stretched: float) -> None:
    assert _stretched([accuracy]) == pytest.approx([stretched])


def test_drops_count_by_their_order_of_size_down_to_what_tells_nothing() -> None:
    assert _stretched_drop([0.98, 0.08, 0.0, -0.01, -0.5]) == pytest.approx([0.0, -1.0, *np.log10([0.02, 0.01, 0.01])])


# ---- parts of a search ---------------------------------------------------------------------------------------


def trial(genome: tuple[int, ...], accuracy: float, drop: float, weights: int = 100) -> Trial:
    later = (accuracy - drop,) * 2
    return Trial(genome, str(genome), Footprint(weights, 1, 1e-6), accuracy, (accuracy,) * 2, later, later)


def test_of_networks_that_last_alike_the_smaller_one_wins() -> None:
    alike = [trial((2, 5), 0.75, 0.25, 300), trial((4, 5), 0.5, 0.0, 200), trial((8, 5), 0.25, -0.25, 400)]
    assert winner(alike) == 1


def test_an_area_below_the_worst_accuracy_or_beyond_the_worst_drop_counts_nothing() -> None:
    trials = [trial((2, 5), 0.5, 0.25), trial((4, 5), 0.75, 0.5)]
    assert hypervolume(trials) == pytest.approx(0.5 * 0.75 + 0.25 * 0.5)
    assert hypervolume(trials, (0.6, 1.0)) == pytest.approx(0.15 * 0.5)
    assert hypervolume(trials, (0.0, 0.4)) == pytest.approx(0.5 * 0.15)


def test_a_front_has_no_genome_to_which_another_is_better() -> None:
    values = {(1,): (0.5, 0.1), (2,): (0.5, 0.2), (3,): (0.7, 0.2), (4,): (0.9, 0.2), (5,): (0.6, 0.3)}
    assert _front_of(values) == [(5,), (4,)]
    assert _front_of({}) == []


def test_drawn_genomes_are_new_each_and_within_the_limits() -> None:
    takes, rng = Footprint(1, 1, 1.0), np.random.default_rng(0)
    assert drawn(SPACE, lambda genome: takes if genome != (4, 5) else None, {(2, 5)}, 1, rng) == [(8, 5)]
    asked: list[tuple[int, ...]] = []

    def none(genome: tuple[int, ...]) -> None:
        asked.append(genome)

    with pytest.raises(BadInputError, match="that were drawn 2 are within the limits, fewer than the budget"):
        drawn(SPACE, none, {(2, 5), (9, 5)}, 2, rng)
    assert len(asked) + 1000 > ATTEMPTS.least + 2 * ATTEMPTS.each > len(asked)


@pytest.mark.parametrize(
    ("text", "count"), [("1", 1), ("16000", 16_000), ("200k", 200_000), ("1.5M", 1_500_000), ("2G", 2 * 10**9)]
)
def test_numbers_of_weights_as_people_write_them(text: str, count: int) -> None:
    assert counted(text) == count


@pytest.mark.parametrize("text", ["", "k", "0", "0.5", "1.0005k", "many", "1e15", "nan", "-1"])
def test_what_is_no_number_of_weights(text: str) -> None:
    with pytest.raises(BadInputError, match=f"^limit {text}: expected a number of weights, such as 16000"):
        counted(text, "limit")


@pytest.mark.parametrize(("budget", "first"), [(2, 2), (3, 2), (4, 2), (6, 3), (60, 30), (500, SearchSettings.first)])
def test_a_small_budget_begins_with_its_half(budget: int, first: int) -> None:
    assert first_of(budget) == first
