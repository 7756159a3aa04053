"""`hwloop program`: from a weights file to a number, and stopped in the middle."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

import hwloop
from hwloop.cli import common
from tests.cli.conftest import BRIEF, CHIP, ONE_THREAD, Command, Endless, arguments, run_process
from tests.conftest import OpenChip, gaussian

RESULT_KEYS = {
    "method", "backend", "weights", "status", "mvm_error", "cores", "seconds_after_programming", "wall_seconds", "run",
    "hwloop_version",
}  # fmt: skip
CORE_KEYS = {
    "core", "tensor", "rows", "columns", "devices", "mvm_error", "mvm_error_before", "unconverged_cells", "stuck_cells",
    "pulses_per_device", "max_pulses_on_a_device", "device_reads", "mvms", "chip_seconds",
    "split", "clipped_weights", "clipping_error",
}  # fmt: skip


def program_json(command: Command, *words: object) -> dict:
    result = command("program", *words, "--json", "--force")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# ---- results -----------------------------------------------------------------------------------------------------


def test_the_summary_names_the_error_the_file_and_the_next_step(command: Command) -> None:
    result = command("program", "w.npy", *BRIEF, "--out", "run.h5")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "gdp on sim:hermes-core?rows=32&columns=32&seed=1"
    assert lines[1].startswith("MVM error 0.0")
    assert "w.npy" in result.stdout
    assert "16 x 12" in result.stdout
    assert any(line.startswith("hwloop evaluate run.h5 ") and line.endswith("measures it again") for line in lines)
    assert result.stderr == ""


def test_the_table_fits_a_terminal_and_shortens_long_names_in_their_middle(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "encoder.layers.0.attention.out.weight"
    save_file({name: gaussian(16, 12).astype(np.float32)}, "long.safetensors")
    result = command("program", "long.safetensors", *BRIEF, "--out", "run.h5")
    assert max(map(len, result.stdout.splitlines())) <= 80
    row = next(line for line in result.stdout.splitlines() if " x " in line)
    beginning, end = row.split()[0].split("…")
    assert name.startswith(beginning)
    assert name.endswith(end)
    assert len(end) >= len("out.weight")


def test_a_budget_of_chip_seconds_is_kept_and_one_that_allows_no_round_is_refused(command: Command) -> None:
    found = program_json(command, "w.npy", *BRIEF, "--out", "run.h5", "--chip-seconds", 30)
    assert found["cores"][0]["chip_seconds"] == pytest.approx(30.0, rel=0.01)
    found = program_json(command, "w.npy", *BRIEF, "--out", "run.h5", "--method", "iterative", "--chip-seconds", 30)
    assert found["cores"][0]["chip_seconds"] <= 30.3
    result = command("program", "w.npy", *BRIEF, "--out", "other.h5", "--chip-seconds", 1)
    assert result.exit_code == 2
    assert "1 chip seconds allow no round, which rests 4 s" in result.stderr
    assert not Path("other.h5").exists()


def test_what_clipping_costs_is_said_in_one_line(command: Command) -> None:
    result = command("program", "w.npy", *BRIEF, "--out", "run.h5", "--clip", "auto")
    assert result.exit_code == 0
    assert len([line for line in result.stdout.splitlines() if "of the weights clipped" in line]) == 1
    assert "clipped" not in command("program", "w.npy", *BRIEF, "--out", "run.h5", "--force").stdout


@pytest.mark.parametrize("split", ["auto", "fill", "even"])
def test_the_split_that_was_used_is_told(command: Command, split: str) -> None:
    asked = [] if split == "auto" else ["--split", split]
    assert program_json(command, "w.npy", *BRIEF, "--out", "run.h5", *asked)["cores"][0]["split"] == split


def test_json_has_every_promised_key(command: Command) -> None:
    result = program_json(command, "w.npy", *BRIEF, "--out", "run.h5")
    assert result.keys() >= RESULT_KEYS
    assert result["cores"][0].keys() >= CORE_KEYS
    assert (result["method"], result["backend"], result["weights"]) == ("gdp", CHIP, "w.npy")
    assert (result["run"], result["status"]) == ("run.h5", "complete")
    assert result["seconds_after_programming"] == 200.0
    assert 0 < result["wall_seconds"] < 30


def test_the_numbers_are_those_of_the_python_api(command: Command, open_chip: OpenChip) -> None:
    result = program_json(command, "w.npy", *BRIEF, "--seed", 4, "--out", "run.h5")
    chip, before_measuring = open_chip(CHIP), []
    run = hwloop.program(
        chip,
        "w.npy",
        hwloop.GDP(max_steps=6),
        seed=4,
        progress=lambda done, total: before_measuring.append(chip.counts),
    )
    (core,) = result["cores"]
    assert result["mvm_error"] == core["mvm_error"] == pytest.approx(run.mvm_error, rel=1e-12)  # sums round as they lie
    assert (core["core"], core["tensor"], core["rows"], core["columns"]) == (0, "w", 16, 12)
    assert core["devices"] == 2 * chip.info.devices_per_polarity * 16 * 12
    assert core["mvms"] == before_measuring[-1].mvms
    assert core["device_reads"] == before_measuring[-1].device_reads == 0
    assert core["pulses_per_device"] * core["devices"] == pytest.approx(before_measuring[-1].pulses)
    assert core["max_pulses_on_a_device"] == chip.pulse_counts(0).max()
    assert core["chip_seconds"] == pytest.approx(before_measuring[-1].chip_seconds)
    assert core["mvm_error_before"] > core["mvm_error"]


def test_the_same_command_gives_the_same_numbers(command: Command) -> None:
    first, second = (program_json(command, "w.npy", *BRIEF, "--out", "run.h5") for _ in range(2))
    for result in (first, second):
        del result["wall_seconds"]
    assert first == second


def test_several_tensors_are_programmed_and_biases_stay_digital(command: Command) -> None:
    tensors = {"fc1.weight": gaussian(20, 40), "fc1.bias": np.ones(20), "fc2.weight": gaussian(10, 20)}
    save_file(tensors, "net.safetensors")
    chip = CHIP + "&cores=4"
    result = program_json(command, "net.safetensors", "--backend", chip, "--method", "exact", "--out", "run.h5")
    placed = [(core["tensor"], core["rows"], core["columns"]) for core in result["cores"]]
    assert sorted(placed) == [("fc1.weight", 8, 20), ("fc1.weight", 32, 20), ("fc2.weight", 20, 10)]


@pytest.mark.parametrize(
    ("words", "rows", "columns"),
    [
        ((), 16, 12),
        (("--layout", "inputs-first"), 12, 16),
        (("--scale", "core"), 16, 12),
        (("--tensor", "w"), 16, 12),
    ],
)
def test_mapping_options(command: Command, words: tuple[str, ...], rows: int, columns: int) -> None:
    result = program_json(command, "w.npy", "--backend", CHIP, "--method", "exact", "--out", "run.h5", *words)
    assert [(core["rows"], core["columns"]) for core in result["cores"]] == [(rows, columns)]
    with h5py.File("run.h5") as file:
        one_scale = len(set(file["tiles/0000/scale"][:])) == 1
    assert one_scale == ("core" in words)


def test_a_later_age_is_measured_later(command: Command) -> None:
    for age in ("3600", "1h"):
        result = program_json(command, "w.npy", *BRIEF, "--age", age, "--out", "run.h5")
        assert result["seconds_after_programming"] == 3600


def test_a_goal_decides_the_exit_code(command: Command) -> None:
    assert command("program", "w.npy", *BRIEF, "--out", "easy.h5", "--goal", 0.5).exit_code == 0
    missed = command("program", "w.npy", *BRIEF, "--out", "hard.h5", "--goal", 0.001)
    assert missed.exit_code == 1
    assert "is above 0.001" in missed.stderr
    assert Path("hard.h5").exists()


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_plot_comes_with_the_noise_floor(command: Command, suffix: str) -> None:
    result = command("program", "w.npy", *BRIEF, "--out", "run.h5", "--plot", f"run.{suffix}")
    assert result.exit_code == 0, result.stderr
    assert Path(f"run.{suffix}").stat().st_size > 10_000
    if suffix == "svg":
        assert "noise floor 0.0" in Path("run.svg").read_text()


def test_force_replaces_a_run(command: Command) -> None:
    Path("run.h5").write_text("the run of yesterday")
    assert program_json(command, "w.npy", *BRIEF, "--out", "run.h5")["run"] == "run.h5"
    with h5py.File("run.h5") as file:
        assert file.attrs["status"] == "complete"


@pytest.mark.parametrize("method", ["gdp", "exact"])
def test_progress_rises_evenly(command: Command, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    shown: list[float] = []
    monkeypatch.setattr(common, "silent", lambda done, total: shown.append(done / total))  # where there is no terminal
    words = () if method == "exact" else ("--set", "max_steps=6")
    np.save("w.npy", gaussian(40, 40))
    program_json(command, "w.npy", "--backend", CHIP + "&cores=4", "--method", method, *words, "--out", "run.h5")
    assert shown == pytest.approx(np.arange(1, len(shown) + 1) / len(shown))
    assert len(shown) == 4 * (1 if method == "exact" else 7)


# ---- as a process ------------------------------------------------------------------------------------------------


LONG = ("--backend", CHIP, "--set", "max_steps=400", "--set", "max_vectors=1000000000")
"""Options for a run of some seconds, which are worth a bar."""


def test_stdout_is_one_json_object_and_a_terminal_sees_progress() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        arguments("program", "w.npy", *LONG, "--out", "run.h5", "--json"),
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | ONE_THREAD,
    )
    os.close(theirs)
    shown = b""
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.05)[0]:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end was closed
                break
    out, _ = process.communicate(timeout=30)
    os.close(ours)
    assert process.returncode == 0
    assert json.loads(out)["cores"][0]["mvms"] == 400 * 64
    assert "gdp  [" in shown.decode()
    assert "100%" in shown.decode()


def test_in_a_pipe_stderr_is_silent() -> None:
    done = run_process("program", "w.npy", *BRIEF, "--out", "run.h5", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["status"] == "complete"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_between_steps_and_keeps_a_whole_file(
    number: signal.Signals, endless: Endless, command: Command
) -> None:
    steps = endless.wait_for_steps(5)
    code, out, err = endless.end(number)
    assert code == 1
    assert "stopping after this step" in err
    assert "Traceback" not in err
    result = json.loads(out)
    assert (result["status"], result["mvm_error"]) == ("interrupted", None)
    with h5py.File("long.h5") as file:
        assert file.attrs["status"] == "interrupted"
        assert len(file["tiles/0000/steps/mvms"]) >= steps
        assert file["tiles/0000/steps/mvms"][-1] == result["cores"][0]["mvms"]
    evaluated = command("evaluate", "long.h5")
    assert evaluated.exit_code == 0
    assert "the run was stopped before it was measured" in evaluated.stdout


def test_kill_leaves_the_steps_so_far_and_nothing_that_poses_as_whole(endless: Endless, command: Command) -> None:
    endless.wait_for_steps(3)
    steps = endless.wait_for_steps(5)  # read while it is written
    assert endless.end(signal.SIGKILL)[0] == -signal.SIGKILL
    with h5py.File("long.h5") as file:
        assert file.attrs["status"] == "running"
        assert hwloop.load("long.h5").status == "killed"
        assert len(file["tiles/0000/steps/mvms"]) >= steps
        assert file["tiles/0000/target"].shape == (16, 12)
        assert "mvm_error" not in file.attrs
    if shutil.which("h5dump"):
        subprocess.run(["h5dump", "-H", "long.h5"], capture_output=True, check=True)
    refused = command("evaluate", "long.h5")
    assert refused.exit_code == 2
    assert "the run did not finish (status 'killed')" in refused.stderr
    assert command("program", "w.npy", *BRIEF, "--out", "long.h5", "--force").exit_code == 0


# ---- sample inputs -----------------------------------------------------------------------------------------------


def test_the_error_with_sample_inputs_is_told_too(command: Command) -> None:
    inputs = gaussian(64, np.load("w.npy").shape[1])
    np.save("x.npy", inputs)
    core = program_json(command, "w.npy", *BRIEF, "--inputs", "x.npy", "--out", "i.h5")["cores"][0]
    assert 0.3 < core["mvm_error_inputs"] / core["mvm_error"] < 3
    shown = command("program", "w.npy", *BRIEF, "--inputs", "x.npy", "--out", "i.h5", "--force").stdout
    assert f"MVM error with sample inputs  w {core['mvm_error_inputs']:.4f}" in shown


def test_sample_inputs_of_another_width(command: Command) -> None:
    np.save("y.npy", np.ones((64, 5)))
    result = command("program", "w.npy", *BRIEF, "--inputs", "y.npy", "--out", "y.h5")
    assert result.exit_code == 2
    assert "has the shape (64, 5), expected (64 or more vectors" in result.stderr
    assert not Path("y.h5").exists()
