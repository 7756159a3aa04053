"""The programming curve: the typical device's and each one's, against the simulated devices' own."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.session import calibrate
from hwloop.chip.info import Capability
from hwloop.errors import ChipError
from tests.calibration.specimen import SMALL, Specimen, calibrated, coverage, lacking, specimen

CHIPS = [f"{SMALL}&seed={seed}" for seed in range(4)]
OFF = [f"{SMALL}&current_error={error}&seed=1" for error in (0.15, -0.15)]


def nominal(chip: Specimen) -> tuple[float, float]:
    """Midpoint and steepness (uA) of the typical device of a specimen."""
    curve, factor = chip.made.device.curve, 1 + chip.made.current_error
    return factor * curve.midpoint, factor * curve.steepness


@pytest.mark.parametrize("uri", CHIPS + OFF)
def test_the_typical_curve_is_found_within_its_uncertainty(uri: str) -> None:
    chip = calibrated(uri, "adc", "programming-curve")
    found, (midpoint, steepness) = chip.core.programming_curve, nominal(chip)
    assert abs(found.midpoint - midpoint) < 3 * found.midpoint_sigma
    assert abs(found.steepness - steepness) < 3 * found.steepness_sigma
    assert abs(found.g_max - chip.made.device.curve.g_max) < 3 * found.g_max_sigma
    assert found.midpoint == pytest.approx(midpoint, abs=0.8)
    # 48 levels of amplitude bracket the melting current to one step.
    step = 1.3 * (240 + 8 * 18) * 0.8 / 47
    true = chip.made.device.curve.melt * (1 + chip.made.current_error)
    assert 0 <= found.melt - true <= step


def test_spreads_between_devices_and_between_pulses_are_told_apart() -> None:
    for uri in CHIPS:
        found = calibrated(uri, "adc", "programming-curve").core.programming_curve
        assert found.midpoint_spread == pytest.approx(7.0, rel=0.12)
        assert found.jitter == pytest.approx(1.9, abs=1.0)  # read noise of 7 % on the flank is 3 uA
        # No conductance is negative: the noise of empty devices is seen folded over, and rounded to 0.12 uS.
        assert found.noise == pytest.approx(0.1, rel=0.25)


def test_each_device_lies_where_its_interval_says() -> None:
    chips = [calibrated(uri, "adc", "programming-curve") for uri in CHIPS + OFF]
    errors, sigmas = [], []
    for chip in chips:
        found = chip.core.programming_curve
        errors.append(found.shift - (chip.device("midpoint") - found.midpoint))
        sigmas.append(found.shift_sigma)
    assert 0.92 <= coverage(errors, sigmas) <= 0.98
    # Two pulses tell half of the variance between devices that the typical curve leaves.
    assert np.sqrt(np.mean(np.square(errors))) < 0.6 * 7.0


def test_column_gains_are_no_heights_of_devices() -> None:
    chip = calibrated(f"{SMALL}&adc_gain_spread=0.15&seed=2", "adc", "programming-curve")
    of_column = chip.core.programming_curve.height.mean((0, 1, 2))
    gain = chip.converters.gain.numpy()
    readable = gain < 1.2  # above, SET devices leave the range of the converter when they are read
    assert np.std(of_column[readable]) < 0.02
    assert chip.core.programming_curve.height_spread < 0.06


def test_without_device_reads_the_typical_curve_is_known() -> None:
    chip = specimen(lacking(f"{SMALL}&current_error=0.15&seed=1", Capability.DEVICE_READ), "programming-curve")
    found = chip.core.programming_curve
    assert found.midpoint == pytest.approx(1.15 * 240, abs=4)
    assert found.midpoint_spread == 7.0  # as nominal
    # Four devices share a cell: a cell tells the shift of each a little, and each interval says how little.
    error = found.shift - (chip.device("midpoint") - found.midpoint)
    assert np.sqrt(np.mean(error**2)) < 0.95 * 7.0
    assert 0.92 <= coverage([error], [found.shift_sigma]) <= 0.98
    assert chip.chip.counts.device_reads == 0


def test_devices_without_any_spread() -> None:
    found = calibrated("sim:pcm-ideal?rows=32&columns=32", "programming-curve").core.programming_curve
    curve = calibrated("sim:pcm-ideal?rows=32&columns=32", "programming-curve").made.device.curve
    for name in ("midpoint", "g_max", "steepness"):
        error = getattr(found, name) - getattr(curve, name)
        assert abs(error) < 4 * getattr(found, f"{name}_sigma") < 1e-3
    assert np.abs(found.height - 1).max() < 0.01
    assert np.abs(found.shift).max() < 0.5


def test_bad_devices_get_no_pulse() -> None:
    chip = calibrated(f"{SMALL}&stuck_rate=0.02&seed=1", "programming-curve")
    bad = ~chip.core.devices.usable
    pulses = chip.chip.pulse_counts(0)
    assert pulses[0][bad[0]].max() == 2  # those of the search for bad devices: RESET and SET
    assert pulses[1][bad[1]].max() == 3  # and RESET


def test_a_flank_out_of_reach_is_one_clear_line() -> None:
    limits = dataclasses.replace(lacking(SMALL).info.limits, amplitude_max=300.0)
    chip = lacking(f"{SMALL}&current_error=0.3", limits=limits)
    with pytest.raises(ChipError, match=r"^core 0: no falling flank between 60 and 300 uA: .*; allow a larger"):
        calibrate(chip, Plan(("programming-curve",)))


def test_a_core_too_small_for_a_curve() -> None:
    with pytest.raises(ChipError, match=r"^core 0: only 32 devices answer to pulses; too few for a programming curve$"):
        calibrate(lacking("sim:hermes-core?rows=4&columns=4"), Plan(("programming-curve",)))
