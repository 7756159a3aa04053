"""Networks of aihwkit: weights, biases and learnt input ranges as the layers have them, or a refusal by name."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from hwloop.errors import BadInputError, WeightsNote
from hwloop.files.weights import load_weights, read_state_dict
from hwloop.nn.learnt_ranges import read_input_ranges
from tests.files.weights.test_kinds import DENSE, FC, r, read, t, write


def tile(prefix: str, weights: torch.Tensor, *, bias: torch.Tensor | None = None, **more: float) -> dict:
    """What aihwkit 1.2 keeps of a tile with weights (outputs, inputs); `analog_ctx` has their shape and anything."""
    scales = weights.abs().amax(1)
    whole = weights if bias is None else torch.cat([weights, bias[:, None]], 1)
    found = {
        "analog_ctx": torch.full(weights.shape, 1e9),
        "shared_weights": whole / scales[:, None],
        "mapping_scales": scales / 2,
        "out_scaling_alpha": torch.full((weights.shape[0],), 2.0),
        "alpha": torch.ones(1),
        "input_range": torch.tensor([3.0]),
        "input_range_update_idx": torch.tensor([100.0]),
    }
    found |= {name: torch.tensor([value]) for name, value in more.items()}
    return {f"{prefix}{name}": values for name, values in found.items()}


def test_layers_come_back_with_their_names_biases_and_ranges(tmp_path: Path) -> None:
    w, b, v, c = t(6, 8), t(6), t(3, 6), t(3)
    content = tile("fc1.analog_module.", w, bias=b, input_range=2.5)
    content |= tile("fc2.analog_module.", v) | {"fc2.analog_module.bias": c, "bn.weight": t(6)}
    path = write(tmp_path, content)
    state = read_state_dict(path)
    assert set(state) == {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "bn.weight"}
    for name, expected in {"fc1.weight": w, "fc1.bias": b, "fc2.weight": v, "fc2.bias": c}.items():
        assert np.allclose(state[name], expected, atol=1e-6), name
    found, note = read(path)
    assert {name: values.shape for name, values in found.items()} == {"fc1.weight": (8, 6), "fc2.weight": (6, 3)}
    assert not note
    assert read_input_ranges(path) == pytest.approx({"fc1.weight": 2.5, "fc2.weight": 3.0})


def test_a_kernel_on_an_array_of_tiles(tmp_path: Path) -> None:
    """Inputs and outputs of a layer lie on several tiles; the kernel gets its shape back where that is known."""
    kernel = t(5, 3, 2, 2)
    flat, content = kernel.reshape(5, 12), {"conv.analog_module.bias": t(5)}
    for i, inputs in enumerate((slice(0, 7), slice(7, 12))):
        for j, outputs in enumerate((slice(0, 3), slice(3, 5))):
            place = f"conv.analog_module.array.{i}.{j}."
            content |= tile(place, flat[outputs, inputs].contiguous(), input_range=1.0 + i)
    path = tmp_path / "net.safetensors"
    safetensors.torch.save_file(content, path)
    assert np.allclose(read_state_dict(path)["conv.weight"], flat, atol=1e-6)
    known = read_state_dict(path, {"conv.weight": (5, 3, 2, 2)})
    assert np.allclose(known["conv.weight"], kernel, atol=1e-6)
    with pytest.warns(WeightsNote, match="its 4 tiles have input ranges from 1 to 2; the largest is taken"):
        assert read_input_ranges(path) == {"conv.weight": 2.0}
    del content["conv.analog_module.array.1.1.shared_weights"]
    with pytest.raises(BadInputError, match=r"'conv.weight' holds the normalised weights.*incomplete"):
        load_weights(write(tmp_path, content))


def test_a_range_that_was_never_learnt_is_none(tmp_path: Path) -> None:
    assert read_input_ranges(write(tmp_path, tile("fc.analog_module.", t(6, 8), input_range_update_idx=0.0))) == {}


def test_a_network_that_was_aged_and_compensated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"'fc\.weight' is on a tile of aihwkit that was aged"):
        read_state_dict(write(tmp_path, tile("fc.analog_module.", t(6, 8), alpha=1.28)))


@pytest.mark.parametrize("digital", [True, False], ids=["digital bias", "bias as a column"])
def test_what_aihwkit_itself_saves(tmp_path: Path, digital: bool) -> None:
    pytest.importorskip("aihwkit", reason="aihwkit is not installed")
    from aihwkit.nn.conversion import convert_to_analog
    from aihwkit.simulator.configs import InferenceRPUConfig

    settings = InferenceRPUConfig()
    settings.mapping.digital_bias, settings.mapping.weight_scaling_omega = digital, 1.0
    settings.mapping.weight_scaling_columnwise = settings.pre_post.input_range.enable = True
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3))
    analog = convert_to_analog(network, settings)
    analog.train()(torch.from_numpy(r(4, 2, 8, 8)))
    path = write(tmp_path, {k: v for k, v in analog.state_dict().items() if torch.is_tensor(v)})
    own = network.state_dict()
    found = read_state_dict(path, {name: tuple(values.shape) for name, values in own.items()})
    assert set(found) == set(own)
    for name, values in own.items():
        assert np.allclose(found[name], values, atol=1e-6), name
    tiles = {
        f"{name}.weight": float(next(iter(one.analog_tiles())).input_range)
        for name, one in analog.named_analog_layers()
    }
    assert read_input_ranges(path) == pytest.approx(tiles)


# ---- conductances ------------------------------------------------------------------------------------------------


def test_conductances_of_pairs_as_arrays(tmp_path: Path) -> None:
    plus, minus, scales = t(6, 8).abs(), t(6, 8).abs(), t(6).abs()
    path = write(tmp_path, {"fc.g_plus": plus, "fc.g_minus": minus, "fc.mapping_scales": scales})
    (values,) = read(path)[0].values()
    assert np.allclose(values, ((plus - minus) * scales[:, None]).numpy().T)
    found, _ = read(write(tmp_path, {"fc1_g_pos": plus.numpy(), "fc1_g_neg": minus.numpy()}, ".npz"))
    assert np.allclose(found["fc1"], (plus - minus).numpy().T)


def test_conductances_of_pairs_as_a_table(tmp_path: Path) -> None:
    plus, minus, path = r(3, 4), r(3, 4), tmp_path / "fc.csv"
    lines = [f"{i + 1},{j + 1},{plus[i, j]},{minus[i, j]}" for j in range(4) for i in range(3)]
    path.write_text("\n".join(["row,column,g_plus_uS,g_minus_uS", *lines]))
    found, note = read(path)
    assert np.allclose(found["fc"], (plus - minus).T)
    assert "without the scales" in note
    path.write_text("\n".join(["row,column,g_plus,g_minus", *lines[:-1]]))
    with pytest.raises(BadInputError, match="its 11 lines do not fill a matrix of 3 x 4 once each"):
        load_weights(path)


@pytest.mark.parametrize("devices", [1, 2], ids=["signed", "pairs"])
def test_conductances_as_aihwkit_exports_them_for_a_chip(tmp_path: Path, devices: int) -> None:
    first, second = r(6, 8), r(3, 6)
    rows = [
        [*np.maximum(one, 0).ravel(), *np.maximum(-one, 0).ravel()] if devices == 2 else one.ravel()
        for one in (first, second)
    ]
    lines = ["1,3", "AnalogLinear,AnalogLinear", "48,18", "6,3", "8,6", "fc1,fc2"]
    lines += [",".join(map(str, row)) for row in rows]
    path = tmp_path / "fusion.csv"
    path.write_text("\n".join(lines) + "\n")
    found, note = read(path)
    assert np.allclose(found["fc1.weight"], first.T)
    assert np.allclose(found["fc2.weight"], second.T)
    assert "without the scales" in note
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(BadInputError, match="it is cut off"):
        load_weights(path)
    path.write_text("\n".join([*lines[:-1], "0.1,0.2"]) + "\n")
    with pytest.raises(BadInputError, match="'fc2' has 2 conductances for 3 x 6 weights"):
        load_weights(path)


# ---- tiles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", ["shared_weights", "tile.weight"])
@pytest.mark.parametrize(
    "scales", [{"mapping_scales": 6}, {"out_scaling_alpha": 1}, {"mapping_scales": 1, "out_scaling_alpha": 6}]
)
def test_every_scale_of_a_tile_of_aihwkit_counts(tmp_path: Path, kept: str, scales: dict[str, int]) -> None:
    """As its `get_weights` has it: w * mapping_scales * out_scaling_alpha; `analog_ctx` may hold anything."""
    tile = {kept: t(6, 8), "analog_ctx": torch.full((6, 8), 1e9), "bias": t(6), "input_range": torch.tensor([3.0])}
    tile |= {name: t(size).abs() for name, size in scales.items()}
    found, _ = read(write(tmp_path, {f"0.analog_module.{name}": values for name, values in tile.items()}))
    expected = tile[kept].clone()
    for name in scales:
        expected *= tile[name].reshape(-1, 1)
    (values,) = found.values()
    assert np.allclose(values, expected.numpy().T)


@pytest.mark.parametrize(
    "tile",
    [
        {"shared_weights": t(8, 6), "analog_ctx": t(6, 8), "mapping_scales": t(1)},  # as a GPU keeps it
        {"mapping_scales": t(6), "analog_tile_state": {"analog_tile_weights": t(6, 8), "analog_lr": 0.01}},
    ],
    ids=["turned", "away from its scales"],
)
def test_a_tile_of_aihwkit_that_is_not_its_layer_is_refused(tmp_path: Path, tile: dict) -> None:
    with pytest.raises(BadInputError, match=r"normalised weights of a tile of aihwkit.*get_weights"):
        load_weights(write(tmp_path, {f"fc.analog_module.{name}": values for name, values in tile.items()}))


def test_a_state_dict_of_aihwkit_with_its_settings_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "aihwkit.simulator.configs.configs"
    for parent in ("aihwkit", "aihwkit.simulator", "aihwkit.simulator.configs", name):
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    settings = type("InferenceRPUConfig", (), {"__module__": name})
    sys.modules[name].InferenceRPUConfig = settings  # type: ignore[attr-defined]
    state = {"analog_tile_weights": t(6, 8), "analog_tile_class": "InferenceTile", "rpu_config": settings()}
    path = write(tmp_path, {"fc.analog_module.shared_weights": t(6, 8), "fc.analog_module.analog_tile_state": state})
    with pytest.raises(BadInputError, match=r"objects of aihwkit \(aihwkit\..*InferenceRPUConfig\).*is_tensor") as said:
        load_weights(path)
    assert "\n" not in str(said.value)


def test_what_get_weights_of_aihwkit_gives(tmp_path: Path) -> None:
    found, _ = read(write(tmp_path, {"fc1": (FC["fc1.weight"], FC["fc1.bias"]), "fc2": (FC["fc2.weight"], None)}))
    assert {name: values.shape for name, values in found.items()} == DENSE
    assert np.allclose(found["fc2.weight"], FC["fc2.weight"].numpy().T)
    (alone,) = read(write(tmp_path, (FC["fc1.weight"], None)))[0].values()
    assert np.allclose(alone, FC["fc1.weight"].numpy().T)
