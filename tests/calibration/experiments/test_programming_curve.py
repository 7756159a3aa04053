"""The programming curve: single pulses of rising amplitude from the SET state."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.programming_curve import ProgrammingCurveExperiment
from hwloop.errors import BadInputError, LimitError
from hwloop.files.measurements import Mark
from tests.calibration.experiments.conftest import MODEL, Measure, SlowChip
from tests.conftest import OpenChip

FEW = ProgrammingCurveExperiment(cells=30, points=12, repeats=2, averages=2, early=0.0)


def test_a_chip_without_noise_gives_its_curve(measure: Measure) -> None:
    chip = SlowChip(1e-6)
    found = measure(FEW, chip)
    factor = (found.reads.time / MODEL.drift.t0) ** -0.1
    expected = np.where(
        found.reads.amplitude >= MODEL.curve.melt, MODEL.curve.conductance(found.reads.amplitude), MODEL.curve.g_max
    )
    np.testing.assert_allclose(found.reads.conductance, expected * factor, rtol=1e-3)
    np.testing.assert_allclose(found.reads.time, 1.0, rtol=0.005)
    assert np.all(found.reads.width == MODEL.curve.width)
    assert np.unique(found.reads.amplitude).size == 12
    assert len(found.reads) == 30 * 12 * 2
    assert found.cells.mark.tolist() == [Mark.GOOD] * 30
    assert chip.counts.pulses == 30 * 2 * (12 + 1), "one pulse per point and one SET per sweep"


def test_every_pulse_is_read_twice_at_its_own_ages(measure: Measure) -> None:
    chip = SlowChip(1e-6)
    found = measure(dataclasses.replace(FEW, early=0.1), chip)
    reads = found.reads
    assert len(reads) == 2 * 30 * 12 * 2
    nominal, amplitude = reads.nominal.reshape(24, 2, 30), reads.amplitude.reshape(24, 2, 30)
    assert np.all(nominal == np.array([0.1, 1.0])[:, None])
    np.testing.assert_array_equal(amplitude[:, 0], amplitude[:, 1])
    np.testing.assert_allclose(reads.time, reads.nominal, rtol=0.01)
    ratio = reads.conductance.reshape(24, 2, 30)
    np.testing.assert_allclose(ratio[:, 0] / ratio[:, 1], 10**0.1, rtol=0.01, err_msg="they drift from the same pulse")
    assert chip.counts.pulses == 30 * 2 * (12 + 1)


def test_sweeps_tell_pulse_noise_from_the_spread_of_devices(open_chip: OpenChip, measure: Measure) -> None:
    chip = open_chip("sim:hermes-core?seed=6&rows=64&columns=64&adc_bits=14&read_noise=0&drift=0")
    experiment = ProgrammingCurveExperiment(
        cells=2000, points=3, repeats=4, low=225.0, high=255.0, averages=1, early=0.0
    )
    found = measure(experiment, chip)
    curve = chip.info.device_model.curve
    g = found.reads.conductance.reshape(4, 3, 2000)
    pulse = g[:, 1].std(0, ddof=1)
    slope = curve.slope(g[:, 1].mean(0))
    # At the middle of the curve, jitter moves a device along its own slope; 6 000 degrees of freedom: sigma 1 %.
    expected = np.sqrt(np.mean((slope * curve.jitter) ** 2 + curve.noise**2))
    assert np.sqrt(np.mean(pulse**2)) == pytest.approx(expected, rel=0.10)
    # Devices differ by the spread of their midpoints, seen on the slope, much more than a device from pulse to pulse.
    spread = g[:, 1].mean(0).std()
    assert spread == pytest.approx(curve.slope(curve.conductance(240.0)) * curve.midpoint_spread, rel=0.15)


def test_stuck_devices_are_marked(open_chip: OpenChip, measure: Measure) -> None:
    chip = open_chip("sim:hermes-core?seed=2&rows=64&columns=64&stuck_rate=0.05")
    found = measure(dataclasses.replace(FEW, cells=1000), chip)
    stuck = chip._core(0).devices.stuck.numpy()[found.cells.address]
    np.testing.assert_array_equal(found.cells.mark != Mark.GOOD, stuck)
    high = chip._core(0).devices.g.numpy()[found.cells.address] > 5
    np.testing.assert_array_equal(found.cells.mark == Mark.STUCK_SET, stuck & high)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"low": 300.0, "high": 200.0}, BadInputError, "amplitudes from 300 to 200 uA"),
        ({"high": 600.0}, BadInputError, "<= 500 uA"),
        ({"early": 0.8}, BadInputError, "early=0.8 s: expected at most half of settle=1 s"),
        ({"width": 1.0}, BadInputError, "width 1 ns is outside 20 to 20000 ns"),
        ({"set_width": 1e6}, BadInputError, "width 1e[+]06 ns is outside"),
        ({"set_amplitude": 501.0}, BadInputError, "set_amplitude=501 uA is outside"),
        ({"repeats": 100}, LimitError, "up to 1300 pulses per device, and slow allows 1000"),
    ],
)
def test_pulses_beyond_the_limits_are_refused_before_the_first(
    change: dict[str, float], error: type[Exception], message: str
) -> None:
    chip = SlowChip()
    with pytest.raises(error, match=message):
        dataclasses.replace(FEW, **change).begin(Bench(chip), 0)  # type: ignore[arg-type]
    assert chip.counts.pulses == 0
