"""Which axis of a weight is which: from biases, names and neighbours, and what is not told is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from hwloop.mapping.layouts import KERAS_ORDER, Reading, matrix_of, readings
from hwloop.mapping.tensors import Tensor


def network(**shapes: tuple[int, ...]) -> list[Tensor]:
    """Tensors by their names, in which two underscores stand for a point."""
    return [
        Tensor(name.replace("__", "."), shape, "float32", lambda shape=shape: np.zeros(shape))
        for name, shape in shapes.items()
    ]


def read(name: str, default: str | None = None, /, **shapes: tuple[int, ...]) -> Reading:
    """How one weight of a network is read."""
    tensors = network(**shapes)
    weights = [one for one in tensors if one.ndim > 1]
    return readings(weights, tensors, default)[name.replace("__", ".")]


@pytest.mark.parametrize(
    ("shapes", "layout", "trouble"),
    [
        ({"fc__weight": (4, 6), "fc__bias": (4,)}, "outputs-first", ""),
        ({"fc__weight": (4, 6), "fc__bias": (6,)}, "inputs-first", ""),
        ({"fc__weight": (4, 4), "fc__bias": (4,)}, "outputs-first", ""),
        ({"fc__weight": (4, 6)}, "outputs-first", ""),
        ({"fc__weight": (4, 6), "fc__bias": (5,)}, "outputs-first", "a bias of 5 values, which fits neither order"),
        ({"fc__weight": (4, 6), "fc2__weight": (3, 8), "fc2__bias": (8,)}, "inputs-first", ""),  # as others of its name
        ({"fc__weight": (4, 6), "head__weight": (3, 8), "head__bias": (8,)}, "outputs-first", "which axis is inputs"),
        ({"fc__weight": (4, 6), "head__weight": (3, 8), "head__bias": (3,)}, "outputs-first", ""),
        ({"fc__kernel": (4, 6)}, "inputs-first", ""),
    ],
)
def test_a_matrix_is_read_by_its_bias_or_by_others_of_its_name(
    shapes: dict[str, tuple[int, ...]], layout: str, trouble: str
) -> None:
    found = read(next(iter(shapes)), **shapes)
    assert (found.layout, bool(found.trouble)) == (layout, bool(trouble))
    assert trouble in found.trouble


@pytest.mark.parametrize(
    ("shapes", "layout", "trouble"),
    [
        ({"h__c_attn__weight": (8, 24)}, "inputs-first", ""),  # three outputs for each input
        ({"h__c_attn__weight": (24, 8)}, "outputs-first", ""),
        ({"h__c_fc__weight": (8, 32)}, "inputs-first", ""),  # four
        ({"h__c_fc__weight": (32, 8)}, "outputs-first", ""),
        ({"h__c_fc__weight": (8, 24)}, "outputs-first", "which axis is inputs is not told"),
        ({"h__c_proj__weight": (8, 8)}, "outputs-first", "which axis is inputs is not told"),
        ({"h__c_proj__weight": (8, 8), "h__c_attn__weight": (8, 24)}, "inputs-first", ""),
        ({"h__c_proj__weight": (8, 8), "h__c_attn__weight": (24, 8)}, "outputs-first", ""),
        ({"h__c_proj__weight": (8, 8), "h__c_attn__weight": (24, 8), "h__c_fc__weight": (8, 32)}, "outputs-first",
         "which axis is inputs"),
    ],
)  # fmt: skip
def test_blocks_of_transformers_are_read_by_how_they_widen(
    shapes: dict[str, tuple[int, ...]], layout: str, trouble: str
) -> None:
    found = read(next(iter(shapes)), **shapes)
    assert (found.layout, bool(found.trouble)) == (layout, bool(trouble))
    assert trouble in found.trouble


def test_a_layout_that_was_given_is_taken_unless_the_bias_says_otherwise() -> None:
    assert read("fc__weight", "inputs-first", fc__weight=(4, 6)) == Reading("inputs-first")
    assert read("fc__weight", "inputs-first", fc__weight=(4, 6), fc__bias=(6,)) == Reading("inputs-first")
    found = read("fc__weight", "inputs-first", fc__weight=(4, 6), fc__bias=(4,))
    assert found.trouble == "is outputs-first by its bias of 4 values; give --layout NAME=outputs-first"
    assert read("fc__weight", "inputs-first", fc__weight=(4, 6), fc__bias=(5,)) == Reading("inputs-first")


CONVOLUTIONS: list[tuple[dict[str, tuple[int, ...]], str]] = [
    ({"conv__weight": (8, 3, 3, 3)}, ""),
    ({"conv__weight": (8, 3, 3, 3), "conv__bias": (8,)}, ""),
    ({"conv__weight": (8, 3, 3, 3), "conv__bias": (3,)}, "so it is a transposed convolution"),
    ({"conv__weight": (8, 3, 3, 3), "conv__bias": (4,)}, "so it is a grouped or transposed convolution"),
    ({"conv__weight": (3, 3, 8, 16)}, "with its inputs first as it seems"),
    ({"conv__weight": (3, 3, 16, 16)}, "with its inputs first as it seems"),
    ({"conv__weight": (3, 3, 3, 3)}, ""),
    ({"conv__weight": (7, 7, 8, 8)}, "with its inputs first as it seems"),
    ({"conv__weight": (9, 9, 16, 16)}, ""),
    ({"deconv__weight": (8, 8, 3, 3)}, "by its name is a transposed convolution"),
    ({"deconv__weight": (8, 4, 3, 3), "deconv__bias": (8,)}, ""),
    ({"a__weight": (8, 8, 2, 2), "b__weight": (8, 4, 2, 2), "b__bias": (4,)}, "as a transposed convolution beside it"),
    ({"a__weight": (8, 8, 3, 3), "up__weight": (8, 4, 2, 2), "up__bias": (4,)}, "and may be a transposed convolution"),
    ({"conv__weight": (4, 3, 2, 3, 3, 3)}, "no kernel but several weights in one"),
    ({"experts__conv__weight": (4, 3, 3, 3)}, "no kernel but several weights in one"),
    ({"a__weight": (8, 1, 3, 3)}, "may be a depthwise convolution"),
    ({"a__weight": (8, 1, 3, 3), "fc__weight": (10, 32)}, ""),  # the first of a network that takes one channel
    ({"a__weight": (8, 1, 3, 3), "fc__weight": (10, 8)}, "may be a depthwise convolution"),
    ({"a__weight": (8, 1, 3, 3), "fc__weight": (10, 33)}, "may be a depthwise convolution"),
    ({"a__weight": (8, 1, 3, 3), "b__weight": (16, 8, 3, 3)}, ""),
    ({"a__weight": (8, 1, 3, 3), "b__weight": (16, 8, 1, 1)}, "may be a depthwise convolution"),
    ({"dwconv__weight": (8, 1, 3, 3), "b__weight": (16, 8, 3, 3)}, "may be a depthwise convolution"),
    ({"b__weight": (16, 4, 3, 3), "a__weight": (16, 4, 3, 3)}, "may be a grouped convolution"),
]  # fmt: skip


@pytest.mark.parametrize(("shapes", "trouble"), CONVOLUTIONS)
def test_a_kernel_is_ordinary_unless_something_speaks_against_it(
    shapes: dict[str, tuple[int, ...]], trouble: str
) -> None:
    found = read(list(shapes)[-1] if "grouped" in trouble and "b__weight" in shapes else next(iter(shapes)), **shapes)
    assert found.layout == "outputs-first"
    assert trouble in found.trouble
    assert bool(found.trouble) == bool(trouble), found.trouble
    if trouble:
        assert found.trouble.endswith("NAME=outputs-first|inputs-first|depthwise|transposed")


def test_kernels_in_the_order_of_keras() -> None:
    assert read("c/kernel", **{"c/kernel": (3, 3, 4, 8)}).layout == "inputs-first"
    assert read("c/kernel", **{"c/kernel": (3, 3, 4, 8), "c/bias": (8,)}).trouble == ""
    assert "transposed" in read("c/kernel", **{"c/kernel": (3, 3, 4, 8), "c/bias": (4,)}).trouble
    depthwise = read("d/depthwise_kernel", **{"d/depthwise_kernel": (3, 3, 4, 2)})
    assert (depthwise.layout, depthwise.why) == ("depthwise", KERAS_ORDER)
    assert read("c__weight", "inputs-first", c__weight=(3, 3, 4, 8)) == Reading("inputs-first")


# ---- the matrix ------------------------------------------------------------------------------------------------


def patch_products(kernel: torch.Tensor, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches as rows, and what an ordinary convolution of torch makes of each."""
    x = torch.randn(5, kernel.shape[1] * groups, *kernel.shape[2:], generator=torch.Generator().manual_seed(0))
    return x.flatten(1).numpy(), functional.conv2d(x, kernel, groups=groups).flatten(1).numpy()


@pytest.mark.parametrize(("shape", "groups"), [((6, 4, 3, 2), 1), ((6, 2, 3, 2), 3)])
def test_a_kernel_multiplies_patches_as_torch_does(shape: tuple[int, ...], groups: int) -> None:
    kernel = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    x, y = patch_products(kernel, groups)
    assert x @ matrix_of(kernel.numpy(), Reading("outputs-first", groups)) == pytest.approx(y, abs=1e-5)


def test_a_depthwise_kernel_multiplies_each_channel_for_itself() -> None:
    kernel = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    x, y = patch_products(kernel, 4)
    assert x @ matrix_of(kernel.numpy(), Reading("depthwise")) == pytest.approx(y, abs=1e-5)


def test_kernels_of_keras_take_patches_with_the_channels_last() -> None:
    rng = np.random.default_rng(0)
    patch, kernel = rng.standard_normal((5, 3, 2, 4)), rng.standard_normal((3, 2, 4, 6))
    found = patch.reshape(5, -1) @ matrix_of(kernel, Reading("inputs-first"))
    assert found == pytest.approx(np.einsum("bhwc,hwco->bo", patch, kernel))
    each = rng.standard_normal((3, 2, 4, 2))  # two outputs of each channel
    found = patch.reshape(5, -1) @ matrix_of(each, Reading("depthwise", why=KERAS_ORDER))
    assert found == pytest.approx(np.einsum("bhwc,hwcm->bcm", patch, each).reshape(5, -1))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_kernel_has_a_row_for_each_input_channel(groups: int) -> None:
    kernel = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    x = torch.randn(5, 4, 1, 1, generator=torch.Generator().manual_seed(0))
    y = functional.conv_transpose2d(x, kernel, groups=groups).flatten(1).numpy()
    assert x.flatten(1).numpy() @ matrix_of(kernel.numpy(), Reading("transposed", groups)) == pytest.approx(y, abs=1e-5)
