"""What a run has programmed is read back with each format's own library, and is what is on the chip."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import hwloop
from hwloop.errors import BadInputError
from hwloop.exporters.programmed import export_programmed
from hwloop.files.runs import TileRecord

RNG = np.random.default_rng(8)
WEIGHTS = {"fc1": RNG.normal(size=(40, 20)), "fc2, last": RNG.normal(size=(6, 20))}
"""Outputs by inputs, as torch has them; the first takes several tiles."""
IDEAL = "read_noise=0&drift=0&adc_noise=0&adc_gain_spread=0&adc_offset_spread=0"
CHIP = f"sim:hermes-core?seed=3&rows=16&columns=24&cores=5&{IDEAL}"


@pytest.fixture(scope="module")
def chip() -> hwloop.Backend:
    return hwloop.connect(CHIP)


@pytest.fixture(scope="module")
def run(chip: hwloop.Backend) -> hwloop.Run:
    return hwloop.program(chip, WEIGHTS, "exact")


@pytest.fixture(scope="module")
def tiles(run: hwloop.Run) -> tuple[TileRecord, ...]:
    assert len(run.tiles) > 4
    return run.tiles


def stand_for(name: str, parts: list[tuple[np.ndarray, ...]]) -> np.ndarray:
    """Put the weights of all tiles together."""
    found = np.full(WEIGHTS[name].T.shape, np.nan)
    for inputs, outputs, weights in parts:
        found[np.ix_(inputs, outputs)] = weights
    return found.T


@pytest.mark.parametrize("to", ["npz", "safetensors"])
def test_arrays_say_which_weights_lie_where(
    run: hwloop.Run, tiles: tuple[TileRecord, ...], tmp_path: Path, to: str
) -> None:
    hwloop.export(run, to, tmp_path / "out.x")
    if to == "npz":
        file = np.load(tmp_path / "out.x", allow_pickle=False)
        arrays, about = dict(file), json.loads(str(file["about"]))
    else:
        with safe_open(tmp_path / "out.x", "np") as opened:
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  no mapping
            about = json.loads(opened.metadata()["about"])
    assert about["backend"] == CHIP
    assert len(about["tiles"]) == len(tiles)
    parts: dict[str, list[tuple[np.ndarray, ...]]] = {name: [] for name in WEIGHTS}
    for number, (tile, said) in enumerate(zip(tiles, about["tiles"], strict=True)):
        own = {name: arrays[f"tile{number}/{name}"] for name in about["arrays"] if f"tile{number}/{name}" in arrays}
        place = tile.tile.place
        assert (said["core"], said["row"], said["column"]) == (place.core, place.row, place.column)
        assert own["target"].shape == (said["rows"], said["columns"])
        assert np.array_equal(own["reached"], tile.reached)
        assert np.array_equal(own["pulses"], tile.pulses)
        assert own["last_reset"].dtype == np.float32
        assert tile.correction is not None
        assert np.array_equal(own["column_gain"], tile.correction.gain)
        assert np.array_equal(own["column_offset"], tile.correction.offset)
        shared = own["device_target"].sum(1)
        assert shared[0] - shared[1] == pytest.approx(own["target"])
        parts[said["tensor"]].append((own["input"], own["output"], own["target"] * own["scale"]))
    for name, weights in WEIGHTS.items():
        assert stand_for(name, parts[name]) == pytest.approx(weights, rel=1e-12)


def test_a_table_has_the_address_and_target_of_every_device(
    run: hwloop.Run, chip: hwloop.Backend, tmp_path: Path
) -> None:
    hwloop.export(run, "csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 2 * 2 * sum(weights.size for weights in WEIGHTS.values())
    assert {line["tensor"] for line in lines} == set(WEIGHTS)
    shape = chip.info.device_shape
    for core in {line["core"] for line in lines}:
        here = [line for line in lines if line["core"] == core]
        address = [("+-".index(x["polarity"]), int(x["device"]), int(x["row"]), int(x["column"])) for x in here]
        devices = np.ravel_multi_index(np.transpose(address), shape)
        assert len(set(devices)) == len(here)
        # The chip itself tells: `exact` put every device on its target, which drift and noise leave alone.
        seen = chip.read(int(core), devices, averages=4)
        target = np.array([float(line["device_target_uS"]) for line in here])
        assert seen == pytest.approx(target, abs=0.15)  # the converter of single reads
        assert target.max() > 5.0
    for line in lines[::97]:
        weight = WEIGHTS[line["tensor"]][int(line["output"]), int(line["input"])]
        assert float(line["cell_target_uS"]) * float(line["weight_per_uS"]) == pytest.approx(weight, rel=1e-12)
        assert line["stuck"] in ("0", "")
        assert line["cell_lean_uS"] == ""


def test_file_and_run_are_exported_alike(run: hwloop.Run, tmp_path: Path) -> None:
    run.save(tmp_path / "run.h5")
    for source, out in ((run, "a.csv"), (tmp_path / "run.h5", "b.csv")):
        hwloop.export(source, "csv", tmp_path / out)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_tensors_are_chosen_by_name_or_pattern(run: hwloop.Run, tmp_path: Path) -> None:
    for tensor in ("fc2, last", "fc2*", ["fc2*"]):
        made = hwloop.export(run, "npz", tmp_path / "fc2.npz", tensor=tensor, force=True)
        assert made.tensors == ("fc2, last",)
        assert made.devices == 4 * WEIGHTS["fc2, last"].size
    with pytest.raises(BadInputError, match=r"no tensor 'fc3'; .*fc1"):
        hwloop.export(run, "npz", tmp_path / "fc3.npz", tensor="fc3")


def test_what_is_not_known_is_absent_and_empty(run: hwloop.Run, tmp_path: Path) -> None:
    record = replace(run.record, provenance=replace(run.record.provenance, g_max=float("nan")))
    bare = [replace(tile, reached=None, correction=None, pulse_age=None) for tile in record.tiles]
    made = export_programmed(replace(record, tiles=tuple(bare)), "csv", tmp_path / "bare.csv")
    assert {"reached", "column_gain", "device_target"}.isdisjoint(made.arrays)
    with (tmp_path / "bare.csv").open(newline="") as stream:
        line = next(csv.DictReader(stream))
    empty = {"device_target_uS", "cell_reached_uS", "last_pulse_age_s", "column_gain", "column_offset"}
    assert empty <= {name for name, value in line.items() if value == ""}
    assert float(line["cell_target_uS"]) != 0.0
    old = replace(record.provenance, device_shape=())
    unknown = replace(record, provenance=old, tiles=tuple(replace(tile, pulses=None) for tile in bare))
    with pytest.raises(BadInputError, match="does not tell how many devices a cell has"):
        export_programmed(unknown, "csv", tmp_path / "unknown.csv")


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("aihwkit", "a run holds what was programmed: export it to npz, csv or safetensors"),
        ("mat", "unknown format 'mat'"),
    ],
)
def test_formats_that_do_not_fit_are_refused(run: hwloop.Run, tmp_path: Path, to: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        hwloop.export(run, to, tmp_path / "out.py")
    assert not (tmp_path / "out.py").exists()
