"""What all programming methods share: their interface, their steps, and where programming starts from."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from hwloop.calibration.settings import Settings
from hwloop.calibration.steps import Step, Work
from hwloop.chip.cell_calibration import Devices
from hwloop.chip.info import ChipInfo
from hwloop.chip.region import Region
from hwloop.errors import BadInputError
from hwloop.mapping.tile import Tile
from hwloop.typing import BoolArray, FloatArray


@dataclass(frozen=True, kw_only=True)
class ProgrammingStep(Step):
    """State of a tile after one round of a method; `done` counts from 0, the open-loop pass.

    Parameters
    ----------
    mvm_error
        The method's own estimate of the relative MVM error before this step's pulses; NaN where it has none.
    pulses
        Pulses sent in this step.
    unconverged
        (rows, columns) cells that the method would still change but cannot, or gave up.
    stuck
        (rows, columns) cells with a device that does not answer to pulses.
    stuck_devices
        (2, K, rows, columns) these devices; None where the method does not tell them apart.
    """

    mvm_error: float
    pulses: int
    unconverged: BoolArray
    stuck: BoolArray
    stuck_devices: BoolArray | None = None


@dataclass(frozen=True)
class Outlook:
    """What a method takes at most, as its settings tell; NaN is not known.

    Parameters
    ----------
    chip_seconds
        Rests on the chip's clock, seconds.
    pulses, reads
        Pulses on a device, and reads of one.
    vectors
        Input vectors through each tile.
    """

    chip_seconds: float = math.nan
    pulses: float = math.nan
    reads: float = math.nan
    vectors: float = math.nan


@dataclass(frozen=True)
class Method(Settings, abc.ABC):
    """A way to bring the cells of a tile to their targets; its fields are its settings."""

    name: ClassVar[str]
    """Name on the command line, in run files and of the entry point in the group ``hwloop.methods``."""

    @abc.abstractmethod
    def check(self, region: Region, tile: Tile, age: float) -> None:
        """Raise the error that `steps` would, before anything is sent to the chip."""

    @abc.abstractmethod
    def steps(self, region: Region, tile: Tile, age: float, rng: np.random.Generator) -> Work[ProgrammingStep, None]:
        """Program a tile, yielding after every round.

        The chip is in a defined state at every yield, so that a caller may stop there for good; one that goes on lets
        `ProgrammingStep.rest` seconds of chip time pass before.

        Parameters
        ----------
        region
            The cells.
        tile
            Their targets.
        age
            Seconds after the end of programming at which the targets shall hold.
        rng
            Source of all random numbers that the method uses.
        """

    def outlook(self, rows: int, age: float, info: ChipInfo) -> Outlook:
        """Tell what a tile takes at most; a method that does not know says nothing.

        Parameters
        ----------
        rows
            Of the tile.
        age
            Seconds after the end of programming at which the targets hold.
        info
            Of the chip.
        """
        return Outlook()

    def within(self, chip_seconds: float, age: float, info: ChipInfo) -> Self:
        """Return the method with rests that take so many seconds of chip time together, or raise BadInputError.

        Parameters
        ----------
        chip_seconds
            Budget of one run.
        age
            Seconds after the end of programming at which the targets hold.
        info
            Of the chip.
        """
        raise BadInputError(f"the method '{self.name}' takes no budget of chip seconds; leave --chip-seconds out")


def check_chip_seconds(seconds: float, rest: float) -> None:
    """Refuse a budget of chip seconds that is shorter than the rest of one round, both in seconds."""
    if not seconds >= rest:
        raise BadInputError(
            f"{seconds:g} chip seconds allow no round, which rests {rest:g} s: give at least as much, or a smaller "
            "setting settle"
        )


AGES = (1e-3, 1e10)
"""Shortest and longest age in seconds that targets may have."""
RESET_MARGIN = 8.0
"""Steepnesses of the curve beyond its midpoint at which a device meant to be empty is RESET."""


def check_age(age: float) -> None:
    """Raise BadInputError for an age in seconds that targets cannot have."""
    if not AGES[0] <= age <= AGES[1]:
        raise BadInputError(f"age {age:g} s is outside {AGES[0]:g} to {AGES[1]:g} s")


def known_devices(region: Region) -> Devices:
    """Return what a calibration tells about the devices of a region, else the chip's nominal model.

    Raises
    ------
    BadInputError
        When nothing is known of them.
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
    """Compute the RESET amplitudes of a first pulse.

    Parameters
    ----------
    devices
        What is known of the devices.
    target
        (2, K, rows, columns) conductances in uS at the reference age; a device whose target is zero is emptied.

    Returns
    -------
    ndarray
        (2, K, rows, columns) uA.
    """
    curve = devices.model.curve
    empty = curve.midpoint + RESET_MARGIN * curve.steepness
    on_curve = curve.amplitude(curve.g_min + (target - curve.g_min) / devices.height)
    amplitude: FloatArray = np.where(target > 0, on_curve, empty) + devices.shift
    return amplitude
