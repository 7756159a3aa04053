"""The bench file: what it takes, and the one line for everything it does not."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import hwloop
from hwloop.chip.registry import describe
from hwloop.cli import main
from hwloop.devices.statistics import LogClip
from hwloop.drivers.bench.adapters import ready
from hwloop.drivers.bench.adapters.maps import MatrixMap, PulserMap, SourceMap
from hwloop.drivers.bench.config import load
from hwloop.errors import BadInputError
from tests.drivers.bench.emulated import bench_text

DOCS = Path(__file__).parents[3] / "docs" / "bench.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bench.toml"


def test_a_whole_file_is_read(file: Path):
    file.write_text(bench_text())
    bench = load(file)
    assert bench.source.ramp_step == 0.05
    assert bench.array.negative_pins == (("201", "202", "203", "204"),)
    assert bench.device is not None
    assert bench.device.drift.mean == LogClip(-0.0155, 0.0244, 0.049, 0.1)


def test_the_example_in_the_documentation_is_a_bench_file(file: Path):
    (example,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    file.write_text(example)
    assert load(file).device is not None


def test_the_map_in_the_documentation_is_one(file: Path):
    (example,) = re.findall(r"```toml\n(.*?)```", (DOCS.parent / "instruments.md").read_text(), re.DOTALL)
    whole = bench_text()
    old = whole[whole.index("[matrix]") : whole.index("[array]")]
    file.write_text(whole.replace(old, example))
    assert load(file).matrix.model.name == "LabMatrix of pymeasure"


def test_every_class_with_a_map_is_in_the_documentation():
    text = (DOCS.parent / "instruments.md").read_text()
    for driver in (*ready.SOURCE_METERS, *ready.PULSE_GENERATORS, *ready.SWITCH_MATRICES):
        assert f"`{driver}`" in text
    for kind in (SourceMap, PulserMap, MatrixMap):
        for field in dataclasses.fields(kind):
            assert f"`{field.name}`" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "emulated"', "", "bench file: 'name' is missing"),
        ('name = "emulated"', 'name = "x"\ncolour = 1', "bench file: unknown key 'colour'; known: name, source"),
        ("read_voltage = 0.2", "read_volts = 0.2", "bench file, source: unknown key 'read_volts'"),
        ("read_voltage = 0.2", "", "bench file, source: 'read_voltage' is missing"),
        ("read_voltage = 0.2", 'read_voltage = "0.2"', "read_voltage: expected a finite number, not '0.2'"),
        ("read_voltage = 0.2", "read_voltage = nan", "read_voltage: expected a finite number"),
        ("read_voltage = 0.2", "read_voltage = true", "read_voltage: expected a finite number"),
        ("read_voltage = 0.2", "read_voltage = 21.0", "21 V is outside 0.001 to 20 V (Keithley 2450)"),
        ("read_voltage = 0.2", "read_voltage = -0.2", "-0.2 V is outside"),
        ("compliance = 1e-4", "compliance = 1.5", "compliance: 1.5 A is outside 1e-09 to 1 A (Keithley 2450)"),
        ("compliance = 1e-4", "compliance = 5e-6", "would cut off a device at g_max; at least 5.5e-06 A"),
        ("compliance = 1e-4", "compliance = 1e-4\nramp_step = 0.0", "source, ramp_step: 0 V is outside 0.001 to 20 V"),
        ("compliance = 1e-4", "compliance = 1e-4\nnplc = 11.0", "nplc: 11 power line cycles is outside 0.01 to 10"),
        (
            "keithley-2450",
            "keithley-2400",
            "source, driver: no 'keithley-2400'; did you mean 'keithley-2",
        ),
        ("keithley-2450", "keithley-2600", "Keithley 2600 series has no channel '1'; it has: a, b"),
        ("amplitude_max = 500.0", "amplitude_max = 2001.0", "2001 uA is outside 0.4 to 2000 uA (Keysight 33600A"),
        ("width_min = 20.0", "width_min = 2.0", "2 ns is outside 5 to 1e+06 ns (Keysight 33600A)"),
        ("width_min = 20.0", "width_min = 7.0", "edge: 5 ns is more than 0.625 of the shortest pulse, 7 ns"),
        ("width_max = 20000.0", "width_max = 10.0", "width_max: 10 ns is outside 20 to"),
        ("pulses_per_device = 10000", "pulses_per_device = 1.5", "expected a whole number, not 1.5"),
        ("load = 5000.0", "load = 0", "load: 0 ohm is outside 50 to"),
        ('"101", "102"', '"101", "101"', "array: pin '101' is used twice"),
        ('"201", "202"', '"105", "202"', "array: pin '105' is used twice"),
        ('"101", "102"', '"113", "102"', "'113' is not a pin; expected slot 1 to 6 and column 01 to 12"),
        ('"101", "102"', '"701", "102"', "'701' is not a pin"),
        ('"201", "202", ', '"201", ', "as many entries as there are columns"),
        ('"101", "102", "103", "104"', "", "as many entries as there are columns"),
        ('[["201", "202", "203", "204"]]', "[]", "same number of devices"),
        ('high = "C"', 'high = "A"', "matrix row 'A' is used twice"),
        ('high = "C"', 'high = "B"', "matrix row 'B' is used twice"),
        ('low = "D"', 'low = "J"', "pulser, low: 'J' is not a matrix row; known: A, B, C"),
        ("127.0.0.1::2::", "127.0.0.1::1::", "resource 'TCPIP::127.0.0.1::1::SOCKET' is used twice"),
        ('form = "power-law"', 'form = "linear"', "q: expected a table with form = one of log-clip, power-law"),
        ("timeout = 5.0", "timeout = 0", "timeout: 0 s is outside"),
        ("[link]", "[link", "is not TOML"),
        ("[matrix]", "[matrix_]", "bench file: unknown key 'matrix_'"),
    ],
)
def test_what_is_wrong_gets_one_line(file: Path, old: str, new: str, message: str):
    whole = bench_text()
    assert old in whole
    file.write_text(whole.replace(old, new, 1))
    with pytest.raises(BadInputError, match=re.escape(message)) as caught:
        load(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_rows_of_both_low_terminals_may_be_one(file: Path):
    file.write_text(bench_text().replace('low = "D"', 'low = "B"'))
    assert load(file).pulser.low == "B"


def test_a_file_that_is_not_there_or_an_option_is_refused(tmp_path: Path):
    with pytest.raises(BadInputError, match=r"absent\.toml cannot be read: No such file"):
        hwloop.connect(f"bench:{tmp_path / 'absent.toml'}")
    with pytest.raises(BadInputError, match="Is a directory"):
        hwloop.connect(f"bench:{tmp_path}")
    with pytest.raises(BadInputError, match="unknown option 'timeout' of bench:"):
        hwloop.connect("bench:bench.toml?timeout=5")
    with pytest.raises(BadInputError, match="needs a file"):
        hwloop.connect("bench:")


def test_a_dry_run_tells_what_would_be_opened_and_opens_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(bench_text())
    monkeypatch.setattr("hwloop.drivers.bench.backend.BenchChip.open", None)  # nothing may call it
    info, parameters = describe(f"bench:{file}")
    assert (info.rows, info.columns) == (4, 4)
    told = {one.name: one.value for one in parameters}
    assert told["source.instrument"].startswith("Keithley 2450 at TCPIP::127.0.0.1::1::SOCKET")
    assert told["first device, read"] == "closes 1A01 and 1B05"
    done = CliRunner().invoke(main, ["info", f"bench:{file}", "--dry-run", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["dry_run"]


@pytest.mark.parametrize("uri", ["sim:pcm-ideal", "bench:none.toml", "bench:"])
def test_what_cannot_be_told_without_opening_is_refused(uri: str) -> None:
    with pytest.raises(BadInputError):
        describe(uri)
