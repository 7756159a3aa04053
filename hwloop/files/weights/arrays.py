"""Arrays of numpy: .npy and .npz, by their headers first."""

from __future__ import annotations

import ast
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from hwloop.errors import BadInputError, said
from hwloop.files.reading import DAMAGE as READING
from hwloop.files.weights.content import shown, unreadable
from hwloop.mapping.tensors import Tensor
from hwloop.typing import AnyArray

OBJECTS = "holds Python objects, which hwloop never unpickles; save it as a plain array"
DAMAGE = (*READING, zipfile.BadZipFile, zlib.error, struct.error)
"""What numpy and zipfile raise for a damaged file."""


def read_npy(path: Path) -> list[Tensor]:
    """Describe the array of a .npy file, which is then mapped into memory.

    Raises
    ------
    BadInputError
        For a file that is damaged or shorter than it says.
    """
    with _readable_from(path) as stream:
        shape, dtype = _header(path, stream)
        tensor = _tensor(path.stem, shape, dtype, lambda: _mapped(path))
        if tensor.trouble:
            raise unreadable(path, f"it {OBJECTS}")
        present = path.stat().st_size - stream.tell()
    needed = tensor.size * dtype.itemsize
    if present < needed:
        sizes = " x ".join(map(str, shape))
        raise unreadable(
            path, f"it declares {sizes} values of {dtype}, {needed} bytes, and has {present}; save it again"
        )
    return [tensor]


def read_npz(path: Path) -> list[Tensor]:
    """Describe the arrays of a .npz file, each of which is read when it is asked for.

    Raises
    ------
    BadInputError
        For a file that is damaged.
    """
    tensors = []
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".npy"):
                    with archive.open(member) as stream:
                        shape, dtype = _header(path, stream)
                    name = member.filename.removesuffix(".npy")
                    tensors.append(_tensor(name, shape, dtype, _member(path, member.filename)))
                    if not tensors[-1].trouble and tensors[-1].size * dtype.itemsize > member.file_size:
                        raise ValueError(f"'{tensors[-1].name}' declares {shape} values of {dtype} and has fewer")
    except DAMAGE as error:
        raise unreadable(path, f"{said(error)}; save it again as plain arrays") from None
    if tensors and all(tensor.trouble for tensor in tensors):
        raise unreadable(path, f"it {OBJECTS}")
    return tensors


def _readable_from(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise BadInputError(f"{shown(path)} cannot be read: {error.strerror}") from None


def _header(path: Path, stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Read shape and dtype of any version of the format; numpy has no public function for the third one."""
    try:
        version = np.lib.format.read_magic(stream)
        count = struct.unpack(*(("<H", stream.read(2)) if version[0] == 1 else ("<I", stream.read(4))))[0]
        text = stream.read(count).decode("latin1" if version[0] < 3 else "utf8")
        header = ast.literal_eval(text)
        dtype = np.dtype(header["descr"] if isinstance(header["descr"], str) else [tuple(f) for f in header["descr"]])
        shape = tuple(int(length) for length in header["shape"])
        if len(text) < count or any(length < 0 for length in shape):
            raise ValueError("its header is cut off or absurd")
    except (*DAMAGE, SyntaxError) as error:
        raise unreadable(path, f"{said(error)}; save it again as a plain array") from None
    return shape, dtype


def _tensor(name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic], load: Callable[[], AnyArray]) -> Tensor:
    native = dtype.newbyteorder("=")  # other processors write other byte orders, which torch does not know
    own = load if dtype.isnative else lambda: load().astype(native)
    return Tensor(name, shape, str(native), own, trouble=OBJECTS if dtype.hasobject else "")


def _mapped(path: Path) -> AnyArray:
    try:
        array: AnyArray = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGE:
        try:
            array = np.load(path, allow_pickle=False)
        except DAMAGE as error:
            raise unreadable(path, f"{said(error)}; save it again as a plain array") from None
    return array


def _member(path: Path, name: str) -> Callable[[], AnyArray]:
    def load() -> AnyArray:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
                array: AnyArray = np.lib.format.read_array(stream, allow_pickle=False)
                return array
        except DAMAGE as error:
            raise unreadable(path, f"{said(error)}; save it again as plain arrays") from None

    return load
