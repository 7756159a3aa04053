"""`hwloop drift`: from a run file to a table over a year, and stopped in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import h5py
import pytest

import hwloop
from tests.cli.conftest import BRIEF, ONE_THREAD, Command, arguments


@pytest.fixture(autouse=True)
def programmed(folder: Path, command: Command) -> None:
    """The run that is studied, run.h5."""
    assert command("program", "w.npy", *BRIEF, "--out", "run.h5").exit_code == 0


def test_the_table_has_a_row_per_time_and_a_column_per_compensation(command: Command) -> None:
    names = "none,global,column,predictive,refresh"
    result = command("drift", "run.h5", "--compensation", names, "--out", "drift.h5")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    head = next(line for line in lines if line.startswith("age "))
    assert head.split()[1:] == ["none", "global", "column", "predictive", "refresh"]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line[:1].isdigit()}
    assert list(rows) == ["1s", "1h", "1d", "30d", "1y"]
    with h5py.File("drift.h5") as file:
        for number, row in enumerate(rows.values()):
            for name, shown in zip(head.split()[1:], row, strict=True):
                assert float(shown) == pytest.approx(file[f"compensations/{name}/mvm_error"][number], abs=5e-5)
    for label in ("vectors", "a device", "renew by", "passes 0.15", "hwloop report drift.h5"):
        assert label in result.stdout
    renew = {line.split()[0]: line.split()[3] for line in lines if line.split(" ")[0] in names.split(",")}
    assert renew["none"] == "-"  # there is nothing to renew
    assert all(age[:1].isdigit() for name, age in renew.items() if name != "none")


def test_nothing_is_pulsed_unless_it_is_asked_for(command: Command) -> None:
    result = command("drift", "run.h5", "--times", "1y", "--out", "drift.h5", "--json")
    assert result.exit_code == 0, result.stderr
    entries = json.loads(result.stdout)["compensations"]
    assert list(entries) == ["none", "global", "column", "predictive"]
    assert not any(sum(entry["pulses"]) for entry in entries.values())


def test_json_is_what_python_gives(command: Command) -> None:
    words = ("--times", "1min,1d", "--compensation", "none,refresh+column", "--limit", 0.2, "--seed", 3, "--probes", 64)
    result = command("drift", "run.h5", *words, "--out", "a.h5", "--json")
    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)
    python = hwloop.drift(
        "run.h5",
        times=[60.0, 86400.0],
        compensations=["none", "refresh+column"],
        out="b.h5",
        limit=0.2,
        seed=3,
        probes=64,
    )
    assert shown | {"file": "b.h5"} == python.to_json()
    assert shown["compensations"]["none"]["mvms"] == [0, 0]
    assert (shown["limit"], shown["seed"], shown["probes"]) == (0.2, 3, 64)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_plot_comes_along(command: Command, suffix: str) -> None:
    words = ("--times", "1h,1d", "--compensation", "none,column", "--out", "drift.h5", "--plot", f"drift.{suffix}")
    result = command("drift", "run.h5", *words)
    assert result.exit_code == 0, result.stderr
    assert Path(f"drift.{suffix}").stat().st_size > 8_000
    if suffix == "svg":
        drawn = Path("drift.svg").read_text()
        for text in ("none", "column", "limit 0.15", "relative MVM error", "time since the end of programming"):
            assert f">{text}<" in drawn


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--times", "1h,1s"), "time 1s does not come after 1h"),
        (("--times", "-1s"), "duration '-1s'"),
        (("--times", "0s"), "does not come after the end of programming"),
        (("--times", "1 fortnight"), "duration '1 fortnight': expected a number and one of ns, us"),
        (("--compensation", "best"), "compensation 'best'"),
        (("--limit", "0"), "limit 0 must be a positive MVM error"),
        (("--plot", "drift.jpg"), "a plot is a .png, .svg or .pdf file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command: Command, words: tuple[str, ...], message: str) -> None:
    result = command("drift", "run.h5", "--out", "drift.h5", *words)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not Path("drift.h5").exists()


def test_what_is_no_run_is_refused(command: Command) -> None:
    Path("half.h5").write_bytes(Path("run.h5").read_bytes()[:4000])
    for name, message in (("none.h5", "no such file"), ("half.h5", "not a readable HDF5 file"), ("w.npy", "not a re")):
        result = command("drift", name, "--out", "drift.h5")
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert message in result.stderr
    command("drift", "run.h5", "--times", "1h", "--compensation", "none", "--out", "drift.h5")
    result = command("drift", "drift.h5", "--out", "again.h5")
    assert result.exit_code == 2
    assert "is no hwloop-run or hwloop-network file" in result.stderr


def test_ctrl_c_keeps_the_times_that_were_done() -> None:
    process = subprocess.Popen(
        arguments(
            "drift", "run.h5", "--times", ",".join(f"{k}h" for k in range(1, 4000)), "--out", "long.h5", "--json"
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | ONE_THREAD,
    )
    deadline = time.monotonic() + 30
    while not Path("long.h5").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "stopping after this step" in err
    assert "Traceback" not in err
    result = json.loads(out)
    assert result["status"] == "interrupted"
    with h5py.File("long.h5") as file:
        assert file.attrs["status"] == "interrupted"
        assert 1 <= len(file["times"]) == len(result["compensations"]["none"]["mvm_error"]) < 3999


def test_in_a_pipe_stderr_is_silent(command: Command) -> None:
    done = command("drift", "run.h5", "--times", "1h", "--compensation", "global", "--out", "d.h5", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["status"] == "complete"
