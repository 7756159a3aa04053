"""Strategies against injected truth and against sums done by hand, and how they follow one another."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.linalg import hadamard

from hwloop.calibration.drift.compensation import Circumstances, Compensation
from hwloop.calibration.drift.digital import ColumnAffine, GlobalFactor, Uncompensated, common_factor, shrunk
from hwloop.calibration.drift.predictive import Predicted
from hwloop.calibration.drift.refresh import Refresh
from hwloop.calibration.drift.registry import compensation_from, compensation_names
from hwloop.calibration.drift.strategy import chain, uncompensated
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, MissingCapabilityError
from hwloop.mapping.columns import ColumnCorrection
from tests.calibration.drift.specimen import (
    IDEAL,
    NOISY,
    YEAR,
    error_of,
    programmed,
    programmed_tile,
)
from tests.conftest import OpenChip


def test_a_factor_on_all_outputs_is_found(open_chip: OpenChip) -> None:
    run = programmed(open_chip(IDEAL), "exact")
    true = run.tiles[0].correction
    tile = programmed_tile(run, correction=ColumnCorrection(true.gain / 0.8, true.offset / 0.8))
    made = GlobalFactor().make(tile, uncompensated(tile))
    # 20-bit converters and 8-bit inputs that are known exactly leave nothing but rounding.
    assert made.gain == pytest.approx(np.full(16, 0.8), rel=1e-5)
    assert not made.offset.any()


def test_gain_and_offset_of_every_column_are_found(open_chip: OpenChip) -> None:
    run = programmed(open_chip(IDEAL), "exact")
    true, rng = run.tiles[0].correction, np.random.default_rng(3)
    gain, offset = 1.0 + 0.05 * rng.standard_normal(16), 0.3 * rng.standard_normal(16)
    # outputs = (truth - offset) / gain, so that the compensation must be (gain, offset) again
    tile = programmed_tile(run, correction=ColumnCorrection(true.gain / gain, (true.offset - offset) / gain))
    made = ColumnAffine().make(tile, uncompensated(tile))
    assert made.gain == pytest.approx(gain, rel=1e-4)
    assert made.offset == pytest.approx(offset, abs=1e-3)


def test_few_probes_do_not_make_columns_worse_than_the_global_factor(open_chip: OpenChip) -> None:
    chip = open_chip(NOISY + "&seed=2")
    run = programmed(chip)
    chip.wait(86400.0)
    columns, raw = [], []
    for seed in range(12):
        tile = programmed_tile(run, seed=seed)
        common = GlobalFactor(probes=8).make(tile, uncompensated(tile))
        made = ColumnAffine(probes=8).make(tile, uncompensated(tile))
        now, then = tile.probe(8)
        # The plain fit of each column, which eight vectors cannot support.
        gain, offset = np.array([np.polyfit(now[:, j], then[:, j], 1) for j in range(64)]).T
        alone = dataclasses.replace(made, gain=gain, offset=offset)
        columns.append(error_of(tile, made) / error_of(tile, common))
        raw.append(error_of(tile, alone) / error_of(tile, common))
    # The mean of twelve trials, each scattering by some 0.5 %: 3 sigma are 0.4 %.
    assert np.mean(columns) < 1.004
    assert np.mean(raw) > 1.05


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("preset", ["hermes-core", "pcm-90nm"])
def test_the_order_of_compensations_at_every_age(open_chip: OpenChip, preset: str, seed: int) -> None:
    chip = open_chip(f"sim:{preset}?rows=64&columns=64&seed={seed}")
    run = programmed(chip, seed=seed)
    for wait in (3600.0, 86400.0, YEAR):
        chip.wait(wait)
        tile = programmed_tile(run)
        none = uncompensated(tile)
        error = {s.name: error_of(tile, s.make(tile, none)) for s in (GlobalFactor(), ColumnAffine(), Predicted())}
        # All see other read noise of the same outputs: 1/sqrt(2 * 1024 * 64) = 0.3 % each, 3 sigma of a ratio 1.2 %.
        assert error["global"] < error_of(tile, none)
        assert error["column"] <= error["global"] * 1.012
        assert error["predictive"] <= error["global"] * 1.10


def test_the_record_of_pulses_tells_how_far_devices_drift(open_chip: OpenChip) -> None:
    """What GDP leaves on the devices of a cell drifts less than targets that are split as the table has it."""
    chip = open_chip("sim:hermes-core?rows=64&columns=64&seed=6")
    run = programmed(chip)
    chip.wait(YEAR)
    tile = programmed_tile(run)
    measured = GlobalFactor().make(tile, uncompensated(tile)).gain.mean()
    told = Predicted().make(tile, uncompensated(tile)).gain.mean()
    without = dataclasses.replace(tile, pulses=None)
    split = Predicted().make(without, uncompensated(without)).gain.mean()
    assert split > 1.03 * measured
    assert told == pytest.approx(measured, rel=0.02)


def test_probes_are_measured_once_for_all(open_chip: OpenChip) -> None:
    chip = open_chip(NOISY)
    tile = programmed_tile(programmed(chip, "exact"))
    before = chip.counts.mvms
    for strategy in (GlobalFactor(), ColumnAffine(), chain([GlobalFactor(), ColumnAffine()])):
        strategy.make(tile, uncompensated(tile))
    assert chip.counts.mvms - before == GlobalFactor.probes


def test_chains_build_on_what_came_before(open_chip: OpenChip) -> None:
    chip = open_chip(NOISY)
    run = programmed(chip)
    chip.wait(YEAR)
    tile = programmed_tile(run)
    none = uncompensated(tile)
    made = chain([Predicted(), ColumnAffine()]).make(tile, none)
    assert made.name == "predictive+column"
    assert error_of(tile, made) < error_of(tile, Predicted().make(tile, none)) * 1.01


def test_what_changes_the_chip_comes_first() -> None:
    with pytest.raises(BadInputError, match=r"write 'refresh\+column'"):
        chain([ColumnAffine(), Refresh()])
    assert chain([Refresh(), ColumnAffine()]).changes_chip


def test_what_a_chip_lacks_is_said(open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = open_chip(NOISY)
    tile = programmed_tile(programmed(chip, "exact"))
    tile.forecast = None
    with pytest.raises(BadInputError, match="needs a drift model"):
        Predicted().check(tile)
    assert GlobalFactor().make(tile, uncompensated(tile)).valid_until == np.inf
    monkeypatch.setattr(
        chip, "_info", dataclasses.replace(chip.info, capabilities=chip.info.capabilities - {Capability.MVM})
    )
    with pytest.raises(MissingCapabilityError, match="mvm"):
        GlobalFactor().check(tile)


# ---- sums done by hand -------------------------------------------------------------------------------------------


def test_the_common_factor_is_that_of_least_squares() -> None:
    now, then = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[2.0, 4.0], [6.0, 9.0]])
    assert common_factor(now, then) == pytest.approx((2 + 8 + 18 + 36) / (1 + 4 + 9 + 16))
    assert common_factor(0 * now, then) == 1.0


def test_deviations_are_shrunk_by_the_spread_that_noise_does_not_explain() -> None:
    deviation, variance = np.array([3.0, -1.0, 2.0, -2.0]), np.ones(4)
    # Mean square 4.5, less the noise of 1, less the standard error sqrt(2 / 4) of such a difference.
    spread = 4.5 - 1.0 - np.sqrt(0.5)
    assert shrunk(deviation, variance) == pytest.approx(deviation * spread / (spread + 1))
    # A variance below the mean of all counts as the mean; one above counts as it is.
    variance = np.array([0.5, 0.5, 0.5, 2.5])
    kept = np.array([1.0, 1.0, 1.0, 2.5])
    spread = 4.5 - kept.mean() - np.sqrt(0.5) * kept.mean()
    assert shrunk(deviation, variance) == pytest.approx(deviation * spread / (spread + kept))


def test_deviations_that_are_noise_are_gone_and_exact_ones_stay() -> None:
    deviation = np.array([0.5, -0.5, 0.4, -0.4])
    assert shrunk(deviation, np.ones(4)).tolist() == [0.0] * 4
    assert shrunk(deviation, np.zeros(4)) == pytest.approx(deviation)


def test_a_chain_multiplies_gains_and_carries_offsets(open_chip: OpenChip) -> None:
    tile = programmed_tile(programmed(open_chip(IDEAL), "exact"))
    first = GlobalFactor().extend(uncompensated(tile), tile, 2.0, 3.0, vectors=10)
    both = ColumnAffine().extend(first, tile, 5.0, 0.5, vectors=20)
    outputs = np.ones((1, 16))
    assert both.apply(outputs) == pytest.approx(5.0 * (2.0 * outputs + 3.0) + 0.5)
    assert (first.name, both.name, both.mvms) == ("global", "global+column", 30)
    assert (both.made.vectors, both.made.inputs) == (20, "uniform integers")
    assert GlobalFactor().extend(first, tile, 1.0).made.inputs == "none"


def test_settings_are_fields(open_chip: OpenChip) -> None:
    tile = programmed_tile(programmed(open_chip(NOISY), "exact"))
    start = uncompensated(tile)
    short, long = (Uncompensated(growth=growth).make(tile, start) for growth in (0.05, 0.5))
    assert tile.age < short.valid_until < long.valid_until
    assert "5%" in short.because
    assert dataclasses.asdict(GlobalFactor(probes=64)) == {"growth": 0.10, "probes": 64}
    with pytest.raises(BadInputError, match="setting probes=2 is outside 3 to"):
        ColumnAffine(probes=2)


# ---- names -------------------------------------------------------------------------------------------------------


def test_strategies_are_found_by_name() -> None:
    assert compensation_names()[:6] == ["none", "global", "column", "predictive", "batchnorm", "refresh"]
    assert compensation_from("global", probes=32) == GlobalFactor(probes=32)
    assert compensation_from("predictive", probes=32) == Predicted()
    assert compensation_from("refresh+column", probes=64) == chain([Refresh(probes=64), ColumnAffine(probes=64)])


@pytest.mark.parametrize("text", ["refesh", "column+refesh", "refesh+none"])
def test_an_unknown_name_is_refused_with_what_may_be_meant(text: str) -> None:
    message = (
        r"'refesh' is unknown; did you mean 'refresh'\? "
        "known: none, global, column, predictive, batchnorm, refresh, joined by"
    )
    with pytest.raises(BadInputError, match=message):
        compensation_from(text)


class Probed:
    """A tile of which only the outputs of its probes, now and then, are known."""

    forecast = None

    def __init__(self, now: np.ndarray, then: np.ndarray) -> None:
        self._outputs = now, then

    def probe(self, vectors: int) -> tuple[np.ndarray, np.ndarray]:
        return self._outputs

    def probe_shares(self, vectors: int) -> np.ndarray:
        return np.ones(len(self._outputs[0]))

    def circumstances(self, vectors: int = 0) -> Circumstances:
        return Circumstances(datetime(2026, 1, 1, tzinfo=UTC), 0.0, 60.0, None, vectors=vectors)


def test_gain_and_offset_of_columns_are_shrunk_towards_the_common_factor() -> None:
    """Residuals that are orthogonal to the outputs, and all of one size, make every fit exact by hand."""
    design = hadamard(8).astype(float)
    mean, swing, residual = np.array([1.0, 2.0, -1.0]), np.array([3.0, 2.0, 4.0]), np.array([0.3, 0.2, 0.4])
    gain, offset = np.array([1.3, 0.8, 1.1]), np.array([0.5, -0.6, 0.2])
    now = mean + swing * design[:, [1]]
    then = gain * now + offset + residual * design[:, [2]]
    start = Compensation("none", np.ones(3), np.zeros(3), Probed(now, then).circumstances())
    made = ColumnAffine(probes=8).make(Probed(now, then), start)

    common = (now * then).sum() / (now**2).sum()
    noise = 8 * residual**2 / (8 - 2)
    kept = 1 + shrunk(gain / common - 1, noise / (common**2 * 8 * (mean**2 + swing**2)))
    shift = offset + (gain / common - 1) * common * mean
    assert made.gain == pytest.approx(common * kept, rel=1e-9)
    assert made.offset == pytest.approx(shrunk(shift, noise / 8) - (kept - 1) * common * mean, rel=1e-9)
    assert np.all(kept != gain / common)
    # On top of what came before: of outputs that are half as large and shifted, the same comes out.
    half = dataclasses.replace(start, name="global", gain=np.full(3, 2.0), offset=np.full(3, -1.0))
    again = ColumnAffine(probes=8).make(Probed((now + 1.0) / 2, then), half)
    assert again.gain == pytest.approx(2.0 * made.gain, rel=1e-9)
    assert again.offset == pytest.approx(made.offset - made.gain, rel=1e-9)


def test_a_column_without_outputs_keeps_the_common_gain() -> None:
    now = np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [-2.0, 0.0]])
    start = Compensation("none", np.ones(2), np.zeros(2), Probed(now, now).circumstances())
    made = ColumnAffine(probes=4).make(Probed(now, 1.5 * now), start)
    assert made.gain[1] == pytest.approx(1.5, rel=0.2)
    assert made.apply(now)[:, 1] == pytest.approx(np.zeros(4), abs=1e-12)
