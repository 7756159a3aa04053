"""Trims of the column converters: what their registers take over from the digital correction.

An offset that is trimmed away costs no code at one end of the converter's range, and columns of equal gain make equal
use of it. What the registers are too coarse for, or do not reach, is left to the digital correction.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np

from hwloop.calibration.routines.converters import ConverterCalibration, ConverterSettings, GainResult
from hwloop.calibration.routines.devices import DeviceResult
from hwloop.calibration.routines.routine import Budget, Routine, Tick, value
from hwloop.contract import Backend, Capability, FloatArray
from hwloop.region import Region

LOOK_VECTORS = 1024
"""Full-scale vectors that show offsets well enough for a register: to some hundredths of an LSB."""


@dataclass(frozen=True)
class TrimResult:
    """Trims with which the converters were measured; without them in place, that measurement is not true."""

    offset: FloatArray = value("LSB", "offset in each column's trim register")
    gain: FloatArray = value("1", "relative gain in each column's trim register")

    @classmethod
    def in_use(cls, backend: Backend, core: int) -> TrimResult:
        """Those in the registers now. Raises MissingCapabilityError on a chip without."""
        return cls(*backend.trims(core))


class TrimCalibration(Routine):
    """Cancels the columns' offsets and makes their gains equal, as far as the registers go."""

    name = "trims"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.MVM, Capability.TRIMS})

    def budget(self, region: Region) -> Budget:
        """One look at the converters, by MVMs alone."""
        return ConverterCalibration(_look(region)).budget(region)

    def run(self, region: Region, gains: GainResult, rng: np.random.Generator, tick: Tick) -> TrimResult:
        """Look at the offsets, and write the trims; `gains` are those of the columns under the trims in use.

        A column whose converter cannot be seen keeps its trims. Raises ChipError when no column's output moves.
        """
        backend, core = region.backend, region.place.core
        limits = backend.info.trims
        assert limits is not None  # a chip with the capability has them
        tick("trims")
        seen = ConverterCalibration(_look(region)).run(region, rng, lambda stage: None)
        before = TrimResult.in_use(backend, core)
        offset = before.offset - np.where(seen.silent, 0.0, seen.offset)
        gain = (1.0 + before.gain) / gains.gain - 1.0
        backend.set_trims(
            core,
            np.clip(offset, -limits.offset_max, limits.offset_max),
            np.clip(gain, -limits.gain_max, limits.gain_max),
        )
        return TrimResult.in_use(backend, core)


def seen_through(devices: DeviceResult, before: TrimResult, after: TrimResult) -> DeviceResult:
    """What the devices' columns would have shown of them under other trims than those they were seen through."""
    factor = (1.0 + after.gain) / (1.0 + before.gain)
    by_column = {
        item.name: array * factor
        for item in fields(devices)
        if item.metadata["unit"] == "uS" and isinstance(array := getattr(devices, item.name), np.ndarray)
    }
    return replace(devices, **by_column)  # type: ignore[arg-type]


def _look(region: Region) -> ConverterSettings:
    return ConverterSettings(adc_vectors=max(LOOK_VECTORS, 2 * (region.place.rows + 4)), dac_vectors=0)
