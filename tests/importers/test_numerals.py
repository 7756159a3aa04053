"""Numbers in text, against Python's own reading of them."""

from __future__ import annotations

import numpy as np
import pytest

from hwloop.importers.numerals import PADDING, Found, Numerals, parse, read_one


def parsed(fields: list[str], how: Numerals | None = None) -> tuple[np.ndarray, np.ndarray]:
    text = [field.encode() for field in fields]
    sizes = np.array([len(field) for field in text])
    start = len(PADDING) + np.concatenate([[0], np.cumsum(sizes + 1)[:-1]])
    buffer = np.frombuffer(PADDING + b",".join(text) + PADDING, np.uint8)
    return parse(buffer, start, start + sizes, how or Numerals())


def test_every_number_is_that_of_python_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    numbers = np.concatenate([
        rng.uniform(-1, 1, 6000) * 10.0 ** rng.integers(-25, 25, 6000),
        rng.integers(0, 10**9, 3000).astype(float),
        rng.normal(size=3000),
    ]).tolist()  # fmt: skip
    forms = ["{!r}", "{:.6e}", "{:.18e}", "{:g}", "{:+.3f}", "{:.17g}", "{:E}", "{:.0f}"]
    fields = [forms[k % len(forms)].format(number) for k, number in enumerate(numbers)]
    values, found = parsed(fields)
    np.testing.assert_array_equal(values, [float(field) for field in fields])
    assert np.all(found == Found.NUMBER)


def test_machines_without_extended_floats_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = [repr(number) for number in np.random.default_rng(1).uniform(1e-9, 1e-6, 500).tolist()]
    monkeypatch.setattr(np, "longdouble", np.float64)
    np.testing.assert_array_equal(parsed(fields)[0], [float(field) for field in fields])


@pytest.mark.parametrize(
    "field",
    [
        "+",
        "1e",
        "1e+",
        "e5",
        "1.2.3",
        "1e5.0",
        "1_0",
        "x",
        "0x10",
        "1 2",
        "+-1",
        "--1",
        "1e5e5",
        "1,000",
        "1,00.5",
        "5V",
    ],
)
def test_what_is_no_number_is_text(field: str) -> None:
    values, found = parsed(["1", field, "2"])
    assert found.tolist() == [Found.NUMBER, Found.TEXT, Found.NUMBER]
    assert np.isnan(values[1])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (".5", 0.5), ("5.", 5), ("1.e5", 1e5), ("1D5", 1e5), ("1,000.5", 1000.5), ("1,234,567", 1_234_567),
        ("12345678901234567890123456789", 12345678901234567890123456789.0), ("1e-400", 0),
        ("000000000000000000000001", 1),
        ("1e0000000001", 10), ("inf", np.inf),
    ],
)  # fmt: skip
def test_unusual_numbers(field: str, value: float) -> None:
    values, found = parsed([field])
    assert (values[0], found[0]) == (value, Found.NUMBER)


@pytest.mark.parametrize("field", ["", "nan", "NaN", "N/A", "#N/A", "null", "-", "--", "None"])
def test_words_for_no_value(field: str) -> None:
    assert parsed(["1", field])[1].tolist() == [Found.NUMBER, Found.MISSING]


@pytest.mark.parametrize(
    "field",
    ["9.9e37", "-9.9E+37", "+9.91000E+37", "199.999e99", "OVLD", "overflow", "+OL", "####", "1e38", "Overrange"],
)
def test_codes_of_instruments(field: str) -> None:
    assert parsed(["1", field])[1].tolist() == [Found.NUMBER, Found.OUT_OF_RANGE]


def test_decimal_commas() -> None:
    values, found = parsed(["1,5", "-2,5E-07", "1.234,5", "3", "1.5"], Numerals(","))
    assert values[:4].tolist() == [1.5, -2.5e-7, 1234.5, 3]
    assert found.tolist() == [0, 0, 0, 0, Found.TEXT], "a point may be either"
    assert read_one("1.500", Numerals(",", thousands=True)) == (1500.0, Found.NUMBER)
    assert read_one("0.200", Numerals(",", thousands=True))[1] is Found.TEXT
