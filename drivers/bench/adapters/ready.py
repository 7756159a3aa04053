"""Maps that come with hwloop: of the classes that labs use most.

Each was compared with the source of its class, and with the exact lines that this sends, which the tests hold. What an
instrument may be asked for is what its maker rates and its class lets through, whichever is less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from hwloop.drivers.bench.adapters.maps import MatrixMap, PulserMap, SourceMap
from hwloop.drivers.bench.pulse_generator import LONGEST_PULSE
from hwloop.drivers.bench.roles import MatrixRating, PulseRating, SourceRating

M = TypeVar("M", SourceMap, PulserMap, MatrixMap)


@dataclass(frozen=True)
class Ready(Generic[M]):
    """A class and its map.

    Parameters
    ----------
    module
        Where the class is.
    map
        Its map.
    channels
        Channels that the bench file may name.
    """

    module: str
    map: M
    channels: tuple[str, ...] = ("1",)


_KEITHLEY_24XX = SourceMap(
    rating=SourceRating(volts=20.0, amps=1.0, amps_min=1e-9),
    setup=(
        "reset()",
        "source_mode = 'voltage'",
        "source_voltage_range = 20",
        "source_voltage = 0",
        """write(":SENS:FUNC 'CURR'")""",
        "compliance_current = compliance",
        "current_range = compliance",
        "current_nplc = nplc",
    ),
    level="source_voltage",
    compliance="compliance_current",
    current="current",
    on=("enable_source()",),
    off=("disable_source()",),
    errors="check_errors()",
)
_PYMEASURE_2400 = replace(
    _KEITHLEY_24XX,
    setup=(*_KEITHLEY_24XX.setup, "write(':FORM:ELEM CURR')", "output_off_state = 'HIMP'"),
    # Its own attribute measures with :MEAS:CURR?, which configures ranges anew before each reading.
    current="ask(':READ?')",
    limiting="ask(':SENS:CURR:PROT:TRIP?')",
    model=r"MODEL 24[0-4]\d.*",
)
_PYMEASURE_2450 = replace(
    _KEITHLEY_24XX,
    setup=(*_KEITHLEY_24XX.setup, "voltage_output_off_state = 'HIMP'"),
    limiting="ask(':SOUR:VOLT:ILIM:TRIP?')",
    model="MODEL 2450",
)
_PYMEASURE_2600 = SourceMap(
    # Its class writes six digits after the point: 1 uA is the least that it can set to a part in two.
    rating=SourceRating(volts=20.0, amps=1.0, amps_min=1e-6),
    setup=(
        "Ch{channel}.write('reset()')",
        "Ch{channel}.source_output = 'OFF'",
        "Ch{channel}.source_mode = 'voltage'",
        "Ch{channel}.source_voltage_range = 20",
        "Ch{channel}.source_voltage = 0",
        "Ch{channel}.compliance_current = compliance",
        "Ch{channel}.current_range = compliance",
        "Ch{channel}.write('measure.nplc={nplc}')",  # its attribute looks the number up in a list
        "Ch{channel}.write('source.offmode=2')",
    ),
    level="Ch{channel}.source_voltage",
    compliance="Ch{channel}.compliance_current",
    current="Ch{channel}.current",
    on=("Ch{channel}.source_output = 'ON'",),
    off=("Ch{channel}.source_output = 'OFF'",),
    errors="check_errors()",
    model=r"MODEL 26[013][1-6][AB]?",
)
_QCODES_2450 = SourceMap(
    rating=SourceRating(volts=20.0, amps=1.0, amps_min=1e-9),
    setup=(
        "write('*RST')",
        "sense_function = 'current'",
        "source_function = 'voltage'",
        "source.range = 20",
        "source.voltage = 0",
        "source.limit = compliance",
        "sense.range = compliance",
        "sense.nplc = nplc",
        "write(':OUTP:VOLT:SMOD HIMP')",
    ),
    level="source.voltage",
    compliance="source.limit",
    current="sense.current",
    on=("output_enabled = True",),
    off=("output_enabled = False",),
    limiting="ask(':SOUR:VOLT:ILIM:TRIP?')",
    errors="ask(':SYST:ERR?')",
    model="(MODEL )?2450",
)
_PYMEASURE_33500 = PulserMap(
    # Its class lets edges of 8.4 ns, pulses of 16 ns and 5 V through, though a 33600 can do more.
    rating=PulseRating(
        volts_min=2e-3, volts=5.0, width_min=16.0, width_max=LONGEST_PULSE, edge_min=8.4, edge_max=1000.0
    ),
    setup=(
        "reset()",
        "ch_{channel}.output = False",
        "ch_{channel}.output_load = 'INF'",
        "ch_{channel}.shape = 'PULS'",
        "ch_{channel}.pulse_hold = 'WIDT'",
        "ch_{channel}.pulse_width = 1e-7",
        "ch_{channel}.pulse_period = period",
        "ch_{channel}.pulse_width = width_max",
        "ch_{channel}.pulse_transition = edge",
        "ch_{channel}.voltage_high = 0.002",
        "ch_{channel}.voltage_low = 0",
        "write(':SOUR{channel}:VOLT:LIM:LOW 0')",
        "write(':SOUR{channel}:VOLT:LIM:HIGH {volts_max}')",
        "write(':SOUR{channel}:VOLT:LIM:STAT ON')",
        "ch_{channel}.burst_mode = 'TRIG'",
        "ch_{channel}.burst_ncycles = 1",
        "write(':TRIG{channel}:SOUR BUS')",
        "ch_{channel}.burst_state = True",
    ),
    shape=("ch_{channel}.pulse_width = width", "ch_{channel}.voltage_high = volts"),
    trigger=("trigger()",),
    done="ask('*OPC?')",
    on=("ch_{channel}.output = True",),
    off=("ch_{channel}.output = False",),
    errors="check_errors()",
    model=r"33[56]\d\d[AB]",
)
_QCODES_33600 = PulserMap(
    rating=PulseRating(
        volts_min=2e-3, volts=10.0, width_min=5.0, width_max=LONGEST_PULSE, edge_min=2.9, edge_max=1000.0
    ),
    setup=(
        "write('*RST')",
        "ch{channel}.output = 'OFF'",
        "write(':OUTP{channel}:LOAD INF')",
        "ch{channel}.function_type = 'PULS'",
        "write(':SOUR{channel}:FUNC:PULS:HOLD WIDT')",
        "ch{channel}.pulse_width = 1e-7",
        "write(':SOUR{channel}:FUNC:PULS:PER {period}')",
        "ch{channel}.pulse_width = width_max",
        "write(':SOUR{channel}:FUNC:PULS:TRAN:BOTH {edge}')",
        "ch{channel}.amplitude = 0.002",
        "ch{channel}.offset = 0.001",
        "ch{channel}.burst_mode = 'N Cycle'",
        "ch{channel}.burst_ncycles = 1",
        "ch{channel}.trigger_source = 'BUS'",
        "ch{channel}.burst_state = 'ON'",
    ),
    shape=("ch{channel}.pulse_width = width", "ch{channel}.amplitude = volts", "ch{channel}.offset = volts / 2"),
    trigger=("force_trigger()",),
    done="ask('*OPC?')",
    on=("ch{channel}.output = 'ON'",),
    off=("ch{channel}.output = 'OFF'",),
    errors="error()",
    model="33611A|33622A",
)
_QCODES_3706A = MatrixMap(
    # The rating is that of 3730 cards: six rows and sixteen columns.
    rating=MatrixRating(rows="123456", columns=16, slots=6),
    setup=("channel_connect_rule = 'BREAK_BEFORE_MAKE'",),
    close=("exclusive_close(names)",),
    open_all=("open_channel('allslots')",),
    closed="get_closed_channels('allslots')",
    model="(MODEL )?3706A?.*",
)

SOURCE_METERS: dict[str, Ready[SourceMap]] = {
    "pymeasure:Keithley2400": Ready("pymeasure.instruments.keithley", _PYMEASURE_2400),
    "pymeasure:Keithley2450": Ready("pymeasure.instruments.keithley", _PYMEASURE_2450),
    "pymeasure:Keithley2600": Ready("pymeasure.instruments.keithley", _PYMEASURE_2600, ("A", "B")),
    "qcodes:Keithley2450": Ready("qcodes.instrument_drivers.Keithley", _QCODES_2450),
}
PULSE_GENERATORS: dict[str, Ready[PulserMap]] = {
    "pymeasure:Agilent33500": Ready("pymeasure.instruments.agilent", _PYMEASURE_33500, ("1", "2")),
    "qcodes:Keysight33611A": Ready("qcodes.instrument_drivers.Keysight", _QCODES_33600),
    "qcodes:Keysight33622A": Ready("qcodes.instrument_drivers.Keysight", _QCODES_33600, ("1", "2")),
}
SWITCH_MATRICES: dict[str, Ready[MatrixMap]] = {
    "qcodes:Keithley3706A": Ready("qcodes.instrument_drivers.Keithley", _QCODES_3706A),
}
