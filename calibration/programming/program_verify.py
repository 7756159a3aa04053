"""Program-and-verify: read each device, compare, step its RESET amplitude along the programming curve.

All devices are treated at once. A device is accepted when its read and a second, confirming read average to within
the tolerance of its target; a device that will not converge is recorded and left alone, not hit harder. With several
devices per polarity the first is aimed a little low and the next one fills up what its verified read still lacks.

After Papandreou et al., ISCAS 2011 (programming on the right flank), with the feedback corrected to the target age
(Nandakumar et al., ICECS 2020).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from hwloop.calibration.column_fit import calibrate_columns
from hwloop.calibration.evaluation import computed_outputs, measure_outputs
from hwloop.calibration.programming.base import Method, Outlook, ProgrammingStep, check_chip_seconds, known_devices
from hwloop.calibration.programming.current_error_of_devices import DeviceCurrentError
from hwloop.calibration.programming.unresponsive import UNRESPONSIVE_PULSES
from hwloop.calibration.programming.verified_devices import DEFAULT_TOLERANCE, VerifiedDevices, verify_noise
from hwloop.calibration.steps import Work
from hwloop.chip.cell_calibration import Devices
from hwloop.chip.checks import REQUESTS
from hwloop.chip.info import Capability, ChipInfo
from hwloop.chip.region import Region
from hwloop.devices.model import DeviceModel
from hwloop.errors import BadInputError, ProgrammingWarning
from hwloop.mapping.tile import Tile
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class ProgramVerify(Method):
    """Program-and-verify; needs single-device reads. The defaults suit every matrix."""

    name: ClassVar[str] = "iterative"

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
    unresponsive_pulses: int = UNRESPONSIVE_PULSES
    """Pulses in a row without an answer after which a device counts as stuck and is left alone."""
    monitor_vectors: int = 128
    """Random inputs that show the MVM error after each step, and as many to calibrate the columns for it."""
    pilot_cells: int = 1024
    """Devices that are pulsed first where a calibration is used, to see whether it is true of the chip as it is now;
    tiles of fewer than four times as many cells do without. 0: none."""
    contradiction: float = 0.05
    """Relative error of all currents at which a calibration is taken to be wrong, and programming stops."""

    def __post_init__(self) -> None:
        self._require("averages", 1, REQUESTS.averages)
        self._require("tolerance", 0, 1000)
        self._require("gain", 0.01, 2)
        self._require("max_pulses_per_device", 1, 1_000_000)
        self._require("max_steps", 1, 10_000)
        self._require("settle", 0, 100)
        self._require("unresponsive_pulses", 1, 100)
        self._require("monitor_vectors", 3, 1e6)
        self._require("pilot_cells", 0, 1e9)
        self._require("contradiction", 0, 1)

    def check(self, region: Region, tile: Tile, age: float) -> None:
        """Refuse a chip without device reads, and a tolerance below the read noise."""
        region.backend.require(Capability.DEVICE_READ, "program-and-verify")
        self._tolerance(known_devices(region).model, tile, region.backend.info.g_max, age)

    def steps(self, region: Region, tile: Tile, age: float, rng: np.random.Generator) -> Work[ProgrammingStep, None]:
        """Send the open-loop pass, then verify and correct, one device of each polarity after the other."""
        info, known = region.backend.info, known_devices(region)
        tolerance = self._tolerance(known.model, tile, info.g_max, age)
        rounds = self.max_steps * info.devices_per_polarity + (region.calibration.devices is not None)
        end = region.backend.now() + rounds * self.settle * age
        devices = _TileDevices(region, known, tile, end + age, self)

        def report(index: int, pulses: int, rest: float) -> ProgrammingStep:
            error = devices.monitor(rng, self.monitor_vectors)
            gave_up, stuck = devices.outcome()
            return ProgrammingStep(
                index,
                rounds,
                rest=rest,
                mvm_error=error,
                pulses=pulses,
                unconverged=gave_up,
                stuck=np.any(stuck, axis=(0, 1)),
                stuck_devices=stuck,
            )

        index, first = 0, devices.pilot(self.pilot_cells)
        if len(first):
            yield report(0, devices.pulse_open_loop(first), self.settle * age)
            index = 1
            devices.verify(first, self.averages, tolerance)
            self._refuse_calibration(devices.current_error(first, self.averages))
        pulses, looked = devices.program_open_loop(), False
        for k in range(info.devices_per_polarity):
            reserve = tolerance if k < info.devices_per_polarity - 1 else 0.0
            active = aimed = devices.aim(k, reserve)
            for _ in range(self.max_steps):
                yield report(index, pulses, self.settle * age)
                index += 1
                active = devices.verify(active, self.averages, tolerance)
                if not looked:
                    self._correct_currents(devices, aimed, calibrated=region.calibration.devices is not None)
                looked = True
                pulses = devices.correct(active, self.gain, self.max_pulses_per_device)
                if not pulses:
                    break
            devices.give_up(active)
        yield report(index, pulses, 0.0)

    def outlook(self, rows: int, age: float, info: ChipInfo) -> Outlook:
        """Tell what a tile takes at most."""
        rounds = (self.max_steps + 1) * info.devices_per_polarity
        reads = (self.max_steps + 1) * self.averages
        return Outlook(rounds * self.settle * age, self.max_pulses_per_device, reads, rounds * self.monitor_vectors)

    def within(self, chip_seconds: float, age: float, info: ChipInfo) -> Self:
        """Return the method with rests as short as the budget of chip seconds asks for."""
        check_chip_seconds(chip_seconds, self.settle * age)
        rounds = self.max_steps * info.devices_per_polarity
        return replace(self, settle=min(self.settle, chip_seconds / (age * rounds)))

    def _correct_currents(self, devices: VerifiedDevices, verified: IndexArray, *, calibrated: bool) -> None:
        """Find out from the first reads whether all currents are off, and go on with the curve that fits.

        Raises BadInputError where that contradicts a calibration.
        """
        found = devices.current_error(verified, self.averages)
        if not found.significant():
            return
        if calibrated:
            self._refuse_calibration(found)
        off = _told(found)
        warnings.warn(
            f"devices need currents {off} than {'the calibration' if calibrated else 'the chip model'} says "
            f"(+- {found.sigma:.1%}); programming goes on with a corrected curve; hwloop calibrate all measures it",
            ProgrammingWarning,
            stacklevel=2,
        )
        devices.restart(found.value)

    def _refuse_calibration(self, found: DeviceCurrentError) -> None:
        """Raise BadInputError for a calibration under which currents are off."""
        if found.significant() and abs(found.value) >= self.contradiction:
            raise BadInputError(
                f"the calibration does not describe this chip as it is now: its devices need currents {_told(found)} "
                "than the calibration says (first reads after one pulse each); calibrate again with hwloop calibrate "
                "all"
            )

    def _tolerance(self, model: DeviceModel, tile: Tile, g_max: float, age: float) -> float:
        """Return the acceptance window in uS, or raise BadInputError for one that read noise alone would miss."""
        typical = np.minimum(np.abs(tile.target), g_max)
        noise = float(np.median(verify_noise(model, typical, self.averages, max(self.settle * age, 1e-6))))
        if not self.tolerance:
            return max(DEFAULT_TOLERANCE * g_max, noise)
        if self.tolerance < noise:
            raise BadInputError(
                f"setting tolerance={self.tolerance:g} uS is below the read noise of {noise:.2g} uS that "
                f"{self.averages} averages leave: cells would be accepted by luck; use at least {noise:.2g}"
            )
        return self.tolerance


def _told(error: DeviceCurrentError) -> str:
    return f"{abs(error.value):.1%} {'higher' if error.value > 0 else 'lower'}"


class _TileDevices(VerifiedDevices):
    """The devices of a tile, whose targets follow from the cells'."""

    def __init__(self, region: Region, known: Devices, tile: Tile, moment: float, settings: ProgramVerify) -> None:
        """Begin with nothing sent; the targets shall hold at `moment` on the chip's clock, seconds."""
        super().__init__(region, known, settings.unresponsive_pulses)
        self._tile, self._moment = tile, moment
        self._planned = tile.device_targets(region.backend.info, known)

    def program_open_loop(self) -> int:
        """Send each usable device that was not pulsed yet to the amplitude of its target; return their number."""
        self.target = self._planned.reshape(-1).copy()
        return self.pulse_open_loop(np.flatnonzero(self.usable & (self.spent == 0)))

    def pilot(self, most: int) -> IndexArray:
        """Choose the devices (n,) that try a calibration out; none without one, and on tiles of few cells."""
        self.target = self._planned.reshape(-1).copy()
        if self._region.calibration.devices is None or not 4 * most <= self._tile.target.size:
            return np.zeros(0, np.intp)
        first = self._planned.copy()
        first[:, 1:] = 0.0
        loaded = np.flatnonzero((first.reshape(-1) > 0) & self.usable)
        return loaded[np.unique(np.linspace(0, len(loaded) - 1, min(most, len(loaded))).astype(np.intp))]

    def aim(self, k: int, reserve: float) -> IndexArray:
        """Set the targets of the k-th device of each polarity to (its share of) what the earlier ones lack.

        Parameters
        ----------
        k
            Number of the device in its polarity.
        reserve
            uS to stay below the target, which the next device will fill up.

        Returns
        -------
        ndarray
            (n,) the usable ones of these devices.
        """
        shape, capacity = self._region.shape, self._known.capacity(self._region.backend.info)
        stays = self._known.stuck_at.sum(1)
        signed = self._tile.target - (stays[0] - stays[1])
        wanted = np.maximum(np.stack([signed, -signed]), 0.0)
        wanted -= np.where(self._known.usable, self.value.reshape(shape), 0.0)[:, :k].sum(1)
        if self._tile.split == "even":
            wanted /= shape[1] - k
        elif self._tile.split == "auto":
            later = self._planned[:, k + 1 :].sum(1)
            wanted, reserve = np.maximum(wanted - later, 0.0), np.maximum(reserve - later, 0.0)
        target = np.where(wanted > 2 * reserve, wanted - reserve, np.maximum(wanted, 0.0))
        devices = np.arange(self._region.size).reshape(shape)[:, k].reshape(-1)
        self.target[devices] = np.minimum(target, capacity[:, k]).reshape(-1)
        return devices[self.usable[devices]]

    def outcome(self) -> tuple[BoolArray, BoolArray]:
        """Tell which cells (rows, columns) have a device given up, and which devices (2, K, ...) do not answer."""
        shape = self._region.shape
        gave_up: BoolArray = np.any(self.gave_up.reshape(shape), axis=(0, 1))
        return gave_up, self.unresponsive().reshape(shape)

    def monitor(self, rng: np.random.Generator, vectors: int) -> float:
        """Measure the relative MVM error now, against what the chip would show now if it were on target.

        Devices of different ages are still on their way down; the difference is known from the drift model. A chip
        without MVMs shows its verified reads instead, once every device has been read.
        """
        if Capability.MVM not in self._region.backend.info.capabilities:
            return self._monitor_reads(rng, vectors)
        shape, sign = self._region.shape, np.array([1.0, -1.0])[:, None, None, None]
        now, target = self._region.backend.now(), self.target
        later = self._aging.factor(target, self._moment - self.born)
        extra = target * (self._aging.factor(target, now - self.born) / later - 1.0)
        weights = self._tile.weights + (sign * extra.reshape(shape)).sum((0, 1)) * self._tile.scale
        correction = calibrate_columns(self._region, weights, rng, vectors)
        return measure_outputs(self._region, weights, correction, rng, vectors).mvm_error

    def _monitor_reads(self, rng: np.random.Generator, vectors: int) -> float:
        if not np.all(self.seen):
            return float("nan")
        positive, negative = self.value.reshape(self._region.shape).sum(1)
        top = self._region.backend.info.input_max
        tile = self._tile
        return computed_outputs(positive - negative, tile.weights, tile.scale, rng, vectors, top).mvm_error

    def _age_at_target(self, devices: IndexArray) -> FloatArray:
        age: FloatArray = self._moment - self.born[devices]
        return age
