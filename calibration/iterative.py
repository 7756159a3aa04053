"""Iterative program-and-verify: read each device, compare, step its RESET amplitude along the programming curve.

All devices are treated at once. A device is accepted when its read and a second, confirming read average to within
the tolerance of its target; a device that will not converge is recorded and left alone, not hit harder. With several
devices per polarity the first is aimed a little low and the next one fills up what its verified read still lacks.

After Papandreou et al., ISCAS 2011 (programming on the right flank), with the feedback corrected to the target age
(Nandakumar et al., ICECS 2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwloop.calibration.periphery import calibrate_columns
from hwloop.calibration.programming import Aging, BoolArray, Method, Settings, Step, known_devices, open_loop_amplitudes
from hwloop.calibration.quality import computed_outputs, measure_outputs
from hwloop.contract import Capability, FloatArray, IndexArray, PulseKind
from hwloop.device_models import DeviceModel
from hwloop.errors import BadInputError
from hwloop.knowledge import Devices
from hwloop.mapping import Tile
from hwloop.region import Region

DEFAULT_TOLERANCE = 0.025
"""Half width of the acceptance window over g_max."""
MONITOR_VECTORS = 128
"""Random inputs that show the MVM error after each step."""
SILENT_PULSES = 3
"""A device counts as stuck after this many pulses in a row that should have moved it and did not."""


@dataclass(frozen=True)
class IterativeSettings(Settings):
    """Settings of iterative program-and-verify."""

    averages: int = 16
    """Reads that are averaged for each verification."""
    tolerance: float = 0.0
    """Half width of the acceptance window, uS; 0 chooses 2.5 % of g_max, or the read noise where that is larger."""
    gain: float = 0.4
    """Fraction of the error, expressed on the programming curve, that one step corrects."""
    max_pulses_per_device: int = 15
    """Pulses one device may receive, the first included."""
    max_steps: int = 15
    """Rounds of verification for each device of a polarity."""
    settle: float = 0.05
    """Rest between pulse and verification, in units of the target age."""

    def __post_init__(self) -> None:
        self._require("averages", 1, 100_000)
        self._require("tolerance", 0, 1000)
        self._require("gain", 0.01, 2)
        self._require("max_pulses_per_device", 1, 1_000_000)
        self._require("max_steps", 1, 10_000)
        self._require("settle", 0, 100)


class Iterative(Method):
    """Iterative program-and-verify; see the module's text. Needs single-device reads."""

    name = "iterative"
    settings: IterativeSettings

    def __init__(self, settings: IterativeSettings | None = None) -> None:
        """Defaults suit every matrix."""
        self.settings = settings or IterativeSettings()

    def rounds(self, region: Region) -> int:
        """Verification rounds for all devices of a polarity."""
        return self.settings.max_steps * region.backend.info.devices_per_polarity

    def check(self, region: Region, tile: Tile, age: float) -> None:
        """Refuse a chip without device reads, and a tolerance below the read noise."""
        region.backend.require(Capability.DEVICE_READ, "program-and-verify")
        self._tolerance(known_devices(region).model, tile, region.backend.info.g_max, age)

    def steps(self, region: Region, tile: Tile, age: float, rng: np.random.Generator) -> Iterator[Step]:
        """Open-loop pass, then verify and correct, one device of each polarity after the other."""
        s, info = self.settings, region.backend.info
        known = known_devices(region)
        tolerance = self._tolerance(known.model, tile, info.g_max, age)
        end = region.backend.now() + self.rounds(region) * s.settle * age
        devices = _Devices(region, known, tile, end + age)
        pulses = devices.program_open_loop()
        index = 0
        for k in range(info.devices_per_polarity):
            reserve = tolerance if k < info.devices_per_polarity - 1 else 0.0
            active = devices.aim(k, reserve)
            for _ in range(s.max_steps):
                yield Step(index, devices.monitor(rng), pulses, s.settle * age, *devices.outcome())
                index += 1
                active = devices.verify(active, s.averages, tolerance)
                pulses = devices.correct(active, s.gain, s.max_pulses_per_device)
                if not pulses:
                    break
            devices.give_up(active)
        yield Step(index, devices.monitor(rng), pulses, 0.0, *devices.outcome())

    def _tolerance(self, model: DeviceModel, tile: Tile, g_max: float, age: float) -> float:
        """The acceptance window in uS. Raises BadInputError for one that read noise alone would miss."""
        typical = np.minimum(np.abs(tile.target), g_max)
        noise = float(np.median(_verify_noise(model, typical, self.settings, age)))
        if not self.settings.tolerance:
            return max(DEFAULT_TOLERANCE * g_max, noise)
        if self.settings.tolerance < noise:
            raise BadInputError(
                f"setting tolerance={self.settings.tolerance:g} uS is below the read noise of {noise:.2g} uS that "
                f"{self.settings.averages} averages leave: cells would be accepted by luck; use at least {noise:.2g}"
            )
        return self.settings.tolerance


def _verify_noise(model: DeviceModel, conductance: FloatArray, s: IterativeSettings, age: float) -> FloatArray:
    """Standard deviation (uS) of an averaged verify read: averaging removes only what is faster than the reads."""
    t_read, since_pulse = model.read_noise.t_read, max(s.settle * age, 1e-6)
    reads = s.averages * t_read
    fast = math.log(max((reads + t_read) / (2 * t_read), 1.0)) / s.averages
    slow = math.log(max(since_pulse / reads, 1.0))
    return conductance * model.read_noise.q(conductance / model.read_noise.g_scale) * math.sqrt(fast + slow)


class _Devices:
    """The devices of a tile: targets, last verified values and what was done to them, flat arrays of region.size."""

    def __init__(self, region: Region, known: Devices, tile: Tile, moment: float) -> None:
        """`moment` is when, on the chip's clock, the targets shall hold."""
        self._region, self._known, self._tile, self._moment = region, known, tile, moment
        self._model, self._usable = known.model, known.usable.reshape(-1)
        self._aging = Aging(known.model.drift)
        size = region.size
        self._target = np.zeros(size)
        self._value = known.held.reshape(-1).copy()
        self._amplitude = np.zeros(size)
        self._loaded = np.zeros(size, bool)
        self._born = np.full(size, region.backend.now())
        self._spent = np.zeros(size, np.int32)
        self._silent = np.zeros(size, np.int8)
        self._gave_up = np.zeros(size, bool)
        self._seen = ~self._usable
        self._aimed_from = np.zeros(size)

    def program_open_loop(self) -> int:
        """One pulse per usable device to the amplitude its curve has at its target; returns the number of pulses."""
        self._target = self._tile.device_targets(self._region.backend.info, self._known).reshape(-1)
        usable = np.flatnonzero(self._usable)
        self._pulse(usable, self._open_loop(usable))
        return len(usable)

    def aim(self, k: int, reserve: float) -> IndexArray:
        """Set the targets of the k-th device of each polarity to (its share of) what the earlier ones lack.

        Returns the devices.

        reserve: uS to stay below, which the next device will fill up.
        """
        shape, capacity = self._region.shape, self._known.capacity(self._region.backend.info)
        stays = self._known.held.sum(1)
        signed = self._tile.target - (stays[0] - stays[1])
        wanted = np.maximum(np.stack([signed, -signed]), 0.0)
        wanted -= np.where(self._known.usable, self._value.reshape(shape), 0.0)[:, :k].sum(1)
        if self._tile.split == "even":
            wanted /= shape[1] - k
        target = np.where(wanted > 2 * reserve, wanted - reserve, np.maximum(wanted, 0.0))
        devices = np.arange(self._region.size).reshape(shape)[:, k].reshape(-1)
        self._target[devices] = np.minimum(target, capacity[:, k]).reshape(-1)
        return devices[self._usable[devices]]

    def verify(self, active: IndexArray, averages: int, tolerance: float) -> IndexArray:
        """Read devices, twice those that seem on target; returns the ones that are not."""
        value = self._read(active, averages)
        near = np.abs(value - self._target[active]) <= tolerance
        value[near] = (value[near] + self._read(active[near], averages)) / 2
        moved = np.abs(value - self._value[active])
        meant = np.abs(self._target[active] - self._aimed_from[active])
        silent = (meant > 4 * tolerance) & (moved < 0.25 * meant)
        self._silent[active] = np.where(silent, self._silent[active] + 1, 0)
        self._value[active] = value
        self._seen[active] = True
        return active[np.abs(value - self._target[active]) > tolerance]

    def correct(self, devices: IndexArray, gain: float, max_pulses: int) -> int:
        """Step the amplitude of devices that are off target; returns the number of pulses."""
        devices = devices[(self._spent[devices] < max_pulses) & (self._silent[devices] < SILENT_PULSES)]
        curve, target = self._model.curve, self._target[devices]
        step = gain * (curve.amplitude(target) - curve.amplitude(self._value[devices]))
        stepped = np.where(
            self._loaded[devices] & (target > 0), self._amplitude[devices] + step, self._open_loop(devices)
        )
        self._pulse(devices, stepped)
        return len(devices)

    def give_up(self, devices: IndexArray) -> None:
        """Record devices that are still off target; they are left alone from here on."""
        self._gave_up[devices] = True

    def outcome(self) -> tuple[BoolArray, BoolArray]:
        """Cells (rows, columns) with a device given up, and cells with a device that does not answer."""
        shape = self._region.shape
        gave_up: BoolArray = np.any(self._gave_up.reshape(shape), axis=(0, 1))
        stuck: BoolArray = np.any((self._silent >= SILENT_PULSES).reshape(shape), axis=(0, 1))
        return gave_up, stuck

    def monitor(self, rng: np.random.Generator) -> float:
        """Relative MVM error as random inputs show it now, against what the chip would show now if it were on target.

        Devices of different ages are still on their way down; the difference is known from the drift model. A chip
        without MVMs shows its verified reads instead, once every device has been read.
        """
        if Capability.MVM not in self._region.backend.info.capabilities:
            return self._monitor_reads(rng)
        shape, sign = self._region.shape, np.array([1.0, -1.0])[:, None, None, None]
        now, target = self._region.backend.now(), self._target
        later = self._aging.factor(target, self._moment - self._born)
        extra = target * (self._aging.factor(target, now - self._born) / later - 1.0)
        weights = self._tile.weights + (sign * extra.reshape(shape)).sum((0, 1)) * self._tile.scale
        correction = calibrate_columns(self._region, weights, rng, MONITOR_VECTORS)
        return measure_outputs(self._region, weights, correction, rng, MONITOR_VECTORS).mvm_error

    def _monitor_reads(self, rng: np.random.Generator) -> float:
        if not np.all(self._seen):
            return float("nan")
        positive, negative = self._value.reshape(self._region.shape).sum(1)
        top = self._region.backend.info.input_max
        tile = self._tile
        return computed_outputs(positive - negative, tile.weights, tile.scale, rng, MONITOR_VECTORS, top).mvm_error

    def _open_loop(self, devices: IndexArray) -> FloatArray:
        """Amplitudes (n,) in uA that the curves of devices (n,) have at their targets."""
        amplitude = open_loop_amplitudes(self._known, self._target.reshape(self._region.shape))
        return amplitude.reshape(-1)[devices]

    def _pulse(self, devices: IndexArray, amplitude: FloatArray) -> None:
        curve, limits = self._model.curve, self._region.backend.info.limits
        amplitude = np.clip(amplitude, curve.melt, limits.amplitude_max)
        self._region.pulse(PulseKind.RESET, devices, amplitude, curve.width)
        self._aimed_from[devices] = self._value[devices]
        self._amplitude[devices], self._born[devices] = amplitude, self._region.backend.now()
        self._loaded[devices] = self._target[devices] > 0
        self._spent[devices] += 1

    def _read(self, devices: IndexArray, averages: int) -> FloatArray:
        """Conductances (n,) in uS as they are expected to be when the targets shall hold."""
        now, born = self._region.backend.now(), self._born[devices]
        value = np.maximum(self._region.read(devices, averages), 0.0)
        return value * self._aging.factor(value, self._moment - born) / self._aging.factor(value, now - born)
