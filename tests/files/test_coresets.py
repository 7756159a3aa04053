"""Files of coresets: what is counted is what is stored, and whatever takes activations heeds or refuses the weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.errors import BadInputError
from hwloop.files.activations import activations_from
from hwloop.files.coresets import is_coreset, packed, read_coreset, unpacked
from hwloop.mapping.activations import CORESET, Sample

LAYERS = hwloop.matrices({"a": np.ones((4, 8)), "b": np.ones((3, 12))})


def activations(seed: int = 0, vectors: int = 300) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"a": np.maximum(rng.standard_normal((vectors, 8)), 0), "b": rng.standard_normal((vectors, 12))}


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    hwloop.coreset(activations(), 20_000).save(tmp_path / "probes.npz")
    return tmp_path / "probes.npz"


@pytest.mark.parametrize("bits", [1, 3, 8, 11])
def test_packing_is_undone_by_unpacking(bits: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits, (13, 7))
    content = packed(codes, bits)
    assert content.size == -(-codes.size * bits // 8)
    assert np.array_equal(unpacked(content, bits, codes.shape), codes)
    with pytest.raises(ValueError, match="do not take"):
        unpacked(content[1:], bits, codes.shape)


def test_a_file_gives_back_what_was_made_and_takes_the_bits_that_it_counts(probes: Path) -> None:
    made = hwloop.coreset(activations(), 20_000)
    read = hwloop.load(probes)
    assert is_coreset(probes)
    assert read.bits == made.bits <= 20_000
    assert read.rows == made.rows
    for name, sample in made.samples.items():
        assert np.array_equal(read.samples[name].vectors, sample.vectors)
        assert np.array_equal(read.samples[name].weights, sample.weights)
    with np.load(probes) as stored:
        content = sum(8 * stored[name].nbytes for name in stored.files if name != CORESET)
    assert content <= made.bits + 4 * 8


def test_whatever_takes_activations_gets_the_weights(probes: Path) -> None:
    found = activations_from(probes, LAYERS)
    assert found is not None
    assert found.keys() == {"a", "b"}
    assert found["a"].weights is not None
    assert found["a"].weights.sum() == pytest.approx(300)
    given = activations_from({"a": Sample(np.ones((64, 8)), np.arange(1.0, 65.0))}, LAYERS)
    assert given is not None
    assert np.array_equal(given["a"].weights, np.arange(1.0, 65.0))


def test_a_coreset_of_one_array_belongs_to_the_only_matrix(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", activations()["a"])
    hwloop.coreset(tmp_path / "x.npy", 9000).save(tmp_path / "x.npz")
    found = activations_from(tmp_path / "x.npz", LAYERS[:1])
    assert found is not None
    assert found["a"].weights is not None


def test_a_coreset_of_coresets_stands_for_all_vectors(tmp_path: Path, probes: Path) -> None:
    hwloop.coreset(activations(1), 20_000).save(tmp_path / "other.npz")
    both = hwloop.coreset([probes, tmp_path / "other.npz"], 20_000)
    assert {name: round(one.weights.sum()) for name, one in both.samples.items()} == {"a": 600, "b": 600}
    assert {row.host for row in both.rows} == {str(probes), str(tmp_path / "other.npz")}


def test_weights_are_no_weights_of_a_network(probes: Path) -> None:
    with pytest.raises(BadInputError, match="is a coreset of activations, not weights"):
        hwloop.load_weights(probes)


def test_a_damaged_file_is_one_line(probes: Path, tmp_path: Path) -> None:
    with np.load(probes) as stored:
        arrays = dict(stored)
    head = json.loads(arrays[CORESET].tobytes())
    broken = [
        {**arrays, "codes-0": arrays["codes-0"][:-1]},
        {name: one for name, one in arrays.items() if name != "codes-1"},
        {**arrays, CORESET: arrays[CORESET][:-5]},
    ]
    for key, value in (("points", 10**9), ("bits", 40), ("low", float("nan")), ("weight_ends", [2.0, 1.0])):
        told = json.loads(json.dumps(head))
        told["parts"][0][key] = value
        broken.append({**arrays, CORESET: np.frombuffer(json.dumps(told).encode(), np.uint8)})
    for number, one in enumerate(broken):
        np.savez(tmp_path / f"{number}.npz", **one)
        with pytest.raises(BadInputError, match="is not a whole coreset") as caught:
            read_coreset(tmp_path / f"{number}.npz")
        assert "\n" not in str(caught.value)
    later = {**head, "version": 99}
    np.savez(tmp_path / "later.npz", **{**arrays, CORESET: np.frombuffer(json.dumps(later).encode(), np.uint8)})
    with pytest.raises(BadInputError, match="has the layout 99"):
        read_coreset(tmp_path / "later.npz")
