"""Cells read after the write and once more: what became of them comes out, of codes too, and stays within that age."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import hwloop
from hwloop.calibration.fitting.bake import AfterWrite, BakeSettings, OneAge
from hwloop.calibration.fitting.bake.one_age import one_age_table
from hwloop.calibration.fitting.bake.table import codes_of
from hwloop.calibration.fitting.hold_out import score
from hwloop.calibration.fitting.selection import fit_measurement
from hwloop.errors import BadInputError
from hwloop.files.measurements import Cells, Experiment, Measurement, Reads
from hwloop.files.predictions import distribution

pytestmark = pytest.mark.numerical


def written(cells: int, seed: int, experiment: Experiment = Experiment.DRIFT) -> Measurement:
    """Cells that change by Student's t of 4 degrees and 2 uS within a second; targets are 1 uS off."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(20.0, 100.0, cells)
    later = first - 1.0 + 2.0 * rng.standard_t(4.0, cells)
    reads = Reads(np.arange(cells, dtype=np.int32), np.full(cells, 1.0), later, np.full(cells, np.nan))
    target = np.round(first + rng.standard_normal(cells))
    return Measurement(experiment, Cells.at(np.arange(cells), target=target, verify=first), reads, {"g_max": 100.0})


def coded(measurement: Measurement, step: float) -> Measurement:
    reads, cells = measurement.reads, measurement.cells
    return replace(
        measurement,
        reads=replace(reads, conductance=step * np.round(reads.conductance / step)),
        cells=replace(cells, verify=step * np.round(cells.verify / step)),
    )


def test_what_was_put_in_comes_out_and_later_ages_extrapolate() -> None:
    model = hwloop.fit(written(1_500, seed=1), hold_out=("cells",))
    record = model.fits["drift"]
    assert record.family == "one-age"
    assert not record.warnings
    assert model.held_out["drift"].pooled.covered == pytest.approx(0.9, abs=0.05)
    found = model.predict(1.0, 60.0)
    assert not found.extrapolates
    assert found.level_is == "right after the write"
    for share in (0.05, 0.5, 0.95):
        # Of 300 cells about 60 uS.
        assert found.quantiles[share] == pytest.approx(59.0 + 2.0 * stats.t.ppf(share, 4.0), abs=0.7)
    assert "measured at 1s" in model.predict(60.0, 60.0).beyond[0]
    assert score(record, written(1_000, seed=2)).pooled.ks_distance < 0.06


def test_codes_are_spread_over_their_steps() -> None:
    measurement = coded(written(1_500, seed=3), 2.0)
    record = fit_measurement(measurement).fitted.record
    assert not record.warnings
    at = distribution(record, 1.0, np.array([60.0]))
    # The share of a code is that of the step about it; the first read is known to within a step, too.
    codes = 60.0 + 2.0 * np.arange(-4, 5)
    found = at.cdf(codes[:, None] + 1.0)[:, 0] - at.cdf(codes[:, None] - 1.0)[:, 0]
    rng = np.random.default_rng(4)
    change = rng.uniform(-1.0, 1.0, 200_000) - 1.0 + 2.0 * rng.standard_t(4.0, 200_000)
    expected = [np.mean(2.0 * np.round((60.0 + change) / 2.0) == code) for code in codes]
    assert np.abs(found - expected).max() < 0.05
    assert codes_of(measurement.reads.conductance) is not None
    assert codes_of(written(1_500, seed=3).reads.conductance) is None


def test_several_reads_after_the_write_are_averaged() -> None:
    cell = np.repeat(np.arange(200, dtype=np.int32), 3)
    time = np.tile([1e-3, 1.01e-3, 1.0], 200)
    rng = np.random.default_rng(5)
    level = rng.uniform(20.0, 100.0, 200)
    conductance = np.repeat(level, 3) + np.tile([0.5, -0.5, 2.0], 200)
    table, _ = one_age_table(
        Measurement(Experiment.DRIFT, Cells.at(np.arange(200)), Reads(cell, time, conductance, np.full(600, 300.0)), {})
    )
    assert table.first == pytest.approx(level)
    assert table.conductance[:, 0] == pytest.approx(level + 2.0)


@pytest.mark.parametrize(("verified", "level_is"), [(True, "right after the write"), (False, "target")])
def test_programmed_cells_are_predicted_from_what_is_known_of_them(verified: bool, level_is: str) -> None:
    measurement = written(600, seed=6, experiment=Experiment.PROGRAMMING)
    if not verified:
        measurement = replace(measurement, cells=replace(measurement.cells, verify=np.full(600, np.nan)))
    model = hwloop.fit(measurement, "after-write")
    assert model.predict(1.0, 60.0).level_is == level_is
    assert fit_measurement(measurement).fitted.record.family != "after-write"


def test_what_has_no_one_age_is_refused() -> None:
    measurement = written(300, seed=7)
    bare = replace(
        measurement, cells=replace(measurement.cells, verify=np.full(300, np.nan), target=np.full(300, np.nan))
    )
    with pytest.raises(BadInputError, match="nothing above zero is known"):
        one_age_table(bare)
    reads = measurement.reads
    apart = replace(measurement, reads=replace(reads, time=np.geomspace(1.0, 100.0, 300)))
    with pytest.raises(BadInputError, match="use --family relaxation"):
        OneAge(BakeSettings(levels=2)).prepare(apart)
    assert AfterWrite.on_request
