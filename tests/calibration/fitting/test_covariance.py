"""Covariances of the reads of a device: against the 1/f noise that they stand for, and their inverses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hwloop.calibration.fitting.checks import Rows
from hwloop.calibration.fitting.drift.covariance import Growth, Mix, Precision, alike, drawn, flicker, times
from hwloop.calibration.fitting.drift.lines import Devices, Noise, about, fit_lines
from hwloop.calibration.fitting.drift.tilt import tilt_of

AGES = np.array([1.0, 5.0, 40.0, 300.0, 2e4])
X = np.log(AGES / 20.0)[None]
THERE = np.array([[True, True, True, True, False]])
GROWTH = Growth(0.08, 0.7)
MIX = Mix(np.array([0.3]), np.array([0.06]))


def test_noise_grows_with_the_logarithm_of_age_and_what_is_constant_with_its_square() -> None:
    own = 1 + 0.08 * X
    assert GROWTH.variance(X) == pytest.approx(own)
    assert GROWTH.variance(X, MIX) == pytest.approx(0.7 * own + 0.3 * (AGES / 20.0) ** 0.12)
    assert GROWTH.variance(np.array([[-30.0]])).tolist() == [[0.1]]  # never below a tenth


def test_two_reads_share_the_noise_that_is_slower_than_both() -> None:
    """ln((t1 + t2) / |t2 - t1|), in which a read takes the time before which there is no noise: t0 exp(-1 / rate)."""
    read, found = math.exp(-1 / 0.08), GROWTH.common(X, THERE)[0]
    t = AGES / 20.0
    for i in range(5):
        for j in range(5):
            shared = (
                math.log((t[i] + t[j] + 2 * read) / (abs(t[i] - t[j]) + 2 * read)) if i != j and max(i, j) < 4 else 0
            )
            assert found[i, j] == pytest.approx(shared, abs=1e-12)
    later = GROWTH.common_with(np.array([math.log(5.0)]), X, THERE)[0]
    assert later[:4] == pytest.approx(np.log((t[:4] + 5.0 + 2 * read) / (abs(t[:4] - 5.0) + 2 * read)))
    assert later[4] == 0.0


@pytest.mark.parametrize("mix", [None, MIX])
def test_correlations_are_covariances_over_variances(mix: Mix | None) -> None:
    share = 0.0 if mix is None else 0.3
    read, t = math.exp(-1 / 0.08), AGES / 20.0
    own = np.maximum(1 + 0.08 * X[0], 0.08 * np.log1p(t / read))
    own = (1 - share) * own + share * t**0.12
    expected = np.eye(5)
    for i in range(4):
        for j in range(4):
            if i != j:
                common = 0.7 * 0.08 * math.log((t[i] + t[j] + 2 * read) / (abs(t[i] - t[j]) + 2 * read))
                expected[i, j] = (1 - share) * common / math.sqrt(own[i] * own[j])
    assert GROWTH.correlation(X, THERE, mix)[0] == pytest.approx(expected)


@pytest.mark.parametrize("mix", [None, MIX])
@pytest.mark.parametrize("growth", [GROWTH, Growth(0.08, 0.0)])
def test_the_precision_is_the_inverse_of_the_covariance_of_reads_that_are_there(
    growth: Growth, mix: Mix | None
) -> None:
    scale = np.sqrt(growth.variance(X, mix)[0, :4])
    covariance = growth.correlation(X, THERE, mix)[0, :4, :4] * scale[:, None] * scale
    if growth.share == 0:
        covariance = np.diag(np.diag(covariance))
    values = np.array([[1.0, -2.0, 0.5, 3.0, 99.0]])
    found = Precision(growth, X, THERE, mix)(values)
    assert found[0, :4] == pytest.approx(np.linalg.solve(covariance, values[0, :4]))
    assert found[0, 4] == 0.0


def test_drawn_noise_has_the_covariance() -> None:
    many = 40_000
    x, there = np.repeat(X, many, axis=0), np.repeat(THERE, many, axis=0)
    mix = Mix(np.full(many, 0.3), np.full(many, 0.06))
    noise = drawn(GROWTH, x, there, mix, np.random.default_rng(1))
    scale = np.sqrt(GROWTH.variance(X, MIX)[0, :4])
    expected = GROWTH.correlation(X, THERE, MIX)[0, :4, :4] * scale[:, None] * scale
    # A covariance of 40000 draws is good to 0.7 % of the variances.
    assert np.cov(noise[:, :4].T) == pytest.approx(expected, abs=0.03)
    assert not noise[:, 4].any()


def test_flicker_is_the_growth_of_the_logarithm_of_time_over_a_read() -> None:
    found = flicker(20.0)
    assert (found.rate, found.share) == (pytest.approx(1 / math.log(1e7)), 0.98)
    assert flicker(1e-5).rate == 0.0


def test_devices_read_at_the_same_ages_with_the_same_mix_are_alike() -> None:
    x = np.array([[0.0, 1.0], [0.0, 1.004], [0.0, 1.02], [0.0, 1.0], [0.0, 1.0]])
    there = np.ones((5, 2), bool)
    there[4, 1] = False
    _, group = alike(x, there)
    assert [group[k] == group[0] for k in range(5)] == [True, True, False, True, False]
    mix = Mix.of(np.array([0.3, 0.305, 0.3, 0.34, 0.3]), np.array([0.06, 0.062, 0.06, 0.06, 0.06]))
    first, group = alike(x, there, mix)
    assert [group[k] == group[0] for k in range(5)] == [True, True, False, False, False]
    assert sorted(group[first].tolist()) == list(range(len(first)))


def test_every_device_is_multiplied_by_the_matrix_of_its_group() -> None:
    values, matrices = (
        np.array([[1.0, 2.0], [3.0, 4.0]]),
        np.array([[[1.0, 0.0], [1.0, 1.0]], [[2.0, 0.0], [0.0, 3.0]]]),
    )
    assert times(values, matrices, np.array([1, 0])).tolist() == [[2.0, 6.0], [7.0, 4.0]]
    assert times(values, matrices[:1], np.array([0, 0])).tolist() == [[3.0, 2.0], [7.0, 4.0]]


# ---- lines -------------------------------------------------------------------------------------------------------


def devices(log_g: np.ndarray, nu: np.ndarray, noise: np.ndarray | float = 0.0) -> Devices:
    """Reads at AGES, the last one missing in the first device."""
    there = np.ones((len(log_g), 5), bool)
    there[0, 4] = False
    reads = np.exp(log_g[:, None] - nu[:, None] * X) * (1 + noise)
    return Devices(Rows(there, np.repeat(AGES[None], len(log_g), axis=0), reads * there, None), 20.0)


def test_reads_without_noise_lie_on_their_lines() -> None:
    log_g, nu = np.log(np.array([0.5, 4.0, 20.0])), np.array([0.03, 0.06, 0.2])
    found = fit_lines(devices(log_g, nu), GROWTH)
    assert found.log_g == pytest.approx(log_g, abs=1e-6)
    assert found.nu == pytest.approx(nu, abs=1e-6)
    assert found.squares == pytest.approx(0.0, abs=1e-9)
    assert found.freedom.tolist() == [2.0, 3.0, 3.0]
    assert found.found.all()


def test_lines_have_the_covariance_of_generalised_least_squares() -> None:
    found = fit_lines(devices(np.zeros(2), np.full(2, 0.05)), GROWTH)
    scale = np.sqrt(GROWTH.variance(X)[0])
    whole = np.ones((1, 5), bool)
    covariance = GROWTH.correlation(X, whole)[0] * scale[:, None] * scale
    for device, count in ((0, 4), (1, 5)):
        design = np.column_stack([np.ones(count), -X[0, :count]])
        expected = np.linalg.inv(design.T @ np.linalg.solve(covariance[:count, :count], design))
        assert found.var_g[device] == pytest.approx(expected[0, 0])
        assert found.var_nu[device] == pytest.approx(expected[1, 1])
        assert found.covariance[device] == pytest.approx(expected[0, 1])


def test_noisy_lines_scatter_as_they_say() -> None:
    many, sigma = 20_000, 0.03
    x, there = np.repeat(X, many, axis=0), np.ones((many, 5), bool)
    noise = sigma * drawn(GROWTH, x, there, None, np.random.default_rng(3))
    found = fit_lines(devices(np.zeros(many), np.full(many, 0.05), noise), GROWTH)
    rest = slice(1, None)
    # Standard deviations of 20000 values are good to 0.5 %.
    assert np.std(found.log_g[rest]) == pytest.approx(sigma * math.sqrt(found.var_g[1]), rel=0.02)
    assert np.std(found.nu[rest]) == pytest.approx(sigma * math.sqrt(found.var_nu[1]), rel=0.02)
    assert np.mean(found.squares[rest]) == pytest.approx(3 * sigma**2, rel=0.03)


def test_where_about_a_device_is_follows_from_its_mean_read() -> None:
    noise = Noise(GROWTH, floor=0.01, nu=np.array([0.05]), place=np.zeros(1))
    found = about(devices(np.log(np.array([2.0, 8.0])), np.full(2, 0.05)), noise)
    assert np.exp(found) == pytest.approx([2.0, 8.0])
    empty = devices(np.log(np.array([1e-9, 1e-9])), np.zeros(2))
    assert np.exp(about(empty, noise)) == pytest.approx(0.1 * 0.1)  # a tenth of the noise, at least
    assert about(empty, Noise(GROWTH)).tolist() == [0.0, 0.0]


def test_noise_is_that_of_neighbours_and_what_is_constant() -> None:
    noise = Noise(floor=0.04, place=np.array([0.0, 2.0]), relative=np.array([0.01, 0.04]), nu=np.array([0.1, 0.06]))
    assert noise.variance(np.array([1.0])) == pytest.approx([0.02 + 0.04 * math.exp(-2)])
    mix = noise.mix(np.array([1.0]))
    assert mix is not None
    share = 0.04 * math.exp(-2) / (0.02 + 0.04 * math.exp(-2))
    assert mix.share == pytest.approx([round(share / 0.02) * 0.02])
    assert mix.nu == pytest.approx([0.08])
    assert Noise().mix(np.array([1.0])) is None


def test_the_tilt_of_normal_conductances_is_a_straight_line() -> None:
    """Of density exp(-(x - 1)^2 / (2 0.25)): slope (1 - x) / 0.25, and slope of that -4."""
    values = 1 + 0.5 * np.random.default_rng(2).standard_normal(40_000)
    tilt, slope = tilt_of(values, 100)
    near = np.abs(values - 1) < 0.7
    assert tilt[near] == pytest.approx((1 - values[near]) / 0.25, abs=0.35)
    assert np.mean(slope[near]) == pytest.approx(-4.0, rel=0.08)
    assert [part.tolist() for part in tilt_of(np.ones(5), 100)] == [[0.0] * 5] * 2
