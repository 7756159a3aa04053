"""Coresets of activations and of data sets, and what is fitted to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import hwloop
from hwloop.calibration.programming.exact import Exact
from hwloop.errors import BadInputError
from hwloop.jobs.deploy_files import NetworkFiles, deploy_files
from hwloop.mapping.activations import Sample
from hwloop.nn.batch_norm import estimate_statistics
from hwloop.nn.datasets import read_dataset
from hwloop.nn.noisy_accuracy import Images
from tests.conftest import OpenChip
from tests.nn.conftest import IDEAL, NOISY, images, small_cnn


def digits() -> dict[str, np.ndarray]:
    """Few digits, split."""
    with np.load(hwloop.data.path("digits.npz")) as stored:
        x, y = stored["images"][:700].astype(np.float32), stored["labels"][:700]
    return {"x_train": x[:500], "y_train": y[:500], "x_test": x[500:], "y_test": y[500:]}


@pytest.fixture
def summary(tmp_path: Path) -> Path:
    np.savez(tmp_path / "d.npz", **digits())
    hwloop.coreset(tmp_path / "d.npz", 60_000).save(tmp_path / "few.npz")
    return tmp_path / "few.npz"


def test_a_result_tells_what_the_budget_was_spent_on() -> None:
    x = np.random.default_rng(0).random((300, 20))
    found = hwloop.coreset([{"a": x}, {"a": 3 * x, "b": x}], 60_000)
    told = found.to_json()
    json.dumps(told, allow_nan=False)
    assert told["bits"] <= 60_000
    assert [(row["tensor"], row["host"]) for row in told["parts"]] == [
        ("a", "host 0"), ("a", "host 1"), ("b", "host 1")
    ]  # fmt: skip
    assert found.samples["a"].weights.sum() == pytest.approx(600)
    assert "points" in repr(found)
    assert len(found.plot().patches) == 3
    assert "shared" not in found._repr_html_()
    page = hwloop.page_of(found)
    assert len(page.tables[0].rows) == 3


def test_a_data_set_keeps_its_labels_and_its_test_images(summary: Path) -> None:
    read, whole = read_dataset(summary), digits()
    assert read.weights is not None
    assert read.x_train.shape[1:] == whole["x_train"].shape[1:]
    assert np.array_equal(read.x_test, whole["x_test"])
    for label in range(10):
        mine = read.x_train[read.y_train == label]
        theirs = whole["x_train"][whole["y_train"] == label]
        far = np.square(mine[:, None] - theirs[None]).reshape(len(mine), len(theirs), -1).sum(-1)
        assert np.sqrt(far.min(1)).max() < 8.0  # each is one of them, rounded
    assert read.weights.sum() == pytest.approx(500)
    assert hwloop.load(summary).images.vectors.shape == read.x_train.shape


def test_statistics_of_batch_norm_take_weights() -> None:
    layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)
    network, x = nn.Sequential(*layers), torch.rand(6, 1, 9, 9, generator=torch.Generator().manual_seed(1))
    times = torch.tensor([1, 3, 2, 1, 5, 4])
    estimate_statistics(network, x.repeat_interleave(times, 0))
    wanted = [one.clone() for one in network.buffers()]
    estimate_statistics(network, x, times.double())
    for mine, other in zip(network.buffers(), wanted, strict=True):
        if mine.dim():
            assert torch.allclose(mine, other, rtol=2e-3, atol=1e-4)  # copies normalise without the last 1/n
    with pytest.raises(BadInputError, match="a batch norm is given 6 rows for 4 weighted inputs"):
        estimate_statistics(network, x, torch.ones(4).double())


def test_a_network_is_fitted_to_weighted_inputs(open_chip: OpenChip, tmp_path: Path) -> None:
    network, x = small_cnn(), images(80)
    weights = np.where(np.arange(80) < 40, 1.0, 4.0)
    deployed = hwloop.deploy(network, open_chip(IDEAL), Sample(x.numpy(), weights), "exact")
    copies = hwloop.deploy(network, open_chip(IDEAL), x.repeat_interleave(torch.from_numpy(weights).long(), 0), "exact")
    for mine, other in zip(deployed.tiles, copies.tiles, strict=True):
        assert mine.input_scale == pytest.approx(other.input_scale, rel=0.1)
    deployed.save(tmp_path / "net.h5")
    again = hwloop.load_network(tmp_path / "net.h5", network)
    assert np.array_equal(again.input_weights, weights)
    again.compensate("batchnorm")


def test_columns_are_fitted_to_weighted_activations(open_chip: OpenChip, tmp_path: Path) -> None:
    """A coreset of what the layers are given does in place of all of it, and is on file with the network."""
    network, x = small_cnn(), images(300)
    first = hwloop.deploy(network, open_chip(NOISY), x, "exact")
    name = first.placed[0].name
    with torch.no_grad():
        patches = nn.functional.unfold(x, 3, padding=1).transpose(1, 2).reshape(-1, 18).double().numpy()[::7]
    found = hwloop.coreset({name: patches}, int(0.1 * 32 * patches.size))
    found.save(tmp_path / "probes.npz")
    settings = hwloop.Deployment(activations=tmp_path / "probes.npz")
    deployed = hwloop.deploy(network, open_chip(NOISY), x, "exact", settings=settings)
    tile = deployed.tiles[0]
    assert tile.programmed.shares is not None
    assert tile.input_scale == pytest.approx(first.tiles[0].input_scale, rel=0.15)
    assert tile.fit_error == pytest.approx(first.tiles[0].fit_error, rel=0.2)
    deployed.save(tmp_path / "net.h5")
    again = hwloop.load_network(tmp_path / "net.h5", network).tiles[0]
    assert np.array_equal(again.programmed.shares, tile.programmed.shares)
    deployed.age("1d")
    before = deployed.compensate("none"), deployed.compensate("column")
    assert before[1][0].gain.mean() > 1.0
    with pytest.raises(BadInputError, match="no tensor 'other' is programmed"):
        hwloop.deploy(network, open_chip(NOISY), x, "exact", settings=hwloop.Deployment(activations={"other": patches}))


def test_a_coreset_is_a_data_set_of_deploy_and_retrain_and_of_nothing_else(
    summary: Path, open_chip: OpenChip, tmp_path: Path
) -> None:
    files = NetworkFiles("hwloop.nn.zoo:digits_mlp", hwloop.data.path("digits_mlp.safetensors"), summary)
    chip = open_chip("sim:hermes-core?rows=128&columns=128&cores=3&level=statistical&seed=1")
    deployed = deploy_files(files, chip, Exact(), hwloop.Deployment())
    assert isinstance(deployed, hwloop.DeployedNetwork)
    assert deployed.input_weights is not None
    assert deployed.tested is not None
    assert deployed.tested.on_chip.value > 0.9
    for job in (
        lambda: hwloop.sensitivity(hwloop.nn.zoo.digits_mlp(), summary, chip),
        lambda: hwloop.fewshot(hwloop.nn.zoo.digits_mlp(), summary, chip),
    ):
        with pytest.raises(BadInputError, match="the data are a coreset, whose weights this does not heed"):
            job()


def test_a_weighted_image_counts_as_its_copies_in_training() -> None:
    """With weights, the loss of a batch is that of its copies over the mean weight of all."""
    network = hwloop.nn.zoo.digits_mlp()
    data = {**digits(), "weights": np.where(digits()["y_train"] < 5, 1.0, 1e-6)}
    settings = hwloop.Retraining(epochs=4, lr=5e-3, distillation=0.0, mixing=0.0, held_out=0.2, draws=1, test_draws=1)
    made = hwloop.retrain(network, data, "sim:pcm-ideal", settings).network
    test = digits()
    with torch.no_grad():
        answers = made(torch.from_numpy(test["x_test"])).argmax(1).numpy()
    assert (answers < 5).mean() > 0.95  # what weighs nothing was not learnt


def test_weighted_images_are_drawn_by_their_weights() -> None:
    data = Images(torch.arange(4.0)[:, None], torch.arange(4), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    drawn = data.some(20_000, 1)
    assert drawn.weights is None
    counts = torch.bincount(drawn.labels).double() / 20_000
    assert torch.allclose(counts, torch.tensor([0.1, 0.2, 0.3, 0.4]).double(), atol=0.02)
    assert data.shares.mean() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("given", "bits", "complaint"),
    [
        ([], 10_000, "there is nothing to summarise"),
        (np.ones((100, 4)), 0, "expected a whole number of bits"),
        (np.ones((10, 4)), 10_000, r"\(64 or more vectors, 4\)"),
        ([{"a": np.ones((100, 4))}, {"a": np.ones((100, 5))}], 10_000, "'a' has 5 inputs in host 1, and 4 in host 0"),
        (np.full((100, 4), np.nan), 10_000, "no finite real numbers"),
        ({"a": np.ones((100, 4, 2))}, 10_000, "has the shape"),
        ({"a": "text"}, 10_000, "is no array of numbers"),
        (
            hwloop.data.path("digits_mlp.safetensors"),
            10_000,
            "is no file of arrays; give activations by tensor as .npz",
        ),
    ],
)
def test_what_cannot_be_summarised(given: object, bits: int, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        hwloop.coreset(given, bits)  # type: ignore[arg-type]
