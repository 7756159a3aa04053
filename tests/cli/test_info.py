"""`hwloop info`, `hwloop backends`, and help that leads on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.cli import COMMANDS, main
from hwloop.sim_backend.server.server import serving
from tests.cli.conftest import BRIEF, CHIP, Command, examples_in, programmed_cells

DATA = Path(__file__).parent.parent.parent / "data"
QUICK_SEARCH = ("first=2", "again=0", "method=exact", "epochs=1", "twins=1", "population=4", "generations=2")
"""A search of a second; exact programming needs no rehearsal."""
OF_NETWORKS = ("deploy", "retrain", "sensitivity")


def test_info_shows_identity_geometry_and_sources(command: Command) -> None:
    result = command("info", "sim:hermes-core?seed=7")
    assert result.exit_code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["sim:hermes-core", "simulated-7"]
    assert "1 core of 256 x 256 cells with 2 devices per polarity, 262,144 devices in all." in result.stdout
    midpoint = next(line for line in lines if line[:1] == ["device.curve.midpoint"])
    assert "uA" in midpoint
    assert any(line[:1] == [midpoint[-1]] and line[1:] for line in lines)  # its source, by its number
    assert "offset in steps of 0.25 up to 8 LSB" in result.stdout
    assert ["trims.offset_step", "0.25", "LSB", "-", "assumed"] in lines


def test_info_fits_80_columns_with_every_name_whole(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = json.loads(command("info", "sim:hermes-core", "--json").stdout)["parameters"]
    shown = command("info", "sim:hermes-core").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert {row["name"] for row in told if len(row["name"]) <= 30} <= set(shown.split())


def test_info_as_json_gives_every_parameter_a_source(command: Command) -> None:
    chip = json.loads(command("info", CHIP, "--json").stdout)
    assert (chip["backend"], chip["cores"], chip["rows"], chip["columns"]) == (CHIP, 1, 32, 32)
    assert chip["devices"] == 2 * chip["devices_per_polarity"] * 32 * 32
    assert chip["g_max_uS"] > 0
    assert {"device-read", "converter-trims"} <= set(chip["capabilities"])
    assert chip["gain_trim_step_max"] == [0.004, 0.12]
    rows = chip["parameters"]
    assert len(rows) > 20
    assert all(row.keys() == {"name", "value", "unit", "meaning", "source"} and row["source"] for row in rows)


def test_backends_lists_what_can_be_connected_to(command: Command) -> None:
    listed = json.loads(command("backends", "--json").stdout)["backends"]
    assert {"hermes-core", "hermes-64", "pcm-90nm", "pcm-ideal"} <= set(listed["sim"]["targets"])
    shown = command("backends").stdout
    for target in listed["sim"]["targets"]:
        assert f"  sim:{target}" in shown.splitlines()
        assert command("info", f"sim:{target}").exit_code == 0


@pytest.fixture
def answering() -> Iterator[dict[str, str]]:
    """For `discover`: the address of an instrument that answers, in place of the usual one."""
    with hwloop.connect(CHIP) as chip, serving(chip) as port:
        yield {"127.0.0.1:5025": f"127.0.0.1:{port}"}


# `serve` and `web` run until they are stopped, which tests/sim_backend/server/test_server.py and tests/web do.
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("serve", "web")])
def test_help_ends_with_an_example_that_runs(command: Command, answering: dict[str, str], name: str) -> None:
    programmed_cells("meas.h5")  # for `fit`
    if name in ("export", "predict"):
        command("fit", "meas.h5", "--out", "model.json")
    digits = few_digits("few.npz")
    chip = "sim:hermes-core?rows=300&columns=96&seed=1" if name in OF_NETWORKS else CHIP
    if name == "train":
        chip = "sim:rpu-baseline?seed=1"
    if name == "fewshot":
        chip = "sim:hermes-64?cores=3&seed=1"
    # The same words with a small matrix, data set and chip, so that it is quick.
    small = {
        "data/digits_mlp.safetensors": "w.npy",
        "data/digits_cnn.safetensors": str(DATA / "digits_cnn.safetensors"),
        "data/digits.npz": digits,
        "data/example_measurement.h5": "meas.h5",
        "data/lab.csv": str(DATA / "lab.csv"),
        "data/activations.npz": str(DATA / "activations.npz"),
    } | answering
    if name == "measure":
        small["20000"] = "200"
    if name == "search":
        chip, small["100"] = "sim:hermes-64?cores=2", "3"
    text = command(name, "--help").stdout
    words = [small.get(word, chip if word.startswith("sim:") else word) for word in examples_in(text)[0]]
    if "run.h5" in words:  # as of `evaluate`
        command("program", "w.npy", *BRIEF, "--out", "run.h5")
    quick = {"deploy": ["--method", "exact"], "retrain": ["--set", "batch=200"]}
    quick["fewshot"] = ["--method", "exact", "--epochs", "2", "--age", "0"]
    quick["search"] = [word for one in QUICK_SEARCH for word in ("--set", one)]
    extra = ["--force"] if name in ("program", "compare", "resume") else quick.get(name, [])
    result = command(*words, *extra)
    assert result.exit_code == 0, result.stderr


def few_digits(path: str) -> str:
    """Write some of the digits, and return the path."""
    with np.load(DATA / "digits.npz") as digits:
        images, labels = digits["images"][:260], digits["labels"][:260]
    np.savez(path, images=images, labels=labels, train_index=np.arange(200), test_index=np.arange(200, 260))
    return path


@pytest.mark.parametrize("option", ["--help", "-h", "--version"])
def test_help_and_version_wait_for_nothing_heavy(option: str) -> None:
    script = (
        "import sys\n"
        "from hwloop.cli import main\n"
        "try:\n"
        f"    main([{option!r}])\n"
        "finally:\n"
        "    heavy = {'torch', 'scipy', 'numpy', 'h5py', 'matplotlib'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if option == "--version":
        assert done.stdout == f"hwloop, version {hwloop.__version__}\n"
    else:
        assert "\n  Start here:\n    hwloop examples ." in done.stdout
        assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("words", "completed"),
    [("hwloop progr", "program"), ("hwloop program --meth", "--method"), ("hwloop measure dr", "drift")],
)
def test_a_shell_is_told_how_words_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, completed: str
) -> None:
    for name, value in (("_HWLOOP_COMPLETE", "bash_complete"), ("COMP_WORDS", words)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit) as ended:
        main(prog_name="hwloop")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"plain,{completed}\n"
