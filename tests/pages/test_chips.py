"""The page of a chip: what it is, what it bears, and where each of its numbers comes from."""

from __future__ import annotations

from types import SimpleNamespace

import hwloop
from hwloop.chip.info import Parameter, ReadMode
from hwloop.drivers.selftest import Check
from hwloop.pages.chips import page_of_chip, page_of_description
from hwloop.pages.page import Page


def described(*parameters: Parameter, **more: object) -> Page:
    made = {
        "name": "hermes", "serial": "7", "cores": 3, "rows": 32, "columns": 16, "devices_per_polarity": 2,
        "devices_per_core": 2048, "input_bits": 8, "output_bits": 9, "g_max": 25.0, "read_voltage": 0.2,
        "adc_range": (100.0, 200.0, 400.0), "trims": None, "read_modes": (),
        "capabilities": [SimpleNamespace(value="mvm"), SimpleNamespace(value="device reads")],
        "limits": SimpleNamespace(amplitude_max=700.0, width_min=10.0, width_max=5000.0, pulses_per_device=1_000_000),
    }  # fmt: skip
    return page_of_description("sim:x", SimpleNamespace(**made | more), parameters)


def test_what_a_chip_is_and_bears() -> None:
    page = described()
    assert page.title == "hermes 7"
    assert page.verdict == "3 cores of 32 x 16 cells with 2 devices per polarity, 6,144 devices in all."
    assert {one.name: one.text for one in page.facts} == {
        "backend": "sim:x", "inputs and outputs": "8 bits in, 9 bits out", "highest conductance": "25 uS",
        "read voltage": "0.2 V", "ADC range": "100 to 400 uS", "pulses": "up to 700 uA, 10 to 5000 ns",
        "pulses of a device": "1,000,000 at most", "capabilities": "device reads, mvm",
    }  # fmt: skip
    assert page.tables == ()


def test_trims_are_told_where_there_are_any() -> None:
    trims = SimpleNamespace(offset_step=0.5, offset_max=16.0, gain_step=0.01, gain_max=0.25)
    facts = {one.name: one.text for one in described(trims=trims).facts}
    assert facts["converter trims"] == "offset in steps of 0.5 up to 16 LSB, gain of 0.01 up to 0.25"


def test_costs_of_reads_are_in_nanoseconds_and_nanojoules() -> None:
    (table,) = described(read_modes=(ReadMode("fast", 1.3e-7, 2.5e-9), ReadMode("slow", 5e-7))).tables
    assert table.rows == (("fast", 1e9 * 1.3e-7, 2.5), ("slow", 500.0, None))
    assert [table.columns[1].write(row[1]) for row in table.rows] == ["130", "500"]


def test_sources_are_numbered_in_the_order_in_which_they_come() -> None:
    page = described(
        Parameter("a", 1, "uS", "paper A", "the first"), Parameter("b", 2, "", "assumed"),
        Parameter("c", True, "V", "paper B"), Parameter("d", "x", "", "paper A"),
    )  # fmt: skip
    parameters, sources = page.tables
    assert [one.title for one in parameters.columns] == ["parameter", "value", "unit", "meaning", "source"]
    assert parameters.rows == (
        ("a", "1", "uS", "the first", "[1]"), ("b", "2", "", "-", "assumed"), ("c", "True", "V", "-", "[2]"),
        ("d", "x", "", "-", "[1]"),
    )  # fmt: skip
    assert sources.rows == (("[1]", "paper A"), ("[2]", "paper B"))


def test_there_is_no_column_of_meanings_where_none_is_known() -> None:
    (parameters,) = described(Parameter("b", 2, "", "assumed")).tables
    assert [one.title for one in parameters.columns] == ["parameter", "value", "unit", "source"]
    assert parameters.rows == (("b", "2", "", "assumed"),)


def test_only_checks_that_failed_are_warned_of() -> None:
    checks = [Check("echo", True, "all"), Check("limits", False, "0 uA"), Check("trims", None, "has none")]
    with hwloop.connect("sim:pcm-ideal?rows=4&columns=4") as chip:
        page = page_of_chip("sim:x", chip, checks)
        assert page_of_chip("sim:x", chip).tables[0].title != "Self-test"
    assert page.tables[0].rows == (
        ("passed", "echo", "all"), ("FAILED", "limits", "0 uA"), ("not run", "trims", "has none"),
    )  # fmt: skip
    assert page.warnings == ("the self-test failed: limits: 0 uA",)
