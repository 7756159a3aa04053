"""Every bench instrument's driver, command by command as its manual has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwloop.drivers.bench.catalogue import PULSE_GENERATORS, SOURCE_METERS, SWITCH_MATRICES
from hwloop.drivers.bench.keithley_707b import Keithley707B, closed_crosspoints
from hwloop.drivers.bench.keithley_2450 import Keithley2450
from hwloop.drivers.bench.keithley_2600 import Keithley2600
from hwloop.drivers.bench.keysight_33600a import Keysight33600A
from hwloop.drivers.bench.keysight_81160a import Keysight81160A
from hwloop.drivers.bench.keysight_b2900 import KeysightB2900
from hwloop.drivers.bench.source_meter import ramp
from hwloop.drivers.bench.wire import SCPI, TSP, parse_scpi, parse_tsp
from hwloop.errors import BadInputError, ChipError, InstrumentError, LimitError, LinkError
from tests.drivers.bench.scripted import Script, scripted

OK = (":SYST:ERR?", '+0,"No error"')
FINE = ("print(errorqueue.next())", "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00")


def each(fine: tuple[str, str], *commands: str) -> Script:
    """Commands, each followed by a look into the error queue."""
    return [line for command in commands for line in ((command, None), fine)]


def lines(*commands: str) -> Script:
    return [(command, None) for command in commands]


S2450: Script = [
    ("*IDN?", "KEITHLEY INSTRUMENTS,MODEL 2450,01234567,1.7.0d"),
    ("*CLS", None),
    ("*LANG?", "SCPI"),
    OK,
    *each(OK, "*RST", ":SOUR:FUNC VOLT", ":SOUR:VOLT:RANG 20", ":SOUR:VOLT 0", ':SENS:FUNC "CURR"'),
    *each(OK, ":SENS:CURR:RANG 0.0001", ":SOUR:VOLT:ILIM 0.0001", ":SENS:CURR:NPLC 1", ":OUTP:VOLT:SMOD HIMP"),
]
S2600: Script = [
    ("*IDN?", "Keithley Instruments Inc., Model 2636B, 1234567, 3.2.1"),
    ("errorqueue.clear()", None),
    *each(FINE, "smub.reset()", "smub.source.output = smub.OUTPUT_OFF", "smub.source.func = smub.OUTPUT_DCVOLTS"),
    *each(FINE, "smub.source.rangev = 20", "smub.source.levelv = 0", "smub.source.limiti = 0.0001"),
    *each(FINE, "smub.measure.rangei = 0.0001", "smub.measure.nplc = 1", "smub.source.offmode = smub.OUTPUT_HIGH_Z"),
]
B2900: Script = [
    ("*IDN?", "Keysight Technologies,B2902A,MY51140001,4.0.1923"),
    ("*CLS", None),
    *each(
        OK, "*RST", ":OUTP2:ON:AUTO OFF", ":OUTP2:OFF:MODE HIZ", ":SOUR2:FUNC:MODE VOLT", ":SOUR2:VOLT:RANG:AUTO OFF"
    ),
    *each(OK, ":SOUR2:VOLT:RANG 20", ":SOUR2:VOLT 0", ':SENS2:FUNC "CURR"', ":SENS2:CURR:RANG:AUTO OFF"),
    *each(OK, ":SENS2:CURR:RANG 0.0001", ":SENS2:CURR:PROT 0.0001", ":SENS2:CURR:NPLC 1"),
]

SOURCES: list[tuple[Any, str, Any, Script, Script]] = [
    (
        Keithley2450,
        "1",
        SCPI,
        S2450,
        [
            (":SOUR:VOLT:ILIM?", "1.000000E-04"),
            OK,
            *lines(":SOUR:VOLT 0", ":OUTP ON"),
            OK,
            *lines(":SOUR:VOLT 0.05", ":SOUR:VOLT 0.1"),
            OK,
            (":MEAS:CURR?", "2.500000E-06"),
            OK,
            (":SOUR:VOLT:ILIM:TRIP?", "0"),
            OK,
            *lines(":SOUR:VOLT 0.05", ":SOUR:VOLT 0"),
            OK,
            *lines(":OUTP OFF"),
            OK,
            *lines("*CLS", ":SOUR:VOLT 0", ":OUTP OFF"),
            OK,
        ],
    ),
    (
        Keithley2600,
        "b",
        TSP,
        S2600,
        [
            ("print(smub.source.limiti)", "1.00000e-04"),
            FINE,
            *lines("smub.source.levelv = 0", "smub.source.output = smub.OUTPUT_ON"),
            FINE,
            *lines("smub.source.levelv = 0.05", "smub.source.levelv = 0.1"),
            FINE,
            ("print(smub.measure.i())", "2.50000e-06"),
            FINE,
            ("print(smub.source.compliance)", "false"),
            FINE,
            *lines("smub.source.levelv = 0.05", "smub.source.levelv = 0"),
            FINE,
            *lines("smub.source.output = smub.OUTPUT_OFF"),
            FINE,
            *lines("errorqueue.clear()", "smub.source.levelv = 0", "smub.source.output = smub.OUTPUT_OFF"),
            FINE,
        ],
    ),
    (
        KeysightB2900,
        "2",
        SCPI,
        B2900,
        [
            (":SENS2:CURR:PROT?", "+1.000000E-04"),
            OK,
            *lines(":SOUR2:VOLT 0", ":OUTP2 ON"),
            OK,
            *lines(":SOUR2:VOLT 0.05", ":SOUR2:VOLT 0.1"),
            OK,
            (":MEAS:CURR? (@2)", "+2.500000E-06"),
            OK,
            (":SENS2:CURR:PROT:TRIP?", "0"),
            OK,
            *lines(":SOUR2:VOLT 0.05", ":SOUR2:VOLT 0"),
            OK,
            *lines(":OUTP2 OFF"),
            OK,
            *lines("*CLS", ":SOUR2:VOLT 0", ":OUTP2 OFF"),
            OK,
        ],
    ),
]


@pytest.mark.parametrize(("kind", "channel", "errors", "setup", "reading"), SOURCES)
def test_a_source_meter_reads_and_idles_in_these_words(kind, channel, errors, setup, reading):
    wire, link = scripted(setup + reading, errors)
    source = kind(wire, channel, 1e-4, 0.05, 1.0)
    source.on()
    source.source(0.1)
    assert source.measure() == 2.5e-6
    assert not source.limiting()
    source.off()
    source.idle()
    wire.close()
    assert not link.left


S33600A: Script = [
    ("*IDN?", "Keysight Technologies,33612A,MY50000001,A.02.03-3.15-03-64-02"),
    ("*CLS", None),
    *each(OK, "*RST", ":OUTP2 OFF", ":OUTP2:LOAD INF", ":SOUR2:FUNC PULS", ":SOUR2:FUNC:PULS:HOLD WIDT"),
    *each(OK, ":SOUR2:FUNC:PULS:WIDT 1e-07", ":SOUR2:FUNC:PULS:PER 4.01e-05", ":SOUR2:FUNC:PULS:WIDT 2e-05"),
    *each(OK, ":SOUR2:FUNC:PULS:TRAN:BOTH 5e-09", ":SOUR2:VOLT:HIGH 0.002", ":SOUR2:VOLT:LOW 0"),
    *each(OK, ":SOUR2:VOLT:LIM:LOW 0", ":SOUR2:VOLT:LIM:HIGH 2.5", ":SOUR2:VOLT:LIM:STAT ON"),
    *each(OK, ":SOUR2:BURS:MODE TRIG", ":SOUR2:BURS:NCYC 1", ":TRIG2:SOUR BUS", ":SOUR2:BURS:STAT ON"),
]
S81160A: Script = [
    ("*IDN?", "Agilent Technologies,81160A,MY51400359,1.0.3.0-2.6"),
    ("*CLS", None),
    *each(
        OK,
        "*RST",
        ":OUTP2 OFF",
        ":OUTP2:LOAD 1000000",
        ":FUNC2 PULS",
        ":FUNC2:PULS:HOLD WIDT",
        ":FUNC2:PULS:WIDT 1e-07",
    ),
    *each(OK, ":PULS:PER2 4.01e-05", ":FUNC2:PULS:WIDT 2e-05", ":FUNC2:PULS:TRAN 5e-09", ":ARM:SENS2 EDGE"),
    *each(OK, ":ARM:SOUR2 MAN", ":VOLT2:HIGH 0.1", ":VOLT2:LOW 0"),
    *each(OK, ":VOLT2:LIM:LOW 0", ":VOLT2:LIM:HIGH 2.5", ":VOLT2:LIM:STAT ON"),
]
PULSERS: list[tuple[Any, Script, list[str], str]] = [
    (Keysight33600A, S33600A, [":SOUR2:FUNC:PULS:WIDT 1e-07", ":SOUR2:VOLT:HIGH 1.3"], "*TRG"),
    (Keysight81160A, S81160A, [":FUNC2:PULS:WIDT 1e-07", ":VOLT2:HIGH 1.3"], ":TRIG2"),
]


@pytest.mark.parametrize(("kind", "setup", "shape", "trigger"), PULSERS)
def test_a_pulse_generator_makes_one_pulse_in_these_words(kind, setup, shape, trigger):
    script = [
        *setup,
        *lines(":OUTP2 ON"),
        OK,
        *lines(*shape),
        OK,
        (trigger, None),
        ("*OPC?", "1"),
        OK,
        *lines(":OUTP2 OFF"),
        OK,
        *lines("*CLS", ":OUTP2 OFF"),
        OK,
    ]
    wire, _ = scripted(script, SCPI)
    pulser = kind(wire, "2", 2.5, 20_000.0, 5.0)
    pulser.on()
    pulser.shape(1.3, 100.0)
    pulser.trigger()
    pulser.off()
    pulser.idle()
    wire.close()


@pytest.mark.parametrize(("kind", "setup"), [(Keysight33600A, S33600A), (Keysight81160A, S81160A)])
@given(volts=st.floats(), width=st.floats())
def test_no_pulse_beyond_its_limits_is_sent(kind, setup, volts, width):
    wire, link = scripted(setup, SCPI)
    pulser = kind(wire, "2", 2.5, 20_000.0, 5.0)
    if pulser.RATING.volts_min <= volts <= 2.5 and pulser.RATING.width_min <= width <= 20_000:
        link.left = [*lines(*pulser.pulse(volts, width)), OK]
        pulser.shape(volts, width)
    else:
        with pytest.raises(LimitError, match="nothing was sent"):
            pulser.shape(volts, width)  # any line would fail the script
    wire.close()


@pytest.mark.parametrize(("kind", "channel", "errors", "setup"), [s[:4] for s in SOURCES])
@given(volts=st.floats(), amps=st.floats())
def test_a_source_meter_sends_nothing_beyond_its_rating(kind, channel, errors, setup, volts, amps):
    """No voltage and no compliance, neither later nor when it is opened."""
    wire, link = scripted(setup, errors)
    source, rating = kind(wire, channel, 1e-4, 0.05, 1.0), kind.RATING
    if not abs(volts) <= rating.volts:
        with pytest.raises(LimitError, match="beyond the 20 V"):
            source.source(volts)  # any line would fail the script
    if rating.amps_min <= amps <= rating.amps:
        link.left = [*lines(*source.limit(amps)), OK if errors is SCPI else FINE]
        source.set_compliance(amps)
    else:
        with pytest.raises(LimitError, match="compliance"):
            source.set_compliance(amps)
        wire, _ = scripted(setup[:2], errors)
        with pytest.raises(LimitError, match="compliance"):
            kind(wire, channel, amps, 0.05, 1.0)
    wire.close()


S707B: Script = [
    ("*IDN?", "Keithley Instruments Inc., Model 707B, 1234567, 1.30"),
    ("errorqueue.clear()", None),
    ('channel.open("allslots")', None),
    ("channel.connectrule = channel.BREAK_BEFORE_MAKE", None),
    ("*OPC?", "1"),
    FINE,
]


def test_the_matrix_closes_asks_and_opens_in_these_words():
    script = [
        *S707B,
        ('channel.exclusiveclose("1A01,2B12")', None),
        ("*OPC?", "1"),
        FINE,
        ('print(channel.getclose("allslots"))', "2B12;1A01"),
        FINE,
        ('channel.open("allslots")', None),
        ("*OPC?", "1"),
        FINE,
        ('print(channel.getclose("allslots"))', "nil"),
        FINE,
    ]
    wire, _ = scripted(script, TSP)
    matrix = Keithley707B(wire)
    matrix.connect(["1A01", "2B12"])
    matrix.open_all()
    wire.close()


def test_a_relay_that_stays_open_is_an_error():
    script = [
        *S707B,
        ('channel.exclusiveclose("1A01,1B02")', None),
        ("*OPC?", "1"),
        FINE,
        ('print(channel.getclose("allslots"))', "1A01"),
        FINE,
    ]
    wire, _ = scripted(script, TSP)
    with pytest.raises(ChipError, match="closed crosspoints are 1A01 where 1A01, 1B02 should be"):
        Keithley707B(wire).connect(["1A01", "1B02"])


def test_the_error_queue_is_drained_and_its_first_entry_names_the_command():
    script = [
        *S2450,
        (":SENS:CURR:RANG 0.5", None),
        (":SOUR:VOLT:ILIM 0.5", None),
        (":SYST:ERR?", '-222,"Parameter data out of range"'),
        (":SYST:ERR?", '-221,"Settings conflict"'),
        OK,
    ]
    wire, _ = scripted(script, SCPI)
    source = Keithley2450(wire, "1", 1e-4, 0.05, 1.0)
    with pytest.raises(InstrumentError, match=r"':SENS:CURR:RANG 0\.5; :SOUR:VOLT:ILIM 0\.5': -222") as caught:
        source.set_compliance(0.5)
    assert caught.value.code == -222
    wire.close()


def test_an_error_queue_that_never_ends_is_read_a_bounded_number_of_times():
    wire, _ = scripted([("x", None), *[(":SYST:ERR?", '-113,"Undefined header"')] * 64], SCPI)
    with pytest.raises(InstrumentError, match="Undefined header"):
        wire.do("x")
    wire.close()


@pytest.mark.parametrize(
    ("kind", "errors", "identity"),
    [
        (Keithley2450, SCPI, "KEITHLEY INSTRUMENTS,MODEL 2460,01234567,1.7.0d"),
        (Keithley2600, TSP, "Keithley Instruments Inc., Model 707B, 1234567, 1.30"),
        (KeysightB2900, SCPI, "Somebody,B2902A,1,1"),
    ],
)
def test_another_instrument_gets_nothing_but_the_question_who_it_is(kind, errors, identity):
    wire, _ = scripted([("*IDN?", identity)], errors)
    with pytest.raises(LinkError, match="check the bench file"):
        kind(wire, kind.CHANNELS[0], 1e-4, 0.05, 1.0)
    wire.close()


def test_a_2450_in_another_command_set_is_refused():
    wire, _ = scripted([*S2450[:2], ("*LANG?", "TSP"), OK], SCPI)
    with pytest.raises(LinkError, match="command set TSP; choose SCPI"):
        Keithley2450(wire, "1", 1e-4, 0.05, 1.0)


def test_a_channel_that_does_not_exist_is_refused():
    wire, _ = scripted([], SCPI)
    with pytest.raises(BadInputError, match="no channel '3'; it has: 1, 2"):
        KeysightB2900(wire, "3", 1e-4, 0.05, 1.0)


@pytest.mark.parametrize("reading", ["9.9E37", "9.91E+37", "nan", "-9.9e37"])
def test_an_overflow_is_not_a_current(reading):
    wire, _ = scripted([*S2450, (":MEAS:CURR?", reading), OK], SCPI)
    with pytest.raises(ChipError, match="out of range"):
        Keithley2450(wire, "1", 1e-4, 0.05, 1.0).measure()


@pytest.mark.parametrize(("kind", "setup", "errors"), [(s[0], s[3], s[2]) for s in SOURCES])
@pytest.mark.parametrize(("answer", "limiting"), [("1", True), ("true", True), ("0", False), ("maybe", None)])
def test_whether_the_compliance_holds_the_current_back(kind, setup, errors, answer, limiting):
    channel = {Keithley2600: "b", KeysightB2900: "2"}.get(kind, "1")
    wire, link = scripted(setup, errors)
    source = kind(wire, channel, 1e-4, 0.05, 1.0)
    link.left = [(source.tripped(), answer), OK if errors is SCPI else FINE]
    if limiting is None:
        with pytest.raises(ChipError, match=r"answered .* with 'maybe'"):
            source.limiting()
    else:
        assert source.limiting() is limiting


def test_replies_as_the_manuals_show_them():
    assert parse_scpi('-222,"Data out of range;value clipped"') == (-222, "Data out of range;value clipped")
    assert parse_scpi('+0,"No error"') == parse_scpi('0,"No error"') == (0, "No error")
    assert parse_tsp("-2.85000e+02\tTSP Syntax error at line 1\t2.0e+01\t1.0e+00") == (
        -285,
        "TSP Syntax error at line 1",
    )
    assert closed_crosspoints("nil") == frozenset()
    assert closed_crosspoints("1A01;2B12") == {"1A01", "2B12"}


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(1e-2, 20))
def test_a_ramp_ends_where_it_should_in_small_steps(start, end, step):
    levels = ramp(start, end, step)
    assert levels[-1] == end
    steps = [b - a for a, b in zip([start, *levels], levels, strict=False)]
    assert max(abs(s) for s in steps) <= step * (1 + 1e-6)
    assert min(start, end) - 1e-9 <= min(levels)
    assert max(levels) <= max(start, end) + 1e-9


def told_ranges(text: str) -> tuple[float, float]:
    """Two ends of a range as the page writes them, such as '2 mV to 10 V' or '0.1 to 5 V', in V, A or ns."""
    factor = {"V": 1.0, "mV": 1e-3, "A": 1.0, "nA": 1e-9, "ns": 1.0, "ms": 1e6}
    low, first, high, last = re.fullmatch(r"([\d.]+) ?(\w*?) to ([\d.]+) (\w+)", text).groups()
    return float(low) * factor[first or last], float(high) * factor[last]


def test_the_page_tells_what_every_instrument_can_be_asked_for() -> None:
    page = (Path(__file__).parents[3] / "docs" / "bench.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (?:source|pulser|matrix) \| `([\w-]+)` \|.*\| (.*?) \|$", page, re.MULTILINE))
    assert rows.keys() == {*SOURCE_METERS, *PULSE_GENERATORS, *SWITCH_MATRICES}
    for name, driver in SOURCE_METERS.items():
        volts, amps = rows[name].split(", ")
        assert (driver.RATING.amps_min, driver.RATING.amps) == pytest.approx(told_ranges(amps))
        assert f"{driver.RATING.volts:g} V" == volts
    for name, driver in PULSE_GENERATORS.items():
        volts, widths = rows[name].split(" open circuit, ")
        assert (driver.RATING.volts_min, driver.RATING.volts) == pytest.approx(told_ranges(volts))
        assert (driver.RATING.width_min, driver.RATING.width_max) == pytest.approx(told_ranges(widths))
    for name, driver in SWITCH_MATRICES.items():
        assert rows[name] == f"{driver.RATING.slots} slots"


@pytest.mark.parametrize(("driver", "shortest"), [(Keysight33600A, 2.9), (Keysight81160A, 1.0)])
def test_edges_are_those_of_the_data_sheets(driver: Any, shortest: float) -> None:
    assert (driver.RATING.edge_min, driver.RATING.edge_max) == (shortest, 1000.0)


def test_a_card_has_eight_rows_and_twelve_columns() -> None:
    assert (Keithley707B.RATING.rows, Keithley707B.RATING.columns) == ("ABCDEFGH", 12)
