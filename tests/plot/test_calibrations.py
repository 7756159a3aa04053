"""Figures of calibrations: faults, columns, curves and their history."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import numpy as np
import pytest

import hwloop
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.errors import BadInputError
from hwloop.plot.calibrations import (
    adc_offsets,
    column_gains,
    device_faults,
    device_shifts,
    history,
    mean_programming_curve,
)

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1&stuck_rate=0.02"


@pytest.fixture(scope="module")
def calibration() -> hwloop.Calibration:
    with hwloop.connect(CHIP) as chip:
        return hwloop.calibrate(chip)


def test_a_cell_shows_the_worst_of_its_devices(calibration: hwloop.Calibration) -> None:
    core = calibration.cores[0]
    shown = np.asarray(device_faults(core).images[0].get_array())
    assert core.devices is not None
    assert np.array_equal(shown > 0, (core.devices.fault > 0).any((0, 1)))
    legend = [text.get_text() for text in device_faults(core).get_legend().get_texts()]
    assert legend[0] == f"good: {(core.devices.fault == 0).sum():,}"


def test_columns_have_their_values_and_intervals(calibration: hwloop.Calibration) -> None:
    core = calibration.cores[0]
    for draw, part, name in ((adc_offsets, core.converters, "offset"), (column_gains, core.gains, "gain")):
        points, _, (bars,) = draw(core).containers[0]
        assert points.get_ydata() == pytest.approx(getattr(part, name))
        halves = np.diff(np.array(bars.get_segments())[:, :, 1])[:, 0] / 2
        assert halves == pytest.approx(1.96 * getattr(part, f"{name}_sigma"))


def test_the_typical_curve_is_half_way_at_its_midpoint(calibration: hwloop.Calibration) -> None:
    curve = calibration.cores[0].programming_curve
    assert curve is not None
    line = mean_programming_curve(calibration.cores[0]).lines[0]
    middle = np.interp(curve.midpoint, line.get_xdata(), line.get_ydata())
    assert middle == pytest.approx((curve.g_max + curve.g_min) / 2, rel=1e-3)


def test_unusable_devices_have_no_shift(calibration: hwloop.Calibration) -> None:
    core = calibration.cores[0]
    assert core.devices is not None
    counted = sum(bar.get_height() for bar in device_shifts(core).patches)
    assert counted == core.devices.usable.sum() < core.devices.fault.size


def test_history_is_over_the_first_value(calibration: hwloop.Calibration) -> None:
    core = calibration.cores[0]
    assert core.floor is not None
    worse = dataclasses.replace(core, floor=dataclasses.replace(core.floor, error=2 * core.floor.error))
    later = dataclasses.replace(calibration, created=calibration.created + timedelta(days=30), cores={0: worse})
    lines = {line.get_label().partition(":")[0]: line.get_ydata() for line in history([later, calibration]).lines}
    assert lines["floor of the MVM error, %"] == pytest.approx([1, 2])
    assert lines["bad devices"] == pytest.approx([1, 1])
    other = dataclasses.replace(later, chip=dataclasses.replace(later.chip, serial="another"))
    with pytest.raises(BadInputError, match="different chips"):
        history([calibration, other])


@pytest.mark.parametrize(
    "draw", [device_faults, adc_offsets, column_gains, device_shifts, mean_programming_curve], ids=lambda f: f.__name__
)
def test_a_part_that_is_missing_says_how_to_measure_it(draw) -> None:
    with pytest.raises(BadInputError, match=r"; hwloop calibrate .* does"):
        draw(CoreCalibration())
