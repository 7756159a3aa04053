"""Parts of the fit of programming noise one at a time, against formulas written here and small exact cases."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from hwloop.calibration.fitting.known import KnownDevice, KnownReadNoise
from hwloop.calibration.fitting.programming_noise import (
    HeavyTails,
    Polynomial2,
    Polynomial3,
    ProgrammingSettings,
    ProgrammingTable,
    Smooth,
    averages_of,
    programming_table,
)
from hwloop.errors import BadInputError
from hwloop.files.measurements import Measurement
from hwloop.typing import FloatArray

SIMPLE = {"g_max": 10.0, "t0": 20.0}


def table(**changes: Any) -> ProgrammingTable:
    """Five cells of 10 uS at most; the first reads zero and the last the largest conductance."""
    own: dict[str, Any] = {
        "g_scale": 10.0,
        "age": 25.0,
        "target": np.array([0.5, 2.0, 4.0, 7.0, 10.0]),
        "conductance": np.array([0.0, 2.5, 3.6, 7.2, 9.0]),
        "at_zero": np.zeros(5, bool),
        "at_top": np.zeros(5, bool),
        "read_variance": np.zeros(5),
        "averages": 1,
    }
    return ProgrammingTable(**(own | changes))


# ---- which reads, which cells --------------------------------------------------------------------------------


def test_the_read_nearest_to_the_reference_age_in_the_logarithm_counts() -> None:
    """20 s is nearer to 45 s than to 8 s: by a factor of 2.25 against 2.5, though not in seconds."""
    target = np.array([2.0, 4.0, 6.0])
    reads = [target + 0.1, target + 0.2, target + 0.3]
    found, screening = programming_table(Measurement.of("programming", [8.0, 45.0, 900.0], reads, target, 300, SIMPLE))
    assert screening.kept.all()
    assert found.conductance == pytest.approx(target + 0.2)
    assert (found.age, found.g_scale, found.averages) == (45.0, 10.0, 1)
    assert not found.read_variance.any()


def test_cells_without_a_read_or_a_target_are_left_out() -> None:
    reads = [[2.0, np.nan, 5.0, 6.0]]
    measurement = Measurement.of("programming", [20.0], reads, [2.0, 3.0, np.nan, 6.0], 300, SIMPLE)
    found, screening = programming_table(measurement)
    assert screening.reason.tolist() == ["", "no relaxed read", "no target", ""]
    assert found.target.tolist() == [2.0, 6.0]
    nothing = Measurement.of("programming", [20.0], [[2.0, 3.0]], [np.nan, np.nan], 300, SIMPLE)
    with pytest.raises(BadInputError, match=r"^programming: no cell can be used \(no target\)$"):
        programming_table(nothing)


def test_cells_far_from_their_neighbours_are_stuck_at_the_rails_and_outliers_elsewhere() -> None:
    """300 cells, three bins of a hundred: errors spread evenly over +-0.5, so quartiles are a robust sigma of 0.37."""
    target = np.linspace(1.0, 9.0, 300)
    error = np.tile(np.linspace(-0.5, 0.5, 100), 3)[np.random.default_rng(1).permutation(300)]
    conductance = target + error
    conductance[250], conductance[251], conductance[30] = 0.0, 4.0, conductance.max()
    measurement = Measurement.of("programming", [20.0], conductance[None], target, 300, SIMPLE)
    settings = ProgrammingSettings(outlier_sigma=5.0)
    _, screening = programming_table(measurement, settings)
    assert {k: screening.reason[k] for k in np.flatnonzero(~screening.kept)} == {
        30: "stuck", 250: "stuck", 251: "outlier",
    }  # fmt: skip
    # One that is 1.5 uS off is four standard deviations away: only asked for three, it goes.
    conductance[150] = target[150] + 1.5
    again = replace(measurement, reads=replace(measurement.reads, conductance=conductance))
    assert programming_table(again, settings)[1].reason[150] == ""
    assert programming_table(again, ProgrammingSettings(outlier_sigma=3.0))[1].reason[150] == "outlier"


def test_many_at_zero_or_at_the_top_are_beyond_it_and_few_are_not() -> None:
    """Of a hundred cells five are a pile at 5 %, or six."""
    target, place = np.linspace(1.0, 9.0, 100), np.arange(100)
    error = np.where(place % 2, 0.4, -0.4)
    for share, piled in ((0.05, False), (0.04, True)):
        zero, top = place < 5, place >= 95
        conductance = np.where(zero, 0.0, np.where(top, 9.0, np.minimum(target, 8.0) + error))
        measurement = Measurement.of("programming", [20.0], conductance[None], target, 300, SIMPLE)
        found, screening = programming_table(measurement, ProgrammingSettings(outlier_sigma=8.0, pile=share))
        assert screening.kept.all()
        assert found.at_zero.tolist() == (zero & piled).tolist()
        assert found.at_top.tolist() == (top & piled).tolist()


def test_the_variance_of_reads_is_that_at_the_targets() -> None:
    """A target of zero counts as a thousandth of the scale, of which a noise relative to it is known."""
    noise = KnownReadNoise(lambda g, age, averages: (0.01 + 0 * g) * age / averages, "a test")
    target = np.array([0.0, 5.0, 10.0])
    measurement = Measurement.of("programming", [20.0], (target + 0.1)[None], target, 300, SIMPLE | {"averages": 4})
    found, _ = programming_table(measurement, known=KnownDevice(read_noise=noise))
    assert found.averages == 4
    assert found.read_variance == pytest.approx(0.01 * 20 / 4 * np.array([0.01, 5.0, 10.0]) ** 2)


@pytest.mark.parametrize(
    ("attributes", "averages"),
    [
        ({}, 1),
        ({"averages": 3}, 3),
        ({"averages": 0}, 1),
        ({"averages": 1}, 1),
        ({"averages": "many"}, 1),
        ({"plan": json.dumps({"averages": 8})}, 8),
        ({"plan": json.dumps({"averages": 8}), "averages": 2}, 2),
        ({"plan": json.dumps([8])}, 1),
        ({"plan": "{no json"}, 1),
    ],
)
def test_averages_come_from_the_file_or_its_plan(attributes: dict[str, Any], averages: int) -> None:
    assert averages_of(Measurement.of("programming", [20.0], [[1.0]], [1.0], 300, attributes)) == averages


# ---- the likelihood ------------------------------------------------------------------------------------------

BIAS, SIGMA = (0.1, -0.4), (0.3, 0.8, -0.5)
"""Coefficients of 1, g and g^2, uS."""


def moments(cells: ProgrammingTable, smallest: float = 1e-4) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each cell's error by the polynomials, read noise included."""
    g = cells.target / cells.g_scale
    sigma = np.maximum(np.polyval(SIGMA[::-1], g), smallest * cells.g_scale)
    return np.polyval(BIAS[::-1], g), np.sqrt(sigma**2 + cells.read_variance)


def density(family: Polynomial2, cells: ProgrammingTable, theta: FloatArray) -> FloatArray:
    return family.likelihood(cells)(torch.tensor(theta)).numpy()


def test_the_likelihood_is_normal_around_the_bias_with_read_noise_added() -> None:
    cells = table(read_variance=np.array([0.0, 0.01, 0.04, 0.09, 0.16]))
    mean, sigma = moments(cells)
    error = cells.conductance - cells.target
    theta = np.array([*BIAS, *SIGMA])
    assert density(Polynomial2(), cells, theta) == pytest.approx(stats.norm.logpdf(error, mean, sigma))
    assert Polynomial2().quantiles(cells, theta) == pytest.approx(stats.norm.cdf(error, mean, sigma))


def test_a_cell_at_a_limit_counts_with_the_chance_to_be_beyond_it() -> None:
    cells = table(at_zero=np.arange(5) == 0, at_top=np.arange(5) == 4)
    mean, sigma = moments(cells)
    error, theta = cells.conductance - cells.target, np.array([*BIAS, *SIGMA])
    expected = stats.norm.logpdf(error, mean, sigma)
    expected[0], expected[4] = (
        stats.norm.logcdf(error[0], mean[0], sigma[0]),
        stats.norm.logsf(error[4], mean[4], sigma[4]),
    )
    assert density(Polynomial2(), cells, theta) == pytest.approx(expected)
    only_top = replace(cells, at_zero=np.zeros(5, bool))
    expected[0] = stats.norm.logpdf(error[0], mean[0], sigma[0])
    assert density(Polynomial2(), only_top, theta) == pytest.approx(expected)
    assert Polynomial2().quantiles(cells, theta) == pytest.approx(stats.norm.cdf(error, mean, sigma)[1:4])


def test_a_standard_deviation_has_a_least_value() -> None:
    settings = ProgrammingSettings(smallest_sigma=0.02)
    cells, theta = table(), np.array([0.0, 0.0, -1.0, 0.0, 0.0])
    expected = stats.norm(0.0, 0.2)
    error = cells.conductance - cells.target
    assert density(Polynomial2(settings=settings), cells, theta) == pytest.approx(expected.logpdf(error))
    assert Polynomial2(settings=settings).quantiles(cells, theta) == pytest.approx(expected.cdf(error))


@pytest.mark.parametrize(("tail", "freedom"), [(math.log(3.0), 5.0), (50.0, 2 + math.exp(4.0))])
def test_heavy_tails_are_those_of_student_with_the_standard_deviation_kept(tail: float, freedom: float) -> None:
    """A variance of n / (n - 2) belongs to n degrees of freedom; there are no more than the settings allow."""
    family, cells = HeavyTails(settings=ProgrammingSettings(largest_tail=4.0)), table()
    mean, sigma = moments(cells)
    student = stats.t(freedom, mean, sigma * math.sqrt((freedom - 2) / freedom))
    error, theta = cells.conductance - cells.target, np.array([*BIAS, 0.0, *SIGMA, 0.0, tail])
    assert family.likelihood(cells)(torch.tensor(theta)).numpy() == pytest.approx(student.logpdf(error))
    assert family.quantiles(cells, theta) == pytest.approx(student.cdf(error))


# ---- where the search begins, and what is said ---------------------------------------------------------------


def test_the_search_begins_at_the_polynomials_of_errors_and_of_their_size() -> None:
    """Errors of +-0.3 about a line: a normal variable of that mean size has a standard deviation of 0.3 sqrt(pi/2)."""
    g = np.linspace(0.1, 1.0, 1000)
    error = 0.2 - 0.5 * g + np.where(np.arange(1000) % 2, 0.3, -0.3)
    cells = table(target=10 * g, conductance=10 * g + error, read_variance=np.full(1000, 0.05))
    sigma = math.sqrt(0.09 * math.pi / 2 - 0.05)
    assert Polynomial2().start(cells) == pytest.approx([0.2, -0.5, sigma, 0.0, 0.0], abs=0.01)
    start = HeavyTails(settings=ProgrammingSettings(tail_start=1.5)).start(cells)
    assert start == pytest.approx([0.2, -0.5, 0.0, sigma, 0.0, 0.0, 0.0, 1.5], abs=0.04)
    # A smooth curve has its values at the knots: quantiles of ln g.
    family = Smooth(settings=ProgrammingSettings(knots=3))
    at = np.array([0.1, 0.55, 1.0])
    assert np.exp(family._form(cells).at) == pytest.approx(at, rel=2e-3)
    assert family.start(cells) == pytest.approx([*(0.2 - 0.5 * at), *[sigma] * 3], abs=0.01)


def test_a_standard_deviation_that_would_start_below_zero_is_lifted() -> None:
    """Where the parabola's lowest is 0, all of it is lifted by a fifth of the mean size of errors."""
    g = np.linspace(0.0, 1.0, 2001)
    size = g**2
    cells = table(target=10 * g, conductance=10 * g + np.where(np.arange(2001) % 2, size, -size),
                  read_variance=np.zeros(2001))  # fmt: skip
    lifted = 0.2 * math.sqrt(math.pi / 2) / 3
    assert Polynomial2().start(cells) == pytest.approx([0, 0, lifted, 0, math.sqrt(math.pi / 2)], abs=0.01)


def test_knots_of_targets_near_zero_lie_at_a_least_conductance() -> None:
    cells = table(target=np.r_[np.zeros(50), np.full(51, 10.0)], conductance=np.ones(101))
    family = Smooth(settings=ProgrammingSettings(knots=3, rail=0.1))
    assert np.exp(family._form(cells).at) == pytest.approx([0.01, 1.0])


def test_coefficients_have_names_units_and_meanings() -> None:
    cells = table()
    rows = [item for block in HeavyTails().layout(cells).blocks for item in block.coefficients]
    assert [row.name for row in rows] == [
        "bias.c0", "bias.c1", "bias.c2", "sigma.c0", "sigma.c1", "sigma.c2", "sigma.c3", "tail",
    ]  # fmt: skip
    assert [row.unit for row in rows] == ["uS"] * 7 + ["1"]
    assert rows[-1].log
    assert rows[5].meaning.endswith("factor of g^2")
    assert len(Polynomial3().layout(cells)) == 7
    smooth = Smooth(settings=ProgrammingSettings(knots=3)).layout(cells).blocks
    assert smooth[1].coefficients[2].name == "sigma.v2"
    assert [block.coefficients[2].meaning.endswith(", at 10 uS") for block in smooth] == [True, True]


def test_a_fit_states_its_range_and_age_and_whether_read_noise_was_taken_off() -> None:
    cells = table(averages=4)
    found = Polynomial2().describe(cells)
    assert found.settings == {"g_scale": 10.0, "age": 25.0, "averages": 4.0, "read_noise_taken_off": 0.0}
    assert found.conductance_range == (0.5, 10.0)
    assert found.time_range == (25.0, 25.0)
    assert [one[:50] for one in Polynomial2().caveats(cells)] == ["the standard deviation holds the read noise of the"]
    known = table(read_variance=np.array([0.0, 0.1, 0.1, 0.1, 0.1]))
    assert Polynomial2().describe(known).settings["read_noise_taken_off"] == 1.0
    assert Polynomial2().caveats(known) == []


def test_panels_show_means_and_standard_deviations_of_bins_with_two_standard_errors() -> None:
    """Sixty cells in two bins of thirty; read noise is taken off the variance, not below zero."""
    target = np.r_[np.full(30, 2.0), np.full(30, 8.0)] + np.tile(np.linspace(-0.1, 0.1, 30), 2)
    error = np.r_[np.tile([0.1, 0.5], 15), np.tile([-0.2, 0.0], 15)]
    cells = table(target=target, conductance=target + error, at_zero=np.zeros(60, bool), at_top=np.zeros(60, bool),
                  read_variance=np.r_[np.full(30, 0.01), np.full(30, 1.0)])  # fmt: skip
    bias, noise, quantiles = Polynomial2().panels(cells, np.array([*BIAS, *SIGMA]))
    sigma = np.array([math.sqrt(0.04 * 30 / 29 - 0.01), 0.0])
    measured, fit = bias.series
    assert bias.title == "Bias 25 s after programming"
    assert measured.x == pytest.approx([2.0, 8.0])
    assert measured.y == pytest.approx([0.3, -0.1])
    assert measured.high == pytest.approx([0.3, -0.1] + 2 * sigma / math.sqrt(30))
    assert measured.low == pytest.approx([0.3, -0.1] - 2 * sigma / math.sqrt(30))
    assert fit.x == pytest.approx(np.linspace(1.9, 8.1, 200))
    assert fit.y == pytest.approx(np.polyval(BIAS[::-1], fit.x / 10))
    measured, fit = noise.series
    assert measured.y == pytest.approx(sigma)
    assert measured.high == pytest.approx(sigma * (1 + 2 / math.sqrt(60)))
    assert measured.low == pytest.approx(sigma * (1 - 2 / math.sqrt(60)))
    assert fit.y == pytest.approx(np.polyval(SIGMA[::-1], fit.x / 10))
    assert quantiles.title.startswith("Predicted quantiles")


def test_panels_have_a_bin_for_thirty_cells_and_forty_at_most() -> None:
    for cells, bins in ((29, 1), (90, 3), (3000, 40)):
        target = np.linspace(1.0, 9.0, cells)
        many = table(target=target, conductance=target, at_zero=np.zeros(cells, bool), at_top=np.zeros(cells, bool),
                     read_variance=np.zeros(cells))  # fmt: skip
        assert Polynomial2().panels(many, np.array([*BIAS, *SIGMA]))[0].series[0].x.size == bins
