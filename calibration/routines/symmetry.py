"""Symmetry points of stepping devices: alternating pulses up and down drive a device there, and reads tell where.

A pair of pulses moves a device by the difference of its steps, which vanishes at the symmetry point; around it the
weight wanders by its own step-to-step noise. So the first pairs are spent on the way, and the mean of the reads since
is the estimate (zero-shifting: Kim et al. 2019, arXiv 1907.10228). Its uncertainty is that of all devices of the core
together, from how far the means of successive parts of the reads lie apart: neighbouring parts share some of their
noise, distant ones do not. What a device still had to go is corrected for
by how the second half of the reads depends on where devices began.
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
    settling: float = 0.15
    """Share of the pairs that lead devices to their points, before the reads that count."""
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
    """Reads that must count, so that their parts tell an uncertainty."""
    parts_of_reads: ClassVar[int] = 8
    """Parts into which they are divided for that."""

    def steps(self, task: CoreTask) -> Work[Step, CoreCalibration]:
        """Pulse and read all devices of a core. Raises ChipError where they come to no symmetry point."""
        region, devices = task.region, self._devices(task.region)
        count = region.size // 2
        every = np.arange(count)
        began = region.read(every, 16)
        reads = np.empty((self.pairs // self.read_every, count), np.float32)
        for k in range(len(reads)):
            yield Step(k, len(reads) + 1, "pulses up and down")
            self._alternate(region, up_first=k % 2 == 0)
            reads[k] = region.read(every, 1)
        yield Step(len(reads), len(reads) + 1, "references")
        reference = region.read(every + count, self.reference_reads)
        found = self.estimate(reads[round(self.settling * len(reads)) :].astype(np.float64), began)
        point, sigma, moving = found
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

    def estimate(self, reads: FloatArray, began: FloatArray) -> tuple[FloatArray, float, float]:
        """Return the points (devices,) in uS, their common uncertainty, and the mean change between halves of reads.

        Parameters
        ----------
        reads
            (reads, devices) uS, after devices have settled.
        began
            (devices,) uS, where they were before.
        """
        means = np.stack([part.mean(0) for part in np.array_split(reads, self.parts_of_reads)])
        mean, middle = means.mean(0), len(means) // 2
        halves = (means[middle:].mean(0) - means[:middle].mean(0)) / 2
        away = began - mean
        # What is left of the way falls exponentially: the first half of the reads has more of it than the second.
        scale = float(np.mean(away**2))
        slope = -float(np.mean((halves - halves.mean()) * away)) / scale if scale > 0 else 0.0
        error = float(halves.std()) / np.sqrt(max(scale * len(away), 1e-300))
        left = slope if slope > 3 * error else 0.0
        return mean - away * left / (1 + left), _sigma(means), float(2 * halves.mean())

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


def _sigma(parts: FloatArray) -> float:
    """Return the standard deviation of the mean of the means of successive parts (parts, devices) of the reads.

    Half the mean square of the distance between two parts is a variance less the covariance at that distance, which is
    taken to be gone when half of all parts lie between.
    """
    count = len(parts)
    apart = np.array([np.mean((parts[k:] - parts[: count - k]) ** 2) / 2 for k in range(1, count)])
    pairs = np.arange(count - 1, 0, -1)
    far = count // 2 - 1
    variance = np.average(apart[far:], weights=pairs[far:])
    covariances = np.maximum(variance - apart[:far], 0.0)
    return float(np.sqrt((count * variance + 2 * covariances @ pairs[:far]) / count**2))
