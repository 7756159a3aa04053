"""What a file of weights is, by its first bytes: names end in anything."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hwloop.errors import BadInputError, printable

TEXTS = (".csv", ".tsv", ".txt")
"""What files of text are called, which have no beginning of their own."""
SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt", ".h5", ".keras", ".onnx", *TEXTS)
"""What files of weights are usually called; of other files than text, nothing depends on it but messages."""


class Content(Enum):
    """A kind of file that can be read."""

    NPY = ".npy"
    NPZ = ".npz"
    SAFETENSORS = ".safetensors"
    TORCH = "torch"
    HDF5 = "HDF5"
    KERAS = ".keras"
    ONNX = "ONNX"
    TEXT = "text"
    INDEX = "index of shards"


@dataclass(frozen=True)
class Foreign:
    """A kind of file that is known and not read, with the way out."""

    begins: bytes
    """What stands at `offset`."""
    says: str
    """What the file is, and what to do instead."""
    offset: int = 0
    """Place of `begins` in the file, bytes."""


PLAIN = "save model.state_dict() with torch.save, or as .safetensors"
FOREIGN = (
    Foreign(b"GGUF", "is a GGUF file, whose tensors are quantised in blocks; convert it to .safetensors first "
            "(gguf.GGUFReader and gguf.dequantize of the package gguf give arrays)"),
    Foreign(b"TFL3", "is a TFLite file; save the model's weights as .npz or Keras .h5", 4),
    Foreign(b"\x1f\x8b", "is compressed (gzip); unpack it first"),
    Foreign(b"\xfd7zXZ", "is compressed (xz); unpack it first"),
    Foreign(b"\x28\xb5\x2f\xfd", "is compressed (zstd); unpack it first"),
    Foreign(b"BZh", "is compressed (bzip2); unpack it first"),
    Foreign(b"ustar", f"is a tar archive, maybe of a very old torch; unpack it, or {PLAIN}", 257),
    Foreign(b"version https://git-lfs", "is a pointer of git-lfs and not the file itself; run git lfs pull"),
    Foreign(b"<!DOCTYPE", "is a web page, not the file behind it; download it again"),
    Foreign(b"<html", "is a web page, not the file behind it; download it again"),
    Foreign(b"MATLAB", "is a MATLAB file; save its matrices as .npz (scipy.io.loadmat, numpy.savez)"),
)  # fmt: skip
HEAD = 512
"""Bytes from the beginning of a file that tell what it is."""
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch before 1.6 begin: their magic number, pickled."""


def content_of(path: Path) -> Content:
    """Recognise what a file is.

    Raises
    ------
    BadInputError
        With the way out, for a file that is damaged, of no known kind, or of a kind that is not read.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except PermissionError:
        raise BadInputError(f"{shown(path)} cannot be read: permission denied") from None
    except OSError as error:
        raise BadInputError(f"{shown(path)} cannot be read: {error.strerror}") from None
    if head.startswith(b"\x93NUMPY"):
        return Content.NPY
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):  # the second begins an archive of nothing
        return _archive(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n") or head[512:].startswith(b"\x89HDF"):
        return Content.HDF5
    if head.startswith(LEGACY):
        return Content.TORCH
    for kind in FOREIGN:
        if head[kind.offset :].lower().startswith(kind.begins.lower()):
            raise BadInputError(f"{shown(path)} {kind.says}")
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] > 0:
        return Content.SAFETENSORS
    if path.name.endswith(".index.json") or (path.suffix == ".json" and head.lstrip()[:1] == b"{"):
        return Content.INDEX
    if path.suffix.lower() == ".onnx" and head[:1] == b"\x08":
        return Content.ONNX
    if path.suffix.lower() in TEXTS and head:
        return Content.TEXT
    if head.startswith(b"\x80") and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise unreadable(path, f"it is a pickle, which hwloop never unpickles; {PLAIN}")
    raise _unknown(path, head)


def shown(path: Path) -> str:
    """Give a file's name as it can be printed."""
    return printable(str(path))


def unreadable(path: Path, why: str) -> BadInputError:
    """Make the error for a file that is of a known kind, or called like one, and cannot be read."""
    kind = path.suffix.lower() if path.suffix.lower() in SUFFIXES else "weights"
    return BadInputError(f"{shown(path)} is not a readable {kind} file ({why})")


def _unknown(path: Path, head: bytes) -> BadInputError:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES and suffix not in (".h5", ".keras", ".onnx"):
        return unreadable(path, f"{'its beginning is of no known kind' if head else 'it is empty'}; save it again")
    return BadInputError(
        f"{shown(path)}: unknown kind of weights '{printable(suffix)}'; expected {', '.join(SUFFIXES)}"
    )


def _archive(path: Path) -> Content:
    """Tell apart what comes as a zip archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise unreadable(path, f"its archive is damaged: {printable(str(error))}; save it again") from None
    inner = {member.partition("/")[2] or member for member in members}
    if "constants.pkl" in inner or any(one.startswith("code/") for one in inner):
        raise BadInputError(f"{shown(path)} is a TorchScript program, not weights; {PLAIN}")
    if "data.pkl" in inner:
        return Content.TORCH
    if any(
        one.endswith(("models/model.json", "archive_format", "serialized_exported_program.json")) for one in members
    ):
        raise BadInputError(f"{shown(path)} is a program that torch exported, not weights; {PLAIN}")
    if "model.weights.h5" in members:
        return Content.KERAS
    if any(member.endswith(".npy") for member in members) or not members:
        return Content.NPZ
    raise unreadable(path, f"its archive holds neither .npy arrays nor tensors of torch; {PLAIN}")
