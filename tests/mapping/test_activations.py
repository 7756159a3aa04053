"""Real inputs of a layer: read, used where cells are out of reach, and used to evaluate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.calibration.certificate.plan import Plan
from hwloop.calibration.certificate.session import calibrate
from hwloop.errors import BadInputError
from hwloop.files.activations import activations_from
from hwloop.mapping.faults import avoid_bad_devices, compensate_with_neighbours
from hwloop.mapping.partition import map_weights

CHIP = "sim:pcm-90nm?seed=1&rows=64&columns=32&stuck_rate=0.1"
LAYER = hwloop.matrices({"layer": np.random.default_rng(0).standard_normal((32, 64))})


def smooth_inputs(vectors: int, seed: int) -> np.ndarray:
    """Positive inputs of which neighbours go together, as pixels of an image do."""
    rough = np.random.default_rng(seed).standard_normal((vectors, 64 + 8))
    return np.maximum(sum(rough[:, k : k + 64] for k in range(9)) / 3 + 1, 0)


def test_arrays_by_tensor_and_one_for_one_tensor(tmp_path: Path) -> None:
    x = smooth_inputs(64, 1)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", layer=x)
    for name in ("x.npy", "x.npz"):
        assert np.array_equal(activations_from(tmp_path / name, LAYER)["layer"].vectors, x)
    for given in (x, {"layer": x}):
        assert np.array_equal(activations_from(given, LAYER)["layer"].vectors, x)
    assert activations_from(None, LAYER) is None


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"layer": np.ones((64, 63))}, r"layer has the shape \(64, 63\), expected \(64 or more vectors, 64\)"),
        ({"layer": np.ones((3, 64))}, r"layer has the shape \(3, 64\)"),
        ({"layer": np.full((64, 64), np.inf)}, "no finite real numbers"),
        ({"other": np.ones((64, 64))}, "no tensor 'other' is programmed; there are layer"),
    ],
)
def test_what_is_no_sample_of_inputs(tmp_path: Path, arrays: dict, complaint: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(BadInputError, match=complaint):
        activations_from(tmp_path / "x.npz", LAYER)
    with pytest.raises(BadInputError, match=complaint):
        activations_from(arrays, LAYER)


def test_one_array_for_two_tensors_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((64, 4)))
    two = hwloop.matrices({"a": np.ones((3, 4)), "b": np.ones((3, 4))})
    with pytest.raises(BadInputError, match=r"one array for several tensors \(a, b\)"):
        activations_from(tmp_path / "x.npy", two)


@pytest.fixture(scope="module")
def known():
    """A calibration of the chip, for its bad devices."""
    with hwloop.connect(CHIP) as chip:
        return calibrate(chip, Plan(("devices", "programming-curve")), seed=1)


def out_of_reach_error(tile, devices, info, inputs) -> float:
    """Relative error of outputs for inputs when all cells within reach are on target."""
    capacity, stays = devices.capacity(info).sum(1), devices.stuck_at.sum(1)
    high, low = stays[0] - stays[1] + capacity[0], stays[0] - stays[1] - capacity[1]
    reached = np.clip(tile.target, low, high) * tile.scale
    ideal = inputs @ tile.weights
    return float(np.linalg.norm(inputs @ reached - ideal) / np.linalg.norm(ideal))


def test_neighbours_make_up_for_cells_out_of_reach(known) -> None:
    """For fresh inputs of the same kind the error falls to a third at most; the weights that count stay the same."""
    with hwloop.connect(CHIP) as chip:
        tile = map_weights(LAYER, chip.info)[0]
        devices = known.of_cells(tile.place, chip.info).devices
        leaning = compensate_with_neighbours(tile, devices, chip.info, smooth_inputs(2000, 2))
        fresh = smooth_inputs(2000, 3)
        before = out_of_reach_error(tile, devices, chip.info, fresh)
        after = out_of_reach_error(leaning, devices, chip.info, fresh)
    assert np.allclose(leaning.weights, tile.weights)
    assert before > 0.05
    assert after < before / 3


def test_independent_inputs_leave_nothing_to_lean_on(known) -> None:
    """What remains is chance: correlations of 4 000 samples, 1.6 % each, and no more than a few cells out of reach."""
    with hwloop.connect(CHIP) as chip:
        tile = map_weights(LAYER, chip.info)[0]
        devices = known.of_cells(tile.place, chip.info).devices
        inputs = np.random.default_rng(4).uniform(-1, 1, (4000, 64))
        lean = compensate_with_neighbours(tile, devices, chip.info, inputs).lean
    assert np.abs(lean).max() < 0.1 * chip.info.g_max


def test_without_bad_devices_nothing_leans() -> None:
    with hwloop.connect("sim:pcm-90nm?seed=1&rows=64&columns=32") as chip:
        healthy = calibrate(chip, Plan(("devices",)), seed=1)
        tile = map_weights(LAYER, chip.info)[0]
        devices = healthy.of_cells(tile.place, chip.info).devices
        assert avoid_bad_devices(tile, devices, chip.info) is tile
        assert not compensate_with_neighbours(tile, devices, chip.info, smooth_inputs(200, 5)).lean.any()


def test_the_error_with_sample_inputs(known) -> None:
    """GDP on a chip with 10 % stuck devices: known faults and known inputs lower the error that the layer sees."""
    inputs = {"layer": smooth_inputs(512, 6)}
    errors = []
    for calibration in (None, known):
        with hwloop.connect(CHIP) as chip:
            run = hwloop.program(chip, LAYER, "gdp", seed=1, calibration=calibration, inputs=inputs)
            errors.append(run.tiles[0].mvm_error_inputs)
            assert run.tiles[0].to_json()["mvm_error_inputs"] == errors[-1]
    assert errors[1] < errors[0] / 2
