"""Noise of whole cells and of single devices: one law, whichever way it is looked at.

Devices of 5 uS, four to a cell (hermes-core) on a chip of one row and ideal converters, so that a code is the sum of a
cell. Covariances are in units of Q^2 and follow from tests/sim_backend/test_noise.py: Q^2 ln(2 t / lag) over a lag, to
half a step of the ladder of decades.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from hwloop.chip.backend import Backend

CELLS, LEVEL = 4096, 5.0
T_READ, HALF_A_STEP = 512e-9, math.log(10) / 2
SIGNS = np.array([1.0, 1.0, -1.0, -1.0])[:, None]


def q() -> float:
    """HermesNoiseModel of aihwkit 1.2.0, single device, 10.35 uS."""
    g = LEVEL / 10.35
    return 0.0664 * g**3 - 0.1352 * g**2 + 0.0768 * g + 0.0088


@pytest.fixture
def chip(precise_chip: Callable[..., Backend]) -> Backend:
    chip = precise_chip("hermes-core", rows=1, columns=CELLS, drift=0, seed=11)
    chip.set_adc_range(0, 64.0)
    place(chip, np.arange(4 * CELLS))
    return chip


def place(chip: Backend, devices: np.ndarray) -> None:
    chip.place(0, devices, np.full(devices.size, LEVEL), age=1.0)


def sums(chip: Backend) -> np.ndarray:
    """Noise of every cell as one MVM sees it, over Q times the conductance of a device."""
    codes = chip.mvm(0, np.full((1, 1), chip.info.input_max, np.int32))[0]
    return codes * chip.adc_range(0) / chip.info.code_max / (LEVEL * q())


def states(chip: Backend) -> np.ndarray:
    """Noise of every device (4, cells), in units of Q, as one read sees it."""
    return (chip.read(0, np.arange(4 * CELLS)) / LEVEL - 1.0).reshape(4, CELLS) / q()


def sampling(variance: float, count: int) -> float:
    """Four standard deviations of the estimate of a variance, or of a covariance below it."""
    return 4 * variance * math.sqrt(2 / count)


def one_read(age: float) -> float:
    return math.log((age + T_READ) / (2 * T_READ))


def test_device_reads_add_up_to_what_a_product_saw(chip: Backend) -> None:
    """A minute old, looked at within a millisecond: the slow part is shared, the fast part of five looks is not."""
    chip.wait(60.0)
    seen = sums(chip)
    first = (SIGNS * states(chip)).sum(0)
    again = sums(chip)
    lag = 1e-6
    for one in (first, again):
        shared = np.mean(seen * one)
        assert abs(shared - 4 * math.log(2 * 60.0 / lag)) < 4 * HALF_A_STEP + sampling(4 * one_read(60.0), CELLS)
        assert np.corrcoef(seen, one)[0, 1] > 0.9


def test_devices_keep_their_noise_through_products(chip: Backend) -> None:
    """Reads a second apart, with products between: each device is itself again, and independent of its neighbours."""
    chip.wait(60.0)
    before = states(chip)
    for _ in range(10):
        chip.wait(0.1)
        sums(chip)
    after = states(chip)
    shared = (before @ after.T) / CELLS
    expected = math.log(2 * 60.0 / 1.0) * np.eye(4)
    assert np.abs(shared - expected).max() < HALF_A_STEP + sampling(one_read(60.0), CELLS)
    off_diagonal = shared[~np.eye(4, dtype=bool)]
    assert np.abs(off_diagonal).max() < sampling(one_read(60.0), CELLS)
    assert after.var() == pytest.approx(one_read(61.0), rel=0.04)


def test_a_pulse_takes_the_noise_of_its_device_out_of_the_cell(chip: Backend) -> None:
    """One device of four is placed anew: three quarters of the covariance are left, and its own starts at zero."""
    chip.wait(60.0)
    before = sums(chip)
    place(chip, np.arange(CELLS))
    chip.wait(1e-3)
    after = sums(chip)
    shared = np.mean(before * after)
    assert abs(shared - 3 * math.log(2 * 60.0 / 1e-3)) < 3 * HALF_A_STEP + sampling(4 * one_read(60.0), CELLS)
    expected = 3 * one_read(60.0) + one_read(1e-3)
    assert after.var() == pytest.approx(expected, rel=4 * math.sqrt(2 / CELLS))
    own = states(chip)
    assert own[0].var() == pytest.approx(one_read(1e-3), rel=0.12)  # half a step of the ladder is 3 %
    assert own[1:].var() == pytest.approx(one_read(60.0), rel=0.05)


def test_pulses_between_products_at_many_times(chip: Backend) -> None:
    """Devices of a cell that were placed at different times have the noise of their own ages, read or summed."""
    ages = np.array([2e-3, 0.1, 5.0, 60.0])
    moments = np.append(-np.diff(ages[::-1]), ages[0])
    for device, pause in zip((3, 2, 1, 0), moments, strict=True):
        place(chip, np.arange(device * CELLS, (device + 1) * CELLS))
        sums(chip)
        chip.wait(pause)
    expected = np.array([one_read(age) for age in ages])
    assert sums(chip).var() == pytest.approx(expected.sum(), rel=4 * math.sqrt(2 / CELLS))
    assert states(chip).var(1) == pytest.approx(expected, rel=0.12)
    # Summed first, and read at once: the devices are drawn given their sums.
    chip.wait(10.0)
    seen, read = sums(chip), states(chip)
    later = np.array([one_read(age + 10.0) for age in ages])
    assert read.var(1) == pytest.approx(later, rel=0.1)
    assert np.mean(seen * (SIGNS * read).sum(0)) == pytest.approx(seen.var(), rel=0.06)


def test_products_alone_keep_no_state_for_every_device(chip: Backend) -> None:
    for _ in range(3):
        chip.wait(1.0)
        sums(chip)
    names = [name for name in chip.export_state() if name.startswith("core0/")]
    assert any(name.startswith("core0/cell_noise/") for name in names)
    assert not any(name.startswith("core0/flicker/") for name in names)
