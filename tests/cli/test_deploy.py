"""`hwloop deploy`, and `hwloop drift` of what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hwloop
from tests.cli.conftest import Command

DATA = Path(__file__).parent.parent.parent / "data"
NETWORK = ("--network", "hwloop.nn.zoo:digits_cnn", "--weights", DATA / "digits_cnn.safetensors")
DEPLOY = ("deploy", *NETWORK, "--dataset", DATA / "digits.npz")
CHIP = "sim:hermes-core?seed=1&rows=300&columns=96"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Fewer of the digits, so that a test takes seconds."""
    with np.load(DATA / "digits.npz") as digits:
        images, labels = digits["images"][:260], digits["labels"][:260]
    path = tmp_path / "few.npz"
    np.savez(path, images=images, labels=labels, train_index=np.arange(200), test_index=np.arange(200, 260))
    return path


def test_from_files_to_accuracy_over_time(command: Command, dataset: Path) -> None:
    asked = ("deploy", *NETWORK, "--dataset", dataset, "--backend", CHIP, "--method", "exact", "--out", "net.h5")
    shown = command(*asked)
    assert shown.exit_code == 0, shown.stderr
    for text in (
        "conv3.weight",
        "288 x 32",
        "bn1, bn2, bn3",
        "one inference",
        "on 60 test images",
        "digital 100.0%",
        "hwloop drift net",
    ):
        assert text in shown.stdout
    told = json.loads(command(*asked, "--force", "--json").stdout)
    assert told["accuracy"] > 0.9
    assert told["backend"] == CHIP
    result = command(
        "drift", "net.h5", "--times", "1d,1y", "--compensation", "none,column,batchnorm", "--out", "d.h5", "--json"
    )
    assert result.exit_code == 0, result.stderr
    courses = json.loads(result.stdout)["compensations"]
    assert courses["column"]["accuracy"][1] > courses["none"]["accuracy"][1]
    # Batch norm leaves the outputs of tiles as they are, so their errors pass the limit when they do without it.
    assert courses["batchnorm"]["passes_limit"] == courses["none"]["passes_limit"]
    shown = command("drift", "net.h5", "--times", "1d", "--compensation", "column", "--out", "e.h5")
    assert "accuracy" in shown.stdout
    assert "%" in shown.stdout


def test_settings_reach_the_network(command: Command, dataset: Path) -> None:
    result = command(
        "deploy", *NETWORK, "--dataset", dataset, "--backend", CHIP + "&cores=3", "--method", "exact", "--out", "n.h5",
        "--exclude", "fc", "--replicas", "conv1=2", "--replica-use", "share", "--ranges", "dynamic",
        "--bound-management", 2, "--images", 100, "--goal", 1.1,
    )  # fmt: skip
    assert result.exit_code == 1, result.stderr  # no accuracy reaches 1.1
    assert "is below 1.1" in result.stderr
    network = hwloop.load(Path("n.h5"))
    assert network.settings.ranges.dynamic
    assert network.settings.ranges.bound_management == 2
    assert network.settings.replica_use == "share"
    assert len(network.inputs) == 100
    layers = {layer.name: layer for layer in network.mapping_report().layers}
    assert layers["conv1.weight"].replicas == 2
    assert "fc.weight" not in layers
    network.open_run.backend.close()


def test_passes(command: Command, dataset: Path) -> None:
    asked = ("deploy", *NETWORK, "--dataset", dataset, "--backend", "sim:hermes-core?rows=300&columns=33")
    refused = command(*asked, "--method", "exact", "--out", "n.h5")
    assert refused.exit_code == 2
    assert "needs 2 cores" in refused.stderr
    shown = command(*asked, "--method", "exact", "--passes")
    assert shown.exit_code == 0, shown.stderr
    assert "in 3 passes" in shown.stdout
    assert "Accuracy" in shown.stdout


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--out", "n.h5", "--exclude", "fz"), "the network has no layer 'fz'; known: conv1"),
        (("--out", "n.h5", "--replicas", "conv1"), "--replicas conv1: expected PATH=N"),
        (("--out", "n.h5", "--ranges", "auto"), "--ranges auto is unknown; known: error"),
        (("--out", "n.h5", "--replica-use", "averag"), "did you mean 'average'?"),
        (("--out", "n.h5", "--replicas", "conv1=\u00b2"), "expected PATH=N"),
        (("--out", "n.h5", "--replicas", "conv1=1000000000"), "1000000000 copies of conv1.weight take"),
        (("--out", "n.h5", "--goal", "nan"), "expected an accuracy, as 0.95"),
        (("--out", "n.h5", "--method", "gpd"), "did you mean 'gdp'?"),
        ((), "give --out"),
        (("--out", "n.h5", "--network", "hwloop.nn.zoo:digits_cn"), "digits_cnn"),
        (("--out", "n.h5", "--weights", DATA / "digits_mlp.safetensors"), "does not fit DigitsCNN: it lacks"),
        (("--out", "n.h5", "--dataset", DATA / "digits_mlp.safetensors"), "digits_mlp.safetensors"),
    ],
)
def test_wrong_use_is_one_line(command: Command, words: tuple, complaint: str) -> None:
    result = command(*DEPLOY, "--backend", CHIP, *words)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("n.h5").exists()
