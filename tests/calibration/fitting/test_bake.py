"""Bakes: what was put in comes out, at temperatures and times that were left out too, and what cannot be is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hwloop
from hwloop.calibration.fitting.bake import Bake, BakeSettings, bake_table
from hwloop.calibration.fitting.hold_out import parted, score
from hwloop.calibration.fitting.panels import ks_distance
from hwloop.calibration.fitting.selection import fit_measurement
from hwloop.devices.bake import BAKE_CURVES, BakeLaw, bake_weights, log_equivalent
from hwloop.devices.statistics import Knots
from hwloop.errors import BadInputError
from hwloop.files.fitted_devices import bake_law
from hwloop.files.measurements import Cells, Experiment, Measurement, Reads
from hwloop.files.predictions import distribution

pytestmark = pytest.mark.numerical

HOT = (380.0, 430.0, 480.0)
"""K."""
VALUES = {
    "hazard": (-1.5, -0.5, 0.8),
    "stay_shift": (0.5, 1.0, 0.0),
    "stay_width": (1.0, 1.4, 1.8),
    "move_shift": (2.0, -2.0, -20.0),
    "move_width": (2.0, 2.6, 3.0),
    "move_skew": (-0.2, 0.0, 0.4),
}
"""Of each bake, for all conductances."""
KINDS = {HOT[0]: (3600.0, 36000.0), HOT[1]: (3600.0,), HOT[2]: (3600.0, 36000.0)}


ONE_TIME = tuple((kelvin, 3600.0) for kelvin in HOT)


def truth(energy: float = 1.0, measured: tuple[tuple[float, float], ...] = ONE_TIME, *, ends: bool = False) -> BakeLaw:
    """A law of three bakes, or of a line between the mildest and the hardest."""
    places = (0.0, 1.0) if ends else (0.0, 0.5, 1.0)
    chosen = (0, 2) if ends else (0, 1, 2)
    curves = {name: tuple(Knots((0.0,), (VALUES[name][k],)) for k in chosen) for name in BAKE_CURVES}
    return BakeLaw(curves, places, (6.0, 4.0), 5.0, 120.0, energy, HOT[-1], measured)


def baked(law: BakeLaw, cells: int, seed: int) -> Measurement:
    """As many cells for each measured bake, read before and after it."""
    rng, parts = np.random.default_rng(seed), []
    for kelvin, seconds in law.measured:
        first = rng.uniform(10.0, 120.0, cells)
        later = law.at(seconds, first, kelvin).sample(rng)[0]
        parts.append((np.stack([first, later], 1), np.full(cells, kelvin), np.full(cells, seconds)))
    reads, kelvin, seconds = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    time = np.stack([np.zeros(seconds.size), seconds], 1)
    table = Reads(
        np.repeat(np.arange(kelvin.size, dtype=np.int32), 2), time.ravel(), reads.ravel(), np.repeat(kelvin, 2)
    )
    return Measurement(Experiment.DRIFT, Cells.at(np.arange(kelvin.size)), table, {"g_max": 120.0})


def test_what_was_put_in_comes_out_on_other_cells() -> None:
    law = truth()
    fitted, _ = Bake(BakeSettings(levels=3)).fit(baked(law, 600, seed=1))
    record = fitted.record
    found = bake_law(record)
    first = np.linspace(20.0, 110.0, 7)
    for kelvin in HOT:
        for share in (0.1, 0.5, 0.9):
            own, true = (one.at(3600.0, first, kelvin).quantile(share) for one in (found, law))
            # Of 600 cells; the 5 % to 95 % range is 15 to 80 uS wide.
            width = law.at(3600.0, first, kelvin)
            assert np.abs(own - true).max() < 0.12 * np.ptp(width.quantile(np.array([[0.05], [0.95]])), axis=0).max()
    fresh = baked(law, 600, seed=2)
    held = score(record, fresh)
    assert {row.temperature for row in held.rows} == set(HOT)
    assert held.pooled.ks_distance < 1.63 / np.sqrt(held.pooled.reads) + 0.015
    assert held.pooled.covered == pytest.approx(0.9, abs=3 * np.sqrt(0.09 / held.pooled.reads) + 0.01)
    energy = next(row for row in record.parameters if row.name == "energy")
    assert energy.low is None
    assert "assumed" in energy.note
    assert not record.warnings


def test_different_times_tell_the_activation_energy() -> None:
    law = truth(energy=0.8, measured=tuple((kelvin, time) for kelvin, times in KINDS.items() for time in times))
    fitted, _ = Bake(BakeSettings(levels=2)).fit(baked(law, 250, seed=3))
    energy = next(row for row in fitted.record.parameters if row.name == "energy")
    assert energy.low is not None
    assert energy.high is not None
    sigma = np.log(energy.high / energy.low) / 3.92
    assert abs(np.log(energy.value / 0.8)) < 3.5 * sigma
    assert sigma < 0.4


def test_a_temperature_that_was_left_out_lies_between_its_neighbours() -> None:
    law = truth(ends=True)
    training, rest, _ = parted(baked(law, 400, seed=4), ("temperatures",))
    assert set(rest.reads.temperature.tolist()) == {HOT[1]}
    found = score(Bake(BakeSettings(levels=2)).fit(training)[0].record, rest).pooled
    first, later = rest.reads.conductance[::2], rest.reads.conductance[1::2]
    best = float(np.log(law.at(3600.0, first, HOT[1]).density(later)).mean())
    # The 28 numbers of the fit, known from 800 cells, cost 0.018 of those at their own bakes.
    assert best - 0.05 < found.log_likelihood < best + 0.02
    assert found.covered == pytest.approx(0.9, abs=0.06)


def test_stays_add_up() -> None:
    """An hour and three hours at one temperature are four; ten times as fast at a temperature where it is so."""
    kelvin = np.full((1, 2), 400.0)
    assert log_equivalent(np.array([[3600.0, 10800.0]]), kelvin, 1.0, 400.0)[0, 1] == pytest.approx(np.log10(14400.0))
    hotter = 1.0 / (1.0 / 400.0 - 8.617333262e-5 * np.log(10.0))
    faster = log_equivalent(np.array([[1.0, 1.0]]), np.array([[400.0, hotter]]), 1.0, 400.0)
    assert faster[0] == pytest.approx([0.0, np.log10(11.0)])


def test_between_bakes_lines_are_drawn_the_last_of_which_goes_on() -> None:
    place = np.array([-0.5, 0.0, 0.25, 0.5, 1.0, 1.5])
    weights = np.array(bake_weights(place, (0.0, 0.5, 1.0)))
    assert weights.sum(0) == pytest.approx(1.0)
    assert np.array([1.0, 3.0, 4.0]) @ weights == pytest.approx([1.0, 1.0, 2.0, 3.0, 4.0, 5.0])


def test_without_time_there_is_no_change() -> None:
    cold = truth().at(1e-3, 50.0, HOT[0])
    assert cold.quantile(np.array([0.05, 0.95])) == pytest.approx([50.0, 50.0], abs=0.05)


def test_reads_at_one_temperature_are_no_bake() -> None:
    measurement = baked(truth(measured=((HOT[0], 3600.0),)), 100, seed=5)
    with pytest.raises(BadInputError, match="use --family relaxation"):
        bake_table(measurement)
    several = baked(truth(), 100, seed=6)
    with pytest.raises(BadInputError, match="--family bake fits several"):
        fit_measurement(several, "relaxation")
    unknown = replace(several, reads=replace(several.reads, temperature=np.full(len(several.reads), np.nan)))
    with pytest.raises(BadInputError, match="two temperatures"):
        bake_table(unknown)


def test_predictions_say_what_was_not_measured() -> None:
    measurement = baked(truth(), 300, seed=7)
    model = hwloop.fit(measurement, hold_out=("cells", "temperatures"))
    assert model.held_out["drift"].family == "bake"
    with pytest.raises(BadInputError, match="name one"):
        model.predict(3600.0, 60.0)
    within = model.predict(3600.0, 60.0, temperature=450.0)
    assert not within.extrapolates
    assert within.level_is == "before the bake"
    assert "measured from 380 to 480 K" in model.predict(3600.0, 60.0, temperature=300.0).beyond[0]
    later = model.predict(86400.0, 60.0, temperature=400.0)
    assert "time 1d: baked for 1h; how times and temperatures replace each other is assumed" in later.beyond[0]
    assert model.predict(3600.0, 300.0, temperature=400.0).extrapolates
    drawn = distribution(model.fits["drift"], 3600.0, 60.0, 450.0).sample(np.random.default_rng(1), 1_000)
    assert ks_distance(np.asarray(within.distribution.cdf(drawn))) < 1.95 / np.sqrt(1_000)
