"""Notice devices that do not answer to pulses, so that they are left alone and not hit harder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from hwloop.typing import AnyArray, BoolArray, FloatArray, IndexArray

UNRESPONSIVE_PULSES = 3
"""Pulses in a row that should have moved a device and did not, after which it counts as unresponsive."""


def unresponsive_streak(
    streak: AnyArray, moved: FloatArray, meant: FloatArray, noise: FloatArray | float, far: float = 4.0
) -> AnyArray:
    """Count the pulses in a row that should have moved devices and did not.

    A pulse says something only where the device was sent far away; there, one that went less than a quarter of the
    way did not answer. Any other pulse ends the row.

    Parameters
    ----------
    streak
        (n,) pulses in a row so far.
    moved, meant
        (n,) change of conductance that was seen, and the one that was meant, uS, of either sign.
    noise
        What pulses or reads scatter by, uS.
    far
        A device was sent far away where the change meant is more than this many times the noise.

    Returns
    -------
    ndarray
        (n,) pulses in a row with this one.
    """
    unmoved = (np.abs(meant) > far * noise) & (np.abs(moved) < 0.25 * np.abs(meant))
    return np.where(unmoved, streak + 1, 0)


@dataclass(frozen=True)
class AnswerToPulses:
    """What devices read after their pulses, against what their curves expected: the slope says whether they answer.

    One noisy read ends a row of pulses without an answer; this takes all pulses together, and a device that is asked
    for more than it has, on the flat end of its curve, is not expected to go anywhere.
    """

    sums: FloatArray
    """(5, devices) number of pulses, and the sums over them of the conductance expected, the one read, the square of
    the first and the product of both, in units of the scatter of reads."""
    enough: float = 100.0
    """Sum of squared deviations expected from which on an answer can be told from none: 10 standard deviations."""
    least: float = 0.2
    """Slope below which a device did not answer; one that does has a slope of about 1."""
    implausible: float = 5.0
    """Standard deviations of curves along the amplitude beyond which no device's own curve lies."""

    @classmethod
    def none(cls, devices: int) -> Self:
        """Begin with no pulse."""
        return cls(np.zeros((5, devices)))

    def add(self, devices: IndexArray, expected: FloatArray, read: FloatArray, noise: float) -> None:
        """Add a pulse of devices (n,): conductances (n,) expected and read, and what reads scatter by, uS."""
        x, y = expected / noise, read / noise
        self.sums[:, devices] += np.stack([np.ones_like(x), x, y, x * x, x * y])

    def missing(self) -> BoolArray:
        """Tell which devices (devices,) did not answer."""
        count, x, y, xx, xy = self.sums
        count = np.maximum(count, 1.0)
        varied, together = xx - x * x / count, xy - x * y / count
        missing: BoolArray = (varied > self.enough) & (together < self.least * varied)
        return missing
