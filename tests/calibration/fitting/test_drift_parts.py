"""Parts of the drift fits, each against a closed form: what lines leave, smoothness, starts, what reads carry on."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from hwloop.calibration.fitting.bake.family import Bake
from hwloop.calibration.fitting.bake.figures import _reads_at
from hwloop.calibration.fitting.drift.covariance import Growth
from hwloop.calibration.fitting.drift.growth import _diagonal, _left_by_lines
from hwloop.calibration.fitting.drift.prediction import EarlierReads, Later
from hwloop.calibration.fitting.drift.smoothness import _roughness, as_scores
from hwloop.calibration.fitting.drift.start import _start_form
from hwloop.devices.bake import log_acceleration
from hwloop.devices.time_law import POWER_LAW
from hwloop.files.models import Form

X = np.array([[0.0, 1.0, 2.5, 4.0, 6.0], [0.5, 1.0, 2.0, 3.0, 5.0]])


@pytest.mark.parametrize("growth", [Growth(), Growth(0.05), Growth(0.05, 0.8)])
def test_what_a_line_leaves_holds_no_line(growth: Growth) -> None:
    """The projection beside level and slope: it sends every line to zero, and leaves what it has left."""
    there = np.ones(X.shape, bool)
    there[1, 2] = False
    beside = _left_by_lines(growth, X, there, None, POWER_LAW)
    for device in range(2):
        seen = there[device]
        own, x = beside[device][np.ix_(seen, seen)], X[device][seen]
        scale = np.sqrt(1.0 + growth.rate * x)
        covariance = growth.correlation(X, there)[device][np.ix_(seen, seen)] * np.outer(scale, scale)
        assert own @ np.stack([np.ones_like(x), x], 1) == pytest.approx(np.zeros((x.size, 2)), abs=1e-9)
        assert own @ covariance @ own == pytest.approx(own, abs=1e-9)
        assert np.trace(own @ covariance) == pytest.approx(x.size - 2)
        assert not beside[device][~seen].any()
        assert not beside[device][:, ~seen].any()


def test_a_diagonal_of_each_device() -> None:
    assert _diagonal(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist() == [[[1, 0], [0, 2]], [[3, 0], [0, 4]]]


def test_roughness_is_the_mean_square_where_it_is_seen_exactly() -> None:
    rough = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 1.5]])
    seen = np.array([0.3, -0.2, 0.4])
    expected = seen @ np.linalg.solve(rough, seen) / 3
    assert _roughness(seen, 1e-7 * rough, rough, 30.0) == pytest.approx(expected, rel=1e-3)
    # What is drowned in uncertainty is taken to be as smooth as can be.
    assert _roughness(1e-6 * seen, rough, rough, 5.0) == pytest.approx(np.exp(-5.0), rel=0.01)
    # Uncertainty beyond all bounds, of reads that tell nothing, is a unit like any other.
    vast = _roughness(1e150 * seen, 1e298 * rough, rough, 30.0)
    assert vast == pytest.approx(1e300 * (expected - 0.01), rel=1e-3)


def test_a_prior_counts_as_devices() -> None:
    precision = np.array([[4.0, 1.0], [1.0, 2.0]])
    rows = as_scores(precision)
    assert rows.T @ rows == pytest.approx(precision)
    assert as_scores(np.diag([1.0, -1e-15])).T @ as_scores(np.diag([1.0, -1e-15])) == pytest.approx(np.diag([1.0, 0.0]))


LOG_G = np.linspace(0.0, 3.0, 13)


def test_a_clipped_line_is_found_in_its_bins() -> None:
    truth = (-0.03, 0.1, 0.04, 0.085)
    values = np.clip(truth[0] * LOG_G + truth[1], *truth[2:])
    found = _start_form(Form("log-clip"), LOG_G, values, np.ones(13))
    assert np.clip(found[0] * LOG_G + found[1], *found[2:]) == pytest.approx(values, abs=1e-4)
    assert found[2] <= found[3]


def test_knots_begin_at_what_neighbours_show() -> None:
    values = 0.02 + 0.01 * LOG_G
    assert _start_form(Form("knots", (0.1, 2.0)), LOG_G, values, np.ones(13)) == pytest.approx([0.021, 0.04])
    assert np.exp(_start_form(Form("log-spline", (0.1, 2.0)), LOG_G, values, np.ones(13))) == pytest.approx(
        [0.021, 0.04]
    )
    assert np.isfinite(_start_form(Form("log-spline", (1.0,)), LOG_G, 0 * LOG_G, np.ones(13))).all()


def test_noise_of_earlier_reads_is_carried_to_a_later_one() -> None:
    """Two devices on lines of their own: what the reads lie above the line, weighed, is expected again."""
    nu, level = np.array([0.05, 0.1]), np.array([2.0, 1.0])
    noise = np.array([[0.01, -0.02, 0.03], [0.0, 0.01, -0.01]])
    h = np.array([[0.0, 1.0, 3.0], [0.5, 2.0, 4.0]])
    weight = np.array([[0.1, 0.2, 0.3], [0.0, 0.5, 0.25]])
    reads = np.exp(level[:, None] - nu[:, None] * h) * (1 + noise)
    known = EarlierReads(reads, h, weight, np.array([0.7, 0.8]))
    assert known.carried(nu, level) == pytest.approx((weight * noise).sum(1))
    assert known.carried(0.0) == pytest.approx((weight * (reads - 1.0)).sum(1))
    assert known.total == pytest.approx([0.6, 0.75])
    assert known.lean == pytest.approx([0.2 + 0.9, 1.0 + 1.0])
    some = known.take(np.array([1]))
    assert (some.total.tolist(), some.variance.tolist(), some.h.tolist()) == ([0.75], [0.8], [[0.5, 2.0, 4.0]])


def test_a_read_stands_where_the_prediction_has_it() -> None:
    one = np.ones(3)
    found = Later(np.array([5.0, 6.0, 2.0]), one > 0, 5.0 * one, 2.0 * one, one, one, one, SimpleNamespace())
    assert found.quantile == pytest.approx(stats.norm.cdf([0.0, 0.5, -1.5]))


def bakes() -> SimpleNamespace:
    """Three cells, read first and after an hour at 400 K and at 450 K."""
    temperature = np.array([[300.0, 400.0, 450.0]] * 3)
    time = np.array([[1.0, 3600.0, 3600.0], [1.0, 3600.0, 36000.0], [1.0, 3601.0, 3600.0]])
    there = np.array([[True, True, True], [True, True, True], [True, False, True]])
    first = np.array([10.0, 20.0, 30.0])
    return SimpleNamespace(
        temperature=temperature,
        time=time,
        there=there,
        first=first,
        conductance=first[:, None] * [1.0, 0.9, 0.8],
        conditions=np.array([[400.0, 3600.0], [450.0, 3600.0], [450.0, 36000.0]]),
        bakes=(0.0, 0.5, 1.0),
        reference=400.0,
    )


@pytest.mark.parametrize(
    ("kelvin", "seconds", "first", "change"),
    [
        (400.0, 3600.0, [10.0, 20.0], [-1.0, -2.0]),
        (450.0, 3600.0, [10.0, 30.0], [-2.0, -6.0]),
        (450.0, 36000.0, [20.0], [-4.0]),
        (425.0, 3600.0, [], []),
    ],
)
def test_cells_of_a_bake_are_those_that_were_read_after_it(
    kelvin: float, seconds: float, first: list[float], change: list[float]
) -> None:
    found = _reads_at(bakes(), kelvin, seconds)  # type: ignore[arg-type]
    assert found[0].tolist() == first
    assert found[1] == pytest.approx(change)


def test_knots_are_called_after_the_bake_nearest_to_them() -> None:
    table, family = bakes(), Bake()
    found = family._shown_bakes(table)  # type: ignore[arg-type]
    log_time = np.log10(table.conditions[:, 1]) + log_acceleration(
        table.conditions[:, 0], family.settings.energy, table.reference
    )
    place = (log_time - log_time[0]) / (log_time[2] - log_time[0])
    assert 0 < place[1] < 1
    middle = int(np.argmin(np.abs(place - 0.5)))
    hours = [(400.0, 1.0), (450.0, 1.0), (450.0, 10.0)]
    assert found == [hours[0], hours[middle], hours[2]]
