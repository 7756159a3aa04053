"""`hwloop export` of runs; that of models is in test_fit.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.cli.conftest import BRIEF, Command


def test_a_run_becomes_arrays(command: Command) -> None:
    assert command("program", "w.npy", *BRIEF, "--out", "run.h5").exit_code == 0
    for to in ("npz", "safetensors", "csv"):
        result = command("export", "run.h5", "--to", to, "--out", f"run.{to}", "--json")
        assert result.exit_code == 0, result.stderr
        told = json.loads(result.stdout)
        assert (told["tensors"], told["tiles"], told["devices"]) == (["w"], 1, 4 * 12 * 16)
        assert {"target", "reached", "device_target", "scale", "column_gain"} <= set(told["arrays"])
    arrays = load_file("run.safetensors")
    weights = arrays["tile0/target"] * arrays["tile0/scale"]
    assert weights[:, np.argsort(arrays["tile0/output"])] == pytest.approx(np.load("w.npy").T)
    assert command("export", "run.h5", "--to", "csv", "--out", "run.csv").exit_code == 2
    plain = command("export", "run.h5", "--to", "csv", "--out", "run.csv", "--force")
    assert plain.stdout == "run.csv: 768 devices in 1 tile(s) of 1 tensor(s)\n"


def test_a_file_and_a_format_that_do_not_go_together_are_refused(command: Command) -> None:
    command("program", "w.npy", *BRIEF, "--out", "run.h5")
    command("calibrate", "dac", "--backend", BRIEF[1], "--out", "chip.cal.h5")
    for words, message in (
        (("run.h5", "--to", "npz", "--tensor", "v"), "run.h5: no tensor 'v'"),
        (("chip.cal.h5", "--to", "npz"), "chip.cal.h5 is a hwloop-calibration file; what can be exported are runs"),
        (("w.npy", "--to", "csv"), "w.npy"),
        (("none.h5", "--to", "csv"), "none.h5"),
        (("run.h5", "--to", "aihwkit"), "run.h5 is no model file"),
    ):
        result = command("export", *words, "--out", "out.py")
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
