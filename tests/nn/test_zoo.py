"""The networks of the zoo: what they take and give, and that the weights in data/ make them as good as stated."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hwloop.errors import BadInputError
from hwloop.nn import zoo

DATA = Path(__file__).parents[2] / "data"
GREY = [name for name in zoo.NAMES if name != "resnet9"]


def network(name, seed=0):
    torch.manual_seed(seed)
    return getattr(zoo, name)().eval()


def some_digits(count=8, side=8):
    return torch.from_numpy(np.random.default_rng(1).uniform(0, 16, (count, side * side)).astype(np.float32))


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_network_gives_ten_scores_that_training_can_move(name):
    made = network(name).train()
    made(torch.rand(4, 3, 32, 32) if name == "resnet9" else some_digits(4)).square().sum().backward()
    assert all(torch.isfinite(one.grad).all() and one.grad.any() for one in made.parameters())
    with torch.no_grad():
        assert made.eval()(torch.rand(2, 3, 32, 32) if name == "resnet9" else some_digits(2)).shape == (2, 10)


@pytest.mark.parametrize("name", GREY)
def test_flat_images_and_square_ones_in_any_scale_are_the_same_to_a_network(name):
    x, made = some_digits(), network(name)
    with torch.no_grad():
        torch.testing.assert_close(made(x.unflatten(1, (1, 8, 8)) / 16), made(x))


def test_the_small_resnet_takes_images_of_any_size():
    assert network("small_resnet")(some_digits(2, side=28)).shape == (2, 10)


def test_a_black_image_stays_black():
    x = zoo.grey_images(torch.tensor([[0.0, 0, 0, 0], [1, -4, 2, 0]]))
    assert x.tolist() == [[[[0, 0], [0, 0]]], [[[0.25, -1], [0.5, 0]]]]


@pytest.mark.parametrize("shape", [(5, 63), (64,), (2, 4, 16), (2, 3, 8, 8), (2, 0)])
@pytest.mark.parametrize("name", GREY)
def test_images_of_a_wrong_shape_are_refused_with_the_right_one(name, shape):
    wanted = "square images" if name == "small_resnet" else "images of 8 x 8 = 64 pixels"
    with pytest.raises(BadInputError, match=f"takes {wanted}.*; got the shape {re.escape(str(shape))}"):
        network(name)(torch.ones(shape))


def test_images_of_integers_are_refused():
    with pytest.raises(BadInputError, match=r"floating numbers; got torch.uint8, turn them with .float\(\)"):
        network("digits_cnn")(torch.ones((2, 64), dtype=torch.uint8))


def test_the_colour_network_takes_flat_images():
    x, made = torch.rand(2, 3, 32, 32), network("resnet9")
    with torch.no_grad():
        assert torch.equal(made(x.flatten(1)), made(x))


def test_the_colour_network_refuses_other_shapes():
    with pytest.raises(BadInputError, match=r"takes \(batch, 3, 32, 32\) images; got the shape \(2, 1, 28, 28\)"):
        network("resnet9")(torch.ones(2, 1, 28, 28))


@pytest.mark.parametrize("name", zoo.NAMES)
def test_every_network_can_be_traced(name):
    x = torch.rand(2, 3, 32, 32) if name == "resnet9" else some_digits(2)
    made = network(name)
    with torch.no_grad():
        torch.testing.assert_close(torch.fx.symbolic_trace(made)(x), made(x))


def test_the_transformer_is_blind_to_the_order_of_tokens_but_for_positions():
    made = network("digits_transformer")
    patches = some_digits(1).reshape(1, 4, 2, 4, 2)
    turned = patches.flip(1).reshape(1, 64)
    with torch.no_grad():
        assert not torch.allclose(made(turned), made(patches.reshape(1, 64)), atol=1e-3)
        made.position.zero_()
        torch.testing.assert_close(made(turned), made(patches.reshape(1, 64)))


@pytest.mark.parametrize(
    ("name", "right"), [("digits_mlp", 494), ("digits_cnn", 498), ("digits_lstm", 490), ("digits_transformer", 485)]
)
def test_stored_weights_are_as_good_as_stated(name, right):
    """One image may be so near to two digits that kernels of another CPU turn it."""
    made, path = network(name), DATA / f"{name}.safetensors"
    made.load_state_dict(load_file(path))
    digits = np.load(DATA / "digits.npz")
    images = torch.from_numpy(digits["images"][digits["test_index"]]).float()
    with torch.no_grad():
        found = (made(images).argmax(dim=1).numpy() == digits["labels"][digits["test_index"]]).sum()
    assert found == pytest.approx(right, abs=1)
    assert path.stat().st_size < 200_000
    assert f"| `{path.name}` |" in (table := (DATA / "README.md").read_text(encoding="utf-8"))
    assert f"| {right} ({right / 5:.1f} %) |" in table
