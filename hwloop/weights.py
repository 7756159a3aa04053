"""Trained weights from files: .npy, .npz, .safetensors and .pt, never through pickle."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwloop.errors import BadInputError

LAYOUTS = ("outputs-first", "inputs-first")


@dataclass(frozen=True)
class Matrix:
    """One weight matrix as a crossbar sees it.

    name    tensor name in its file
    values  (inputs, outputs) float64: inputs drive rows, outputs are columns
    """

    name: str
    values: NDArray[np.float64]


def load_weights(path: str | Path, tensor: str | None = None, layout: str = "outputs-first") -> list[Matrix]:
    """All weight matrices of a file, or the one called `tensor`.

    A two-dimensional tensor is (outputs, inputs), as torch stores it; `layout="inputs-first"` turns that round.
    Tensors of three or more dimensions are convolution kernels (outputs, inputs x kernel). One-dimensional tensors
    of a file with several (biases, normalisation) stay digital and are passed over.

    Raises BadInputError, naming the file and the tensor, for anything that cannot be programmed.
    """
    path = Path(path)
    if layout not in LAYOUTS:
        raise BadInputError(f"unknown layout '{layout}'; known: {', '.join(LAYOUTS)}")
    if not path.exists():
        raise BadInputError(f"{path}: no such file")
    if path.is_dir():
        raise BadInputError(f"{path} is a folder; expected a .npy, .npz, .safetensors or .pt file")
    loader = _LOADERS.get(path.suffix.lower())
    if loader is None:
        raise BadInputError(f"{path}: unknown kind of weights '{path.suffix}'; expected {', '.join(_LOADERS)}")
    return matrices(loader(path), source=str(path), tensor=tensor, layout=layout)


def matrices(
    tensors: Mapping[str, ArrayLike], source: str = "weights", tensor: str | None = None, layout: str = "outputs-first"
) -> list[Matrix]:
    """Weight matrices from arrays by name, with the rules of `load_weights`; `source` is named in errors."""
    if not tensors:
        raise BadInputError(f"{source}: holds no tensors")
    if tensor is not None:
        if tensor not in tensors:
            raise BadInputError(f"{source}: no tensor '{tensor}'; it holds {', '.join(tensors)}")
        return [_matrix(tensor, tensors[tensor], source, layout)]
    chosen = {name: values for name, values in tensors.items() if np.ndim(values) >= 2} or dict(tensors)
    return [_matrix(name, values, source, layout) for name, values in chosen.items()]


def fingerprint(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal text."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _matrix(name: str, values: ArrayLike, source: str, layout: str) -> Matrix:
    array, where = np.asarray(values), f"{source}: tensor '{name}'"
    if array.dtype == bool or not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise BadInputError(f"{where} holds {array.dtype} values; expected real numbers")
    if array.ndim < 2:
        raise BadInputError(f"{where} has the shape {array.shape}; a weight matrix needs two dimensions or more")
    if not array.size:
        raise BadInputError(f"{where} is empty (shape {array.shape})")
    array = array.reshape(array.shape[0], -1).astype(np.float64)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise BadInputError(f"{where} has {len(bad)} NaN or infinite values, the first at {tuple(map(int, bad[0]))}")
    if not np.any(array):
        raise BadInputError(f"{where} is all zero; there is nothing to program")
    return Matrix(name, np.ascontiguousarray(array if layout == "inputs-first" else array.T))


# ---- one loader per kind of file -----------------------------------------------------------------------------


@contextmanager
def _readable(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise BadInputError(f"{path} cannot be read: permission denied") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        hint = "it holds Python objects, which hwloop never unpickles" if "allow_pickle" in str(error) else str(error)
        raise BadInputError(f"{path} is not a readable {what} file ({hint}); save it again as plain arrays") from None


def _npy(path: Path) -> dict[str, NDArray[Any]]:
    with _readable(path, ".npy"), path.open("rb") as stream:
        return {path.stem: np.load(stream, allow_pickle=False)}


def _npz(path: Path) -> dict[str, NDArray[Any]]:
    # numpy leaves a file that it opened itself, and then cannot read, open.
    with _readable(path, ".npz"), path.open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array; call it .npy")
        with archive:
            return {name: archive[name] for name in archive.files}


def _safetensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with _readable(path, ".safetensors"):
        try:
            return _from_torch(load_file(path), path)
        except SafetensorError as error:
            raise ValueError(str(error)) from None


def _torch(path: Path) -> dict[str, NDArray[Any]]:
    import torch

    with _readable(path, ".pt"):
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # a damaged stream makes torch's unpickler fail in any way at all
            raise ValueError(f"{type(error).__name__} {error}".splitlines()[0]) from None
    if isinstance(loaded, torch.Tensor):
        loaded = {path.stem: loaded}
    if not isinstance(loaded, Mapping):
        raise BadInputError(f"{path}: expected a tensor or a state dict, found {type(loaded).__name__}")
    return _from_torch({str(k): v for k, v in loaded.items() if isinstance(v, torch.Tensor)}, path)


def _from_torch(tensors: Mapping[str, Any], path: Path) -> dict[str, NDArray[Any]]:
    # numpy has no bfloat16 or float8: widen every floating tensor.
    arrays = {}
    for name, tensor in tensors.items():
        if tensor.is_quantized or str(tensor.layout) != "torch.strided" or tensor.is_meta:
            raise BadInputError(f"{path}: tensor '{name}' is sparse, quantised or without values; save it dense")
        arrays[name] = (tensor.double() if tensor.is_floating_point() else tensor).detach().numpy()
    return arrays


_LOADERS = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".pt": _torch}
