"""Trained weights from files: .npy, .npz, .safetensors and .pt, never through pickle."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hwloop.errors import BadInputError
from hwloop.mapping.matrix import Matrix, matrices
from hwloop.typing import AnyArray

if TYPE_CHECKING:
    import torch


def load_weights(path: str | Path, tensor: str | None = None, layout: str = "outputs-first") -> list[Matrix]:
    """Load all weight matrices of a file, or the one called `tensor`.

    A two-dimensional tensor is (outputs, inputs), as torch stores it; `layout="inputs-first"` turns that round.
    Tensors of three or more dimensions are convolution kernels (outputs, inputs x kernel). One-dimensional tensors
    of a file with several (biases, normalisation) stay digital and are passed over.

    Parameters
    ----------
    path
        File of the kind that its name ends in: .npy, .npz, .safetensors or .pt.
    tensor
        Name of the one to load; all of them where there is none.
    layout
        Order of the dimensions, one of `LAYOUTS`.

    Raises
    ------
    BadInputError
        Naming the file and the tensor, for anything that cannot be programmed.
    """
    path = Path(path)
    if not path.exists():
        raise BadInputError(f"{path}: no such file")
    if path.is_dir():
        raise BadInputError(f"{path} is a folder; expected a .npy, .npz, .safetensors or .pt file")
    loader = _LOADERS.get(path.suffix.lower())
    if loader is None:
        raise BadInputError(f"{path}: unknown kind of weights '{path.suffix}'; expected {', '.join(_LOADERS)}")
    return matrices(loader(path), source=str(path), tensor=tensor, layout=layout)


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


def _npy(path: Path) -> dict[str, AnyArray]:
    with _readable(path, ".npy"), path.open("rb") as stream:
        return {path.stem: np.load(stream, allow_pickle=False)}


def _npz(path: Path) -> dict[str, AnyArray]:
    # numpy leaves a file that it opened itself, and then cannot read, open.
    with _readable(path, ".npz"), path.open("rb") as stream:
        archive = np.load(stream, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array; call it .npy")
        with archive:
            return {name: archive[name] for name in archive.files}


def _safetensors(path: Path) -> dict[str, AnyArray]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with _readable(path, ".safetensors"):
        try:
            return _from_torch(load_file(path), path)
        except SafetensorError as error:
            raise ValueError(str(error)) from None


def _torch(path: Path) -> dict[str, AnyArray]:
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


def _from_torch(tensors: Mapping[str, torch.Tensor], path: Path) -> dict[str, AnyArray]:
    # numpy has no bfloat16 or float8: widen every floating tensor.
    arrays = {}
    for name, tensor in tensors.items():
        if tensor.is_quantized or str(tensor.layout) != "torch.strided" or tensor.is_meta:
            raise BadInputError(f"{path}: tensor '{name}' is sparse, quantised or without values; save it dense")
        arrays[name] = (tensor.double() if tensor.is_floating_point() else tensor).detach().numpy()
    return arrays


_LOADERS = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".pt": _torch}


def read_state_dict(path: str | Path) -> dict[str, AnyArray]:
    """Read a file of weights into a plain state dict."""
    from safetensors.numpy import load_file

    return dict(load_file(path))
