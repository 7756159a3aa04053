"""Inputs of the kinds that people bring: each gives its right matrices or is refused by name, and never another."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune

from hwloop.errors import BadInputError, WeightsNote
from hwloop.files.weights import load_weights, read_state_dict

RNG = np.random.default_rng(5)


def r(*shape: int) -> np.ndarray:
    """Draw weights."""
    return RNG.normal(size=shape).astype(np.float32)


def t(*shape: int) -> torch.Tensor:
    """Draw weights for torch."""
    return torch.from_numpy(r(*shape))


def read(path: Path, **asked: object) -> tuple[dict[str, np.ndarray], str]:
    """Load a file and catch what is noted."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = {one.name: one.values for one in load_weights(path, **asked)}
    assert all(issubclass(one.category, WeightsNote) for one in caught)
    return found, "\n".join(str(one.message) for one in caught)


def write(folder: Path, content: dict, suffix: str = ".pt") -> Path:
    """Save tensors as one file."""
    path = folder / f"net{suffix}"
    if suffix == ".npz":
        np.savez(path, **content)
    elif suffix == ".safetensors":
        save = safetensors.torch if isinstance(next(iter(content.values())), torch.Tensor) else safetensors.numpy
        save.save_file(content, path)
    else:
        torch.save(content, path)
    return path


FC = {"fc1.weight": t(6, 8), "fc1.bias": t(6), "fc2.weight": t(3, 6), "fc2.bias": t(3)}
FC_ARRAYS = {name: values.numpy() for name, values in FC.items()}
DENSE = {"fc1.weight": (8, 6), "fc2.weight": (6, 3)}


def fc_and(**more: torch.Tensor) -> dict[str, torch.Tensor]:
    """Put tensors beside two linear layers."""
    return FC | {name.replace("__", "."): values for name, values in more.items()}


# ---- what is beside a network is not programmed ---------------------------------------------------------------------

BESIDE = {
    "mask": fc_and(attn__bias=torch.ones(1, 1, 8, 8).bool()),
    "mask of bytes": fc_and(attn__mask=torch.ones(1, 1, 8, 8).byte()),
    "mask of floats": fc_and(attn__bias=torch.tril(torch.ones(1, 1, 8, 8))),
    "token table": fc_and(tok_embeddings__weight=t(40, 8)),
    "word table": fc_and(embeddings__word_embeddings__weight=t(40, 8)),
    "patch position": fc_and(pos_embed=t(1, 17, 8)),
    "class token": fc_and(cls_token=t(1, 1, 8)),
    "relative positions": fc_and(attn__relative_position_bias_table=t(49, 4)),
    "positions of integers": fc_and(attn__relative_position_index=torch.ones(16, 16).long()),
    "sinusoids": fc_and(pos__pe=t(1, 20, 8)),
    "rotation": fc_and(rotary__cos_cached=t(20, 8)),
    "norm of planes": fc_and(ln__weight=t(4, 8), ln__bias=t(4, 8)),
    "prototypes": fc_and(codebook=t(30, 8)),
    "unknown name": fc_and(A_log=t(16, 4)),
    "confusion at top": fc_and(confusion=t(10, 10)),
    "moment of Adam": fc_and(exp_avg=t(6, 8)),
    "gradients": fc_and(grad__fc1__weight=t(6, 8)),
    "averages by prefix": fc_and(ema__fc2__weight=t(3, 6)),
    "noise": fc_and(fc1__noise_weight=t(6, 8), fc1__weight_sigma=t(6, 8)),
    "half of a weight norm": fc_and(fc3__weight_g=t(6, 1)),
    "a projection of its own": fc_and(text_proj=t(8, 4)),
    "complex": fc_and(freqs_cis=torch.ones(4, 4, dtype=torch.complex64)),
    "weights of classes": fc_and(criterion__weight=t(3, 3)),
    "observer": fc_and(fc1__weight_fake_quant__scale=t(2, 2)),
    "nested metrics": {"model": FC, "cm": t(3, 3), "metrics": {"val": t(3, 3)}},
    "average": {"state_dict": FC, "state_dict_ema": {name: values + 1 for name, values in FC.items()}},
    "optimiser": {"net": FC, "opt": {"state": {0: {"exp_avg": t(6, 8)}}, "param_groups": []}},
    "loss with weights": {"model": FC, "criterion": {"centers.weight": t(9, 9)}},
}


@pytest.mark.parametrize("kind", BESIDE)
def test_only_the_layers_are_programmed(tmp_path: Path, kind: str) -> None:
    found, noted = read(write(tmp_path, BESIDE[kind]))
    assert {name: values.shape for name, values in found.items()} == DENSE
    for name, values in found.items():
        assert np.array_equal(values, FC[name].numpy().T.astype(float))
    if kind != "optimiser":
        assert "passed over" in noted


def test_what_is_passed_over_is_counted_and_named(tmp_path: Path) -> None:
    path = write(tmp_path, FC | {"wte.weight": t(40, 8), "wpe.weight": t(20, 8), "attn.mask": torch.ones(8, 8).bool()})
    _, noted = read(path)
    assert noted.count("\n") == 0
    assert "3 tensors passed over (wte.weight, wpe.weight: look-up table; attn.mask: buffer, mask or data)" in noted


def test_a_name_takes_what_would_be_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, {"state_dict": FC, "confusion": t(10, 10), "state_dict_ema": FC})
    assert read(path, tensor="confusion")[0]["confusion"].shape == (10, 10)
    assert list(read(path, tensor="state_dict_ema.*")[0]) == ["state_dict_ema.fc1.weight", "state_dict_ema.fc2.weight"]


def test_several_names_and_patterns(tmp_path: Path) -> None:
    path = write(tmp_path, FC | {"head.weight": t(4, 3), "wte.weight": t(40, 8)})
    assert list(read(path, tensor=["head.weight", "fc[1]*"])[0]) == ["fc1.weight", "head.weight"]
    assert list(read(path, tensor="*.weight")[0]) == ["fc1.weight", "fc2.weight", "head.weight"]
    with pytest.raises(BadInputError, match=r"no tensor 'gc\*'; it holds fc1.weight"):
        load_weights(path, tensor="gc*")


def test_data_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"holds no weight matrix; 2 tensors passed over \(images, x_test: buffer"):
        load_weights(write(tmp_path, {"images": r(50, 8), "x_test": r(9, 8), "labels": r(50)}, ".npz"))


# ---- which axis is which --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "shapes"),
    [
        ({"W1": r(8, 6), "b1": r(6), "W2": r(6, 3), "b2": r(1, 3)}, [(8, 6), (6, 3)]),
        ({"W1": r(6, 8), "b1": r(6, 1), "W2": r(3, 6), "b2": r(3, 1)}, [(8, 6), (6, 3)]),
        ({"arr_0": r(8, 6), "arr_1": r(6), "arr_2": r(6, 3), "arr_3": r(3)}, [(8, 6), (6, 3)]),
        ({"arr_0": r(6, 8), "arr_1": r(6), "arr_2": r(3, 6), "arr_3": r(3)}, [(8, 6), (6, 3)]),
        ({"W1": r(8, 6), "b1": r(6), "W2": r(6, 6), "b2": r(6)}, [(8, 6), (6, 6)]),
        ({"fc.weight": r(6, 8), "fc.bias": r(6)}, [(8, 6)]),
        ({"dense/kernel:0": r(8, 6), "dense/bias:0": r(6)}, [(8, 6)]),
        ({"params/Dense_0/kernel": r(8, 8), "params/Dense_0/bias": r(8)}, [(8, 8)]),
        ({"rnn.weight_ih_l0": r(12, 5), "rnn.weight_hh_l0": r(12, 3), "rnn.bias_ih_l0": r(12)}, [(5, 12), (3, 12)]),
        ({"at.in_proj_weight": r(24, 8), "at.in_proj_bias": r(24), "at.out_proj.weight": r(8, 8)}, [(8, 24), (8, 8)]),
        ({"h.0.c_attn.weight": r(72, 24), "h.0.attn.c_proj.weight": r(24, 24)}, [(24, 72), (24, 24)]),
        ({"h.0.c_attn.weight": r(24, 72), "h.0.attn.c_proj.weight": r(24, 24), "lm_head.weight": r(50, 24)},
         [(24, 72), (24, 24), (24, 50)]),
    ],
)  # fmt: skip
def test_names_biases_and_neighbours_tell_the_order_of_axes(tmp_path: Path, content: dict, shapes: list) -> None:
    found, _ = read(write(tmp_path, content, ".npz"))
    assert [values.shape for values in found.values()] == shapes
    square = content.get("W2")
    if square is not None and square.shape == (6, 6):
        assert np.array_equal(found["W2"], square)  # as its neighbour of the same name


def test_a_layout_for_all_or_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.weight": r(4, 5), "b.weight": r(4, 5), "c.weight": r(4, 5)}, ".npz")
    found, _ = read(path, layout={"a.weight": "inputs-first", "[c]*": "inputs-first"})
    assert [values.shape for values in found.values()] == [(4, 5), (5, 4), (4, 5)]
    with pytest.raises(BadInputError, match=r"no tensor 'd\.weight', for which a layout is given"):
        load_weights(path, layout={"d.weight": "inputs-first"})


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"h.0.c_fc.weight": r(24, 24), "h.0.c_proj.weight": r(24, 24)}, "h.0.c_fc.weight"),
        ({"fc.weight": r(6, 8), "fc.bias": r(5)}, "fc.weight"),
        ({"W1": r(8, 6), "b1": r(6), "readout_w": r(6, 6)}, "readout_w"),
    ],
)
def test_matrices_whose_axes_cannot_be_told_are_refused(tmp_path: Path, content: dict, named: str) -> None:
    with pytest.raises(BadInputError, match=rf"tensor '{named}'.*--layout {named}=outputs-first"):
        load_weights(write(tmp_path, content, ".npz"))


def test_a_layout_against_the_biases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"'fc1\.weight' is outputs-first by its bias of 6 values"):
        load_weights(write(tmp_path, FC), layout="inputs-first")


# ---- convolutions ---------------------------------------------------------------------------------------------------


def state(*layers: nn.Module) -> dict[str, torch.Tensor]:
    """Give the state dict of a sequence of layers."""
    return nn.Sequential(*layers).state_dict()


ORDINARY = {
    "first of one channel": state(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3)),
    "normalised": state(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)),
    "and a classifier": state(nn.Conv2d(1, 6, 5), nn.Flatten(), nn.Linear(24, 10)),
    "in one dimension": state(nn.Conv1d(4, 8, 3), nn.Conv1d(8, 8, 3), nn.Conv1d(8, 2, 1)),
    "in three": state(nn.Conv3d(2, 4, 3), nn.Conv3d(4, 8, 3)),
}


@pytest.mark.parametrize("kind", ORDINARY)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_ordinary_convolutions_are_read(tmp_path: Path, kind: str, suffix: str) -> None:
    found, noted = read(write(tmp_path, ORDINARY[kind], suffix))
    kernels = {name: one for name, one in ORDINARY[kind].items() if one.dim() > 1}
    assert sorted(found) == sorted(kernels)
    assert not noted
    for name, kernel in kernels.items():
        assert np.array_equal(found[name], kernel.flatten(1).numpy().T.astype(float))


UNCLEAR = {
    "depthwise": (state(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)), "1.weight"),
    "depthwise first": (state(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 8, 1)), "0.weight"),
    "depthwise alone": ({"dw.weight": t(8, 1, 3, 3)}, "dw.weight"),
    "depthwise in one dimension": ({"in.weight": t(32, 16), "conv1d.weight": t(32, 1, 4)}, "conv1d.weight"),
    "large kernels": ({"dwconv.weight": t(8, 1, 7, 7), "pw1.weight": t(32, 8), "pw1.bias": t(32)}, "dwconv.weight"),
    "grouped": (state(nn.Conv2d(8, 16, 1), nn.Conv2d(16, 16, 3, groups=4), nn.Conv2d(16, 8, 1)), "1.weight"),
    "two groups": (state(nn.Conv2d(3, 96, 5), nn.ReLU(), nn.Conv2d(96, 64, 5, groups=2)), "2.weight"),
    "transposed": (state(nn.ConvTranspose2d(16, 8, 2)), "0.weight"),
    "transposed without bias": (
        state(nn.ConvTranspose2d(16, 8, 4, bias=False), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 3, 4, bias=False)),
        "0.weight",
    ),
    "transposed without anything": (
        state(*[nn.ConvTranspose2d(a, b, 4, bias=False) for a, b in ((16, 8), (8, 4), (4, 3))]), "0.weight",
    ),
    "transposed by name": ({"deconv1.weight": t(8, 8, 4, 4), "deconv1.bias": t(8)}, "deconv1.weight"),
    "transposed beside another": (
        {"d1.weight": t(8, 8, 2, 2), "d1.bias": t(8), "d2.weight": t(8, 3, 2, 2), "d2.bias": t(3)}, "d1.weight",
    ),
    "transposed and grouped": (state(nn.ConvTranspose2d(16, 8, 2, groups=2)), "0.weight"),
    "inputs first by its shape": ({"a.weight": t(3, 3, 4, 8), "b.weight": t(4, 4)}, "a.weight"),
    "square and inputs first": ({"c1": t(3, 3, 16, 16)}, "c1"),
    "experts": ({"experts.w1": t(4, 8, 16), "fc.weight": t(6, 8)}, "experts.w1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNCLEAR)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_kernels_without_a_right_reading_are_refused_by_name(tmp_path: Path, kind: str, suffix: str) -> None:
    content, named = UNCLEAR[kind]
    with pytest.raises(BadInputError, match=rf"tensor '{named}' .*hwloop deploy --network"):
        load_weights(write(tmp_path, content, suffix))


def test_a_layout_by_name_says_what_a_kernel_is(tmp_path: Path) -> None:
    layer, x = nn.Conv2d(8, 8, 3, groups=8, bias=False), torch.randn(1, 8, 3, 3)
    path = write(tmp_path, {"a.weight": t(8, 4, 1, 1), "b.weight": layer.weight.data})
    found, _ = read(path, layout={"b.weight": "depthwise"})
    assert found["b.weight"].shape == (72, 8)
    assert np.allclose(x.flatten().numpy() @ found["b.weight"], layer(x).detach().flatten(), atol=1e-6)
    found, _ = read(path, layout={"b.weight": "outputs-first"})
    assert found["b.weight"].shape == (9, 8)


def test_kernels_of_keras(tmp_path: Path) -> None:
    content = {
        "conv2d/kernel": r(3, 3, 4, 8),
        "conv2d/bias": r(8),
        "dw/depthwise_kernel": r(3, 3, 8, 2),
        "dense/kernel": r(5, 2),
    }
    found, noted = read(write(tmp_path, content, ".npz"))
    assert "inputs-first, as Keras stores kernels" in noted
    assert np.array_equal(found["conv2d/kernel"], content["conv2d/kernel"].reshape(36, 8).astype(float))
    assert np.array_equal(found["dense/kernel"], content["dense/kernel"].astype(float))
    spread = found["dw/depthwise_kernel"].reshape(9, 8, 8, 2)
    for place in range(9):
        for channel in range(8):
            expected = np.zeros((8, 2))
            expected[channel] = content["dw/depthwise_kernel"].reshape(9, 8, 2)[place, channel]
            assert np.array_equal(spread[place, channel], expected)
    with pytest.raises(BadInputError, match="transposed"):
        load_weights(write(tmp_path, {"conv2d_transpose/kernel": r(2, 2, 4, 8), "conv2d_transpose/bias": r(4)}, ".npz"))


def keras_file(path: Path, variables: dict[str, np.ndarray], **attributes: str) -> Path:
    """Write variables as Keras lays them out in HDF5."""
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        for name, values in variables.items():
            file[name] = values
    return path


def test_hdf5_files_of_keras(tmp_path: Path) -> None:
    kernel, bias = r(8, 6), r(6)
    old = keras_file(
        tmp_path / "old.h5", {"model_weights/dense/dense/kernel:0": kernel, "model_weights/dense/dense/bias:0": bias},
        keras_version="2.12.0",
    )  # fmt: skip
    new = keras_file(
        tmp_path / "new.weights.h5",
        {"layers/dense/vars/0": kernel, "layers/dense/vars/1": bias, "layers/embedding/vars/0": r(40, 8),
         "layers/batch_normalization/vars/0": r(6), "optimizer/vars/2": r(8, 6)},
    )  # fmt: skip
    for path in (old, new):
        found, _ = read(path)
        assert list(found) == ["dense/kernel"]
        assert np.array_equal(found["dense/kernel"], kernel.astype(float))
    with pytest.raises(BadInputError, match="is an HDF5 file, and not one of Keras"):
        load_weights(keras_file(tmp_path / "other.h5", {"fc/weight": kernel}))
    with pytest.raises(BadInputError, match=r"file of another kind \(hwloop-run\)"):
        load_weights(keras_file(tmp_path / "run.h5", {"w": kernel}, format="hwloop-run"))


def test_graphs_of_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    kernel, dense, table = r(4, 2, 3, 3), r(36, 5), r(10, 6)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "k"], ["c"], group=2),
        onnx.helper.make_node("Gemm", ["c", "w"], ["y"], transB=0),
        onnx.helper.make_node("Gather", ["t", "i"], ["z"]),
    ]
    values = [onnx.numpy_helper.from_array(array, name) for name, array in (("k", kernel), ("w", dense), ("t", table))]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [], values)), str(tmp_path / "n.onnx"))
    found, noted = read(tmp_path / "n.onnx")
    assert np.array_equal(found["w"], dense.astype(float))
    assert np.array_equal(found["k"][:18, :2], kernel[:2].reshape(2, -1).T.astype(float))
    assert not found["k"][:18, 2:].any()
    assert "t: look-up table" in noted


def test_a_graph_of_onnx_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "n.onnx").write_bytes(b"\x08\x08\x12\x00")
    with pytest.raises(BadInputError, match="is an ONNX file; install the package onnx"):
        load_weights(tmp_path / "n.onnx")


# ---- weights that are kept in parts ---------------------------------------------------------------------------------


def weight_norm(make: Callable[..., nn.Module], dim: int | None, layer: nn.Module) -> nn.Module:
    """Part a weight, with another norm than its direction has."""
    parted = make(layer, dim=dim)
    with torch.no_grad():
        for name, values in parted.named_parameters():
            if name.endswith(("_g", "original0")):
                values.mul_(1.7)
    return parted


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("make", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("layer", [nn.Linear(8, 6), nn.Conv2d(3, 6, 3)])
def test_weight_norm_in_both_spellings(tmp_path: Path, make: Callable, dim: int | None, layer: nn.Module) -> None:
    parted = weight_norm(make, dim, type(layer)(*((8, 6) if isinstance(layer, nn.Linear) else (3, 6, 3))))
    found, noted = read(write(tmp_path, parted.state_dict()))
    sizes = (8, 3, 3) if isinstance(layer, nn.Conv2d) else (8,)
    x = torch.randn(4, *((3, 3, 3) if isinstance(layer, nn.Conv2d) else sizes))
    y = (parted(x) - parted.bias.reshape(1, -1, *[1] * (x.dim() - 2))).detach().flatten(1)
    assert list(found) == ["weight"]
    assert not noted
    assert np.allclose(x.flatten(1).numpy() @ found["weight"], y, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("make", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_spectral_norm(tmp_path: Path, make: Callable) -> None:
    layer = make(nn.Linear(8, 6))
    x = torch.randn(5, 8)
    layer(x)
    layer.eval()
    found, _ = read(write(tmp_path, layer.state_dict()))
    assert np.allclose(x.numpy() @ found["weight"], (layer(x) - layer.bias).detach(), atol=1e-5)


def test_pruned_weights(tmp_path: Path) -> None:
    layer = prune.l1_unstructured(nn.Linear(8, 6), "weight", 0.5)
    found, _ = read(write(tmp_path, layer.state_dict()))
    assert np.array_equal(found["weight"], layer.weight.detach().numpy().T.astype(float))


def test_a_parametrisation_that_is_not_known_is_refused(tmp_path: Path) -> None:
    layer = nn.utils.parametrizations.orthogonal(nn.Linear(6, 6))
    with pytest.raises(BadInputError, match=r"tensor 'weight' is made of parts by a parametrisation.*remove_param"):
        load_weights(write(tmp_path, layer.state_dict()))


def test_weights_of_eight_bits_with_their_scales(tmp_path: Path) -> None:
    quantised = t(6, 8).to(torch.float8_e4m3fn)
    content = {"fc.weight": quantised, "fc.weight_scale": t(6, 1)}
    found, _ = read(write(tmp_path, content, ".safetensors"))
    assert np.allclose(found["fc.weight"], (quantised.float() * content["fc.weight_scale"]).numpy().T)
    with pytest.raises(BadInputError, match=r"'fc\.weight' is made of parts"):
        load_weights(write(tmp_path, {"fc.weight": quantised, "fc.weight_scale_inv": t(2, 2)}, ".safetensors"))


@pytest.mark.parametrize(
    ("base", "halves"),
    [
        ("q.weight", ("q.lora_A", "q.lora_B")),
        ("q.base_layer.weight", ("q.lora_A.default.weight", "q.lora_B.default.weight")),
        ("q.base.weight", ("q.lora_down.weight", "q.lora_up.weight")),
        (None, ("q.lora_A.weight", "q.lora_B.weight")),
    ],
)
def test_adapters_stay_apart_or_are_merged(tmp_path: Path, base: str | None, halves: tuple[str, str]) -> None:
    a, b, w = t(2, 8), t(6, 2), t(6, 8)
    path = write(tmp_path, {halves[0]: a, halves[1]: b} | ({base: w} if base else {}), ".safetensors")
    assert len(read(path)[0]) == 2 + bool(base)
    found, _ = read(path, merge_lora=0.5)
    (merged,) = found.values()
    assert np.allclose(merged, (0.5 * b @ a + (w if base else 0)).numpy().T, atol=1e-6)


def test_packed_weights_with_scales_are_refused(tmp_path: Path) -> None:
    content = {"fc.weight": torch.ones(6, 4, dtype=torch.uint8), "fc.weight_scale": t(6, 1)}
    with pytest.raises(BadInputError, match=r"'fc\.weight' is made of parts"):
        load_weights(write(tmp_path, content, ".safetensors"))


def test_a_mask_of_the_layer_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"'fc\.weight' has a mask of its own shape"):
        load_weights(write(tmp_path, {"fc.weight": t(6, 8), "fc.mask": torch.ones(6, 8)}))


def test_merging_without_adapters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds no low-rank adapter"):
        load_weights(write(tmp_path, FC), merge_lora=1.0)
    with pytest.raises(BadInputError, match="one half is missing"):
        load_weights(write(tmp_path, {"q.lora_A.weight": t(2, 8), "q.weight": t(6, 8)}), merge_lora=1.0)


# ---- the same values, no values, integers ---------------------------------------------------------------------------


def test_tied_weights_are_taken_once(tmp_path: Path) -> None:
    shared = t(6, 8)
    for suffix, copy in ((".pt", shared), (".safetensors", shared.clone())):
        found, noted = read(write(tmp_path, {"a.weight": shared, "b.weight": copy, "c.weight": t(6, 8)}, suffix))
        assert list(found) == ["a.weight", "c.weight"]
        assert "b.weight: the same as a.weight" in noted


def test_equal_arrays_under_names_of_nothing_are_two(tmp_path: Path) -> None:
    assert list(read(write(tmp_path, {"a": np.eye(3), "b": np.eye(3)}, ".npz"))[0]) == ["a", "b"]


def test_equal_values_in_memory_of_their_own_are_two_layers(tmp_path: Path) -> None:
    found, noted = read(write(tmp_path, {"a.weight": torch.eye(4), "b.weight": torch.eye(4)}))
    assert len(found) == 2
    assert not noted


def test_a_table_tied_to_a_layer_counts_as_the_layer(tmp_path: Path) -> None:
    shared = t(40, 8)
    found, noted = read(write(tmp_path, {"wte.weight": shared, "lm_head.weight": shared}))
    assert list(found) == ["lm_head.weight"]
    assert "wte.weight: the same as lm_head.weight" in noted


def test_what_is_all_zero_is_passed_over_with_a_note(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.weight": t(4, 4), "b.weight": torch.zeros(4, 4)})
    found, noted = read(path)
    assert list(found) == ["a.weight"]
    assert "b.weight: all zero" in noted
    with pytest.raises(BadInputError, match=r"'b\.weight' is all zero"):
        load_weights(path, tensor="b.weight")


@pytest.mark.parametrize(
    "content",
    [
        {"fc.weight": torch.ones(4, 4).char(), "fc.scale": torch.ones(4)},
        {"fc.qweight": torch.ones(4, 4).int(), "fc.qzeros": torch.ones(1, 4).int(), "fc.scales": torch.ones(1, 4)},
        {"fc.weight": torch.ones(32, 1).byte(), "fc.weight.absmax": torch.ones(4)},
    ],
)
def test_quantised_networks_are_refused(tmp_path: Path, content: dict) -> None:
    with pytest.raises(BadInputError, match="holds no weight matrix"):
        load_weights(write(tmp_path, content, ".safetensors"))


# ---- shards, folders, single shards ---------------------------------------------------------------------------------


def shards(folder: Path, suffix: str = ".safetensors") -> Path:
    """Write two shards and their index."""
    placed = {}
    for number, names in ((1, ["fc1.weight", "fc1.bias"]), (2, ["fc2.weight", "fc2.bias"])):
        name = f"model-{number:05}-of-00002{suffix}"
        write(folder, {one: FC[one] for one in names}, suffix).rename(folder / name)
        placed |= dict.fromkeys(names, name)
    index = folder / f"model{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return index


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_all_shards_are_read(tmp_path: Path, suffix: str) -> None:
    index = shards(tmp_path, suffix)
    for path in (index, tmp_path):
        assert {name: values.shape for name, values in read(path)[0].items()} == DENSE
    index.unlink()
    assert {name: values.shape for name, values in read(tmp_path)[0].items()} == DENSE
    (tmp_path / f"model-00001-of-00002{suffix}").rename(tmp_path / f"model-00001-of-00003{suffix}")
    with pytest.raises(BadInputError, match="folder of 2 files"):
        load_weights(tmp_path)


def test_one_shard_alone_is_noted(tmp_path: Path) -> None:
    shards(tmp_path)
    found, noted = read(tmp_path / "model-00002-of-00002.safetensors")
    assert list(found) == ["fc2.weight"]
    assert "is shard 2 of 2; give the folder or the index" in noted


@pytest.mark.parametrize("shard", ["../net.safetensors", "/etc/passwd", "..", "", "missing.safetensors"])
def test_an_index_names_files_beside_it_alone(tmp_path: Path, shard: str) -> None:
    (tmp_path / "m.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(BadInputError, match="put all shards beside the index"):
        load_weights(tmp_path / "m.index.json")


def test_a_tensor_that_its_shard_lacks(tmp_path: Path) -> None:
    index = shards(tmp_path)
    placed = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": placed | {"fc9.weight": "model-00001-of-00002.safetensors"}}))
    with pytest.raises(BadInputError, match=r"'fc9\.weight' is not in its shard"):
        load_weights(index)


# ---- what is refused in one line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begins", "says"),
    [
        (b"GGUF\3\0\0\0", "GGUF file.*convert it to .safetensors"),
        (b"\x1f\x8b\x08\0", r"compressed \(gzip\); unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "run git lfs pull"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\x20\0\0\0TFL3", "TFLite"),
        (b"MATLAB 5.0 MAT-file", "MATLAB file"),
    ],
)
def test_other_kinds_of_files_are_refused_with_the_way_out(tmp_path: Path, begins: bytes, says: str) -> None:
    (tmp_path / "w.bin").write_bytes(begins + bytes(600))
    with pytest.raises(BadInputError, match=says):
        load_weights(tmp_path / "w.bin")


def test_arrays_that_declare_more_than_there_is(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    (tmp_path / "w.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(80))
    with pytest.raises(
        BadInputError, match="declares 1000000 x 1000000 values of float64, 8000000000000 bytes, and has"
    ):
        load_weights(tmp_path / "w.npy")
    torch.save({"fc.weight": torch.ones(1, 1).expand(10**6, 10**6)}, tmp_path / "w.pt")
    with pytest.raises(BadInputError, match="has 1000000 x 1000000 values, more than"):
        load_weights(tmp_path / "w.pt")


def test_strange_names_are_printed_escaped(tmp_path: Path) -> None:
    path = write(tmp_path, {"fc\x1b[31m\n.weight": t(4, 5), "a.weight": torch.full((2, 2), torch.nan)}, ".safetensors")
    with pytest.raises(BadInputError) as caught:
        load_weights(path, tensor="b")
    assert "fc\\x1b[31m\\n.weight" in str(caught.value)
    assert str(caught.value).isprintable()


SHARED = Path(__file__).resolve().parents[4] / "shared" / "cases" / "weights"
MATRICES = {
    "w01_state_dict.pth": [(64, 48), (48, 10)],
    "w02_confusion.pt": [(64, 48), (48, 10)],
    "w02_imagenet_style.pt": [(64, 48), (48, 10)],
    "w05_gpt2_boolmask.safetensors": [(24, 72), (24, 24), (24, 96), (96, 24)],
    "w07_weight_norm_old.pt": [(40, 24)],
    "w09_tied.pt": [(24, 96), (24, 24)],
    "w10_lora.safetensors": [(48, 48), (48, 8)],
    "w11_sharded": [(64, 32), (32, 10)],
    "w13_long_names.safetensors": [(12, 12)] * 6,
    "w15_keras.npz": [(144, 32), (128, 10)],
    "w17_binary.npy": [(64, 64)],
    "w17_relu_inputs.npy": [(64, 512)],
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared inputs are not on this machine")
@pytest.mark.parametrize("name", MATRICES)
def test_the_shared_inputs(name: str) -> None:
    assert [values.shape for values in read(SHARED / name)[0].values()] == MATRICES[name]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared inputs are not on this machine")
@pytest.mark.parametrize(
    ("name", "says"),
    [("w03_namespace.pt", r"save model\.state_dict\(\)"), ("w06_mobilenet_block.pt", r"'2\.weight'.*depthwise")],
)
def test_the_shared_inputs_that_are_refused(name: str, says: str) -> None:
    with pytest.raises(BadInputError, match=says) as caught:
        load_weights(SHARED / name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", [">f4", ">f8", "<f2"])
def test_numbers_of_any_byte_order(tmp_path: Path, kind: str) -> None:
    values = r(6, 8).astype(kind)
    np.save(tmp_path / "w.npy", values)
    assert np.array_equal(read(tmp_path / "w.npy")[0]["w"], values.T.astype(np.float64))
    path = write(tmp_path, {"fc.weight": values, "fc.bias": r(6)}, ".npz")
    assert np.array_equal(read(path)[0]["fc.weight"], values.T.astype(np.float64))
    assert torch.equal(
        torch.as_tensor(read_state_dict(path)["fc.weight"]).double(), torch.from_numpy(values.astype(float))
    )
