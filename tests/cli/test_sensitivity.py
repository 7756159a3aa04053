"""`hwloop sensitivity`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.cli.test_retrain import files as files  # weights and data in the folder

NAMED = (
    "--network", "hwloop.nn.zoo:digits_mlp", "--weights", "w.safetensors", "--dataset", "d.npz",
)  # fmt: skip
BRIEF = ("--set", "draws=2", "--set", "images=20", "--set", "doublings=1", "--set", "halvings=0")


@pytest.mark.usefixtures("files")
def test_a_named_network(command: Command) -> None:
    result = command("sensitivity", *NAMED, "--backend", "sim:hermes-core", *BRIEF, "--out", "s.h5")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("What DigitsMLP bears on sim:hermes-core\n")
    assert re.search(r"^output gain spread +0\.02 .* relative ", result.stdout, re.MULTILINE)
    assert "fc3.weight" in result.stdout
    again = command("sensitivity", *NAMED, "--backend", "sim:hermes-core", *BRIEF, "--out", "s.h5", "--json", "--force")
    told = json.loads(again.stdout)
    assert told["file"] == "s.h5"
    assert len(told["nonidealities"]) == 12


@pytest.mark.usefixtures("files")
def test_a_deployed_network(command: Command) -> None:
    deployed = command("deploy", *NAMED, "--backend", "sim:hermes-core", "--method", "exact", "--out", "net.h5")
    assert deployed.exit_code == 0, deployed.stderr
    result = command("sensitivity", "net.h5", *BRIEF, "--out", "s.h5", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["network"], told["chip"]) == ("DigitsMLP", "sim:hermes-core")
    refused = command("sensitivity", "net.h5", "--weights", "w.safetensors", "--out", "t.h5")
    assert refused.exit_code == 2
    assert "--weights: a deployed network has its own" in refused.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "give NET.h5, or --network, --weights, --dataset, --backend"),
        (("--network", "hwloop.nn.zoo:digits_mlp"), "give NET.h5, or --weights, --dataset, --backend"),
        (("none.h5",), "none.h5: no such file"),
        (("--set", "draw=2"), "unknown setting 'draw'; did you mean 'draws'"),
        (("w.npy",), "w.npy is not a readable HDF5 file"),
    ],
)
def test_wrong_use_is_one_line(command: Command, words: tuple[str, ...], complaint: str) -> None:
    result = command("sensitivity", *words, "--out", "s.h5")
    assert result.exit_code == 2, result.output
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("s.h5").exists()
