"""Convolutions compute as torch's own, whatever their geometry."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hwloop.nn.convert import convert
from hwloop.nn.layers.convolution import AnalogConv
from tests.nn.compare import assert_same, counting

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@st.composite
def geometries(draw: st.DrawFn, transposed: bool) -> tuple[nn.Module, torch.Tensor]:
    """A layer of any geometry and an input that it takes."""
    d = draw(st.sampled_from([1, 2, 3]))
    each = st.integers(1, 3)
    kernel, stride, dilation = (tuple(draw(st.tuples(*[each] * d))) for _ in range(3))
    groups, per_group, outputs = draw(each), draw(each), draw(each)
    options = {"stride": stride, "dilation": dilation, "groups": groups, "bias": draw(st.booleans())}
    if transposed:
        most = [max(step, far) - 1 for step, far in zip(stride, dilation, strict=True)]
        options["output_padding"] = tuple(draw(st.integers(0, limit)) for limit in most)
        options["padding"] = tuple(
            draw(st.integers(0, (k - 1) * far // 2)) for k, far in zip(kernel, dilation, strict=True)
        )
        sizes = [draw(st.integers(1, 4)) for _ in range(d)]
    else:
        same = stride == (1,) * d and draw(st.booleans())
        options["padding"] = (
            draw(st.sampled_from(["same", "valid"])) if same else draw(st.tuples(*[st.integers(0, 2)] * d))
        )
        options["padding_mode"] = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
        reach = [(k - 1) * far + 1 for k, far in zip(kernel, dilation, strict=True)]
        sizes = [draw(st.integers(max(far, 5), far + 5)) for far in reach]
    torch.manual_seed(0)
    layer = (TRANSPOSED if transposed else CONVOLUTIONS)[d](groups * per_group, groups * outputs, kernel, **options)
    batch = draw(st.sampled_from([(), (1,), (3,)]))
    return layer, torch.randn(*batch, groups * per_group, *sizes)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(geometries(transposed=False))
def test_convolutions_of_any_geometry(drawn: tuple[nn.Module, torch.Tensor]) -> None:
    assert_same(*drawn)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(geometries(transposed=True))
def test_transposed_convolutions_of_any_geometry(drawn: tuple[nn.Module, torch.Tensor]) -> None:
    assert_same(*drawn)


def test_a_transposed_convolution_of_a_size_that_is_asked_for() -> None:
    assert_same(nn.ConvTranspose2d(2, 3, 3, stride=2), torch.randn(1, 2, 4, 4), output_size=[10, 9])


def test_inputs_that_are_views_of_others() -> None:
    layer = nn.Conv2d(2, 3, 3)
    assert_same(layer, torch.randn(1, 2, 1, 6).expand(4, 2, 5, 6))
    assert_same(layer, torch.randn(9, 7, 2, 3).permute(3, 2, 0, 1)[..., 1:, ::2])
    assert_same(
        layer.to(memory_format=torch.channels_last), torch.randn(1, 2, 5, 6).to(memory_format=torch.channels_last)
    )


def test_every_group_of_a_depthwise_layer_is_a_matrix_of_its_own() -> None:
    converted = convert(nn.Conv2d(6, 6, 3, groups=6))
    assert converted.layers[""].matrices()["weight"].shape == (6, 9, 1)


def test_every_position_is_one_vector() -> None:
    converted = convert(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ConvTranspose2d(3, 2, 2, stride=2)))
    counts = counting(converted)
    converted.network(torch.randn(5, 2, 6, 6))
    assert [count.vectors for count in counts.values()] == [5 * 4 * 4, 5 * 4 * 4]


def test_images_are_taken_in_turn_where_their_patches_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnalogConv, "values_at_once", 2 * 16 * 18)
    layer = nn.Conv2d(2, 3, 3)
    converted = assert_same(layer, torch.randn(5, 2, 6, 6))
    counts = counting(converted)
    converted.network(torch.randn(5, 2, 6, 6))
    assert counts["weight"].calls == 3


def test_a_kernel_that_is_larger_than_the_image_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"reaches over \(5, 5\) is larger than the padded input \(4, 4\)"):
        convert(nn.Conv2d(1, 1, 3, dilation=2)).network(torch.zeros(1, 1, 4, 4))
