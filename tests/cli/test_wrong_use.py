"""Wrong use of any command is one line on stderr, or one JSON object on stdout, and exit code 2."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from hwloop.cli import COMMANDS
from tests.cli.conftest import CHIP, Command, run_process

NETWORK = "--network hwloop.nn.zoo:digits_cnn --weights w.npy --dataset none.npz"
TO_CHIP = f"--backend {CHIP} --out out.h5"

ZOO, STEPPING = "--network hwloop.nn.zoo:digits_mlp", "sim:rpu-baseline"
LEARNT = f"{ZOO} --dataset d.npz {TO_CHIP}"
WRONG: list[tuple[str, str, str]] = [
    ("program", "w.npy --out out.h5", "name one chip with --backend, or several with --fleet FLEET.toml"),
    ("program", f"none.npy {TO_CHIP}", "none.npy: no such file"),
    ("program", f"w.npy {TO_CHIP} --seed x", "Invalid value for '--seed': 'x' is not a valid integer"),
    ("program", f"w.npy {TO_CHIP} --methd gdp", "No such option '--methd'"),
    ("deploy", "--out out.h5", "Missing option '--network' (hwloop deploy --help tells more)"),
    ("deploy", f"{NETWORK} {TO_CHIP} --images 0", "Invalid value for '--images': 0 is not in the range x>=1"),
    ("deploy", f"{NETWORK} {TO_CHIP} --set nope=1", "method gdp: unknown setting 'nope'"),
    ("retrain", "--out out.safetensors", "Missing option '--network' (hwloop retrain --help tells more)"),
    ("retrain", f"{NETWORK} --backend {CHIP} --out out.npz", "out.npz: weights are written as .safetensors"),
    ("retrain", f"{NETWORK} --backend {CHIP} --out o.safetensors --set nope=1", "unknown setting 'nope'"),
    ("retrain", f"{NETWORK} --backend {CHIP} --out o.safetensors --set seed=1", "seed is given by --seed; leave --set"),
    ("sensitivity", "none.h5 --out out.h5 --set seed=1", "seed is given by --seed; leave --set seed out"),
    ("sensitivity", "none.h5 --out out.h5", "none.h5: no such file"),
    ("sensitivity", "w.npy --out out.h5", "w.npy is not a readable HDF5 file"),
    ("sensitivity", "none.h5 --seed x", "Invalid value for '--seed': 'x' is not a valid integer"),
    ("fewshot", "--out out.h5", "Missing option '--network' (hwloop fewshot --help tells more)"),
    ("fewshot", f"{LEARNT} --goal 2", "--goal 2: expected an accuracy, from 0 to 1"),
    ("fewshot", f"{LEARNT} --shots 0", "setting shots=0 is outside 1 to 10000"),
    ("fewshot", f"{LEARNT} --set level=2", "unknown setting 'level'; did you mean 'levels'"),
    ("search", "--out s.h5", "Missing option '--dataset' (hwloop search --help tells more)"),
    ("search", "--dataset none.npz --chip sim:hermes-64 --out s.h5", "none.npz: no such file"),
    ("search", "--dataset w.npy --chip sim:x --params many --out s.h5", "--params many: expected a number of weights"),
    ("search", "--chip sim:x --dataset w.npy --set seed=1 --out s.h5", "seed is given by --seed; leave --set seed out"),
    ("search", "--dataset w.npy --chip sim:x --budget 9 --set budget=5 --out s.h5", "budget is given by --budget"),
    ("search", "--dataset w.npy --chip sim:x --budget 1 --out s.h5", "setting budget=1 is outside 2 to 1e+06"),
    ("coreset", "w.npy --out out.npz", "Missing option '--bits' (hwloop coreset --help tells more)"),
    ("coreset", "none.npz --bits 9 --out out.npz", "none.npz cannot be read: No such file or directory"),
    ("coreset", "w.npy --bits 9 --out out.npz", "sample inputs w.npy: inputs has the shape (12, 16)"),
    ("compare", f"w.npy {TO_CHIP} more.npy", "Got unexpected extra argument (more.npy)"),
    ("compare", f"w.npy {TO_CHIP} --repeats 0", "Invalid value for '--repeats': 0 is not in the range x>=1"),
    ("compare", f"w.npy {TO_CHIP} --set gdp.nope=1", "method gdp: unknown setting 'nope'"),
    ("resume", "", "Missing argument 'FILE' (hwloop resume --help tells more)"),
    ("resume", "none.h5", "none.h5: no such file"),
    ("resume", "w.npy", "w.npy is not a readable HDF5 file"),
    ("evaluate", "", "Missing argument 'RUN' (hwloop evaluate --help tells more)"),
    ("evaluate", "none.h5", "none.h5: no such file"),
    ("evaluate", "w.npy", "w.npy is not a readable HDF5 file"),
    ("import", "--out out.h5", "Missing argument 'FILE...' (hwloop import --help tells more)"),
    ("import", "none.csv --out out.h5", "none.csv does not exist; give a file"),
    ("import", "w.npy --out out.h5", "w.npy is an array of numpy; hwloop.Measurement.of takes arrays"),
    ("export", "none.json --out out.py", "Missing option '--to' (hwloop export --help tells more)"),
    ("export", "none.json --to aihwkit --out out.py", "none.json cannot be read (No such file or directory)"),
    ("export", "w.npy --to aihwkit --out out.py", "w.npy is no model file: it is not JSON text"),
    ("export", "w.npy --to spice --out out.py", "unknown simulator 'spice'; known: aihwkit, crosssim"),
    ("info", "", "Missing argument 'URI' (hwloop info --help tells more)"),
    ("info", "sim:nope", "unknown simulated chip 'sim:nope'; known"),
    ("info", "nope:x", "no backend for 'nope:'; "),
    ("info", "hermes-core", "'hermes-core' is not a backend URI; expected SCHEME:TARGET"),
    ("backends", "sim", "Got unexpected extra argument (sim)"),
    ("backends", "--verbose", "No such option '--verbose' (hwloop backends --help tells more)"),
    ("backends", "--jsn", "No such option '--jsn'. Did you mean '--json'?"),
    ("discover", "--timeout 0", "Invalid value for '--timeout': 0.0 is not in the range 0.01<=x<=60"),
    ("discover", "--address here", "'here' is not HOST:PORT"),
    ("discover", "--visa-library nope", "the VISA library 'nope' cannot be used"),
    ("serve", "", "Missing option '--chip' (hwloop serve --help tells more)"),
    ("serve", "--chip sim:nope", "unknown simulated chip 'sim:nope'"),
    ("serve", f"--chip {CHIP} --port 70000", "Invalid value for '--port': 70000 is not in the range 0<=x<=65535"),
    ("web", "--port 70000", "Invalid value for '--port': 70000 is not in the range 0<=x<=65535"),
    ("web", "--host 0.0.0.0", "--host 0.0.0.0 lets other machines use the chips of this one; give the tokens"),
    ("web", "--token-file none", "token file none: no such file"),
    ("show", "", "Missing argument 'FILE' (hwloop show --help tells more)"),
    ("show", "none.h5", "none.h5: no such file"),
    ("show", "w.npy", "w.npy is not a readable HDF5 file"),
    ("plot", "none.h5 --list", "none.h5: no such file"),
    ("plot", "w.npy", "say where to draw with --out FIG.pdf"),
    ("plot", "w.npy --out fig.gif", "fig.gif: a plot is a .png, .svg or .pdf file"),
    ("report", "w.npy", "Missing option '--out' (hwloop report --help tells more)"),
    ("report", "none.h5 --out r.html", "none.h5: no such file"),
    ("report", "w.npy --out r.txt", "r.txt: a report is a .html file"),
    ("examples", "", "Missing argument 'FOLDER' (hwloop examples --help tells more)"),
    ("examples", "w.npy", "w.npy/data cannot be written (Not a directory)"),
    ("examples", "a b", "Got unexpected extra argument (b)"),
    ("predict", "none.json", "Missing option '--time' (hwloop predict --help tells more)"),
    ("predict", "none.json --time 1y --level 12uS", "none.json cannot be read (No such file or directory)"),
    ("predict", "w.npy --time 1y --level 12uS", "w.npy is no model file: it is not JSON text"),
    ("ledger", "--merge none.h5", "name the chip whose pulses are meant: hwloop ledger CHIP"),
    ("ledger", "sim:nope", "unknown simulated chip 'sim:nope'"),
    ("ledger", f"{CHIP} --merge none.h5", "none.h5: no such file"),
    ("train", "", "Missing option '--network' (hwloop train --help tells more)"),
    ("train", f"{ZOO} --dataset none.npz --backend {STEPPING} --out t.h5", "none.npz: no such file"),
    ("train", f"{ZOO} --dataset w.npy --backend {STEPPING} --out t.h5", "w.npy is not a readable .npz file"),
    ("train", f"{ZOO} --dataset w.npy --backend {STEPPING} --algorithm adam --out t.h5", "no algorithm 'adam' trains"),
    ("drift", "", "Missing argument 'RUN' (hwloop drift --help tells more)"),
    ("drift", "none.h5 --out out.h5", "none.h5: no such file"),
    ("drift", "run.h5 --bogus", "No such option '--bogus'"),
]
"""Command, its words, and what is said; the commands that calibrate, measure and fit have such tests of their own."""
SILENT_HERE = {"calibrate", "measure", "fit"}


def test_every_command_is_tried_three_times() -> None:
    tried = [name for name, _, _ in WRONG]
    assert {name for name in COMMANDS if tried.count(name) < 3} == SILENT_HERE


@pytest.mark.parametrize(("name", "words", "complaint"), WRONG)
def test_wrong_use_is_one_line(command: Command, folder: Path, name: str, words: str, complaint: str) -> None:
    result = command(name, *words.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {complaint}")
    assert result.stderr.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["w.npy"]


@pytest.mark.parametrize(("name", "words", "complaint"), WRONG)
def test_wrong_use_is_one_json_object(command: Command, folder: Path, name: str, words: str, complaint: str) -> None:
    plain, result = command(name, *words.split()), command(name, *words.split(), "--json")
    assert (result.exit_code, result.stderr) == (2, "")
    told = json.loads(result.stdout)
    assert told.keys() == {"error", "kind"}
    assert f"error: {told['error']}\n" == plain.stderr
    assert told["kind"] == ("usage" if "tells more)" in plain.stderr else "bad-input")
    assert [path.name for path in folder.iterdir()] == ["w.npy"]


# ---- misspelt names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "meant"), [("progam", "program"), ("evalute", "evaluate"), ("Info", "info")])
def test_a_misspelt_command(command: Command, word: str, meant: str) -> None:
    result = command(word, "w.npy")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: there is no command '{word}'; did you mean '{meant}'? known: program, ")
    assert result.stderr.endswith(" (hwloop --help tells more)\n")
    told = json.loads(command(word, "w.npy", "--json").stdout)
    assert (told["kind"], told["error"]) == ("usage", result.stderr.removeprefix("error: ").rstrip("\n"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"program w.npy {TO_CHIP} --method gdpp", "unknown method 'gdpp'; did you mean 'gdp'? known: exact, gdp, "),
        (f"compare w.npy {TO_CHIP} --methods gdp,iterativ", "unknown method 'iterativ'; did you mean 'iterative'?"),
        ("info siim:hermes-core", "no backend for 'siim:'; did you mean 'sim'? "),
    ],
)
def test_other_misspelt_names(command: Command, words: str, said: str) -> None:
    result = command(*words.split())
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {said}")
    assert json.loads(command(*words.split(), "--json").stdout)["error"].startswith(said)


def test_nothing_is_suggested_where_nothing_is_close(command: Command) -> None:
    assert "did you mean" not in command("nope").stderr
    assert "did you mean" not in command("program", "w.npy", *TO_CHIP.split(), "--method", "nope").stderr


# ---- the edges ---------------------------------------------------------------------------------------------------


def test_hwloop_alone_shows_its_help(command: Command) -> None:
    result = command()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: hwloop [OPTIONS] COMMAND")
    assert "error" not in result.stderr.splitlines()[0]
    assert all(f"  {name} " in result.stderr for name in COMMANDS)


def test_an_unknown_option_of_hwloop_itself(command: Command) -> None:
    assert command("--bogus").stderr == "error: No such option '--bogus' (hwloop --help tells more)\n"


def test_a_real_process_says_the_same() -> None:
    done = run_process("program", "w.npy", "--json")
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout)["kind"] == "usage"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "127.0.0.1"])
def test_an_address_that_cannot_be_listened_on(command: Command, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """It is the link that fails: exit code 3."""
    monkeypatch.setenv("HWLOOP_TOKEN", "a" * 32)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = command("serve", "--chip", CHIP, "--host", host, "--port", port)
    assert (result.exit_code, result.stdout) == (3, "")
    complaint = result.stderr.splitlines()[-1]
    assert complaint.startswith(f"error: cannot listen on {host}:{port}: ")
    assert "Unknown error" not in complaint
    assert complaint.endswith("; try another --port or --host")
