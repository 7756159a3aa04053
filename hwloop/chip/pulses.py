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
        if not self.devices.shape == self.amplitude.shape == self.width.shape:
            raise BadInputError(
                f"pulse: expected one amplitude and width per device, got {self.devices.shape} devices, "
                f"{self.amplitude.shape} amplitudes and {self.width.shape} widths"
            )

    @classmethod
    def make(cls, kind: PulseKind, devices: ArrayLike, amplitude: ArrayLike, width: ArrayLike) -> Self:
        """Build a batch; scalar amplitudes (uA) and widths (ns) are repeated for every device."""
        index = device_indices(devices)
        try:
            amplitudes = np.broadcast_to(np.asarray(amplitude, np.float64), index.shape)
            widths = np.broadcast_to(np.asarray(width, np.float64), index.shape)
        except (TypeError, ValueError) as error:
            raise BadInputError(f"pulse: amplitude and width must fit {index.size} devices: {error}") from error
        return cls(kind, index, amplitudes, widths)

    def __len__(self) -> int:
        return int(self.devices.size)


def device_indices(devices: ArrayLike) -> IndexArray:
    """Device indices as int64. Raises BadInputError for what is not a list of integers: nothing is rounded."""
    index = np.asarray(devices)
    if index.ndim != 1 or (index.size and not np.issubdtype(index.dtype, np.integer)):
        raise BadInputError(f"device indices must be a 1-D array of integers, not {index.dtype} of shape {index.shape}")
    return index.astype(np.int64)
