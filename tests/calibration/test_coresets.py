"""Coresets: the bound holds, the budget is kept, weights count, and a budget is shared by local costs."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.column_fit import fit_columns
from hwloop.calibration.coresets import Choice, CoresetSettings, Source, share_out
from hwloop.errors import BadInputError
from hwloop.files.coresets import LAYOUT, Grid
from hwloop.mapping.activations import Sample


def layer(seed: int, vectors: int = 600, inputs: int = 40) -> np.ndarray:
    """Activations as those of a layer: positive or zero, some inputs strong, large values rare."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((vectors, 8)) @ rng.standard_normal((8, inputs)) * rng.gamma(2.0, 0.5, inputs)
    return np.maximum(mixed * rng.gamma(4.0, 0.25, (vectors, 1)), 0.0)


def source(x: np.ndarray, name: str = "layer", **settings: float) -> Source:
    return Source(name, "", Sample(x), CoresetSettings(**settings))


def error_of_moments(sample: Sample, x: np.ndarray) -> float:
    """Largest error of the mean power of any output, over the power of all inputs: the norm that the bound bounds."""
    mine = (sample.vectors * sample.shares[:, None]).T @ sample.vectors / len(sample)
    return float(np.abs(np.linalg.eigvalsh(mine - x.T @ x / len(x))).max() / np.trace(x.T @ x / len(x)))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_the_bound_holds_for_every_output_and_the_budget_is_kept(share: float) -> None:
    x = layer(1)
    budget = int(share * x.size * 32)
    errors, choice = [], source(x).choose(budget)
    assert choice is not None
    for seed in range(20):
        part = source(x, seed=seed).made(choice)
        assert part.bits <= budget
        assert part.weights().sum() == pytest.approx(len(x))
        errors.append(error_of_moments(part.sample(), x))
    assert np.sqrt(np.mean(np.square(errors))) < choice.bound
    assert max(errors) > choice.bound / 20  # it is no bound of another size


def test_epsilon_is_the_error_of_independent_draws() -> None:
    x, rng = layer(2), np.random.default_rng(3)
    one = source(x)
    chance, errors = one.chances(150), []
    for _ in range(400):
        drawn = rng.random(len(x)) < chance
        weighted = x[drawn] / chance[drawn, None]
        errors.append(np.linalg.norm(weighted.T @ x[drawn] - x.T @ x) / one.cost)
    spread = np.std(np.square(errors)) / np.sqrt(len(errors))
    assert np.mean(np.square(errors)) == pytest.approx(one.sampling(150) ** 2, abs=4 * spread)
    assert chance.sum() == pytest.approx(150)


def test_points_and_bits_are_those_of_the_least_bound() -> None:
    one = source(layer(4))
    budget = 60_000
    chosen = one.choose(budget)
    assert chosen is not None
    bounds = []
    for bits in range(3, 13):
        points = min((budget - LAYOUT.constants) // one.point_bits(bits), 600)
        if points >= 64:
            bounds.append(Choice(points, bits, one.sampling(points), one.rounding(bits)).bound)
    assert chosen.bound == min(bounds)
    few, many = one.choose(30_000), one.choose(300_000)
    assert few is not None
    assert many is not None
    assert few.bits <= chosen.bits <= many.bits
    assert few.points < many.points


def test_large_values_are_all_there() -> None:
    x = layer(5)
    one = source(x)
    choice = one.choose(100_000)
    assert choice is not None
    found = one.made(choice).sample()
    assert found.vectors.max() == x.max()
    beyond = np.quantile(x[x > 0], 0.999)
    counted = (found.weights[:, None] * (found.vectors > beyond)).sum()
    assert counted == pytest.approx((x > beyond).sum(), abs=1.5)


def test_a_weighted_set_counts_as_its_copies_do() -> None:
    x, times = layer(6, 200), np.arange(200) % 4 + 1
    copies = source(np.repeat(x, times, axis=0))
    weighted = Source("layer", "", Sample(x, times.astype(float)), CoresetSettings())
    assert weighted.cost == pytest.approx(copies.cost)
    assert weighted.made(Choice(100, 8, 0, 0)).total == times.sum()
    errors = []
    for seed in range(10):
        drawn = Source("layer", "", weighted.sample, CoresetSettings(seed=seed)).made(Choice(100, 8, 0, 0))
        errors.append(error_of_moments(drawn.sample(), np.repeat(x, times, axis=0)))
    assert np.sqrt(np.mean(np.square(errors))) < weighted.sampling(100) + 2.1 * weighted.rounding(8)


def test_hosts_share_a_budget_by_what_it_gains_them() -> None:
    loud, quiet = source(10 * layer(7)), source(layer(8))
    choices = share_out([loud, quiet], 120_000)
    assert choices[0].points > 1.5 * choices[1].points
    sizes = [one.points * host.point_bits(one.bits) for one, host in zip(choices, (loud, quiet), strict=True)]
    together = sum(sizes) + 2 * LAYOUT.constants
    assert together <= 120_000
    # Two tensors count the same, however loud they are.
    apart = share_out([loud, source(layer(8), "other")], 120_000)
    assert apart[1].points > choices[1].points


def test_a_budget_is_used_and_too_small_a_one_is_refused() -> None:
    one = source(layer(9))
    (choice,) = share_out([one], 90_000)
    assert one.made(choice).bits > 0.99 * 90_000
    with pytest.raises(BadInputError, match=rf"1000 bits are too few for 1 set\(s\).* which take {one.least}"):
        share_out([one], 1000)


def test_nothing_but_zeros_is_summarised_too() -> None:
    one = source(np.zeros((100, 5)))
    (choice,) = share_out([one], 10_000)
    sample = one.made(choice).sample()
    assert not sample.vectors.any()
    assert choice.bound == 0.0


@pytest.mark.parametrize("bits", [2, 3, 6, 11])
def test_rounding_is_uniform_within_half_a_step_and_keeps_zero_and_the_ends(bits: int) -> None:
    x = np.random.default_rng(bits).exponential(1.0, (400, 30))
    x[::3] = 0.0
    grid = Grid(float(x[x > 0].min()), float(x.max()), bits)
    codes = grid.encode(x)
    y = grid.decode(codes)
    step = (grid.high - grid.low) / grid.steps
    assert codes.max() < 2**bits
    assert np.array_equal(y == 0, x == 0)
    assert y.max() == x.max()
    assert np.abs(y - x)[x > 0].max() <= step
    inside = (x > grid.low + step) & (x < grid.high - step)
    if inside.sum() > 500:
        error = (y - x)[inside] / step
        assert np.abs(error).max() <= 0.5 + 1e-9
        assert error.mean() == pytest.approx(0.0, abs=4 / np.sqrt(12 * inside.sum()) + 0.01)
        assert error.std() == pytest.approx(1 / np.sqrt(12), rel=0.05)


@pytest.mark.parametrize(
    "wrong", [{"tail": 2.0}, {"fewest_bits": 9, "most_bits": 4}, {"uniform": 0.8, "tails": 0.5}, {"fewest": 1}]
)
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInputError, match="setting"):
        CoresetSettings(**wrong)


def test_columns_are_fitted_to_weighted_vectors_as_to_their_copies() -> None:
    rng = np.random.default_rng(11)
    codes, times = rng.integers(-100, 100, (40, 3)), rng.integers(1, 5, 40)
    wanted = 0.5 * codes + 3.0 + rng.normal(0, 2.0, codes.shape)
    copies = fit_columns(np.repeat(codes, times, 0), np.repeat(wanted, times, 0), (-200, 200))
    weighted = fit_columns(codes, wanted, (-200, 200), shares=times / times.mean())
    assert np.allclose(weighted.gain, copies.gain, rtol=1e-3)
    assert np.allclose(weighted.offset, copies.offset, rtol=5e-3)
