"""What results of routines say: counts, gains, summaries, and the models they hand to programming methods."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

import hwloop
from hwloop.calibration.routines.results import (
    ConverterResult,
    CurveResult,
    DeviceResult,
    DriftResult,
    Fault,
    FloorResult,
    GainResult,
    TrimResult,
    WireResult,
    column_gains,
    mean_rounded,
    median,
    rms,
    stored_fields,
)
from hwloop.calibration.routines.symmetry_result import SymmetryResult
from hwloop.devices.drift import PUBLISHED_DRIFT
from hwloop.devices.programming_curve import ProgrammingCurve

# ---- devices and gains ---------------------------------------------------------------------------------------


def devices(fault: list[int], high: list[float] | None = None, low: list[float] | None = None) -> DeviceResult:
    """Devices of one row: of each polarity one, and columns."""
    faults = np.array(fault, np.uint8).reshape(2, 1, 1, -1)
    highs = np.full(faults.shape, 10.0) if high is None else np.reshape(high, faults.shape)
    lows = np.full(faults.shape, 0.1) if low is None else np.reshape(low, faults.shape)
    return DeviceResult(faults, lows, highs, np.zeros(faults.shape), 10.0, 20.0)


def test_faults_are_counted_and_weak_devices_may_be_programmed() -> None:
    found = devices([0, 3, 1, 2, 4, 5, 6, 0])
    assert repr(found) == "<DeviceResult: 2 of 8 devices good>"
    assert found.usable.ravel().tolist() == [True, True, False, False, False, False, False, True]
    assert found.to_json() == {
        "good": 2, "stuck_set": 1, "stuck_reset": 1, "weak": 1, "noisy": 1, "dead_row": 1, "dead_column": 1,
        "typical_high_uS": 10.0,
    }  # fmt: skip
    assert [fault.value for fault in Fault] == list(range(7))


def test_unusable_devices_stay_at_what_they_show_without_the_gain() -> None:
    """A low conductance that noise made negative is none; usable devices are not stuck at all."""
    found = devices([1, 2, 3, 0], low=[9.0, -0.2, 0.5, 0.5])
    assert found.stuck_at(np.array([0.9, 1.1])).ravel() == pytest.approx([10.0, 0.0, 0.0, 0.0])


def test_gains_are_means_of_good_devices_with_their_standard_errors() -> None:
    """Three columns: the second has one good device alone, and is no part of what is typical."""
    fault = [0, 0, 0, 0, 1, 0]
    found = column_gains(devices(fault, [10.0, 30.0, 6.0, 14.0, 1.0, 6.0]))
    typical = (12.0 + 6.0) / 2
    assert found.gain == pytest.approx([12.0 / typical, 1.0, 6.0 / typical])
    assert found.gain_sigma == pytest.approx([np.std([10, 14], ddof=1) / math.sqrt(2) / typical, math.inf, 0.0])
    assert found.devices.tolist() == [2, 1, 2]
    assert repr(found) == "<GainResult: 2 of 3 columns known>"
    assert found.to_json() == {
        "spread": pytest.approx(np.std([12 / 9, 6 / 9])),
        "sigma": pytest.approx(np.std([10, 14], ddof=1) / math.sqrt(2) / typical / 2),
        "reference": "mean conductance of each column's SET devices",
    }
    none = column_gains(devices([1, 0, 2, 2], [1.0, 2.0, 3.0, 4.0]))
    assert (none.gain.tolist(), none.gain_sigma.tolist(), none.devices.tolist()) == ([1, 1], [math.inf] * 2, [0, 1])
    assert none.to_json() == {
        "spread": None,
        "sigma": None,
        "reference": "mean conductance of each column's SET devices",
    }


# ---- converters ----------------------------------------------------------------------------------------------


def converters(**changes: Any) -> ConverterResult:
    """Three columns and two rows; the last column shows nothing."""
    own: dict[str, Any] = {
        "offset": np.array([3.0, -4.0, 99.0]), "offset_sigma": np.array([0.1, 0.3, 9.0]),
        "second_order": np.array([2.0, 0.0, 99.0]), "second_order_sigma": np.array([0.2, 0.4, 9.0]),
        "third_order": np.array([-1.0, 1.0, 99.0]), "third_order_sigma": np.array([0.5, 0.7, 9.0]),
        "strength": np.ones(3), "strength_sigma": np.ones(3), "cells": np.ones((2, 3)),
        "row_second_order": np.array([0.6, 0.8]), "row_second_order_sigma": np.array([0.1, np.inf]),
        "row_third_order": np.array([0.3, 0.4]), "row_third_order_sigma": np.array([0.2, 0.4]),
        "noise": np.array([1.0, 3.0, 50.0]), "adc_noise": 0.5, "unresponsive": np.array([False, False, True]),
        "full_scale": 250.0,
    }  # fmt: skip
    return ConverterResult(**(own | changes))


def test_converters_are_summarised_by_what_is_known() -> None:
    found = converters()
    assert repr(found) == "<ConverterResult: curves of 2 of 3 columns, at 250 uS>"
    told = found.to_json()
    assert (told["columns"], told["silent_columns"], told["adc_noise_lsb"], told["full_scale_uS"]) == (2, 1, 0.5, 250)
    assert told["noise_lsb"] == 2.0
    expected = {
        "offset_lsb": (math.sqrt(12.5), 0.2), "square_lsb": (math.sqrt(2), 0.3), "cubic_lsb": (1.0, 0.6),
        "row_square_lsb": (0.6, 0.1), "row_cubic_lsb": (math.sqrt(0.125), 0.3),
    }  # fmt: skip
    for name, (size, sigma) in expected.items():
        assert told[name] == {"rms": pytest.approx(size), "sigma": pytest.approx(sigma)}
    nothing = converters(unresponsive=np.ones(3, bool), adc_noise=math.nan).to_json()
    assert (nothing["offset_lsb"], nothing["adc_noise_lsb"]) == ({"rms": None, "sigma": None}, None)


def test_a_column_that_shows_nothing_is_taken_as_ideal() -> None:
    with hwloop.connect("sim:pcm-ideal?rows=2&columns=3&seed=1") as chip:
        info, gain = chip.info, np.array([1.1, 0.9, 1.0])
        found = converters().converters(info, gain)
    assert found.offset.tolist() == [3.0, -4.0, 0.0]
    assert found.gain.tolist() == gain.tolist()
    assert found.column_nonlinearity.tolist() == [[2.0, 0.0, 0.0], [-1.0, 1.0, 0.0]]
    assert found.row_nonlinearity.tolist() == [[0.6, 0.8], [0.3, 0.4]]
    assert (found.input_max, found.code_max) == (info.input_max, info.code_max)


def test_the_mean_code_of_idle_inputs_is_that_of_the_offset_bent_and_rounded() -> None:
    """Its uncertainty is half of what it changes by as the offset moves from one standard error below to one above."""
    found = converters(second_order=np.zeros(3), third_order=np.zeros(3), offset=np.array([3.2, -4.4, 0.5]),
                       offset_sigma=np.array([0.1, 0.3, 0.2]), adc_noise=0.3)  # fmt: skip
    mean, sigma = found.idle_mean(127)
    assert mean == pytest.approx(mean_rounded(np.array([3.2, -4.4, 0.5]), 0.3))
    low, high = (mean_rounded(found.offset + k * found.offset_sigma, 0.3) for k in (-1, 1))
    assert sigma == pytest.approx((high - low) / 2)
    bent = converters(second_order=np.array([8.0, 8.0, 8.0]), third_order=np.zeros(3), adc_noise=2.0)
    straight = converters(second_order=np.zeros(3), third_order=np.zeros(3), adc_noise=2.0)
    change = bent.idle_mean(127)[0] - straight.idle_mean(127)[0]
    # The deviation is none at zero input, and nearly proportional to the square of what is converted.
    assert change[0] / change[1] == pytest.approx((3 / 4) ** 2, rel=0.01)
    # Without noise of the converters a code is certain.
    assert converters(adc_noise=0.0, offset=np.array([3.2, 0.9, -2.2])).idle_mean(10**6)[0] == pytest.approx([3, 1, -2])


@pytest.mark.parametrize("noise", [0.05, 0.3, 1.0, 4.0])
def test_the_mean_of_rounded_values_is_the_integral_over_all_codes(noise: float) -> None:
    values = np.array([-3.75, -0.5, 0.0, 0.2, 0.49, 7.5])
    expected = [
        integrate.quad(lambda x, v=v: np.rint(x) * stats.norm.pdf(x, v, noise), v - 8 * noise, v + 8 * noise,
                       points=np.arange(math.floor(v - 8 * noise), v + 8 * noise) + 0.5, limit=500)[0]
        for v in values
    ]  # fmt: skip
    assert mean_rounded(values, noise) == pytest.approx(expected, abs=2e-6 * max(1, noise))


# ---- the programming curve and drift -------------------------------------------------------------------------

CURVE = ProgrammingCurve(
    g_min=0.1, g_max=20.0, midpoint=250.0, steepness=20.0, melt=100.0, width=50.0, midpoint_spread=10.0,
    height_spread=0.1, jitter=3.0, noise=0.2, relative_noise=0.01,
)  # fmt: skip


def curve_result() -> CurveResult:
    known = {item.name: getattr(CURVE, item.name) for item in dataclasses.fields(CURVE)}
    each = np.arange(12.0).reshape(2, 1, 2, 3)
    return CurveResult(**known, g_max_sigma=0.3, midpoint_sigma=math.inf, steepness_sigma=0.1, shift=each,
                       shift_sigma=each + 1, height=each / 12, height_sigma=each / 100)  # fmt: skip


def drift_result(**changes: float) -> DriftResult:
    own = {item.name: 0.01 for item in dataclasses.fields(DriftResult)}
    own |= {"t0": 30.0, "g_scale": 20.0, "onset": 3.0, "at_low": 0.1, "at_middle": 0.3, "at_upper": 0.6}
    own |= {"nu_low": 0.10, "nu_middle": 0.08, "nu_upper": 0.05, "nu_high": 0.02}
    return DriftResult(**(own | changes))


def test_the_typical_curve_comes_back_with_what_is_known_of_each_device() -> None:
    found = curve_result()
    assert found.curve == CURVE
    assert repr(found) == "<CurveResult: 20 to 0.1 uS about 250 uA, 12 devices>"
    told = found.to_json()
    assert (told["g_max"], told["midpoint_sigma"], told["relative_noise"]) == (20.0, None, 0.01)
    assert (told["shift_sigma"], told["height_sigma"]) == (6.5, pytest.approx(0.055))
    assert "shift" not in told
    faulty = devices([0, 1, 0, 0, 0, 0])
    with hwloop.connect("sim:pcm-90nm?rows=1&columns=3&seed=1") as chip:
        own = found.devices(chip.info, faulty, np.array([1.0, 0.5, 1.0]))
        aged = found.devices(chip.info, faulty, np.ones(3), drift_result())
        nominal = chip.info.device_model
    assert nominal is not None
    assert own.model == dataclasses.replace(nominal, curve=CURVE)
    assert aged.model.drift == drift_result().model(nominal.drift)
    assert own.shift is found.shift
    assert own.usable.ravel().tolist() == [True, False, True, True, True, True]
    assert own.stuck_at.ravel() == pytest.approx([0, 0.2, 0, 0, 0, 0])
    unknown = found.devices(dataclasses.replace(chip.info, device_model=None), faulty, np.ones(3)).model
    assert unknown.curve == CURVE


def test_exponents_are_taken_over_at_their_conductances() -> None:
    """Stated at shares of 20 uS; the model's own conductances count from its own scale."""
    model = drift_result().model(dataclasses.replace(PUBLISHED_DRIFT, g_scale=25.0))
    conductance = np.array([0.5, 2.0, 6.0, 12.0, 20.0, 25.0])
    assert model.mean(conductance / 25.0) == pytest.approx([0.10, 0.10, 0.08, 0.05, 0.02, 0.02])
    halfway = math.sqrt(2.0 * 6.0)
    assert model.mean(np.array([halfway / 25.0])) == pytest.approx([0.09])
    assert (model.t0, model.law.onset, model.spread) == (30.0, pytest.approx(0.1), PUBLISHED_DRIFT.spread)
    assert drift_result(nu_low_sigma=math.inf).to_json() | {"nu_low_sigma": 0.01} == drift_result().to_json()


# ---- the others ----------------------------------------------------------------------------------------------


def test_wires_floors_and_trims_give_every_value() -> None:
    assert WireResult(1.0, 0.1, 20.0, math.inf, 0.9).to_json() == {
        "resistance": 1.0, "resistance_sigma": 0.1, "series": 20.0, "series_sigma": None, "attenuation_min": 0.9,
    }  # fmt: skip
    assert FloorResult(0.05, 0.01, 25.0, 0.04, math.nan, 0.02, 0.01, 250.0).to_json() == {
        "error": 0.05, "error_sigma": 0.01, "age": 25.0, "fast_noise": 0.04, "slow_noise": None, "static": 0.02,
        "rounding": 0.01, "full_scale": 250.0,
    }  # fmt: skip
    trims = TrimResult(np.array([3.0, -4.0]), np.array([0.1, 0.1]))
    assert repr(trims) == "<TrimResult: offsets and gains of 2 columns>"
    assert trims.to_json() == {"offset_lsb_rms": pytest.approx(math.sqrt(12.5)), "gain_rms": pytest.approx(0.1)}


def test_symmetry_points_are_told_in_units_of_weight() -> None:
    """Points scatter by what devices differ, and by what is not known of each."""
    point, sigma = np.array([[1.0, 3.0], [5.0, 7.0]]), np.full((2, 2), 1.0)
    found = SymmetryResult(point, sigma, np.zeros((2, 2)), 10.0, 200.0, 30.0, 0.0)
    assert found.weights == pytest.approx(point / 10)
    assert found.variance == pytest.approx(0.01)
    assert found.to_json() == {
        "mean": pytest.approx(0.4), "spread": pytest.approx(0.2), "sigma": pytest.approx(0.1), "mean_uS": 4.0,
        "sigma_uS": 1.0, "half_range_uS": 10.0, "pairs_per_device": 200.0, "reads_per_device": 30.0,
    }  # fmt: skip
    vague = dataclasses.replace(found, point_sigma=np.full((2, 2), 3.0))
    assert vague.to_json()["spread"] == 0.0
    assert repr(found) == "<SymmetryResult: 4 points, 0.4 +- 0.22 of half the range>"


def test_files_keep_names_that_fields_once_had() -> None:
    names = {item.name: item for item in stored_fields(ConverterResult)}
    assert (names["second_order"].stored, names["unresponsive"].stored, names["offset"].stored) == (
        "square", "silent", "offset",
    )  # fmt: skip
    assert (names["cells"].unit, names["offset"].unit) == ("uS", "LSB")
    assert [item.name for item in stored_fields(curve_result()) if item.optional] == ["relative_noise"]
    assert not any(item.optional for item in names.values())
    assert all(len(item.meaning) > 10 for item in names.values())


def test_summaries_of_nothing_are_none() -> None:
    nothing = np.zeros(0)
    assert (rms(nothing), median(nothing)) == (None, None)
    assert (rms(np.array([3.0, -4.0])), median(np.array([1.0, 2.0, 9.0]))) == (pytest.approx(math.sqrt(12.5)), 2.0)
    assert GainResult(np.ones(1), np.full(1, np.inf), np.ones(1, int)).to_json()["sigma"] is None
