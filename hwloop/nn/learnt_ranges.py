"""Input ranges that retraining has learnt, in the metadata of the weights' file, or aihwkit, among its tensors.

A .safetensors file carries texts beside its tensors. Ranges stand there under their own key, so that any program loads
the weights as before, and `hwloop deploy` finds the ranges with them.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from hwloop.errors import BadInputError, WeightsNote, first_line, printable
from hwloop.files.output import check_writable, write_file
from hwloop.files.weights.loading import read_ranges
from hwloop.typing import Json

KEY = "hwloop-input-ranges"
"""Key of the metadata: a JSON object of the input that is driven fully, in the network's units, by matrix."""


RUN_KEY = "hwloop-run"
"""Key of the metadata: what tells the training that wrote the file from every other."""


def save_weights(
    path: str | Path, state: Mapping[str, torch.Tensor], ranges: Mapping[str, float], *, force: bool = False
) -> None:
    """Write a state dict with learnt input ranges.

    Parameters
    ----------
    path
        File to write; it must end in .safetensors.
    state
        Tensors by name; those that share memory are written each by itself.
    ranges
        Input that is driven fully, by the name of the matrix.
    force
        Replace an existing file.

    Raises
    ------
    BadInputError
        For another ending, and a file that exists or cannot be written.
    """
    write_file(check_weights_path(path, force=force), weights_content(state, ranges), force=force)


def weights_content(state: Mapping[str, torch.Tensor], ranges: Mapping[str, float], run: str = "") -> bytes:
    """Return the content of a weights file as of `save_weights`; `run` tells the training from every other."""
    from safetensors.torch import save

    tensors = {name: value.detach().to("cpu").clone().contiguous() for name, value in state.items()}
    return save(tensors, {KEY: json.dumps(dict(ranges), allow_nan=False)} | ({RUN_KEY: run} if run else {}))


def run_of_weights(path: str | Path) -> str:
    """Return what tells the training of a weights file from every other; empty for a file of something else."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return str((file.metadata() or {}).get(RUN_KEY, ""))
    except (OSError, SafetensorError):
        return ""


def check_weights_path(path: str | Path, *, force: bool) -> Path:
    """Return the path once it is known that weights can be written there. Raises BadInputError otherwise."""
    if Path(path).suffix != ".safetensors":
        raise BadInputError(f"{path}: weights are written as .safetensors; give a name that ends so")
    return check_writable(path, force=force)


def read_input_ranges(path: str | Path) -> dict[str, float]:
    """Read the learnt input ranges of a file of weights, of hwloop or of aihwkit; empty where it has none.

    Parameters
    ----------
    path
        File of weights of any kind.

    Returns
    -------
    dict
        Input that is driven fully, by the name of the matrix as `hwloop.nn.convert.matrices_of` gives it.

    Raises
    ------
    BadInputError
        For a .safetensors file that cannot be read, and for ranges that are no positive numbers.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.suffix.lower() != ".safetensors":
        return _of_aihwkit(path)
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(KEY, "{}")
    except (OSError, SafetensorError) as error:
        raise BadInputError(f"{path} is not a readable .safetensors file ({first_line(error)})") from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not (isinstance(found, dict) and all(map(_is_range, found.values()))):
        raise BadInputError(f"{path}: its metadata '{KEY}' are no ranges by matrix; write it again with hwloop retrain")
    return {name: float(value) for name, value in found.items()} or _of_aihwkit(path)


def _of_aihwkit(path: Path) -> dict[str, float]:
    """Read the ranges that aihwkit has learnt; of a layer on several tiles that differ the largest, with a note."""
    found = read_ranges(path)
    for name, ranges in found.items():
        if np.ptp(ranges) > 1e-6 * ranges.max():
            several = f"its {ranges.size} tiles have input ranges from {ranges.min():.4g} to {ranges.max():.4g}"
            warnings.warn(f"'{printable(name)}': {several}; the largest is taken", WeightsNote, stacklevel=2)
    return {name: float(ranges.max()) for name, ranges in found.items()}


def _is_range(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
