"""Symmetry points of stepping devices: alternating pulses up and down drive a device there, and reads tell where.

A pair of pulses moves a device by the difference of its steps, which vanishes at the symmetry point and grows in
proportion to the distance from it; around it the weight wanders by its own step-to-step noise (zero-shifting: Kim et
al. 2019, arXiv 1907.10228). So pairs together move it by their number times the mean distance times a rate: the mean of
the reads, and the way from the first to the last over rate and number, are the point. The rate is that of all devices
of the core together, from how far reads lie apart that are one, two and three stretches of time apart. Errors are those
of the steps alone, which are independent from pair to pair: so the two halves of the reads are two independent answers,
and how far they lie apart is the uncertainty, of all devices of the core together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hwloop.calibration.routines.base import Budget, CoreTask, Routine
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.calibration.routines.symmetry_result import SymmetryResult
from hwloop.calibration.steps import Step, Work
from hwloop.chip.info import Capability
from hwloop.chip.region import Region
from hwloop.chip.updates import PulseTrains, SteppingDevices
from hwloop.errors import BadInputError, ChipError
from hwloop.typing import FloatArray


@dataclass(frozen=True)
class SymmetryCalibration(Routine):
    """Finds the symmetry point of every cell; see the module's text."""

    name: ClassVar[str] = "symmetry"
    parts: ClassVar[tuple[str, ...]] = ("symmetry-point",)
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.UPDATE, Capability.DEVICE_READ})

    pairs: int = 5000
    """Pulses up and down for each device, in pairs."""
    settling: float = 0.06
    """Share of the pairs that lead devices most of their way, before the reads that count."""
    read_every: int = 20
    """Pairs between two reads of a device."""
    reference_reads: int = 256
    """Reads of each reference device."""
    most_sigma: float = 0.25
    """Uncertainty over half the range above which devices have no symmetry point that this finds."""

    def __post_init__(self) -> None:
        self._require("pairs", 40, 1e7)
        self._require("settling", 0, 0.9)
        self._require("read_every", 1, 1e5)
        self._require("reference_reads", 1, 65536)
        self._require("most_sigma", 0.001, 10)

    def budget(self, region: Region) -> Budget:
        """Count pulses and reads. Raises BadInputError for a chip whose devices have no symmetry point."""
        self._devices(region)
        reads = self.pairs // self.read_every
        if reads * (1 - self.settling) < self.least_reads:
            raise BadInputError(
                f"setting pairs={self.pairs}: with a read every {self.read_every} pairs fewer than {self.least_reads} "
                "reads count; set symmetry.pairs higher or symmetry.read_every lower"
            )
        return Budget(2 * self.pairs, reads + self.reference_reads)

    least_reads: ClassVar[int] = 16
    """Reads that must count, so that they tell a rate."""
    at_ends: ClassVar[int] = 3
    """Reads whose mean says where a device was at an end."""
    stretch: ClassVar[float] = 0.05
    """Stretch of time whose multiples are looked at, over all of it."""

    def steps(self, task: CoreTask) -> Work[Step, CoreCalibration]:
        """Pulse and read all devices of a core. Raises ChipError where they come to no symmetry point."""
        region, devices = task.region, self._devices(task.region)
        count = region.size // 2
        every = np.arange(count)
        reads = np.empty((self.pairs // self.read_every, count), np.float32)
        for k in range(len(reads)):
            yield Step(k, len(reads) + 1, "pulses up and down")
            self._alternate(region, up_first=k % 2 == 0)
            reads[k] = region.read(every, 1)
        yield Step(len(reads), len(reads) + 1, "references")
        reference = region.read(every + count, self.reference_reads)
        point, sigma, moving = self.estimate(reads.astype(np.float64))
        if not sigma <= self.most_sigma * devices.half_range:
            raise ChipError(
                f"core {region.place.core}: after {self.pairs} pairs of pulses symmetry points are known to "
                f"{sigma:.3g} uS alone, of a half range of {devices.half_range:.3g} uS: these devices hardly have one, "
                "or need more pairs (--set symmetry.pairs=N)"
            )
        shape = region.shape[2:]
        result = SymmetryResult(
            point=(point - reference).reshape(shape),
            point_sigma=np.full(shape, sigma),
            reference=reference.reshape(shape),
            half_range=devices.half_range,
            pairs=float(len(reads) * self.read_every),
            reads=float(len(reads)),
            moving=moving,
        )
        return replace(task.known, symmetry_point=result)

    def estimate(self, reads: FloatArray) -> tuple[FloatArray, float, float]:
        """Return the points (devices,) in uS, their common uncertainty, and the mean change between halves of reads.

        All are NaN where devices are not drawn anywhere.

        Parameters
        ----------
        reads
            (reads, devices) uS, one after each group of pairs.
        """
        used = reads[round(self.settling * len(reads)) :]
        rate = _rate(used, max(1, round(self.stretch * len(used))))
        halves = np.stack([self._point(half, rate) for half in np.array_split(used, 2)])
        sigma = float(np.sqrt(np.mean(np.square(halves[1] - halves[0])))) / 2
        first, second = np.array_split(reads, 2)
        return self._point(used, rate), sigma, float(second.mean() - first.mean())

    def _point(self, reads: FloatArray, rate: float) -> FloatArray:
        """Return where devices are drawn to at a rate, by reads (reads, devices) evenly spaced in time."""
        ends = min(self.at_ends, len(reads) // 4)
        way = reads[-ends:].mean(0) - reads[:ends].mean(0)
        found: FloatArray = reads.mean(0) + way / (rate * (len(reads) - ends))
        return found

    def _alternate(self, region: Region, *, up_first: bool) -> None:
        """Send so many pairs to all devices at once."""
        info = region.backend.info
        count = 2 * self.read_every
        x, d = np.ones((count, info.rows), np.int32), np.ones((count, info.columns), np.int32)
        d[int(up_first) :: 2] = -1
        region.backend.update(region.place.core, x, d, PulseTrains(1, stochastic=False))

    def _devices(self, region: Region) -> SteppingDevices:
        """Return what the chip says of its devices. Raises BadInputError for pairs, which step up alone."""
        info = region.backend.info
        if info.stepping is None or info.stepping.pair:
            raise BadInputError(
                f"{info.name}: its devices do not step up and down about a symmetry point; leave the part out"
            )
        return info.stepping


def _rate(reads: FloatArray, stretch: int) -> float:
    """Return the share of the distance to its point by which a device is drawn there from one read to the next.

    Half the mean square of what lies between two reads is noise + wander (1 - left^k) when k stretches lie between.
    NaN where reads (reads, devices) show no such thing.
    """
    one, two, three = (np.mean((reads[k * stretch :] - reads[: -k * stretch]) ** 2) for k in (1, 2, 3))
    left = (three - two) / (two - one) if two > one else np.nan
    return float(-np.log(left) / stretch) if 0 < left < 1 else float("nan")
