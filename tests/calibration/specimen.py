"""Calibrated simulated chips, and the truth about them, which only a simulated chip can tell."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

import hwloop
from hwloop.calibration.certificate.certificate import Calibration
from hwloop.calibration.certificate.plan import PARTS, Plan
from hwloop.calibration.certificate.session import calibrate
from hwloop.calibration.routines.core import CoreCalibration
from hwloop.chip.backend import Backend
from hwloop.chip.info import Capability

SMALL = "sim:hermes-core?rows=64&columns=64"
"""A core that is quick to calibrate: 16 384 devices."""


def lacking(uri: str, *capabilities: Capability, **changes: object) -> Backend:
    """A simulated chip without some capabilities, and with other fields of its `info` changed."""
    chip = hwloop.connect(uri)
    left = chip.info.capabilities - set(capabilities)
    chip._info = dataclasses.replace(chip.info, capabilities=left, **changes)
    return chip


@dataclasses.dataclass(frozen=True)
class Specimen:
    """A chip and its calibration, beside what it was made with; arrays as in the results."""

    chip: Backend
    calibration: Calibration

    @property
    def core(self) -> CoreCalibration:
        return self.calibration.cores[0]

    @property
    def made(self):
        """Parameters of the simulated chip."""
        return self.chip._chip

    @property
    def converters(self):
        """Offset, gain and bend of the simulated ADCs."""
        return self.chip._cores[0].converters

    def device(self, name: str) -> NDArray:
        """A property of the simulated devices, (2, K, rows, columns)."""
        return getattr(self.chip._cores[0].devices, name).numpy().reshape(self.chip.info.device_shape)


def specimen(chip: Backend, *parts: str) -> Specimen:
    """Calibrate a chip."""
    return Specimen(chip, calibrate(chip, Plan(parts or PARTS)))


@functools.cache
def calibrated(uri: str, *parts: str) -> Specimen:
    """A calibrated chip by its URI; tests that only look share one."""
    return specimen(hwloop.connect(uri), *parts)


def coverage(errors: list[NDArray], sigmas: list[NDArray]) -> float:
    """Share of errors within the stated 95 % intervals."""
    inside = np.abs(np.concatenate(errors, axis=None)) < 1.96 * np.concatenate(sigmas, axis=None)
    return float(inside.mean())
