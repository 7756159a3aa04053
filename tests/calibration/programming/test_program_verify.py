"""Program-and-verify: the published residual by itself, confirmed acceptance, cells left alone."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import hwloop
from hwloop.calibration.programming import program_verify
from hwloop.calibration.programming.base import RESET_MARGIN
from hwloop.calibration.programming.program_verify import ProgramVerify, _TileDevices
from hwloop.calibration.programming.verified_devices import VerifiedDevices, verify_noise
from hwloop.calibration.steps import run
from hwloop.chip.cell_calibration import CellCalibration, Devices
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.devices.drift import DriftModel
from hwloop.devices.statistics import Polynomial
from hwloop.errors import BadInputError, ProgrammingWarning
from hwloop.jobs.program import program
from hwloop.mapping.partition import map_weights
from hwloop.mapping.split_table import SplitTable
from tests.calibration.programming.scripted import ScriptedRegion, device_model, tile_of
from tests.conftest import OpenChip, gaussian


def published_sigma_prog(g: np.ndarray) -> np.ndarray:
    """Joshi et al., Nature Communications 11, 2473 (2020): residual 25 s after programming, uS, g = G / 25 uS."""
    return 0.26348 + 1.9650 * g - 1.1731 * g**2


def test_leaves_the_published_residual_on_the_million_device_array(open_chip: OpenChip) -> None:
    chip = open_chip("sim:pcm-90nm?seed=1&adc_bits=12")
    weights = np.random.default_rng(1).uniform(-1, 1, (256, 256))
    tile = map_weights(hwloop.matrices({"w": weights}), chip.info)[0]
    region = Region(chip, tile.place, tile.full_scale)
    run(ProgramVerify(averages=500).steps(region, tile, 25.0, np.random.default_rng(1)), chip)
    chip.wait(25.0)

    target = tile.device_targets(chip.info).reshape(-1)
    loaded = np.flatnonzero(target > 0)
    residual = chip.read(0, loaded, 500) - target[loaded]

    g = target[loaded] / 25.0
    bins = np.minimum((10 * g).astype(int), 9)
    for k in range(10):
        here = bins == k  # about 6 500 devices: the standard error of a standard deviation is 0.9 %
        expected = np.sqrt(np.mean(published_sigma_prog(g[here]) ** 2))
        assert 0.75 < residual[here].std() / expected < 1.25, f"bin {k}"


def test_reads_more_and_ends_worse_than_the_floor_by_read_noise(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?seed=1&rows=64&columns=64")
    done = program(chip, hwloop.matrices({"w": gaussian(64, 64)}), "iterative")
    core = done.tiles[0].to_json()
    assert core["device_reads"] > 16 * core["devices"] / 2
    assert done.mvm_error < 0.7 * core["mvm_error_before"]


def test_a_cell_that_will_not_converge_is_recorded_and_not_hit_harder(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?seed=2&stuck_rate=0.05&rows=32&columns=32")
    method = ProgramVerify(max_pulses_per_device=6)
    core = program(chip, hwloop.matrices({"w": gaussian(32, 32)}), method).tiles[0].to_json()
    assert core["max_pulses_on_a_device"] <= 6
    assert core["unconverged_cells"] > 0
    assert core["stuck_cells"] > 0


def test_stuck_devices_are_named_and_no_other(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?seed=2&stuck_rate=0.05&rows=32&columns=32")
    tile = program(chip, hwloop.matrices({"w": gaussian(32, 32)}), "iterative").tiles[0]
    truly = chip._cores[0].devices.stuck.numpy().reshape(tile.pulses.shape)  # chips cannot say so, but the simulator
    loaded = truly & (tile.tile.device_targets(chip.info) > 0.1 * chip.info.g_max)
    assert tile.stuck_devices is not None
    assert not np.any(tile.stuck_devices & ~truly)
    assert tile.stuck_devices[loaded].mean() > 0.85  # 93 % of many; 85 of a hundred is three standard deviations less
    assert np.array_equal(tile.stuck, tile.stuck_devices.any((0, 1)))


def test_a_tolerance_below_the_read_noise_is_refused_with_the_noise(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?rows=32&columns=32")
    with pytest.raises(BadInputError, match=r"tolerance=0.01 uS is below the read noise of 0\.\d+ uS"):
        program(chip, hwloop.matrices({"w": gaussian(32, 32)}), ProgramVerify(tolerance=0.01))
    assert chip.counts.pulses == 0


def test_negative_reads_never_cause_a_pulse_that_the_true_value_would_not_have(
    open_chip: OpenChip, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Converter noise of 20 LSB makes many reads of empty devices negative.
    chip = open_chip("sim:hermes-core?rows=32&columns=32&adc_noise=20")
    curve = chip.info.device_model.curve
    empty = curve.midpoint + RESET_MARGIN * curve.steepness
    counted, look, fire = Counter(), VerifiedDevices._look, VerifiedDevices._fire
    last = np.full(chip.info.devices_per_core, np.inf)

    def looked(devices, active, averages):
        value, now = look(devices, active, averages)
        last[active] = value
        return value, now

    def fired(devices, active, amplitude, width):
        low = last[active] <= 0
        counted["after a read of nothing"] += int(low.sum())
        counted["of an empty device"] += int((low & (devices.target[active] <= 3.0)).sum())
        # The devices still remember the amplitude of their pulse before this one.
        counted["at rising amplitude"] += int((low & (amplitude >= devices._amplitude[active])).sum())
        counted["beyond what empties"] += int((low & (amplitude > empty)).sum())
        last[active] = np.inf
        return fire(devices, active, amplitude, width)

    monkeypatch.setattr(VerifiedDevices, "_look", looked)
    monkeypatch.setattr(VerifiedDevices, "_fire", fired)
    program(chip, hwloop.matrices({"w": gaussian(32, 32)}), ProgramVerify(averages=1, tolerance=3.0))
    assert counted["after a read of nothing"] > 0
    assert counted["of an empty device"] == counted["at rising amplitude"] == counted["beyond what empties"] == 0


# ---- the targets of the devices of a cell ------------------------------------------------------------------------


def tile_devices(target: float, split: str = "fill", bad: float | None = None) -> tuple[_TileDevices, ScriptedRegion]:
    """One cell of two devices per polarity, of at most 20 uS each; the first positive one may be stuck at `bad`."""
    region = ScriptedRegion()
    region.shape, region.size = (2, 2, 1, 1), 4
    known = Devices.nominal(device_model(), region.shape)
    if bad is not None:
        known.usable[0, 0], known.stuck_at[0, 0] = False, bad
    shares = np.array([[0.0, 9.0, 20.0], [0.0, 5.0, 20.0]])  # of targets of 0, 14 and 40 uS
    table = SplitTable(shares.sum(0), shares, np.zeros(3)) if split == "auto" else None
    tile = replace(tile_of(region, np.array([[target]])), split=split, table=table)
    return _TileDevices(region, known, tile, 100.0, ProgramVerify(unresponsive_pulses=1)), region


def test_the_open_loop_pass_sends_every_device_to_its_share_of_the_target() -> None:
    devices, region = tile_devices(14.0)
    assert devices.program_open_loop() == 4
    assert devices.target.tolist() == [14.0, 0.0, 0.0, 0.0]
    sent, amplitude = region.pulses[0]
    assert sent.tolist() == [0, 1, 2, 3]
    assert amplitude == pytest.approx([device_model().curve.amplitude(np.float64(14.0)), 180.0, 180.0, 180.0])


def test_the_first_device_stays_low_and_the_second_fills_up_what_it_lacks() -> None:
    devices, _ = tile_devices(14.0)
    assert devices.aim(0, reserve=1.0).tolist() == [0, 2]
    assert devices.target.tolist() == [13.0, 0.0, 0.0, 0.0]
    devices.value[:] = [12.2, 0.0, 0.0, 0.0]
    assert devices.aim(1, reserve=0.0).tolist() == [1, 3]
    assert devices.target == pytest.approx([13.0, 1.8, 0.0, 0.0])


@pytest.mark.parametrize(("wanted", "first"), [(2.1, 1.1), (1.9, 1.9), (30.0, 20.0)])
def test_a_small_target_is_not_halved_and_a_large_one_is_capped(wanted: float, first: float) -> None:
    devices, _ = tile_devices(-wanted)
    devices.aim(0, reserve=1.0)
    assert devices.target == pytest.approx([0.0, 0.0, first, 0.0])


def test_sharing_evenly_leaves_the_other_half_to_the_second_device() -> None:
    devices, _ = tile_devices(14.0, split="even")
    devices.aim(0, reserve=0.0)
    assert devices.target == pytest.approx([7.0, 0.0, 0.0, 0.0])
    devices.value[:] = [6.0, 0.0, 0.0, 0.0]
    devices.aim(1, reserve=0.0)
    assert devices.target[1] == pytest.approx(8.0)


def test_a_tabulated_device_leaves_to_later_ones_what_is_planned_for_them() -> None:
    devices, _ = tile_devices(14.0, split="auto")
    assert devices.program_open_loop() == 4
    assert devices.target.tolist() == [9.0, 5.0, 0.0, 0.0]
    devices.aim(0, reserve=1.0)
    assert devices.target.tolist() == [9.0, 5.0, 0.0, 0.0]  # the later one has room to make up for either side
    devices.value[:] = [8.2, 0.0, 0.0, 0.0]
    devices.aim(1, reserve=0.0)
    assert devices.target[1] == pytest.approx(5.8)


def test_what_a_stuck_device_conducts_is_made_up_for() -> None:
    devices, region = tile_devices(14.0, bad=5.0)
    assert devices.program_open_loop() == 3
    assert 0 not in region.pulses[0][0]
    assert devices.aim(0, reserve=0.0).tolist() == [2]
    assert devices.aim(1, reserve=0.0).tolist() == [1, 3]
    assert devices.target[1] == pytest.approx(9.0)


def test_a_cell_reports_devices_given_up_and_devices_that_do_not_answer() -> None:
    devices, _ = tile_devices(14.0)
    for give_up, streak, gave_up, stuck in ([], 0, False, []), ([3], 0, True, []), ([], 1, True, [1]):
        devices.give_up(np.array(give_up, int))
        devices.streak[1] = streak
        cells, unresponsive = devices.outcome()
        assert cells.tolist() == [[gave_up]]
        assert np.flatnonzero(unresponsive).tolist() == stuck


def test_the_tolerance_is_that_of_the_setting_or_the_default_or_the_read_noise() -> None:
    region = ScriptedRegion()
    quiet, loud = device_model(read_noise=0.01), device_model(read_noise=0.5)
    tile = tile_of(region, np.array([[10.0]]))
    assert ProgramVerify()._tolerance(quiet, tile, 20.0, 1.0) == pytest.approx(0.5)  # 2.5 % of 20 uS
    noise = float(verify_noise(loud, np.array([10.0]), 16, 0.05)[0])
    assert noise > 0.5
    assert ProgramVerify()._tolerance(loud, tile, 20.0, 1.0) == pytest.approx(noise)
    assert ProgramVerify(tolerance=3.0)._tolerance(loud, tile, 20.0, 1.0) == 3.0


# ---- steps -------------------------------------------------------------------------------------------------------


def test_steps_count_up_rest_before_each_verification_and_end_without_a_rest(open_chip: OpenChip) -> None:
    chip = open_chip("sim:hermes-core?seed=2&rows=32&columns=32")
    done = program(chip, hwloop.matrices({"w": gaussian(32, 32)}), ProgramVerify(max_steps=3, settle=0.1), age=100.0)
    steps = done.tiles[0].steps
    assert len(steps.pulses) == 7  # three for each of two devices, and the end
    np.testing.assert_allclose(np.diff(steps.chip_time), 10.0, atol=0.5)
    assert steps.pulses[0] == done.tiles[0].to_json()["devices"]
    assert np.all(steps.pulses > 0)
    # What the monitor shows falls; it looks before columns are calibrated, and so shows more than what is left.
    assert done.mvm_error < steps.mvm_error[-1] < 0.6 * steps.mvm_error[0]


# ---- currents that are off -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["pcm-90nm", "hermes-core"])
@pytest.mark.parametrize("error", [-0.2, 0.2])
def test_currents_that_are_off_are_found_and_hardly_cost_anything(
    open_chip: OpenChip, preset: str, error: float
) -> None:
    uri = f"sim:{preset}?seed=31&rows=64&columns=48"
    nominal = program(open_chip(uri), gaussian(48, 64), "iterative")
    with pytest.warns(ProgrammingWarning, match=rf"currents (19|20|21)\.\d% {'higher' if error > 0 else 'lower'}"):
        found = program(open_chip(f"{uri}&current_error={error}"), gaussian(48, 64), "iterative")
    assert found.mvm_error < 1.2 * nominal.mvm_error
    assert found.tiles[0].pulses_per_device < 3.5
    assert found.tiles[0].stuck.sum() <= 1


def test_a_nominal_chip_is_not_warned_of(open_chip: OpenChip) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ProgrammingWarning)
        for seed in range(41, 45):
            program(
                open_chip(f"sim:pcm-90nm?seed={seed}&rows=24&columns=16&stuck_rate=0.01"), gaussian(16, 24), "iterative"
            )


def test_a_calibration_that_the_first_reads_contradict_stops_the_run(open_chip: OpenChip) -> None:
    chip = open_chip("sim:pcm-90nm?seed=5&rows=24&columns=16&current_error=0.15")
    tile = map_weights(hwloop.matrices({"w": gaussian(16, 24)}), chip.info)[0]
    known = Devices.nominal(chip.info.device_model, (2, 1, 24, 16))
    region = Region(chip, tile.place, tile.full_scale, CellCalibration(devices=known))
    with pytest.raises(BadInputError, match=r"needs? currents 1[45]\.\d% higher than the calibration says"):
        run(ProgramVerify().steps(region, tile, 20.0, np.random.default_rng(0)), chip)
    assert chip.counts.pulses == 2 * 24 * 16  # the open-loop pass


def test_a_calibration_that_is_a_little_off_is_corrected_with_a_warning(open_chip: OpenChip) -> None:
    chip = open_chip("sim:pcm-90nm?seed=5&rows=48&columns=32&current_error=0.035")
    tile = map_weights(hwloop.matrices({"w": gaussian(32, 48)}), chip.info)[0]
    known = Devices.nominal(chip.info.device_model, (2, 1, 48, 32))
    region = Region(chip, tile.place, tile.full_scale, CellCalibration(devices=known))
    with pytest.warns(ProgrammingWarning, match="than the calibration says"):
        run(ProgramVerify().steps(region, tile, 20.0, np.random.default_rng(0)), chip)


def test_stuck_devices_that_are_far_off_target_are_named(open_chip: OpenChip) -> None:
    chip = open_chip("sim:pcm-90nm?seed=11&rows=96&columns=64&stuck_rate=0.02")
    tile_record = program(chip, gaussian(64, 96), "iterative").tiles[0]
    devices = chip._cores[0].devices
    stuck = devices.stuck.numpy().reshape(2, 1, 96, 64)
    target = tile_record.tile.device_targets(chip.info)
    far = stuck & (target > 0) & (np.abs(devices.g.numpy().reshape(stuck.shape) - target) > 0.1 * chip.info.g_max)
    assert far.sum() > 60
    assert tile_record.stuck[far.any((0, 1))].mean() > 0.9  # 95 %, less 3 binomial deviations of some 100 devices
    assert tile_record.stuck[~stuck.any((0, 1))].sum() <= 3


def test_stuck_devices_that_hold_a_tenth_of_the_range_are_named_one_by_one(open_chip: OpenChip) -> None:
    """A device found not to answer stays named, however noisy the reads that follow are."""
    named, loaded = 0, 0
    for seed in (23, 24):
        chip = open_chip(f"sim:hermes-core?seed={seed}&rows=96&columns=64&stuck_rate=0.02")
        record = program(chip, gaussian(64, 96), "iterative").tiles[0]
        stuck = chip._cores[0].devices.stuck.numpy().reshape(chip.info.device_shape)
        held = stuck & (record.tile.device_targets(chip.info) > 0.1 * chip.info.g_max)
        named, loaded = named + int(record.stuck_devices[held].sum()), loaded + int(held.sum())
        assert record.stuck_devices[~stuck].sum() <= 2
    assert loaded > 300
    assert named > 0.95 * loaded


def test_the_monitor_expects_of_young_devices_what_they_will_still_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 10 s a device is higher than at its target moment: both outputs and their reference are those of now."""
    region = ScriptedRegion(rows=2)
    region.backend.info = replace(region.backend.info, capabilities=frozenset({Capability.MVM}))
    model = replace(device_model(), drift=DriftModel(1.0, 20.0, Polynomial((0.1,)), Polynomial((0.0,))))
    tile = tile_of(region, np.array([[10.0], [-4.0]]))
    devices = _TileDevices(region, Devices.nominal(model, region.shape), tile, 1000.0, ProgramVerify())
    devices.program_open_loop()
    region.clock, expected = 10.0, []
    monkeypatch.setattr(program_verify, "calibrate_columns", lambda region, weights, *rest: expected.append(weights))
    monkeypatch.setattr(
        program_verify,
        "measure_outputs",
        lambda region, weights, *rest: SimpleNamespace(mvm_error=float(weights.sum())),
    )
    error = devices.monitor(np.random.default_rng(0), 64)
    left = 10.0**-0.1 / 1000.0**-0.1
    assert expected[0] == pytest.approx(left * tile.weights)
    assert error == pytest.approx(left * tile.weights.sum())
