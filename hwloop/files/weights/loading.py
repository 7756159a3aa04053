"""From a file, a folder or an index of weights to tensors, to a plain state dict, and to matrices."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwloop.errors import BadInputError, WeightsNote
from hwloop.files.weights.arrays import read_npy, read_npz
from hwloop.files.weights.checkpoints import read_safetensors, read_torch
from hwloop.files.weights.content import Content, content_of, shown
from hwloop.files.weights.graphs import read_onnx
from hwloop.files.weights.keras import read_keras
from hwloop.files.weights.shards import note_on_shard, read_folder, read_index
from hwloop.files.weights.text import read_text
from hwloop.mapping.activations import CORESET
from hwloop.mapping.aihwkit import RANGE, layers_of_aihwkit
from hwloop.mapping.choice import Choice, LayoutLike, TensorLike, renamed
from hwloop.mapping.matrix import Matrix, Room, matrices_of
from hwloop.mapping.names import without_wrappers
from hwloop.mapping.tensors import Tensor
from hwloop.typing import FloatArray

if TYPE_CHECKING:
    from hwloop.mapping.tensors import Values

READERS: dict[Content, Callable[[Path], list[Tensor]]] = {
    Content.NPY: read_npy,
    Content.NPZ: read_npz,
    Content.SAFETENSORS: read_safetensors,
    Content.TORCH: read_torch,
    Content.HDF5: read_keras,
    Content.KERAS: read_keras,
    Content.ONNX: read_onnx,
    Content.TEXT: read_text,
}
"""What reads each kind of file."""


def read_state_dict(path: str | Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Values]:
    """Read a file of weights into a plain state dict, as it can be loaded into a module.

    Parameters
    ----------
    path
        File, folder or index of shards; docs/weights.md lists the kinds. A nested state dict is found by its shape.
    shapes
        Those of the network, where it is known: kernels that aihwkit keeps as matrices get them back.

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
    path, tensors = Path(path), layers_of_aihwkit(read_tensors(path))
    kept = [tensor for tensor in tensors if not tensor.aside]
    if not kept:
        why = f": '{tensors[0].name}' {tensors[0].aside}" if tensors else ""
        raise BadInputError(f"{shown(path)}: holds no network{why}; save the state_dict() of one")
    for tensor in kept:
        if tensor.trouble:
            raise BadInputError(f"{shown(path)}: tensor '{tensor.name}' {tensor.trouble}")
    return {tensor.key: _shaped(tensor, (shapes or {}).get(tensor.key)) for tensor in kept}


def read_ranges(path: str | Path) -> dict[str, FloatArray]:
    """Read the input ranges that a network of aihwkit has learnt: those of all tiles, by the layer's weights."""
    found = (tensor for tensor in layers_of_aihwkit(read_tensors(path)) if tensor.aside == RANGE)
    return {f"{one.key.removesuffix('input_range')}weight": np.asarray(one.load(), np.float64) for one in found}


def _shaped(tensor: Tensor, shape: tuple[int, ...] | None) -> Values:
    """Load a tensor; a kernel that lies in it as a matrix gets the shape that it has in the network."""
    values = tensor.load()
    fits = tensor.flat and shape is not None and shape[:1] == tensor.shape[:1] and math.prod(shape) == tensor.size
    return values.reshape(shape) if fits and shape is not None else values


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
    elif not path.is_file():
        raise BadInputError(f"{shown(path)} is a device or a pipe; give a file")
    elif content_of(path) is Content.INDEX:
        tensors = read_index(path, _read_file)
    else:
        tensors = _read_file(path)
    return renamed(tensors, without_wrappers(tensor.key for tensor in tensors if not tensor.aside))


def _read_file(path: Path) -> list[Tensor]:
    content = content_of(path)
    if content is Content.INDEX:
        raise BadInputError(f"{shown(path)} is an index, where a file of weights is expected")
    tensors = READERS[content](path)
    if any(tensor.key == CORESET for tensor in tensors):
        raise BadInputError(f"{shown(path)} is a coreset of activations, not weights; --inputs and --dataset take it")
    return tensors


def load_weights(
    path: str | Path,
    tensor: TensorLike = None,
    layout: LayoutLike = None,
    merge_lora: float | None = None,
    room: Room | None = None,
) -> list[Matrix]:
    """Load the weight matrices of a file, or those of the given names.

    What a file is follows from its content, and which of its tensors are weights from names, shapes and kinds of
    numbers (docs/weights.md). Biases and other vectors stay digital; what else is passed over is told by a
    `hwloop.errors.WeightsNote`, a warning.

    Parameters
    ----------
    path
        File, folder or index of shards: of numpy, torch, safetensors, Keras or ONNX.
    tensor
        Name or pattern (``"encoder.*"``) of those to load, or several; all weights where there is none.
    layout
        'outputs-first', as torch stores matrices, or 'inputs-first', for all; or one of these, 'depthwise' or
        'transposed' by name or pattern. None: as names, shapes and biases tell, outputs first where they do not.
    merge_lora
        Factor before B A (lora_alpha / r) with which low-rank adapters are added to their weights; None leaves both
        halves as matrices of their own.
    room
        What the chip can hold that they are for: more is refused by its shape, before its values are read.

    Raises
    ------
    BadInputError
        Naming the file and the tensor, for anything that cannot be programmed.
    """
    path, choice = Path(path), Choice.of(tensor, layout)
    tensors = read_tensors(path)
    if len(tensors) == 1:
        lone = path.is_file() and content_of(path) in (Content.NPY, Content.TEXT)
        tensors = [dataclasses.replace(tensors[0], alone=lone)]
    made = matrices_of(tensors, shown(path), choice, merge_lora, room=room)
    note = note_on_shard(path)
    if note:
        warnings.warn(note, WeightsNote, stacklevel=2)
    return made
