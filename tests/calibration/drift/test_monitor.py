"""The monitor against linear algebra, closed forms, and what comes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import hwloop
from hwloop.calibration.drift.digital import ColumnAffine, GlobalFactor, Uncompensated
from hwloop.calibration.drift.monitor import Course, Growth, Monitor, Watched
from hwloop.calibration.drift.refresh import Refresh
from hwloop.calibration.drift.strategy import Strategy, uncompensated
from hwloop.errors import BadInputError
from tests.calibration.drift.specimen import (
    error_at,
    error_of,
    forecast_of,
    model_of,
    programmed,
    programmed_tile,
)
from tests.conftest import OpenChip


class Ageing:
    """A GDP-programmed core of 128 x 64 cells and its MVM error, compensated anew at every age."""

    def __init__(self, chip: hwloop.Backend, strategy: Strategy, seed: int) -> None:
        self.run, self._chip, self._strategy = programmed(chip, seed=seed), chip, strategy

    def error(self, age: float) -> float:
        tile = programmed_tile(self.run)
        self._chip.wait(age - tile.age)
        return error_of(tile, self._strategy.make(tile, uncompensated(tile)), seed=int(age))

    def expected(self, age: float) -> float:
        gain = 1.0 if self._strategy.name == "none" else None
        return programmed_tile(self.run).forecast.mvm_error(age, gain)


@pytest.mark.parametrize(("strategy", "with_model"), [(Uncompensated(), True), (GlobalFactor(), False)])
def test_the_monitor_finds_the_age_at_which_the_limit_is_passed(
    open_chip: OpenChip, strategy: Strategy, with_model: bool
) -> None:
    inside, ratios = 0, []
    for seed in range(3):
        core = Ageing(open_chip(f"sim:hermes-core?rows=128&columns=64&seed={seed}"), strategy, seed)
        ages = [400.0, 900.0, 2000.0, 5000.0]
        errors = [core.error(age) for age in ages]
        limit = 1.35 * errors[-1]
        found = Monitor().predict(limit, Watched(ages, errors, core.run.age), core.expected if with_model else None)
        passed = next(age for age in np.geomspace(6000.0, 3e8, 49) if core.error(float(age)) > limit)
        # The actual age is known to within the 25 % between two looks.
        inside += found.earliest / 1.25 < passed < found.latest * 1.25
        ratios.append(np.log(found.age / passed))
    assert inside >= 2  # of three 95 % intervals: 99.3 %
    assert abs(np.mean(ratios)) < np.log(2.0)


def test_the_monitor_goes_on_after_a_refresh(open_chip: OpenChip) -> None:
    """What was measured before the refresh narrows the interval, which is counted from the last pulses."""
    monitor, inside, widths = Monitor(), 0, []
    for seed in range(3):
        core = Ageing(open_chip(f"sim:hermes-core?rows=128&columns=64&seed={seed}"), ColumnAffine(), seed)
        month = 30 * 86400.0
        before = Watched([core.run.age, month], [core.run.mvm_error, core.error(month)], core.run.age)
        tile = programmed_tile(core.run)
        known = monitor.after_refresh(monitor.learn(before, tile.forecast.mvm_error))
        Refresh().make(tile, uncompensated(tile))
        refreshed = tile.age

        first = error_at(tile, refreshed)
        limit = 1.6 * first
        watched = Watched([refreshed], [first], refreshed, tile.pulsed_at)
        found = monitor.predict(limit, watched, tile.forecast.mvm_error, known)
        alone = monitor.predict(limit, watched, tile.forecast.mvm_error)
        widths.append((found.latest - tile.pulsed_at) / (found.earliest - tile.pulsed_at))
        assert widths[-1] < 0.2 * (alone.latest - tile.pulsed_at) / (alone.earliest - tile.pulsed_at)
        looks = refreshed + np.geomspace(1e3, 1e8, 30)
        passed = next(float(age) for age in looks if error_at(tile, float(age)) > limit)
        # The actual age is known to within the 49 % between two looks.
        inside += found.earliest < passed < tile.pulsed_at + 1.49 * (found.latest - tile.pulsed_at)
    assert inside >= 2  # of three 95 % intervals: 99.3 %
    assert max(widths) < 45


def test_exact_growth_is_continued_exactly() -> None:
    floor, growth, limit = 0.05, 4e-4, 0.15
    ages = np.array([100.0, 1e3, 1e4, 1e5])
    errors = np.sqrt(floor**2 + growth * np.log(ages / 20.0) ** 2)
    found = Monitor().predict(limit, Watched(ages, errors, 20.0))
    assert found.age == pytest.approx(20.0 * np.exp(np.sqrt((limit**2 - floor**2) / growth)), rel=0.1)
    assert found.earliest < found.age < found.latest


def test_more_measurements_narrow_the_interval() -> None:
    forecast = forecast_of(model_of(nu=0.05, spread=0.01), error=0.05)

    def width(ages: list[float]) -> float:
        errors = [forecast.mvm_error(age) for age in ages]
        found = Monitor().predict(0.1, Watched(ages, errors, 20.0), forecast.mvm_error)
        return float(np.log(found.latest / found.earliest))

    assert width([20.0, 1e3, 1e4, 1e5]) < 0.5 * width([20.0])


def test_the_monitor_needs_two_ages_or_a_model() -> None:
    with pytest.raises(BadInputError, match="two ages beyond 20 s, or a drift model, and has 1"):
        Monitor().predict(0.1, Watched([1.0, 30.0], [0.05, 0.06], 20.0))
    with pytest.raises(BadInputError, match="limit -1"):
        Monitor().predict(-1.0, Watched([30.0, 40.0], [0.05, 0.06], 20.0))


# ---- closed forms ------------------------------------------------------------------------------------------------


def power_law(age: float) -> float:
    """Error of a model whose squared error is 0.0025 at 20 s and grows as the fourth root of time."""
    return float(np.sqrt(0.0025 * (age / 20.0) ** 0.25))


def test_growth_is_learnt_as_linear_algebra_says() -> None:
    """The posterior of floor, growth and redrawn noise is a least-squares fit in which the prior is three more rows."""
    monitor = Monitor(grid=4001)  # so fine that interpolation between its times does not matter
    ages, errors = np.array([20.0, 3e3, 4e5]), np.array([0.052, 0.081, 0.19])
    learnt = monitor.learn(Watched(ages, errors, 20.0), power_law)

    start, squares = 0.0025, errors**2
    shape = np.array([power_law(age) ** 2 for age in ages]) - start
    design = np.column_stack([np.ones(3), shape, start * (1 - 20.0 / ages)])
    sigma = 2 * 0.02 * squares
    prior_sigma = np.array([0.3 * start, 0.5, 0.15])
    rows = np.vstack([design / sigma[:, None], np.diag(1 / prior_sigma)])
    values = np.concatenate([squares / sigma, np.array([start, 1.0, 0.0]) / prior_sigma])
    expected = np.linalg.lstsq(rows, values, rcond=None)[0]
    assert learnt.mean == pytest.approx(expected[1:], rel=1e-4)
    assert learnt.covariance == pytest.approx(np.linalg.inv(rows.T @ rows)[1:, 1:], rel=1e-3, abs=1e-7)


def test_nothing_measured_leaves_the_model_as_it_was() -> None:
    monitor = Monitor(model_uncertainty=0.4, redrawn=0.2)
    learnt = monitor.learn(Watched([1.0, 10.0], [0.05, 0.05], 20.0), power_law)  # before the calibration
    assert learnt.mean == pytest.approx([1.0, 0.0], abs=1e-9)
    assert learnt.covariance == pytest.approx(np.diag([0.16, 0.04]), abs=1e-9)


def test_what_was_known_before_is_where_the_regression_starts() -> None:
    """A growth that is known to be four times the model's shortens the time to the limit, by the fourth power."""
    sure = Monitor(floor_uncertainty=1e-4, grid=4001)
    watched = Watched([20.0], [0.05], 20.0)
    for factor in (0.5, 1.0, 4.0):
        known = Growth(np.array([factor, 0.0]), np.diag([1e-8, 1e-8]))
        found = sure.predict(0.1, watched, power_law, known)
        # 0.0025 + factor * 0.0025 ((t / 20)^0.25 - 1) = 0.01
        assert found.age == pytest.approx(20.0 * (1 + 3 / factor) ** 4, rel=0.02)
        assert found.latest / found.earliest < 1.1


def test_the_interval_is_that_of_the_uncertain_growth() -> None:
    monitor = Monitor(floor_uncertainty=1e-5, redrawn=1e-5, draws=20_000, grid=401)
    # One look at the calibration, so that only floor and growth play, and a growth of 1 +- 0.5.
    found = monitor.predict(0.1, Watched([20.0], [0.05], 20.0), power_law)
    growth = 1 + 0.5 * np.array([1.96, 0.0, -1.96])
    early, median, late = 20.0 * (1 + 3 / growth) ** 4
    # Quantiles of 20000 draws are good to 2 % of a standard deviation; the last one divides by 0.02.
    assert found.earliest == pytest.approx(early, rel=0.06)
    assert found.age == pytest.approx(median, rel=0.1)
    assert found.latest > 100 * median
    assert late > 100 * median
    narrow = dataclasses.replace(monitor, coverage=0.5).predict(0.1, Watched([20.0], [0.05], 20.0), power_law)
    assert narrow.earliest == pytest.approx(20.0 * (1 + 3 / (1 + 0.5 * 0.6745)) ** 4, rel=0.1)
    assert narrow.latest == pytest.approx(20.0 * (1 + 3 / (1 - 0.5 * 0.6745)) ** 4, rel=0.1)


def test_a_growth_of_zero_never_passes() -> None:
    """At 98 % the interval reaches growths below zero, which count as none."""
    found = Monitor(coverage=0.98).predict(0.1, Watched([20.0], [0.05], 20.0), power_law)
    assert found.latest == np.inf
    assert found.to_json()["latest_s"] is None
    assert found.to_json()["age_s"] == found.age


def test_after_a_refresh_time_counts_from_the_last_pulses() -> None:
    monitor, start = Monitor(), 1e6
    alone = monitor.predict(0.1, Watched([20.0, 500.0], [0.05, 0.06], 20.0), power_law)
    shifted = Watched([start + 20.0, start + 500.0], [0.05, 0.06], start + 20.0, start)
    after = monitor.predict(0.1, shifted, lambda age: power_law(age - start))
    for one, other in ((alone.earliest, after.earliest), (alone.age, after.age), (alone.latest, after.latest)):
        assert other - start == pytest.approx(one, rel=1e-6)


def test_a_refresh_makes_what_was_learnt_less_certain() -> None:
    before = Growth(np.array([1.3, 0.1]), np.array([[0.02, 0.01], [0.01, 0.03]]))
    after = Monitor(refresh_uncertainty=0.2).after_refresh(before)
    assert after.mean.tolist() == [1.3, 0.1]
    assert after.covariance == pytest.approx(np.array([[0.06, 0.01], [0.01, 0.07]]))


def test_without_a_model_the_shape_is_the_square_of_log_time() -> None:
    """Three exact errors give floor, growth and redrawn noise of the course, which then is continued."""
    ages = np.array([20.0, 2e3, 2e5, 2e6])
    squares = 0.003 + 2e-4 * np.log(ages / 20.0) ** 2 + 0.1 * 0.003 * (1 - 20.0 / ages)
    found = Monitor(error_uncertainty=1e-5, grid=4001).predict(0.2, Watched(ages, np.sqrt(squares), 20.0))
    assert found.age == pytest.approx(20.0 * np.exp(np.sqrt((0.04 - 0.0033) / 2e-4)), rel=0.01)
    assert found.latest / found.earliest < 1.05


def test_a_course_is_interpolated_in_log_time() -> None:
    course = Course(
        np.array([1.0, 100.0, 1e4]), np.array([[1.0, 0.0, 0.0], [1.0, 4.0, 2.0], [1.0, 6.0, 2.0]]), 1.0, True
    )
    assert course.at(np.array([10.0, 1e3])) == pytest.approx(np.array([[1.0, 2.0, 1.0], [1.0, 5.0, 2.0]]))
    drawn = np.array([[0.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]])
    # 0, 4, 6 pass 1 a quarter of the way to 100; 2 ... are above it from the start; 0, 2, 3 half way; 0, 2, 2 half way.
    assert course.first_passing(1.0, drawn) == pytest.approx([10**0.5, 1.0, 10.0, 10.0])
    assert course.first_passing(2.5, drawn[2:]).tolist() == pytest.approx([1e3, np.inf])


@pytest.mark.parametrize("name", ["model_uncertainty", "floor_uncertainty", "redrawn", "error_uncertainty", "coverage"])
def test_an_uncertainty_of_zero_is_refused(name: str) -> None:
    with pytest.raises(BadInputError, match=f"setting {name}=0 is outside"):
        Monitor(**{name: 0.0})


def test_a_model_without_any_error_can_be_gone_by() -> None:
    found = Monitor().predict(0.1, Watched([20.0], [0.0], 20.0), lambda age: 0.0)
    assert found.age == np.inf


def test_a_limit_that_is_passed_already_is_passed_at_the_calibration() -> None:
    found = Monitor().predict(0.01, Watched([20.0], [0.05], 20.0), power_law)
    assert (found.earliest, found.age) == (pytest.approx(20.0), pytest.approx(20.0))
