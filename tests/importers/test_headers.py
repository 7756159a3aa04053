"""Headers and the column maps that they most likely mean."""

from __future__ import annotations

import pytest

from hwloop.importers.headers import propose, unit_line
from hwloop.importers.spelling import canonical


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("cell|Time (s)|Voltage (V)|Current (A)", "cell,time[s],voltage[V],current[A]"),
        ("Zelle|Zeit [h]|Widerstand [kΩ]", "cell,time[h],resistance[kohm]"),
        ("device_id|time_s|I_uA|V_V", "cell,time[s],current[uA],voltage[V]"),
        ("Time, s|Current, I (A)|Voltage, V", "time[s],current[A],voltage[V]"),
        ("t / ms|G / µS|T / °C", "time[ms],conductance[uS],temperature[degC]"),
        ("t (s)|T (K)|R (ohms)", "time[s],temperature[K],resistance[ohm]"),
        ("resistance (ohms)|time (s)|res min|res_max", "resistance[ohm],time[s],,"),
        ("row|time (s)|G (uS)", ",time[s],conductance[uS]"),
        ("WL|BL|time (s)|G (uS)", "word,bit,time[s],conductance[uS]"),
        ("time (s)|D0 (uS)|D1 (uS)|D2 (uS)", "time[s],conductance[uS]:cells"),
        ("cell|time (s)|R1 (ohm)|R2 (ohm)", "cell,time[s],resistance[ohm]:repeats"),
        ("time (s)|read 1 (ohm)|read 2 (ohm)", "time[s],resistance[ohm]:repeats"),
        ("Conductance (uS) at 0.2 V|Time (s)", "conductance[uS],time[s]"),
    ],
)
def test_common_headers(header: str, columns: str) -> None:
    proposal = propose(header.split("|"))
    assert (proposal.columns, proposal.assumed, proposal.doubts) == (columns, (), ())


def test_a_line_of_units_below() -> None:
    units = ["s", "nA", "V", "°C"]
    assert unit_line(units)
    assert not unit_line(["Time", "Current"])
    assert not unit_line(["s", ""]), "one unit may be a word"
    columns = "time[s],current[nA],voltage[V],temperature[degC]"
    assert propose(["Time", "Current", "V", "T"], units).columns == columns


def test_units_that_a_header_does_not_say_are_told() -> None:
    assert propose(["Time", "V1", "I1"]).assumed == ("time[s]", "voltage[V]", "current[A]")
    assert "does not say its unit" in propose(["Time", "Temperature", "G"]).doubts[0]


@pytest.mark.parametrize(
    ("header", "doubt"),
    [
        ("Time (s)|I1 (A)|I2 (A)|V (V)", "columns 2 and 3 are both a current"),
        ("Time (V)|G (uS)", "column 1 (Time) has the unit 'V', which is no s"),
        ("Time (s)|R (mohm)", "has the unit 'mohm'"),
    ],
)
def test_what_may_mean_two_things_is_doubtful(header: str, doubt: str) -> None:
    assert doubt in "; ".join(propose(header.split("|")).doubts)


def test_rows_show_names_and_moments() -> None:
    assert propose(["device", "time", "G (S)"], None, ["A7", "2023-11-14 10:00:00", "1"]).columns == (
        "cell[name],time[iso],conductance[S]"
    )
    assert propose(["device", "time", "G (S)"], None, ["7", "14.11.2023 10:00:00", "1"]).columns == (
        "cell,time[dmy],conductance[S]"
    )
    assert propose(["time", "G (S)"], None, ["03/04/2023 10:00:00", "1"]).doubts


@pytest.mark.parametrize(
    ("spelled", "unit"),
    [
        ("µS", "uS"), ("\N{GREEK SMALL LETTER MU}S", "uS"), ("Sec", "s"), ("S", "S"), ("mS", "mS"), ("ms", "ms"),
        ("\N{OHM SIGN}", "ohm"), ("KOhm", "kohm"), ("MΩ", "Mohm"), ("mΩ", "mohm"), ("deg C", "degC"), ("hrs", "h"),
        ("Siemens", "S"), ("pA", "pA"), ("furlong", "furlong"),
    ],
)  # fmt: skip
def test_spellings_of_units(spelled: str, unit: str) -> None:
    assert canonical(spelled) == unit
