"""Column maps: what they may say, and what is refused."""

from __future__ import annotations

import re

import pytest

from hwloop.errors import BadInputError
from hwloop.importers.columns import parse_columns


def test_the_map_of_the_manual() -> None:
    columns = parse_columns("cell,time[s],resistance[ohm],conductance[S],,level,nominal_time[s]")
    assert [(source.name, source.index) for source in columns.sources] == [
        ("cell", 0),
        ("time", 1),
        ("resistance", 2),
        ("conductance", 3),
        ("level", 5),
        ("nominal_time", 6),
    ]
    assert columns.width == 7
    assert not columns.samples


def test_blanks_around_names_and_units_do_not_matter() -> None:
    columns = parse_columns(" cell , time [ min ],conductance[ nS ] ")
    assert [(s.name, s.factor) for s in columns.sources] == [("cell", 1), ("time", 60), ("conductance", 1e-3)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell,time[s],conductivity[S]", "column 3: unknown name 'conductivity[S]'; known: cell"),
        ("cell,time,conductance[S]", "column 2: 'time' needs its unit, such as time[s]"),
        ("cell,time[S],conductance[S]", "column 2, time: the unit 'S' cannot be read as s"),
        ("cell,time[weeks],conductance[S]", "the unit 'weeks' cannot be read as s; use one of s, ms"),
        ("cell[1],time[s],conductance[S]", "column 1: 'cell' is a number and has no unit"),
        ("cell,cell,conductance[S]", "column 2: 'cell' is given twice"),
        ("cell,time[s],level", "no conductance[S], resistance[ohm] or current[A]"),
        ("cell,time[s],current[A]", "needs the voltage[V]"),
        ("cell,time[s],conductance[code]", "state what one code stands for, such as --code-step"),
        ("conductance[S]...,time[s]", "put it behind the last name"),
        ("cell,time[s]...", "put it behind the last name"),
        (",[S]", "column 2: unknown name '[S]'"),
    ],
)
def test_a_map_that_cannot_be_used_is_refused_with_the_column(text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(message)):
        parse_columns(text)


@pytest.mark.parametrize(
    ("column", "factor", "offset"),
    [
        ("time[ms]", 1e-3, 0),
        ("time[d]", 86_400, 0),
        ("conductance[S]", 1e6, 0),
        ("conductance[mS]", 1e3, 0),
        ("resistance[Mohm]", 1e6, 0),
        ("current[A]", 1e6, 0),
        ("current[nA]", 1e-3, 0),
        ("voltage[mV]", 1e-3, 0),
        ("pulse_voltage[mV]", 1e-3, 0),
        ("width[s]", 1e9, 0),
        ("width[us]", 1e3, 0),
        ("amplitude[mA]", 1e3, 0),
        ("temperature[degC]", 1, 273.15),
    ],
)
def test_units_become_those_of_hwloop(column: str, factor: float, offset: float) -> None:
    name = column.partition("[")[0]
    columns = parse_columns(f"{column},conductance[uS]" if name != "conductance" else column)
    source = columns.sources[0]
    assert (source.factor, source.offset) == (pytest.approx(factor), pytest.approx(offset))
