"""Measurements as people bring them: each comes in right, or is refused with the way out, or says what is doubtful.

Every input is written here from the same nine reads of three cells, in another dress.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from hwloop.errors import BadInputError
from tests.importers.conftest import Import

TIMES = (1.0, 10.0, 100.0)
G = {0: (5.0, 4.0, 3.2), 1: (2.0, 1.6, 1.25), 2: (10.0, 8.0, 6.25)}
"""uS of the cells at those ages; their resistances are whole numbers of kohm and ohm."""
ROWS = [(cell, time, g) for cell, values in G.items() for time, g in zip(TIMES, values, strict=True)]
CLOCK = 1_700_000_000.0


def table(header: str, row: str, end: str = "\n", rows: list[tuple[int, float, float]] = ROWS) -> str:
    """A text with a line per read; `row` is filled with cell c, time t, conductance g (uS), resistance r and so on."""
    lines = [
        row.format(
            c=c, t=t, g=g, r=1e6 / g, mega=1 / g, k=1e3 / g, i=0.2e-6 * g, na=200 * g, ns=1e3 * g, pa=2e5 * g,
            w=c // 2, b=c % 2,
            clock=CLOCK + 60 * c + t, second=60 * c + t, minute=int(t) // 60, rest=t % 60, hour=t / 3600, ms=1e3 * t,
        )
        for c, t, g in rows
    ]  # fmt: skip
    return end.join([header, *lines] if header else lines) + end


@dataclass(frozen=True)
class Case:
    """An input, how it is imported, and what comes of it."""

    text: str | bytes
    options: dict[str, Any] = field(default_factory=dict)
    """Among them the column map, as `columns`; 'auto' unless it is given."""
    refused: str = ""
    """A part of the refusal; empty where it comes in."""
    says: tuple[str, ...] = ()
    """What the report says of it: reasons, questions, notes."""
    missing: int = 0
    """Reads that do not come in."""
    unequal: bool = False
    """Whether values are questioned that are not those of the nine reads."""


def comma(text: str) -> str:
    return text.replace(".", ",")


def wide() -> str:
    """The nine reads with a column for each cell."""
    lines = [f"{t},{G[0][k]},{G[1][k]},{G[2][k]}" for k, t in enumerate(TIMES)]
    return "\n".join(["t (s),D0 (uS),D1 (uS),D2 (uS)", *lines]) + "\n"


GCSV = "{c},{t},{g}"
US = "cell,time[s],conductance[uS]"
FIRST = {"start": 1.0}
CASES = {
    # encodings, line ends, packing
    "UTF-16 with mark": Case(table("Cell\tTime (s)\tG (µS)", "{c}\t{t}\t{g}").encode("utf-16")),
    "UTF-16 without mark": Case(table(US, GCSV).encode("utf-16-le"), says=("UTF-16-LE",)),
    "Latin-1": Case(table("Cell;Time (s);G (µS)", "{c};{t};{g}").encode("latin-1"), says=("Latin-1",)),
    "UTF-8 with mark and CR LF": Case(b"\xef\xbb\xbf" + table(US, GCSV, "\r\n").encode()),
    "CR alone": Case(table(US, GCSV, "\r")),
    "gzip": Case(gzip.compress(table(US, GCSV).encode(), mtime=0)),
    "a column for each of A, B, C": Case(wide().replace("D0", "A").replace("D1", "B").replace("D2", "C")),
    "a column for each of dev A, dev B, dev C": Case(
        wide().replace("D0", "dev A").replace("D1", "dev B").replace("D2", "dev C")
    ),
    "a workbook": Case(b"PK\x03\x04" + b"\0" * 100, refused="an Excel workbook; unpack it, or save the sheet as CSV"),
    "UTF-32": Case(table(US, GCSV).encode("utf-32"), refused="UTF-32"),
    # numbers
    "decimal commas": Case(comma(table("Zelle;Zeit (s);Leitwert (uS)", "{c};{t};{g}"))),
    "decimal commas after tabs": Case(comma(table("cell\ttime (h)\tR (kOhm)", "{c}\t{hour:.12f}\t{k}"))),
    "decimal commas in blanks": Case(comma(table("cell time(s) G(uS)", "{c} {t} {g}"))),
    "decimal commas between commas": Case(
        comma(table("cell;time[s];conductance[uS]", GCSV)).replace(";", ","), refused="colum"
    ),
    "thousands in quotes": Case(table("cell,time (ms),R (ohm)", '{c},"{ms:,.1f}","{r:,.2f}"')),
    "European thousands": Case(
        table("cell;time (ms);R (ohm)", "{c};{ms:,.1f};{r:,.2f}").translate(str.maketrans(".,", ",."))
    ),
    "thousands that may be decimals": Case(
        table("cell;time (ms);R (ohm)", "{c};{ms:,.0f};{r:,.0f}"), refused="--decimal"
    ),
    "thousands as the user says": Case(
        table("cell;time (ms);R (ohm)", "{c};{ms:,.0f};{r:,.0f}"),
        {"decimal": "."},
    ),
    "unicode minus": Case(table("cell,time[s],current[A],voltage[V]", "{c},{t},\N{MINUS SIGN}{i},\N{MINUS SIGN}0.2")),
    "exponents of Fortran": Case(table(US, "{c},{t:.3E},{g:.5E}").replace("E", "D").replace("D+", "D+")),
    "signs and capitals": Case(table(US, "{c},+{t:.6E},+{g:.6E}")),
    "nineteen digits": Case(table(US, "{c},{t:.18e},{g:.18e}")),
    "blanks around fields": Case(table("cell, time (s), G (uS)", " {c} ,  {t} ,\t{g} ")),
    # units
    "ohm signs": Case(table("cell,time[s],resistance[k\N{OHM SIGN}]", "{c},{t},{k}")),
    "megohm": Case(table("cell,time[s],R (M\N{GREEK CAPITAL LETTER OMEGA})", "{c},{t},{mega:.9f}")),
    "milliohm or megohm": Case(table("cell,time[s],R (mohm)", "{c},{t},{r}"), refused="mohm"),
    "picoamps and millivolts": Case(table("cell,time[s],I (pA),V (mV)", "{c},{t},{pa},200")),
    "hours": Case(table("cell,time (hours),G (uS)", "{c},{hour!r},{g}")),
    "siemens for seconds": Case(table("cell,time (S),G (uS)", GCSV), refused="unit 'S'"),
    "a unit of another quantity": Case(table("cell,time (s),G (V)", GCSV), refused="unit 'V'"),
    # out of range
    "9.9e37 and 9.91e37": Case(
        table(US, GCSV).replace("0,10.0,4.0", "0,10.0,+9.91000E+37").replace("1,1.0,2.0", "1,1.0,9.9E37"),
        says=("out-of-range",),
        missing=2,
    ),
    "199.999e99": Case(table(US, GCSV).replace("0,10.0,4.0", "0,10.0,199.999E+99"), says=("out-of-range",), missing=1),
    "OVLD": Case(table(US, GCSV).replace("0,10.0,4.0", "0,10.0,OVLD"), says=("out-of-range",), missing=1),
    "9.9e37 ohm": Case(
        table("cell,time[s],resistance[ohm]", "{c},{t},{r}").replace("0,10.0,250000.0", "0,10.0,9.9e37"),
        says=("out-of-range",),
        missing=1,
    ),
    "a code in the time": Case(table(US, GCSV).replace("0,10.0,", "0,9.91e37,"), says=("out-of-range",), missing=1),
    "errors of a spreadsheet": Case(
        table(US, GCSV).replace("0,10.0,4.0", "0,10.0,#DIV/0!").replace("1,1.0,2.0", "1,1.0,#N/A"),
        says=("not a number", "missing"),
        missing=2,
    ),
    # moments
    "seconds since 1970": Case(table(US, "{c},{clock:.1f},{g}"), refused="--start-age"),
    "seconds since 1970, from the first read": Case(table(US, "{c},{clock:.3f},{g}"), FIRST),
    "milliseconds since 1970 as seconds": Case(table(US, "{c},{clock:.0f}000,{g}"), FIRST, refused="milliseconds"),
    "milliseconds since 1970": Case(table("cell,time[ms],conductance[uS]", "{c},{clock:.0f}000,{g}"), FIRST),
    "dates of ISO": Case(table("cell,timestamp,G (uS)", "{c},2023-11-14T22:{minute:02}:{rest:04.1f}Z,{g}"), FIRST),
    "dates without saying from when": Case(
        table("cell,timestamp,G (uS)", "{c},2023-11-14 22:{minute:02}:{rest:04.1f},{g}"), refused="--start-age"
    ),
    "day.month": Case(table("cell;Zeit;G (uS)", "{c};14.11.2023 22:{minute:02}:{rest:04.1f};{g}"), FIRST),
    "month/day with halves of a day": Case(
        table("cell,time,G (uS)", "{c},11/14/2023 11:{minute:02}:{rest:04.1f} PM,{g}"), FIRST
    ),
    "days that may be months": Case(
        table("cell,time,G (uS)", "{c},03/04/2023 11:{minute:02}:{rest:04.1f},{g}"),
        FIRST,
        refused="time[dmy] or time[mdy]",
    ),
    "date and time of day": Case(
        table("cell,Date,Time,G (uS)", "{c},2023-11-14,22:{minute:02}:{rest:04.1f},{g}"), FIRST
    ),
    "time of day": Case(table("cell,Time,G (uS)", "{c},22:{minute:02}:{rest:04.1f},{g}"), FIRST),
    "the first read is out of range": Case(
        table(US, "{c},{clock:.3f},{g}").replace(",5.0\n", ",9.9e37\n"), FIRST, says=("out-of-range",), missing=1
    ),
    "a clock that counts from the start of the computer": Case(
        table(US, "{c},{t},{g}", rows=[(c, 86_400 + t, g) for c, t, g in ROWS]),
        says=("are they times of a clock?",),
        unequal=True,
    ),
    "ages from zero": Case(table(US, GCSV, rows=[(c, t - 1, g) for c, t, g in ROWS]), FIRST),
    "ages from zero, unsaid": Case(
        table(US, GCSV, rows=[(c, t - 1, g) for c, t, g in ROWS]), says=("ages begin at 0s",), unequal=True
    ),
    # columns and cells
    "one column for each cell": Case(wide()),
    "one column for each cell, with a gap": Case(wide().replace(",1.6,", ",,"), says=("missing",), missing=1),
    "one column for each cell, ragged": Case(
        wide().replace(",10.0\n", "\n"), says=("wrong number of columns",), missing=3
    ),
    "word and bit line": Case(table("WL,BL,time (s),G (uS)", "{w},{b},{t},{g}")),
    "names": Case(table("Device,time (s),G (uS)", "FIB{c}_K,{t},{g}")),
    "names where numbers are expected": Case(table(US, "FIB{c},{t},{g}"), {"columns": US}, refused="cell[name]"),
    "two lines of headers": Case(table("Cell,Time,Conductance\n,s,nS", "{c},{t},{ns:.0f}")),
    "a comment as the header": Case(table("# cell, time (s), G (uS)", GCSV)),
    "pymeasure": Case(
        "#Procedure: <a.B>\n#Parameters:\n#\tRead voltage: 0.2 V\n#Data:\n"
        + table("Time (s),Voltage (V),Current (A),Cell", "{t},0.2,{i!r},{c}")
    ),
    "parameter analyser": Case(
        "SetupTitle, IV\nTestParameter, X, Y, 1\nDimension1, 9, 9\n"
        + table("DataName, Cell, V1, I1, Time", "DataValue, {c}, 0.2, {i!r}, {t}"),
        says=("units that the header does not say",),
    ),
    "parameter analyser with other columns further down": Case(
        table("DataName, Cell, V1, I1, Time", "DataValue, {c}, 0.2, {i!r}, {t}")
        + table("DataName, Cell, I1, V1, Time", "DataValue, {c}, {i!r}, 0.2, {t}"),
        refused="another header",
    ),
    "lines before the data": Case(
        "Model,2450\nSerial,01234567\n\n" + table("Cell,Time (s),G (uS)", GCSV), says=("2 lines before the data",)
    ),
    "a delimiter behind every line": Case(table("cell,time[s],conductance[uS],", GCSV + ",")),
    "a delimiter behind rows alone": Case(table(US, GCSV + ",")),
    "two files one behind the other": Case(
        table(US, GCSV, rows=ROWS[:4]) + table(US, GCSV, rows=ROWS[4:]), says=("not a number",)
    ),
    "another header further down": Case(
        table(US, GCSV) + table("time[s],cell,conductance[uS]", "{t},{c},{g}"), refused="another header"
    ),
    "a last line that was cut off": Case(table(US, GCSV)[:-3], says=("may be cut off",), missing=1),
    "a last line that has no end": Case(table(US, GCSV)[:-1], says=("no line end",)),
    "two columns that are both currents": Case(
        table("cell,time (s),I1 (A),I2 (A),V (V)", "{c},{t},{i},{i},0.2"), refused="columns 3 and 4 are both a current"
    ),
    "a header that says more": Case(table("cell,time (s),Conductance (uS) at 0.2 V", GCSV)),
    "reads at two voltages": Case(
        table("cell,time (s),R@0.1V (ohm),R@0.2V (ohm)", "{c},{t},{r},{r}"), refused="no conductance"
    ),
    "a delimiter in the header and another in the rows": Case(
        table(US, "{c};{t};{g}"), {"columns": None}, says=("passed over",)
    ),
    "chunks of a crash": Case(table(US, GCSV).encode() + b"\0" * 50, refused="no text"),
    "newest first": Case(table(US, GCSV, rows=ROWS[::-1]), says=("time runs backwards",), missing=6, unequal=True),
    "numbers with their unit": Case(table(US, "{c},{t},{g} uS"), refused="not a number"),
    "numbers of cells with a point": Case(table("cell,time (s),G (uS)", "{c}.1,{t},{g}")),
    "a column without a unit": Case(
        table("cell,time (s),R", "{c},{t},{r}"), says=("units that the header does not say, taken as resistance[ohm]",)
    ),
    "a temperature without a unit": Case(
        table("cell,time (s),G (uS),Temperature", GCSV + ",25"), refused="does not say its unit"
    ),
    "a scale in the header": Case(table("cell,time (s),I (1e-6 A),V (V)", "{c},{t},{i},0.2"), refused="has the unit"),
    "no header at all": Case(table("", GCSV), refused="no header to recognise columns by"),
    "three lines of headers": Case(table("Cell,Time,G\n,s,uS\nnote,a b,c d", GCSV)),
    "a web page": Case("<html><body>\n" + table(US, GCSV), says=("passed over",)),
    "samples of JSON": Case('[{"cell": 0, "time": 1}]\n', refused="column"),
    "quotes and commas in names": Case(
        table('"cell","Time, s","Current, I (A)","Voltage, V"', '"{c}","{t}","{i!r}","0.2"')
    ),
    "a comment column": Case(table("cell,time (s),note,G (uS)", '{c},{t},"a, b; ""c""",{g}')),
    # conditions of the bench
    "negative currents": Case(
        table("cell,time[s],current[A],voltage[V]", "{c},{t},-{i!r},0.2"), refused="--reverse-current"
    ),
    "negative currents, as the user says": Case(
        table("cell,time[s],current[A],voltage[V]", "{c},{t},-{i!r},0.2"), {"reverse_current": True}
    ),
    "a voltage that no column has": Case(table("cell,time (s),I (nA)", "{c},{t},{na}"), refused="--read-voltage"),
    "a voltage as the user says": Case(table("cell,time (s),I (nA)", "{c},{t},{na}"), {"read_voltage": 0.2}),
    "a shunt": Case(table("cell,time (s),Vshunt (mV),V (V)", "{c},{t},{na},0.2"), {"shunt": 1e6}),
    "a shunt without its resistance": Case(
        table("cell,time (s),Vshunt (mV),V (V)", "{c},{t},{na},0.2"), refused="--shunt"
    ),
    "reads without times": Case(table("cell,G (uS)", "{c},{g}"), refused="--interval"),
    "rows that a condition leaves out": Case(
        table("cell,time (s),G (uS),state", "{c},{t},{g},ok") + "0,1000,77,bad\n",
        {"where": ("state=ok",)},
        says=("not where state=ok",),
    ),
    "S for uS": Case(
        table("cell,time[s],conductance[uS]", "{c},{t},{g}e-6"), says=("is it in another unit?",), unequal=True
    ),
    "uS for S": Case(
        table("cell,time[s],conductance[S]", "{c},{t},{g}"), says=("is it in another unit?",), unequal=True
    ),
    "degrees C for K": Case(
        table("cell,time[s],conductance[uS],temperature[K]", GCSV + ",180"), says=("is it in degrees C?",)
    ),
    "time that runs backwards": Case(table(US, GCSV) + "2,50,9.9\n", says=("time runs backwards",)),
    "ages of a century": Case(
        table(US, GCSV, rows=[(c, 1e7 * t / 3, g) for c, t, g in ROWS]), says=("age over 10 years",), unequal=True
    ),
}


def said(report: object) -> str:
    return "; ".join([*report.dropped, *report.questions, *report.notes])


@pytest.mark.parametrize("name", CASES)
def test_it_comes_in_right_or_says_why_not(imported: Import, name: str) -> None:
    case = CASES[name]
    options = {"columns": "auto"} | case.options
    if case.refused:
        with pytest.raises(BadInputError) as caught:
            imported(case.text, **options)
        assert case.refused in str(caught.value)
        assert "\n" not in str(caught.value)
        return
    found, report = imported(case.text, **options)
    for words in case.says:
        assert words in said(report)
    if not case.says:
        assert report.dropped | report.questions == {}
    if case.unequal:
        return
    reads = found.reads
    truth = {(cell, TIMES.index(time)): g for cell, time, g in ROWS}
    place = np.abs(np.log(reads.time[:, None] / np.array(TIMES))).argmin(axis=1)
    np.testing.assert_allclose(reads.time, np.array(TIMES)[place], rtol=1e-6)
    values = {(int(c), int(k)): g for c, k, g in zip(reads.cell, place, reads.conductance, strict=True)}
    assert len(values) == len(reads) == len(ROWS) - case.missing
    for key, value in values.items():
        assert value == pytest.approx(truth[key], rel=1e-6), key
