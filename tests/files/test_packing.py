"""Compressed arrays: HDF5 itself unpacks what is packed here, bit for bit, and it takes little room."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from hwloop.files.packing import PACKING, Packing
from hwloop.typing import AnyArray

RNG = np.random.default_rng(4)
ARRAYS: dict[str, AnyArray] = {
    "measured": RNG.normal(size=(3, 5000)),
    "single": RNG.normal(size=20_000).astype(np.float32),
    "rounded": RNG.normal(size=20_000).astype(np.float16).astype(np.float32),
    "few values": RNG.normal(size=9)[RNG.integers(0, 9, 20_000)],
    "without a number": np.full((90, 90), np.nan),
    "truths": RNG.random((2, 2, 64, 64)) < 0.01,
    "counts": RNG.integers(0, 7, 20_000).astype(np.int32),
    "bytes": RNG.integers(0, 256, 20_001).astype(np.uint8),
    "turned round": RNG.normal(size=(64, 128)).T,
    "small": np.arange(8),
}


@pytest.fixture
def file(tmp_path: Path) -> h5py.File:
    with h5py.File(tmp_path / "packed.h5", "w") as opened:
        yield opened


@pytest.mark.parametrize("name", ARRAYS)
def test_hdf5_unpacks_what_was_packed_bit_for_bit(file: h5py.File, name: str) -> None:
    array = ARRAYS[name]
    dataset = PACKING.write(file, "array", array)
    assert dataset.dtype == array.dtype
    for values in (array, array[::-1]):
        PACKING.rewrite(dataset, values)
        file.flush()
        assert dataset[()].tobytes() == np.ascontiguousarray(values).tobytes()


def test_an_array_larger_than_a_piece_is_left_to_hdf5(file: h5py.File) -> None:
    array = ARRAYS["measured"]
    dataset = Packing(chunk=8192).write(file, "array", array)
    PACKING.rewrite(dataset, 2 * array)
    assert dataset.chunks != array.shape
    assert np.array_equal(dataset[()], 2 * array)


@pytest.mark.parametrize(
    ("name", "share"), [("single", 0.86), ("rounded", 0.51), ("few values", 0.2), ("truths", 0.06), ("counts", 0.11)]
)
def test_packing_takes_little_more_than_what_there_is_to_tell(file: h5py.File, name: str, share: float) -> None:
    dataset = PACKING.write(file, "array", ARRAYS[name])
    assert dataset.id.get_storage_size() < share * ARRAYS[name].nbytes
