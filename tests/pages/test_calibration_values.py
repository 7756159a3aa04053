"""The table of all that a calibration knows of a core: values to the digits that they are known to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hwloop.pages.calibration_values import table_of_values

TOLD = {
    "devices": {"good": 90, "stuck_set": 3, "dead_row": 0, "typical_high_uS": 21.0},
    "trims": {"offset_lsb_rms": 1.5, "gain_rms": 0.02},
    "converters": {
        "offset_lsb": {"rms": 2.3456, "sigma": 0.02}, "square_lsb": {"rms": 0.5, "sigma": None},
        "cubic_lsb": {"rms": 0.4, "sigma": 0.0}, "row_square_lsb": {"rms": 0.31, "sigma": 0.1},
        "row_cubic_lsb": {"rms": 0.21, "sigma": 0.1}, "adc_noise_lsb": 0.7, "noise_lsb": 0.9, "silent_columns": 2,
    },
    "gains": {"spread": 0.03, "sigma": None},
    "wires": {"resistance": 0.3567, "resistance_sigma": 0.011, "series": 20.0, "series_sigma": 300.0},
    "programming_curve": {
        "midpoint": 251.26, "midpoint_sigma": 0.4, "g_max": 20.0, "g_min": 0.1, "melt": 170.0, "steepness": 15.0,
        "midpoint_spread": 6.0, "shift_sigma": 1.0, "jitter": 2.0,
    },
    "drift": {
        "nu_low": 0.08, "at_low": 0.1, "g_scale": 25.0, "nu_high": 0.05, "onset": 0.0, "onset_sigma": None,
        "last_look": 60.0, "first_look": 0.5,
    },
    "symmetry_point": {
        "mean": 0.2, "half_range_uS": 10.0, "spread": 0.05, "pairs_per_device": 5000.0, "reads_per_device": 256.0,
        "sigma": 0.03,
    },
    "ranges": {"input_scale": 1.5, "full_scale": 400.0, "error": 0.01},
    "floor": {
        "error": 0.0512, "error_sigma": 0.001, "age": 60.0, "fast_noise": 0.03, "slow_noise": 0.02, "static": 0.01,
        "rounding": 0.01,
    },
}  # fmt: skip


def values(**told: dict[str, object]) -> dict[str, tuple[object, ...]]:
    """Rows of the table by their names."""
    table = table_of_values(SimpleNamespace(to_json=lambda: told), 3, detail=True)  # type: ignore[arg-type]
    assert (table.title, table.detail) == ("Core 3", True)
    return {str(row[0]): row[1:] for row in table.rows}


def test_every_part_has_its_values_with_their_units() -> None:
    found = values(**TOLD)
    assert {name: row[:3] for name, row in found.items()} == {
        "good devices": (90, None, ""), "stuck set": (3, None, ""), "SET device": (21.0, None, "uS"),
        "offset trims": (1.5, None, "LSB rms"), "gain trims": (2.0, None, "% rms"),
        "ADC offset": (2.346, 0.02, "LSB rms"), "ADC second order": (0.5, None, "LSB rms"),
        "ADC third order": (0.4, 0.0, "LSB rms"), "DAC second order": (0.31, 0.1, "LSB rms"),
        "DAC third order": (0.21, 0.1, "LSB rms"), "ADC noise": (0.7, None, "LSB"), "scatter": (0.9, None, "LSB"),
        "silent columns": (2, None, ""), "ADC gain": (3.0, None, "%"), "wires": (0.357, 0.011, "ohm"),
        "in series": (20.0, 300.0, "ohm"), "programming curve": (251.26, 0.4, "uA"), "highest": (20.0, None, "uS"),
        "lowest": (0.1, None, "uS"), "melting": (170.0, None, "uA"), "steepness": (15.0, None, "uA"),
        "midpoints": (6.0, 1.0, "uA"), "jitter": (2.0, None, "uA"), "drift, low": (0.08, None, ""),
        "drift, high": (0.05, None, ""), "seen until": (60.0, None, "s"), "symmetry points": (0.2, None, ""),
        "their spread": (0.05, None, ""), "each known to": (0.03, None, ""), "input scale": (1.5, None, ""),
        "converter range": (400.0, None, "uS"), "both converters": (0.01, None, ""),
        "noise floor": (0.0512, 0.001, ""), "fast noise": (0.03, None, ""), "slow noise": (0.02, None, ""),
        "static": (0.01, None, ""), "rounding": (0.01, None, ""),
    }  # fmt: skip
    assert found["drift, low"][3] == "exponent at 2.5 uS"
    assert found["seen until"][3] == "after a pulse, by MVMs, from 0.5 s on"
    assert found["symmetry points"][3] == "their mean, of half the range (10 uS)"
    assert found["each known to"][3] == "one standard deviation, by 5,000 pairs of pulses and 256 reads a device"


def test_what_was_not_seen_is_left_out() -> None:
    bare = TOLD["converters"] | {"row_cubic_lsb": {"rms": None, "sigma": None}, "silent_columns": 0}
    found = values(converters=bare, trims={"offset_lsb_rms": 0.0, "gain_rms": None})
    assert not [name for name in found if name.startswith(("DAC", "silent"))]
    assert found["gain trims"][0] is None
    assert values(drift=TOLD["drift"] | {"onset": 0.1234, "onset_sigma": 0.01})["onset of drift"][:2] == (0.123, 0.01)


@pytest.mark.parametrize(("sigma", "shown"), [(0.4, 251.26), (4.0, 251.3), (40.0, 251.0), (400.0, 250.0)])
def test_a_value_has_two_digits_of_its_uncertainty(sigma: float, shown: float) -> None:
    curve = TOLD["programming_curve"] | {"midpoint_sigma": sigma}
    assert values(programming_curve=curve)["programming curve"][0] == shown
