"""The chip of a measurement: its clock, its thermometer, what is left of its devices."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.calibration.experiments.bench import Bench
from hwloop.calibration.experiments.cells import Chosen
from hwloop.calibration.experiments.clock import Clock, TimedRegion
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Place, Region
from hwloop.errors import BadInputError
from hwloop.typing import FloatArray
from tests.calibration.experiments.conftest import SlowChip
from tests.conftest import OpenChip

CHOSEN = Chosen(np.array([0, 0, 1], np.int32), np.array([3, 9, 4]))


def test_the_clock_counts_from_the_beginning_and_rests_until_a_moment() -> None:
    chip = SlowChip()
    chip.clock = 100.0
    clock = Clock(chip)
    assert clock.now() == 0.0
    clock.rest_until(7.0)
    assert (clock.now(), chip.clock) == (pytest.approx(7.0), pytest.approx(107.0))
    clock.rest_until(3.0)
    assert clock.now() == pytest.approx(7.0), "that moment has passed"


def test_the_temperature_is_the_chips_own_or_what_a_thermometer_shows(open_chip: OpenChip) -> None:
    assert np.isnan(Bench(SlowChip()).temperature())
    assert Bench(SlowChip(), 295.0).temperature() == 295.0
    chip = open_chip("sim:hermes-core?seed=1&rows=32&columns=32&temperature=310")
    assert Capability.TEMPERATURE in chip.info.capabilities
    assert Bench(chip).temperature() == pytest.approx(310.0)
    assert Bench(chip, 295.0).temperature() == 295.0, "the user knows better"


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(BadInputError, match="expected a positive number of kelvin"):
        Bench(SlowChip(), temperature)


def test_spare_pulses_are_what_the_budget_leaves() -> None:
    chip = SlowChip(budget=5)
    bench = Bench(chip)
    for devices in ([9], [9, 3], [9, 17]):
        amplitude = np.full(len(devices), 200.0)
        bench.region(0).pulse(PulseKind.RESET, np.array(devices), amplitude, 100.0, 1.0)
    assert bench.spare_pulses(CHOSEN).tolist() == [4, 2, 5]


def test_reads_of_several_cores_come_in_the_order_of_the_devices() -> None:
    chip = SlowChip(1e-6)
    chip.g[0, [3, 9]], chip.g[1, 4] = (1.0, 2.0), 3.0
    chip.clock = 20.0  # every device is at t0
    values, times = Bench(chip).read(CHOSEN, 1, 1.0)
    np.testing.assert_allclose(values, [1.0, 2.0, 3.0], rtol=1e-5)
    assert np.all(np.diff(times) >= 0)


class Batches(SlowChip):
    """Notes how many devices were read at a time."""

    def __init__(self, pace: float) -> None:
        super().__init__(pace)
        self.sizes: list[int] = []

    def _read(self, core: int, devices: FloatArray, averages: int) -> FloatArray:
        self.sizes.append(len(devices))
        return super()._read(core, devices, averages)


@pytest.mark.parametrize(
    ("within", "sizes"),
    [
        (0.0225, [1, 4, 4, 4, 4, 4, 4, 4, 1]),  # four devices of 0.01 s: each within 0.02 s of the middle
        (1e-6, [1] * 30),
        (10.0, [1, 16, 13]),  # a batch has at most 16 times the devices of the one before
    ],
)
def test_batches_are_so_short_that_the_moment_of_each_read_is_known(within: float, sizes: list[int]) -> None:
    chip = Batches(0.01)
    region = Region(chip, Place(0, 0, 0, chip.info.rows, chip.info.columns))
    timed = TimedRegion(region, Clock(chip))
    _, times = timed.read(np.arange(30), 1, within)
    assert chip.sizes == sizes
    true = 0.01 * np.arange(1, 31)
    assert np.all(np.abs(times - true) <= max(within, 0.01))
    assert timed.pace.tolist() == [0.0, pytest.approx(0.01)]
    chip.sizes.clear()
    timed.read(np.arange(30), 1, 10.0)
    assert chip.sizes == [30], "the pace is known now"
