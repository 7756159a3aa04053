"""A region that knows its converters: what it sends, what it makes of codes and reads, and what it notes of pulses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hwloop.chip.backend import Backend
from hwloop.chip.cell_calibration import CellCalibration, Converters, nonlinearity
from hwloop.chip.info import Capability, ChipInfo, PulseLimits
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Place, Region

INFO = ChipInfo(
    name="scripted",
    serial="1",
    cores=2,
    rows=6,
    columns=5,
    devices_per_polarity=2,
    input_bits=8,
    output_bits=8,
    g_max=20.0,
    read_voltage=0.2,
    adc_range=(10.0, 1000.0),
    limits=PulseLimits(amplitude_max=500.0, width_min=20.0, width_max=2000.0, pulses_per_device=100),
    capabilities=frozenset({Capability.MVM, Capability.DEVICE_READ}),
)
PLACE = Place(core=1, row=2, column=1, rows=3, columns=2)
EVERY = np.arange(INFO.devices_per_core).reshape(INFO.device_shape)
OWN = EVERY[:, :, 2:5, 1:3].ravel()
"""Flat indices on the core of the region's devices, in the region's own order."""

CONVERTERS = Converters(
    input_max=127,
    code_max=127,
    offset=np.array([3.0, -2.0]),
    gain=np.array([1.25, 0.8]),
    column_nonlinearity=np.array([[1.0, -2.0], [0.5, 1.5]]),
    row_nonlinearity=np.array([[4.0, 0.0, -6.0], [0.0, 5.0, 2.0]]),
)
STRAIGHT = dataclasses.replace(CONVERTERS, column_nonlinearity=np.zeros((2, 2)), row_nonlinearity=np.zeros((2, 3)))


class Scripted(Backend):
    """Every device reads its own index; every column answers a code of its own; the clock is set by the test."""

    def __init__(self) -> None:
        super().__init__(INFO)
        self.clock, self.inputs, self.codes = 0.0, np.empty(0), np.array([10, 40, -30, 20, 0])

    def _pulse(self, core, pulses):
        self.clock += 1.0

    def _read(self, core, devices, averages):
        return devices.astype(np.float64)

    def _mvm(self, core, x):
        self.inputs = x
        return np.tile(self.codes, (len(x), 1)).astype(np.int32)

    def _now(self):
        return self.clock

    def _wait(self, seconds):
        self.clock += seconds

    def _adc_range(self, core):
        return 254.0

    def _snapshot(self):
        return {"clock": self.clock}

    def _close(self):
        pass


@pytest.fixture
def chip() -> Scripted:
    return Scripted()


def region(chip: Backend, converters: Converters | None) -> Region:
    return Region(chip, PLACE, calibration=CellCalibration(converters=converters))


def test_reads_are_divided_by_the_gain_of_their_own_column(chip: Scripted) -> None:
    """A converter that shows 25 % too much has seen that much less; local device k is on local column k % 2."""
    devices = np.array([0, 1, 3, 10, 23])
    read = region(chip, CONVERTERS).read(devices, 1)
    np.testing.assert_allclose(read, OWN[devices] / np.array([1.25, 0.8, 0.8, 1.25, 0.8]), rtol=1e-12)
    assert np.array_equal(region(chip, None).read(devices, 1), OWN[devices])


def test_codes_are_freed_of_offset_and_gain(chip: Scripted) -> None:
    answer = region(chip, STRAIGHT).mvm(np.zeros((2, 3), np.int64))
    np.testing.assert_allclose(answer, [[(40 - 3.0) / 1.25, (-30 + 2.0) / 0.8]] * 2, rtol=1e-12)


def test_codes_are_freed_of_the_nonlinearity_first(chip: Scripted) -> None:
    """What comes out, sent through the stated transfer curve again, is the code."""
    ideal = region(chip, CONVERTERS).mvm(np.zeros((1, 3), np.int64))
    linear = CONVERTERS.gain * ideal + CONVERTERS.offset
    codes = linear + nonlinearity(linear / 127, CONVERTERS.column_nonlinearity[:, None])
    np.testing.assert_allclose(codes, [[40.0, -30.0]], atol=1e-4)
    assert np.abs(linear - codes).max() > 0.2  # the nonlinearity is there to be seen


def test_without_known_converters_codes_are_the_chips_own_integers(chip: Scripted) -> None:
    answer = region(chip, None).mvm(np.ones((1, 3), np.int8))
    assert answer.dtype == np.int32
    assert answer.tolist() == [[40, -30]]
    assert chip.inputs.tolist() == [[0, 0, 1, 1, 1, 0]]


def test_inputs_are_sent_so_that_the_dacs_drive_what_was_asked_for(chip: Scripted) -> None:
    """On the region's rows alone, and within half a step of the DAC, which the uncorrected inputs miss by up to 6."""
    x = np.array([[100, -90, 110], [-64, 50, -127], [0, 0, 0]])
    region(chip, CONVERTERS).mvm(x)
    assert not chip.inputs[:, [0, 1, 5]].any()
    sent = chip.inputs[:, 2:5]
    driven = sent + nonlinearity(sent / 127, CONVERTERS.row_nonlinearity[:, None])
    reached = np.abs(sent) < 127
    assert np.abs(driven - x)[reached].max() <= 0.6
    assert np.abs(sent - x).max() >= 2
    assert sent[2].tolist() == [0, 0, 0]


def test_the_span_is_what_the_end_codes_stand_for(chip: Scripted) -> None:
    low, high = region(chip, STRAIGHT).span
    np.testing.assert_allclose(low, [(-127 - 3.0) / 1.25, (-127 + 2.0) / 0.8])
    np.testing.assert_allclose(high, [(127 - 3.0) / 1.25, (127 + 2.0) / 0.8])
    low, high = region(chip, None).span
    assert (low.tolist(), high.tolist()) == ([-127.0] * 2, [127.0] * 2)


def test_the_last_pulse_of_each_device_is_noted_with_its_time_and_reset_amplitude(chip: Scripted) -> None:
    """At the clock after the pulse; a SET pulse leaves no amplitude, and takes away that of the RESET before it."""
    here = region(chip, None)
    assert np.isnan(here.last_pulse).all()
    assert np.isnan(here.last_amplitude).all()
    chip.clock = 100.0
    here.pulse(PulseKind.RESET, np.array([4, 7]), np.array([210.0, 330.0]), 100.0)
    assert here.last_pulse[[4, 7]].tolist() == [101.0, 101.0]
    assert here.last_amplitude[[4, 7]].tolist() == [210.0, 330.0]
    chip.clock = 200.0
    here.pulse(PulseKind.SET, np.array([7, 9]), np.array([80.0, 80.0]), 1000.0)
    assert here.last_pulse[[4, 7, 9]].tolist() == [101.0, 201.0, 201.0]
    assert here.last_amplitude[4] == 210.0
    assert np.isnan(here.last_amplitude[[7, 9]]).all()
    assert np.count_nonzero(~np.isnan(here.last_pulse)) == 3


def test_what_a_region_spends_is_its_own_and_adds_up(chip: Scripted) -> None:
    here, other = region(chip, None), region(chip, CONVERTERS)
    chip.wait(5.0)
    for _ in range(2):
        here.pulse(PulseKind.RESET, np.array([1]), np.array([200.0]), 100.0)
    other.mvm(np.zeros((4, 3), int))
    assert (here.cost.pulses, here.cost.mvms, here.cost.chip_seconds) == (2, 0, 2.0)
    assert (other.cost.pulses, other.cost.mvms) == (0, 4)
