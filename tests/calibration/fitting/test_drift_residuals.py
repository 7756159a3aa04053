"""Checks of a drift fit on residuals that were made: each finds what was put in, with its size and its chance."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from hwloop.calibration.fitting.drift.law import (
    CURVED,
    ONSET,
    FittedLaw,
    _covariance,
    _law,
    _steps,
    require_law,
)
from hwloop.calibration.fitting.drift.residuals import (
    Residuals,
    _ages,
    _beside_lines,
    _by_age,
    _by_cell,
    _by_temperature,
    _of_coefficients,
)
from hwloop.calibration.fitting.misfit import USUAL, Check, Means
from hwloop.devices.time_law import TimeLaw
from hwloop.errors import BadInputError

AGES = np.log(np.array([0.5, 1.0, 5.0, 50.0]))


def residuals(value: np.ndarray | None = None, devices: int = 1200, seed: int = 0, **more: np.ndarray) -> Residuals:
    """Normal residuals of devices at four ages; noise of 2 %, and ten degrees of freedom."""
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((devices, 4)) if value is None else value
    shape = made.shape
    told: dict[str, object] = {
        "there": np.ones(shape, bool), "x": np.tile(AGES, (shape[0], 1)), "value": made,
        "noise": np.full(shape[0], 0.02), "log_g": np.linspace(-3.0, 0.0, shape[0]),
        "temperature": np.full(shape, np.nan), "scatter": rng.chisquare(10, shape[0]) / 10,
        "freedom": np.full(shape[0], 10.0), "t0": 20.0, "g_scale": 25.0,
    }  # fmt: skip
    return Residuals(**told | more)  # type: ignore[arg-type]


def of(checks: list[Check], name: str) -> Check:
    return next(one for one in checks if one.name == name)


def test_true_residuals_fail_no_check() -> None:
    made = residuals()
    checks = [*_by_age(made, USUAL), *_by_cell(made, USUAL)]
    assert [one.name for one in checks] == ["ages", "ages by level", "cells", "tails"]
    assert not any(one.fails(0.005) for one in checks)


def test_an_age_at_which_all_are_off_is_named_with_what_it_is_off() -> None:
    made = residuals()
    made.value[:, 2] += 0.3
    check = of(_by_age(made, USUAL), "ages")
    column = made.value[:, 2]
    error = column.std(ddof=1) / np.sqrt(1200)
    assert check.size == pytest.approx(column.mean() / USUAL.mean)
    assert check.chance == pytest.approx(8 * stats.t.sf(column.mean() / error, 1199))
    assert f"at an age of 100 s reads lie {100 * column.mean() * 0.02:.2g} % off" in check.said
    assert f"({column.mean() / error:.0f} standard errors)" in check.said
    assert check.fails(0.005)


def test_a_level_that_alone_is_off_is_named() -> None:
    made = residuals()
    made.value[:200, 3] += 0.5  # the lowest sixth
    check = of(_by_age(made, USUAL), "ages by level")
    mean = made.value[:200, 3].mean()
    assert check.size == pytest.approx(mean / (2 * USUAL.mean))
    assert f"reads of devices of about {25 * np.exp(made.log_g[:200].mean()):.3g} uS lie" in check.said
    assert f"{100 * mean * 0.02:.2g} % off at an age of 1e+03 s" in check.said


def test_reads_of_a_device_at_one_age_count_once() -> None:
    value = np.random.default_rng(1).standard_normal((300, 4))
    twice = residuals(np.repeat(value, 2, axis=1), x=np.tile(np.repeat(AGES, 2), (300, 1)))
    once = residuals(value)
    for name in ("ages", "ages by level"):
        one, two = of(_by_age(once, USUAL), name), of(_by_age(twice, USUAL), name)
        assert (one.chance, one.size) == (pytest.approx(two.chance), pytest.approx(two.size))


def test_ages_that_were_meant_alike_are_one_and_many_are_bins() -> None:
    x = np.concatenate([AGES + 0.01, AGES - 0.01])
    bins, place = _ages(x, USUAL)
    assert bins.tolist() == [0, 1, 2, 3] * 2
    assert place == pytest.approx(AGES)
    many, places = _ages(np.linspace(0.0, 10.0, 400), USUAL)
    assert (places.size, many.max()) == (USUAL.most_ages, USUAL.most_ages - 1)
    assert np.bincount(many).tolist() == [10] * 40


@pytest.mark.parametrize("slope", [0.2, -0.2])
def test_the_influence_of_temperature_is_its_slope(slope: float) -> None:
    rng = np.random.default_rng(2)
    kelvin = 300.0 + rng.standard_normal((500, 4))
    kelvin[0] = np.nan
    value = rng.standard_normal((500, 4)) + slope * np.nan_to_num(kelvin - 300.0)
    (check,) = _by_temperature(residuals(value, temperature=kelvin), USUAL)
    moved = np.nan_to_num(kelvin - np.nanmean(kelvin))
    found = (moved * value).sum() / (moved**2).sum()
    assert check.size == pytest.approx(abs(found) / USUAL.per_kelvin)
    assert f"reads change by {100 * found * 0.02:.2g} % per kelvin" in check.said
    assert check.chance < 1e-6
    left = (moved * value).sum(1) - found * (moved**2).sum(1)
    assert check.chance == pytest.approx(2 * stats.norm.sf(abs(found) / (np.sqrt((left**2).sum()) / (moved**2).sum())))


def test_nothing_is_said_of_temperatures_that_did_not_move_or_are_hardly_known() -> None:
    rng = np.random.default_rng(3)
    still = 300.0 + 0.04 * rng.standard_normal((500, 4))
    assert _by_temperature(residuals(devices=500, temperature=still), USUAL) == []
    few = np.full((500, 4), np.nan)
    few[0:12] = 300.0 + rng.standard_normal((12, 4))  # 48 reads, and 50 are needed
    assert _by_temperature(residuals(devices=500, temperature=few), USUAL) == []
    assert len(_by_temperature(residuals(devices=500, temperature=300.0 + rng.standard_normal((500, 4))), USUAL)) == 1


def test_devices_that_scatter_more_than_others_are_found() -> None:
    made = residuals()
    made.scatter[::10] *= 8.0
    check = of(_by_cell(made, USUAL), "cells")
    unit = (made.scatter / made.scatter.mean() - 1) ** 2 * 5
    excess = unit.mean() - 1
    assert check.size == pytest.approx(excess / USUAL.scatter)
    error = max(unit.std() / np.sqrt(1200), np.sqrt((2 + 12 / 10) / 1200))
    assert check.chance == pytest.approx(stats.norm.sf(excess / error))
    noisy = 100 * np.mean(made.scatter * 10 > stats.chi2.isf(0.001, 10))
    assert f"{noisy:.2g} % of them scatter as one in a thousand should" in check.said
    assert f"{1 + excess:.2g} times that of chance" in check.said


@pytest.mark.parametrize(("what", "name"), [("mean", "levels, mean"), ("spread", "levels, spread"), ("", "")])
def test_coefficients_that_are_off_at_a_level_are_named(what: str, name: str) -> None:
    rng = np.random.default_rng(4)
    log_g, nu = np.linspace(-3.0, 0.0, 2400), rng.standard_normal(2400)
    if what == "mean":
        nu[:200] += 1.0
    if what == "spread":
        nu[:200] *= 2.0
    table = SimpleNamespace(nu=5.0 + 0.5 * nu, log_g=log_g, g_scale=25.0)
    checks = _of_coefficients(table, np.zeros(1), lambda table, theta: (np.array(5.0), np.array(0.5)), USUAL)  # type: ignore[arg-type]
    assert [one.name for one in checks] == ["levels, mean", "levels, spread", "coefficients"]
    failed = [one.name for one in checks if one.fails(0.005)]
    assert (name in failed) if name else failed == []
    if name:
        check = of(checks, name)
        values = nu if what == "mean" else nu**2 - 1
        tolerated = 2 * (USUAL.mean if what == "mean" else USUAL.scatter)
        assert check.size == pytest.approx(abs(values[:200].mean()) / tolerated)
        assert f"off at about {25 * np.exp(log_g[:200].mean()):.3g} uS" in check.said


def test_values_beside_lines_are_those_of_weighted_least_squares() -> None:
    rng = np.random.default_rng(5)
    there = rng.random((6, 9)) < 0.8
    h, values, weight = rng.standard_normal((6, 9)), rng.standard_normal((6, 9)), rng.uniform(0.5, 2.0, (6, 9))
    found = _beside_lines(lambda given: given * weight, h, there, values)  # type: ignore[arg-type]
    for own in range(6):
        at = there[own]
        design = np.stack([np.ones(at.sum()), h[own, at]], 1)
        root = np.sqrt(weight[own, at])
        line, *_ = np.linalg.lstsq(design * root[:, None], values[own, at] * root, rcond=None)
        assert found[own, at] == pytest.approx(values[own, at] - design @ line)
        assert not found[own, ~at].any()


def test_means_and_their_errors() -> None:
    found = Means.of(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 2]), 4)
    assert found.mean.tolist() == [2.0, 0.0, 5.0, 0.0]
    assert found.error == pytest.approx([1.0, 0.0, 0.0, 0.0])
    assert found.size.tolist() == [2, 0, 1, 0]
    assert found.worst(0.1, 3) is None
    worst = found.worst(0.5, 2)
    assert worst is not None
    assert (worst.at, worst.sigmas, worst.size) == (0, 2.0, 4.0)
    assert worst.chance == pytest.approx(2 * stats.t.sf(2.0, 1))


# ---- laws ----------------------------------------------------------------------------------------------------


def test_a_law_has_the_coefficients_of_its_kind() -> None:
    onset = _law(ONSET, np.array([np.log(3.0)]))
    assert (onset.onset, onset.curvature, onset.bend) == (pytest.approx(3.0), 0.0, 0.0)
    assert _law(CURVED, np.array([0.1, 0.02])) == TimeLaw(0.0, 0.1, 0.02)
    assert _steps(ONSET, 0.2).tolist() == [0.2]
    assert _steps(CURVED, 0.2) == pytest.approx([0.02, 0.002])


def test_the_covariance_of_a_law_is_the_sandwich_of_its_devices() -> None:
    """For quadratic log-likelihoods differences are exact."""
    rng = np.random.default_rng(6)
    centre = np.array([0.1, 0.02]) + np.array([0.01, 0.003]) * rng.standard_normal((50, 2))
    bend = np.array([[400.0, 150.0], [150.0, 3000.0]])

    def likelihood(law: TimeLaw) -> np.ndarray:
        off = np.array([law.curvature, law.bend]) - centre
        return -0.5 * np.einsum("ni,ij,nj->n", off, bend, off)

    found = centre.mean(0)
    scores = (centre - found) @ bend
    inverse = np.linalg.inv(50 * bend)
    expected = inverse @ (scores.T @ scores) @ inverse
    covariance = _covariance(likelihood, CURVED, found, _steps(CURVED, 0.2))
    assert covariance[1:, 1:] == pytest.approx(expected, rel=1e-6)
    assert not covariance[0].any()
    assert not covariance[:, 0].any()


@pytest.mark.parametrize(("chance", "refused"), [(0.01, False), (0.02, False), (0.021, True)])
def test_a_law_that_the_reads_do_not_show_is_refused(chance: float, refused: bool) -> None:
    found = FittedLaw(TimeLaw(1.0), np.zeros((3, 3)), 1.25, chance)
    if refused:
        with pytest.raises(BadInputError, match=r"as 'onset', log-likelihood \+1.2\): use --family spline"):
            require_law(found, ONSET, 0.02)
    else:
        require_law(found, ONSET, 0.02)
