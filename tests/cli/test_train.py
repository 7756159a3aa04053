"""`hwloop train`, and `resume` and `evaluate` of what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Command

ROOT = Path(__file__).parents[2]
WORDS = (
    "train", "--network", "hwloop.nn.zoo:digits_mlp", "--dataset", "d.npz", "--out", "t.h5",
    "--backend", "sim:rpu-baseline?rows=64&columns=128", "--algorithm", "mixed-precision",
)  # fmt: skip


@pytest.fixture(autouse=True)
def files(folder: Path) -> None:
    """Leave a part of the digits in the folder."""
    with np.load(ROOT / "data" / "digits.npz") as whole:
        images, labels = whole["images"][:150], whole["labels"][:150]
    np.savez("d.npz", images=images, labels=labels, train_index=np.arange(100), test_index=np.arange(100, 150))


def test_a_network_is_trained_shown_and_evaluated(command: Command) -> None:
    result = command(*WORDS, "--epochs", 2, "--plot", "t.png", "--training", "reference_epochs=1", "--goal", 0.0)
    assert result.exit_code == 0, result.stderr
    assert "trained in float" in result.stdout
    assert "hwloop evaluate t.h5 --times 1s,1h,1d " in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 120
    assert Path("t.png").stat().st_size > 1000
    shown = command("show", "t.h5")
    assert "trained by mixed-precision" in shown.stdout
    assert "of test images right after 2 epochs" in shown.stdout
    again = command("resume", "t.h5")
    assert (again.exit_code, "is complete" in again.stderr) == (2, True)
    told = json.loads(command("evaluate", "t.h5", "--times", "1s,1h", "--json").stdout)
    assert told["ages_s"] == [1.0, 3600.0]
    assert told["images"] == 50
    assert "of 50 images" in command("evaluate", "t.h5").stdout
    refused = command("drift", "t.h5", "--times", "1h", "--out", "d.h5")
    assert "t.h5 is a training; hwloop evaluate t.h5 --times 1h measures it as its chip ages" in refused.stderr


def test_json_has_the_names_that_scripts_rely_on(command: Command) -> None:
    result = command(*WORDS, "--epochs", 1, "--training", "reference_epochs=1", "--json", "--seed", 3, "--goal", 1.0)
    assert result.exit_code == 1
    assert "goal missed" in result.stderr
    told = json.loads(result.stdout)
    assert len(told["test_accuracy"]) == 1
    assert {"float_accuracy", "pulses_per_device", "wall_seconds"} <= told.keys()
    assert told["settings"]["training"]["seed"] == 3


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--algorithm", "agd"), "no algorithm 'agd' trains in memory; did you mean 'agad'"),
        (("--set", "granularty=3"), "unknown setting 'granularty'; did you mean 'granularity'"),
        (("--epochs", "1", "--training", "epochs=2"), "epochs is given by --epochs; leave --training epochs out"),
        (("--periphery", "devices=0"), "setting devices=0 is outside 1 to 64"),
        (("--backend", "sim:hermes-core"), "train on a chip of devices that step"),
        (("--backend", "sim:rpu-baseline?rows=8&columns=8&cores=2"), "does not fit on sim:rpu-baseline"),
        (("--plot", "t.h5"), "a plot is a .png"),
    ],
)
def test_bad_input_is_one_line(command: Command, words: tuple[str, ...], complaint: str) -> None:
    result = command(*WORDS, "--training", "reference_epochs=0", *words)
    assert result.exit_code in (2, 3)
    assert complaint in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not Path("t.h5").exists()
