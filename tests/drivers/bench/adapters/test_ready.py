"""The maps that come with hwloop, on exact exchanges with the classes that they are for."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from hwloop.drivers.bench.adapters.adapted import Adapted, open_adapted
from hwloop.drivers.bench.adapters.instruments import AdaptedMatrix, AdaptedSourceMeter
from hwloop.drivers.bench.adapters.packages import PACKAGES, Place
from hwloop.drivers.bench.adapters.ready import PULSE_GENERATORS, SOURCE_METERS, SWITCH_MATRICES
from hwloop.errors import ChipError
from tests.drivers.bench.emulated import TspInstrument, nothing, serving

NO_ERROR = ("SYST:ERR?", '0,"No error"')
Exchange = tuple[str | None, str | None]


def quiet(*lines: Exchange) -> list[Exchange]:
    """Each exchange followed by an error queue that is empty."""
    return [one for line in lines for one in (line, NO_ERROR)]


@pytest.mark.parametrize("driver", [*SOURCE_METERS, *PULSE_GENERATORS, *SWITCH_MATRICES])
def test_the_class_of_a_map_is_there(driver: str) -> None:
    package, _, name = driver.partition(":")
    pytest.importorskip(package, reason=f"needs {package}: pip install 'hwloop[{package}]'")
    ready: Any = (SOURCE_METERS | PULSE_GENERATORS | SWITCH_MATRICES)[driver]  # type: ignore[operator]
    assert PACKAGES[package].find(ready.module, name).__name__ == name


def test_keithley_2400_of_pymeasure() -> None:
    pytest.importorskip("pymeasure", reason="needs pymeasure: pip install 'hwloop[pymeasure]'")
    from pymeasure.instruments.keithley import Keithley2400
    from pymeasure.test import expected_protocol

    ready = SOURCE_METERS["pymeasure:Keithley2400"]
    level = lambda volts: [(f":SOURCE:VOLTAGE {volts}", None), (":SOURCE:VOLTAGE?", f"{volts}")]  # noqa: E731
    script = [
        (":FORMAT:ELEMENTS VOLTAGE, CURRENT, RESISTANCE, TIME, STATUS", None),  # its class, when it is made
        ("*IDN?", "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30"),
        NO_ERROR,
        *quiet(
            ("*RST", None),
            (":SOURCE:FUNCTION VOLT", None),
            (":SOURCE:VOLTAGE:RANGE 20", None),
            (":SOURCE:VOLTAGE 0", None),
            (":SENS:FUNC 'CURR'", None),
            (":SENSE:CURRENT:PROTECTION 0.0001", None),
            (":SENSE:CURRENT:RANGE 0.0001", None),
            (":SENSE:CURRENT:NPLCYCLES 1", None),
            (":FORM:ELEM CURR", None),
            (":OUTPUT:SMODE HIMP", None),
            ("OUTPUT 0", None),
        ),
        *level(0),
        NO_ERROR,
        (":SENSE:CURRENT:PROTECTION 0.0001", None),
        (":SENSE:CURRENT:PROTECTION?", "1.000000E-04"),
        NO_ERROR,
        (":SENSE:CURRENT:PROTECTION?", "1.000000E-04"),
        NO_ERROR,
        *level(0),
        *quiet((None, None), ("OUTPUT 1", None))[1:],
        (":SOURCE:VOLTAGE 0.1", None),
        *level(0.2),
        NO_ERROR,
        *quiet((":READ?", "+4.999000E-06"), (":SENS:CURR:PROT:TRIP?", "0")),
        (":SOURCE:VOLTAGE 0.1", None),
        *level(0),
        *quiet((None, None), ("OUTPUT 0", None))[1:],
    ]
    with expected_protocol(Keithley2400, script) as instrument:
        adapted = Adapted(PACKAGES["pymeasure"], instrument, "source", ready.map, "1")
        source = AdaptedSourceMeter(adapted, "Keithley2400", ready.map, 1e-4, 0.1, 1.0)
        source.on()
        source.source(0.2)
        assert source.measure() == 4.999e-6
        assert not source.limiting()
        source.off()


def test_keithley_2600_of_pymeasure_cannot_keep_what_it_cannot_write() -> None:
    """It writes six digits after the point, so that 1.4 uA becomes 1 uA."""
    pytest.importorskip("pymeasure", reason="needs pymeasure: pip install 'hwloop[pymeasure]'")
    from pymeasure.instruments.keithley import Keithley2600
    from pymeasure.test import expected_protocol

    ready = SOURCE_METERS["pymeasure:Keithley2600"]
    empty = ("print(errorqueue.next())", "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00")
    settings = [
        "reset()",
        "source.output=0",
        "source.func=1",
        "source.rangev=20.000000",
        "source.levelv=0.000000",
        "source.limiti=0.000001",
        "measure.rangei=0.000001",
        "measure.nplc=1",
        "source.offmode=2",
        "source.output=0",
    ]
    script = [
        ("*IDN?", "Keithley Instruments Inc., Model 2602B, 1234567, 3.3.5"),
        empty,
        *(line for setting in settings for line in ((f"smub.{setting}", None), empty)),
        ("smub.source.levelv=0.000000", None),
        ("print(smub.source.levelv)", "0.00000e+00"),
        empty,
        ("smub.source.limiti=0.000001", None),
        ("print(smub.source.limiti)", "1.00000e-06"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # its class is not sure that it speaks SCPI
        with expected_protocol(Keithley2600, script) as instrument:
            adapted = Adapted(PACKAGES["pymeasure"], instrument, "source", ready.map, "B")
            with pytest.raises(ChipError, match=r"'ChB\.compliance_current' was set to 1\.4e-06, and 1e-06 is read"):
                AdaptedSourceMeter(adapted, "Keithley2600", ready.map, 1.4e-6, 0.1, 1.0)


class Emulated3706A(TspInstrument):
    """One 3730 card, six rows and sixteen columns, in slot 2."""

    def __init__(self) -> None:
        self.closed: set[str] = set()
        rules: dict[str, Any] = {
            r"print\(slot\[([1-6])\]\.idn\)": lambda n: (
                "3730,6x16 High Density Matrix,01.40e,1243657" if n == "2" else "Empty Slot"
            ),
            r"print\(slot\[2\]\.interlock\.state\)": lambda: "nil",
            r"print\(slot\[2\]\.rows\.matrix\)": lambda: "6",
            r"print\(slot\[2\]\.columns\.matrix\)": lambda: "16",
            r"channel\.connectrule = channel\.BREAK_BEFORE_MAKE": nothing,
            r"channel\.open\('allslots'\)": self.closed.clear,
            r"channel\.exclusiveclose\('([0-9,]+)'\)": self._close,
            r"print\(channel\.getclose\('allslots'\)\)": lambda: ";".join(sorted(self.closed)) or "nil",
        }
        super().__init__("Keithley Instruments Inc., Model 3706A-SNFP, 1234567, 1.56a", rules)

    def _close(self, names: str) -> None:
        self.closed.clear()
        self.closed |= set(names.split(","))


def test_keithley_3706a_of_qcodes(tmp_path: Path) -> None:
    pytest.importorskip("qcodes", reason="needs qcodes: pip install 'hwloop[qcodes]'")
    ready = SWITCH_MATRICES["qcodes:Keithley3706A"]
    emulated = Emulated3706A()
    with serving(emulated) as port:
        place = Place("matrix", f"TCPIP::127.0.0.1::{port}::SOCKET", "@py", 2.0, {})
        adapted = open_adapted(("qcodes", ready.module, "Keithley3706A"), place, ready.map, "1")
        try:
            matrix = AdaptedMatrix(adapted, ready.map)
            matrix.connect(["2101", "2616"])
            assert emulated.closed == {"2101", "2616"}
            with pytest.raises(ChipError, match="3101 is not a valid specifier"):
                matrix.connect(["3101"])
            matrix.idle()
            assert not emulated.closed
        finally:
            adapted.close()
    assert not emulated.errors
