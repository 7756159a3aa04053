"""From a file, a folder or an index of weights to tensors, to a plain state dict, and to matrices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hwloop.errors import BadInputError
from hwloop.files.weights.arrays import read_npy, read_npz
from hwloop.files.weights.checkpoints import read_safetensors, read_torch
from hwloop.files.weights.content import Content, content_of, shown
from hwloop.files.weights.keras import read_keras
from hwloop.files.weights.shards import read_folder, read_index
from hwloop.mapping.matrix import Matrix, matrices
from hwloop.mapping.names import without_wrappers
from hwloop.mapping.tensors import Tensor, numbers

if TYPE_CHECKING:
    from hwloop.mapping.tensors import Values

READERS: dict[Content, Callable[[Path], list[Tensor]]] = {
    Content.NPY: read_npy,
    Content.NPZ: read_npz,
    Content.SAFETENSORS: read_safetensors,
    Content.TORCH: read_torch,
    Content.HDF5: read_keras,
    Content.KERAS: read_keras,
}
"""What reads each kind of file."""


def read_state_dict(path: str | Path) -> dict[str, Values]:
    """Read a file of weights into a plain state dict, as it can be loaded into a module.

    Parameters
    ----------
    path
        File, folder or index of shards; docs/weights.md lists the kinds. A nested state dict is found by its shape.

    Returns
    -------
    dict
        Torch tensors, on the CPU, from files of torch and of safetensors, numpy arrays from others, with the values and
        names as they are stored, but without what wrappers such as DataParallel have put into the names.

    Raises
    ------
    BadInputError
        For a file that cannot be read, and for one that holds several networks of the same names.
    """
    path, tensors = Path(path), read_tensors(path)
    kept = [tensor for tensor in tensors if not tensor.aside]
    if not kept:
        why = f": '{tensors[0].name}' {tensors[0].aside}" if tensors else ""
        raise BadInputError(f"{shown(path)}: holds no network{why}; save the state_dict() of one")
    for tensor in kept:
        if tensor.trouble:
            raise BadInputError(f"{shown(path)}: tensor '{tensor.name}' {tensor.trouble}")
    return {tensor.key: tensor.load() for tensor in kept}


def read_tensors(path: str | Path) -> list[Tensor]:
    """Describe all tensors of a file, a folder or an index of shards, by their plain names.

    Raises
    ------
    BadInputError
        For what cannot be read, with the way out.
    """
    path = Path(path)
    if path.is_dir():
        tensors = read_folder(path, _read_file)
    elif not path.exists():
        raise BadInputError(f"{shown(path)}: no such file")
    elif content_of(path) is Content.INDEX:
        tensors = read_index(path, _read_file)
    else:
        tensors = _read_file(path)
    plain = without_wrappers(tensor.key for tensor in tensors if not tensor.aside)
    return [
        tensor
        if tensor.aside or plain[tensor.key] == tensor.key
        else dataclasses.replace(tensor, key=plain[tensor.key], alias=tensor.alias or tensor.key)
        for tensor in tensors
    ]


def _read_file(path: Path) -> list[Tensor]:
    content = content_of(path)
    if content is Content.INDEX:
        raise BadInputError(f"{shown(path)} is an index, where a file of weights is expected")
    return READERS[content](path)


def load_weights(path: str | Path, tensor: str | None = None, layout: str = "outputs-first") -> list[Matrix]:
    """Load all weight matrices of a file, or the one called `tensor`."""
    tensors = [one for one in read_tensors(path) if not one.aside]
    for one in tensors:
        if one.trouble:
            raise BadInputError(f"{shown(Path(path))}: tensor '{one.name}' {one.trouble}")
    return matrices({one.key: numbers(one) for one in tensors}, source=str(path), tensor=tensor, layout=layout)
