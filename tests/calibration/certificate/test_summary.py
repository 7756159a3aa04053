"""What `calibrate show` prints of results: names and figures, without the arrays."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import numpy as np
import pytest

from hwloop.calibration.routines.results import FloorResult, WireResult
from hwloop.mapping.ranges import RangeResult
from tests.calibration import made_up
from tests.conftest import OpenChip

CHIP = "sim:hermes-core?rows=16&columns=12&seed=1"


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def test_devices_are_counted_by_fault(open_chip: OpenChip) -> None:
    devices = made_up.core(open_chip(CHIP)).devices
    fault = devices.fault.copy()
    fault[0, 0, 0, :5] = 2, 3, 4, 5, 6
    told = dataclasses.replace(devices, fault=fault).to_json()
    assert told == {
        "good": int((fault == 0).sum()), "stuck_set": int((fault == 1).sum()), "stuck_reset": 1, "weak": 1, "noisy": 1,
        "dead_row": 1, "dead_column": 1, "typical_high_uS": 10.0,
    }  # fmt: skip


def test_converters_by_what_is_known_of_responsive_columns() -> None:
    unresponsive = np.arange(12) < 4
    sigma = np.where(np.arange(16) < 6, np.inf, np.linspace(0.1, 0.2, 16))
    made = made_up.converters(
        16, 12, unresponsive=unresponsive, row_second_order_sigma=sigma, row_third_order_sigma=np.full(16, np.inf)
    )
    told, known = made.to_json(), ~unresponsive
    assert (told["columns"], told["silent_columns"], told["adc_noise_lsb"], told["full_scale_uS"]) == (8, 4, 0.3, 256.0)
    assert told["noise_lsb"] == np.median(made.noise[known])
    for key, field in (("offset", "offset"), ("square", "second_order"), ("cubic", "third_order")):
        values, uncertain = getattr(made, field)[known], getattr(made, f"{field}_sigma")[known]
        assert told[f"{key}_lsb"] == {"rms": pytest.approx(rms(values)), "sigma": np.median(uncertain)}
    assert told["row_square_lsb"] == {
        "rms": pytest.approx(rms(made.row_second_order[6:])),
        "sigma": np.median(sigma[6:]),
    }
    assert told["row_cubic_lsb"] == {"rms": None, "sigma": None}


def test_gains_and_trims(open_chip: OpenChip) -> None:
    core = made_up.core(open_chip(CHIP))
    sigma = np.where(np.arange(12) < 2, np.inf, core.gains.gain_sigma)
    told = dataclasses.replace(core.gains, gain_sigma=sigma).to_json()
    assert told["spread"] == pytest.approx(np.std(core.gains.gain[2:]))
    assert told["sigma"] == pytest.approx(np.median(sigma[2:]))
    assert dataclasses.replace(core.gains, gain_sigma=np.full(12, np.inf)).to_json()["spread"] is None
    trims = core.trims.to_json()
    assert trims == {
        "offset_lsb_rms": pytest.approx(rms(core.trims.offset)),
        "gain_rms": pytest.approx(rms(core.trims.gain)),
    }


def test_curves_by_their_scalars_and_the_median_of_each_devices_uncertainty(open_chip: OpenChip) -> None:
    curve = made_up.core(open_chip(CHIP)).programming_curve
    told = curve.to_json()
    assert told["midpoint"] == curve.midpoint
    assert told["shift_sigma"] == np.median(curve.shift_sigma)
    assert told["height_sigma"] == np.median(curve.height_sigma)
    assert not {"shift", "height"} & told.keys()


@pytest.mark.parametrize("kind", [WireResult, FloorResult, RangeResult])
def test_scalars_by_their_names_and_none_for_what_is_not_finite(kind: type) -> None:
    names = [field.name for field in dataclasses.fields(kind)]
    result = kind(*(float(k) for k in range(len(names) - 1)), float("inf"))
    assert result.to_json() == dict(zip(names, [*range(len(names) - 1), None], strict=True))


def test_a_calibration_says_when_each_part_was_measured_and_until_when_it_is_valid(open_chip: OpenChip) -> None:
    known = dataclasses.replace(made_up.calibration(open_chip(CHIP)), temperature=float("nan"))
    told = known.to_json()
    json.dumps(told, allow_nan=False)
    assert told["temperature_kelvin"] is None
    assert told["chip"]["rows"] == 16
    assert told["parts"]["programming_curve"] == {
        "measured": "2026-01-02T03:04:05+00:00",
        "holds_days": 30.0,
        "holds_until": "2026-02-01T03:04:05+00:00",
        "because": "pulse drivers age; devices change with the number of their pulses (assumed)",
    }
    assert [core["core"] for core in told["cores"]] == [0]
    assert set(told["cores"][0]) == {"core", *known.cores[0].parts()}


def test_a_part_is_valid_up_to_its_last_moment(open_chip: OpenChip) -> None:
    known = made_up.calibration(open_chip(CHIP))
    end = made_up.DATE + timedelta(days=7)
    assert known.valid_until("converters") == end
    assert known.out_of_date(end) == []
    late = known.out_of_date(end + timedelta(seconds=1))
    assert [text.split("'")[1] for text in late] == ["converters", "gains"]
    assert known.out_of_date(made_up.DATE - timedelta(minutes=5)) == []
    assert len(known.out_of_date(made_up.DATE - timedelta(minutes=5, seconds=1))) == 1
