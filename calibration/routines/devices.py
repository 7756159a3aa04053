"""Which devices work: one RESET and one SET pulse for each, and what they did.

Every device ends in a known state: those that add to a weight fully SET, those that subtract from it RESET. On that
pattern the converters and wires are measured next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hwloop.calibration.programming.base import RESET_MARGIN
from hwloop.calibration.routines.base import Budget, CoreTask, Routine
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.observe import Looking, Observer, PulseBatch, observer_of
from hwloop.calibration.routines.results import DeviceResult, Fault
from hwloop.calibration.steps import Step, Work
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.devices.drift import Aging
from hwloop.errors import BadInputError, ChipError
from hwloop.typing import BoolArray, FloatArray


@dataclass(frozen=True)
class _Pulses:
    """The pulses that are tried, uA and ns."""

    set_amplitude: float
    set_width: float
    reset_amplitude: float
    reset_width: float


@dataclass(frozen=True)
class Classification(Looking):
    """What counts as a fault."""

    answers: float = 0.25
    """A device answers when SET and RESET differ by this share of what the typical device shows."""
    weak: float = 0.7
    """A device is weak when its SET conductance is below this share of the typical one of its column."""
    noisy: float = 3.0
    """A device is noisy when it scatters between its reads this many times as much as 99 % of all devices do."""
    dead_share: float = 0.9
    """A row or column is dead when this share of its devices does not conduct after a SET pulse."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("answers", 0.01, 0.99)
        self._require("weak", 0, 1)
        self._require("noisy", 1, 1e6)
        self._require("dead_share", 0, 1)

    def classify(self, low: FloatArray, high: FloatArray, scatter: FloatArray, age: float) -> DeviceResult:
        """Tell faults from conductances.

        The pattern of the result is that of devices that stand at `high` where they add and at `low` where they
        subtract.

        Parameters
        ----------
        low, high
            (2, K, rows, columns) conductances after RESET and after SET, uS.
        scatter
            (2, K, rows, columns) standard deviation between reads, uS; NaN where it is not known.
        age
            Age of the devices when they were seen, seconds.
        """
        answers = self.answering(low, high)
        typical = float(np.median(high[answers])) if answers.any() else 0.0
        # One look by MVMs is too noisy to tell a weak device from a good one.
        of_column = np.median(high, axis=(0, 1, 2))  # the column's gain belongs to its converter
        fault = np.where(answers & np.isfinite(scatter) & (high < self.weak * of_column), Fault.WEAK, Fault.GOOD)
        fault = np.where(answers & self._noisy(scatter), Fault.NOISY, fault)
        fault = np.where(~answers, np.where(low > self.answers * typical, Fault.STUCK_SET, Fault.STUCK_RESET), fault)
        open_device = fault == Fault.STUCK_RESET
        dead_rows = open_device.mean((0, 1, 3)) > self.dead_share
        dead_columns = open_device.mean((0, 1, 2)) > self.dead_share
        fault = np.where(open_device & dead_rows[:, None], Fault.DEAD_ROW, fault)
        fault = np.where(open_device & dead_columns, Fault.DEAD_COLUMN, fault)
        return DeviceResult(fault.astype(np.uint8), low, high, np.stack([high[0], low[1]]), typical, age)

    def answering(self, low: FloatArray, high: FloatArray) -> BoolArray:
        """Tell which devices show enough difference between RESET and SET, by what a device that conducts shows."""
        answers: BoolArray = high - low > self.threshold(high)
        return answers & (high > 0)

    def threshold(self, high: FloatArray) -> float:
        """Return the difference (uS) from which a device answers, where `high` is what all show after SET."""
        return self.answers * max(float(np.percentile(high, 75)), 0.0)

    def _noisy(self, scatter: FloatArray) -> BoolArray:
        """Tell whose reads scatter far more than those of others; none where there was only one look."""
        if not np.isfinite(scatter).any():
            return np.zeros(scatter.shape, bool)
        noisy: BoolArray = scatter > self.noisy * np.nanpercentile(scatter, 99)
        return noisy


@dataclass(frozen=True)
class DeviceCalibration(Routine, Classification):
    """Finds stuck, weak and noisy devices; see the module's text."""

    name: ClassVar[str] = "devices"
    parts: ClassVar[tuple[str, ...]] = ("devices",)

    set_amplitude: float = 0.0
    """uA; 0 chooses `set_share` of the nominal melting amplitude."""
    set_width: float = 0.0
    """ns; 0 chooses the longest that the chip allows."""
    reset_amplitude: float = 0.0
    """uA; 0 chooses eight steepnesses beyond the nominal midpoint."""
    reset_width: float = 0.0
    """ns; 0 takes that of the nominal curve, or the shortest that the chip makes."""
    set_pulses: int = 1
    """SET pulses in a row for each device: more than one for devices that a single pulse SETs in part."""
    settle: float = 10.0
    """Seconds of rest between pulses and reads."""
    set_share: float = 0.6
    """Amplitude of a SET pulse over the nominal melting amplitude, where `set_amplitude` is 0."""
    map_rest: float = 1e-3
    """Rest before a look by MVMs over that before a look by reads."""
    least_alive: float = 0.1
    """Share of devices, at least, that must answer on a core that is not dead."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("set_amplitude", 0, 1e6)
        self._require("set_width", 0, 1e9)
        self._require("reset_amplitude", 0, 1e6)
        self._require("reset_width", 0, 1e9)
        self._require("set_pulses", 1, 1000)
        self._require("settle", 0, 1e4)
        self._require("set_share", 0.01, 1)
        self._require("map_rest", 0, 1)
        self._require("least_alive", 0, 1)

    def budget(self, region: Region) -> Budget:
        """Count a RESET and the SET pulses for devices that add to a weight, one more for those that subtract."""
        self._pulses(region.backend.info)
        return self.look_budget(region, looks=1 + self.set_pulses, pulses_per_device=2 + self.set_pulses)

    def steps(self, task: CoreTask) -> Work[Step, CoreCalibration]:
        """RESET all devices, SET all, RESET those that subtract. Raises ChipError when no device answers."""
        region, info = task.region, task.region.backend.info
        pulses = self._pulses(info)
        aging = Aging(info.device_model.drift if info.device_model else None)
        # Between two maps the other devices of a cell wander by their 1/f noise: the less time, the better.
        reads = Capability.DEVICE_READ in info.capabilities
        settle = self.settle if reads else self.map_rest * self.settle
        observer = observer_of(region, aging, settle, self, task.rng)
        found = yield from self._tried(region, observer, pulses)
        yield (at := Step(2, 3, "pattern for the converters"))
        subtracting = np.arange(region.size // 2, region.size)
        amplitude = np.full(len(subtracting), pulses.reset_amplitude)
        region.pulse(PulseKind.RESET, subtracting, amplitude, pulses.reset_width)
        yield replace(at, rest=self.settle)  # a fresh glass conducts many times as much as it will in seconds
        ages = (region.backend.now() - observer.born).reshape(region.shape)
        ages[1] = self.settle
        pattern = aging.at_age(aging.at_reference(found.pattern, found.age), ages)
        return replace(task.known, devices=replace(found, pattern=pattern))

    def _tried(self, region: Region, observer: Observer, pulses: _Pulses) -> Work[Step, DeviceResult]:
        """RESET and SET all devices, and tell their faults."""
        every = np.arange(region.size)
        yield (at := Step(0, 3, "RESET all devices"))
        amplitude = np.full(region.size, pulses.reset_amplitude)
        yield from observer.empty(PulseBatch(PulseKind.RESET, every, amplitude, pulses.reset_width), at)
        low = observer.seen.copy()
        yield (at := Step(1, 3, "SET all devices"))
        amplitude = np.full(region.size, pulses.set_amplitude)
        for _ in range(self.set_pulses):
            yield from observer.apply(PulseBatch(PulseKind.SET, every, amplitude, pulses.set_width), at)
        high = observer.seen.copy()
        # Noise lets a device that does not answer seem to, but as often backwards.
        threshold = self.threshold(high)
        alive = int((high - low > threshold).sum()) - int((low - high > threshold).sum())
        low = observer.standing(low, ~self.answering(low, high))
        shape = region.shape
        found = self.classify(low.reshape(shape), high.reshape(shape), observer.spread().reshape(shape), observer.age)
        if alive < self.least_alive * region.size or not np.any(found.usable):
            raise ChipError(
                f"core {region.place.core}: no device, or hardly one ({max(alive, 0)} of {region.size}), answers to "
                "SET and RESET pulses; check power, selectors and the "
                f"amplitudes ({pulses.set_amplitude:g} uA SET, {pulses.reset_amplitude:g} uA RESET)"
            )
        return found

    def _pulses(self, info: ChipInfo) -> _Pulses:
        """Choose the pulses to try. Raises BadInputError where neither settings nor the chip tell them."""
        limits = info.limits
        curve = info.device_model.curve if info.device_model else None
        if curve is None and not (self.set_amplitude and self.reset_amplitude):
            raise BadInputError(
                f"{info.name}: nothing is known of its devices; give the pulses to try with "
                "--set devices.set_amplitude=UA and --set devices.reset_amplitude=UA"
            )
        set_amplitude = self.set_amplitude or (self.set_share * curve.melt if curve else 0.0)
        reset_amplitude = self.reset_amplitude or (curve.midpoint + RESET_MARGIN * curve.steepness if curve else 0.0)
        if not reset_amplitude > set_amplitude:
            raise BadInputError(
                f"setting reset_amplitude={reset_amplitude:g} uA: a RESET pulse must be stronger than the SET pulse of "
                f"{set_amplitude:g} uA, or it melts nothing"
            )
        return _Pulses(
            set_amplitude,
            self.set_width or limits.width_max,
            min(reset_amplitude, limits.amplitude_max),
            self.reset_width or (curve.width if curve else limits.width_min),
        )
