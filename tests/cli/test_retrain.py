"""`hwloop retrain`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from hwloop.nn import zoo
from hwloop.nn.learnt_ranges import read_input_ranges
from tests.cli.conftest import Command

ROOT = Path(__file__).parents[2]
WORDS = (
    "retrain", "--network", "hwloop.nn.zoo:digits_mlp", "--weights", "w.safetensors", "--dataset", "d.npz",
    "--backend", "sim:hermes-core", "--out", "robust.safetensors",
)  # fmt: skip


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    """Untrained weights and a part of the digits."""
    save_file(zoo.digits_mlp().state_dict(), "w.safetensors")
    with np.load(ROOT / "data" / "digits.npz") as whole:
        images, labels = whole["images"][:300], whole["labels"][:300]
    np.savez("d.npz", images=images, labels=labels, train_index=np.arange(200), test_index=np.arange(200, 300))


def test_weights_are_written(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = command(
        *WORDS, "--epochs", 3, "--lr", 0.01, "--set", "batch=32", "--set", "oldest=1y", "--set", "keep=better"
    )
    assert result.exit_code == 0, result.stderr
    assert "hwloop.nn.zoo:digits_mlp trained for sim:hermes-core, 1min to 1y" in result.stdout
    assert result.stdout.count("kept\n") == 1
    assert ("the network is as it was" in " ".join(result.stdout.split())) == bool(
        re.search(r"^ +0 .*kept$", result.stdout, re.MULTILINE)
    )
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert zoo.digits_mlp().state_dict().keys() == load_file("robust.safetensors").keys()
    assert set(read_input_ranges("robust.safetensors")) == {"fc1.weight", "fc2.weight", "fc3.weight"}


def test_json(command: Command) -> None:
    result = command(*WORDS, "--epochs", 1, "--json", "--seed", 3)
    told = json.loads(result.stdout)
    assert told["status"] == "complete"
    assert told["settings"]["seed"] == 3
    assert told["file"] == "robust.safetensors"
    assert len(told["epochs"]) == 2
    assert "the network was tested" not in result.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--set", "epoch=3"), "unknown setting 'epoch'; did you mean 'epochs'"),
        (("--epochs", "-1"), "setting epochs=-1 is outside"),
        (("--epochs", "1", "--set", "epochs=2"), "--epochs and --set epochs are both given"),
        (("--network", "hwloop.nn.zoo:digits_cnn"), "does not fit DigitsCNN"),
        (("--dataset", "none.npz"), "none.npz"),
        (("--out", "robust.npz"), "weights are written as .safetensors"),
        (("--backend", "sim:none"), "none"),
        (("--set", "optimizer=adam"), "did you mean 'adamw'"),
    ],
)
def test_wrong_use_is_one_line(command: Command, words: tuple[str, str], complaint: str) -> None:
    result = command(*WORDS, *words)
    assert result.exit_code == 2, result.output
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("robust.safetensors").exists()


def test_an_existing_file_is_kept(command: Command) -> None:
    Path("robust.safetensors").write_text("mine")
    assert "exists; use --force" in command(*WORDS, "--epochs", 0).stderr
    assert command(*WORDS, "--epochs", 0, "--force").exit_code == 0
