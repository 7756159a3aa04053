"""Power-law drift: what was put in comes out, with intervals that hold, whatever is wrong with some of the cells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwloop.calibration.fitting.checks import split_last, with_reads
from hwloop.calibration.fitting.drift import LogClipDrift, SplineDrift
from hwloop.calibration.fitting.selection import fit_measurement, held_out_scores
from hwloop.calibration.fitting.synthetic import FIRST_ADDRESS, ReadErrors, drifting
from hwloop.devices.statistics import LogClip, Polynomial
from hwloop.errors import BadInputError
from hwloop.files.measurements import Mark, Measurement
from hwloop.sim_backend.presets import PRESETS

pytestmark = pytest.mark.numerical

PCM = PRESETS["pcm-90nm"]().device
"""The published statistics of the million-device array."""
AGES = np.geomspace(1.0, 3.15e7, 12)
TRUTH = {
    "mean.slope": -0.0155,
    "mean.offset": 0.0244,
    "mean.low": 0.049,
    "mean.high": 0.1,
    "spread.slope": -0.0125,
    "spread.offset": -0.0059,
    "spread.low": 0.008,
    "spread.high": 0.045,
}


def measured(cells: int, seed: int, lowest: float = 0.05, noise: float = 0.25) -> Measurement:
    """Devices evenly spread in ln G up to 25 uS."""
    rng = np.random.default_rng(seed)
    conductance = np.exp(rng.uniform(np.log(lowest), np.log(25.0), cells))
    return drifting(PCM.drift, PCM.read_noise, conductance, AGES, rng, ReadErrors(noise))


def with_conductance(measurement: Measurement, conductance: np.ndarray) -> Measurement:
    return replace(measurement, reads=replace(measurement.reads, conductance=conductance))


def test_published_coefficients_are_recovered() -> None:
    fitted, _ = LogClipDrift().fit(measured(12_000, seed=1))
    rows = {row.name: row for row in fitted.record.parameters}
    for name, truth in TRUTH.items():
        row = rows[name]
        assert row.low is not None
        assert row.high is not None
        sigma = (row.high - row.low) / 3.92
        assert abs(row.value - truth) < 3.3 * sigma, f"{name}: {row.value} is no 99.9 % away from {truth}"
        assert sigma < 0.12 * abs(truth)
    model = fitted.record.statistic("mean")
    g = np.geomspace(0.004, 1.0, 50)
    assert model(g) == pytest.approx(PCM.drift.mean(g), rel=0.03)
    assert fitted.record.ks_distance < 0.02


def test_splines_follow_a_form_that_is_not_theirs() -> None:
    fitted, _ = SplineDrift().fit(measured(8_000, seed=2, lowest=0.5))
    g = np.geomspace(0.05, 1.0, 30)
    assert fitted.record.statistic("mean")(g) == pytest.approx(PCM.drift.mean(g), rel=0.05)


@pytest.mark.parametrize("seed", [0, 4, 5])
def test_three_hundred_devices_show_a_spread_that_is_above_zero(seed: int) -> None:
    """Eight levels, verified to 1 uS, one hour: where hardly a device is the curve is held by its neighbours."""
    rng = np.random.default_rng(seed)
    levels = np.repeat(np.geomspace(0.625, 25.0, 8), 38)[:300]
    conductance = np.maximum(levels + rng.normal(0.0, 0.3, 300), 0.1)
    drift = drifting(PCM.drift, PCM.read_noise, conductance, np.geomspace(1.0, 3600.0, 16), rng, ReadErrors(0.25))
    fitted, _ = SplineDrift().fit(drift)
    assert fitted.optimum.converged
    for row in fitted.record.parameters:
        if row.name.startswith("spread"):
            assert row.low is not None
            assert row.high is not None
            assert 0 < row.low < row.value < row.high < 1
    top = next(row for row in fitted.record.parameters if row.name == "spread.v8")
    assert top.low is not None
    assert top.high is not None
    # The spread of the topmost level is 0.008; its logarithm is known to a seventh.
    assert abs(np.log(top.value / 0.008)) < 3.5 * np.log(top.high / top.low) / 3.92


def test_bounds_that_no_device_reaches_are_held_and_named() -> None:
    fitted, _ = LogClipDrift().fit(measured(3_000, seed=3, lowest=1.0))
    high = next(row for row in fitted.record.parameters if row.name == "mean.high")
    assert high.low is high.high is None
    assert "no measured conductance reaches" in high.note
    assert any("mean.high" in warning for warning in fitted.record.warnings)


def test_stuck_and_wild_cells_are_named_and_move_nothing() -> None:
    clean = measured(6_000, seed=4, lowest=0.5)
    rng = np.random.default_rng(5)
    cells = len(clean.cells)
    chosen = rng.permutation(cells)[: cells // 50]
    stuck, wild = chosen[: cells // 100], chosen[cells // 100 :]
    reads = clean.reads.conductance.reshape(AGES.size, cells).copy()
    reads[:, stuck] = 27.0 * (1 + 0.01 * rng.standard_normal((AGES.size, stuck.size)))
    reads[:, wild] = rng.uniform(0, 25.0, (AGES.size, wild.size))
    before, _ = SplineDrift().fit(clean)
    after, _ = SplineDrift().fit(with_conductance(clean, reads.ravel()))
    named = np.array([*after.record.cells.stuck_addresses, *after.record.cells.outlier_addresses]) - FIRST_ADDRESS
    hits = np.isin(named, chosen).sum()
    assert hits / named.size > 0.95
    assert hits / chosen.size > 0.95
    assert np.isin(np.array(after.record.cells.stuck_addresses) - FIRST_ADDRESS, stuck).mean() > 0.95
    for row, moved in zip(before.record.parameters, after.record.parameters, strict=True):
        if row.name.startswith(("mean", "spread")):
            assert row.low is not None
            assert row.high is not None
            assert abs(moved.value - row.value) < 0.5 * (row.high - row.low)


def test_reads_may_be_missing_and_times_unequal() -> None:
    whole = measured(4_000, seed=6, lowest=1.0)
    rng = np.random.default_rng(7)
    reads = whole.reads
    jittered = replace(whole, reads=replace(reads, time=reads.time * np.exp(0.02 * rng.standard_normal(len(reads)))))
    some, _ = SplineDrift().fit(with_reads(jittered, rng.random(len(reads)) < 0.7))
    g = np.geomspace(0.06, 0.9, 20)
    assert some.record.statistic("mean")(g) == pytest.approx(PCM.drift.mean(g), rel=0.05)


def test_held_out_reads_choose_the_form() -> None:
    rng = np.random.default_rng(8)
    conductance = np.exp(rng.uniform(np.log(1.0), np.log(25.0), 4_000))
    bent = replace(PCM.drift, mean=Polynomial((0.03, 0.25, -0.25)), spread=LogClip(0.0, 0.004, 0.004, 0.004))
    measurement = drifting(bent, PCM.read_noise, conductance, AGES[:8], rng, ReadErrors(0.1))
    scores, _ = held_out_scores(measurement, [LogClipDrift(), SplineDrift()])
    # Five times what families that predict alike may differ by.
    assert scores["spline"].mean() - scores["log-clip"].mean() > 0.01


def test_auto_says_by_how_much() -> None:
    """The truth is log-clip, which predicts later reads no better than a family that assumes less of them."""
    outcome = fit_measurement(measured(700, seed=9, lowest=1.0))
    record = outcome.fitted.record
    assert set(record.choice) >= {"log-clip", "spline"}
    # A tenth of the margin, of which another kind of CPU moves a tenth.
    assert record.choice["log-clip"] - record.choice["spline"] == pytest.approx(0.0, abs=0.001)
    assert record.family == "spline"
    assert [one.title for one in outcome.panels[:3]] == [
        "Mean drift coefficient",
        "Spread of drift coefficients",
        "Noise of a read",
    ]
    mean, spread = (panel.series for panel in outcome.panels[:2])
    for seen, fit in (mean, spread):
        assert (seen.label, seen.line, fit.label, fit.line) == ("measured", False, "fit", True)
        assert seen.high - seen.y == pytest.approx(seen.y - seen.low)
    # Bars are two standard errors of 50 devices; in nu, of what they differ by and of the errors of their lines.
    assert spread[0].high / spread[0].y - 1 == pytest.approx(2 / np.sqrt(2 * 50))
    bars = (mean[0].high - mean[0].y) * np.sqrt(50) / 2
    assert bars / spread[0].y == pytest.approx(1.01, abs=0.01)


def test_split_last_keeps_every_read_once() -> None:
    measurement = measured(50, seed=1)
    earlier, later = split_last(measurement)
    assert len(earlier.reads) + len(later.reads) == len(measurement.reads)
    assert np.all(later.reads.time == AGES[-1])


def scatter(reads: int) -> np.ndarray:
    """What a wrong column of a table looks like: no device, no drift, only log-normal numbers."""
    return 5.0 * np.exp(np.random.default_rng(0).standard_normal(reads))


# ---- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: with_reads(m, m.reads.time == AGES[0]), "fewer than 3 different ages"),
        (lambda m: replace(m, reads=replace(m.reads, time=m.reads.time[::-1].copy())), "run backwards"),
        (lambda m: replace(m, reads=replace(m.reads, time=-m.reads.time)), "is negative"),
        (lambda m: with_conductance(m, np.where(m.reads.time > 10, np.nan, 1.0)), "is not a finite number"),
        (lambda m: with_conductance(m, -m.reads.conductance), "most conductances are negative"),
        (lambda m: with_reads(m, np.zeros(len(m.reads), bool)), "no reads"),
        (lambda m: with_reads(m, m.reads.cell < 20), "usable cells cannot support"),
        (
            lambda m: replace(m, cells=replace(m.cells, mark=np.full(len(m.cells), Mark.STUCK_SET, np.uint8))),
            "no cell can be used .stuck: 300",
        ),
        (
            lambda m: replace(m, reads=replace(m.reads, temperature=np.linspace(300, 400, len(m.reads)))),
            "holds at one temperature",
        ),
    ],
)
def test_data_without_support_is_refused_with_the_reason(damage, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInputError, match=message):
        fit_measurement(damage(measured(300, seed=1, lowest=1.0)))


def said_of(measurement: Measurement) -> str:
    """Return the refusal of a fit, or its warnings."""
    try:
        found = fit_measurement(measurement)
    except BadInputError as error:
        return str(error)
    return "; ".join(found.fitted.record.warnings)


def test_scatter_is_refused_or_said_to_be_described_poorly() -> None:
    """Whether the likelihood of mere scatter has a maximum hangs on last digits; a fit of it is never silent."""
    scattered = measured(300, seed=1, lowest=1.0)
    said = said_of(with_conductance(scattered, scatter(len(scattered.reads))))
    assert "tell no parameter of" in said or "describes these reads poorly" in said


def test_an_unknown_family_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadInputError, match="known: auto, spline, log-clip, onset, curved, telegraph"):
        fit_measurement(measured(300, seed=1), family="gaussian")
