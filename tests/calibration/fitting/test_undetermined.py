"""What the data do not determine has no interval and leaves the intervals of all else as they are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwloop.calibration.fitting.base import UNDETERMINED
from hwloop.calibration.fitting.drift import LogClipDrift
from hwloop.calibration.fitting.drift.layout import DriftLayout
from hwloop.calibration.fitting.drift.table import DriftTable
from hwloop.calibration.fitting.layout import Block, Coefficient
from hwloop.calibration.fitting.likelihood import LogLikelihood, Optimum, covariance, tensor
from hwloop.errors import BadInputError
from hwloop.files.measurements import Cells, Experiment, Measurement, Reads
from hwloop.files.models import Estimate, Form
from hwloop.typing import FloatArray

pytestmark = pytest.mark.numerical

DEVICES = 200
AGES = np.geomspace(1.0, 1e6, 13)


def normal(values: np.ndarray) -> LogLikelihood:
    """Elements 0 and 2 of the vector sum up to the mean, 1 is the logarithm of the deviation, 3 is not there."""
    seen = tensor(values)

    def each(theta: torch.Tensor) -> torch.Tensor:
        return -0.5 * ((seen - theta[0] - theta[2]) / torch.exp(theta[1])) ** 2 - theta[1] + 0.0 * theta[3]

    return each


@pytest.mark.parametrize("kinks", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_a_flat_direction_leaves_the_closed_form_of_the_others(kinks: bool, scale: float) -> None:
    """1 / (2 n) for the logarithm of sigma; the elements of the sum, and what is not there, are not determined."""
    seen = scale * np.random.default_rng(2).normal(3.0, 2.0, 40_000)
    found = covariance(normal(seen), np.array([seen.mean(), math.log(seen.std()), 0.0, 5.0]), kinks=kinks)
    assert np.isinf(np.diagonal(found)).tolist() == [True, False, True, True]
    assert found[1, 1] == pytest.approx(0.5 / seen.size, rel=0.05)
    assert not found[1, [0, 2, 3]].any()


@pytest.mark.parametrize("kinks", [False, True])
def test_what_is_held_of_a_flat_direction_makes_the_rest_known(kinks: bool) -> None:
    seen = np.random.default_rng(3).normal(3.0, 2.0, 40_000)
    free = np.array([True, True, False, True])
    found = covariance(normal(seen), np.array([seen.mean(), math.log(seen.std()), 0.0, 5.0]), free=free, kinks=kinks)
    assert found[0, 0] == pytest.approx(seen.var() / seen.size, rel=0.05)
    assert found[2, 2] == 0.0
    assert np.isinf(found[3, 3])


def test_few_units_know_no_more_of_a_flat_direction() -> None:
    seen = np.random.default_rng(4).normal(3.0, 2.0, 20)
    found = covariance(normal(seen), np.array([seen.mean(), math.log(seen.std()), 0.0, 5.0]))
    assert found[1, 1] == pytest.approx(1 / 40)
    assert np.isinf(np.diagonal(found)).tolist() == [True, False, True, True]


@pytest.mark.parametrize("kinks", [False, True])
def test_where_there_is_no_maximum_nothing_is_known(kinks: bool) -> None:
    """A saddle, and a curvature that is no number."""
    seen = tensor(np.random.default_rng(5).normal(0.0, 1.0, (100, 2)))
    saddle: LogLikelihood = lambda theta: seen @ theta - theta[0] ** 2 + 0.5 * theta[1] ** 2  # noqa: E731
    broken: LogLikelihood = lambda theta: seen @ theta - theta[0] ** 2 + torch.sqrt(theta[1] - 1.0)  # noqa: E731
    for likelihood, theta in ((saddle, np.zeros(2)), (broken, np.array([0.0, 1.0]))):
        found = covariance(likelihood, theta, kinks=kinks)
        assert np.isnan(found.diagonal()).all()
        assert not Optimum(theta, found, 0.0, True).certain


@pytest.mark.parametrize("kinks", [False, True])
def test_intervals_beside_a_flat_direction_hold_as_often_as_they_say(kinks: bool) -> None:
    """500 data sets of 100 units: 95 % within 3.3 binomial standard deviations, 3.2 %, and 1 % for so few units."""
    rng, runs, hits = np.random.default_rng(6), 500, np.zeros(2)
    for _ in range(runs):
        seen = rng.normal(3.0, 2.0, 100)
        theta = np.array([seen.mean(), math.log(seen.std()), 0.0, 5.0])
        found = covariance(normal(seen), theta, free=np.array([True, True, False, True]), kinks=kinks)
        optimum = Optimum(theta, found, 0.0, True)
        for k, truth in enumerate((3.0, math.log(2.0))):
            low, high = optimum.interval(k)
            hits[k] += low < truth < high
    assert hits / runs == pytest.approx(0.95, abs=3.3 * math.sqrt(0.95 * 0.05 / runs) + 0.01)


# ---- drift that is the same at all conductances -------------------------------------------------------------------


def constant_drift() -> Measurement:
    """Devices from 5 to 25 uS, nu 0.05 +- 0.01 at all of them, 0.2 % of white noise of a read."""
    levels = np.linspace(5.0, 25.0, DEVICES)
    exponents = 0.05 + 0.01 * np.random.default_rng(3).standard_normal(DEVICES)
    noise = 0.002 * np.random.default_rng(4).standard_normal((AGES.size, DEVICES))
    reads = Reads(
        cell=np.tile(np.arange(DEVICES, dtype=np.int32), AGES.size),
        time=np.repeat(AGES, DEVICES),
        conductance=(levels * AGES[:, None] ** -exponents * (1 + noise)).ravel(),
        temperature=np.full(AGES.size * DEVICES, np.nan),
    )
    return Measurement(Experiment.DRIFT, Cells.at(np.arange(DEVICES)), reads, {"g_max": 25.0})


def test_bounds_that_mean_nothing_spoil_no_other_interval() -> None:
    """Standard errors: 0.0007 of the mean; of the noise 15 % and less, of some 200 reads about a knot."""
    record = LogClipDrift().fit(constant_drift())[0].record
    for row in record.parameters:
        if row.low is None or row.high is None:
            assert row.note
        elif row.name.startswith("noise.v"):
            assert row.low / 1.6 < 4e-6 < row.high * 1.6
            assert 1.15 < row.high / row.low < 2.5
        elif row.name in {"mean.low", "mean.high"}:
            assert 0.0006 < (row.high - row.low) / 3.92 < 0.0020
        elif row.name in {"spread.low", "spread.high"}:
            assert 0.0003 < (row.high - row.low) / 3.92 < 0.0020
    assert sum(row.low is not None for row in record.parameters if row.name.startswith("noise.v")) == 13
    g = np.linspace(0.2, 1.0, 20)
    assert record.statistic("mean")(g) == pytest.approx(0.05, abs=0.004)
    assert record.statistic("spread")(g) == pytest.approx(0.01, abs=0.003)


class Unsure(LogClipDrift):
    """A family whose likelihood does not curve downwards, or that does not determine one parameter."""

    name = "unsure"
    variance = np.nan

    def estimate(self, table: DriftTable, *, intervals: bool) -> tuple[Optimum, dict[str, str]]:
        """Begin, and stay there."""
        theta: FloatArray = self.start(table)
        found = np.diag(np.full(theta.size, 1e-6))
        if np.isnan(self.variance):
            found[:] = np.nan
        found[2, 2] = self.variance
        return Optimum(theta, found, 0.0, True), {}


def test_a_fit_that_is_at_no_maximum_is_refused_and_says_so() -> None:
    with pytest.raises(BadInputError, match=r"tell no parameter of 'unsure' .*does not curve downwards"):
        Unsure().fit(constant_drift())


def test_a_parameter_that_is_not_determined_has_a_note() -> None:
    class Partly(Unsure):
        variance = np.inf

    rows = {row.name: row for row in Partly().fit(constant_drift())[0].record.parameters}
    assert rows["mean.low"].low is None
    assert rows["mean.low"].note == UNDETERMINED
    assert rows["mean.high"].low is not None


def test_a_fit_that_tells_nothing_of_the_mean_is_refused() -> None:
    optimum = Optimum(np.zeros(2), np.eye(2), 0.0, converged=True)
    mean, noise = Estimate("mean.low", 0.05, None, None, "1", ""), Estimate("noise.v0", 0.01, 0.009, 0.011, "1", "")
    with pytest.raises(BadInputError, match=r"these reads tell nothing of the mean: .* or measure more"):
        LogClipDrift()._require_identified((mean, noise), optimum)
    LogClipDrift()._require_identified((replace(mean, low=0.04, high=0.06), noise), optimum)


def test_an_interval_wider_than_a_coefficient_can_be_is_none() -> None:
    unit = Coefficient("mean.slope", "1", "slope", widest=10.0)

    class Wide(LogClipDrift):
        def layout(self, table: DriftTable) -> DriftLayout:
            return DriftLayout((Block("mean", (unit,)),), Form("log-clip"))

    wide = Optimum(np.array([0.1]), np.array([[5000.0**2]]), 0.0, converged=True)
    family = Wide()
    [row] = family._estimates(family.prepare(constant_drift())[0], wide, {})
    assert row.low is row.high is None
    assert "says nothing" in row.note
