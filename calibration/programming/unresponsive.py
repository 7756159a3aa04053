"""Notice devices that do not answer to pulses, so that they are left alone and not hit harder."""

from __future__ import annotations

import numpy as np

from hwloop.typing import AnyArray, FloatArray

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
