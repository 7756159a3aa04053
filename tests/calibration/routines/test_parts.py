"""Steps of the routines one at a time, on numbers that are known and without a chip where that can be."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import hwloop
from hwloop.calibration.routines.adc_variance import Information, clustered_sigma
from hwloop.calibration.routines.base import Budget, whole_core
from hwloop.calibration.routines.converters import ConverterCalibration, _noise_before_rounding
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.devices import DeviceCalibration
from hwloop.calibration.routines.floor import FROZEN, FloorCalibration, _floor, _residuals, _Shots, _wander
from hwloop.calibration.routines.observe import Looking, MapObserver, PulseBatch, ReadObserver
from hwloop.calibration.routines.programming_curve import CurveCalibration, _at_reference
from hwloop.calibration.routines.results import DeviceResult, Fault, TrimResult, column_gains, mean_rounded
from hwloop.calibration.routines.trims import TrimCalibration, TrimsInUse
from hwloop.calibration.routines.wires import WireCalibration
from hwloop.calibration.steps import Step, run
from hwloop.chip.cell_calibration import CellCalibration, Converters
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Place, Region
from hwloop.devices.drift import Aging
from hwloop.errors import BadInputError
from tests.calibration import made_up
from tests.calibration.specimen import lacking
from tests.conftest import OpenChip

TINY = "sim:hermes-core?rows=16&columns=12&seed=1"
IDEAL = "sim:pcm-ideal?rows=16&columns=12&seed=1"


# ---- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [DeviceCalibration, TrimCalibration, ConverterCalibration, WireCalibration, CurveCalibration, FloorCalibration],
)
def test_every_setting_is_validated(kind: type) -> None:
    for field in dataclasses.fields(kind):
        with pytest.raises(BadInputError, match=f"setting {field.name}=-1 is outside"):
            kind(**{field.name: -1})


# ---- faults --------------------------------------------------------------------------------------------------


def classified(low: float, high: float, scatter: float = 0.2, **settings: float) -> int:
    """What is said of one device among 512 good ones of 10 uS."""
    lows, highs, scatters = (np.full((2, 1, 16, 16), number) for number in (0.1, 10.0, 0.2))
    lows[1, 0, 3, 4], highs[1, 0, 3, 4], scatters[1, 0, 3, 4] = low, high, scatter
    found = DeviceCalibration(**settings).classify(lows, highs, scatters, 10.0)
    assert (np.delete(found.fault.ravel(), 256 + 3 * 16 + 4) == Fault.GOOD).all()
    assert found.typical_high == 10.0
    return int(found.fault[1, 0, 3, 4])


@pytest.mark.parametrize(
    ("low", "high", "fault"),
    [
        (0.1, 10.0, Fault.GOOD),
        (0.1, 7.1, Fault.GOOD),
        (0.1, 6.9, Fault.WEAK),
        (0.1, 2.7, Fault.WEAK),
        (0.1, 2.5, Fault.STUCK_RESET),
        (2.4, 2.5, Fault.STUCK_RESET),
        (2.6, 2.7, Fault.STUCK_SET),
        (9.0, 10.0, Fault.STUCK_SET),
        (10.0, 0.1, Fault.STUCK_SET),
    ],
)
def test_a_device_is_told_by_what_set_and_reset_left(low: float, high: float, fault: Fault) -> None:
    assert classified(low, high) == fault


def test_a_device_that_scatters_more_than_three_times_as_much_is_noisy() -> None:
    assert classified(0.1, 10.0, 0.61) == Fault.NOISY
    assert classified(0.1, 10.0, 0.59) == Fault.GOOD
    assert classified(0.1, 0.1, 0.61) == Fault.STUCK_RESET


def test_one_look_tells_no_weak_and_no_noisy_device() -> None:
    high = np.full((2, 1, 16, 16), 10.0)
    high[0, 0, 0, 0] = 5.0
    nothing = np.full_like(high, np.nan)
    assert (DeviceCalibration().classify(np.full_like(high, 0.1), high, nothing, 1.0).fault == Fault.GOOD).all()


def test_the_pattern_is_set_where_devices_add_and_reset_where_they_subtract() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.uniform(0, 1, (2, 2, 4, 5)), rng.uniform(9, 11, (2, 2, 4, 5))
    found = DeviceCalibration().classify(low, high, np.full_like(low, 0.2), 10.0)
    assert np.array_equal(found.pattern, [high[0], low[1]])
    assert found.age == 10.0


def test_gains_are_those_of_good_devices_alone() -> None:
    high = np.full((2, 1, 8, 3), 10.0) * np.array([0.9, 1.0, 1.1])
    high[0] += 0.5
    high[1] -= 0.5
    fault = np.zeros(high.shape, np.uint8)
    fault[0, 0, 0, 0], high[0, 0, 0, 0] = Fault.WEAK, 3.0
    fault[0, 0, 0, 1], high[0, 0, 0, 1] = Fault.STUCK_SET, 90.0
    found = column_gains(DeviceResult(fault, high, high, high, 10.0, 1.0))
    mean = np.array([(15 * 9.0 - 0.5) / 15, (15 * 10.0 - 0.5) / 15, 11.0])
    assert found.gain == pytest.approx(mean / mean.mean())
    assert found.devices.tolist() == [15, 15, 16]
    assert found.gain_sigma[2] == pytest.approx(0.5 * np.sqrt(16 / 15) / 4 / mean.mean())
    fault[:, :, :, 2] = Fault.STUCK_SET
    fault[0, 0, 0, 2] = Fault.GOOD
    one = column_gains(DeviceResult(fault, high, high, high, 10.0, 1.0))
    assert (one.gain[2], one.gain_sigma[2]) == (1.0, np.inf)


def test_pulses_are_the_settings_own_or_nominal(open_chip: OpenChip) -> None:
    info = open_chip(TINY).info
    curve = info.device_model.curve
    nominal = DeviceCalibration()._pulses(info)
    assert nominal.set_amplitude == pytest.approx(0.6 * curve.melt)
    assert nominal.reset_amplitude == pytest.approx(curve.midpoint + 8 * curve.steepness)
    assert (nominal.set_width, nominal.reset_width) == (info.limits.width_max, curve.width)
    own = DeviceCalibration(set_amplitude=70, set_width=500, reset_amplitude=333)._pulses(info)
    assert (own.set_amplitude, own.set_width, own.reset_amplitude) == (70, 500, 333)
    limit = DeviceCalibration(reset_amplitude=1e5)._pulses(info)
    assert limit.reset_amplitude == info.limits.amplitude_max
    with pytest.raises(BadInputError, match="a RESET pulse must be stronger than the SET pulse of 300 uA"):
        DeviceCalibration(set_amplitude=300, reset_amplitude=300)._pulses(info)


# ---- looks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ReadObserver, MapObserver])
def test_a_look_sees_what_the_pulsed_devices_conduct(open_chip: OpenChip, kind: type) -> None:
    chip = open_chip(IDEAL)
    region, aging, rng = whole_core(chip, 0), Aging(None), np.random.default_rng(0)
    before = np.random.default_rng(1).uniform(1, 20, region.shape)
    region.place_exactly(before, 1.0)
    looking = Looking(map_vectors=512)
    observer = kind(region, aging, 2.0, 4) if kind is ReadObserver else kind(region, aging, 2.0, looking, rng)
    observer.assume(before.reshape(-1))
    devices = np.array([3, 40, 200, 250])
    amplitude = np.array([230.0, 250.0, 245.0, 270.0])
    seen = run(observer.apply(PulseBatch(PulseKind.RESET, devices, amplitude, 100.0), Step(0, 1)), chip)
    true = chip._cores[0].devices.drifted(chip._relaxed()).numpy().reshape(-1)[devices]
    assert seen == pytest.approx(true, abs=0.1 if kind is ReadObserver else 0.6)  # a map rounds all sums of a column
    assert observer.seen[devices] == pytest.approx(seen)
    assert observer.age == pytest.approx(2.0, rel=0.01)
    assert np.isnan(observer.spread()).sum() == (region.size - 4 if kind is ReadObserver else region.size)


def test_unresponsive_devices_share_what_the_first_map_shows(open_chip: OpenChip) -> None:
    chip = open_chip(IDEAL)
    region = whole_core(chip, 0)
    observer = MapObserver(region, Aging(None), 0.0, Looking(), np.random.default_rng(0))
    first = np.zeros((16, 12))
    first[2, 3], first[4, 5] = 12.0, -8.0
    observer._first = first
    low = np.arange(region.size, dtype=float)
    stuck = np.zeros(region.shape, bool)
    stuck[0, :, 2, 3] = stuck[1, 0, 4, 5] = stuck[1, 0, 2, 3] = True
    found = observer.standing(low, stuck.reshape(-1)).reshape(region.shape)
    assert found[0, :, 2, 3].tolist() == [12.0 / region.shape[1]] * region.shape[1]
    assert found[1, 0, 4, 5] == 8.0
    assert found[1, 0, 2, 3] == 0.0
    np.testing.assert_array_equal(found[~stuck], low.reshape(region.shape)[~stuck])


def test_budgets_of_looks_and_routines(open_chip: OpenChip) -> None:
    chip = open_chip(TINY)
    region, without = whole_core(chip, 0), whole_core(lacking(TINY, Capability.DEVICE_READ), 0)
    assert DeviceCalibration().budget(region) == Budget(3, 8, 0)
    assert CurveCalibration(reads=5).budget(region) == Budget(2, 15, 0)
    # 32 designs of 16 vectors, before and after, for each of four devices of a cell.
    assert DeviceCalibration().budget(without) == Budget(3, 0, 2 * 512 * 2 * chip.info.devices_per_polarity * 2)
    assert ConverterCalibration().budget(region) == Budget(mvms=16 + 4096 + 2048 + 256)
    assert TrimCalibration(passes=3, idle_vectors=10).budget(region) == Budget(mvms=120)
    assert FloorCalibration(vectors=100).budget(region) == Budget(1, 0, 500)
    assert Budget(1, 2, 3) + Budget(10, 20, 30) == Budget(11, 22, 33)


def test_what_devices_showed_is_restated_without_the_gain_of_their_column(open_chip: OpenChip) -> None:
    chip = open_chip(TINY)
    found, gain = made_up.core(chip).devices, np.linspace(0.8, 1.2, 12)
    ideal = Converters(127, 127, np.zeros(12), gain, np.zeros((2, 12)), np.zeros((2, 16)))
    region = Region(chip, Place(0, 0, 0, 16, 12), calibration=CellCalibration(ideal))
    aging = Aging(chip.info.device_model.drift)
    restated = _at_reference(found, region, aging)
    np.testing.assert_allclose(restated.high, aging.at_reference(found.high / gain, found.age))
    np.testing.assert_allclose(restated.low, aging.at_reference(found.low / gain, found.age))
    assert restated.typical_high == np.median(restated.high[found.usable])


# ---- converters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.1, 0.3, 0.5, 1.0])
def test_means_of_rounded_values(noise: float) -> None:
    """Against draws; 0.3, 0.5 and 1.0 are noises whose reach ends at halves."""
    values = np.array([-3.3, -0.5, 0.0, 0.2, 2.9])
    drawn = np.rint(values + noise * np.random.default_rng(0).standard_normal((400_000, 5))).mean(0)
    assert mean_rounded(values, noise) == pytest.approx(drawn, abs=4 * 0.6 / np.sqrt(400_000) + 4 * noise / 632)


def test_noise_is_what_makes_codes_of_offsets() -> None:
    rng, offset = np.random.default_rng(0), np.linspace(-2, 2, 40)
    for noise in (0.2, 0.7, 2.0):
        codes = np.rint(offset + noise * rng.standard_normal((500, 40))).astype(int)
        assert _noise_before_rounding(codes, offset) == pytest.approx(noise, rel=0.05)
    assert np.isnan(_noise_before_rounding(np.zeros((5, 0), int), np.zeros(0)))


def information(columns: int = 2) -> tuple[Information, np.ndarray]:
    """Of columns whose shapes are exact and independent."""
    rng = np.random.default_rng(3)
    apart = rng.standard_normal((2, 4000, columns))
    normal = np.einsum("asc,bsc->cab", apart, apart)
    return Information(np.linalg.inv(normal), apart, np.ones(columns), np.zeros((2, columns))), apart


def test_errors_that_columns_share_do_not_average_out() -> None:
    told, _ = information(16)
    rng = np.random.default_rng(4)
    expected = rng.uniform(-50, 50, (4000, 16))
    alone = rng.standard_normal((4000, 16))
    every = np.ones(16, bool)
    sigma, of_mean = clustered_sigma(told, every, alone, expected, 4096)
    assert sigma == pytest.approx(np.sqrt(np.stack([told.covariance[:, 0, 0], told.covariance[:, 1, 1]])), rel=0.15)
    assert np.allclose(told.variance, [told.covariance[:, 0, 0], told.covariance[:, 1, 1]])
    assert of_mean == pytest.approx(sigma.mean(1) / 4, rel=0.3)
    # Columns that are copies: their mean is as uncertain as one.
    copies = Information(
        np.repeat(told.covariance[:1], 16, 0), np.repeat(told.apart[:, :, :1], 16, 2), told.offset, told.offset_by_order
    )
    same = np.repeat(alone[:, :1], 16, 1), np.repeat(expected[:, :1], 16, 1)
    sigma, of_mean = clustered_sigma(copies, every, *same, 4096)
    assert of_mean == pytest.approx(sigma[:, 0], rel=0.3)
    some, _ = clustered_sigma(told, np.arange(16) < 5, alone[:, :5], expected[:, :5], 4096)
    assert some.shape == (2, 5)


# ---- floor ---------------------------------------------------------------------------------------------------


def shots(fast: float, static: float, walk: float, seed: int = 0) -> tuple[np.ndarray, _Shots]:
    """Outputs (5, vectors, columns) of a linear map with noise of three kinds, and the inputs."""
    rng = np.random.default_rng(seed)
    drive = rng.uniform(-1, 1, (3000, 8))
    linear = drive @ rng.standard_normal((8, 30))
    same = static * rng.standard_normal(linear.shape)
    moments = np.array([0.0, 1.0, 10.0, 30.0, 100.0])
    slow = walk * rng.standard_normal((5, 8, 30)) * np.sqrt(np.log(np.maximum(moments, 1.0)) + 1.0)[:, None, None]
    outputs = [linear + same + drive @ slow[k] + fast * rng.standard_normal(linear.shape) for k in range(5)]
    return drive, _Shots(np.stack(outputs), moments, 0.1)


def test_fast_noise_and_what_averaging_does_not_lower_are_told_apart() -> None:
    drive, made = shots(fast=0.5, static=0.2, walk=0.0)
    one, one_sigma, mean, signal = _residuals(drive, made.outputs)
    assert one == pytest.approx(0.25 + 0.04, rel=0.02)
    assert mean == pytest.approx(0.25 / 5 + 0.04, rel=0.02)
    assert signal == pytest.approx(8 / 3, rel=0.3)
    assert 0 < one_sigma < 0.02 * one
    floor = _floor(drive, made, 1000.0, 0.1, 12.7)
    assert floor.fast_noise == pytest.approx(0.5 / np.sqrt(signal), rel=0.03)
    assert floor.static == pytest.approx(0.2 / np.sqrt(signal), rel=0.05)
    assert floor.rounding == pytest.approx(0.1 / np.sqrt(12 * signal))
    assert floor.slow_noise < 0.1 * floor.fast_noise
    total = (0.25 + 0.04) / signal
    assert floor.error == pytest.approx(np.sqrt(total / (1 + total)), rel=0.03)
    assert (floor.age, floor.full_scale) == (1000.0, 12.7)


def test_noise_grows_with_the_logarithm_of_the_lag() -> None:
    """Variances at the moments are q (ln(t / T) + 1.5) of a walk that starts anew at each."""
    rng = np.random.default_rng(5)
    moments, duration, q, start = np.array([0.0, 1.0, 10.0, 100.0, 1000.0]), 0.1, 0.04, 0.3
    lag = np.abs(moments[:, None] - moments)
    half = start + q * (np.log(np.maximum(lag / duration, 1.0)) + FROZEN)
    covariance = half.max() - np.where(lag > 0, half, 0.0)
    walks = np.linalg.cholesky(covariance) @ rng.standard_normal((5, 200_000))
    found_start, found_q, sigma = _wander(_Shots(walks.reshape(5, 2000, 100), moments, duration))
    assert found_q == pytest.approx(q, abs=4 * sigma)
    assert sigma < 0.1 * q
    assert found_start == pytest.approx(start, rel=0.05)


def test_the_floor_is_that_of_its_age() -> None:
    drive, made = shots(fast=0.3, static=0.1, walk=0.05)
    young, old = (_floor(drive, made, age, 0.1, 12.7) for age in (100.0, 1e6))
    signal = _residuals(drive, made.outputs)[3]
    _, q, _ = _wander(made)
    assert q > 0

    def total(error: float) -> float:
        return error**2 / (1 - error**2) * signal

    assert total(old.error) - total(young.error) == pytest.approx(q * np.log(1e4), rel=1e-6)


def test_a_served_chip_rests_by_the_driver_alone(open_chip: OpenChip) -> None:
    """All rests but those between the shots of the floor are steps, so that a stop is answered while devices rest."""
    chip = open_chip(TINY)
    region = whole_core(chip, 0)
    observer = ReadObserver(region, Aging(None), 7.0, 4)
    batch = PulseBatch(PulseKind.RESET, np.arange(3), np.full(3, 300.0), 100.0)
    work, before = observer.apply(batch, Step(2, 5, "a stage")), chip.now()
    step = next(work)
    assert (step.done, step.total, step.stage, step.rest) == (2, 5, "a stage", 7.0)
    assert chip.now() - before < 1.0


def test_ranges_and_wires_send_nothing() -> None:
    with hwloop.connect(TINY) as chip:
        assert WireCalibration().budget(whole_core(chip, 0)) == Budget()


def test_trims_that_are_in_the_registers_are_noted_in_one_step() -> None:
    with hwloop.connect("sim:hermes-core?rows=8&columns=8&seed=1") as chip:
        region = SimpleNamespace(backend=chip, place=SimpleNamespace(core=0))
        work = TrimsInUse().steps(SimpleNamespace(region=region, known=CoreCalibration()))  # type: ignore[arg-type]
        step = next(work)
        assert (step.done, step.total) == (0, 1)
        with pytest.raises(StopIteration) as ended:
            next(work)
        noted, there = ended.value.value.trims, TrimResult.in_use(chip, 0)
        assert np.array_equal([noted.offset, noted.gain], [there.offset, there.gain])
