"""Curve and drift by MVMs alone: whatever the core held before, and from whichever age on its devices drift."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.session import calibrate
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.devices import DeviceCalibration
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.region import Place
from hwloop.devices.drift import PUBLISHED_DRIFT
from tests.calibration.specimen import lacking
from tests.foreign_chip import ForeignChip, Physics

SIMULATED = "sim:pcm-90nm?rows=64&columns=64&stuck_rate=0.01"
PARTS = ("devices", "adc", "programming-curve")
PULSES = DeviceCalibration(set_amplitude=150, reset_amplitude=480)
"""To try on a chip that tells nothing of its devices."""


def used(chip: Backend) -> Backend:
    """Leave the devices of a chip anywhere on their curves, as a network does that was on it."""
    rng, limits = np.random.default_rng(3), chip.info.limits
    amplitude = rng.uniform(0.4, 0.8, chip.info.devices_per_core) * limits.amplitude_max
    every = np.arange(chip.info.devices_per_core)
    chip.pulse(0, Pulses.make(PulseKind.RESET, every, amplitude, max(limits.width_min, 100.0)))
    chip.wait(1000.0)
    return chip


def known_of(chip: Backend) -> CoreCalibration:
    return calibrate(chip, Plan(PARTS, devices=PULSES) if chip.info.device_model is None else Plan(PARTS)).cores[0]


@pytest.mark.parametrize("onset", [0.0, 1.0])
@pytest.mark.parametrize("seed", [11, 12])
def test_a_used_core_is_calibrated_as_a_new_one(seed: int, onset: float) -> None:
    chip = used(lacking(f"{SIMULATED}&seed={seed}&drift_onset={onset}", Capability.DEVICE_READ))
    core, devices = known_of(chip), chip._cores[0].devices
    stuck = devices.stuck.numpy().reshape(chip.info.device_shape)
    assert np.array_equal(~core.devices.usable, stuck)
    curve, nominal = core.programming_curve, chip.info.device_model.curve
    # 8192 devices, of which no two are alike: by their spread alone the mean curve is uncertain by about 1 %.
    assert curve.g_max == pytest.approx(nominal.g_max, rel=0.03)
    assert curve.midpoint == pytest.approx(nominal.midpoint, abs=2.0)
    assert curve.steepness == pytest.approx(nominal.steepness, rel=0.06)


@pytest.mark.parametrize("onset", [0.0, 1.0])
def test_onset_and_exponents_of_the_drift_are_found(onset: float) -> None:
    chip = lacking(f"{SIMULATED}&seed=13&drift_onset={onset}", Capability.DEVICE_READ)
    found, law = known_of(chip).drift, chip.info.device_model.drift
    assert (found.first_look, found.last_look) == (pytest.approx(0.01, rel=0.1), pytest.approx(20.0, rel=0.01))
    assert found.onset == pytest.approx(onset, abs=4 * found.onset_sigma)
    assert found.onset_sigma < max(0.1 * onset, 0.01)
    for name, g in (("middle", 0.3), ("upper", 0.6), ("high", 1.0)):
        nu, sigma = getattr(found, f"nu_{name}"), getattr(found, f"nu_{name}_sigma")
        assert nu == pytest.approx(law.mean(np.array(g)), abs=4 * sigma)
        assert sigma < 0.003
    model = found.model(PUBLISHED_DRIFT)
    assert model.law.onset * 20.0 == pytest.approx(found.onset)
    assert model.mean(np.array(0.6)) == pytest.approx(found.nu_upper)


def test_curve_and_drift_of_a_chip_of_other_physics() -> None:
    chip = used(ForeignChip(5))
    core, physics = known_of(chip), chip.physics
    curve, law = core.programming_curve, core.drift.model(PUBLISHED_DRIFT)
    assert core.devices.usable.all()
    fallen = 1.0 - physics.drift * np.log1p(20.0 / physics.onset)
    assert curve.g_max == pytest.approx(fallen * physics.g_top, rel=0.02)
    assert curve.midpoint == pytest.approx(physics.middle, rel=0.01)
    assert curve.midpoint_spread == pytest.approx(physics.middle_spread * physics.middle, rel=0.1)
    assert curve.height_spread == pytest.approx(physics.top_spread, abs=0.02)
    error = core.programming_curve.shift - (chip.middle.reshape(chip.info.device_shape) - curve.midpoint)
    assert np.sqrt(np.mean(error**2)) < 0.8 * curve.midpoint_spread
    # A law in the logarithm of time is none of powers; over three decades they differ by less than 1 %.
    for age in (0.05, 0.5, 5.0, 20.0):
        true = (1.0 - physics.drift * np.log1p(age / physics.onset)) / fallen
        assert law.factor(np.array(8.0), age) == pytest.approx(true, rel=0.01)


def test_stuck_devices_of_a_used_chip_of_other_physics() -> None:
    chip = ForeignChip(6, physics=Physics(stuck_rate=0.02))
    core = known_of(used(chip))
    assert np.array_equal(~core.devices.usable.reshape(-1), chip.stuck)


def test_devices_that_set_in_part_get_several_pulses() -> None:
    """A third of the way with every pulse: one leaves 6 of 18 uS, and five nearly all of it."""
    chip = ForeignChip(7, rows=64, columns=64, physics=Physics(set_share=1 / 3))
    one, five = (
        calibrate(chip, Plan(("devices",), devices=replace(PULSES, set_pulses=count))).cores[0].devices
        for count in (1, 5)
    )
    assert one.typical_high == pytest.approx(18 / 3, rel=0.05)
    assert five.typical_high == pytest.approx(18 * (1 - (2 / 3) ** 5), rel=0.05)
    assert chip.pulse_counts(0)[1].max() == (1 + 1 + 1) + (1 + 5 + 1)


def test_the_width_of_reset_pulses_is_a_setting() -> None:
    chip = ForeignChip(8, rows=64, columns=64)
    widths = set[float]()
    send = chip._pulse
    chip._pulse = lambda core, pulses: (widths.update(pulses.width.tolist()), send(core, pulses))[1]
    plan = Plan(("programming-curve",), devices=replace(PULSES, reset_width=80))
    curve = calibrate(chip, plan).cores[0].programming_curve
    assert widths == {80.0, chip.info.limits.width_max, curve.width}
    assert curve.width == chip.info.limits.width_min


def test_drift_and_pulse_noise_are_kept_in_the_file(tmp_path: Path) -> None:
    chip = ForeignChip(9, rows=64, columns=64)
    known = calibrate(chip, Plan(("programming-curve",), devices=PULSES))
    known.save(tmp_path / "chip.cal.h5")
    again = Calibration.load(tmp_path / "chip.cal.h5").cores[0]
    assert again.drift == known.cores[0].drift
    assert again.programming_curve.relative_noise == known.cores[0].programming_curve.relative_noise > 0
    assert again.of_cells(Place(0, 0, 0, 64, 64), chip.info).devices.model.drift.law.onset * 20.0 == pytest.approx(
        again.drift.onset
    )
