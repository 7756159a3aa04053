"""GDP on a chip whose laws are not those that it was developed on, by what a calibration by MVMs found out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.routines.devices import DeviceCalibration
from hwloop.errors import BadInputError
from tests.foreign_chip import ForeignChip, Physics

PULSES = DeviceCalibration(set_amplitude=150, reset_amplitude=480)


def weights(chip: ForeignChip) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((chip.info.columns, chip.info.rows))


def test_it_comes_near_the_floor_and_calls_no_healthy_device_stuck() -> None:
    chip = ForeignChip(611, columns=64)
    known = hwloop.calibrate(chip, Plan(devices=PULSES))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # neither the currents nor the calibration are at fault
        run = hwloop.program(chip, weights(chip), "gdp", calibration=known)
    floor = hwloop.program(ForeignChip(611, columns=64), weights(chip), "exact")
    assert run.mvm_error < 1.22 * floor.mvm_error
    (tile,) = run.tiles
    assert tile.stuck_devices.sum() == 0
    assert tile.pulses_per_device < 2.2
    assert chip.counts.device_reads == 0


def test_stuck_devices_are_left_alone_and_made_up_for() -> None:
    chip = ForeignChip(613, rows=64, columns=64, physics=Physics(stuck_rate=0.02))
    known = hwloop.calibrate(chip, Plan(devices=PULSES))
    before = chip.pulse_counts(0).reshape(-1)
    run = hwloop.program(chip, weights(chip), "gdp", calibration=known)
    assert np.array_equal(chip.pulse_counts(0).reshape(-1)[chip.stuck], before[chip.stuck])
    assert not (run.tiles[0].stuck_devices.reshape(-1) & ~chip.stuck).any()


def test_without_a_model_programming_says_what_to_measure() -> None:
    chip = ForeignChip(614)
    with pytest.raises(BadInputError, match=r"none is known; measure it with hwloop calibrate all"):
        hwloop.program(chip, weights(chip), "gdp")
    assert chip.counts.pulses == 0
