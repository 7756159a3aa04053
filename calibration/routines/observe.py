"""Pulse devices and see what they became, by device reads where the chip has them and by MVMs where it has not."""

from __future__ import annotations

import abc
from dataclasses import dataclass, replace

import numpy as np

from hwloop.calibration.probes import hadamard_block, hadamard_inputs
from hwloop.calibration.routines.base import Budget
from hwloop.calibration.settings import Settings
from hwloop.calibration.steps import Step, Work
from hwloop.chip.info import Capability
from hwloop.chip.pulses import PulseKind
from hwloop.chip.region import Region
from hwloop.devices.drift import Aging
from hwloop.errors import MissingCapabilityError
from hwloop.typing import BoolArray, FloatArray, IndexArray


@dataclass(frozen=True)
class Looking(Settings):
    """Settings of routines that look at what pulses did to devices."""

    reads: int = 4
    """Reads of each device per look, on chips with device reads."""
    map_vectors: int = 512
    """Hadamard vectors, at least, of one map of all cells, on chips without device reads."""
    map_sigmas: float = 4.0
    """Converter range of a map over the standard deviation of the widest column's sum."""

    def __post_init__(self) -> None:
        self._require("reads", 2, 1000)
        self._require("map_vectors", 1, 1e7)
        self._require("map_sigmas", 0.1, 100)

    def map_blocks(self, rows: int) -> int:
        """Count the complete Hadamard designs of one map."""
        return -(-self.map_vectors // hadamard_block(rows))

    def look_budget(self, region: Region, looks: int, pulses_per_device: int) -> Budget:
        """Return what `looks` looks at all devices cost on this chip, with so many pulses per device."""
        info = region.backend.info
        if Capability.DEVICE_READ in info.capabilities:
            return Budget(pulses_per_device, self.reads * looks)
        vectors = self.map_blocks(region.place.rows) * hadamard_block(region.place.rows)
        return Budget(pulses_per_device, mvms=2 * vectors * 2 * info.devices_per_polarity * looks)


@dataclass(frozen=True)
class PulseBatch:
    """Pulses of one kind and width for some devices, once each."""

    kind: PulseKind
    devices: IndexArray
    """(n,) flat indices in the region."""
    amplitude: FloatArray
    """(n,) uA."""
    width: float
    """ns."""


class Observer(abc.ABC):
    """Sees the devices of a region; conductances are those at the reference age of the drift model, flat (devices,)."""

    def __init__(self, region: Region, aging: Aging, settle: float) -> None:
        """Take note of a region whose devices rest for `settle` seconds between the last pulse and a look."""
        self.region, self._aging, self.settle = region, aging, settle
        self.born = np.full(region.size, region.backend.now())
        """Chip time of the last pulse of each device, seconds."""
        self.seen = np.zeros(region.size)
        """The last look at each device, at the age it had then, uS."""
        self.age = settle
        """Age of the devices at the last look, seconds."""
        self._now = np.zeros(region.size)

    @abc.abstractmethod
    def apply(self, batch: PulseBatch, at: Step) -> Work[Step, FloatArray]:
        """Pulse devices and see them: return conductances (n,) in uS. The rests are yielded as steps like `at`."""

    def empty(self, batch: PulseBatch, at: Step) -> Work[Step, FloatArray]:
        """RESET devices whatever they hold, and see them; arguments and result as of `apply`."""
        return (yield from self.apply(batch, at))

    @abc.abstractmethod
    def spread(self) -> FloatArray:
        """Return the standard deviation (devices,) in uS within the last look; NaN of devices not looked at."""

    def assume(self, conductance: FloatArray) -> None:
        """Take note of what the devices (devices,) conduct at present, uS: maps show only how that changes."""
        self._now = conductance.copy()

    def standing(self, low: FloatArray, unresponsive: BoolArray) -> FloatArray:
        """Return conductances (devices,): `low`, seen after RESET, but unresponsive devices as they stand.

        What does not answer to pulses is crystalline or open, and does not drift either.
        """
        return np.where(unresponsive, self.seen, low)

    def _pulse(self, batch: PulseBatch) -> None:
        self.region.pulse(batch.kind, batch.devices, batch.amplitude, batch.width)
        self.born[batch.devices] = self.region.backend.now()

    def _at_reference(self, values: FloatArray, devices: IndexArray) -> FloatArray:
        self.seen[devices] = values
        ages = self.region.backend.now() - self.born[devices]
        self.age = float(ages.min(initial=np.inf))
        return self._aging.at_reference(values, ages)


class ReadObserver(Observer):
    """Sees devices by single-device reads, all at once."""

    def __init__(self, region: Region, aging: Aging, settle: float, reads: int) -> None:
        super().__init__(region, aging, settle)
        self._reads = reads
        self._spread = np.full(region.size, np.nan)

    def apply(self, batch: PulseBatch, at: Step) -> Work[Step, FloatArray]:
        """Send one batch of pulses, then read several times."""
        self._pulse(batch)
        yield replace(at, rest=self.settle)
        reads = np.stack([self.region.read(batch.devices, 1) for _ in range(self._reads)])
        self._spread = np.full(self.region.size, np.nan)
        self._spread[batch.devices] = reads.std(0, ddof=1)
        return self._at_reference(reads.mean(0), batch.devices)

    def spread(self) -> FloatArray:
        """Return the standard deviation between the reads of one look."""
        return self._spread


class MapObserver(Observer):
    """Sees devices by how the map of all cells changes when those of one position in their cells are pulsed."""

    def __init__(self, region: Region, aging: Aging, settle: float, looking: Looking, rng: np.random.Generator) -> None:
        super().__init__(region, aging, settle)
        self._looking, self.rng = looking, rng
        self._first: FloatArray | None = None

    def apply(self, batch: PulseBatch, at: Step) -> Work[Step, FloatArray]:
        """Send one batch of pulses and make two maps for each position (polarity, device) in the cells."""
        devices = batch.devices
        polarity, position, row, column = np.unravel_index(devices, self.region.shape)
        seen = np.zeros(len(devices))
        for p, k in sorted(set(zip(polarity.tolist(), position.tolist(), strict=True))):
            chosen = np.flatnonzero((polarity == p) & (position == k))
            before = self.map()
            self._pulse(replace(batch, devices=devices[chosen], amplitude=batch.amplitude[chosen]))
            yield replace(at, rest=self.settle)
            change = (self.map() - before)[row[chosen], column[chosen]] * (1.0 - 2.0 * p)
            seen[chosen] = self._now[devices[chosen]] + change
            self._now[devices[chosen]] = seen[chosen]
        return self._at_reference(seen, devices)

    def empty(self, batch: PulseBatch, at: Step) -> Work[Step, FloatArray]:
        """RESET all devices at once: what each held before shows in no map, and from then on they count as empty."""
        self._pulse(batch)
        yield replace(at, rest=self.settle)
        self._first = self.map()
        seen = np.zeros(len(batch.devices))
        self._now[batch.devices] = seen
        return self._at_reference(seen, batch.devices)

    def standing(self, low: FloatArray, unresponsive: BoolArray) -> FloatArray:
        """Share what the map of emptied cells shows among the unresponsive devices of a polarity, which alone show."""
        assert self._first is not None  # who asks has looked before
        shape = self.region.shape
        alike = unresponsive.reshape(shape)
        share = np.maximum(np.stack([self._first, -self._first]), 0.0) / np.maximum(alike.sum(1), 1)
        return np.where(alike, share[:, None], low.reshape(shape)).reshape(-1)

    def spread(self) -> FloatArray:
        """Return NaN (devices,): one look is one map."""
        return np.full(self.region.size, np.nan)

    def map(self) -> FloatArray:
        """Measure the signed conductances (rows, columns) in uS by Hadamard inputs."""
        region, info, core = self.region, self.region.backend.info, self.region.place.core
        rows = region.place.rows
        if Capability.ADC_RANGE in info.capabilities:
            cells = info.g_max * info.devices_per_polarity
            low, high = info.adc_range
            full_scale = self._looking.map_sigmas * cells * np.sqrt(rows)
            region.backend.set_adc_range(core, min(max(full_scale, low), high))
        x = hadamard_inputs(self.rng, self._looking.map_blocks(rows), rows, info.input_max)
        drive = x / info.input_max
        outputs = region.mvm(x) * region.step
        cells_now: FloatArray = drive.T @ (outputs - outputs.mean(0)) / len(x)
        return cells_now


def observer_of(region: Region, aging: Aging, settle: float, looking: Looking, rng: np.random.Generator) -> Observer:
    """Choose the observer that suits a chip. Raises MissingCapabilityError for one with neither reads nor MVMs."""
    if Capability.DEVICE_READ in region.backend.info.capabilities:
        return ReadObserver(region, aging, settle, looking.reads)
    if Capability.MVM not in region.backend.info.capabilities:
        raise MissingCapabilityError(
            f"{region.backend.info.name}: seeing what pulses do needs the capability 'device-read' or 'mvm', and this "
            "chip has neither; nothing can be calibrated on it"
        )
    return MapObserver(region, aging, settle, looking, rng)
