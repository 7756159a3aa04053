"""Drift studies: how the tiles of a run are found, what is measured on them, and how the parts of a chip add up."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import hwloop
from hwloop.calibration.drift.aged_run import end_on_this_clock
from hwloop.calibration.drift.digital import ColumnAffine, GlobalFactor, Uncompensated
from hwloop.calibration.drift.monitor import Crossing, Growth, Watched
from hwloop.calibration.drift.outcome import CompensationOutcome
from hwloop.calibration.drift.outlook import Outlook, expected_error, shares
from hwloop.calibration.drift.predictive import Predicted
from hwloop.calibration.drift.refresh import Refresh
from hwloop.calibration.drift.strategy import chain, uncompensated
from hwloop.calibration.drift.study import DriftStudy
from hwloop.calibration.evaluation import relative_error
from hwloop.calibration.probes import uniform_inputs
from hwloop.errors import BadInputError
from hwloop.files.run_reader import read_run
from hwloop.files.runs import RunRecord
from tests.calibration.drift.specimen import YEAR
from tests.conftest import OpenChip, gaussian

FOUR_CORES = "sim:hermes-core?rows=32&columns=32&seed=1&cores=4"
IDEAL_CORE = "sim:pcm-ideal?rows=32&columns=16&adc_bits=20"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """A GDP-programmed matrix of 24 outputs and 60 inputs: two tiles."""
    folder = tmp_path_factory.mktemp("study")
    with hwloop.connect(FOUR_CORES) as chip:
        hwloop.program(chip, gaussian(24, 60), out=folder / "run.h5")
    return read_run(folder / "run.h5")


@pytest.fixture
def study(run: RunRecord, open_chip: OpenChip) -> DriftStudy:
    return DriftStudy(run, open_chip(FOUR_CORES))


def ideal_study(tmp_path: Path, chip: hwloop.Backend) -> DriftStudy:
    """A chip on which nothing is random and nothing drifts."""
    with hwloop.connect(IDEAL_CORE) as other:
        hwloop.program(other, gaussian(16, 32), "exact", out=tmp_path / "run.h5")
    return DriftStudy(read_run(tmp_path / "run.h5"), chip)


# ---- tiles of a run ----------------------------------------------------------------------------------------------


def test_devices_are_born_before_the_end_of_programming(study: DriftStudy, run: RunRecord) -> None:
    for tile, record in zip(study.tiles, run.tiles, strict=True):
        assert tile.age == pytest.approx(0.0, abs=1e-9)
        assert tile.forecast.born.shape == tile.forecast.devices.shape
        age = record.pulse_age.reshape(tile.forecast.born.shape)
        assert np.all(tile.forecast.born[np.isfinite(age)] == -age[np.isfinite(age)])
        assert np.all(tile.forecast.born <= 0)
        assert tile.forecast.born.min() < -10.0  # the first round, and the rests after it
        assert tile.forecast.target_age == tile.origin.target_age == run.age
        assert tile.forecast.error == record.mvm_error
        signed = np.repeat([1.0, -1.0], len(age) // 2)[:, None, None] * tile.forecast.devices
        assert signed.sum(0) == pytest.approx(tile.tile.target)
        assert tile.pulses.reached is record.reached


def test_without_a_record_of_pulses_all_devices_are_as_old_as_the_tile(run: RunRecord, open_chip: OpenChip) -> None:
    tiles = tuple(dataclasses.replace(record, pulse_age=None, amplitude=None) for record in run.tiles)
    study = DriftStudy(dataclasses.replace(run, tiles=tiles), open_chip(FOUR_CORES))
    assert all(tile.pulses is None and not tile.forecast.born.any() for tile in study.tiles)


def test_every_tile_has_probes_of_its_own(study: DriftStudy) -> None:
    assert [tile.seed for tile in study.tiles] == [(1, 0, 4), (1, 1, 4)]
    assert repr(study).startswith("<DriftStudy of 2 tiles on ")
    assert "\n" not in repr(study)


# ---- time --------------------------------------------------------------------------------------------------------


def test_the_chip_is_brought_to_an_age_and_never_past_it(study: DriftStudy) -> None:
    study.wait_until(3600.0)
    assert study.age == pytest.approx(3600.0, rel=1e-12)
    now = study.backend.now()
    study.wait_until(60.0)  # long past
    assert study.backend.now() == now


# ---- evaluation --------------------------------------------------------------------------------------------------


def test_errors_are_those_of_fresh_inputs(tmp_path: Path, open_chip: OpenChip) -> None:
    study = ideal_study(tmp_path, open_chip(IDEAL_CORE))
    (tile,) = study.tiles
    twice = dataclasses.replace(uncompensated(tile), gain=np.full(16, 2.0))
    measured = study.measure({"none": [uncompensated(tile)], "twice": [twice]})
    top = study.backend.info.input_max
    x = uniform_inputs(np.random.default_rng([1, 0, 5, int(study.age)]), 1024, 32, top)
    reference = (x / top) @ tile.tile.weights
    assert measured["none"].mvm_error == pytest.approx(relative_error(tile.outputs(x), reference), rel=1e-6)
    assert measured["twice"].mvm_error == pytest.approx(1.0, rel=1e-4)
    assert measured["twice"].tile_errors == (pytest.approx(1.0, rel=1e-4),)


def test_digital_compensations_share_probes_and_outputs(study: DriftStudy) -> None:
    study.wait_until(3600.0)
    before = study.backend.counts.mvms
    outcomes = study.evaluate([Uncompensated(), GlobalFactor(), ColumnAffine(), Predicted()])
    assert study.backend.counts.mvms - before == 2 * (256 + 1024)
    assert list(outcomes) == ["none", "global", "column", "predictive"]
    assert all(one.age == outcomes["none"].age and one.pulses == 0 for one in outcomes.values())
    assert [one.mvms for one in outcomes.values()] == [0, 512, 512, 0]


def test_a_refresh_is_tried_on_a_copy(study: DriftStudy) -> None:
    study.wait_until(YEAR)
    now, forecasts = study.backend.now(), [tile.forecast for tile in study.tiles]
    outcome = study.evaluate([Refresh()])["refresh"]
    assert outcome.pulses > 0
    assert study.backend.now() == now
    assert [tile.forecast for tile in study.tiles] == forecasts
    assert all(tile.pulsed_at == 0.0 and tile.pulses is not None for tile in study.tiles)
    assert all(tile.pulsed_at > YEAR and tile.pulses is None for tile in outcome.tiles)
    assert outcome.columns_alone.mvm_error > outcome.mvm_error
    # The columns of both tiles were calibrated at one age, although one may have needed more rounds.
    ages = [made.made.age for made in outcome.made]
    assert ages[1] - ages[0] == pytest.approx(0.0, abs=0.1)


def test_an_outcome_counts_all_tiles(study: DriftStudy) -> None:
    tiles = tuple(study.tiles)
    made = [dataclasses.replace(uncompensated(tiles[0]), valid_until=until, pulses=3, mvms=5) for until in (9.0, 7.0)]
    outcome = CompensationOutcome(0.1, (0.2, np.nan), 4.0, tuple(made), tiles)
    assert (outcome.pulses, outcome.mvms, outcome.valid_until) == (6, 10, 7.0)
    assert outcome.to_json() == {
        "mvm_error": 0.1,
        "tile_errors": [0.2, None],
        "measured_at_s": 4.0,
        "pulses": 6,
        "mvms": 10,
        "holds_until_s": 7.0,
    }


# ---- what is to come ---------------------------------------------------------------------------------------------


def part(tensor: str, first_output: int, weights: float, columns: int, error: float = 0.0) -> SimpleNamespace:
    """A tile of which only what counts in the whole is known: columns of one weight each."""
    place = SimpleNamespace(columns=columns)
    tile = SimpleNamespace(
        tensor=tensor, first_output=first_output, place=place, weights=np.full((1, columns), weights)
    )
    forecast = SimpleNamespace(mvm_error=lambda age, gain: error if gain is None else gain)
    return SimpleNamespace(tile=tile, forecast=forecast, pulsed_at=0.0)


def test_tiles_count_by_their_outputs_and_their_part_of_them() -> None:
    # Two tiles share the outputs of a, one with twice the weights: 4/5 and 1/5 of its 10 columns; b has 30 of its own.
    tiles = [part("a", 0, 2.0, 10), part("a", 0, 1.0, 10), part("b", 0, 5.0, 30)]
    assert shares(tiles) == pytest.approx(np.array([8.0, 2.0, 30.0]) / 40.0)


def test_the_error_of_a_chip_is_the_root_of_the_mean_square_of_its_tiles() -> None:
    tiles = [part("a", 0, 1.0, 10, 0.1), part("a", 10, 1.0, 30, 0.3)]
    assert expected_error(tiles)(60.0) == pytest.approx(np.sqrt(0.25 * 0.01 + 0.75 * 0.09))
    assert expected_error(tiles, 1.0)(60.0) == pytest.approx(1.0)
    tiles[1].forecast = None
    assert expected_error(tiles) is None


class Asked:
    """A monitor that remembers what it was asked."""

    def predict(self, limit, watched, expected=None, growth=None) -> Crossing:
        self.limit, self.watched, self.error, self.growth = limit, watched, expected and expected(60.0), growth
        return Crossing(limit, 1.0, 2.0, 3.0)

    def learn(self, watched, expected) -> Growth:
        self.learnt, self.before = watched, expected(60.0)
        return Growth(np.zeros(2), np.eye(2))

    def after_refresh(self, growth: Growth) -> Growth:
        return Growth(growth.mean + 7.0, growth.covariance)


def outcome_at(age: float, error: float, **rest) -> CompensationOutcome:
    return CompensationOutcome(error, (error,), age, (), rest.pop("tiles", ()), **rest)


def test_the_crossing_goes_by_all_errors_since_the_run() -> None:
    asked = Asked()
    outlook = Outlook([part("a", 0, 1.0, 4, 0.2)], 20.0, 0.05, asked)
    outcomes = [outcome_at(1.0, 0.04), outcome_at(3600.0, 0.07), outcome_at(86400.0, 0.09)]
    assert outlook.crossing(0.15, GlobalFactor(), outcomes).age == 2.0
    # One second is before the columns were calibrated, and tells nothing.
    assert asked.watched == Watched([20.0, 3600.0, 86400.0], [0.05, 0.07, 0.09], 20.0)
    assert (asked.limit, asked.error, asked.growth) == (0.15, pytest.approx(0.2), None)
    outlook.crossing(0.15, Uncompensated(), outcomes)
    assert asked.error == 1.0  # of the gain as it is, not of the best


def test_after_a_refresh_the_crossing_goes_by_the_last_and_by_what_was_learnt_before() -> None:
    asked = Asked()
    outlook = Outlook([part("a", 0, 1.0, 4, 0.2)], 20.0, 0.05, asked)
    refreshed = part("a", 0, 1.0, 4, 0.3)
    refreshed.pulsed_at = 9000.0
    last = outcome_at(9200.0, 0.06, tiles=(refreshed,), columns_alone=outcome_at(8000.0, 0.12))
    outlook.crossing(0.15, Refresh(), [outcome_at(3600.0, 0.05, columns_alone=outcome_at(3500.0, 0.08)), last])
    assert asked.learnt == Watched([20.0, 3500.0, 8000.0], [0.05, 0.08, 0.12], 20.0)
    assert asked.watched == Watched([9200.0], [0.06], 9200.0, 9000.0)
    assert (asked.before, asked.error) == (pytest.approx(0.2), pytest.approx(0.3))
    assert asked.growth.mean.tolist() == [7.0, 7.0]


def test_without_a_model_one_age_tells_nothing() -> None:
    tile = part("a", 0, 1.0, 4)
    tile.forecast = None
    outlook = Outlook([tile], 20.0, 0.05, Asked())
    assert outlook.crossing(0.15, GlobalFactor(), [outcome_at(1.0, 0.04)]) is None
    assert outlook.crossing(0.15, GlobalFactor(), [outcome_at(60.0, 0.06)]) is not None
    assert outlook.crossing(0.15, Refresh(), [outcome_at(60.0, 0.06, tiles=(tile,))]) is None


# ---- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ages", "strategies", "message"),
    [
        ([], [Uncompensated()], "at least one time and one compensation"),
        ([60.0], [], "at least one time and one compensation"),
        ([0.0], [Uncompensated()], "time 0s does not come after the end of programming"),
        ([60.0, 60.0], [Uncompensated()], "time 1min does not come after 1min"),
        ([60.0, 2e10], [Uncompensated()], "is beyond 317y"),
        ([1.0, 60.0], [Uncompensated()], r"time 1s has passed: the chip is 30s past .* of an earlier version"),
        ([60.0], [GlobalFactor(), GlobalFactor(probes=64)], "'global' is named twice"),
    ],
)
def test_what_cannot_be_had_is_refused(study: DriftStudy, ages: list[float], strategies: list, message: str) -> None:
    study.wait_until(30.0)
    with pytest.raises(BadInputError, match=message):
        study.check(ages, strategies)


def test_what_can_be_had_is_not_refused(study: DriftStudy) -> None:
    study.check([1.0, 60.0, 1e10], [Uncompensated(), Refresh(), chain([Refresh(), ColumnAffine()])])
    study.can_fork = False
    study.check([1.0], [Uncompensated(), Refresh()])
    with pytest.raises(BadInputError, match="name one compensation that changes its cells, not several"):
        study.check([1.0], [Refresh(), chain([Refresh(), ColumnAffine()])])


# ---- the clock of a real chip ------------------------------------------------------------------------------------


def clocks(chip: float, end: float, calendar: float | None) -> tuple[float, list[str]]:
    """Ask for the end of programming: the chip's clock now and then, and seconds since by the calendar."""
    utc = datetime.now(UTC) - timedelta(seconds=calendar) if calendar is not None else None
    run = SimpleNamespace(end=lambda: end, programmed_utc=utc)
    return end_on_this_clock(run, SimpleNamespace(now=lambda: chip, utc=lambda: datetime.now(UTC)))


def test_the_chips_own_clock_counts_as_long_as_it_runs() -> None:
    assert clocks(1000.0, 400.0, 600.0) == (400.0, [])
    assert clocks(1000.0, 400.0, 640.0) == (400.0, [])  # 7 % apart
    assert clocks(1000.0, 400.0, None) == (400.0, [])
    end, (note,) = clocks(1000.0, 400.0, 3600.0)
    assert end == 400.0
    assert "ended 10min ago, the calendar 1h: ages count by the chip's clock" in note
    assert len(clocks(4000.0, 400.0, 60.0)[1]) == 1


def test_the_calendar_counts_where_the_chips_clock_began_anew() -> None:
    end, (note,) = clocks(100.0, 400.0, 7200.0)
    assert end == pytest.approx(100.0 - 7200.0, abs=1.0)
    assert "by the calendar, programming ended 2h ago" in note
    for calendar in (None, -60.0):
        with pytest.raises(BadInputError, match="does not say when programming ended by the calendar"):
            clocks(100.0, 400.0, calendar)
