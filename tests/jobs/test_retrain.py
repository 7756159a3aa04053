"""`hwloop.retrain`: a network, data and a chip, whatever they are given as."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import hwloop
from hwloop.jobs.retrain_asked import _tensors
from hwloop.nn.datasets import read_dataset
from hwloop.nn.factory import network_from
from hwloop.nn.learnt_ranges import KEY, read_input_ranges, save_weights

CHIP = "sim:hermes-core?seed=1"
BRIEF = hwloop.Retraining(epochs=2, batch=40, draws=2, test_draws=3)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))


def data(count: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    return (rng.standard_normal((count, 16)) + 2.0 * np.eye(3, 16)[y]).astype(np.float32), y


def both() -> dict[str, np.ndarray]:
    (x, y), (x_test, y_test) = data(), data(100, 1)
    return {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}


def test_a_network_for_a_chip() -> None:
    plain = network()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    made = hwloop.retrain(plain, both(), CHIP, BRIEF)
    assert made.status == "complete"
    assert type(made.network) is type(plain)
    assert isinstance(made.network[0], nn.Linear)
    assert all(torch.equal(before[name], value) for name, value in plain.state_dict().items())
    assert made.network.state_dict().keys() == before.keys()
    assert set(made.input_ranges) == {"0.weight", "3.weight"}
    assert len(made.accuracy) == 3
    assert made.after is not None
    with torch.no_grad():
        x, y = data(100, 1)
        right = (made.network.eval()(torch.tensor(x)).argmax(1).numpy() == y).mean()
    assert made.after.digital == pytest.approx(right)
    assert repr(made).startswith("<Retrained Sequential for sim:hermes-core?seed=1, complete: held-out accuracy under")


def test_targets_hold_at_the_age_that_is_asked_for() -> None:
    plain, year = network_from("hwloop.nn.zoo:digits_cnn"), 365 * 86_400.0
    plain.load_state_dict(load_file(hwloop.data.path("digits_cnn.safetensors")))
    digits = read_dataset(hwloop.data.path("digits.npz"))
    images = {name: getattr(digits, name)[:100] for name in ("x_train", "y_train", "x_test", "y_test")}

    def lost(age: float) -> float:
        settings = hwloop.Retraining(
            epochs=0, youngest=year, oldest=year, compensation="none", age=age, draws=1, test_draws=2, calibration=64
        )
        tried = hwloop.retrain(plain, images, CHIP, settings).before
        assert tried is not None
        return tried.digital - tried.noisy

    assert lost(0.0) > 0.1  # left alone, it loses a third of its answers within a year
    assert lost(year) < 0.05


def test_json_and_table() -> None:
    made = hwloop.retrain(network(), both(), CHIP, BRIEF)
    told = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert told.keys() == {
        "chip", "status", "ages_s", "epochs", "best_epoch", "answers", "test_before", "test_after", "input_ranges",
        "settings", "hwloop_version", "file",
    }  # fmt: skip
    assert told["epochs"][0]["loss"] is None
    assert told["epochs"][1].keys() == {
        "loss",
        "accuracy_digital",
        "accuracy_noisy",
        "loss_noisy",
        "gain",
        "gain_error",
    }
    assert told["test_after"].keys() == {"digital", "noisy", "spread"}
    assert list(made.to_dataframe()["epoch"]) == [0, 1, 2]


@pytest.mark.parametrize("as_what", ["uri", "chip", "info", "model", "model file"])
def test_chips_of_every_kind(as_what: str, tmp_path: Path) -> None:
    brief = dataclasses.replace(BRIEF, epochs=1)
    with hwloop.connect("sim:hermes-core?rows=32&columns=32&seed=1") as chip:
        if as_what.startswith("model"):
            model = hwloop.fit(hwloop.measure(chip, "read-noise", cells=200, levels=4, samples=64), "power-law")
            model.save(tmp_path / "model.json")
        given = {
            "uri": chip.uri,
            "chip": chip,
            "info": chip.info,
            "model": model if as_what == "model" else None,
            "model file": str(tmp_path / "model.json"),
        }[as_what]
        made = hwloop.retrain(network(), data(), given, brief)
    assert len(made.accuracy) == 2
    assert made.before is None
    assert "hermes-core" in made.chip or "model.json" in made.chip


def test_weight_norm_is_folded() -> None:
    plain = network()
    nn.utils.parametrizations.weight_norm(plain[0])
    made = hwloop.retrain(plain, data(), CHIP, dataclasses.replace(BRIEF, epochs=0))
    assert "0.weight" in made.network.state_dict()
    x = torch.tensor(data()[0])
    with torch.no_grad():
        assert made.network.eval()(x) == pytest.approx(plain.eval()(x), abs=1e-5)


def test_excluded_layers_are_exact() -> None:
    made = hwloop.retrain(network(), data(), CHIP, BRIEF, exclude=["3"])
    assert set(made.input_ranges) == {"0.weight"}


def test_progress_and_stop() -> None:
    told: list[tuple[int, int]] = []

    def report(done: int, total: int) -> None:
        told.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    made = hwloop.retrain(network(), data(), CHIP, BRIEF, progress=report)
    assert made.status == "interrupted"
    assert told == [(1, 10), (2, 10), (3, 10)]


# ---- files -------------------------------------------------------------------------------------------------------


def test_weights_and_ranges_on_file(tmp_path: Path) -> None:
    path = tmp_path / "robust.safetensors"
    made = hwloop.retrain(network(), data(), CHIP, BRIEF)
    made.save(path)
    again = network()
    again.load_state_dict(load_file(path))
    assert all(torch.equal(value, made.network.state_dict()[name]) for name, value in again.state_dict().items())
    assert read_input_ranges(path) == pytest.approx(made.input_ranges)
    with pytest.raises(hwloop.BadInputError, match="exists; use --force"):
        made.save(path)
    made.save(path, force=True)
    with pytest.raises(hwloop.BadInputError, match=r"written as \.safetensors"):
        made.save(tmp_path / "robust.pt")


def test_weights_that_share_memory_are_written_each(tmp_path: Path) -> None:
    one = torch.arange(6.0).reshape(2, 3)
    save_weights(tmp_path / "w.safetensors", {"a": one, "b": one.t()}, {})
    assert torch.equal(load_file(tmp_path / "w.safetensors")["b"], one.t())
    assert read_input_ranges(tmp_path / "w.safetensors") == {}


def test_files_without_ranges_have_none(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    assert read_input_ranges(tmp_path / "w.safetensors") == {}
    np.savez(tmp_path / "w.npz", w=np.ones((2, 3)))
    assert read_input_ranges(tmp_path / "w.npz") == {}


@pytest.mark.parametrize("text", ["[1]", "{", '{"w": -1}', '{"w": "2"}', '{"w": true}', '{"w": NaN}', "[" * 100_000])
def test_ranges_that_are_none(tmp_path: Path, text: str) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors", {KEY: text})
    with pytest.raises(hwloop.BadInputError, match="are no ranges by matrix"):
        read_input_ranges(tmp_path / "w.safetensors")


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"none")
    with pytest.raises(hwloop.BadInputError, match=r"not a readable \.safetensors file"):
        read_input_ranges(tmp_path / "w.safetensors")


# ---- bad input ---------------------------------------------------------------------------------------------------


def with_nan() -> tuple[np.ndarray, np.ndarray]:
    x, y = data()
    x[3, 2] = np.nan
    return x, y


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ((data()[0], data()[1] + 1), "labels run from 1 to 3, and the network has 3 outputs"),
        ((data()[0], data()[1] - 1), "labels run from -1"),
        ((data()[0], data()[1].astype(float)), "labels must be whole numbers"),
        (with_nan(), "the inputs contain NaN"),
        ((data()[0][:, :5], data()[1]), r"the network does not take the data \(200, 5\)"),
        ((data()[0][:7], data()[1]), "do not belong together"),
        ((data()[0][:0], data()[1][:0]), "do not belong together"),
        ((np.array(["a"]), np.array([0])), "the data are no arrays"),
        ({"x_train": data()[0]}, "the data lack y_train, x_test, y_test"),
        (7, "data must be a data set"),
        ("none.npz", "none.npz"),
    ],
)
def test_data_that_do_not_fit(given: tuple[np.ndarray, np.ndarray], complaint: str) -> None:
    with pytest.raises(hwloop.BadInputError, match=complaint) as error:
        hwloop.retrain(network(), given, CHIP, BRIEF)
    assert "\n" not in str(error.value)


def test_networks_that_do_not_fit() -> None:
    broken = network()
    with torch.no_grad():
        broken[0].weight[0, 0] = torch.nan
    with pytest.raises(hwloop.BadInputError, match="outputs are NaN"):
        hwloop.retrain(broken, data(), CHIP, BRIEF)
    with pytest.raises(hwloop.BadInputError, match="one row of class scores"):
        hwloop.retrain(nn.Sequential(nn.Linear(16, 3), nn.Flatten(0)), data(), CHIP, BRIEF)
    with pytest.raises(hwloop.BadInputError, match="no layer of it can lie on a chip"):
        hwloop.retrain(nn.ReLU(), data(), CHIP, BRIEF)
    with pytest.raises(hwloop.BadInputError, match="no layer 'head'"):
        hwloop.retrain(network(), data(), CHIP, BRIEF, exclude=["head"])


@pytest.mark.parametrize(("given", "complaint"), [("sim:none", "none"), (3, "int is no chip"), ("x.json", "x.json")])
def test_chips_that_are_none(given: str | int, complaint: str) -> None:
    with pytest.raises(hwloop.BadInputError, match=complaint):
        hwloop.retrain(network(), data(), given, BRIEF)


def test_data_in_memory_are_kept_by_their_names() -> None:
    x, y = np.zeros((3, 2)), np.array([0, 1, 2])
    assert {name: tuple(one.shape) for name, one in _tensors((x, y)).items()} == {"x": (3, 2), "y": (3,)}
    assert list(_tensors({"x_train": x, "y_train": y})) == ["x_train", "y_train"]
    assert _tensors("data.npz") == {}
