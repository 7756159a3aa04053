"""What all programming methods share: their interface, their steps, and the age at which a target counts."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hwloop.contract import FloatArray
from hwloop.device_models import DriftModel
from hwloop.errors import BadInputError
from hwloop.knowledge import Devices
from hwloop.mapping import Tile
from hwloop.region import Region

BoolArray = NDArray[np.bool_]


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


@dataclass(frozen=True)
class Settings:
    """Base of every method's settings: a frozen dataclass, validated when it is made."""

    @classmethod
    def parse(cls, pairs: Mapping[str, str]) -> Self:
        """Settings from texts by name, as `--set KEY=VALUE` gives them.

        Raises BadInputError for an unknown name (listing the known ones) or a value of the wrong kind.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for name, text in pairs.items():
            if name not in known:
                raise BadInputError(
                    f"unknown setting '{name}'; known: {', '.join(known) or 'none, it has no settings'}"
                )
            kind = int if isinstance(known[name].default, int) else float
            try:
                values[name] = kind(text)
            except ValueError:
                expected = "a whole number" if kind is int else "a number"
                raise BadInputError(f"setting {name}={text}: expected {expected}") from None
        return cls(**values)

    def _require(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        whole = isinstance(getattr(type(self), name), int)  # of the default
        if not isinstance(value, (int, np.integer) if whole else (int, float, np.number)):
            raise BadInputError(f"setting {name}={value!r}: expected {'a whole number' if whole else 'a number'}")
        if not low <= value <= high:
            raise BadInputError(f"setting {name}={value:g} is outside {low:g} to {high:g}")


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
INVERSIONS = 5
"""Fixed-point steps from a conductance at some age to that at the reference age."""
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
    if region.knowledge.devices is not None:
        return region.knowledge.devices
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


@dataclass(frozen=True)
class Aging:
    """Expected conductance at other ages than the reference age, where the drift of the devices is known."""

    drift: DriftModel | None

    def factor(self, conductance: FloatArray, age: FloatArray | float) -> FloatArray:
        """G(age) / G(reference age) of devices that have `conductance` (uS) at the reference age; 1 without a model."""
        if self.drift is None:
            return np.ones_like(conductance)
        return np.asarray(self.drift.factor(conductance, np.maximum(age, 1e-6)), np.float64)

    def at_age(self, conductance: FloatArray, age: FloatArray | float) -> FloatArray:
        """Conductance (uS) at an age in seconds of devices that have `conductance` at the reference age."""
        if self.drift is None:
            return conductance
        return conductance * self.factor(np.maximum(conductance, 0.0), age)

    def at_reference(self, conductance: FloatArray, age: FloatArray | float) -> FloatArray:
        """Conductance (uS) at the reference age of devices seen with `conductance` at an age in seconds.

        The inverse of `at_age` by fixed point: the factor changes slowly with G.
        """
        if self.drift is None:
            return conductance
        found = conductance
        for _ in range(INVERSIONS):
            found = conductance / self.factor(np.maximum(found, 0.0), age)
        return found

    def log_spread(self, conductance: FloatArray, age: FloatArray | float, other: FloatArray | float) -> FloatArray:
        """Relative standard deviation of G(other) that remains when G(age) is known: spread(nu) * |ln(other/age)|."""
        if self.drift is None:
            return np.zeros_like(conductance)
        decades = np.abs(np.log(np.maximum(other, 1e-6) / np.maximum(age, 1e-6)))
        return np.asarray(self.drift.spread(conductance / self.drift.g_scale) * decades, np.float64)
