"""`hwloop fewshot`."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Command
from tests.cli.test_retrain import files as files  # weights and data in the folder

NAMED = ("--network", "hwloop.nn.zoo:digits_mlp", "--dataset", "d.npz", "--backend", "sim:hermes-64?cores=3&seed=1")
BRIEF = ("--sessions", "2", "--shots", "2", "--dimension", "64", "--method", "exact", "--age", "0")


@pytest.mark.usefixtures("files")
def test_weights_are_taken_as_they_are(command: Command) -> None:
    result = command("fewshot", *NAMED, *BRIEF, "--weights", "w.safetensors", "--out", "f.h5")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("DigitsMLP learns in sessions on sim:hermes-64?cores=3&seed=1\n")
    assert "as it was given: whether it has seen the new classes before is not known" in " ".join(result.stdout.split())
    shown = command("show", "f.h5")
    assert shown.stdout.splitlines()[:2] == result.stdout.splitlines()[:2]
    assert command("plot", "f.h5", "sessions", "--out", "f.png").exit_code == 0
    assert command("report", "f.h5", "--out", "f.html").exit_code == 0


@pytest.mark.usefixtures("files")
def test_a_goal_that_is_missed_is_an_exit_code(command: Command) -> None:
    words = ("fewshot", *NAMED, *BRIEF, "--epochs", "1", "--set", "levels=1", "--out", "f.h5", "--json")
    result = command(*words, "--goal", "1.0")
    assert result.exit_code == 1, result.stderr
    told = json.loads(result.stdout)
    assert (told["network"], told["settings"]["epochs"], told["memory"]["levels"]) == ("DigitsMLP", 1, 1)
    assert [row["moment"] for row in told["asked"]] == ["session 0", "session 1", "session 2"]
    assert command(*words).exit_code == 2  # the file is there
