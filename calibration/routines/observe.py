"""Pulse devices and see what they became, by device reads where the chip has them and by MVMs where it has not."""

from __future__ import annotations

import abc
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwloop.calibration.probes import hadamard_block, hadamard_inputs
from hwloop.calibration.routines.base import Budget
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.devices.drift import Aging
from hwloop.errors import MissingCapabilityError
from hwloop.typing import FloatArray, IndexArray

MAP_VECTORS = 512
"""Hadamard vectors, at least, of one map of all cells."""
MAP_SIGMAS = 4.0
"""Converter range of a map over the standard deviation of the widest column's sum."""
READ_REPEATS = 4
"""Reads of each device per look."""


class Amplitudes(Protocol):
    """Amplitudes (n,) in uA for flat device indices (n,)."""

    def __call__(self, devices: IndexArray) -> FloatArray:
        """Amplitudes for these devices."""


class Observer(abc.ABC):
    """Sees the devices of a region; conductances are those at the reference age of the drift model, flat (devices,)."""

    def __init__(self, region: Region, aging: Aging, settle: float) -> None:
        """settle: seconds to rest between the last pulse and a look."""
        self.region, self._aging, self.settle = region, aging, settle
        self.born = np.full(region.size, region.backend.now())
        self.seen = np.zeros(region.size)
        """The last look at each device, at the age it had then, uS."""
        self.age = settle
        """Age of the devices at the last look, seconds."""

    @abc.abstractmethod
    def apply(self, kind: PulseKind, devices: IndexArray, amplitude: Amplitudes, width: float) -> FloatArray:
        """Pulse devices (n,), once each, and see them: conductances (n,) in uS."""

    @abc.abstractmethod
    def spread(self) -> FloatArray:
        """Standard deviation (devices,) in uS between the repeated looks of the last `apply`; NaN if not looked at."""

    def standing(self, low: FloatArray, silent: NDArray[np.bool_]) -> FloatArray:
        """Conductances (devices,) where `low` was seen after RESET, but for silent devices as they stand.

        What does not answer to pulses is crystalline or open, and does not drift either.
        """
        return np.where(silent, self.seen, low)

    def _pulse(self, kind: PulseKind, devices: IndexArray, amplitude: Amplitudes, width: float) -> None:
        self.region.pulse(kind, devices, amplitude(devices), width)
        self.born[devices] = self.region.backend.now()

    def _at_reference(self, values: FloatArray, devices: IndexArray) -> FloatArray:
        self.seen[devices] = values
        ages = self.region.backend.now() - self.born[devices]
        self.age = float(ages.min(initial=np.inf))
        return self._aging.at_reference(values, ages)


class ReadObserver(Observer):
    """Sees devices by single-device reads, all at once."""

    def __init__(self, region: Region, aging: Aging, settle: float) -> None:
        super().__init__(region, aging, settle)
        self._spread = np.full(region.size, np.nan)

    def apply(self, kind: PulseKind, devices: IndexArray, amplitude: Amplitudes, width: float) -> FloatArray:
        """One batch of pulses, then READ_REPEATS reads."""
        self._pulse(kind, devices, amplitude, width)
        self.region.backend.wait(self.settle)
        reads = np.stack([self.region.read(devices, 1) for _ in range(READ_REPEATS)])
        self._spread = np.full(self.region.size, np.nan)
        self._spread[devices] = reads.std(0, ddof=1)
        return self._at_reference(reads.mean(0), devices)

    def spread(self) -> FloatArray:
        """Between the reads of one look."""
        return self._spread


class MapObserver(Observer):
    """Sees devices by how the map of all cells changes when those of one position in their cells are pulsed."""

    def __init__(
        self, region: Region, aging: Aging, settle: float, rng: np.random.Generator, conductance: FloatArray | None
    ) -> None:
        super().__init__(region, aging, settle)
        self._rng = rng
        self._first: FloatArray | None = None
        self._now = np.zeros(region.size) if conductance is None else conductance.copy()
        """What the devices are believed to conduct at present, uS."""

    def apply(self, kind: PulseKind, devices: IndexArray, amplitude: Amplitudes, width: float) -> FloatArray:
        """One batch of pulses and one map for each position (polarity, device) in the cells."""
        polarity, position, row, column = np.unravel_index(devices, self.region.shape)
        seen = np.zeros(len(devices))
        for p, k in sorted(set(zip(polarity.tolist(), position.tolist(), strict=True))):
            chosen = np.flatnonzero((polarity == p) & (position == k))
            before = self.map()
            if self._first is None:
                self._first = before
            self._pulse(kind, devices[chosen], amplitude, width)
            self.region.backend.wait(self.settle)
            change = (self.map() - before)[row[chosen], column[chosen]] * (1.0 - 2.0 * p)
            seen[chosen] = self._now[devices[chosen]] + change
            self._now[devices[chosen]] = seen[chosen]
        return self._at_reference(seen, devices)

    def standing(self, low: FloatArray, silent: NDArray[np.bool_]) -> FloatArray:
        """Devices that never change show in the first map alone: there they share what their polarity conducts."""
        assert self._first is not None
        shape = self.region.shape
        alike = silent.reshape(shape)
        share = np.maximum(np.stack([self._first, -self._first]), 0.0) / np.maximum(alike.sum(1), 1)
        return np.where(alike, share[:, None], low.reshape(shape)).reshape(-1)

    def spread(self) -> FloatArray:
        """Not known: one look is one map."""
        return np.full(self.region.size, np.nan)

    def map(self) -> FloatArray:
        """Signed conductances (rows, columns) in uS, by a Hadamard measurement."""
        region, info, core = self.region, self.region.backend.info, self.region.place.core
        rows = region.place.rows
        if Capability.ADC_RANGE in info.capabilities:
            cells = info.g_max * info.devices_per_polarity
            low, high = info.adc_range
            region.backend.set_adc_range(core, min(max(MAP_SIGMAS * cells * np.sqrt(rows), low), high))
        x = hadamard_inputs(self._rng, map_blocks(rows), rows, info.input_max)
        drive = x / info.input_max
        outputs = region.mvm(x) * region.step
        cells_now: FloatArray = drive.T @ (outputs - outputs.mean(0)) / len(x)
        return cells_now


def map_blocks(rows: int) -> int:
    """Complete Hadamard designs of one map."""
    return -(-MAP_VECTORS // hadamard_block(rows))


def observer_of(
    region: Region, aging: Aging, settle: float, rng: np.random.Generator, conductance: FloatArray | None = None
) -> Observer:
    """The observer that suits a chip. Raises MissingCapabilityError for one with neither reads nor MVMs.

    conductance: (devices,) what the devices conduct now, uS, where it is known; MVMs show only how it changes.
    """
    if Capability.DEVICE_READ in region.backend.info.capabilities:
        return ReadObserver(region, aging, settle)
    if Capability.MVM not in region.backend.info.capabilities:
        raise MissingCapabilityError(
            f"{region.backend.info.name}: seeing what pulses do needs the capability 'device-read' or 'mvm', and this "
            "chip has neither; nothing can be calibrated on it"
        )
    return MapObserver(region, aging, settle, rng, conductance)


def look_budget(region: Region, looks: int, pulses_per_device: int) -> Budget:
    """What `looks` looks at all devices cost on this chip, with so many pulses per device."""
    info = region.backend.info
    if Capability.DEVICE_READ in info.capabilities:
        return Budget(pulses_per_device, READ_REPEATS * looks)
    vectors = map_blocks(region.place.rows) * hadamard_block(region.place.rows)
    return Budget(pulses_per_device, mvms=2 * vectors * 2 * info.devices_per_polarity * looks)
