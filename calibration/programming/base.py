"""What all programming methods share: their interface, their steps, and the age at which a target counts."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hwloop.calibration.settings import Settings
from hwloop.chip.cell_calibration import Devices
from hwloop.chip.region import Region
from hwloop.errors import BadInputError
from hwloop.mapping.tile import Tile
from hwloop.typing import BoolArray, FloatArray


@dataclass(frozen=True)
class Step:
    """State of a tile after one round of a method.

    index        counts from 0, the open-loop pass
    mvm_error    the method's own estimate of the relative MVM error before this step's pulses
    pulses       pulses sent in this step
    settle       seconds of chip time the devices shall rest before the method goes on
    unconverged  (rows, columns) cells that the method would still change but could not, or gave up
    stuck        (rows, columns) cells with a device that did not answer to pulses
    """

    index: int
    mvm_error: float
    pulses: int
    settle: float
    unconverged: BoolArray
    stuck: BoolArray


class Method(abc.ABC):
    """A way to bring the cells of a tile to their targets."""

    name: ClassVar[str]
    settings: Settings

    @abc.abstractmethod
    def rounds(self, region: Region) -> int:
        """Largest index of the steps to expect; the last step may come earlier."""

    @abc.abstractmethod
    def check(self, region: Region, tile: Tile, age: float) -> None:
        """Raise the error that `steps` would, before anything is sent to the chip."""

    @abc.abstractmethod
    def steps(self, region: Region, tile: Tile, age: float, rng: np.random.Generator) -> Iterator[Step]:
        """Program the tile, yielding after every round; the caller lets `Step.settle` seconds pass before the next.

        The chip is in a defined state at every yield, so that a caller may stop there for good. `age` is the age in
        seconds, counted from the end of programming, at which the targets shall hold.
        """


AGES = (1e-3, 1e10)
"""Shortest and longest age in seconds that targets may have."""
RESET_MARGIN = 8.0
"""A device meant to be empty is RESET this many steepnesses beyond the curve's midpoint."""


def check_age(age: float) -> None:
    """Raise BadInputError for an age in seconds that targets cannot have."""
    if not AGES[0] <= age <= AGES[1]:
        raise BadInputError(f"age {age:g} s is outside {AGES[0]:g} to {AGES[1]:g} s")


def known_devices(region: Region) -> Devices:
    """What a calibration tells about the devices of a region, else the chip's nominal model.

    Raises BadInputError when nothing is known of them.
    """
    if region.calibration.devices is not None:
        return region.calibration.devices
    info = region.backend.info
    if info.device_model is None:
        raise BadInputError(
            f"{info.name}: programming needs a programming curve to start from, and none is known; measure it with "
            "hwloop calibrate all, and pass the file with --calibration"
        )
    return Devices.nominal(info.device_model, region.shape)


def open_loop_amplitudes(devices: Devices, target: FloatArray) -> FloatArray:
    """RESET amplitudes (uA) of a first pulse for target conductances (2, K, rows, columns) in uS."""
    curve = devices.model.curve
    empty = curve.midpoint + RESET_MARGIN * curve.steepness
    on_curve = curve.amplitude(curve.g_min + (target - curve.g_min) / devices.height)
    amplitude: FloatArray = np.where(target > 0, on_curve, empty) + devices.shift
    return amplitude
