"""What a calibration tells of a rectangle of cells: exactly its own rows, columns and devices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import hwloop
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.chip.backend import Backend
from hwloop.chip.region import Place
from tests.calibration import made_up
from tests.calibration.specimen import lacking

PLACE = Place(0, 3, 5, 4, 6)
ROWS, COLUMNS = slice(3, 7), slice(5, 11)
CHIP = "sim:hermes-core?rows=16&columns=12&seed=1"


@pytest.fixture
def chip() -> Iterator[Backend]:
    with hwloop.connect(CHIP) as chip:
        yield chip


def test_converters(chip: Backend) -> None:
    core = made_up.core(chip)
    seen, made = core.of_cells(PLACE, chip.info).converters, core.converters
    np.testing.assert_array_equal(seen.offset, made.offset[COLUMNS])
    np.testing.assert_array_equal(seen.gain, core.gains.gain[COLUMNS])
    np.testing.assert_array_equal(seen.column_nonlinearity, [made.second_order[COLUMNS], made.third_order[COLUMNS]])
    np.testing.assert_array_equal(seen.row_nonlinearity, [made.row_second_order[ROWS], made.row_third_order[ROWS]])


def test_devices(chip: Backend) -> None:
    core = made_up.core(chip)
    seen, curve = core.of_cells(PLACE, chip.info).devices, core.programming_curve
    for name in ("height", "height_sigma", "shift", "shift_sigma"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(curve, name)[:, :, ROWS, COLUMNS], err_msg=name)
    stuck = (core.devices.fault == 1)[:, :, ROWS, COLUMNS]
    assert 0 < stuck.sum() < stuck.size
    np.testing.assert_array_equal(seen.usable, ~stuck)
    low = core.devices.low[:, :, ROWS, COLUMNS] / core.gains.gain[COLUMNS]
    np.testing.assert_array_equal(seen.stuck_at, np.where(stuck, low, 0.0))
    assert seen.model.curve == curve.curve


def test_each_core_is_its_own() -> None:
    with hwloop.connect("sim:hermes-64?cores=2&rows=16&columns=12&seed=1") as chip:
        known = made_up.calibration(chip)
        place = Place(1, 3, 5, 4, 6)
        seen = known.of_cells(place, chip.info).converters.offset
        np.testing.assert_array_equal(seen, known.cores[1].converters.offset[COLUMNS])


def test_a_measured_curve_needs_no_model_of_the_chip() -> None:
    """Of a chip of which nothing is known, the curve is the measured one, and published statistics stand in."""
    chip = lacking(CHIP, device_model=None)
    core = made_up.core(chip)
    devices = core.of_cells(PLACE, chip.info).devices
    assert devices.model.curve == core.programming_curve.curve
    np.testing.assert_array_equal(devices.shift, core.programming_curve.shift[:, :, ROWS, COLUMNS])


def test_without_a_curve_a_chip_without_a_model_tells_nothing_of_its_devices() -> None:
    chip = lacking(CHIP, device_model=None)
    core = CoreCalibration(devices=made_up.core(chip).devices)
    assert core.of_cells(PLACE, chip.info).devices is None


def test_an_unresponsive_column_is_taken_as_ideal(chip: Backend) -> None:
    unresponsive = np.arange(12) == 6
    made = made_up.converters(16, 12, unresponsive=unresponsive)
    seen = made.converters(chip.info, np.ones(12))
    np.testing.assert_array_equal(seen.offset == 0.0, unresponsive)
    np.testing.assert_array_equal((seen.column_nonlinearity == 0.0).all(0), unresponsive)
