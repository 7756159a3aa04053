"""Files of torch and of safetensors: headers first, values when they are asked for, and never through pickle."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hwloop.errors import BadInputError, printable, said
from hwloop.files.weights.content import PLAIN, shown, unreadable
from hwloop.files.weights.nested import Node, network_in
from hwloop.mapping.tensors import Tensor, torch_tensor

if TYPE_CHECKING:
    import torch


DTYPES = {"BOOL": "bool", "C64": "complex64"}
"""What messages call kinds of numbers whose names in safetensors say little."""


TENSORS_ALONE = "save {k: v for k, v in model.state_dict().items() if torch.is_tensor(v)} with torch.save"
"""What to do with a network of aihwkit."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive of torch may unpack to."""

    growth: int = 4
    """Bytes unpacked for each byte of the file; torch itself does not compress."""


def read_safetensors(path: Path) -> list[Tensor]:
    """Describe the tensors of a .safetensors file.

    Raises
    ------
    BadInputError
        For a file that is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  no mapping
            return [
                Tensor(name, tuple(one.get_shape()), DTYPES.get(one.get_dtype(), one.get_dtype()), _slice(path, name))
                for name, one in slices.items()
            ]
    except (SafetensorError, ValueError, OSError, KeyError) as error:
        raise unreadable(path, f"{said(error)}; save it again") from None


def _slice(path: Path, name: str) -> Callable[[], torch.Tensor]:
    def load() -> torch.Tensor:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                values: torch.Tensor = file.get_tensor(name)
                return values
        except (SafetensorError, ValueError, OSError, KeyError, TypeError) as error:
            raise unreadable(path, f"tensor '{printable(name)}': {said(error)}; save it again") from None

    return load


def read_torch(path: Path, limits: ArchiveLimits | None = None) -> list[Tensor]:
    """Describe the tensors of a file of torch: a tensor, a state dict, or a checkpoint that holds one.

    Raises
    ------
    BadInputError
        For a file that is damaged, holds anything but plain data, or no tensors.
    """
    import torch

    loaded = _loaded(path, limits or ArchiveLimits())
    if isinstance(loaded, torch.Tensor):
        loaded = {path.stem: loaded}
    if isinstance(loaded, Sequence):
        loaded = _of_sequence(loaded) or loaded
    if not isinstance(loaded, Mapping):
        raise BadInputError(f"{shown(path)}: expected a tensor or a state dict, found {type(loaded).__name__}")
    return network_in(_tree(loaded))


def _loaded(path: Path, limits: ArchiveLimits) -> object:
    """Load plain data and tensors, and nothing else."""
    import torch

    archive = zipfile.is_zipfile(path)
    if archive:
        with zipfile.ZipFile(path) as opened:
            unpacked = sum(member.file_size for member in opened.infolist())
        if unpacked > limits.growth * path.stat().st_size:
            raise unreadable(path, f"it would unpack to {unpacked} bytes; torch does not compress; save it again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says of kinds of tensors, which are refused by name
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
        except Exception as error:  # a damaged stream makes torch's unpickler fail in any way at all
            raise _refusal(path, str(error)) from None


def _refusal(path: Path, said: str) -> BadInputError:
    """Say in one line of hwloop's own what torch refused to load."""
    found = re.search(
        r"(?:GLOBAL|Trying to (?:load|instantiate|call)[^.\n]*?(?:class|method|type)?)\s+([\w.]+\.\w+)", said
    )
    if found or "weights_only" in said or "nsupported" in said:
        what = f" ({printable(found[1])})" if found else ""
        if found and found[1].startswith("aihwkit."):  # whose own state dicts hold its settings
            return unreadable(path, f"it holds objects of aihwkit{what}, which hwloop never unpickles; {TENSORS_ALONE}")
        return unreadable(path, f"it holds Python objects{what}, which hwloop never unpickles; {PLAIN}")
    return unreadable(path, f"it is damaged or cut off; {PLAIN} again")


def _tree(loaded: Mapping[object, object]) -> Node:
    """Turn what torch loaded into named tensors and named parts; all else is of no interest."""
    import torch

    node = Node()
    for key, value in loaded.items():
        if isinstance(value, torch.Tensor):
            node.tensors[str(key)] = torch_tensor(str(key), value)
        elif isinstance(value, Mapping):
            node.parts[str(key)] = _tree(value)
        elif isinstance(value, Sequence) and (named := _of_sequence(value)):
            part = node.parts[str(key)] = _tree(named)
            if isinstance(value, tuple) and "weight" in part.tensors:  # aihwkit keeps kernels as matrices
                part.tensors["weight"] = replace(part.tensors["weight"], flat=True)
        node.keys.add(str(key))
    return node


def _of_sequence(values: Sequence[object]) -> dict[object, object]:
    """Name tensors in a row by their numbers; a weight with its bias or None, as aihwkit's get_weights, as a layer's.

    Empty for a sequence of anything else.
    """
    import torch

    there = [one for one in values if isinstance(one, torch.Tensor)]
    weight, bias = values if isinstance(values, tuple) and len(values) == 2 else (None, None)
    if isinstance(weight, torch.Tensor) and weight.ndim > 1:
        if bias is None:
            return {"weight": weight}
        if isinstance(bias, torch.Tensor) and bias.shape == weight.shape[:1]:
            return {"weight": weight, "bias": bias}
    return dict(enumerate(values)) if len(there) == len(values) else {}
