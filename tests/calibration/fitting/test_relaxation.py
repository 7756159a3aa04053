"""Relaxation of resistive memory: known mixtures come out, real cells are predicted better than by the baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from hwloop.calibration.fitting.checks import rows_of, split_last, with_reads
from hwloop.calibration.fitting.panels import ks_distance
from hwloop.calibration.fitting.relaxation import Relaxation, RelaxationSettings, relaxation_table
from hwloop.calibration.fitting.selection import fit_measurement
from hwloop.devices.relaxation import RelaxationLaw
from hwloop.devices.statistics import Knots
from hwloop.errors import BadInputError
from hwloop.files.fitted_devices import relaxation_law
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurements import Measurement
from hwloop.importers.files import ImportOptions, import_file
from hwloop.importers.layout import TextOptions
from hwloop.typing import FloatArray
from tests.calibration.fitting.shared_data import shared_file

AGES = np.array([0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0])
TRUTH = {
    "hazard": -2.0,
    "hazard_growth": -0.5,
    "stay_shift": 0.1,
    "stay_shift_growth": 0.05,
    "stay_width": -0.5,
    "stay_width_growth": -1.2,
    "move_shift": -2.0,
    "move_shift_growth": -0.5,
    "move_width": 1.4,
    "move_width_growth": -1.0,
    "move_skew": 0.2,
}
"""Curves of made-up cells, the same at every first conductance."""


def law(exponent: float = 1.0) -> RelaxationLaw:
    """What made-up cells are drawn from."""
    curves = {name: Knots((0.0,), (value,)) for name, value in TRUTH.items()}
    return RelaxationLaw(
        curves, freedom=(6.0, 4.0), warp=4.0, exponent=exponent, g_scale=120.0, first_age=0.0, clock=0.01,
        memory=(0.6, 3.0), memory_freedom=3.0,
    )  # fmt: skip


def measured(cells: int, seed: int, exponent: float = 1.0, ages: FloatArray = AGES) -> Measurement:
    """Cells between 5 and 120 uS that relax; ranks of successive reads are correlated as the law says."""
    rng = np.random.default_rng(seed)
    first, own = rng.uniform(5.0, 120.0, cells), law(exponent)
    share, length = own.memory
    slow, last, rows = rng.standard_normal(cells), ages[1], [first]
    far = np.sqrt(own.memory_freedom / rng.chisquare(own.memory_freedom, cells))
    for age in ages[1:]:
        keep = np.exp(-(own.decades(age) - own.decades(last)) / length)
        slow, last = keep * slow + np.sqrt(1 - keep**2) * rng.standard_normal(cells), age
        score = np.sqrt(share) * slow + np.sqrt(1 - share) * rng.standard_normal(cells)
        rows.append(own.at(age, first).quantile(stats.t.cdf(far * score, own.memory_freedom)))
    return Measurement.of("drift", ages, np.stack(rows))


def test_the_law_that_cells_were_drawn_from_is_recovered() -> None:
    family, measurement = Relaxation(), measured(2_500, seed=1)
    table, _ = family.prepare(measurement)
    found = family.law(table, family.estimate(table, intervals=False)[0].theta)
    for age in (0.01, 1.0, 1000.0):
        for first in (10.0, 60.0, 110.0):
            expected, predicted = law().at(age, first), found.at(age, first)
            width = float(expected.quantile(0.95) - expected.quantile(0.05))
            for share in (0.05, 0.5, 0.95):
                assert predicted.quantile(share) == pytest.approx(float(expected.quantile(share)), abs=0.12 * width)
    assert found.memory[0] == pytest.approx(0.6, abs=0.05)
    assert found.memory[1] == pytest.approx(3.0, rel=0.2)


def test_true_cells_have_uniform_quantiles_and_intervals() -> None:
    record = Relaxation().fit(measured(1_000, seed=2))[0].record
    assert record.ks_distance < 0.015
    assert record.time_range == (0.01, 1000.0)
    assert all(row.low is not None and row.low < row.value < row.high for row in record.parameters if row.high)
    found, own = relaxation_law(record), law()
    assert float(found.at(1.0, 60.0).quantile(0.95)) == pytest.approx(float(own.at(1.0, 60.0).quantile(0.95)), rel=0.1)


def test_a_later_read_is_predicted_better_from_the_latest_one() -> None:
    measurement = measured(800, seed=3)
    earlier, later = split_last(measurement)
    family = Relaxation()
    table, _ = family.prepare(earlier)
    theta = family.estimate(table, intervals=False)[0].theta
    given = family.predict(table, theta, earlier, later)
    alone = np.log(family.law(table, theta).at(1000.0, table.first).density(later.reads.conductance[table.cells]))
    # Of a correlation r of ranks: -ln(1 - r^2) / 2, 0.1 for 0.6 after a decade.
    assert given[table.cells].mean() > alone.mean() + 0.05


def test_growth_is_chosen_by_held_out_times_and_what_ties_is_kept() -> None:
    ages = np.concatenate([[0.0], np.geomspace(0.01, 1e5, 8)])
    outcome = fit_measurement(measured(450, seed=4, exponent=0.5, ages=ages), "relaxation")
    record = outcome.fitted.record
    assert set(record.choice) == {"relaxation", "relaxation-sublinear"}
    tried = {record.family, *(one.family for one in record.alternatives)}
    assert "relaxation-sublinear" in tried
    assert fit_measurement(measured(400, seed=5), "relaxation-sublinear").fitted.record.choice == {}


def test_two_ages_tell_nothing_of_growth_and_both_are_kept() -> None:
    record = fit_measurement(measured(250, seed=7, ages=AGES[:3]), "relaxation").fitted.record
    assert record.family == "relaxation"
    assert [one.family for one in record.alternatives] == ["relaxation-sublinear"]


def test_a_single_age_is_refused() -> None:
    measurement = measured(500, seed=2)
    with pytest.raises(BadInputError, match="two later ages"):
        relaxation_table(with_reads(measurement, measurement.reads.time <= 0.01))


def test_cells_that_read_zero_are_left_out_and_counted() -> None:
    measurement = measured(300, seed=6)
    conductance = measurement.reads.conductance.copy()
    conductance[(measurement.reads.cell == 7) & (measurement.reads.time == 1.0)] = 0.0
    _, screening = relaxation_table(replace(measurement, reads=replace(measurement.reads, conductance=conductance)))
    assert screening.count(measurement).left_out == {"reads that are not above zero": 1}


def test_of_many_cells_a_random_part_is_fitted() -> None:
    table, screening = relaxation_table(measured(300, seed=6), RelaxationSettings(most_cells=100))
    assert table.first.size == 100
    assert list(screening.count(measured(300, seed=6)).left_out.values()) == [200]


# ---- real cells ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Measurement:
    """Some 16 000 cells of RRAM technology B, read at 0 to 10 000 s, as `hwloop import` brings them in."""
    columns = "cell,time[s],resistance[ohm],conductance[S],,level,nominal_time[s]"
    out = tmp_path_factory.mktemp("real") / "rram.h5"
    import_file(shared_file("rram_techB_relaxation.tsv.gz"), out, ImportOptions(TextOptions(columns)))
    [measurement] = read_measurements(out)
    return measurement


def test_ten_thousand_seconds_are_predicted_from_a_thousand(real: Measurement) -> None:
    """Better than no change, than the last distribution per level, and than Gaussians extrapolated per level."""
    nominal = real.reads.nominal
    assert nominal is not None
    early, late = with_reads(real, nominal <= 1000), with_reads(real, nominal == 10_000)
    family = Relaxation(RelaxationSettings(most_cells=3_000, knots=10))
    table, _ = family.prepare(early)
    theta = family.estimate(table, intervals=False)[0].theta
    rows = rows_of(late)
    judged = rows.there[table.cells, 0]
    assert judged.sum() > 2_500
    cells = table.cells[judged]
    found = family.law(table, theta).at(rows.time[cells, 0], table.first[judged])
    read = rows.conductance[cells, 0]
    ours = np.log(found.density(read)).mean()
    given = family.predict(table, theta, early, late)[cells].mean()
    assert given > ours + 0.02, "the latest read tells more than the first alone"
    for name, baseline in BASELINES.items():
        theirs = baseline(early, late)[cells]
        assert ours > theirs[np.isfinite(theirs)].mean() + 0.05, name
    assert ks_distance(found.cdf(read)) <= 0.05
    assert float(found.quantile(1e-6).min()) > 0.0, "no conductance below zero"


def last_read(measurement: Measurement) -> FloatArray:
    """Conductance (cells,) of each cell's last read; NaN without one."""
    _, last = split_last(measurement)
    value = np.full(len(measurement.cells), np.nan)
    value[last.reads.cell] = last.reads.conductance
    return value


def no_change(early: Measurement, late: Measurement) -> FloatArray:
    """Student's t around each cell's last read, as wide as reads have changed from 1 s on: stronger than a Gaussian."""
    nominal = early.reads.nominal
    assert nominal is not None
    then, now = last_read(with_reads(early, nominal <= 1)), last_read(early)
    change = (now - then)[np.isfinite(now - then)]
    density: FloatArray = stats.t.logpdf(last_read(late) - now, *stats.t.fit(change[change != 0]))
    return density


def last_distribution(early: Measurement, late: Measurement) -> FloatArray:
    """Density of each level's conductances at its last age, estimated by a kernel."""
    now, later, density = last_read(early), last_read(late), np.full(len(early.cells), np.nan)
    for level in np.unique(early.cells.level):
        own = early.cells.level == level
        if np.isfinite(now[own]).sum() > 10:
            known = now[own & np.isfinite(now)]
            here = own & np.isfinite(later)
            density[here] = np.log(stats.gaussian_kde(known, "silverman")(later[here]) + 1e-12)
    return density


def gaussian_extrapolated(early: Measurement, late: Measurement) -> FloatArray:
    """Mean and standard deviation of each level, straight lines in log time."""
    nominal, later = early.reads.nominal, last_read(late)
    assert nominal is not None
    level = early.cells.level[early.reads.cell]
    density = np.full(len(early.cells), np.nan)
    ages = np.unique(nominal[nominal > 0])
    for one in np.unique(early.cells.level):
        seen = [early.reads.conductance[(level == one) & (nominal == age)] for age in ages]
        usable = [
            (np.log10(age), part.mean(), part.std()) for age, part in zip(ages, seen, strict=True) if part.size > 5
        ]
        if len(usable) > 2:
            x, mean, sigma = np.array(usable).T
            own = early.cells.level == one
            at = [np.polyval(np.polyfit(x, y, 1), 4.0) for y in (mean, sigma)]
            density[own] = stats.norm.logpdf(later[own], *at)
    return density


BASELINES: dict[str, Callable[[Measurement, Measurement], FloatArray]] = {
    "no change": no_change,
    "last distribution per level": last_distribution,
    "Gaussian per level, extrapolated in log time": gaussian_extrapolated,
}
