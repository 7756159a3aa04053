"""Every value that a calibration has of a core, with its unit and how well it is known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

from hwloop.calibration.routines.core import CoreCalibration
from hwloop.pages.page import Cell, Column, Table

Row: TypeAlias = tuple[Cell, ...]
Told: TypeAlias = dict[str, Any]
"""The JSON object of a part, or of all."""

COLUMNS = (
    Column("value of"),
    Column("value", style=".4g"),
    Column("known to", style=".2g"),
    Column("unit"),
    Column("what it is"),
)


def table_of_values(core: CoreCalibration, index: int, *, detail: bool) -> Table:
    """Make the table of all that is known of a core."""
    told: Told = core.to_json()
    rows = tuple(_rounded(row) for name, rows in _ROWS.items() if name in told for row in rows(told[name]))
    return Table(f"Core {index}", COLUMNS, rows, "Known to: one standard deviation.", detail=detail)


def _rounded(row: Row) -> Row:
    """Leave a value the digits that it is known to: two of its uncertainty."""
    what, value, sigma, *rest = row
    if not isinstance(value, float) or not isinstance(sigma, float) or not 0 < sigma < math.inf:
        return row
    return what, round(value, 1 - math.floor(math.log10(sigma))), sigma, *rest


def _devices(d: Told) -> Iterator[Row]:
    yield "good devices", d["good"], None, "", "answer to pulses as they should"
    for name, count in d.items():
        if name not in ("good", "typical_high_uS") and count:
            yield name.replace("_", " "), count, None, "", "devices"
    yield "SET device", d["typical_high_uS"], None, "uS", "conductance of a typical one"


def _trims(t: Told) -> Iterator[Row]:
    yield "offset trims", t["offset_lsb_rms"], None, "LSB rms", "in the registers; what follows is what they leave"
    yield "gain trims", _percent(t["gain_rms"]), None, "% rms", "in the registers"


def _converters(c: Told) -> Iterator[Row]:
    yield _of("ADC offset", c["offset_lsb"], "of the columns")
    yield _of("ADC second order", c["square_lsb"], "nonlinearity at full scale")
    yield _of("ADC third order", c["cubic_lsb"], "nonlinearity at full scale")
    if c["row_cubic_lsb"]["rms"] is not None:
        yield _of("DAC second order", c["row_square_lsb"], "nonlinearity of the rows")
        yield _of("DAC third order", c["row_cubic_lsb"], "nonlinearity of the rows")
    yield "ADC noise", c["adc_noise_lsb"], None, "LSB", "before rounding"
    yield "scatter", c["noise_lsb"], None, "LSB", "of outputs about their curves"
    if c["silent_columns"]:
        yield "silent columns", c["silent_columns"], None, "", "conduct too little to show their converters"


def _gains(g: Told) -> Iterator[Row]:
    said = "spread over columns, as a product with their SET devices, taken to be alike on average"
    yield "ADC gain", _percent(g["spread"]), _percent(g["sigma"]), "%", said


def _wires(w: Told) -> Iterator[Row]:
    yield "wires", w["resistance"], w["resistance_sigma"], "ohm", "resistance per cell"
    yield "in series", w["series"], w["series_sigma"], "ohm", "resistance of each line"


def _curve(p: Told) -> Iterator[Row]:
    yield "programming curve", p["midpoint"], p["midpoint_sigma"], "uA", "midpoint of the typical device"
    yield "highest", p["g_max"], None, "uS", "conductance on the curve"
    yield "lowest", p["g_min"], None, "uS", "conductance on the curve"
    yield "melting", p["melt"], None, "uA", "current from which a pulse acts"
    yield "steepness", p["steepness"], None, "uA", "width of the curve"
    yield "midpoints", p["midpoint_spread"], p["shift_sigma"], "uA", "spread of the devices' midpoints"
    yield "jitter", p["jitter"], None, "uA", "from pulse to pulse"


def _drift(d: Told) -> Iterator[Row]:
    yield "drift, low", d["nu_low"], None, "", f"exponent at {d['at_low'] * d['g_scale']:.1f} uS"
    yield "drift, high", d["nu_high"], None, "", "exponent of SET devices"
    if d["onset"]:
        yield "onset of drift", d["onset"], d["onset_sigma"], "s", "after a pulse"
    yield "seen until", d["last_look"], None, "s", f"after a pulse, by MVMs, from {d['first_look']:.2g} s on"


def _symmetry_points(s: Told) -> Iterator[Row]:
    yield "symmetry points", s["mean"], None, "", f"their mean, of half the range ({s['half_range_uS']:.3g} uS)"
    yield "their spread", s["spread"], None, "", "from cell to cell"
    cost = f"{s['pairs_per_device']:,.0f} pairs of pulses and {s['reads_per_device']:,.0f} reads a device"
    yield "each known to", s["sigma"], None, "", f"one standard deviation, by {cost}"


def _ranges(r: Told) -> Iterator[Row]:
    yield "input scale", r["input_scale"], None, "", "input that drives a converter fully"
    yield "converter range", r["full_scale"], None, "uS", "that suits the weights and inputs"
    yield "both converters", r["error"], None, "", "relative error that they add"


def _floor(f: Told) -> Iterator[Row]:
    yield "noise floor", f["error"], f["error_sigma"], "", f"MVM error {f['age']:g} s after perfect programming"
    yield "fast noise", f["fast_noise"], None, "", "its part of the floor"
    yield "slow noise", f["slow_noise"], None, "", "its part of the floor"
    yield "static", f["static"], None, "", "part of the floor that stays"
    yield "rounding", f["rounding"], None, "", "is within these parts"


_ROWS = {
    "devices": _devices,
    "trims": _trims,
    "converters": _converters,
    "gains": _gains,
    "wires": _wires,
    "programming_curve": _curve,
    "drift": _drift,
    "symmetry_point": _symmetry_points,
    "ranges": _ranges,
    "floor": _floor,
}
"""Rows of each part, by its name in JSON."""


def _of(what: str, value: dict[str, float | None], said: str) -> Row:
    return what, value["rms"], value["sigma"], "LSB rms", said


def _percent(value: float | None) -> float | None:
    return None if value is None else 100.0 * value
