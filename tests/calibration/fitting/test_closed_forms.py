"""Pieces of families against closed forms, scipy and integration: layout, densities, censoring, screening, steps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from hwloop.calibration.fitting.checks import rows_of
from hwloop.calibration.fitting.forms import blurred, build, interpolation
from hwloop.calibration.fitting.layout import Block, Coefficient, Layout
from hwloop.calibration.fitting.likelihood import tensor
from hwloop.calibration.fitting.panels import binned, ks_distance
from hwloop.calibration.fitting.programming_noise import HeavyTails, Polynomial2, ProgrammingTable
from hwloop.calibration.fitting.relaxation import Relaxation, RelaxationTable, SublinearRelaxation
from hwloop.calibration.fitting.screening import OUTLIER, STUCK, Screening
from hwloop.calibration.fitting.selection import FAMILIES, Selection, families, fitting
from hwloop.calibration.fitting.synthetic import programmed
from hwloop.calibration.steps import Step, exhaust
from hwloop.devices.relaxation import CURVES
from hwloop.devices.statistics import Polynomial
from hwloop.errors import BadInputError
from hwloop.files.measurements import Experiment, Measurement
from hwloop.files.models import Form

pytestmark = pytest.mark.numerical


def layout() -> Layout:
    pair = Block("pair", (Coefficient("pair.a", "1", "a", start=1.0), Coefficient("pair.b", "1", "b", start=2.0)))
    hidden = Block("hidden", (Coefficient("hidden.a", "1", "h", start=4.0),), shown=False)
    return Layout((pair, Block("own", (Coefficient("own", "uS", "o", log=True, start=3.0),)), hidden))


def test_blocks_are_taken_from_where_they_lie() -> None:
    own, theta = layout(), np.array([10.0, 11.0, 12.0, 13.0])
    assert len(own) == 4
    assert own.part(theta, "pair").tolist() == [10.0, 11.0]
    assert own.one(theta, "own") == 12.0
    assert own.part(tensor(theta), "hidden").tolist() == [13.0]
    assert (own.index("pair.b"), own.index("own"), own.index("hidden")) == (1, 2, 3)
    assert [item.name for item in own.shown] == ["pair.a", "pair.b", "own"]
    assert own.start.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert own.vector({"own": 7.0, "hidden": 8.0, "pair": np.array([5.0, 6.0])}).tolist() == [5.0, 6.0, 7.0, 8.0]
    with pytest.raises(KeyError, match="no block 'none' among pair, own, hidden"):
        own.at("none")
    with pytest.raises(ValueError, match="given for"):
        own.vector({"pair": np.zeros(2), "own": 0.0})
    with pytest.raises(ValueError, match="3 values given for the 2 of 'pair'"):
        own.vector({"pair": np.zeros(3), "own": 0.0, "hidden": 0.0})


def table(conductance: np.ndarray, at_zero: np.ndarray, at_top: np.ndarray) -> ProgrammingTable:
    return ProgrammingTable(10.0, 20.0, np.array([2.0, 5.0, 8.0]), conductance, at_zero, at_top, np.zeros(3), 1)


NO = np.zeros(3, bool)
SEEN = np.array([2.5, 4.0, 8.2])
MEAN, SIGMA = np.array([0.12, 0.15, 0.18]), np.array([0.4 + 0.1 * g - 0.2 * g**2 for g in (0.2, 0.5, 0.8)])
THETA = np.array([0.1, 0.1, 0.4, 0.1, -0.2])
ERROR = SEEN - np.array([2.0, 5.0, 8.0])


def test_programming_density_is_normal() -> None:
    expected = stats.norm.logpdf(ERROR, MEAN, SIGMA)
    assert Polynomial2().log_likelihood(table(SEEN, NO, NO), THETA) == pytest.approx(expected)
    assert Polynomial2().quantiles(table(SEEN, NO, NO), THETA) == pytest.approx(stats.norm.cdf(ERROR, MEAN, SIGMA))


def test_heavy_tails_are_student_t_of_that_standard_deviation() -> None:
    theta = np.array([0.1, 0.1, 0.0, 0.4, 0.1, -0.2, 0.0, math.log(3.0)])
    scale = SIGMA * math.sqrt(3 / 5)
    assert HeavyTails().log_likelihood(table(SEEN, NO, NO), theta) == pytest.approx(
        stats.t.logpdf(ERROR, 5, MEAN, scale)
    )
    assert HeavyTails().quantiles(table(SEEN, NO, NO), theta) == pytest.approx(stats.t.cdf(ERROR, 5, MEAN, scale))


def test_censored_cells_count_by_what_lies_beyond() -> None:
    zero, top = np.array([True, False, False]), np.array([False, False, True])
    found = Polynomial2().log_likelihood(table(SEEN, zero, top), THETA)
    z = (ERROR - MEAN) / SIGMA
    assert found == pytest.approx([stats.norm.logcdf(z[0]), stats.norm.logpdf(ERROR, MEAN, SIGMA)[1],
                                   stats.norm.logsf(z[2])])  # fmt: skip
    assert Polynomial2().quantiles(table(SEEN, zero, top), THETA).size == 1


@pytest.mark.parametrize("family", [Relaxation(), SublinearRelaxation()])
def test_relaxation_is_a_mixture_of_two_student_t(family: Relaxation) -> None:
    one = np.array([3.0])
    own = RelaxationTable(
        10.0, (math.log(0.2), math.log(0.6)), 1.0, 5.0, np.array([0]), one, np.array([1.0]), np.ones((1, 1), bool),
        np.array([[395.0]]), np.array([[2.3]]),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    curves = 0.3 * rng.standard_normal((11, 2))
    theta = np.concatenate([curves.ravel(), [math.log(2.0), math.log(6.0), math.log(1.5)], [0.0, 1.0]])
    at = math.log(0.3 / 0.2) / math.log(0.6 / 0.2)
    hazard, hazard_growth, *rest, skew = curves @ [1 - at, at]
    x = math.log10(400.0 / 6.0)  # (395 + 5) / (1 + 5)
    grown = [
        math.exp(a) * (1 + math.exp(b) * x) ** family.exponent
        for a, b in ((hazard, hazard_growth), rest[2:4], rest[6:8])
    ]
    share = 1 - math.exp(-grown[0])
    stay, move = ((rest[k] + rest[k + 1] * x) for k in (0, 4))
    y = 2.3 - 3.0 + 1.5 * math.log(2.3 / 3.0)
    k = math.exp(skew)
    z = (y - move) / grown[2]
    side = k if z < 0 else 1 / k
    lower = k / (k + 1 / k)
    moved = stats.t.pdf(z / side, 7.0) / grown[2] * 2 / (k + 1 / k)
    inside = 2 * lower * stats.t.cdf(z / k, 7.0) if z < 0 else 1 - 2 * (1 - lower) * stats.t.sf(z * k, 7.0)
    stayed = stats.t(3.0, stay, grown[1])
    density = ((1 - share) * stayed.pdf(y) + share * moved) * (1 + 1.5 / 2.3)
    settings, names = family.settings, list(CURVES)
    prior = 0.5 * (math.log(1.5 / 0.3) / 2.0) ** 2
    for name, (low, high) in zip(names, curves, strict=True):
        growing = name.endswith("_growth") or name == "move_skew"
        prior += (settings.growth_stiffness if growing else settings.stiffness) * (high - low) ** 2
        if name in ("hazard_growth", "stay_width_growth", "move_width_growth"):
            prior += settings.growth_weight * ((low + 1.0) ** 2 + (high + 1.0) ** 2)
    assert family.log_likelihood(own, theta) == pytest.approx([math.log(density) - prior])
    assert family.quantiles(own, theta) == pytest.approx([(1 - share) * stayed.cdf(y) + share * inside])


@pytest.mark.parametrize("slope", [-0.3, 0.2])
def test_blurred_form_is_the_average_over_the_interval(slope: float) -> None:
    form, theta = Form("log-clip"), np.array([slope, 0.1, 0.05, 0.3])
    statistic = build(form, theta)
    for centre, half in ((-0.2, 0.5), (0.4, 1.5), (-3.0, 0.1)):
        mean, _ = integrate.quad(lambda x: float(statistic(np.exp(x))), centre - half, centre + half, limit=200)
        found = blurred(form, np.array([centre]), np.array([half]))(tensor(theta))
        assert float(found[0]) == pytest.approx(mean / (2 * half), rel=1e-5)


def test_weights_of_interpolation() -> None:
    weights = interpolation(np.array([-1.0, 1.0, 2.5, 9.0]), (0.0, 2.0, 3.0))
    assert weights == pytest.approx(np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1.0]]))


def test_ks_distance_and_bins() -> None:
    assert ks_distance(np.array([0.5])) == pytest.approx(0.5)
    assert ks_distance((np.arange(100) + 0.5) / 100) == pytest.approx(0.005)
    number, centre = binned(np.array([4.0, 1.0, 3.0, 2.0]), 2)
    assert number.tolist() == [1, 0, 1, 0]
    assert centre.tolist() == [1.5, 3.5]


def measured() -> Measurement:
    rng = np.random.default_rng(0)
    target = np.linspace(2.0, 20.0, 60)
    return programmed(Polynomial((0.0, 0.0)), Polynomial((0.3, 0.0)), 25.0, target, 20.0, rng)


def test_the_first_reason_to_leave_a_cell_out_is_kept() -> None:
    screening = Screening.of(measured())
    first, both = np.arange(60) < 2, np.arange(60) < 5
    screening.drop(first, STUCK)
    screening.drop(both, OUTLIER)
    count = screening.count(measured())
    assert (count.measured, count.used, count.stuck) == (60, 55, 2)
    assert count.stuck_addresses == (1000, 1001)
    assert screening.why() == "outlier: 3, stuck: 2"


def test_rows_hold_the_reads_of_each_cell_in_their_order() -> None:
    whole = measured()
    cell = np.array([1, 0, 1, 1], np.int32)
    reads = replace(
        whole.reads, cell=cell, time=np.arange(4.0), conductance=np.array([5.0, 6.0, 7.0, 8.0]),
        temperature=np.full(4, 300.0),
    )  # fmt: skip
    rows = rows_of(replace(whole, reads=reads))
    assert rows.counts[:3].tolist() == [1, 3, 0]
    assert rows.conductance[1].tolist() == [5.0, 7.0, 8.0]
    assert rows.time[0].tolist() == [1.0, 0.0, 0.0]


def test_families_are_found_in_the_order_of_what_they_assume() -> None:
    names = {kind: [family.name for family in families(kind)] for kind in Experiment}
    assert names[Experiment.DRIFT] == [
        "spline", "log-clip", "onset", "curved", "telegraph", "heavy-tailed", "relaxation", "relaxation-sublinear",
        "bake", "one-age",
    ]  # fmt: skip
    assert names[Experiment.PROGRAMMING] == ["polynomial-2", "polynomial-3", "student-3", "smooth", "after-write"]
    assert names[Experiment.READ_NOISE] == ["power-law", "knots"]
    assert names[Experiment.PROGRAMMING_CURVE] == ["logistic"]
    with pytest.raises(BadInputError, match="did you mean 'spline'"):
        FAMILIES.find("splin")


def test_every_family_that_is_tried_is_a_step() -> None:
    steps: list[Step] = []
    outcome = exhaust(fitting(measured()), steps.append)
    assert [(step.done, step.stage) for step in steps[:4]] == [
        (0, "trying polynomial-2"), (1, "trying polynomial-3"), (2, "trying student-3"), (3, "trying smooth"),
    ]  # fmt: skip
    assert steps[4].stage == f"fitting {outcome.fitted.family.name}"
    assert {step.total for step in steps} == {5}
    assert outcome.to_json()["held_out_log_likelihood"] == outcome.fitted.record.choice


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(BadInputError, match="held_out=2 is outside"):
        Selection(held_out=2.0)


def test_torch_and_numpy_agree() -> None:
    form = Form("power-law")
    values = [0.01, -0.6, 0.2]
    g = np.geomspace(0.01, 1.0, 5)
    assert build(form, torch.tensor(values))(tensor(g)).numpy() == pytest.approx(build(form, values)(g))
