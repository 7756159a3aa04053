"""Bad input: one clear line that names the thing and the way out, exit code 2, and no file left behind."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from safetensors.numpy import save_file

from hwloop.errors import ChipError
from hwloop.files import output
from hwloop.sim_backend.chip import SimulatedChip
from tests.cli.conftest import BRIEF, CHIP, Command, run_process
from tests.conftest import gaussian

NOT_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def refused(result: Result, complaint: str, left: set[str], code: int = 2) -> None:
    """Check that a command ended with one line that says so, and left only these files."""
    assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert complaint in result.stderr
    assert {item.name for item in Path().iterdir()} == left


def refused_in_json(result: Result, complaint: str, kind: str, code: int = 2) -> None:
    """Check that a command ended with one object on stdout that says so, and nothing else."""
    assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr)
    assert result.stderr == ""
    told = json.loads(result.stdout)
    assert told.keys() == {"error", "kind"}
    assert told["kind"] == kind
    assert complaint in told["error"]
    assert "\n" not in told["error"]


def test_an_example_that_is_not_here_says_how_to_get_it(command: Command) -> None:
    args = ("--backend", CHIP, "--out", "r.h5")
    refused(command("program", "data/digits_mlp.safetensors", *args), "hwloop examples . copies it here", {"w.npy"})
    assert "hwloop examples" not in command("program", "data/none.npy", *args).stderr


# ---- weights -----------------------------------------------------------------------------------------------------


def with_value(value: float) -> np.ndarray:
    weights = gaussian(12, 16)
    weights[2, 3] = value
    return weights


def truncated(make: Callable[[str], object], name: str) -> None:
    make(name)
    Path(name).write_bytes(Path(name).read_bytes()[:-100])


WEIGHTS: dict[str, tuple[str, Callable[[str], object], str]] = {
    "NaN": (
        "bad.npy",
        lambda f: np.save(f, with_value(np.nan)),
        "'bad' has 1 NaN or infinite values, the first at (2, 3)",
    ),
    "infinite": ("bad.npy", lambda f: np.save(f, with_value(np.inf)), "'bad' has 1 NaN or infinite values"),
    "text": ("bad.npy", lambda f: np.save(f, np.array([["a", "b"]])), "'bad' holds <U1 values; expected real numbers"),
    "bool": ("bad.npy", lambda f: np.save(f, np.ones((2, 2), bool)), "'bad' holds bool values"),
    "complex": ("bad.npy", lambda f: np.save(f, np.ones((2, 2), complex)), "'bad' holds complex128 values"),
    "empty": ("bad.npy", lambda f: np.save(f, np.empty((0, 8))), "'bad' is empty (shape (0, 8))"),
    "1-D": ("bad.npy", lambda f: np.save(f, np.ones(8)), "'bad' has the shape (8,); a weight matrix needs two"),
    "0-D": ("bad.npy", lambda f: np.save(f, np.float64(3)), "'bad' has the shape ()"),
    "all zero": ("bad.npy", lambda f: np.save(f, np.zeros((4, 4))), "'bad' is all zero; there is nothing to program"),
    "too large": (
        "bad.npy",
        lambda f: np.save(f, gaussian(40, 40)),
        "do not fit on sim:hermes-core, which has 1 core",
    ),
    "pickled": (
        "bad.npy",
        lambda f: np.save(f, np.array([[{}]])),
        "holds Python objects, which hwloop never unpickles",
    ),
    "no tensors": ("bad.npz", lambda f: np.savez(f), "bad.npz: holds no tensors"),
    "cut npy": ("bad.npy", lambda f: truncated(lambda g: np.save(g, gaussian(4, 4)), f), "not a readable .npy file"),
    "cut npz": ("bad.npz", lambda f: truncated(lambda g: np.savez(g, gaussian(4, 4)), f), "not a readable .npz file"),
    "cut safetensors": (
        "bad.safetensors",
        lambda f: truncated(lambda g: save_file({"w": gaussian(4, 4)}, g), f),
        "bad.safetensors is not a readable .safetensors file",
    ),
    "pickled pt": ("bad.pt", lambda f: torch.save({"w": Path}, f), "bad.pt is not a readable .pt file"),
    "no bytes": ("bad.npy", lambda f: Path(f).touch(), "bad.npy is not a readable .npy file"),
    "other kind": ("bad.xls", lambda f: Path(f).write_text("1,2"), "unknown kind of weights '.xls'; expected .npy"),
    "folder": ("bad.npy", lambda f: Path(f).mkdir(), "bad.npy is a folder without weights"),
    "missing": ("bad.npy", lambda f: None, "bad.npy: no such file"),
}


@pytest.mark.parametrize("name", ["program", "compare"])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_cannot_be_programmed(command: Command, name: str, kind: str) -> None:
    file, make, complaint = WEIGHTS[kind]
    make(file)
    before = {item.name for item in Path().iterdir()}
    words = (name, file, "--backend", CHIP, "--out", "run.h5")
    refused(command(*words), complaint, before)
    refused_in_json(command(*words, "--json"), complaint, "bad-input")


# ---- options -----------------------------------------------------------------------------------------------------

CHIP_ERRORS = [
    ("sim:nope", "unknown simulated chip 'sim:nope'; known: capacitor, cmos-rpu, ecram, ecram-mo, hermes-64"),
    ("nope:x", "no backend for 'nope:'; known: bench, sim"),
    ("nope", "'nope' is not a backend URI; expected SCHEME:TARGET"),
    ("sim:hermes-core?bits=3", "unknown option 'bits' of sim:; did you mean 'dac_bits'? known: adc_bits, "),
    ("sim:hermes-core?adc_bits=x", "option adc_bits=x: expected a whole number from 2 to 24"),
    ("sim:hermes-core?adc_bits=99", "option adc_bits=99 is outside 2 to 24"),
    ("sim:hermes-core?read_noise=nan", "option read_noise=nan is outside 0 to 100"),
    ("sim:hermes-core?seed", "the query 'seed' is not of the form name=value&name=value"),
    ("sim:hermes-core?seed=1&seed=2", "an option is given twice"),
    ("sim:hermes-core?seed=-1", "option seed=-1: expected a whole number"),
]

TASK_ERRORS = [
    ("--tensor nope", "w.npy: no tensor 'nope'; it holds w"),
    ("--layout nope", "unknown layout 'nope'; known: outputs-first, inputs-first"),
    ("--scale nope", "mapping scale 'nope' is unknown; known: column, core"),
    ("--split nope", "mapping split 'nope' is unknown; known: auto, fill, even"),
    ("--clip nope", "mapping clip 'nope' is unknown; known: none, auto"),
    ("--age 0", "age 0 s is outside 0.001 to 1e+10 s"),
    ("--age nan", "duration 'nan': expected a number and one of ns, us, ms, s, min, h, d, y"),
    ("--age soon", "duration 'soon': expected a number and one of"),
    ("--seed -1", "-1 is not in the range x>=0"),
    ("--goal good", "'good' is not a valid float"),
    ("--plot run.gif", "run.gif: a plot is a .png, .svg or .pdf file"),
    ("--plot folder/run.png", "folder/run.png: the folder folder does not exist; make it first"),
    ("--plot there.png", "there.png exists; use --force"),
    ("--out there.h5", "there.h5 exists; use --force to replace it, or another name"),
    ("--out .", ". is a folder; give a file name"),
    ("--out folder/run.h5", "folder/run.h5: the folder folder does not exist; make it first"),
    (f"--out {os.devnull} --force", f"{os.devnull} is a device or a pipe; give the name of a file"),
    ("--out w.npy --force", "w.npy holds the weights to program; give another name for the output"),
    ("--out run.png --plot run.png", "run.png is to hold the data; give another name for the plot"),
    ("--bogus", "No such option '--bogus'"),
]

PROGRAM_ERRORS = [
    ("--method nope", "unknown method 'nope'; known: exact, gdp, iterative, sgd"),
    ("--set nope=1", "method gdp: unknown setting 'nope'; known: max_vectors, max_steps"),
    ("--set max_steps=many", "method gdp: setting max_steps=many: expected a whole number"),
    ("--set max_steps=1.5", "method gdp: setting max_steps=1.5: expected a whole number"),
    ("--set settle=x", "method gdp: setting settle=x: expected a number"),
    ("--set settle=nan", "method gdp: setting settle=nan is outside 0 to 100"),
    ("--set max_steps=0", "method gdp: setting max_steps=0 is outside 1 to 10000"),
    ("--set max_steps", "--set max_steps: expected KEY=VALUE"),
    ("--set max_steps=1 --set max_steps=2", "--set max_steps is given twice"),
    ("--method exact --set age=1", "method exact: unknown setting 'age'"),
    ("--method iterative --set tolerance=0.001", "setting tolerance=0.001 uS is below the read noise of "),
]

COMPARE_ERRORS = [
    ("--methods gdp,nope", "unknown method 'nope'; known: exact, gdp, iterative, sgd"),
    ("--methods gdp,", "unknown method ''"),
    ("--methods gdp,gdp", "'gdp,gdp' names a method twice; name each once"),
    ("--set max_steps=3", "--set max_steps: expected METHOD.KEY=VALUE with a method out of iterative, gdp, exact"),
    ("--set sgd.batch=64", "--set sgd.batch: expected METHOD.KEY=VALUE with a method out of"),
    ("--set gdp.nope=3", "method gdp: unknown setting 'nope'"),
    ("--set iterative.tolerance=0.001", "setting tolerance=0.001 uS is below the read noise of "),
    ("--repeats 0", "0 is not in the range x>=1"),
]


@pytest.fixture
def existing(folder: Path) -> set[str]:
    """Files that are there before the command: weights, a run and a plot of yesterday."""
    for name in ("there.h5", "there.png"):
        (folder / name).write_text("of yesterday")
    return {"w.npy", "there.h5", "there.png"}


@pytest.mark.parametrize(("options", "complaint"), TASK_ERRORS + PROGRAM_ERRORS)
def test_program_options(command: Command, existing: set[str], options: str, complaint: str) -> None:
    words = ["program", "w.npy", "--backend", CHIP, "--out", "run.h5", *options.split()]
    refused(command(*words), complaint, existing)
    assert Path("there.h5").read_text() == Path("there.png").read_text() == "of yesterday"


@pytest.mark.parametrize(("options", "complaint"), TASK_ERRORS + COMPARE_ERRORS)
def test_compare_options(command: Command, existing: set[str], options: str, complaint: str) -> None:
    words = ["compare", "w.npy", "--backend", CHIP, "--out", "run.h5", *options.split()]
    refused(command(*words), complaint, existing)
    assert Path("there.h5").read_text() == Path("there.png").read_text() == "of yesterday"


@pytest.mark.parametrize(("uri", "complaint"), CHIP_ERRORS)
def test_chips_that_do_not_exist(command: Command, uri: str, complaint: str) -> None:
    refused(command("info", uri), complaint, {"w.npy"})
    for name in ("program", "compare"):
        refused(command(name, "w.npy", "--backend", uri, "--out", "run.h5"), complaint, {"w.npy"})


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["program", "--backend", CHIP, "--out", "run.h5"], "Missing argument 'WEIGHTS'"),
        (["program", "w.npy", "--out", "run.h5"], "name one chip with --backend, or several with --fleet FLEET.toml"),
        (["compare", "w.npy", "--backend", CHIP], "Missing option '--out'"),
        (["evaluate"], "Missing argument 'RUN'"),
        (["info"], "Missing argument 'URI'"),
        (["nope"], "there is no command 'nope'; known: program, deploy, compare, resume, evaluate"),
    ],
)
def test_what_is_missing_is_named(command: Command, words: list[str], complaint: str) -> None:
    refused(command(*words), complaint, {"w.npy"})


def test_a_tolerance_below_the_read_noise_names_one_that_works(command: Command) -> None:
    words = ["program", "w.npy", "--backend", CHIP, "--method", "iterative", "--out", "run.h5"]
    message = command(*words, "--set", "tolerance=0.001").stderr
    enough = float(message.split("use at least ")[1])
    assert command(*words, "--set", f"tolerance={1.05 * enough}").exit_code == 0


@NOT_ROOT
@pytest.mark.parametrize("option", ["--out", "--plot"])
def test_a_folder_that_cannot_be_written(command: Command, folder: Path, option: str) -> None:
    (folder / "locked").mkdir(mode=0o500)
    outputs = {"--out": "run.h5", "--plot": "run.png"} | {option: f"locked/run{'.h5' if option == '--out' else '.png'}"}
    words = [word for pair in outputs.items() for word in pair]
    result = command("program", "w.npy", "--backend", CHIP, *words)
    refused(result, "cannot be written (Permission denied); give another place", {"w.npy", "locked"})


# ---- failures that are no one's bad input ------------------------------------------------------------------------


def test_a_full_disk(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(output.os, "fsync", full)
    result = command("program", "w.npy", *BRIEF, "--out", "run.h5")
    refused(result, "run.h5 cannot be written (No space left on device); give another place", {"w.npy"})


def test_a_chip_that_fails(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object) -> None:
        raise ChipError("the link is down; check the cable")

    monkeypatch.setattr(SimulatedChip, "_pulse", break_down)
    result = command("program", "w.npy", *BRIEF, "--out", "run.h5")
    complaint = "error: the link is down; check the cable; what was done until then is in run.h5"
    refused(result, f"{complaint}; hwloop resume run.h5 goes on", {"w.npy", "run.h5", "run.h5.resume"}, code=3)


def test_a_fault_of_our_own_asks_for_a_report(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(SimulatedChip, "_pulse", stumble)
    result = command("program", "w.npy", *BRIEF, "--out", "run.h5")
    refused(result, "unexpected ZeroDivisionError (division by zero)", {"w.npy", "run.h5", "run.h5.resume"}, code=3)
    assert "--debug" in result.stderr


def test_a_traceback_is_shown_with_debug_alone(command: Command) -> None:
    words = ("program", "missing.npy", "--backend", CHIP, "--out", "run.h5")
    plain, debug = command(*words), run_process(*words, "--debug")
    assert (plain.exit_code, plain.stdout) == (2, "")
    assert plain.stderr == "error: missing.npy: no such file\n"
    assert "Traceback" in debug.stderr
    assert debug.returncode != 0
