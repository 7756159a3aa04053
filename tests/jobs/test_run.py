"""A run in the user's hands: weights of every kind, files that lose nothing, y = x W on the chip, tables, figures."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import hwloop
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError
from hwloop.files.runs import RunRecord
from tests.conftest import OpenChip, gaussian
from tests.jobs.conftest import CHIP, FEW_STEPS, FOUR_CORES, WEIGHTS, CtrlC, OpenWithout

NETWORK = {"fc1.weight": gaussian(20, 40), "fc2.weight": gaussian(10, 20, seed=1)}
"""Three tiles: the first matrix has more inputs than a core has rows."""


@pytest.fixture(scope="module")
def network() -> hwloop.Run:
    """NETWORK on four cores; tests only look at it and multiply."""
    return hwloop.program(hwloop.connect(FOUR_CORES), NETWORK, "exact")


# ---- weights, however they are given -----------------------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    """The same matrix in files of every kind."""
    np.save(folder / "w.npy", WEIGHTS)
    np.savez(folder / "w.npz", w=WEIGHTS)
    save_file({"w": WEIGHTS}, folder / "w.safetensors")
    torch.save({"w": torch.from_numpy(WEIGHTS)}, folder / "w.pt")
    return [folder / f"w.{suffix}" for suffix in ("npy", "npz", "safetensors", "pt")]


def module() -> torch.nn.Module:
    """A layer of a network with these weights, and a bias, which stays digital."""
    layer = torch.nn.Linear(16, 12, dtype=torch.float64)
    layer.weight.data = torch.from_numpy(WEIGHTS.copy())
    return layer


def test_weights_of_every_kind_give_the_same_numbers(tmp_path: Path, open_chip: OpenChip) -> None:
    tensor = torch.from_numpy(WEIGHTS.copy())
    paths = files(tmp_path)
    kinds = [
        WEIGHTS, WEIGHTS.tolist(), {"w": WEIGHTS}, {"w": tensor}, tensor, tensor.requires_grad_(), module(),
        hwloop.matrices({"w": WEIGHTS}), hwloop.load_weights(paths[0]), *paths, str(paths[0]),
    ]  # fmt: skip
    runs = [hwloop.program(open_chip(CHIP), given, FEW_STEPS) for given in kinds]
    assert len({run.mvm_error for run in runs}) == 1
    assert all(np.array_equal(run.tiles[0].reached, runs[0].tiles[0].reached) for run in runs)
    names = [run.tiles[0].tile.tensor for run in runs]
    assert names == ["weights", "weights", "w", "w", "weights", "weights", "weight", *["w"] * 7]


def test_weights_know_where_they_come_from(tmp_path: Path, open_chip: OpenChip) -> None:
    def origin(given: object) -> tuple[str, str]:
        asked = hwloop.program(open_chip(CHIP), given, "exact").record.provenance
        return asked.weights, asked.weights_sha256

    path = files(tmp_path)[0]
    assert origin(path)[0] == str(path)
    assert origin(WEIGHTS)[0] == "array"
    assert origin(module())[0] == "Linear"
    assert origin(WEIGHTS) == origin(WEIGHTS.tolist())
    assert origin(WEIGHTS)[1] != origin(-WEIGHTS)[1]
    assert len(origin(WEIGHTS)[1]) == len(origin(path)[1]) == 64


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (np.ones(8), r"tensor 'weights' has the shape \(8,\)"),
        ([[1.0, 2.0], [3.0]], "weights 'weights' are no array"),
        (None, "tensor 'weights' holds object values"),
        ({}, "arrays: holds no tensors"),
        ([], r"tensor 'weights' has the shape \(0,\)"),
        (torch.nn.ReLU(), "ReLU: holds no tensors"),
        ({"w": np.full((2, 2), np.nan)}, "'w' has 4 NaN or infinite values"),
        ("none.npy", r"none\.npy: no such file"),
        (Path("none.npy"), r"none\.npy: no such file"),
    ],
)
def test_what_is_no_weight_matrix(open_chip: OpenChip, given: object, complaint: str) -> None:
    with pytest.raises(BadInputError, match=complaint):
        hwloop.program(open_chip(CHIP), given)


# ---- files -------------------------------------------------------------------------------------------------------


def assert_same(one: object, other: object, where: str = "record", leave_out: tuple[str, ...] = ()) -> None:
    """Compare two values field by field and array by array; arrays that are kept in single precision as such."""
    if dataclasses.is_dataclass(one):
        assert type(one) is type(other), where
        for field in dataclasses.fields(one):
            if field.name not in leave_out:
                assert_same(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}", leave_out)
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            assert_same(value, other[key], f"{where}[{key}]", leave_out)
    elif isinstance(one, tuple):
        assert len(one) == len(other), where
        for number, (item, twin) in enumerate(zip(one, other, strict=True)):
            assert_same(item, twin, f"{where}[{number}]", leave_out)
    elif isinstance(one, np.ndarray):
        single = where.endswith((".pulse_age", ".amplitude"))
        assert np.array_equal(one.astype(np.float32) if single else one, other, equal_nan=one.dtype.kind == "f"), where
    else:
        assert one == other or (one != one and other != other), (where, one, other)  # NaN is no other than NaN


def without_milliseconds(record: RunRecord) -> RunRecord:
    """Cut the calendar moment to what a file keeps."""
    if record.programmed_utc is None:
        return record
    moment = record.programmed_utc
    return dataclasses.replace(record, programmed_utc=moment.replace(microsecond=moment.microsecond // 1000 * 1000))


@pytest.mark.parametrize("method", [FEW_STEPS, hwloop.ProgramVerify(max_steps=2), "exact"])
def test_a_saved_run_is_loaded_whole(tmp_path: Path, open_chip: OpenChip, method: str) -> None:
    run = hwloop.program(open_chip(FOUR_CORES), NETWORK, method, seed=3, age="1h")
    run.save(tmp_path / "run.h5")
    found = hwloop.load(tmp_path / "run.h5")
    assert isinstance(found, hwloop.Run)
    assert found.record.name == str(tmp_path / "run.h5")
    assert_same(without_milliseconds(run.record), found.record, leave_out=("name",))
    for name in ("mvm_error", "status", "interrupted", "method", "age"):
        assert getattr(found, name) == getattr(run, name)


def test_a_saved_run_is_the_file_that_grew(tmp_path: Path, open_chip: OpenChip) -> None:
    """`save` afterwards and `out` beforehand: the same content, and the same evaluation."""
    hwloop.program(open_chip(FOUR_CORES), NETWORK, FEW_STEPS, out=tmp_path / "grown.h5")
    hwloop.program(open_chip(FOUR_CORES), NETWORK, FEW_STEPS).save(tmp_path / "saved.h5")
    grown, saved = (hwloop.load(tmp_path / f"{name}.h5") for name in ("grown", "saved"))
    assert_same(grown.record, saved.record, leave_out=("name", "programmed_utc", "wall_seconds", "session"))
    evaluations = [dataclasses.replace(hwloop.evaluate(run), run="") for run in (grown, saved)]
    assert evaluations[0] == evaluations[1]


def test_a_stopped_run_can_be_saved_too(tmp_path: Path, open_chip: OpenChip) -> None:
    run = hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS, progress=CtrlC(3))
    run.save(tmp_path / "run.h5")
    found = hwloop.load(tmp_path / "run.h5")
    assert (found.status, len(found.tiles[0].steps.mvms)) == ("interrupted", 3)
    assert found.to_json()["mvm_error"] is None
    assert found.to_json()["mvm_error_interval"] is None
    assert dataclasses.replace(found.record, mvm_error_interval=(0.1, 0.2)).to_json()["mvm_error_interval"] is None
    assert_same(run.record, found.record, leave_out=("name",))
    assert hwloop.evaluate(found).mvm_error < 0.5


def test_saving_replaces_only_with_force(tmp_path: Path, network: hwloop.Run) -> None:
    (tmp_path / "run.h5").write_text("the run of yesterday")
    with pytest.raises(BadInputError, match=r"run\.h5 exists; use --force"):
        network.save(tmp_path / "run.h5")
    network.save(tmp_path / "run.h5", force=True)
    assert hwloop.load(tmp_path / "run.h5").mvm_error == network.mvm_error


# ---- y = x W -----------------------------------------------------------------------------------------------------


def error(y: np.ndarray, ideal: np.ndarray) -> float:
    return float(np.linalg.norm(y - ideal) / np.linalg.norm(ideal))


@pytest.mark.parametrize("tensor", NETWORK)
@pytest.mark.parametrize("scale", [1.0, 1e-6, 300.0])
def test_matmul_multiplies_by_each_tensor_at_any_scale(network: hwloop.Run, tensor: str, scale: float) -> None:
    """Over two cores for the first; the error is that of the run, which was measured with inputs of the same kind."""
    weights = NETWORK[tensor].T
    x = np.random.default_rng(1).uniform(-scale, scale, (1024, weights.shape[0]))
    y = network.matmul(x, tensor)
    assert y.shape == (1024, weights.shape[1])
    assert error(y, x @ weights) == pytest.approx(network.mvm_error, rel=0.3)


def test_matmul_without_noise_is_the_product_itself(open_chip: OpenChip) -> None:
    """Partitioned over six cores both ways: inputs that are whole steps of a DAC leave the steps of the outputs."""
    chip, weights = open_chip("sim:pcm-ideal?rows=32&columns=32&cores=6"), gaussian(40, 70)
    run = hwloop.program(chip, weights, "exact")
    top = chip.info.input_max
    x = np.random.default_rng(1).integers(-top, top + 1, (50, 70))
    x[0, 0] = top
    assert error(run.matmul(x), x @ weights.T) < 1e-3
    assert np.array_equal(run.matmul(x.tolist()), run.matmul(x))
    assert run.matmul(np.empty((0, 70))).shape == (0, 40)


def test_matmul_of_one_vector_is_one_vector(open_chip: OpenChip) -> None:
    run = hwloop.program(open_chip("sim:pcm-ideal?rows=32&columns=32"), WEIGHTS, "exact")
    x = np.linspace(-1, 1, 16)
    y = run.matmul(x)
    assert y.shape == (12,)
    assert y == pytest.approx(x @ WEIGHTS.T, abs=0.05)
    assert np.array_equal(y, run.matmul(x[None])[0])
    assert np.abs(run.matmul(np.zeros(16))).max() < 1e-2
    assert run.matmul(np.zeros((2, 16))).shape == (2, 12)


@pytest.mark.parametrize(
    ("x", "tensor", "complaint"),
    [
        (np.full((2, 40), np.nan), "fc1.weight", r"x must be finite, of the shape \(batch, 40\), not \(2, 40\)"),
        (np.full(40, np.inf), "fc1.weight", r"x must be finite"),
        (np.ones((2, 39)), "fc1.weight", r"of the shape \(batch, 40\), not \(2, 39\)"),
        (np.ones((2, 2, 40)), "fc1.weight", r"of the shape \(batch, 40\), not \(2, 2, 40\)"),
        (1.0, "fc1.weight", r"of the shape \(batch, 40\), not \(\)"),
        (np.ones(40), "fc9.weight", r"no tensor 'fc9\.weight' was programmed; there are fc1\.weight, fc2\.weight"),
        (np.ones(40), None, r"holds fc1\.weight, fc2\.weight; say which tensor"),
    ],
)
def test_what_cannot_be_multiplied(network: hwloop.Run, x: np.ndarray, tensor: str | None, complaint: str) -> None:
    before = network.chip.counts.mvms
    with pytest.raises(BadInputError, match=complaint):
        network.matmul(x, tensor)
    assert network.chip.counts.mvms == before


def test_matmul_of_a_stopped_run_says_what_is_missing(open_chip: OpenChip) -> None:
    run = hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS, progress=CtrlC(2))
    with pytest.raises(BadInputError, match="the columns of this run were not calibrated; program again"):
        run.matmul(np.ones(16))


def test_a_loaded_run_multiplies_on_the_chip_it_was_made_on(tmp_path: Path, network: hwloop.Run) -> None:
    network.save(tmp_path / "run.h5")
    x = np.random.default_rng(1).uniform(-1, 1, (256, 20))
    found = hwloop.load(tmp_path / "run.h5")
    assert found.chip is None
    assert error(found.matmul(x, "fc2.weight"), x @ NETWORK["fc2.weight"].T) < 2 * network.mvm_error
    assert found.chip is not None
    assert found.attach() is found.chip


def test_a_real_chip_must_be_named(tmp_path: Path, open_without: OpenWithout) -> None:
    chip = open_without(CHIP, Capability.STATE)
    hwloop.program(chip, WEIGHTS, "exact").save(tmp_path / "run.h5")
    found = hwloop.load(tmp_path / "run.h5")
    with pytest.raises(BadInputError, match="holds no chip state"):
        found.matmul(np.ones(16))
    assert hwloop.load(tmp_path / "run.h5").attach(chip) is chip


# ---- how it shows itself -----------------------------------------------------------------------------------------


def test_it_shows_itself_in_one_line(network: hwloop.Run, open_chip: OpenChip) -> None:
    assert repr(network) == f"<Run exact on {FOUR_CORES}: 2 tensor(s), MVM error {network.mvm_error:.4f}>"
    stopped = hwloop.program(open_chip(CHIP), WEIGHTS, FEW_STEPS, progress=CtrlC(1))
    assert repr(stopped) == f"<Run gdp on {CHIP}: 1 tensor(s), status interrupted>"


def test_a_notebook_shows_a_table_in_which_names_are_no_markup(open_chip: OpenChip) -> None:
    run = hwloop.program(open_chip(FOUR_CORES), {"<script>alert(1)</script>": gaussian(12, 40)}, "exact")
    shown = run._repr_html_()
    assert "<script>" not in shown
    assert shown.count(">&lt;script&gt;alert(1)&lt;/script&gt;</td>") == len(run.tiles) == 2
    assert f">{run.tiles[1].mvm_error:.4g}</td>" in shown
    assert FOUR_CORES.replace("&", "&amp;") in shown


def test_a_notebook_shows_the_first_tiles_of_many(open_chip: OpenChip) -> None:
    run = hwloop.program(open_chip(CHIP), {f"w{number}": gaussian(2, 2) for number in range(23)}, "exact")
    shown = run._repr_html_()
    assert shown.count(">w") == 12
    assert "and 11 more" in shown


def test_a_table_has_a_row_for_each_tile(network: hwloop.Run) -> None:
    table = network.to_dataframe()
    assert table.tensor.tolist() == [tile.tile.tensor for tile in network.tiles]
    assert table.mvm_error.tolist() == [tile.mvm_error for tile in network.tiles]
    assert {"core", "rows", "columns", "pulses_per_device", "chip_seconds"} <= set(table.columns)


def test_without_pandas_a_table_says_what_to_install(network: hwloop.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        BadInputError, match=r"tables need pandas, which is not installed; pip install 'hwloop\[pandas\]'"
    ):
        network.to_dataframe()


def test_json_holds_plain_values_alone(network: hwloop.Run) -> None:
    def plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(type(key) is str and plain(item) for key, item in value.items())
        return all(map(plain, value)) if isinstance(value, list) else type(value) in (str, int, float, bool, type(None))

    told = network.to_json()
    assert plain(told)
    assert told["mvm_error"] == network.mvm_error
    assert told["run"] == (network.record.name or None)
