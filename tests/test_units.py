"""Every unit that files may carry, and what JSON has no number for."""

from __future__ import annotations

import dataclasses
import math

import pytest

from hwloop.errors import BadInputError
from hwloop.units import conversion, finite, finite_interval, value


@pytest.mark.parametrize(
    ("base", "unit", "factor", "offset"),
    [
        ("uS", "S", 1e6, 0.0), ("uS", "mS", 1e3, 0.0), ("uS", "uS", 1.0, 0.0), ("uS", "nS", 1e-3, 0.0),
        ("uS", "pS", 1e-6, 0.0), ("uS", "\N{MICRO SIGN}S", 1.0, 0.0), ("uS", " \N{GREEK SMALL LETTER MU}S ", 1.0, 0.0),
        ("s", "s", 1.0, 0.0), ("s", "ms", 1e-3, 0.0), ("s", "us", 1e-6, 0.0), ("s", "ns", 1e-9, 0.0),
        ("s", "min", 60.0, 0.0), ("s", "h", 3600.0, 0.0), ("s", "d", 86400.0, 0.0),
        ("ns", "ns", 1.0, 0.0), ("ns", "us", 1e3, 0.0), ("ns", "ms", 1e6, 0.0), ("ns", "s", 1e9, 0.0),
        ("K", "K", 1.0, 0.0), ("K", "degC", 1.0, 273.15),
        ("uA", "A", 1e6, 0.0), ("uA", "mA", 1e3, 0.0), ("uA", "uA", 1.0, 0.0), ("uA", "nA", 1e-3, 0.0),
        ("uA", "pA", 1e-6, 0.0), ("uA", "fA", 1e-9, 0.0),
        ("ohm", "ohm", 1.0, 0.0), ("ohm", "kohm", 1e3, 0.0), ("ohm", "Mohm", 1e6, 0.0), ("ohm", "Gohm", 1e9, 0.0),
        ("V", "V", 1.0, 0.0), ("V", "mV", 1e-3, 0.0), ("V", "uV", 1e-6, 0.0), ("V", "kV", 1e3, 0.0),
        ("1", "1", 1.0, 0.0),
    ],
)  # fmt: skip
def test_a_unit_is_converted(base: str, unit: str, factor: float, offset: float) -> None:
    assert conversion(unit, base) == (pytest.approx(factor, rel=1e-12), offset)


@pytest.mark.parametrize(("base", "unit"), [("uS", "s"), ("ns", "min"), ("V", "A"), ("K", "F"), ("1", ""), ("s", "S")])
def test_a_unit_of_another_quantity_is_refused_with_those_that_fit(base: str, unit: str) -> None:
    with pytest.raises(BadInputError, match=f"the unit '{unit}' cannot be read as {base}; use one of .*{base}"):
        conversion(unit, base)


def test_what_json_has_no_number_for_is_none() -> None:
    assert [finite(one) for one in (1.5, 0.0, math.inf, -math.inf, math.nan, None)] == [
        1.5,
        0.0,
        None,
        None,
        None,
        None,
    ]
    assert finite_interval((1.0, 2.0)) == [1.0, 2.0]
    assert finite_interval((1.0, math.inf)) is finite_interval((math.nan, 2.0)) is None


def test_a_field_carries_its_unit_and_meaning() -> None:
    @dataclasses.dataclass
    class Result:
        age: float = value("s", "of the devices", stored="age_s")
        gain: float = value("1", "of a column")

    age, gain = dataclasses.fields(Result)
    assert dict(age.metadata) == {"unit": "s", "meaning": "of the devices", "stored": "age_s"}
    assert gain.metadata["stored"] == ""
