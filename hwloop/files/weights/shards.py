"""Weights in several files: an index that says what lies where, or a folder."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from hwloop.errors import BadInputError, printable
from hwloop.files.weights.content import shown
from hwloop.mapping.tensors import Tensor

Reader = Callable[[Path], list[Tensor]]

ALONE = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin", "model.weights.h5")
"""What the only file of weights in a folder is called, the first one first."""
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".th", ".ckpt", ".npz", ".npy", ".h5", ".keras")
"""How files of weights in a folder end."""
SHARD = re.compile(r"^(.*)-(\d+)-of-(\d+)(\.\w+)$")
"""How shards are called."""


def read_index(path: Path, read: Reader) -> list[Tensor]:
    """Describe the tensors of all shards that an index names, which lie beside it.

    Raises
    ------
    BadInputError
        For an index that is none, a shard that is missing or lies elsewhere, and a tensor that is not in its shard.
    """
    try:
        placed = json.loads(path.read_bytes())["weight_map"]
        shards = {str(tensor): str(file) for tensor, file in placed.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadInputError(
            f"{shown(path)} is no index of shards (it has no 'weight_map' of names and files)"
        ) from None
    found: dict[str, dict[str, Tensor]] = {}
    for file in sorted(set(shards.values())):
        if file in ("", ".", "..") or "/" in file or "\\" in file or "\0" in file:
            raise BadInputError(
                f"{shown(path)}: shard '{printable(file)}' lies elsewhere; put all shards beside the index"
            )
        if not (path.parent / file).is_file():
            raise BadInputError(f"{shown(path)}: shard '{printable(file)}' is missing; put all shards beside the index")
        found[file] = {tensor.alias or tensor.key: tensor for tensor in read(path.parent / file)}
    missing = [tensor for tensor, file in shards.items() if tensor not in found[file]]
    if missing:
        name, file = missing[0], shards[missing[0]]
        raise BadInputError(
            f"{shown(path)}: tensor '{printable(name)}' is not in its shard '{printable(file)}' "
            f"({len(missing)} of {len(shards)} are missing); the shards are of another index"
        )
    return [_of_shard(found[file][tensor], file) for tensor, file in shards.items()]


def read_folder(path: Path, read: Reader) -> list[Tensor]:
    """Describe the tensors of a folder: those of its index, of its only file of weights, or of all its shards.

    Raises
    ------
    BadInputError
        When it is not clear what to read, or a shard is missing.
    """
    if any((path / name).exists() for name in ("saved_model.pb", "checkpoint.index")):
        raise BadInputError(f"{shown(path)} is a model of TensorFlow; save its weights as .npz or Keras .h5")
    if (path / ".metadata").exists():
        raise BadInputError(
            f"{shown(path)} is a distributed checkpoint of torch; make one file of it first "
            "(torch.distributed.checkpoint.format_utils.dcp_to_torch_save)"
        )
    indexes = sorted(path.glob("*.index.json"), key=lambda one: ("safetensors" not in one.name, one.name))
    if indexes:
        return read_index(indexes[0], read)
    files = sorted(one for one in path.iterdir() if one.is_file() and one.suffix.lower() in WEIGHTS)
    names = [one.name for one in files]
    alone = next((name for name in ALONE if name in names), names[0] if len(names) == 1 else None)
    if alone is not None:
        return read(path / alone)
    if not files:
        raise BadInputError(f"{shown(path)} is a folder without weights; give a file, or a folder with an index")
    shards = [SHARD.match(name) for name in names]
    sets = {(one[1], one[3], one[4]) for one in shards if one}
    if all(shards) and len(sets) == 1:
        missing = _missing(names[0], names)
        if missing:
            raise BadInputError(f"{shown(path)}: shard '{printable(missing[0])}' is missing")
        return [_of_shard(tensor, one.name) for one in files for tensor in read(one)]
    listed = ", ".join(map(printable, names[:4])) + (", ..." if len(names) > 4 else "")
    raise BadInputError(f"{shown(path)} is a folder of {len(names)} files of weights ({listed}); give one of them")


def note_on_shard(path: Path) -> str:
    """Say that a file is one shard of several; empty for a file that is not."""
    found = SHARD.match(path.name)
    if found is None or int(found[3]) < 2:
        return ""
    return f"{shown(path)} is shard {int(found[2])} of {int(found[3])}; give the folder or the index for all"


def _missing(one: str, names: Iterable[str]) -> list[str]:
    found, present = SHARD.match(one), set(names)
    if found is None:
        return []
    digits, total = len(found[2]), int(found[3])
    if total > len(present):
        expected = (f"{found[1]}-{number:0{digits}}-of-{found[3]}{found[4]}" for number in range(total + 1))
        absent = [name for _, name in zip(range(len(present) + 2), expected, strict=False) if name not in present]
        return absent[1:] if f"{found[1]}-{0:0{digits}}-of-{found[3]}{found[4]}" not in present else absent
    return []


def _of_shard(tensor: Tensor, file: str) -> Tensor:
    storage = None if tensor.storage is None else (file, tensor.storage)
    return dataclasses.replace(tensor, storage=storage)
