"""Relaxation of resistive memory: known mixtures come out, real cells are predicted better than by the baselines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from hwloop.calibration.fitting.checks import split_last, with_reads
from hwloop.calibration.fitting.panels import ks_distance
from hwloop.calibration.fitting.relaxation import Relaxation, relaxation_table
from hwloop.errors import BadInputError
from hwloop.files.measurement_reader import read_measurements
from hwloop.files.measurements import Cells, Experiment, Measurement, Reads
from hwloop.importers.files import ImportOptions, import_file
from hwloop.importers.layout import TextOptions
from hwloop.typing import FloatArray
from tests.calibration.fitting.shared_data import shared_file

AGES = np.array([0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0])


def measured(cells: int, seed: int) -> Measurement:
    """A fifth of the cells moves by a wide normal step; both widths grow with log time, the same at every G0."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(5.0, 120.0, cells)
    moved = rng.random((AGES.size, cells)) < 0.2
    decade = np.log10(np.maximum(AGES, 1e-3))[:, None] - 1.0
    width = np.where(moved, 6.0 * np.exp(0.2 * decade), 0.5 * np.exp(0.1 * decade))
    shift = np.where(moved, -2.0 - 0.5 * decade, 0.0)
    change = shift + width * rng.standard_normal(moved.shape)
    change[0] = 0.0
    reads = Reads(
        cell=np.tile(np.arange(cells, dtype=np.int32), AGES.size),
        time=np.repeat(AGES, cells),
        conductance=(first + change).ravel(),
        temperature=np.full(AGES.size * cells, np.nan),
    )
    return Measurement(Experiment.DRIFT, Cells.at(np.arange(cells)), reads)


def test_shares_shifts_and_widths_are_recovered() -> None:
    fitted, _ = Relaxation().fit(measured(4_000, seed=1))
    record = fitted.record
    at = np.array([0.3, 0.5, 0.8])
    expected = {
        "moved_level": np.log(0.2 / 0.8),
        "move_shift_level": -2.0,
        "move_width_level": np.log(6.0),
        "stay_width_level": np.log(0.5),
        "stay_width_slope": 0.1,
        "move_shift_slope": -0.5,
    }
    for name, truth in expected.items():
        assert record.statistic(name)(at) == pytest.approx(np.full(3, truth), abs=0.35), name
    assert record.ks_distance < 0.01


def test_a_single_age_is_refused() -> None:
    measurement = measured(500, seed=2)
    with pytest.raises(BadInputError, match="two later ages"):
        relaxation_table(with_reads(measurement, measurement.reads.time <= 0.01))


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
    family = Relaxation()
    table, _ = family.prepare(early)
    theta = family.estimate(table, intervals=False)[0].theta
    predicted = family.predict(table, theta, early, late)
    judged = np.isfinite(predicted)
    assert judged.sum() > 14_000
    ours = predicted[judged].mean()
    for name, baseline in BASELINES.items():
        theirs = baseline(early, late)[judged]
        assert ours > theirs[np.isfinite(theirs)].mean() + 0.05, name
    held_out = family.later(table, late)
    chosen = family.subset(held_out, held_out.there[:, 0])
    assert ks_distance(family.quantiles(chosen, theta)) <= 0.05


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
