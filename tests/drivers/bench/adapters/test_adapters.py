"""Instruments of pymeasure and QCoDeS play the roles of a bench, on sockets, and the safety of a bench holds for them.

Without these packages the tests that need them are skipped: pip install 'hwloop[pymeasure,qcodes]'.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import hwloop
from hwloop.chip.pulses import PulseKind, Pulses
from hwloop.chip.registry import describe
from hwloop.cli import main
from hwloop.drivers.bench.adapters import adapted
from hwloop.drivers.bench.adapters.packages import DrainLimits
from hwloop.errors import BadInputError, ChipError, InstrumentError, LinkError
from tests.drivers.bench.adapters.foreign import foreign_rig, foreign_text
from tests.drivers.bench.emulated import DUT, Rig, bench_text

needs_pymeasure = pytest.mark.skipif(
    importlib.util.find_spec("pymeasure") is None, reason="needs pymeasure: pip install 'hwloop[pymeasure]'"
)
needs_qcodes = pytest.mark.skipif(
    importlib.util.find_spec("qcodes") is None, reason="needs qcodes: pip install 'hwloop[qcodes]'"
)
LAB = "pymeasure:tests.drivers.bench.adapters.lab_matrix"
PYMEASURE = ("pymeasure:Keithley2450", "pymeasure:Agilent33500", f"{LAB}:LabMatrix")
QCODES = ("qcodes:Keithley2450", "qcodes:Keysight33611A", "keithley-707b")
RESET = Pulses.make(PulseKind.RESET, [0, 5, 31], [250.0, 300.0, 350.0], 100.0)
PLACES = [f"TCPIP::127.0.0.1::{port}::SOCKET" for port in (1, 2, 3)]


@pytest.fixture(
    params=[pytest.param(PYMEASURE, marks=needs_pymeasure), pytest.param(QCODES, marks=needs_qcodes)],
    ids=["pymeasure", "qcodes"],
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """An emulated bench, reached through the classes of one package or the other."""
    with foreign_rig(tmp_path, request.param) as made:
        yield made


@pytest.fixture
def pymeasure_bench(tmp_path: Path) -> Iterator[Rig]:
    with foreign_rig(tmp_path, PYMEASURE) as made:
        yield made


def edit(rig: Rig, old: str, new: str) -> None:
    text = rig.file.read_text()
    assert old in text
    rig.file.write_text(text.replace(old, new))


def test_pulses_and_reads_reach_the_devices_they_are_for(bench: Rig) -> None:
    with hwloop.connect(f"bench:{bench.file}") as chip:
        chip.pulse(0, RESET)
        assert np.array_equal(chip.pulse_counts(0), bench.crossbar.chip.pulse_counts(0))
        assert np.allclose(bench.pulser.pulses, [(1.25, 1e-7), (1.5, 1e-7), (1.75, 1e-7)], rtol=1e-6)
        assert bench.idle
        values = chip.read(0, [0, 5, 1], 2)
        assert chip.snapshot()["source.identity"].startswith("KEITHLEY INSTRUMENTS,")
    direct = bench.crossbar.chip.read(0, [0, 5, 1], 2)
    assert np.allclose(values, direct, atol=2.5, rtol=0.1)  # read noise and drift between the two
    assert values.argmax() == 0
    assert bench.idle
    assert not bench.crossbar.violations
    assert not bench.source.errors
    assert not bench.pulser.errors


def test_the_output_stays_off_when_the_compliance_read_back_is_another(bench: Rig) -> None:
    with hwloop.connect(f"bench:{bench.file}") as chip:
        bench.source.compliance = 1e-6
        heard = len(bench.source.heard)
        with pytest.raises(ChipError, match=r"keeps to a compliance of 1e-06 A and not to 0\.0001 A as it was told"):
            chip.read(0, [0])
        assert not [line for line in bench.source.heard[heard:] if line.upper() in ("OUTPUT ON", ":OUTP 1")]
    assert bench.idle


@needs_pymeasure
def test_a_compliance_that_is_cut_off_is_noticed_before_the_bench_opens(pymeasure_bench: Rig) -> None:
    """Some classes of pymeasure cut a compliance off at their own limit without a word."""
    edit(pymeasure_bench, "compliance = 1e-4", "compliance = 0.9")
    pymeasure_bench.source._rules.insert(0, (re.compile(r":SOUR:VOLT:ILIM\?"), lambda: "1.000000E-01"))
    with pytest.raises(ChipError, match=r"'compliance_current' was set to 0\.9, and 0\.1 is read back"):
        hwloop.connect(f"bench:{pymeasure_bench.file}")
    assert pymeasure_bench.idle


def test_an_entry_of_the_error_queue_stops_the_bench_idle(bench: Rig) -> None:
    with hwloop.connect(f"bench:{bench.file}") as chip:
        bench.pulser.limit = 1.6
        with pytest.raises((InstrumentError, ChipError), match=r"-222|is read back"):
            chip.pulse(0, RESET)
        assert bench.idle
        with pytest.raises(ChipError, match=r"stopped after a failure .*connect again"):
            chip.read(0, [0])
    assert np.allclose(bench.pulser.pulses, [(1.25, 1e-7), (1.5, 1e-7)], rtol=1e-6)


def test_a_device_at_compliance_reads_as_full_scale(bench: Rig) -> None:
    with hwloop.connect(f"bench:{bench.file}") as chip:
        bench.crossbar.current = lambda: 3e-4  # type: ignore[method-assign]
        assert chip.read(0, [3], 2).tolist() == [chip.info.adc_range[1]]
        assert chip.snapshot()["devices_at_compliance"] == "3"


@pytest.mark.parametrize("told", ["limiting", ""])
@needs_pymeasure
def test_without_a_way_to_ask_a_reading_of_the_compliance_is_one_that_is_held(pymeasure_bench: Rig, told: str) -> None:
    if not told:
        edit(pymeasure_bench, "[pulser]", NO_LIMITING)
    with hwloop.connect(f"bench:{pymeasure_bench.file}") as chip:
        pymeasure_bench.crossbar.current = lambda: 3e-4  # type: ignore[method-assign]
        chip.read(0, [3])
        pymeasure_bench.crossbar.current = lambda: 5e-6  # type: ignore[method-assign]
        assert chip.read(0, [4])[0] == pytest.approx(25.0)
        assert chip.snapshot()["devices_at_compliance"] == "3"


NO_LIMITING = """[source.map]
setup = ["reset()", "source_voltage = 0"]
level = "source_voltage"
compliance = "compliance_current"
current = "current"
on = ["enable_source()"]
off = ["disable_source()"]
errors = "check_errors()"
rating = { volts = 20.0, amps = 1.0, amps_min = 1e-9 }

[pulser]"""


@pytest.mark.parametrize("role", ["source", "pulser"])
def test_an_instrument_that_dies_is_an_error_in_bounded_time(
    bench: Rig, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwloop.drivers.bench.adapters.packages.DRAIN", DrainLimits(seconds=0.05))
    edit(bench, "timeout = 5.0", "timeout = 0.2")
    chip = hwloop.connect(f"bench:{bench.file}")
    dead = getattr(bench, role)
    dead.mute_after = len(dead.heard)
    with pytest.raises(ChipError, match=rf"{role} TCPIP.*(imeout).*could not be made safe"):
        chip.pulse(0, RESET) if role == "pulser" else chip.read(0, [0])
    with pytest.raises(ChipError, match="switch it off by hand"):
        chip.close()
    assert not bench.crossbar.source_on
    assert not bench.pulser.pulses


def test_another_instrument_is_refused_before_it_is_set_up(bench: Rig) -> None:
    edit(bench, "[pulser]", "[pulser] # the other one")
    text = bench.file.read_text()
    first, second = [line for line in text.splitlines() if line.startswith("resource")][:2]
    bench.file.write_text(text.replace(first, "@").replace(second, first).replace("@", second))
    edit(bench, "timeout = 5.0", "timeout = 0.3")
    with pytest.raises(LinkError, match=r"33611A|cannot be opened by"):
        hwloop.connect(f"bench:{bench.file}")
    assert "*RST" not in bench.pulser.heard


def test_the_command_line_has_nothing_else_on_stdout(bench: Rig) -> None:
    """QCoDeS prints a line for each instrument, which must not end up beside the object."""
    done = CliRunner().invoke(main, ["info", f"bench:{bench.file}", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["name"] == "bench"


@needs_pymeasure
@needs_qcodes
def test_a_bench_of_three_packages_is_programmed(tmp_path: Path) -> None:
    weights, out = tmp_path / "small.npy", tmp_path / "run.h5"
    np.save(weights, np.array([[0.5]]))
    with foreign_rig(tmp_path, (PYMEASURE[0], QCODES[1], QCODES[2])) as rig:
        words = ["program", str(weights), "--backend", f"bench:{rig.file}", "--out", str(out), "--json"]
        few = ["--method", "iterative", "--age", "1", "--set", "averages=1", "--set", "max_steps=2"]
        done = CliRunner().invoke(main, [*words, *few])
        assert done.exit_code == 0, done.output
        (core,) = json.loads(done.stdout)["cores"]
        assert core["mvm_error_from"] == "device-reads"
        assert len(rig.pulser.pulses) == round(2 * core["pulses_per_device"]) > 0
        assert rig.idle
        assert not rig.crossbar.violations
    with h5py.File(out) as file:
        assert file.attrs["status"] == "complete"


# ---- what a bench file may name ---------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bench.toml"


def write(file: Path, source: str = PYMEASURE[0], more: str = "") -> str:
    file.write_text(foreign_text(*PLACES, (source, "keysight-33600a", "keithley-707b")) + more)
    return f"bench:{file}"


@pytest.mark.parametrize("package", ["pymeasure", "qcodes"])
def test_without_the_package_the_error_names_the_extra(
    package: str, pymeasure_bench: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = pymeasure_bench.file.read_text()
    text = (
        text[: text.index("[matrix.map]")]
        .replace(PYMEASURE[2], "keithley-707b")
        .replace(PYMEASURE[0], f"{package}:Keithley2450")
    )
    pymeasure_bench.file.write_text(text)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadInputError, match=rf"needs {package}, which cannot be imported .*'hwloop\[{package}\]'"):
        hwloop.connect(f"bench:{pymeasure_bench.file}")


def test_a_dry_run_imports_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymeasure", None)
    info, parameters = describe(write(file))
    assert info.rows == 4
    told = {one.name: one.value for one in parameters}
    assert told["source.instrument"] == f"Keithley2450 of pymeasure at {PLACES[0]}, channel 1"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("pymeasure:Keithly2450", "no map for 'pymeasure:Keithly2450'; did you mean 'pymeasure:Keithley2450'?"),
        ("pymeasure:lab:Meter", "write a table [source.map] that says which of its attributes do what"),
        ("pymeasure:lab.:Meter", "no map for 'pymeasure:lab.:Meter'"),
        ("pymesure:Keithley2450", "did you mean 'pymeasure:Keithley2450'?"),
        ("os:system", "PACKAGE:MODULE:CLASS of pymeasure or qcodes"),
        ("qcodes:Keysight33611A", "no map for 'qcodes:Keysight33611A'"),
        ("pymeasure:Keithley2600", "Keithley2600 of pymeasure has no channel '1'; it has: A, B"),
    ],
)
def test_a_driver_that_is_none_is_one_line(file: Path, source: str, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        describe(write(file, source))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("[source.map]\nlevel = 'x'", "source, map: 'rating' is missing"),
        (NO_LIMITING[: -len("\n[pulser]")].replace('"source_voltage"', '"go()"'), "level: 'go()' is a call"),
        (NO_LIMITING[: -len("\n[pulser]")].replace('"current"', '"a = 1"'), "current: 'a = 1' assigns"),
        (
            NO_LIMITING[: -len("\n[pulser]")].replace("reset()", "import os"),
            "source, map, setup: 'import os' is no step",
        ),
        ("[source.options]\nx = [1]", "options, x: expected a text, a number, true or false"),
        ("[pulser.options]\nx = 1", "pulser, options: hwloop's own drivers take none"),
    ],
)
def test_a_map_that_is_none_is_one_line(file: Path, more: str, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        describe(write(file, more="\n" + more))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_pymeasure
@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (f"{LAB}:Absent", "Absent is not there; name a subclass of pymeasure.instruments.Instrument"),
        (f"{LAB}:NotAnInstrument", "NotAnInstrument is no instrument of pymeasure"),
        ("pymeasure:no_such_module:Thing", "importing no_such_module raised ModuleNotFoundError"),
        ("pymeasure:broken_lab:Thing", "importing broken_lab raised RuntimeError: not today"),
    ],
)
def test_a_class_that_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, message: str
) -> None:
    (tmp_path / "broken_lab.py").write_text("raise RuntimeError('not today')")
    monkeypatch.chdir(tmp_path)
    with foreign_rig(tmp_path, PYMEASURE) as rig:
        edit(rig, PYMEASURE[2], driver)
        with pytest.raises(BadInputError) as caught:
            hwloop.connect(f"bench:{rig.file}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_pymeasure
def test_an_attribute_that_is_not_there_is_never_made_anew(pymeasure_bench: Rig) -> None:
    edit(pymeasure_bench, "[pulser]", NO_LIMITING.replace("source_voltage = 0", "source_volts = 0"))
    with pytest.raises(ChipError, match=r"'source_volts = 0': AttributeError: source_volts"):
        hwloop.connect(f"bench:{pymeasure_bench.file}")
    assert pymeasure_bench.idle


def test_a_run_file_that_names_a_bench_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class of a bench file is code, and a file that comes from elsewhere must not lead to it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    Path("bench.toml").write_text(bench_text().replace("keithley-2450", "pymeasure:evil:Meter") + "\n")
    with hwloop.connect(DUT) as chip:
        hwloop.program(chip, np.eye(2), "iterative", out="run.h5", age="1s")
    with h5py.File("run.h5", "r+") as run:
        run.attrs["backend"] = "bench:bench.toml"
    done = CliRunner().invoke(main, ["evaluate", "run.h5"])
    assert done.exit_code == 2
    assert "from a file alone only simulated presets are opened" in done.stderr
    assert "evil" not in sys.modules
    assert adapted  # the adapters are there, and were not asked
