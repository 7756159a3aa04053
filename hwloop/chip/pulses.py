"""Batches of programming pulses, checked when they are made."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from hwloop.errors import BadInputError
from hwloop.typing import FloatArray, IndexArray


class PulseKind(enum.Enum):
    """RESET melts and quenches (lowers the conductance); SET crystallises (raises it)."""

    SET = "SET"
    RESET = "RESET"


@dataclass(frozen=True)
class Pulses:
    """One batch of programming pulses of one kind, at most one pulse per device.

    devices    (n,) flat device indices within the core
    amplitude  (n,) peak current, uA
    width      (n,) duration, ns
    """

    kind: PulseKind
    devices: IndexArray
    amplitude: FloatArray
    width: FloatArray

    def __post_init__(self) -> None:
        """Check what no driver shall have to: a kind that exists, and one amplitude and width per device."""
        if not isinstance(self.kind, PulseKind):
            raise BadInputError(f"pulse: kind must be PulseKind.SET or PulseKind.RESET, not {self.kind!r}")
        for name, array, kinds in (
            ("devices", self.devices, "iu"),
            ("amplitude", self.amplitude, "f"),
            ("width", self.width, "f"),
        ):
            if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
                raise BadInputError(f"pulse: {name} is no array of the right type; use Pulses.make, which converts")
        if not self.devices.shape == self.amplitude.shape == self.width.shape:
            raise BadInputError(
                f"pulse: expected one amplitude and width per device, got {self.devices.shape} devices, "
                f"{self.amplitude.shape} amplitudes and {self.width.shape} widths"
            )

    @classmethod
    def make(cls, kind: PulseKind, devices: ArrayLike, amplitude: ArrayLike, width: ArrayLike) -> Self:
        """Build a batch; scalar amplitudes (uA) and widths (ns) are repeated for every device.

        Raises
        ------
        BadInputError
            For a kind that does not exist, devices that are no list of integers, and amplitudes or widths that are
            no numbers or do not fit the devices.
        """
        index = device_indices(devices)
        try:
            amplitudes = np.broadcast_to(real_numbers(amplitude, "amplitudes"), index.shape)
            widths = np.broadcast_to(real_numbers(width, "widths"), index.shape)
        except ValueError as error:  # BadInputError is one
            raise BadInputError(f"pulse: amplitude and width must fit {index.size} devices: {error}") from error
        return cls(kind, index, amplitudes, widths)

    def __len__(self) -> int:
        return int(self.devices.size)


def device_indices(devices: ArrayLike) -> IndexArray:
    """Return device indices (n,) as int64; nothing is rounded.

    Raises
    ------
    BadInputError
        For what is not a list of integers.
    """
    try:
        index = np.asarray(devices)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInputError(f"device indices must be a 1-D array of integers: {error}") from error
    kinds = "iu" if index.size else "iuf"  # an empty list is an array of floats to numpy
    if index.ndim != 1 or index.dtype.kind not in kinds:
        raise BadInputError(f"device indices must be a 1-D array of integers, not {index.dtype} of shape {index.shape}")
    if index.size and index.max() > np.iinfo(np.int64).max:
        raise BadInputError(f"device index {index.max()} is beyond any core")
    return index.astype(np.int64)


def real_numbers(values: ArrayLike, what: str) -> FloatArray:
    """Return an array of any shape as float64.

    Raises
    ------
    BadInputError
        For what is not an array of integers or floats: texts, truth values, complex numbers and objects are refused,
        even those that numpy would convert. Its message begins with `what`.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInputError(f"{what} must be real numbers: {error}") from error
    if array.dtype.kind not in "iuf":
        raise BadInputError(f"{what} must be real numbers, not {array.dtype}")
    return array.astype(np.float64, copy=False)
