"""The door of every job: weights, calibrations and activations, however they are given, become objects here."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.use import use_calibration
from hwloop.chip.backend import Backend
from hwloop.durations import parse_duration
from hwloop.errors import BadInputError
from hwloop.files.hashing import fingerprint
from hwloop.files.weights import load_weights
from hwloop.mapping.choice import Choice, LayoutLike, TensorLike
from hwloop.mapping.matrix import Matrix, Room, matrices_of
from hwloop.mapping.tensors import tensor_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Weights:
    """Weight matrices with their origin.

    Parameters
    ----------
    name
        File they came from, or what they are.
    sha256
        Fingerprint of the file, or of the arrays.
    matrices
        What a chip can hold.
    """

    name: str
    sha256: str
    matrices: tuple[Matrix, ...]


WeightsLike: TypeAlias = (
    "Weights | str | Path | ArrayLike | Mapping[str, ArrayLike] | Sequence[Matrix] | torch.nn.Module"
)
"""What weights may be given as: a file, an array, arrays by name, matrices, or a network."""


def weights_from(
    given: WeightsLike,
    tensor: TensorLike = None,
    layout: LayoutLike = None,
    merge_lora: float | None = None,
    room: Room | None = None,
) -> Weights:
    """Make weights of a file, an array, arrays by name, matrices or a torch module.

    Parameters
    ----------
    given
        What to program; see `hwloop.load_weights` for files and the rules for arrays. The layers of a module tell what
        its tensors are: groups of a convolution stand on a diagonal, look-up tables are passed over.
    tensor, layout, merge_lora, room
        As for `hwloop.load_weights`.

    Raises
    ------
    BadInputError
        For anything that cannot be programmed.
    """
    if isinstance(given, Weights):
        return given
    if isinstance(given, str | Path):
        made = load_weights(given, tensor, layout, merge_lora, room)
        return Weights(str(given), fingerprint(given) if Path(given).is_file() else "", tuple(made))
    if isinstance(given, Sequence) and given and all(isinstance(one, Matrix) for one in given):
        made = [one for one in given if isinstance(one, Matrix)]
        return Weights("matrices", _fingerprint(made), tuple(made))
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.nn.Module):
        from hwloop.mapping.modules import module_tensors

        name, choice = type(given).__name__, Choice.of(tensor, layout)
        made = matrices_of(module_tensors(given), name, choice, merge_lora)
        return Weights(name, _fingerprint(made), tuple(made))
    if isinstance(given, Mapping):
        name, described = "arrays", [tensor_of(str(key), values) for key, values in given.items()]
    else:
        name, described = "array", [tensor_of("weights", given)]  # type: ignore[arg-type]
    made = matrices_of(described, name, Choice.of(tensor, layout), merge_lora, strict=False)
    return Weights(name, _fingerprint(made), tuple(made))


def _fingerprint(made: Sequence[Matrix]) -> str:
    digest = hashlib.sha256()
    for matrix in made:
        digest.update(repr((matrix.name, matrix.values.shape)).encode())
        digest.update(np.ascontiguousarray(matrix.values).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class UsedCalibration:
    """A calibration with the file that it lies in; both texts are empty for one that was not saved."""

    calibration: Calibration
    name: str = ""
    sha256: str = ""


def calibration_from(given: UsedCalibration | Calibration | str | Path | None) -> UsedCalibration | None:
    """Load a calibration from its file, or take one as it is; None stays None.

    Raises
    ------
    BadInputError
        For a file that is no calibration.
    """
    if given is None or isinstance(given, UsedCalibration):
        return given
    if isinstance(given, Calibration):
        return UsedCalibration(given)
    return UsedCalibration(Calibration.load(given), str(given), fingerprint(given))


def calibration_in_use(
    given: UsedCalibration | Calibration | str | Path | None, chip: Backend
) -> UsedCalibration | None:
    """Load the calibration of an open chip, warn of what is out of date in it, and write its converter trims.

    Raises
    ------
    BadInputError
        For the calibration of another chip.
    """
    used = calibration_from(given)
    if used is not None:
        use_calibration(used.calibration, chip)
    return used


def seconds(duration: str | float) -> float:
    """Read a duration: seconds as a number, or a text such as '90min', '1d', '1y'.

    Raises
    ------
    BadInputError
        For a text that is no duration.
    """
    if isinstance(duration, str):
        return parse_duration(duration)
    if isinstance(duration, bool) or not isinstance(duration, int | float | np.number):
        raise BadInputError(f"{duration!r} is no duration; give seconds, or a text such as '1h'")
    return float(duration)
