"""What a calibration tells methods: converters and their inverse, and what to aim at on each device."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import hwloop
from hwloop.chip.cell_calibration import CAPACITY, Converters, Devices, nonlinearity, second_order, third_order
from hwloop.chip.info import ChipInfo

TOP = 127


@pytest.fixture(scope="module")
def info() -> ChipInfo:
    with hwloop.connect("sim:hermes-core") as chip:
        return chip.info


@pytest.fixture
def converters() -> Converters:
    """Five columns and seven rows, with 2 LSB of bend of either sign."""
    rng = np.random.default_rng(0)
    return Converters(
        TOP,
        TOP,
        offset=rng.normal(0, 2, 5),
        gain=1 + 0.05 * rng.standard_normal(5),
        column_nonlinearity=rng.uniform(-2, 2, (2, 5)),
        row_nonlinearity=rng.uniform(-2, 2, (2, 7)),
    )


def test_deviations_have_their_peaks_where_they_say() -> None:
    u = np.linspace(-1, 1, 20_001)
    assert np.abs(third_order(u)).max() == pytest.approx(1.0, abs=1e-6)
    assert third_order(np.array([-1.0, 0.0, 1.0])) == pytest.approx([0, 0, 0])
    assert second_order(np.array([-1.0, 0.0, 1.0])) == pytest.approx([1, 0, 1])
    assert np.array_equal(nonlinearity(u, np.array([3.0, -2.0])), 3 * second_order(u) - 2 * third_order(u))


def test_ideal_codes_invert_the_transfer_curve(converters: Converters) -> None:
    ideal = np.linspace(-110, 110, 45)[:, None] + np.zeros(5)
    bent = converters.gain * ideal + converters.offset
    codes = bent + nonlinearity(bent / TOP, converters.column_nonlinearity[:, None])
    np.testing.assert_allclose(converters.ideal_codes(codes), ideal, atol=2e-3)


def test_sent_inputs_drive_rows_as_ideal_converters_would(converters: Converters) -> None:
    x = np.arange(-120, 121)[:, None] + np.zeros(7, np.int64)
    sent = converters.inputs_to_send(x)
    driven = sent + nonlinearity(sent / TOP, converters.row_nonlinearity[:, None])
    # The closest whole number: half a step, which is up to 6 % larger or smaller where the DAC is steep.
    assert np.abs(driven - x).max() < 0.56
    assert np.abs(sent).max() <= TOP


def test_ideal_converters_change_nothing() -> None:
    ideal = Converters(TOP, TOP, np.zeros(3), np.ones(3), np.zeros((2, 3)), np.zeros((2, 4)))
    x = np.arange(12).reshape(3, 4)
    assert np.array_equal(ideal.inputs_to_send(x), x)
    assert np.array_equal(ideal.ideal_codes(x[:, :3]), x[:, :3])
    assert [end.tolist() for end in ideal.span] == [[-TOP] * 3, [TOP] * 3]


def test_the_span_is_where_codes_end(converters: Converters) -> None:
    low, high = converters.span
    assert np.all(low < -90)
    assert np.all(high > 90)
    assert high[0] == pytest.approx(converters.ideal_codes(np.full((1, 5), TOP))[0, 0])


def test_nominal_devices_may_be_used_up_to_g_max(info: ChipInfo) -> None:
    devices = Devices.nominal(info.device_model, (2, 2, 3, 4))
    assert np.all(devices.capacity(info) == info.g_max)
    assert np.all(devices.shift_sigma == info.device_model.curve.midpoint_spread)


def test_capacities_of_bad_and_weak_devices_and_their_neighbours(info: ChipInfo) -> None:
    devices = Devices.nominal(info.device_model, (2, 2, 1, 3))
    usable, height = devices.usable.copy(), devices.height.copy()
    usable[0, 0, 0, 0] = False
    height[1, 1, 0, 1] = 0.5
    capacity = dataclasses.replace(devices, usable=usable, height=height).capacity(info)
    curve = info.device_model.curve
    assert capacity[0, 0, 0, 0] == 0
    assert capacity[0, 1, 0, 0] == pytest.approx(min(CAPACITY.overdrive * info.g_max, 0.95 * curve.g_max))
    half_height = curve.g_min + 0.5 * (curve.g_max - curve.g_min)
    assert capacity[1, 1, 0, 1] == pytest.approx(CAPACITY.weak_reach * half_height)
    assert np.all(capacity[:, :, 0, 2] == info.g_max)
