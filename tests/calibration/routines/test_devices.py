"""Bad devices are found, few pulses are spent on it, and the chip is left as it says."""

from __future__ import annotations

import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.session import calibrate
from hwloop.calibration.routines.devices import DeviceCalibration
from hwloop.calibration.routines.results import Fault
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, ChipError, MissingCapabilityError
from tests.calibration.specimen import SMALL, Specimen, calibrated, lacking, specimen

CHIPS = [f"{SMALL}&stuck_rate=0.01&seed={seed}" for seed in range(4)]
SPREAD = "&adc_gain_spread=0.05&adc_offset_spread=2&adc_nonlinearity=2&dac_nonlinearity=2"


def found_and_missed(chips: list[Specimen]) -> tuple[float, float]:
    """Precision and recall of stuck devices over several chips."""
    stuck = np.concatenate([chip.device("stuck") for chip in chips], axis=None)
    flagged = np.concatenate([~chip.core.devices.usable for chip in chips], axis=None)
    return float(stuck[flagged].mean()), float(flagged[stuck].mean())


def test_stuck_devices_are_found() -> None:
    precision, recall = found_and_missed([calibrated(chip) for chip in CHIPS])
    assert precision >= 0.99
    assert recall >= 0.99


def test_stuck_devices_are_found_behind_bad_converters() -> None:
    precision, recall = found_and_missed([calibrated(chip + SPREAD, "devices") for chip in CHIPS])
    assert precision >= 0.99
    assert recall >= 0.99


def test_stuck_devices_are_found_by_mvms_alone() -> None:
    chips = [specimen(lacking(chip, Capability.DEVICE_READ), "devices") for chip in CHIPS]
    precision, recall = found_and_missed(chips)
    assert precision >= 0.99
    assert recall >= 0.99
    assert all(chip.chip.counts.device_reads == 0 for chip in chips)


def test_where_a_device_is_stuck_is_told_by_what_it_conducts() -> None:
    chip = calibrated(CHIPS[0])
    fault, conducts = chip.core.devices.fault, chip.device("g") > chip.made.device.curve.g_max / 2
    stuck = chip.device("stuck") & ~chip.core.devices.usable
    assert np.all((fault == Fault.STUCK_SET)[stuck] == conducts[stuck])
    held = chip.core.devices.stuck_at(chip.core.gains.gain)
    true = np.where(stuck, chip.device("g"), 0.0)
    # 1/f noise of 7 % stays in a read however often it is repeated: four reads of 11 uS are good to 0.8 uS.
    assert np.abs(held - true)[stuck].max() < 5 * 0.8
    assert not held[chip.core.devices.usable].any()


def test_weak_devices_are_found_and_stay_usable() -> None:
    chip = calibrated(f"{SMALL}&weak_rate=0.02&seed=5", "devices")
    weak, flagged = chip.device("weak"), chip.core.devices.fault == Fault.WEAK
    # They reach half of g_max, the limit lies at 0.7 of it, and a look is good to 7 %.
    assert flagged[weak].mean() > 0.97
    assert weak[flagged].mean() > 0.97
    assert chip.core.devices.usable[weak].all()


@pytest.mark.parametrize("without", [(), (Capability.DEVICE_READ,)])
def test_no_device_gets_more_than_six_pulses_in_a_full_calibration(without: tuple[Capability, ...]) -> None:
    chip = specimen(lacking(CHIPS[0] + SPREAD, *without))
    assert chip.chip.pulse_counts(0).max() <= 6
    stuck = ~chip.core.devices.usable
    assert chip.chip.pulse_counts(0)[stuck].max() <= 3  # found by then, and left alone


def test_the_pattern_is_what_the_devices_conduct_at_the_end() -> None:
    with hwloop.connect(f"{SMALL}&adc_gain_spread=0") as chip:
        found = calibrate(chip, Plan(("devices",))).cores[0].devices
        true = chip._cores[0].devices.drifted(chip._relaxed()).numpy().reshape(chip.info.device_shape)
    # A fully SET device drifts by up to 1 % otherwise than the model of programmed ones says.
    assert found.pattern[0].mean() == pytest.approx(true[0].mean(), rel=0.015)
    # A RESET device of 0.12 uS is read with an ADC whose step is as large; the mean over 8192 is good to 2 %.
    assert found.pattern[1].mean() == pytest.approx(true[1].mean(), rel=0.1)


@pytest.mark.parametrize("without", [(), (Capability.DEVICE_READ,)])
def test_a_dead_core_is_one_clear_line(without: tuple[Capability, ...]) -> None:
    with pytest.raises(ChipError, match=r"^core 0: no device, or hardly one .*; check power, selectors and the ampl"):
        calibrate(lacking(f"{SMALL}&stuck_rate=1", *without))


def test_dead_rows_and_columns_are_named_as_such() -> None:
    high = np.full((2, 2, 16, 16), 10.0)
    high[:, :, 3, :] = high[:, :, :, 5] = 0.1
    fault = DeviceCalibration().classify(np.full_like(high, 0.1), high, np.full_like(high, 0.1), 10.0).fault
    assert np.all(np.delete(fault[:, :, 3, :], 5, axis=-1) == Fault.DEAD_ROW)
    assert np.all(fault[:, :, :, 5] == Fault.DEAD_COLUMN)
    assert np.count_nonzero(fault) == 4 * (16 + 16 - 1)


def test_a_device_that_scatters_far_more_than_the_others_is_noisy() -> None:
    rng = np.random.default_rng(0)
    high, scatter = np.full((2, 1, 32, 32), 10.0), rng.uniform(0.2, 0.4, (2, 1, 32, 32))
    scatter[1, 0, 7, 7] = 3.0
    found = DeviceCalibration().classify(np.full_like(high, 0.1), high, scatter, 10.0)
    assert np.argwhere(found.fault == Fault.NOISY).tolist() == [[1, 0, 7, 7]]
    assert not found.usable[1, 0, 7, 7]


def test_a_chip_of_which_nothing_is_known_needs_pulses_to_try() -> None:
    unknown = lacking(SMALL, device_model=None)
    with pytest.raises(BadInputError, match=r"--set devices.set_amplitude=UA and --set devices.reset_amplitude=UA"):
        calibrate(unknown)
    assert unknown.counts.pulses == 0
    plan = Plan(("programming-curve",), devices=DeviceCalibration(set_amplitude=100, reset_amplitude=400))
    curve = calibrate(unknown, plan).cores[0].programming_curve
    # Shorter pulses heat less: 240 uA at 100 ns are 258 uA at the 20 ns that are tried here. Ten seconds after a pulse,
    # where nothing is known of drift, half-RESET devices still conduct some 20 % more, which is another 4 uA or so.
    assert curve.midpoint == pytest.approx(262, abs=4)


def test_a_chip_that_can_neither_read_nor_multiply() -> None:
    with pytest.raises(MissingCapabilityError, match="'device-read' or 'mvm', and this chip has neither"):
        calibrate(lacking(SMALL, Capability.DEVICE_READ, Capability.MVM))
