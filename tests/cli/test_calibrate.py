"""`hwloop calibrate`: its JSON, what it prints, what it refuses, and the way to programmed weights."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

import hwloop
from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.plan import PARTS
from hwloop.cli import main
from hwloop.cli.calibrate import calibrate
from hwloop.sim_backend.chip import SimulatedChip
from hwloop.sim_backend.server.instrument import Instrument
from hwloop.sim_backend.server.server import serving
from tests.cli.conftest import CHIP, ONE_THREAD, Command, arguments, examples_in
from tests.conftest import gaussian
from tests.one_process import run_commands

OTHER = CHIP.replace("seed=1", "seed=2")
FEW = ("--set", "max_steps=6")
"""Of a run that is quick."""


def run(command: Command, *words: str) -> Result:
    """A command that ends well."""
    result = command(*words)
    assert result.exit_code == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibration of the small chip, made once."""
    path = tmp_path_factory.mktemp("calibrated") / "chip.cal.h5"
    words = ["calibrate", "all", "--backend", CHIP, "--out", str(path)]
    assert CliRunner().invoke(main, words, prog_name="hwloop").exit_code == 0
    return path


@pytest.fixture
def file(calibrated: Path) -> str:
    """The same in the working folder."""
    shutil.copy(calibrated, "chip.cal.h5")
    return "chip.cal.h5"


def refused(result: Result, complaint: str, code: int = 2) -> None:
    """One line on stderr that says what is wrong, nothing on stdout."""
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    assert complaint in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.lower().startswith("error: ")
    assert "Traceback" not in result.stderr


# ---- what it says --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["all", *PARTS])
def test_json_of_every_part(command: Command, name: str) -> None:
    result = run(command, "calibrate", name, "--backend", CHIP, "--out", "x.h5", "--json")
    told = json.loads(result.stdout)
    assert told.keys() == {
        "chip", "created", "temperature_kelvin", "parts", "skipped", "out_of_date", "cost", "cores", "seed",
        "hwloop_version", "backend", "calibration",
    }  # fmt: skip
    assert (told["backend"], told["calibration"], told["temperature_kelvin"]) == (CHIP, "x.h5", 300.0)
    assert told["skipped"] == {}
    assert set(told["parts"]) == set(told["cores"][0]) - {"core"}
    assert result.stderr == ""


def test_the_text_names_what_was_found_and_what_it_cost(command: Command) -> None:
    text = run(command, "calibrate", "all", "--backend", CHIP + "&stuck_rate=0.02", "--out", "x.h5").stdout
    for words in (
        "sim:hermes-core simulated-1", "pulses", "good devices", "stuck set", "ADC offset", "ADC gain",
        "DAC third order", "wires ", "programming curve", "noise floor  ", "should hold until", "calibrate check x.h5",
    ):  # fmt: skip
        assert words in text, words


def test_show(command: Command, file: str) -> None:
    assert "programming curve" in run(command, "calibrate", "show", file).stdout
    told = json.loads(run(command, "calibrate", "show", file, "--json").stdout)
    (one,) = told["calibrations"]
    assert one["cores"][0]["devices"]["good"] == 4096


def test_show_several_as_a_history(command: Command, file: str) -> None:
    run(command, "calibrate", "adc", "--backend", CHIP, "--out", "adc.h5")
    text = run(command, "calibrate", "show", "adc.h5", file).stdout
    history = [line for line in text[text.index("History") : text.index("Parts")].splitlines() if line[:1].isdigit()]
    assert len(history) == 2
    assert sorted(line.split().count("-") for line in history) == [0, 2]  # one has neither curve nor floor


def test_check_holds_on_the_chip_itself(command: Command, file: str) -> None:
    text = run(command, "calibrate", "check", file, "--backend", CHIP).stdout
    assert "offsets, by idle outputs" in text
    assert "UTC holds.\n" in text
    told = json.loads(run(command, "calibrate", "check", file, "--backend", CHIP, "--json").stdout)
    assert told["holds"] is True
    assert told["warnings"] == []
    assert {found["moved"] for found in told["findings"]} == {0}


def test_check_of_a_chip_that_has_warmed_up_misses_its_goal(command: Command, file: str) -> None:
    result = command("calibrate", "check", file, "--backend", CHIP + "&temperature=330")
    assert result.exit_code == 1
    assert "warning: the chip is at 330.0 K, the calibration was made at 300.0 K" in result.stdout
    assert "no longer holds; calibrate again.\n" in result.stdout


@pytest.mark.parametrize("name", list(calibrate.commands))
def test_every_help_ends_with_an_example_that_runs(command: Command, calibrated: Path, name: str) -> None:
    text = run(command, "calibrate", name, "--help").stdout
    words = examples_in(text)[-1]
    if name in ("daily", "check", "show"):
        shutil.copy(calibrated, "chip.cal.h5")
    if name == "daily":
        run_daily(words)
        return
    chip = "sim:reram-sb?rows=8&columns=8&cores=1" if name == "symmetry-point" else CHIP
    words = [chip if word.startswith("sim:") else word for word in words]
    run(command, *words)


def run_daily(words: list[str]) -> None:
    """The example with a served chip whose address is that of the test, still holding what calibrating left."""
    with hwloop.connect(CHIP) as chip, serving(chip, None, Instrument(chip)) as port:
        uri = f"visa:TCPIP::127.0.0.1::{port}::SOCKET"
        calibrated, daily = run_commands(
            Path(),
            ["calibrate", "all", "--backend", uri, "--out", "served.cal.h5", "--force"],
            [uri if word.startswith("visa:") else word for word in words],
        )
        assert (calibrated.returncode, daily.returncode) == (0, 0), calibrated.stderr + daily.stderr


# ---- what is made of it --------------------------------------------------------------------------------------


def test_from_calibration_to_weights(command: Command, file: str) -> None:
    words = ("program", "w.npy", "--backend", CHIP, "--calibration", file, "--out", "r.h5", "--json")
    out = json.loads(run(command, *words).stdout)
    assert out["calibration"]["file"] == file
    assert set(out["calibration"]["parts"]) >= {"devices", "converters", "programming_curve"}
    again = json.loads(run(command, "evaluate", "r.h5", "--json").stdout)
    assert again["calibration"] == file
    assert again["mvm_error"] == pytest.approx(out["mvm_error"], rel=0.1)
    text = run(command, "compare", "w.npy", "--backend", CHIP, "--calibration", file, "--out", "c.h5").stdout
    assert "gdp" in text


def test_a_run_finds_its_calibration_again(command: Command, file: str) -> None:
    run(command, "program", "w.npy", "--backend", CHIP, "--calibration", file, "--out", "r.h5", *FEW)
    uses = {"evaluate": (), "drift": ("--times", "1h", "--out", "d.h5", "--force", "--compensation", "none,column")}
    for use, words in uses.items():
        assert f"outputs are read through the calibration {file}" in run(command, use, "r.h5", *words).stdout
    Path("elsewhere").mkdir()
    for name in (file, "r.h5"):
        Path(name).rename(Path("elsewhere", name))
    for use, words in uses.items():
        told = json.loads(run(command, use, "elsewhere/r.h5", *words, "--json").stdout)
        assert told["calibration"] == str(Path("elsewhere", file))
    run(command, "calibrate", "all", "--backend", CHIP, "--seed", "9", "--out", "today.h5")
    Path("elsewhere", file).unlink()
    for use, words in uses.items():
        refused(
            command(use, "elsewhere/r.h5", *words), "does not lie beside elsewhere/r.h5: pass it with --calibration"
        )
        run(command, use, "elsewhere/r.h5", "--calibration", "today.h5", *words)
    Path("today.h5").rename(f"elsewhere/{file}")
    for use, words in uses.items():
        refused(command(use, "elsewhere/r.h5", *words), "is another one: pass it with --calibration")


def test_several_cores(command: Command) -> None:
    chip = "sim:hermes-64?rows=32&columns=32&cores=2&seed=1"
    np.save("two.npy", gaussian(32, 64))
    told = json.loads(run(command, "calibrate", "all", "--backend", chip, "--out", "c.h5", "--json").stdout)
    assert [core["core"] for core in told["cores"]] == [0, 1]
    done = json.loads(
        run(
            command, "program", "two.npy", "--backend", chip, "--calibration", "c.h5", "--out", "r.h5", "--json", *FEW
        ).stdout
    )
    assert len(done["cores"]) == 2
    one = run(command, "calibrate", "adc", "--backend", chip, "--core", "1", "--out", "one.h5", "--json").stdout
    assert [core["core"] for core in json.loads(one)["cores"]] == [1]


def test_a_calibration_over_a_socket_is_that_of_the_chip(command: Command, file: str) -> None:
    with hwloop.connect(CHIP) as chip, serving(chip, None, Instrument(chip)) as port:
        uri = f"visa:TCPIP::127.0.0.1::{port}::SOCKET"
        made = run_commands(
            Path(),
            ["calibrate", "all", "--backend", uri, "--out", "visa.h5", "--json"],
            ["program", "w.npy", "--backend", uri, "--calibration", "visa.h5", "--out", "r.h5", "--json"],
            ["evaluate", "r.h5", "--backend", uri, "--calibration", "visa.h5", "--json"],
        )
        assert [one.returncode for one in made] == [0, 0, 0], made
        assert json.loads(made[0].stdout)["skipped"] == {}
    with h5py.File("visa.h5") as there, h5py.File(file) as here:
        for name in ("converters/offset", "programming_curve/shift", "floor/error"):
            assert np.array_equal(there[f"cores/0000/{name}"], here[f"cores/0000/{name}"]), name


def test_weights_and_inputs_for_ranges_and_floor(command: Command) -> None:
    np.save("x.npy", np.maximum(np.random.default_rng(0).standard_normal((100, 16)), 0))
    words = ("--weights", "w.npy", "--inputs", "x.npy", "--age", "3600", "--set", "floor.vectors=200")
    told = json.loads(run(command, "calibrate", "floor", "--backend", CHIP, "--out", "x.h5", *words, "--json").stdout)
    core = told["cores"][0]
    assert 1 < core["ranges"]["input_scale"] < 5
    assert core["floor"]["age"] == 3600


# ---- what is refused -----------------------------------------------------------------------------------------


INPUTS = "--weights w.npy --inputs"


@pytest.fixture
def bad(folder: Path) -> None:
    """Files that cannot be inputs, and an output of yesterday."""
    np.save("narrow.npy", np.ones((4, 7)))
    np.save("nan.npy", np.full((64, 16), np.nan))
    np.save("text.npy", np.array(["a"]))
    np.save("complex.npy", np.ones((64, 16), complex))
    Path("empty.npy").touch()
    np.savez("two.npz", a=gaussian(4, 4), b=gaussian(4, 4))
    Path("there.h5").write_text("of yesterday")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--out there.h5", "there.h5 exists; use --force to replace it"),
        ("--core 1", "core 1 does not exist; sim:hermes-core has 1 core(s)"),
        ("--core -1", "-1 is not in the range x>=0"),
        ("--set settle=3", "--set settle: expected ROUTINE.KEY=VALUE with one of devices, trims, converters, wires"),
        ("--set adc.settle=3", "--set adc.settle: expected ROUTINE.KEY=VALUE"),
        ("--set devices.nope=3", "unknown setting 'nope'; known: reads, map_vectors"),
        ("--set devices.settle=x", "setting settle=x: expected a number"),
        ("--set devices.settle=nan", "setting settle=nan is outside 0 to 10000"),
        ("--set converters.adc_vectors=1", "setting adc_vectors=1 is outside 512 to"),
        ("--set floor.vectors=20", "setting vectors=20: 32 rows need at least 66"),
        ("--age 0", "age 0 s is outside 0.001 to"),
        ("--inputs nan.npy", "sample inputs need the weights they belong to; name them with --weights"),
        (f"{INPUTS} narrow.npy", "has the shape (4, 7), expected (64 or more vectors, 16)"),
        (f"{INPUTS} nan.npy", "has values that are no finite real numbers"),
        (f"{INPUTS} text.npy", "has the shape (1,), expected (64 or more vectors, 16)"),
        (f"{INPUTS} complex.npy", "has values that are no finite real numbers"),
        (f"{INPUTS} empty.npy", "sample inputs empty.npy: no readable .npy or .npz file"),
        (f"{INPUTS} two.npz", "sample inputs two.npz: no tensor 'a' is programmed; there are"),
        (f"{INPUTS} none.npy", "sample inputs none.npy: no readable .npy or .npz file"),
        ("--weights none.npy", "none.npy: no such file"),
        ("--weights two.npz", "two.npz has the matrices a, b; choose one with --tensor"),
        ("--weights two.npz --tensor c", "no tensor 'c'"),
        ("--tensor a", "--tensor a: give the file that holds it with --weights"),
        ("--backend sim:nope", "unknown simulated chip 'sim:nope'"),
        ("--bogus", "No such option '--bogus'"),
    ],
)
def test_bad_options(command: Command, bad: None, options: str, complaint: str) -> None:
    refused(command("calibrate", "all", "--backend", CHIP, "--out", "x.h5", *options.split()), complaint)
    assert not Path("x.h5").exists()
    assert Path("there.h5").read_text() == "of yesterday"


def test_a_dead_chip_fails_with_three(command: Command) -> None:
    result = command("calibrate", "all", "--backend", CHIP + "&stuck_rate=1", "--out", "x.h5")
    refused(result, "error: core 0: no device, or hardly one", code=3)
    assert not Path("x.h5").exists()


USES = {
    "program": ("program", "w.npy", "--out", "r.h5", "--calibration"),
    "compare": ("compare", "w.npy", "--out", "r.h5", "--calibration"),
    "check": ("calibrate", "check"),
    "daily": ("calibrate", "daily", "--out", "r.h5"),
}


@pytest.mark.parametrize("use", USES)
def test_the_calibration_of_another_chip(command: Command, file: str, use: str) -> None:
    for chip in (OTHER, CHIP + "&adc_bits=6"):
        refused(command(*USES[use], file, "--backend", chip), "(serial: simulated-1")
    assert not Path("r.h5").exists()


@pytest.mark.parametrize("use", [*USES, "show"])
def test_a_truncated_calibration(command: Command, file: str, use: str) -> None:
    content = Path(file).read_bytes()
    Path(file).write_bytes(content[: len(content) // 2])
    words = ("calibrate", "show", file) if use == "show" else (*USES[use], file, "--backend", CHIP)
    refused(command(*words), f"{file} is not a readable HDF5 file")
    assert not Path("r.h5").exists()


def test_a_newer_calibration(command: Command, file: str) -> None:
    with h5py.File(file, "r+") as content:
        content.attrs["format_version"] = 99
    refused(command("calibrate", "show", file), "format version 99; this hwloop reads up to 1: upgrade it")


def test_a_stale_calibration_warns_and_is_used(file: str) -> None:
    known = Calibration.load(file)
    dates = {**known.dates, "converters": datetime(2020, 1, 1, tzinfo=UTC)}
    dataclasses.replace(known, dates=dates).save(file, force=True)
    words = ("--backend", CHIP, "--calibration", file)
    done, evaluated = run_commands(
        Path(), ["program", "w.npy", *words, "--out", "r.h5", "--json", *FEW], ["evaluate", "r.h5", *words]
    )
    assert done.returncode == 0
    assert done.stderr.count("warning: the part 'converters' is of 2020-01-01 and should hold for 7 days") == 1
    assert json.loads(done.stdout)["calibration"]["file"] == file
    assert evaluated.returncode == 0
    assert "warning: the part 'converters' is of 2020-01-01" in evaluated.stderr


def test_show_says_what_is_out_of_date(command: Command, file: str) -> None:
    known = Calibration.load(file)
    dataclasses.replace(known, dates=dict.fromkeys(known.dates, datetime(2020, 1, 1, tzinfo=UTC))).save("old.h5")
    text = run(command, "calibrate", "show", "old.h5").stdout
    assert re.search(r"^devices +2020-01-01 00:00 +2020-03-31$", text, re.MULTILINE)
    assert re.search(r"^converters +2020-01-01 00:00 +2020-01-08$", text, re.MULTILINE)
    assert "Out of date: the part 'devices' is of 2020-01-01 and should hold for 90 days" in text
    assert "Out of date" not in run(command, "calibrate", "show", file).stdout


def test_a_calibration_changed_by_hand_is_refused(command: Command, file: str) -> None:
    with h5py.File(file, "r+") as content:
        content["cores/0000/converters/offset"][3] = 7.0
    refused(command("calibrate", "show", file), f"{file} was changed since it was written")


def test_a_killed_calibration_leaves_what_was_done(command: Command) -> None:
    words = ("calibrate", "all", "--backend", "sim:hermes-64?rows=32&columns=32&seed=1", "--out", "x.h5")
    process = subprocess.Popen(arguments(*words), env=os.environ | ONE_THREAD)
    deadline = time.monotonic() + 30
    while not Path("x.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait(timeout=30)
    shown = run(command, "calibrate", "show", "x.h5").stdout
    assert "Not done: unfinished: the calibration has not come to its end" in shown
    refused(command(*words), "x.h5 exists; use --force")
    run(command, *words, "--core", "63", "--force")
    assert "unfinished" not in run(command, "calibrate", "show", "x.h5").stdout


def test_ctrl_c_before_the_first_part_writes_nothing(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as pressed:
        pressed.setattr(SimulatedChip, "_pulse", stop)
        result = command("calibrate", "devices", "--backend", CHIP, "--out", "x.h5")
    assert result.exit_code == 1
    assert "Stopped before the first part was done; hwloop resume x.h5 goes on where it stopped." in result.stdout
    assert not Path("x.h5").exists()
    assert command("resume", "x.h5").exit_code == 0
    assert Path("x.h5").exists()


def test_a_run_is_no_calibration(command: Command, file: str) -> None:
    run(command, "program", "w.npy", "--backend", CHIP, "--set", "max_steps=3", "--out", "r.h5")
    refused(command("calibrate", "show", "r.h5"), "r.h5 is no hwloop-calibration file (its format attribute is")
    refused(command("evaluate", file), f"{file} is no hwloop-run file")


def test_stdout_is_one_json_object_and_another_chip_one_line(command: Command) -> None:
    done = command("calibrate", "devices", "--backend", CHIP, "--out", "x.h5", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["cores"][0]["devices"]["good"] == 4096
    refused = command("calibrate", "check", "x.h5", "--backend", OTHER)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1


def test_symmetry_points_are_calibrated_and_shown(command: Command) -> None:
    chip = "sim:reram-sb?rows=8&columns=8&cores=1&seed=1&symmetry_point_mean=0.2&symmetry_point_spread=0"
    few = ("--set", "symmetry.pairs=2000")
    done = run(command, "calibrate", "symmetry-point", "--backend", chip, "--out", "s.cal.h5", *few, "--json")
    told = json.loads(done.stdout)["cores"][0]["symmetry_point"]
    assert told["mean"] == pytest.approx(0.2, abs=0.03)
    assert told["pairs_per_device"] == 2000
    shown = run(command, "calibrate", "show", "s.cal.h5").stdout
    assert re.search(r"symmetry points +0\.\d+ +- +their mean, of half the range", shown)
    assert "2,000 pairs of pulses and 100 reads a device" in shown
    assert run(command, "show", "s.cal.h5").exit_code == 0
    missing = command("calibrate", "symmetry-point", "--backend", CHIP, "--out", "none.cal.h5")
    assert missing.exit_code == 2
    assert "needs update" in missing.stderr


def test_of_several_cores_it_shows_no_value_of_each(command: Command) -> None:
    chip = "sim:hermes-core?rows=16&columns=16&cores=2&seed=1"
    run(command, "calibrate", "adc", "--backend", chip, "--out", "two.cal.h5")
    shown, entire = run(command, "calibrate", "show", "two.cal.h5"), run(command, "show", "two.cal.h5", "--verbose")
    assert "ADC offset" not in shown.stdout
    assert "hwloop show --verbose" in shown.stdout
    assert entire.stdout.count("ADC offset") == 2
