"""The scripts in examples/ that make the files in data/ do what they say."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from hwloop.nn import zoo
from hwloop.nn.datasets import Dataset, read_dataset

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_zoo", ROOT / "examples/train_zoo.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "train_zoo", module)  # where dataclasses look for their module
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits():
    return read_dataset(ROOT / "data/digits.npz")


def trained(script, data, recipe, seed=0):
    torch.manual_seed(seed)
    network = zoo.digits_cnn()
    script.train(network, data, recipe, torch.Generator().manual_seed(seed))
    return network


def test_two_passes_over_the_images_teach_most_digits(script, digits):
    network = trained(script, digits, script.Recipe(epochs=2, learning_rate=5e-3))
    assert not network.training
    assert script.count_right(network, digits) > 450


def test_noise_and_clipping_leave_no_outlier_among_the_weights(script, digits):
    few = Dataset("few", digits.x_train[:64], digits.y_train[:64], digits.x_test, digits.y_test)
    recipe = script.Recipe(epochs=3, learning_rate=5e-3, weight_noise=0.1, clip_sigma=1.5)
    for weight in script.weight_matrices(trained(script, few, recipe)).values():
        # Clipping lowers the standard deviation that it was measured by.
        assert weight.abs().max() < 2 * weight.std()


def test_a_seed_gives_the_same_bytes(script, digits, tmp_path):
    few = Dataset("few", digits.x_train[:64], digits.y_train[:64], digits.x_test, digits.y_test)
    recipe, metadata = script.Recipe(epochs=1, learning_rate=5e-3), {name: name for name in "badc"}
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        script.save(trained(script, few, recipe, seed), metadata, tmp_path / name)
    content = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert content["first"] == content["again"] != content["other"]
    header = content["first"][8 : 8 + int.from_bytes(content["first"][:8], "little")]
    assert list(json.loads(header)["__metadata__"]) == ["a", "b", "c", "d"]


def test_every_trained_network_has_a_recipe(script):
    assert {path.stem for path in (ROOT / "data").glob("digits_*.safetensors")} == script.RECIPES.keys()
