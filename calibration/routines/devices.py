"""Which devices work: one RESET and one SET pulse for each, and what they did.

Every device ends in a known state: those that add to a weight fully SET, those that subtract from it RESET. On that
pattern the converters and wires are measured next.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.programming.base import RESET_MARGIN
from hwloop.calibration.routines.base import Budget, Routine, Tick, quiet
from hwloop.calibration.routines.observe import look_budget, observer_of
from hwloop.calibration.settings import Settings
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.devices.drift import Aging
from hwloop.errors import BadInputError, ChipError
from hwloop.typing import FloatArray
from hwloop.units import value

ANSWERS = 0.25
"""A device answers when SET and RESET differ by this share of what the typical device shows."""
WEAK = 0.7
"""A device is weak when its SET conductance is below this share of the typical one of its column."""
NOISY = 3.0
"""A device is noisy when it scatters between its reads this many times as much as 99 % of all devices do."""
LEAST_ALIVE = 0.1
"""Share of devices, at least, that must answer on a core that is not dead."""
DEAD_SHARE = 0.9
"""A row or column is dead when this share of its devices does not conduct after a SET pulse."""
HURRY = 1e-3
"""Rest before a look by MVMs over that before a look by reads."""
SET_AMPLITUDE = 0.6
"""Default amplitude of a SET pulse over the amplitude at which devices melt."""


class Fault(enum.IntEnum):
    """What is wrong with a device; the names are those of the calibration file."""

    GOOD = 0
    STUCK_SET = 1
    STUCK_RESET = 2
    WEAK = 3
    NOISY = 4
    DEAD_ROW = 5
    DEAD_COLUMN = 6


@dataclass(frozen=True)
class DeviceSettings(Settings):
    """Settings of the search for bad devices."""

    set_amplitude: float = 0.0
    """uA; 0 chooses 0.6 of the nominal melting amplitude."""
    set_width: float = 0.0
    """ns; 0 chooses the longest that the chip allows."""
    reset_amplitude: float = 0.0
    """uA; 0 chooses eight steepnesses beyond the nominal midpoint."""
    settle: float = 10.0
    """Seconds of rest between pulses and reads."""

    def __post_init__(self) -> None:
        self._require("set_amplitude", 0, 1e6)
        self._require("set_width", 0, 1e9)
        self._require("reset_amplitude", 0, 1e6)
        self._require("settle", 0, 1e4)


@dataclass(frozen=True)
class DeviceResult:
    """What SET and RESET did to each device, arrays (2, K, rows, columns).

    Conductances are as their column shows them, with its gain, and as they were at `age`: the drift to another age is
    not the same for a column that shows too little.
    """

    fault: NDArray[np.uint8] = value(
        "1", "0 good, 1 stuck SET, 2 stuck RESET, 3 weak, 4 noisy, 5 dead row, 6 dead column"
    )
    low: FloatArray = value("uS", "conductance after a RESET pulse, at the age")
    high: FloatArray = value("uS", "conductance after a SET pulse, at the age")
    pattern: FloatArray = value("uS", "conductance in the pattern that the routine leaves, at its end")
    typical_high: float = value("uS", "median of high over the devices that answer")
    age: float = value("s", "time between the pulses and low and high")

    def count(self, fault: Fault) -> int:
        """Devices with this fault."""
        return int((self.fault == fault).sum())

    def held(self, gain: FloatArray) -> FloatArray:
        """Conductance (uS) at which unusable devices stay, zero for usable ones; gain (columns,) is taken out."""
        return np.where(self.usable, 0.0, np.maximum(self.low, 0.0) / gain)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Devices that may be programmed: good, or merely weak."""
        usable: NDArray[np.bool_] = (self.fault == Fault.GOOD) | (self.fault == Fault.WEAK)
        return usable


class DeviceCalibration(Routine):
    """Finds stuck, weak and noisy devices; see the module's text."""

    name = "devices"
    needs = frozenset()

    def __init__(self, settings: DeviceSettings | None = None) -> None:
        """Defaults suit chips whose nominal programming curve is known."""
        self.settings = settings or DeviceSettings()

    def budget(self, region: Region) -> Budget:
        """Two pulses for devices that add to a weight, three for those that subtract."""
        self._pulses(region.backend.info)
        return look_budget(region, looks=2, pulses_per_device=3)

    def run(self, region: Region, rng: np.random.Generator, tick: Tick = quiet) -> DeviceResult:
        """RESET all, SET all, RESET those that subtract; raises ChipError when no device answers."""
        info = region.backend.info
        set_amplitude, set_width, reset_amplitude, reset_width = self._pulses(info)
        aging = Aging(info.device_model.drift if info.device_model else None)
        # Between two maps the other devices of a cell wander by their 1/f noise: the less time, the better.
        reads = Capability.DEVICE_READ in info.capabilities
        observer = observer_of(region, aging, self.settings.settle if reads else HURRY * self.settings.settle, rng)
        every = np.arange(region.size)

        tick("RESET all devices")
        observer.apply(PulseKind.RESET, every, lambda at: np.full(len(at), reset_amplitude), reset_width)
        low = observer.seen.copy()
        tick("SET all devices")
        observer.apply(PulseKind.SET, every, lambda at: np.full(len(at), set_amplitude), set_width)
        high = observer.seen.copy()
        # Noise lets a device that does not answer seem to, but as often backwards.
        alive = int((high - low > _threshold(high)).sum()) - int((low - high > _threshold(high)).sum())
        low = observer.standing(low, ~_answers(low, high))
        shape = region.shape
        result = classify(low.reshape(shape), high.reshape(shape), observer.spread().reshape(shape), observer.age)
        if alive < LEAST_ALIVE * region.size or not np.any(result.usable):
            raise ChipError(
                f"core {region.place.core}: no device, or hardly one ({max(alive, 0)} of {region.size}), answers to "
                "SET and RESET pulses; check power, selectors and the "
                f"amplitudes ({set_amplitude:g} uA SET, {reset_amplitude:g} uA RESET)"
            )
        tick("pattern for the converters")
        subtracting = np.arange(region.size // 2, region.size)
        region.pulse(PulseKind.RESET, subtracting, np.full(len(subtracting), reset_amplitude), reset_width)
        region.backend.wait(self.settings.settle)  # a fresh glass conducts many times as much as it will in seconds
        ages = (region.backend.now() - observer.born).reshape(region.shape)
        ages[1] = self.settings.settle
        return replace(result, pattern=aging.at_age(aging.at_reference(result.pattern, result.age), ages))

    def _pulses(self, info: ChipInfo) -> tuple[float, float, float, float]:
        """SET amplitude and width, RESET amplitude and width."""
        s, limits = self.settings, info.limits
        curve = info.device_model.curve if info.device_model else None
        if curve is None and not (s.set_amplitude and s.reset_amplitude):
            raise BadInputError(
                f"{info.name}: nothing is known of its devices; give the pulses to try with "
                "--set devices.set_amplitude=UA and --set devices.reset_amplitude=UA"
            )
        set_amplitude = s.set_amplitude or (SET_AMPLITUDE * curve.melt if curve else 0.0)
        reset_amplitude = s.reset_amplitude or (curve.midpoint + RESET_MARGIN * curve.steepness if curve else 0.0)
        reset_width = curve.width if curve else limits.width_min
        if not reset_amplitude > set_amplitude:
            raise BadInputError(
                f"setting reset_amplitude={reset_amplitude:g} uA: a RESET pulse must be stronger than the SET pulse of "
                f"{set_amplitude:g} uA, or it melts nothing"
            )
        return set_amplitude, s.set_width or limits.width_max, min(reset_amplitude, limits.amplitude_max), reset_width


def classify(low: FloatArray, high: FloatArray, scatter: FloatArray, age: float) -> DeviceResult:
    """Faults from conductances after RESET and after SET, and the scatter between reads, each (2, K, rows, columns).

    age: of the devices when they were seen, seconds. The pattern is that of devices that stand at `high` where they add
    and at `low` where they subtract.
    """
    answers = _answers(low, high)
    typical = float(np.median(high[answers])) if answers.any() else 0.0
    # One look by MVMs is too noisy to tell a weak device from a good one.
    of_column = np.median(high, axis=(0, 1, 2))  # the column's gain belongs to its converter
    fault = np.where(answers & np.isfinite(scatter) & (high < WEAK * of_column), Fault.WEAK, Fault.GOOD)
    fault = np.where(answers & _noisy(scatter, high), Fault.NOISY, fault)
    fault = np.where(~answers, np.where(low > ANSWERS * typical, Fault.STUCK_SET, Fault.STUCK_RESET), fault)
    open_device = fault == Fault.STUCK_RESET
    dead_rows = open_device.mean((0, 1, 3)) > DEAD_SHARE
    dead_columns = open_device.mean((0, 1, 2)) > DEAD_SHARE
    fault = np.where(open_device & dead_rows[:, None], Fault.DEAD_ROW, fault)
    fault = np.where(open_device & dead_columns, Fault.DEAD_COLUMN, fault)
    return DeviceResult(fault.astype(np.uint8), low, high, np.stack([high[0], low[1]]), typical, age)


def _answers(low: FloatArray, high: FloatArray) -> NDArray[np.bool_]:
    """Devices whose SET and RESET conductances differ enough, by what a device that conducts shows."""
    answers: NDArray[np.bool_] = high - low > _threshold(high)
    return answers & (high > 0)


def _threshold(high: FloatArray) -> float:
    return ANSWERS * max(float(np.percentile(high, 75)), 0.0)


def _noisy(scatter: FloatArray, high: FloatArray) -> NDArray[np.bool_]:
    """Devices whose reads scatter far more than those of others; none where there was only one look."""
    if not np.isfinite(scatter).any():
        return np.zeros(high.shape, bool)
    noisy: NDArray[np.bool_] = scatter > NOISY * np.nanpercentile(scatter, 99)
    return noisy
