"""Symmetry points by alternating pulses: where they are, how well that is known, what it costs, and who has none."""

import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.routines.symmetry import SymmetryCalibration
from hwloop.errors import BadInputError, ChipError, MissingCapabilityError

SIDE = 32


def calibrated(uri, start=None, **settings):
    """Symmetry points found, and true ones, in units of weight; the device begins at `start`."""
    with hwloop.connect(uri) as chip:
        if start is not None:
            chip.place(0, np.arange(SIDE**2), np.full(SIDE**2, 30 + 10 * start), 1.0)
        plan = Plan(("symmetry-point",), symmetry=SymmetryCalibration(**settings))
        calibration = hwloop.calibrate(chip, plan)
        array = chip._core(0).devices
        true = array.devices.symmetry_points()[0] - array.weights[SIDE**2 :].reshape(SIDE, SIDE)
        return calibration.cores[0].symmetry_point, true, calibration, chip


RERAM = f"sim:reram-sb?rows={SIDE}&columns={SIDE}&cores=1"


@pytest.mark.parametrize(
    ("uri", "start"),
    [
        (f"{RERAM}&seed=1", None),
        (f"{RERAM}&seed=3&symmetry_point_mean=0.15&symmetry_point_spread=0.15", None),
        (f"{RERAM}&seed=2", 0.8),
    ],
)
def test_points_are_known_to_0_04_after_5000_pairs_and_intervals_hold(uri, start):
    """Of the range's 2; 95 % intervals hold 93 to 97 % of the true points, less what 1024 devices leave open."""
    found, true, _, _ = calibrated(uri, start)
    error = found.weights - true
    sigma = found.point_sigma / found.half_range
    assert np.sqrt(np.mean(error**2)) < 0.044
    assert np.all(sigma < 0.045)
    held = (np.abs(error) < 1.96 * sigma).mean()
    assert 0.93 - 0.014 < held < 0.97 + 0.01
    assert abs(error.mean()) < 0.006
    assert found.pairs == 5000


def test_a_calibration_tells_its_cost_and_comes_back_from_its_file(tmp_path):
    found, _, calibration, chip = calibrated(f"{RERAM}&seed=1", pairs=400)
    assert calibration.cost["pulses"] == 800 * SIDE**2
    assert calibration.cost["updates"] == 800
    assert calibration.cost["device_reads"] == (20 + 256) * SIDE**2
    calibration.save(tmp_path / "chip.cal.h5")
    back = hwloop.load(tmp_path / "chip.cal.h5")
    again = back.cores[0].symmetry_point
    assert again.point == pytest.approx(found.point, rel=1e-6)
    assert again.to_json().keys() == {
        "mean", "spread", "sigma", "mean_uS", "sigma_uS", "half_range_uS", "pairs_per_device", "reads_per_device",
    }  # fmt: skip
    assert back.for_chip(hwloop.connect(chip.uri)) == []
    assert "1024 points" in repr(again)


def test_fewer_pairs_are_stated_to_tell_less():
    few, true, _, _ = calibrated(f"{RERAM}&seed=1", pairs=1000)
    error = few.weights - true
    assert np.sqrt(np.mean(error**2)) > 0.06
    assert few.point_sigma[0, 0] / few.half_range > 0.06


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        (
            "sim:hermes-core?rows=8&columns=8",
            MissingCapabilityError,
            "needs update, which this chip lacks; train on a chip",
        ),
        ("sim:pcm-pair?rows=8&columns=8&cores=1", BadInputError, "do not step up and down about a symmetry point"),
    ],
)
def test_chips_without_symmetry_points_say_so(uri, error, message):
    with hwloop.connect(uri) as chip, pytest.raises(error, match=message):
        hwloop.calibrate(chip, ["symmetry-point"])


def test_what_melts_devices_is_refused_on_devices_that_step():
    with hwloop.connect(RERAM) as chip, pytest.raises(MissingCapabilityError, match="calibrate symmetry-point"):
        hwloop.calibrate(chip)
    assert chip.counts.pulses == 0


def test_constant_steps_come_to_no_point():
    """Each pair moves a device by as much as before, so it walks to a bound, or about at random."""
    uri = f"sim:rpu-baseline?rows={SIDE}&columns={SIDE}&cores=1&cycle_spread=20&up_down_spread=0&seed=1"
    with pytest.raises(ChipError, match="hardly have one"):
        calibrated(uri, pairs=500)


def test_too_few_reads_are_refused():
    with hwloop.connect(RERAM) as chip, pytest.raises(BadInputError, match="fewer than 16"):
        hwloop.calibrate(
            chip,
            Plan(("symmetry-point",), symmetry=SymmetryCalibration(pairs=100)),
        )
