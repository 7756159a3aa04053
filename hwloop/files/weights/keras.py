"""Weights of Keras: HDF5 files of both layouts, and .keras archives."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from hwloop.errors import BadInputError, said
from hwloop.files.hdf5 import open_any
from hwloop.files.weights.content import Content, content_of, shown, unreadable
from hwloop.mapping.tensors import Tensor
from hwloop.typing import AnyArray

VARIABLES = {
    "dense": ("kernel", "bias"),
    "conv1d": ("kernel", "bias"), "conv2d": ("kernel", "bias"), "conv3d": ("kernel", "bias"),
    "conv1d_transpose": ("kernel", "bias"), "conv2d_transpose": ("kernel", "bias"),
    "conv3d_transpose": ("kernel", "bias"),
    "depthwise_conv1d": ("depthwise_kernel", "bias"), "depthwise_conv2d": ("depthwise_kernel", "bias"),
    "separable_conv1d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "embedding": ("embeddings",),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "layer_normalization": ("gamma", "beta"),
    "lstm_cell": ("kernel", "recurrent_kernel", "bias"), "gru_cell": ("kernel", "recurrent_kernel", "bias"),
    "simple_rnn_cell": ("kernel", "recurrent_kernel", "bias"),
}  # fmt: skip
"""What the numbered variables of a layer are, by its class, in files of Keras 3."""


def read_keras(path: Path) -> list[Tensor]:
    """Describe the weights in an HDF5 file or a .keras archive of Keras.

    Raises
    ------
    BadInputError
        For a file that is damaged or of something else.
    """
    with _opened(path) as file:
        if "format" in file.attrs:
            kind = str(file.attrs["format"])
            raise BadInputError(f"{shown(path)} is a file of another kind ({kind}), not weights")
        found: list[tuple[str, tuple[int, ...], str]] = []

        def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Dataset) and item.shape is not None:
                found.append((name, tuple(item.shape), str(item.dtype.newbyteorder("="))))

        file.visititems(visit)
        marks = {"keras_version", "layer_names", "backend"} & set(file.attrs)
        modern = any("/vars/" in f"/{name}" for name, _, _ in found)
        if not marks and not modern and "model_weights" not in file:
            raise BadInputError(
                f"{shown(path)} is an HDF5 file, and not one of Keras: the order of its axes is not known; "
                "save its arrays as .npz"
            )
    kept = [row for row in found if not row[0].startswith(("optimizer", "seed_generator", "metrics"))]
    return [Tensor(plain_name(name), shape, dtype, _dataset(path, name), alias=name) for name, shape, dtype in kept]


def plain_name(name: str) -> str:
    """Give a variable of a Keras file the name that it has in Keras, such as dense/kernel."""
    parts = name.removeprefix("model_weights/").removesuffix(":0").split("/")
    if len(parts) >= 3 and parts[-2] == "vars" and parts[-1].isdigit():
        layer = re.sub(r"_\d+$", "", parts[-3])
        if layer == "cell" and len(parts) >= 4:
            layer = re.sub(r"_\d+$", "", parts[-4]) + "_cell"
        known = VARIABLES.get(layer, ())
        number = int(parts[-1])
        if number < len(known):
            parts = [*parts[:-2], known[number]]
        parts = parts[1:] if parts[0] in ("layers", "_layer_checkpoint_dependencies") and len(parts) > 2 else parts
    return "/".join(part for before, part in zip([None, *parts], parts, strict=False) if part != before)


def _dataset(path: Path, name: str) -> Callable[[], AnyArray]:
    def load() -> AnyArray:
        with _opened(path) as file:
            values: AnyArray = file[name][()]
            return values

    return load


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        if content_of(path) is Content.KERAS:
            with (
                zipfile.ZipFile(path) as archive,
                tempfile.TemporaryDirectory() as folder,
                open_any(archive.extract("model.weights.h5", folder)) as file,  # which compares its checksum
            ):
                yield file
        else:
            with open_any(path) as file:
                yield file
    except BadInputError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, SystemError) as error:  # what h5py makes of damage
        raise unreadable(path, f"{said(error)}; save it again") from None
