"""Files of sample inputs: headers first, and whatever is wrong with them is one line."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import hwloop
from hwloop.errors import BadInputError
from hwloop.files.activations import LIMITS, InputLimits, activations_from

LAYER = hwloop.matrices({"layer": np.ones((4, 8))})


def header(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    """The beginning of a .npy file that declares such an array."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize("shape", [(10**6, 10**6), (2**62, 8), (10**9, 8), (64, 8)])
@pytest.mark.parametrize("packed", [False, True])
def test_what_a_header_declares_is_compared_with_what_is_there(tmp_path: Path, shape: tuple, packed: bool) -> None:
    path, content = tmp_path / "x", header(shape) + bytes(64)
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("layer.npy", content)
    else:
        path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(BadInputError, match=r"declares .* values of float64"):
        activations_from(path, LAYER)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_large_file_of_another_shape_is_not_read(tmp_path: Path) -> None:
    path, shape = tmp_path / "x.npy", (12_000, 12_000)
    with path.open("wb") as stream:
        stream.write(header(shape))
        stream.truncate(stream.tell() + 8 * 12_000**2)  # takes no room on the disk
    tracemalloc.start()
    with pytest.raises(
        BadInputError, match=r"layer has the shape \(12000, 12000\), expected \(64 or more vectors, 8\)"
    ):
        activations_from(path, LAYER)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_an_archive_that_unpacks_to_too_much_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "x.npz", layer=np.zeros((100_000, 8)))
    monkeypatch.setattr("hwloop.files.activations.LIMITS", InputLimits(size=2**20))
    with pytest.raises(BadInputError, match="layer has 100000 vectors, which take over 1048576 bytes; give fewer"):
        activations_from(tmp_path / "x.npz", LAYER)


@pytest.mark.parametrize("suffix", ["npy", "npz", "packed.npz"])
def test_no_changed_bit_is_an_unexpected_error(tmp_path: Path, suffix: str) -> None:
    path, rng = tmp_path / f"x.{suffix}", np.random.default_rng(0)
    x = rng.standard_normal((LIMITS.vectors, 8))
    if suffix == "npy":
        np.save(path, x)
    elif suffix == "npz":
        np.savez(path, layer=x)
    else:
        np.savez_compressed(path, layer=x)
    content = path.read_bytes()
    refused: list[str] = []
    for place in rng.integers(0, 8 * len(content), 400):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed[: len(changed) if place % 3 else int(place // 8)])
        try:
            activations_from(path, LAYER)
        except BadInputError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert not any("\n" in one for one in refused)
