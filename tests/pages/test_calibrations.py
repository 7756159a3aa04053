"""Pages of calibrations: of one core, of several, of a chip over time, and of a calibration beside a probe."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from hwloop.calibration.certificate.certificate import Calibration, Identity
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.results import Fault
from hwloop.errors import BadInputError
from hwloop.pages.calibrations import page_of_calibration, page_of_calibrations, page_of_check
from hwloop.pages.page import Page

NOON = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
HERMES = Identity("hermes", "7", cores=4, rows=32, columns=16, devices_per_polarity=2, input_bits=8, output_bits=8)
HEAD = ("core", "bad devices", "ADC offset", "gain spread", "ADC noise", "curve midpoint", "wires")


class Told(SimpleNamespace):
    """A part of a core: what its table asks for."""

    def to_json(self) -> dict[str, object]:
        return {}


def core(**parts: Told) -> SimpleNamespace:
    """A core of which these parts are known."""
    names = ("devices", "trims", "converters", "gains", "wires", "programming_curve", "drift", "symmetry_point")
    made = dict.fromkeys((*names, "ranges", "floor")) | parts
    return SimpleNamespace(**made, to_json=dict)


def full_core() -> SimpleNamespace:
    """Two of eight devices are bad; offsets of 3 and 4 LSB; gains of 0.9 and 1.1."""
    fault = np.array([Fault.GOOD] * 6 + [Fault.WEAK, Fault.STUCK_SET], np.uint8)
    return core(
        devices=Told(fault=fault, count=lambda kind: int((fault == kind).sum())),
        converters=Told(offset=np.array([3.0, -4.0]), adc_noise=0.7),
        gains=Told(gain=np.array([0.9, 1.1])),
        programming_curve=Told(midpoint=251.0),
        wires=Told(resistance=0.35),
        floor=Told(error=0.05),
    )


def calibration(*cores: SimpleNamespace, **more: object) -> SimpleNamespace:
    made: dict[str, object] = {
        "chip": HERMES,
        "created": NOON,
        "temperature": 300.04,
        "cores": dict(enumerate(cores)),
        "dates": {"devices": NOON, "programming_curve": NOON + timedelta(hours=2)},
        "seed": 5,
        "cost": {"pulses": 12345.0, "device_reads": 678.0, "mvms": 9.0, "chip_seconds": 90.0},
        "skipped": {},
        "settings": {},
        "hwloop_version": "1.2",
        "measured": lambda: ["devices", "programming_curve"],
        "valid_until": lambda name: NOON + timedelta(days=30),
        "out_of_date": list,
    }
    return SimpleNamespace(**made | more)


def told(page: Page) -> dict[str, str]:
    return {one.name: one.text for one in (*page.facts, *page.provenance)}


def test_the_page_of_one_core() -> None:
    page = page_of_calibration(calibration(full_core()), "a b.json")
    assert (page.kind, page.title) == ("calibration", "Calibration of hermes 7")
    assert page.verdict == (
        "Measured on 2026-03-04 12:30 UTC: devices, programming curve; 2 of 8 devices are not good."
    )
    assert told(page) == {
        "geometry": "4 cores of 32 x 16 cells", "calibrated": "core 0", "pulses": "12,345", "device reads": "678",
        "MVM vectors": "9", "chip time": "1min 30s", "chip temperature": "300.0 K", "file": "a b.json", "seed": "5",
        "settings": "defaults", "hwloop": "1.2",
    }  # fmt: skip
    assert page.warnings == ()
    assert [one.name for one in page.onward] == [
        "hwloop calibrate check 'a b.json' --backend URI", "hwloop report 'a b.json' --out report.html",
    ]  # fmt: skip
    parts, values = page.tables
    assert parts.rows == (
        ("devices", "2026-03-04 12:30", "2026-04-03"), ("programming curve", "2026-03-04 14:30", "2026-04-03"),
    )  # fmt: skip
    assert (values.title, values.detail) == ("Core 0", False)
    assert [(one.name, one.title) for one in page.pictures] == [
        ("faults", "Faults of devices"), ("offsets", "ADC offsets"), ("gains", "Gains of columns"),
        ("programming-curve", "Programming curve"), ("shifts", "Shifts of devices"),
    ]  # fmt: skip


def test_several_cores_have_a_table_in_common_and_pictures_of_their_own() -> None:
    page = page_of_calibration(calibration(full_core(), core()))
    _, cores, first, second = page.tables
    assert tuple(one.title for one in cores.columns[:7]) == HEAD
    assert cores.rows[0] == pytest.approx(("0", 2, math.sqrt(12.5), 10.0, 0.7, 251.0, 0.35, 0.05))
    assert cores.rows[1] == ("1", *[None] * 7)
    assert [(one.title, one.detail) for one in (first, second)] == [("Core 0", True), ("Core 1", True)]
    assert told(page)["calibrated"] == "core 0, 1"
    assert [(one.name, one.title) for one in page.pictures][:2] == [
        ("faults-core0", "Faults of devices of core 0"), ("offsets-core0", "ADC offsets of core 0"),
    ]  # fmt: skip
    assert {one.name.rpartition("-")[2] for one in page.pictures} == {"core0"}
    assert page.onward == ()
    assert told(page)["file"] == "none"


def test_what_is_not_known_is_not_said() -> None:
    bare = calibration(
        core(), temperature=math.nan, cost={}, measured=list, settings={"days": 2}, skipped={"wires_now": "no MVM"},
        out_of_date=lambda: ["the part is old"],
    )  # fmt: skip
    page = page_of_calibration(bare, "c.json")
    assert page.verdict == "Measured on 2026-03-04 12:30 UTC: nothing."
    assert "chip temperature" not in told(page)
    assert [told(page)[name] for name in ("pulses", "device reads", "MVM vectors", "chip time")] == ["0"] * 3 + ["0s"]
    assert told(page)["settings"] == '{"days": 2}'
    assert page.warnings == ("Not done: wires now: no MVM.", "Out of date: the part is old.")
    assert page.pictures == ()


@pytest.mark.parametrize("why", ["interrupted", "unfinished"])
def test_what_was_stopped_is_gone_on_with(why: str) -> None:
    page = page_of_calibration(calibration(core(), skipped={why: "Ctrl-C"}), "c.json")
    assert [one.name for one in page.onward] == ["hwloop resume c.json"]


def test_a_history_begins_with_the_oldest_and_shows_the_latest() -> None:
    old = calibration(full_core(), seed=1, temperature=math.nan)
    new = calibration(core(), created=NOON + timedelta(days=1), seed=2)
    page = page_of_calibrations([new, old])
    assert told(page)["seed"] == "2"
    history = page.tables[0]
    assert history.title == "History"
    assert [one.title for one in history.columns] == ["measured (UTC)", *HEAD[:6], "floor", "chip"]
    assert history.rows[0][:3] == ("2026-03-04 12:30", "0", 2)
    assert history.rows[0][6:] == (251.0, 0.05, None)
    assert history.rows[1] == ("2026-03-05 12:30", "0", *[None] * 6, 300.04)
    assert [one.title for one in page.tables[1:]] == ["Parts", "Core 0"]


def test_a_history_of_one_is_its_page_and_other_chips_are_refused() -> None:
    one = calibration(full_core())
    assert page_of_calibrations([one]).tables == page_of_calibration(one).tables
    other = calibration(core(), chip=replace(HERMES, serial="8"))
    with pytest.raises(BadInputError, match="these calibrations are of different chips; show one chip's alone"):
        page_of_calibrations([one, other])


@pytest.mark.parametrize(
    ("holds", "verdict"),
    [(True, "of 2026-03-04T12:30 UTC holds."), (False, "of 2026-03-04T12:30 UTC no longer holds; calibrate again.")],
)
def test_the_page_of_a_check(holds: bool, verdict: str) -> None:
    seen = [
        SimpleNamespace(core=None, what="temperature", compared=1, moved=0, worst=1.5),
        SimpleNamespace(core=2, what="ADC offsets", compared=16, moved=3, worst=7.25),
    ]
    report = SimpleNamespace(findings=seen, holds=holds, created="2026-03-04T12:30:55", warnings=["warm"])
    page = page_of_check(report)
    assert page.verdict == f"The calibration {verdict}"
    assert page.tables[0].rows == (("-", "temperature", 1, 0, 1.5), ("2", "ADC offsets", 16, 3, 7.25))
    assert (page.warnings, page.pictures) == (("warm",), ())


def test_a_calibration_of_nothing_has_a_page() -> None:
    chip = replace(HERMES, serial="", cores=1, rows=2, columns=3)
    page = page_of_calibration(Calibration(chip, NOON, math.nan, {0: CoreCalibration()}, {}))
    assert page.title == "Calibration of hermes"
    assert told(page)["geometry"] == "1 core of 2 x 3 cells"
